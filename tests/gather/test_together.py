"""`lorisbench report A B --out C`: several outputs as one; what differs is said, only what is the same is averaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from answers import refused
from stored_output import Folder, accuracy_matrix

from lorisbench.gather.together import OTHER_MACHINE, combine
from lorisbench.metrics import correct
from lorisbench.metrics.correct import CORRECT
from lorisbench.metrics.machines import OF_MACHINE
from lorisbench.report.frame import read, streams

Cli = Callable[..., Any]
FIRST = {"naive": 0, "ewc": 1}


def output(out: Path, seeds: range = range(2), change: Callable[[Folder], None] | None = None, **suite: Any) -> Path:
    """An output of two strategies whose results depend on strategy and seed alone."""
    folder = Folder(out, **suite)
    for label, number in FIRST.items():
        for seed in seeds:
            folder.run(label, seed, accuracy_matrix(3, 10 * seed + number, 0.7 + 0.05 * number, 0.3), strategy=label)
    if change:
        change(folder)
    return folder.write()


def labels(out: Path) -> dict[str, list[int]]:
    table = pd.read_csv(out / "results.csv")
    return {str(label): sorted(mine.seed) for label, mine in table.groupby("strategy", sort=False)}


def told(out: Path) -> str:
    return " ".join(read(out, streams(out)[0]).warnings)


def test_other_seeds_of_the_same_settings_are_one_strategy(tmp_path: Path) -> None:
    a, b = output(tmp_path / "a"), output(tmp_path / "b", range(2, 5))
    combine([a, b], tmp_path / "c")
    assert labels(tmp_path / "c") == {"naive": [0, 1, 2, 3, 4], "ewc": [0, 1, 2, 3, 4]}
    stored = read(tmp_path / "c")
    assert len(stored.matrices) == 10 and stored.stack("ewc").shape == (5, 3, 3)
    mean = np.mean([accuracy_matrix(3, 10 * seed + 1, 0.75, 0.3) for seed in range(5)], axis=0)
    assert np.allclose(stored.stack("ewc").mean(axis=0), mean)
    assert "Together from A (a), B (b)." in stored.warnings[0] and "Seeds: A: 0, 1; B: 2 to 4." in stored.warnings
    assert stored.names == [f"illumination {level}" for level in (1, 2, 3)] and stored.data["content_hash"]


def test_the_same_runs_count_once(tmp_path: Path) -> None:
    a, b = output(tmp_path / "a"), output(tmp_path / "b", range(1, 3))
    combine([a, b], tmp_path / "c")
    assert labels(tmp_path / "c") == {"naive": [0, 1, 2], "ewc": [0, 1, 2]}
    assert "2 runs of B (naive, ewc) are those of A again, with the same results, and count once." in told(
        tmp_path / "c"
    )


@pytest.mark.parametrize(
    ("suite", "words"),
    [
        ({"backbone": {"name": "other", "train": "never"}}, "backbone.name other in place of tf_efficientnet_lite0"),
        ({"head": {"hidden": [8]}}, "head.hidden [8] in place of []"),
        (
            {"training": {"epochs": 5, "lr": 0.1, "later": {"lr": 0.2}}},
            "training.lr 0.1 in place of 0.003, training.later.lr 0.2 in place of nothing",
        ),
    ],
)
def test_other_settings_around_are_another_strategy(suite: dict[str, Any], words: str, tmp_path: Path) -> None:
    combine([output(tmp_path / "a"), output(tmp_path / "b", range(2, 4), **suite)], tmp_path / "c")
    assert labels(tmp_path / "c") == {"naive": [0, 1], "ewc": [0, 1], "naive (B)": [2, 3], "ewc (B)": [2, 3]}
    assert f"ewc of B is called ewc (B): {words}." in told(tmp_path / "c")
    assert "left out" not in told(tmp_path / "c")


def test_other_settings_of_a_strategy_are_another_one(tmp_path: Path) -> None:
    def stronger(folder: Folder) -> None:
        folder.suite["strategies"]["ewc"] |= {"ewc_lambda": 30}

    def weaker(folder: Folder) -> None:
        folder.suite["strategies"]["ewc"] |= {"ewc_lambda": 3}

    a, b = output(tmp_path / "a", change=stronger), output(tmp_path / "b", range(2, 4), weaker)
    combine([a, b], tmp_path / "c")
    assert labels(tmp_path / "c") == {"naive": [0, 1, 2, 3], "ewc": [0, 1], "ewc (B)": [2, 3]}
    assert "ewc of B is called ewc (B): ewc_lambda 3 in place of 30." in told(tmp_path / "c")
    settings = read(tmp_path / "c").settings
    assert settings["ewc"]["ewc_lambda"] == 30 and settings["ewc (B)"]["ewc_lambda"] == 3
    combine([a, b, output(tmp_path / "d", range(4, 5), weaker)], tmp_path / "e")
    assert labels(tmp_path / "e")["ewc (B)"] == [2, 3, 4], "the third is the second's"


def test_other_results_under_the_same_seed_are_another_strategy(tmp_path: Path) -> None:
    def other(folder: Folder) -> None:
        for row in folder.rows:
            row["accuracy_last"] -= 0.01 * (row["strategy"] == "ewc")

    a, b = output(tmp_path / "a"), output(tmp_path / "b", change=other)
    combine([a, b], tmp_path / "c")
    assert labels(tmp_path / "c") == {"naive": [0, 1], "ewc": [0, 1], "ewc (B)": [0, 1]}
    assert "ewc (B): the same settings, but other results (accuracy_last under seed 0" in told(tmp_path / "c")
    assert len(read(tmp_path / "c").matrices) == 6


def data(**changes: Any) -> Callable[[Folder], None]:
    def change(folder: Folder) -> None:
        assert folder.data
        folder.data |= changes

    return change


@pytest.mark.parametrize("other", ["another", None])
def test_a_stream_of_other_images_is_another_stream(other: str | None, cli: Cli, tmp_path: Path) -> None:
    a, b = output(tmp_path / "a"), output(tmp_path / "b", change=data(content_hash=other, name="Others"))
    answer = cli("report", a, b, "--out", tmp_path / "c", report=True)
    assert answer.code == 0, answer.err
    assert streams(tmp_path / "c") == ["openloris-sim", "openloris-sim (B)"]
    why = "other images, by their content hash" if other else "what its images are is not stored"
    assert f"The stream openloris-sim of B is not that of A ({why}) and is called openloris-sim (B)." in answer.err
    assert labels(tmp_path / "c") == {"naive": [0, 0, 1, 1], "ewc": [0, 0, 1, 1]}
    assert read(tmp_path / "c", "openloris-sim (B)").data["name"] == "Others"
    page = (tmp_path / "c" / "report" / "index.html").read_text("utf-8")
    assert why in page and "Together from A (a), B (b)." in page


def test_several_streams_of_several_outputs(tmp_path: Path) -> None:
    """Streams that only one output has keep their names, and each has the settings of its own output."""

    def renamed(name: str, lr: float) -> Callable[[Folder], None]:
        def change(folder: Folder) -> None:
            for row in folder.rows:
                row |= {"stream": name, "order": 0}
            folder.suite |= {"training": {"epochs": 5, "lr": lr}, "benchmarks": {name: folder.suite.pop("benchmark")}}
            folder.data = {"streams": {name: folder.data}}

        return change

    a = output(tmp_path / "a", change=renamed("one", 0.1))
    b = output(tmp_path / "b", change=renamed("two", 0.2))
    combine([a, b], tmp_path / "c")
    assert streams(tmp_path / "c") == ["one", "two"]
    assert labels(tmp_path / "c") == {"naive": [0, 0, 1, 1], "ewc": [0, 0, 1, 1]}
    assert [read(tmp_path / "c", name).suite["training"]["lr"] for name in ("one", "two")] == [0.1, 0.2]
    assert "Streams: A: one; B: two." in read(tmp_path / "c", "one").warnings


def test_times_are_those_of_the_first_machine(cli: Cli, tmp_path: Path) -> None:
    a, b = output(tmp_path / "a"), output(tmp_path / "b", range(2, 4))
    for file in b.glob("runs/*/env.json"):
        env = json.loads(file.read_text())
        env["machine"]["cpu"], env["versions"]["torch"] = "Another CPU", "3.0"
        file.write_text(json.dumps(env))
    answer = cli("report", a, b, "--out", tmp_path / "c")
    assert "Machines differ: A: Some CPU, 2 cores, Linux; B: Another CPU, 2 cores, Linux." in answer.err
    assert "Versions differ: torch A: 2.14.1; B: 3.0." in answer.err
    table = pd.read_csv(tmp_path / "c" / "results.csv", keep_default_na=False)
    theirs = table[table.seed > 1]
    had = [name for name in OF_MACHINE if name in table and (table[table.seed < 2][name] != "").all()]
    assert {"train_seconds", "latency_p50_ms", "latency_ratio"} <= set(had)
    for name in had:
        assert (theirs[name] == "").all() and theirs.undefined.str.contains(f"{name}: {OTHER_MACHINE}").all(), name
    assert (theirs.state_mb != "").all() and (theirs.accuracy_last != "").all()
    assert set(read(tmp_path / "c").latencies) == set(table[table.seed < 2].run_id)


def test_the_latencies_of_each_machine_are_kept(tmp_path: Path) -> None:
    """Also of runs that count once."""

    def timed(machine: str, label: str) -> Callable[[Folder], None]:
        def change(folder: Folder) -> None:
            columns = ("device", "threads", "architecture", "p50_ms", "p95_ms", "bare_ms", "images")
            run = next(row["run_id"] for row in folder.rows if row["strategy"] == label)
            row = {"machine": machine, "stream": "openloris-sim", "strategy": label, "run_id": run}
            folder.out.mkdir(exist_ok=True)
            pd.DataFrame([row | dict.fromkeys(columns, "1")]).to_csv(folder.out / "latency.csv", index=False)

        return change

    a, b = output(tmp_path / "a", change=timed("one", "ewc")), output(tmp_path / "b", change=timed("two", "ewc"))
    combine([a, b], tmp_path / "c")
    stored = read(tmp_path / "c")
    assert stored.machines.machine.tolist() == ["one", "two"] and len(stored.runs) == 4
    assert set(stored.machines.run_id) <= set(stored.runs.run_id)


def test_runs_of_one_id_in_two_outputs_stay_two(tmp_path: Path) -> None:
    """Ids are hashes of settings, and say nothing of images or versions."""
    a, b = output(tmp_path / "a"), output(tmp_path / "b", change=data(content_hash="another"))
    assert set(pd.read_csv(a / "results.csv").run_id) == set(pd.read_csv(b / "results.csv").run_id)
    combine([a, b], tmp_path / "c")
    table = pd.read_csv(tmp_path / "c" / "results.csv")
    folders = {path.name for path in (tmp_path / "c" / "runs").iterdir()}
    assert len(folders) == 8 and set(table.run_id) == folders


def test_a_part_of_an_output_says_what_it_is(finished: Callable[..., Path], cli: Cli, tmp_path: Path) -> None:
    """Of trained runs: folders with their settings under the new names, and no checkpoint."""
    a = finished(tmp_path / "a")
    b = tmp_path / "b"
    shutil.copytree(a, b)
    text = (b / "data.json").read_text()
    (b / "data.json").write_text(text.replace(json.loads(text)["content_hash"], "another"))
    assert cli("report", a).code == cli("report", b).code == 0
    before = {path: path.read_bytes() for out in (a, b) for path in out.rglob("*") if path.is_file()}
    answer = cli("report", a, b, "--out", tmp_path / "c")
    assert answer.code == 0, answer.err
    assert "left out" not in answer.err and not list((tmp_path / "c").rglob("checkpoint"))
    for folder in (tmp_path / "c" / "runs").iterdir():
        config = yaml.safe_load((folder / "config.yaml").read_text())
        assert config["run_id"] == folder.name
        assert config["stream"].endswith(" (B)") == folder.name.endswith(".B")
        assert (folder / "predictions.npz").is_file()
    kept = correct.read(tmp_path / "c" / CORRECT)
    own = next(iter(correct.read(a / CORRECT).values()))
    assert list(kept) == streams(tmp_path / "c")
    assert [set(runs) for runs in kept.values()] == [set(own), {f"{run}.B" for run in own}]
    images = pd.read_csv(tmp_path / "c" / "images.csv.gz")
    assert list(images.stream.unique()) == streams(tmp_path / "c")
    assert before == {path: path.read_bytes() for path in before}, "others' outputs are only read"
    assert cli("report", tmp_path / "c").code == 0, "its report can be made again"
    refused(cli("run", "quickstart", "--out", tmp_path / "c"), "--out")


def test_damaged_and_foreign_parts_are_left_out_and_listed(cli: Cli, tmp_path: Path) -> None:
    def with_benchmarks(folder: Folder) -> None:
        folder.put("a-copy", "config.yaml", "run_id: another\nlabel: x\nseed: 0\nbenchmark: {name: x}\n")
        folder.put("half", "config.yaml", "{")

    a, b = output(tmp_path / "a"), output(tmp_path / "b", range(2, 4), with_benchmarks)
    lines = (b / "results.csv").read_text().splitlines()
    (b / "results.csv").write_text("\n".join([*lines, lines[1]]) + "\n")
    answer = cli("report", a, b, "--out", tmp_path / "c")
    assert answer.code == 0
    for word in ("B: results.csv: the run", "listed again", "a-copy is left out", "half is not read"):
        assert word in answer.err, answer.err
        assert word in told(tmp_path / "c")
    (b / "matrix.csv").write_bytes(b"\xff\xfe\x00")
    refused(cli("report", a, b, "--out", tmp_path / "d"), "matrix.csv")
    assert not (tmp_path / "d").exists()


def test_what_cannot_be_shown_together_is_refused(cli: Cli, tmp_path: Path) -> None:
    a = output(tmp_path / "a")
    b = output(tmp_path / "b")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("mine")
    refused(cli("report", a, b, "--out", tmp_path / "other"), "--out", "something else")
    refused(cli("report", a, b, "--out", a), "is one of the outputs")
    refused(cli("report", a, b, a, "--out", tmp_path / "c"), "given twice")
    refused(cli("report", a, tmp_path / "none", "--out", tmp_path / "c"), "none")
    refused(cli("report", *([a] * 27), "--out", tmp_path / "c"), "no more than 26")
    assert (tmp_path / "other" / "mine.txt").read_text() == "mine" and not (tmp_path / "c").exists()
    combine([a, b], tmp_path / "c")
    combine([a], tmp_path / "c")
    assert labels(tmp_path / "c") == {"naive": [0, 1], "ewc": [0, 1]}, "what was together before is replaced"


def test_without_out_each_has_its_own_report(cli: Cli, tmp_path: Path) -> None:
    outs = [output(tmp_path / name) for name in "ab"]
    answer = cli("report", *outs, report=True)
    assert answer.code == 0 and answer.out.count("report: ") == 2
    assert all((out / "report" / "index.html").is_file() for out in outs)


def test_a_folder_of_references_can_be_one(tmp_path: Path) -> None:
    """Those have no folders of runs, and one env.json for all."""
    a, b = output(tmp_path / "a"), output(tmp_path / "b", range(2, 4))
    shutil.copy(next((a / "runs").glob("*/env.json")), a / "env.json")
    shutil.rmtree(a / "runs")
    combine([a, b], tmp_path / "c")
    stored = read(tmp_path / "c")
    assert labels(tmp_path / "c") == {"naive": [0, 1, 2, 3], "ewc": [0, 1, 2, 3]}
    assert len(stored.environments) == 8 and stored.runs.train_seconds.notna().all()
