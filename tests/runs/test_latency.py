"""Latency: measured once for each architecture, told where from, and measured again from an output's files alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from answers import refused
from small_models import TWO_CALLS

from lorisbench.common.errors import InputError
from lorisbench.export import beside
from lorisbench.report import frame, tables
from lorisbench.runs import elsewhere, latency, latency_table, quiet
from lorisbench.runs.launch import launch
from lorisbench.suite.resolve import load_suite

PLUGIN = '''
from lorisbench import Strategy


class Away(Strategy, name="away-latency"):
    """Nothing."""

    def plugins(self, context):
        return []
'''


@pytest.fixture(scope="module")
def calls() -> list[int]:
    return []


@pytest.fixture(scope="module")
def measured(made_once: Callable[..., Path], release: Path, calls: list[int]) -> Path:
    """An output of two strategies with two seeds each; `calls` counts the timed calls of a model."""
    from small_models import SMALL

    def make(folder: Path) -> None:
        folder.mkdir()
        (folder / "away.py").write_text(PLUGIN)
        suite = {
            "name": "tiny", "strategies": ["naive", "ncm", "away-latency"],
            "benchmark": {"name": "openloris", "protocol": "factor", "factor": "clutter", "root": str(release)},
            "backbone": SMALL, "training": {"epochs": 1, "batch_size": 32},
            "seeds": [0, 1], "latency": TWO_CALLS, "device": "cpu", "plugins": [str(folder / "away.py")],
        }  # fmt: skip
        (folder / "tiny.yaml").write_text(json.dumps(suite))
        alternate = latency.alternate

        def counted(first: Any, *more: Any) -> Any:
            calls.append(more[1])
            return alternate(first, *more)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(latency, "alternate", counted)
            launch(load_suite(str(folder / "tiny.yaml")), folder / "out", 0)

    return made_once("measured latency", make)


def latencies(out: Path) -> dict[str, dict[str, Any]]:
    return {folder.name: json.loads((folder / "latency.json").read_text()) for folder in (out / "runs").iterdir()}


def test_runs_of_one_architecture_share_a_measurement(measured: Path, calls: list[int]) -> None:
    assert len(calls) == 2, "two sizes of batches, once: the three strategies have a linear head each"
    found = latencies(measured / "out")
    for run_id, told in found.items():
        assert told["measured_on"].split(".")[1] == "naive" and found[told["measured_on"]] == told, run_id
        assert (told["batch"], told["calls"], len(told["ms"]), len(told["bare_ms"])) == (1, 2, 2, 2)
        (large,) = told["batches"]
        assert (large["batch"], large["calls"], len(large["ms"]), len(large["bare_ms"])) == (32, 2, 2, 2)
    assert len({told["measured_on"] for told in found.values()}) == 1
    results = pd.read_csv(measured / "out" / "results.csv")
    middle = results.run_id.map(lambda run: np.median(found[run]["batches"][0]["ms"]))
    assert np.allclose(results.throughput, 32_000 / middle)
    assert results.parameters.gt(0).all() and results.macs.gt(0).all()
    assert (results.inference_mb > results.model_mb).all(), "what lies between layers comes on top"
    assert results.latency_p50_ms.notna().all() and results.groupby("strategy").latency_p50_ms.nunique().eq(1).all()
    rows = pd.read_csv(measured / "out" / "latency.csv")
    assert sorted(rows.strategy) == ["away-latency", "naive", "ncm"] and set(rows.images) == {"own"}
    assert set(rows.run_id) == {run for run in found if ".s0." in run}, "the first run of each strategy"
    assert rows.p50_ms.nunique() == 1, "one measurement, shared"


@pytest.mark.parametrize("change", ["head.hidden=[4]", "backbone.image_size=48", "naive.training.epochs=2"])
def test_what_shapes_the_model_makes_another_architecture(change: str, suite_file: Callable[..., Path]) -> None:
    from torch import nn

    def of(*changes: str) -> str:
        suite = load_suite(str(suite_file()), assignments=changes)
        return latency.architecture_of(nn.Linear(2, 3), suite.runs[0])

    assert (of() == of(change)) == (change == "naive.training.epochs=2")
    spec = load_suite(str(suite_file())).runs[0]
    kinds = [
        nn.Linear(2, 3),
        nn.Linear(2, 4),
        nn.Linear(2, 3, bias=False),
        nn.Bilinear(2, 2, 3),
        nn.Linear(2, 3).double(),
    ]
    for size in (2, 9):  # what is worked out of the state is not in it, but takes time
        kinds.append(nn.Linear(2, 3))
        kinds[-1].register_buffer("worked_out", torch.zeros(size), persistent=False)
    kinds.append(nn.Linear(2, 3))
    kinds[-1].weight = nn.Parameter(kinds[-1].weight.detach().to_sparse())
    assert len({latency.architecture_of(kind, spec) for kind in kinds}) == len(kinds) == 8


def test_only_a_plain_classifier_is_timed_without_regard_to_its_strategy(suite_file: Callable[..., Path]) -> None:
    from torch import nn

    from lorisbench.model.models import Classifier

    class Slow(nn.Linear):
        """A head of a strategy's own."""

    specs = [load_suite(str(suite_file()), add=["ewc"], seeds=[0]).runs[k] for k in (0, -1)]
    assert specs[0].strategy.name != specs[1].strategy.name

    def shapes(make: Callable[[], nn.Module]) -> int:
        return len({latency.architecture_of(make(), spec) for spec in specs})

    def hooked() -> nn.Module:
        model = Classifier(None, nn.Linear(2, 3))
        model.head.register_forward_hook(lambda *_: None)
        return model

    assert shapes(lambda: Classifier(None, nn.Linear(2, 3))) == 1
    assert shapes(lambda: Classifier(None, Slow(2, 3))) == 2

    def patched() -> nn.Module:
        model = Classifier(None, nn.Linear(2, 3))
        model.head.forward = lambda x: x  # type: ignore[method-assign, assignment]
        return model

    assert shapes(hooked) == shapes(patched) == 2
    plain, padded = (Classifier(nn.Conv2d(3, 4, 1, padding=pad), nn.Linear(2, 3)) for pad in (0, 1))
    assert latency.architecture_of(plain, specs[0]) != latency.architecture_of(padded, specs[0]), "in no tensor"


@pytest.mark.parametrize(
    ("batch", "sizes"), [(4, [4]), ([32, 1, 32], [1, 32]), ([0], "greater than 0"), ([], "at least 1"), ("x", "batch")]
)
def test_sizes_of_batches_are_one_or_several(batch: Any, sizes: Any, suite_file: Callable[..., Path]) -> None:
    suite = str(suite_file(latency={"batch": batch, "calls": 100, "warmup": 10}))
    if isinstance(sizes, str):
        with pytest.raises(InputError, match=f"latency.batch.*{sizes}|{sizes}"):
            load_suite(suite)
        return
    settings = load_suite(suite).config.latency
    assert settings.batch == sizes
    assert settings.calls_of(sizes[0]) == 100 and settings.warmup_of(sizes[0]) == 10
    if sizes[-1] == 32:
        assert settings.calls_of(32) == 3 and settings.warmup_of(32) == 1, "as many images, but at least three calls"
        assert settings.calls_of(2) == 50 and settings.warmup_of(2) == 5
        few = settings.model_copy(update={"calls": 2, "warmup": 0})
        assert few.calls_of(32) == 2 and few.warmup_of(32) == 0
    drawn: list[int] = []

    def images(count: int) -> torch.Tensor:
        drawn.append(count)
        return torch.zeros(count, 3, 4, 4)

    inputs = latency.inputs_of(settings, images)
    assert [len(each[0]) for each in inputs.values()] == sizes and max(drawn) == 64
    assert all(len(each) == min(16, 64 // size) for size, each in inputs.items())


def test_other_sizes_are_measured_again(measured: Path, tmp_path: Path) -> None:
    from lorisbench.runs.store import Output

    out = Path(shutil.copytree(measured / "out", tmp_path / "out"))

    def left(*changes: str) -> int:
        changes = ("plugins=[]", "strategies=[naive, ncm]", *changes)
        return len(Output(out).unmeasured(load_suite(str(measured / "tiny.yaml"), assignments=changes)))

    assert left() == 0 and left("latency.batch=[32, 1]") == 0
    assert left("latency.batch=1") == left("latency.batch=[1, 8]") == left("latency.threads=2") == 4
    first = next((out / "runs").glob("*.naive.s0.*"))
    old = {key: value for key, value in latencies(out)[first.name].items() if key != "batches"}
    (first / "latency.json").write_text(json.dumps(old))
    assert left() == 1, "a version that timed batches of one image only"


def test_latency_is_measured_again_from_the_files_alone(
    measured: Path, release: Path, cli: Callable[..., Any], tmp_path: Path
) -> None:
    out = Path(shutil.copytree(measured / "out", tmp_path / "out"))
    before = (out / "results.csv").read_bytes(), latencies(out)
    answer = cli("latency", out, "--strategies", "naive,ncm", "--calls", "1", "--threads", "2")
    assert answer.code == 0, answer.err
    assert ((out / "results.csv").read_bytes(), latencies(out)) == before, "results stay"
    rows = pd.read_csv(out / "latency.csv")
    again = rows[rows.threads == 2]
    assert rows.large_batch.eq(32).all() and rows.large_p50_ms.gt(0).all() and rows.p99_ms.ge(rows.p95_ms).all()
    assert len(rows) == 5 and set(again.calls) == {1} and set(again.images) == {"own"} and again.p50_ms.gt(0).all()
    suite = (out / "suite.yaml").read_text()
    assert f"root: {release}\n" in suite
    (out / "suite.yaml").write_text(suite.replace(f"root: {release}\n", "root: /nowhere\n"))
    assert cli("latency", out, "--strategies", "naive", "--calls", "1", "--threads", "2").code == 0
    rows = pd.read_csv(out / "latency.csv")
    assert len(rows) == 5 and rows[(rows.threads == 2) & (rows.strategy == "naive")].images.tolist() == ["random"]
    (table,) = tables.latency_by_machine(frame.read(out))
    assert len(table.rows) == 5 and table.rows[0][0].text == "naive"
    assert tables.latency_by_machine(frame.read(measured / "out")) == [], "one machine needs no table"


@pytest.mark.parametrize("onnx", [False, True])
def test_what_was_measured_before_an_interrupt_is_kept(
    measured: Path, cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, onnx: bool
) -> None:
    out = Path(shutil.copytree(measured / "out", tmp_path / "out"))
    for folder in (out / "runs").glob("*.naive.s1.*"):  # a model that cannot be measured is no obstacle either
        (folder / "checkpoint" / "model.safetensors").write_bytes(b"damaged")
    where, name = (beside, "_beside") if onnx else (elsewhere, "_measure")
    measure, done = getattr(where, name), [0]

    def interrupted(*given: Any) -> dict[str, Any]:
        done[0] += 1
        if done[0] > (1 if onnx else 3):
            raise KeyboardInterrupt
        return {"onnx_ratio": 0.5} if onnx else measure(*given)

    monkeypatch.setattr(where, name, interrupted)
    with pytest.raises(KeyboardInterrupt):
        rows = elsewhere.measure_again(out, threads=2, calls=1, strategies=["naive", "ncm"])
        beside.beside_pytorch(out, rows)
    table = pd.read_csv(out / "latency.csv", keep_default_na=False)
    now = table[table.threads == 2]
    assert sorted(now.strategy) == ["naive", "naive", "ncm"] and (now.error != "").sum() == 1
    assert list(now.onnx_ratio) == (["0.5", "", ""] if onnx else 3 * [""])


def test_a_model_that_cannot_be_restored_has_a_row_that_says_why(
    measured: Path, cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lorisbench.common.registry import STRATEGIES

    out = Path(shutil.copytree(measured / "out", tmp_path / "out"))
    for folder in (out / "runs").glob("*.naive.s0.*"):
        (folder / "checkpoint" / "model.safetensors").write_bytes(b"damaged")
    known = {name: entry for name, entry in STRATEGIES.entries().items() if name != "away-latency"}
    monkeypatch.setattr(STRATEGIES, "_entries", known)
    answer = cli("latency", out, "--calls", "1")
    assert answer.code == 1 and "--plugin" in answer.err and "Traceback" not in answer.err
    rows = pd.read_csv(out / "latency.csv", keep_default_na=False)
    assert (rows[rows.strategy == "naive"].error != "").tolist() == [True, False], "the other seed is measured"
    assert rows[(rows.strategy == "away-latency") & (rows.error != "")].error.str.contains("not built in").all()
    refused(cli("latency", out, "--strategies", "naiv"), "'naive'")
    refused(cli("latency", tmp_path), "suite.yaml")
    refused(cli("latency", out, "--device", "cuda:99"), "cuda:99")
    refused(cli("latency", out, "--device", "gpu"), "'gpu'")


def test_a_damaged_table_is_kept_aside(tmp_path: Path) -> None:
    (tmp_path / "latency.csv").write_bytes(b"\xff\xfe")
    row = {"machine": "a", "strategy": "s", "architecture": "x", "error": ""}
    latency_table.add_rows(tmp_path, [row, {**row, "architecture": "", "error": "gone"}])
    assert (tmp_path / "latency.csv.damaged").is_file()
    latency_table.add_rows(tmp_path, [row])
    assert pd.read_csv(tmp_path / "latency.csv").architecture.tolist() == ["x"], "the fault is mended"
    latency_table.add_rows(tmp_path, [{**row, "machine": "b"}, {**row, "architecture": "y"}])
    table = pd.read_csv(tmp_path / "latency.csv")
    assert len(table) == 3
    table.drop(columns=["p99_ms", "large_batch", "onnx_fault"]).to_csv(tmp_path / "latency.csv", index=False)
    latency_table.add_rows(tmp_path, [{**row, "machine": "c"}])
    assert len(pd.read_csv(tmp_path / "latency.csv")) == 4, "an older version had fewer columns"


def test_who_measures_beside_training_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(quiet, "_file", lambda: tmp_path / "lock")
    monkeypatch.setattr(quiet, "PATIENCE", 0.0)
    with quiet.measuring() as alone:
        assert alone
        with quiet.training():
            assert "measures a latency" in capsys.readouterr().err
    with quiet.training(), quiet.training(), quiet.measuring() as alone:
        assert not alone and "may be too long" in capsys.readouterr().err
    with quiet.measuring() as alone:
        assert alone and capsys.readouterr().err == ""
