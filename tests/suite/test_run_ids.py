"""A run's settings are typed, its id says what differs from the defaults, and config.yaml is read back as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lorisbench import Strategy
from lorisbench.common.errors import InputError
from lorisbench.common.registry import STRATEGIES as REGISTRY
from lorisbench.common.yaml_files import from_yaml, to_yaml
from lorisbench.suite import resolve
from lorisbench.suite.config import BackboneConfig
from lorisbench.suite.entries import Entry
from lorisbench.suite.resolve import ResolvedConfig, load_suite, run_id_of
from lorisbench.suite.spec import spec_from
from lorisbench.suite.training import LaterConfig, TrainingConfig


class Later(LaterConfig):
    patience: int = 0


class Training(TrainingConfig):
    later: Later = Later()
    clip: float = 0.5


class Backbone(BackboneConfig):
    depth: int = 3


class Grown(ResolvedConfig):
    """A suite of a later version, with a setting more in some groups."""

    backbone: Backbone = Backbone()


def grown(config: ResolvedConfig, backbone: dict[str, Any], training: dict[str, Any]) -> str:
    """The id of its first run, if the groups had a field more."""
    ((label, entry),) = config.strategies.items()
    changes = {
        "backbone": Backbone(**{**config.backbone.model_dump(), **backbone}),
        "strategies": {label: Entry(entry.strategy, Training(**{**entry.training.model_dump(), **training}))},
    }
    given = {key: getattr(config, key) for key in ResolvedConfig.model_fields}
    return run_id_of(Grown(**{**given, **changes}), label, config.seeds[0])


@pytest.mark.parametrize("later", [{}, {"epochs": 1}])
def test_a_new_setting_with_a_default_changes_no_id(suite_file: Callable[..., Path], later: dict[str, int]) -> None:
    suite = load_suite(str(suite_file(training={"epochs": 2, "later": later})))
    run_id = suite.runs[0].run_id
    assert grown(suite.config, {}, {}) == run_id
    ids = [
        grown(suite.config, {"depth": 4}, {}),
        grown(suite.config, {}, {"clip": 0.25}),
        grown(suite.config, {}, {"later": {**later, "patience": 1}}),
    ]
    assert len({run_id, *ids}) == 4


@pytest.fixture
def forgotten() -> Iterator[None]:
    """The strategy `grows` is unknown again after the test: other tests look at all strategies there are."""
    yield
    for known in (REGISTRY._loaded, REGISTRY.entries()):
        known.pop("grows", None)  # type: ignore[attr-defined]


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize("entry", [{}, {"strategy": {"stack": ["ewc", "grows"]}}])
def test_a_new_setting_of_a_strategy_changes_no_id(suite_file: Callable[..., Path], entry: dict[str, Any]) -> None:
    file = str(suite_file(strategies={"grows": entry}))

    class Before(Strategy, name="grows"):
        __qualname__ = "Grows"
        old: int = 1

    before = load_suite(file).runs[0]
    other = [f"grows.{'strategy.stack.1.' if entry else ''}old=2"]
    changed = load_suite(file, assignments=other).runs[0]

    class After(Strategy, name="grows"):
        __qualname__ = "Grows"
        old: int = 1
        new: float = 0.5

    after = load_suite(file).runs[0]
    assert "new" in str(after.config["strategy"]) and "new" not in str(before.config["strategy"])
    assert after.run_id == before.run_id != changed.run_id
    assert load_suite(file, assignments=other).runs[0].run_id == changed.run_id


@pytest.mark.parametrize(
    "assignment",
    [
        "benchmark.fraction=0.5",
        "backbone.image_size=64",
        "head.hidden=[8]",
        "training.lr=0.1",
        "training.later.lr=0.1",
        "training.augment={}",
        "evaluation.split=validation",
        "strategies.naive.training.epochs=3",
        "strategies={naive: {strategy: ewc}}",
        "strategies={other: {strategy: naive}}",
    ],
)
def test_what_changes_a_run_changes_its_id(suite_file: Callable[..., Path], assignment: str) -> None:
    file = str(suite_file())
    assert load_suite(file).runs[0].run_id != load_suite(file, assignments=[assignment]).runs[0].run_id


def test_what_changes_no_number_changes_no_id(suite_file: Callable[..., Path], release: Path, tmp_path: Path) -> None:
    (tmp_path / "moved").symlink_to(release)
    others = [f"benchmark.root={tmp_path / 'moved'}", "name=other", "latency.calls=9", "backbone.train=never",
              "device=auto", "training.weight_decay=0", "strategies=[naive, ewc]"]  # fmt: skip
    file = str(suite_file(seeds=[0, 1]))
    plain, changed = load_suite(file).runs, load_suite(file, assignments=others).runs
    assert [run.run_id for run in plain] == [run.run_id for run in changed[:2]]
    hashes = {run.run_id.rpartition(".")[2] for run in plain}
    assert len(hashes) == 1 and len({run.run_id for run in changed}) == 4


def test_the_schema_number_is_part_of_the_id(suite_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    file = str(suite_file())
    before = load_suite(file).runs[0].run_id
    monkeypatch.setattr(resolve, "SCHEMA", resolve.SCHEMA + 1)
    assert load_suite(file).runs[0].run_id != before


STRATEGIES = {
    "naive": None,
    "both": {"stack": [{"ewc": {"ewc_lambda": 3}}, "lwf"], "training": {"preset": "hik2019", "epochs": 140}},
    "kept": {"avalanche": "avalanche.training.plugins:ReplayPlugin", "args": {"mem_size": 6}},
    "heads": {"strategy": "dnn", "answer": "batch", "expand_at": [1, 2]},
}


def test_a_run_is_read_back_as_it_was(suite_file: Callable[..., Path]) -> None:
    suite = load_suite(
        str(
            suite_file(
                strategies=STRATEGIES,
                backbone={"name": "resnet18", "train": "first", "norm": "group"},
                head={"hidden": [8, 4]},
                training={"epochs": 3, "later": {"lr": 0.1}, "augment": {"views": 2}},
                evaluation={"split": "validation"},
            )
        )
    )
    for spec in suite.runs:
        text = to_yaml(spec.config)
        assert text.startswith("schema: ") and spec.config["device"] == "cpu"
        again = spec_from(from_yaml(text), Path("config.yaml"))
        assert again == spec and again.config == spec.config
    assert [spec.strategy.name for spec in suite.runs] == ["naive", "stack", "avalanche", "dnn"]
    assert suite.runs[1].training.milestones == [50, 90, 120] and suite.runs[0].training.milestones == []
    assert [part.name for part in suite.runs[1].strategy.stack] == ["ewc", "lwf"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": {"trian": "never"}}, r"config\.yaml: backbone\.trian'; did you mean 'train'"),
        ({"strategy": {"strategy": "naiv"}}, "unknown strategy 'naiv'"),
        ({"strategy": {"strategy": "ewc", "ewc_lambda": -1}}, r"config\.yaml: strategy\.ewc_lambda"),
        ({"strategy": "ewc"}, r"config\.yaml: strategy: expected a mapping"),
        ({"seed": "x"}, r"config\.yaml: not the settings of a run"),
        ({"schema": 1}, r"config\.yaml: .*schema number 1.*another --out"),
    ],
)
def test_a_damaged_run_is_one_line(suite_file: Callable[..., Path], changes: dict[str, Any], message: str) -> None:
    config = {**load_suite(str(suite_file())).runs[0].config, **changes}
    with pytest.raises(InputError, match=message) as error:
        spec_from(config, Path("config.yaml"))
    assert "\n" not in str(error.value)


def test_quickstart_has_the_runs_it_had() -> None:
    runs = load_suite("quickstart").runs
    labels = ["naive", "joint", "ewc", "lwf", "dnn-heads", "dnn"]
    assert [(run.label, run.seed) for run in runs] == [(label, seed) for label in labels for seed in (0, 1, 2)]
    assert len({run.run_id for run in runs}) == 18
