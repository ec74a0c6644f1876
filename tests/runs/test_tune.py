"""`lorisbench tune`: equal trials on the first experiences' validation splits, resumable, and a suite that says so."""

from __future__ import annotations

import functools
from pathlib import Path

import answers
import numpy as np
import pandas as pd
import pytest
import yaml

from lorisbench.common.errors import InputError
from lorisbench.common.registry import STRATEGIES
from lorisbench.data.subsets import first_experiences
from lorisbench.report.facts import collect
from lorisbench.report.frame import read
from lorisbench.runs import one_run as runs
from lorisbench.suite.resolve import load_suite

pytest.importorskip("optuna")
PLUGIN = """
from lorisbench import Strategy

class Mine(Strategy, name="{name}"):
    \"""Mine.\"""
    tuned = {space}
    strength: float = 1.0
"""
STRATEGIES_OF_SUITE = {"naive": None, "lwf": {"alpha": 0.5}, "slda": None}


refused = functools.partial(answers.refused, after=True)  # after what was said of trials


@pytest.fixture
def suite(suite_file) -> Path:
    changes = {"training": {"epochs": 2, "batch_size": 2}, "seeds": [0, 1], "about": "naive"}
    return suite_file(strategies=STRATEGIES_OF_SUITE, **changes)


def table(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "trials.csv")


def test_every_strategy_gets_its_trials_and_the_best_values_are_written(suite: Path, cli, tmp_path: Path) -> None:
    out = tmp_path / "tuned"
    answer = cli("tune", suite, "--trials", 4, "--experiences", 2, "--out", out)
    assert answer.code == 0, answer.err
    assert answer.out.strip() == f"suite: {out / 'tuned.yaml'}"
    frame = table(out)
    assert frame.groupby("strategy").size().to_dict() == {"lwf": 4, "slda": 4}
    assert frame.alpha[0] == 0.5, "trial 0 has the suite's own value"
    drawn = frame[frame.strategy == "lwf"].alpha
    assert drawn.is_unique and drawn.between(1e-3, 10).all()
    tuned = load_suite(str(out / "tuned.yaml"))
    for label, key in (("lwf", "alpha"), ("slda", "shrinkage")):
        rows = frame[frame.strategy == label]
        assert str(tuned.resolved["strategies"][label][key]) == str(rows.loc[rows.accuracy_last.idxmax(), key])
    before = load_suite(str(suite))
    for key in ("benchmark", "training", "seeds", "evaluation", "name"):
        assert tuned.resolved[key] == before.resolved[key], key
    text = tuned.config.tuning
    for words in (
        "4 trials",
        "first 2 experiences",
        "validation",
        "seed 100",
        "alpha 0.001 to 10 (log",
        "naive (nothing to",
    ):
        assert words in text, text
    assert cli("run", out / "tuned.yaml", "--strategies", "slda", "--seeds", "0", "--out", tmp_path / "run").code == 0
    assert dict(collect(read(tmp_path / "run")))["Hyper-parameters"] == text
    changed = load_suite(str(out / "tuned.yaml"), assignments=["slda.shrinkage=0.5"]).config.tuning
    assert changed.startswith(text) and "Changed since: slda.shrinkage=0.5" in changed
    assert load_suite(str(out / "tuned.yaml"), assignments=["device=cpu", "latency.calls=3"]).config.tuning == text


def test_a_trial_is_the_run_of_the_whole_stream_up_to_there(suite: Path, cli, tmp_path: Path) -> None:
    out = tmp_path / "tuned"
    assert cli("tune", suite, "--trials", 1, "--experiences", 3, "--strategies", "lwf", "--out", out).code == 0
    whole = ["--seeds", 100, "--strategies", "lwf", "--set", "latency.enabled=false", "--out", tmp_path / "whole"]
    assert cli("run", suite, *whole, "--set", "evaluation.split=validation").code == 0
    matrix = pd.read_csv(tmp_path / "whole" / "matrix.csv").pivot(
        index="after_experience", columns="test_experience", values="accuracy"
    )
    assert [".lwf.s100." in folder.name for folder in (out / "trials").iterdir()] == [True]
    tuned = load_suite(str(out / "tuned.yaml")).config
    assert list(tuned.strategies) == list(STRATEGIES_OF_SUITE) and "slda (not asked for)" in tuned.tuning
    assert table(out).accuracy_last[0] == pytest.approx(np.mean(matrix.to_numpy()[2, :3]), abs=1e-9)


def test_it_goes_on_where_it_was_interrupted_and_trains_nothing_twice(
    suite: Path, cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--experiences", 1, "--strategies", "lwf"]
    assert cli("tune", suite, "--trials", 5, "--out", tmp_path / "straight", *options).code == 0
    train, seen = runs.train, []

    def counted(bench, spec, directory):
        seen.append(spec.run_id)
        if len(seen) == 3:
            raise KeyboardInterrupt
        train(bench, spec, directory)
        if len(seen) == 5:
            raise KeyboardInterrupt  # trained, but not yet told

    monkeypatch.setattr(runs, "train", counted)
    out = tmp_path / "stopped"
    for _ in range(2):
        assert cli("tune", suite, "--trials", 4, "--out", out, *options).code == 1
    assert cli("tune", suite, "--trials", 4, "--out", out, *options).code == 0
    assert len(table(out)) == 4 and len(seen) == 5 and seen[2] == seen[3]
    assert cli("tune", suite, "--trials", 5, "--out", out, *options).code == 0
    assert len(seen) == 6
    one, other = (table(folder).drop(columns="train_seconds") for folder in (tmp_path / "straight", out))
    pd.testing.assert_frame_equal(one, other)
    assert not one.alpha.duplicated().any()


@pytest.mark.heavy
def test_workers_and_seeds(suite: Path, cli, tmp_path: Path) -> None:
    options = ["--trials", 2, "--experiences", 1, "--strategies", "slda,lwf"]
    frames = []
    for name, more in (("one", []), ("two", ["--workers", 2]), ("other", ["--seed", 101])):
        assert cli("tune", suite, "--out", tmp_path / name, *options, *more).code == 0
        frames.append(table(tmp_path / name).drop(columns="train_seconds"))
    pd.testing.assert_frame_equal(frames[0], frames[1])
    assert not np.allclose(frames[0].alpha[1], frames[2].alpha[1])


def test_a_diverged_trial_is_no_best_one(suite: Path, cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(bench, spec, directory):
        directory.start(spec.config, {})
        directory.set_status("diverged", "the loss is not finite")

    out, options = tmp_path / "out", ["--experiences", 1, "--strategies", "lwf"]
    assert cli("tune", suite, "--trials", 1, "--out", out, *options).code == 0
    monkeypatch.setattr(runs, "train", fail)
    assert cli("tune", suite, "--trials", 3, "--out", out, *options).code == 0
    assert list(table(out).status) == ["done", "diverged", "diverged"] and table(out).accuracy_last.count() == 1
    assert yaml.safe_load((out / "tuned.yaml").read_text())["strategies"]["lwf"]["alpha"] == 0.5
    refused(cli("tune", suite, "--trials", 1, "--out", tmp_path / "none", *options), "lwf", "not finite")


def test_wrong_input_is_refused(suite: Path, cli, tmp_path: Path) -> None:
    options = ["--trials", 1, "--strategies", "slda"]
    refused(cli("tune", suite, "--strategies", "naive", "--out", tmp_path / "a"), "naive", "to tune")
    refused(cli("tune", suite, "--strategies", "sldaa", "--out", tmp_path / "a"), "'sldaa'", "'slda'")
    refused(cli("tune", suite, *options, "--experiences", 10, "--out", tmp_path / "b"), "10 experiences", "9")
    assert cli("tune", suite, *options, "--experiences", 1, "--out", tmp_path / "b").code == 0, (
        "no trial was in the way"
    )
    assert cli("tune", suite, *options, "--experiences", 1, "--out", tmp_path / "c").code == 0
    refused(cli("tune", suite, *options, "--experiences", 2, "--out", tmp_path / "c"), "differ in experiences")
    changed = ["--set", "training.epochs=9"]
    refused(cli("tune", suite, *options, *changed, "--experiences", 1, "--out", tmp_path / "c"), "differ in suite")
    spaces = (
        (("int", 1, 5), "'int'"),
        (("log", 1), "'log'"),
        (("log", 0, 1), "from 0 to 1"),
        (("linear", 5, 1), "from 5 to 1"),
        (("choice", []), "one or more"),
        (("choice", [[1]]), "one or more"),
        (("choice", ["much"]), "may not be much"),
    )
    for number, (space, word) in enumerate(spaces):
        name = f"searched{number}"
        (tmp_path / f"{name}.py").write_text(PLUGIN.format(name=name, space={"strength": space}))
        mine = ["--plugin", tmp_path / f"{name}.py", "--set", f"strategies.{name}.strength=2"]
        refused(cli("tune", suite, *mine, "--strategies", name, "--out", tmp_path / "d"), "strength", word)
    (tmp_path / "searched.py").write_text(PLUGIN.format(name="searched", space={"strenght": ("log", 1, 5)}))
    mine = ["--plugin", tmp_path / "searched.py", "--set", "strategies.searched.strength=2", "--strategies", "searched"]
    refused(cli("tune", suite, *mine, "--out", tmp_path / "d"), "'strenght'", "'strength'")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years of work")
    refused(cli("tune", suite, *options, "--out", tmp_path / "home"), "other files")


def test_spaces_are_of_settings_there_are_and_hold_the_defaults() -> None:
    found = 0
    for name, entry in STRATEGIES.entries().items():
        if entry.origin != "built-in":
            continue
        strategy = STRATEGIES.get(name)
        for key, (kind, *where) in strategy.tuned.items():
            found += 1
            default = strategy.model_fields[key].default
            for value in where[0] if kind == "choice" else [*where, default]:
                strategy(**{key: value})
            assert default in where[0] if kind == "choice" else where[0] <= default <= where[1], (name, key)
            assert kind in ("log", "linear", "choice")
    assert found >= 5


def test_a_stream_is_cut_off_after_its_first_experiences(suite: Path) -> None:
    manifest = load_suite(str(suite)).config.benchmark.manifest()
    first = first_experiences(manifest, 2)
    assert first.experience_names == list(manifest.experience_names[:2]) and first.experiences == 2
    kept = manifest.table[manifest.table.experience < 2]
    assert list(first.table.path) == list(kept.path) and list(first.table.label) == list(kept.label)
    assert list(first.classes) == list(manifest.classes)
    for count in (0, 10):
        with pytest.raises(InputError, match=str(count)):
            first_experiences(manifest, count)


def test_what_cannot_act_in_so_few_experiences_is_said(suite: Path, cli, tmp_path: Path) -> None:
    options = ["--trials", 1, "--experiences", 1, "--out", tmp_path / "out"]
    answer = cli("tune", suite, *options, "--strategies", "lwf,slda")
    told = "alpha of lwf cannot act in fewer than 2 experiences"
    assert answer.code == 0 and answer.err.count(told) == 1 and "shrinkage of slda" not in answer.err
    assert told in load_suite(str(tmp_path / "out" / "tuned.yaml")).config.tuning


@pytest.mark.parametrize("name", ["der++", "ewc", "l2sp", "lwf", "mas", "ncm", "slda"])
def test_a_strategy_knows_from_how_many_experiences_its_settings_act(name: str) -> None:
    from lorisbench.reproduce.verification.tiny import apart, trained
    from lorisbench.suite.entries import make_strategy

    ((key, (kind, *where)),) = list(STRATEGIES.get(name).tuned.items())[-1:]
    ends = (where[0][0], where[0][-1]) if kind == "choice" else where
    for experiences in (1, 2):
        low, high = (trained(name, experiences=experiences, **{key: value}) for value in ends)
        acts = experiences >= make_strategy({"strategy": name}).tuned_from
        assert (apart(low, high) > 0) == acts, experiences
