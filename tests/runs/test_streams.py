"""Several streams and orders in one suite: what is trained once, written, joined, reported and refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from answers import refused
from same import same_results
from stored_output import data_of

import lorisbench
from lorisbench.common.errors import InputError
from lorisbench.metrics.compare import compare_outputs, missing
from lorisbench.model import features, views
from lorisbench.model.backbones import backbone_of
from lorisbench.report import write_report
from lorisbench.report.frame import read
from lorisbench.runs import crews, workbench
from lorisbench.runs.launch import headline, launch
from lorisbench.runs.store import Output
from lorisbench.suite.orders import LARGEST, permutation
from lorisbench.suite.resolve import load_suite
from lorisbench.suite.training import AugmentConfig

STREAMS = ("clutter", "pixel")


def suite_of(folder: Path, release: Path, **changes: Any) -> str:
    """A suite of two streams, two orders and two strategies that trains in a second."""
    benchmark = {"name": "openloris", "protocol": "factor", "root": str(release), "fraction": 0.5}
    settings = {
        "name": "two",
        "benchmarks": {factor: {**benchmark, "factor": factor} for factor in STREAMS},
        "streams": {"pixel": {"training": {"epochs": 4}, "head": {"hidden": [16]}}},
        "backbone": {"name": "pixels", "image_size": 16},
        "training": {"epochs": 6, "batch_size": 2},
        "strategies": {"naive": None, "ewc": {"training": {"lr": 0.01}}},
        "orders": 2,
        "seeds": [0],
        "latency": {"enabled": False},
        "device": "cpu",
        **changes,
    }
    file = folder / "two.yaml"
    file.write_text(yaml.safe_dump({key: value for key, value in settings.items() if value != "none"}, sort_keys=False))
    return str(file)


@pytest.fixture(scope="module")
def out(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of all eight runs; it is only to be read."""
    folder = tmp_path_factory.mktemp("streams")
    launch(load_suite(suite_of(folder, release)), folder / "out")
    return folder / "out"


def test_every_run_says_its_stream_and_order(out: Path) -> None:
    table = pd.read_csv(out / "results.csv")
    assert list(table.columns[:6]) == ["run_id", "benchmark", "stream", "order", "strategy", "seed"]
    wanted = [(s, o, label) for s in STREAMS for o in (0, 1) for label in ("naive", "ewc")]
    assert list(table[["stream", "order", "strategy"]].itertuples(index=False, name=None)) == wanted
    assert set(table.status) == {"done"} and table.run_id.is_unique
    cells = pd.read_csv(out / "matrix.csv")
    assert list(cells.columns[:4]) == ["run_id", "stream", "order", "after_experience"]
    assert (cells.groupby(["stream", "order"]).size() == 2 * 81).all()
    counts = pd.read_csv(out / "experiences.csv")
    assert counts.columns[0] == "stream" and list(counts.stream) == ["clutter"] * 9 + ["pixel"] * 9
    assert list(json.loads((out / "data.json").read_text())["streams"]) == list(STREAMS)
    for row in table.itertuples():
        config = yaml.safe_load((out / "runs" / row.run_id / "config.yaml").read_text())
        assert (config["stream"], config["order"]) == (row.stream, row.order)
        assert config["permutation"] == permutation(row.order, 9)
        assert config["training"]["epochs"] == (4 if row.stream == "pixel" else 6)
        assert config["training"]["lr"] == (0.01 if row.strategy == "ewc" else 0.003)
        names = [entry["name"] for entry in Output(out).run(row.run_id).entries()]
        own = list(counts[counts.stream == row.stream].name)
        assert names == [own[number] for number in permutation(row.order, 9)]


@pytest.mark.heavy
def test_two_workers_give_the_same_files(out: Path, release: Path, tmp_path: Path) -> None:
    assert "LORISBENCH_WORKERS" in os.environ and os.environ["LORISBENCH_WORKERS"] == "0", "what the other has had"
    launch(load_suite(suite_of(tmp_path, release)), tmp_path / "out", workers=2)
    same_results(out, tmp_path / "out")


def test_messages_name_stream_and_order_where_there_are_several(release: Path, tmp_path: Path) -> None:
    def told(**changes: Any) -> list[str]:
        return [run.told for run in load_suite(suite_of(tmp_path, release), **changes).runs]

    assert told()[:3] == [
        "clutter: naive order 0 seed 0",
        "clutter: ewc order 0 seed 0",
        "clutter: naive order 1 seed 0",
    ]
    assert told(streams=["pixel"], strategies=["ewc"]) == ["ewc order 0 seed 0", "ewc order 1 seed 0"]
    assert told(orders=[1], strategies=["ewc"]) == ["clutter: ewc seed 0", "pixel: ewc seed 0"]
    assert told(orders=[1], streams=["pixel"], strategies=["ewc"]) == ["ewc seed 0"]


def test_an_order_is_the_benchmark_in_that_order(out: Path, release: Path, tmp_path: Path) -> None:
    """Bit for bit: the same images, draws and matrix as with `benchmark.order`."""
    table = pd.read_csv(out / "results.csv")
    (run_id,) = table[(table.stream == "clutter") & (table.order == 1) & (table.strategy == "naive")].run_id
    setting = [f"benchmarks.clutter.order={permutation(1, 9)}"]
    suite = load_suite(
        suite_of(tmp_path, release), streams=["clutter"], strategies=["naive"], orders=[0], assignments=setting
    )
    (other,) = launch(suite, tmp_path / "out").run_id
    first, second = (Output(folder).run(run).matrix() for folder, run in ((out, run_id), (tmp_path / "out", other)))
    assert first is not None and second is not None and np.array_equal(first[0], second[0])


def test_an_order_changes_no_file_of_the_cache(release: Path, tmp_path: Path) -> None:
    config = load_suite(suite_of(tmp_path, release)).config
    manifest, backbone = config.benchmark.usable(), backbone_of(config.backbone)
    moved = manifest.in_order([2, 0, 1, *range(3, 9)])
    assert moved.experience_names[0] == manifest.experience_names[2]
    assert np.array_equal(moved.rows("train", 0), manifest.rows("train", 2))
    assert np.array_equal(moved.rows("test", 1), manifest.rows("test", 0))
    assert list(moved.table.path) == list(manifest.table.path)
    device = workbench.device_of("cpu")
    assert features.entry_of(moved, backbone, 16, device) == features.entry_of(manifest, backbone, 16, device)
    kept = manifest.in_order([0, 2, 1, *range(3, 9)])

    def file(of: Any, experiences: str) -> Path:
        return views.entry_of(of, backbone, 16, device, AugmentConfig.model_validate({"experiences": experiences})).path

    assert file(moved, "all") == file(manifest, "all") and file(kept, "first") == file(manifest, "first")
    assert file(moved, "first") != file(manifest, "first"), "other images have views"


def test_permutations_stay_what_they_are() -> None:
    assert [permutation(order, 3) for order in range(6)] == [
        [0, 1, 2], [0, 2, 1], [2, 0, 1], [1, 2, 0], [2, 1, 0], [1, 0, 2],
    ]  # fmt: skip
    assert permutation(1, 12) == [3, 0, 1, 5, 11, 6, 9, 10, 8, 7, 2, 4]
    assert permutation(2, 12) == [7, 9, 6, 3, 5, 2, 8, 11, 4, 1, 10, 0]
    many = {tuple(permutation(order, 7)) for order in range(LARGEST + 1)}
    assert len(many) == LARGEST + 1 and all(sorted(each) == list(range(7)) for each in many)


def test_ids_of_one_stream_in_its_own_order_are_those_of_before() -> None:
    ids = [run.run_id for run in load_suite("quickstart", orders=[0, 1], seeds=[0], strategies=["naive"]).runs]
    assert ids[0] == "openloris-sim-sequence.naive.s0.f706756d51"
    assert ids[1].startswith("openloris-sim-sequence.naive.s0.o1.") and ids[1][-10:] != ids[0][-10:]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"benchmark": {"name": "openloris-sim"}}, ["either `benchmark`", "`benchmarks`"]),
        ({"benchmarks": {}}, ["'benchmark' is missing"]),
        ({"benchmarks": {"a/b": {"name": "openloris-sim"}}}, ["'a/b' cannot name a stream"]),
        ({"benchmarks": {"clutter": {"name": "openlori"}}}, ["'openlori'", "openloris"]),
        ({"benchmarks": {"clutter": {"protocol": "factor"}}}, ["benchmarks.clutter", "by name"]),
        (
            {"benchmarks": {"clutter": {"name": "openloris-sim", "fracton": 1}}},
            ["benchmarks.clutter.fracton", "fraction"],
        ),
        ({"streams": {"cluter": {}}}, ["'cluter'", "did you mean 'clutter'"]),
        ({"streams": {"pixel": {"traning": {}}}}, ["streams.pixel.traning", "did you mean 'training'"]),
        ({"streams": {"pixel": {"training": {"epohs": 1}}}}, ["streams.pixel.training.epohs", "did you mean 'epochs'"]),
        ({"streams": {"pixel": {"training": {"epochs": 0}}}}, ["streams.pixel.training.epochs"]),
        ({"streams": {"pixel": {"backbone": {"train": "nevr"}}}}, ["streams.pixel.backbone.train"]),
        ({"streams": {"pixel": {"training": "hik"}}}, ["unknown preset 'hik'"]),
        ({"streams": {"pixel": 3}}, ["streams.pixel"]),
        ({"streams": {"pixel": {"strategies": {"ew": {}}}}}, ["streams.pixel.strategies.ew", "did you mean 'ewc'"]),
        (
            {"streams": {"pixel": {"strategies": {"ewc": {"ewc_lamda": 1}}}}},
            ["streams.pixel.strategies.ewc.ewc_lamda", "did you mean 'ewc_lambda'"],
        ),
        ({"streams": {"pixel": {"strategies": {"ewc": {"ewc_lambda": -1}}}}}, ["streams.pixel.strategies.ewc"]),
        ({"streams": {"pixel": {"strategies": {"ewc": 3}}}}, ["streams.pixel.strategies.ewc", "dictionary"]),
        ({"streams": {"pixel": {"strategies": ["ewc"]}}}, ["streams.pixel.strategies", "dictionary"]),
        (
            {"streams": {"pixel": {"strategies": {"ewc": {"strategy": "lwf"}}}}},
            ["streams.pixel.strategies.ewc.strategy", "'ewc' is 'ewc' on all streams", "a label of its own"],
        ),
        (
            {"streams": {"pixel": {"strategies": {"ewc": {"training": {"epohs": 1}}}}}},
            ["streams.pixel.strategies.ewc.training.epohs", "did you mean 'epochs'"],
        ),
        (
            {"streams": {"pixel": {"strategies": {"ewc": {"training": "hik2018"}}}}},
            ["streams.pixel.strategies.ewc.training", "did you mean 'hik2019'"],
        ),
        ({"orders": 0}, ["orders", "from 1"]),
        ({"orders": [0, 0]}, ["orders must be different"]),
        ({"orders": [-1]}, ["orders must be different"]),
        ({"orders": LARGEST + 2}, ["orders", str(LARGEST + 1)]),
        ({"orders": True}, ["orders"]),
        ({"orders": []}, ["orders"]),
    ],
)
def test_a_wrong_suite_is_one_line(release: Path, tmp_path: Path, changes: dict[str, Any], words: list[str]) -> None:
    refused(lambda: load_suite(suite_of(tmp_path, release, **changes)), *words)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--streams", "pixl"], ["unknown stream 'pixl'", "'pixel'"]),
        (["--orders", "0,x"], ["--orders '0,x'", "integers"]),
        (["--orders", "-1"], ["orders must be different integers"]),
        (["--set", "streams.pixl.training.epochs=2"], ["no stream is called 'pixl'", "'pixel'"]),
        (["--set", "benchmarks.pixl.fraction=1"], ["no stream is called 'pixl'", "'pixel'"]),
        (["--set", "benchmark.fraction=1"], ["either `benchmark`"]),
    ],
)
def test_wrong_options_are_one_line(
    release: Path, tmp_path: Path, cli: Callable[..., Any], words: list[str], told: list[str]
) -> None:
    refused(cli("run", suite_of(tmp_path, release), "--out", tmp_path / "out", "--dry-run", *words), *told)


def test_more_orders_than_there_are_is_one_line_before_anything_is_written(
    release: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    refused(lambda: permutation(6, 3), "a stream of 3 experiences has 6 orders (0 to 5)")
    refused(lambda: permutation(1, 1), "a stream of 1 experience has only its own (0)")
    rows = [f"{split}/clutter/segment{e}/{name}/000.jpg,{name},{e},{split}" for e in (1, 2, 3)
            for split in ("train", "validation", "test") for name in ("box_01", "cup_01")]  # fmt: skip
    (tmp_path / "three.csv").write_text("\n".join(["path,class_name,experience,split", *rows]))
    suite = suite_of(
        tmp_path, release, benchmarks={"three": {"manifest": "three.csv", "root": str(release)}}, streams={}, orders=7
    )
    for words in ([], ["--dry-run"]):
        refused(
            cli("run", suite, "--out", tmp_path / "out", *words), "orders: 6", "3 experiences has 6 orders", after=True
        )
        assert not (tmp_path / "out" / "suite.yaml").exists()
    assert cli("run", suite, "--out", tmp_path / "out", "--dry-run", "--orders", "5").code == 0


def test_set_changes_one_stream(release: Path, tmp_path: Path) -> None:
    changes = ["benchmarks.clutter.fraction=0.25", "streams.clutter.training.epochs=5", "orders=3",
               "streams.pixel.training=hik2019", "streams.pixel.backbone.image_size=24"]  # fmt: skip
    suite = load_suite(suite_of(tmp_path, release), assignments=changes)
    clutter, pixel = suite.streams.values()
    assert (clutter.benchmark.fraction, pixel.benchmark.fraction) == (0.25, 0.5)
    assert (clutter.training.epochs, pixel.training.epochs, pixel.training.later.epochs) == (5, 150, 120)
    assert pixel.strategies["ewc"].training.lr == 0.01, "a strategy's own training comes first"
    assert (clutter.backbone.image_size, pixel.backbone.image_size) == (16, 24) and clutter.orders == [0, 1, 2]
    again = tmp_path / "again.yaml"
    again.write_text(yaml.safe_dump(suite.resolved, sort_keys=False))
    other = load_suite(str(again))
    assert other.resolved == suite.resolved and [r.run_id for r in other.runs] == [r.run_id for r in suite.runs]


OWN = {
    "pixel": {"strategies": {"ewc": {"ewc_lambda": 7, "training": {"later": {"epochs": 2}}}, "naive": None}},
    "clutter": {"training": {"epochs": 3}},
}
MINE = {"naive": None, "ewc": {"mode": "online", "training": {"lr": 0.01, "later": {"lr": 0.1}}}}


def written(folder: Path, suite: Any) -> Path:
    """The suite.yaml of a suite, in a file."""
    file = folder / "again.yaml"
    file.write_text(yaml.safe_dump(suite.resolved, sort_keys=False))
    return file


def test_a_strategy_may_differ_on_one_stream(release: Path, tmp_path: Path) -> None:
    suite = load_suite(suite_of(tmp_path, release, streams=OWN, strategies=MINE))
    clutter, pixel = (config.strategies["ewc"] for config in suite.streams.values())
    assert (clutter.strategy.ewc_lambda, pixel.strategy.ewc_lambda) == (type(pixel.strategy)().ewc_lambda, 7)
    assert clutter.strategy.mode == pixel.strategy.mode == "online", "the rest of the entry holds"
    assert (pixel.training.epochs, pixel.training.lr) == (6, 0.01)
    assert (pixel.training.later.epochs, pixel.training.later.lr) == (2, 0.1)
    assert (clutter.training.epochs, clutter.training.later.epochs) == (3, None)
    assert suite.resolved["streams"]["pixel"] == {
        "strategies": {"ewc": {"ewc_lambda": 7.0, "training": {"later": {"epochs": 2}}}}
    }
    again = load_suite(str(written(tmp_path, suite)))
    assert again.resolved == suite.resolved and [r.run_id for r in again.runs] == [r.run_id for r in suite.runs]
    only = load_suite(suite_of(tmp_path, release, streams=OWN, strategies=MINE), strategies=["naive"])
    assert list(only.resolved["streams"]) == ["clutter"]


def test_runs_of_a_stream_are_those_of_a_suite_that_has_its_settings(release: Path, tmp_path: Path) -> None:
    """Also as to ids: on a stream of the same name, they are the same."""
    suite = load_suite(suite_of(tmp_path, release, streams=OWN, strategies=MINE))
    mine = {**MINE["ewc"], "ewc_lambda": 7, "training": {"lr": 0.01, "later": {"lr": 0.1, "epochs": 2}}}  # type: ignore[dict-item]
    plain = load_suite(suite_of(tmp_path, release, streams={}, strategies={**MINE, "ewc": mine}), streams=["pixel"])
    ids = [run.run_id for run in suite.runs if run.stream == "pixel"]
    assert ids == [run.run_id for run in plain.runs]
    others = load_suite(suite_of(tmp_path, release, streams={}, strategies=MINE)).runs
    same = [run.run_id for run in others if run.stream == "pixel" and run.label == "naive"]
    assert same and set(same) <= set(ids) and len(set(ids) & {run.run_id for run in others}) == len(same)


def test_set_reaches_the_strategies_of_a_stream(release: Path, tmp_path: Path) -> None:
    changes = ["streams.pixel.strategies.a.b.ewc_lambda=3", "streams.clutter.strategies.a.b.training.epochs=2"]
    suite = load_suite(
        suite_of(tmp_path, release, streams={}, strategies={"a": "naive", "a.b": {"strategy": "ewc"}}
                 | {"a": {"strategy": "naive"}}), assignments=changes,
    )  # fmt: skip
    clutter, pixel = (config.strategies["a.b"] for config in suite.streams.values())
    assert pixel.strategy.ewc_lambda == 3 != clutter.strategy.ewc_lambda
    assert (clutter.training.epochs, pixel.training.epochs) == (2, 6)
    with pytest.raises(InputError, match=r"streams\.pixel\.strategies\.ewd: .*did you mean 'ewc'"):
        load_suite(suite_of(tmp_path, release), assignments=["streams.pixel.strategies.ewd.ewc_lambda=3"])


def test_strategies_of_a_stream_join_a_folder(release: Path, tmp_path: Path) -> None:
    """In any sequence, and with what they were."""
    labels = {"naive": None, "ewc": None, "si": None}
    own = {"pixel": {"strategies": {"ewc": {"ewc_lambda": 7}, "si": {"si_lambda": 2}}, "training": {"epochs": 1}}}
    file, out = suite_of(tmp_path, release, streams=own, strategies=labels), Output(tmp_path / "out")
    out.root.mkdir()

    def join(**words: Any) -> None:
        (out.root / "suite.yaml").write_text(yaml.safe_dump(out.check(load_suite(file, **words)), sort_keys=False))

    for words in ({"strategies": ["ewc"]}, {"strategies": ["naive"]}, {"strategies": ["si"], "streams": ["clutter"]}):
        join(**words)
    kept = yaml.safe_load((out.root / "suite.yaml").read_text())
    assert kept["streams"]["pixel"]["strategies"] == {"ewc": {"ewc_lambda": 7.0}}
    row = "run_id,stream,strategy\nx,pixel,si\n"
    (out.root / "results.csv").write_text(row)
    refused(join, "strategy 'si' on stream 'pixel'", "si_lambda")
    (out.root / "results.csv").write_text(row.replace("pixel,si", "clutter,ewc"))  # nobody has run si on pixel
    join()
    wanted = load_suite(file).resolved
    found = yaml.safe_load((out.root / "suite.yaml").read_text())
    assert {**found, "strategies": {label: found["strategies"][label] for label in labels}} == wanted
    for change, told in (
        ("streams.pixel.strategies.ewc.ewc_lambda=8", ["strategy 'ewc' on stream 'pixel'", "ewc_lambda: 7.0", "8.0"]),
        ("streams.clutter.strategies.ewc.ewc_lambda=8", ["strategy 'ewc' on stream 'clutter'", "ewc_lambda"]),
        ("streams.pixel.strategies={}", ["strategy 'ewc' on stream 'pixel'", "ewc_lambda: 7.0"]),
    ):
        refused(lambda change=change: join(assignments=[change], strategies=["naive", "ewc"]), *told)
    join(assignments=["streams.pixel.strategies.ewc.ewc_lambda=8"], strategies=["naive"])
    for strategies, key in ((3, "streams.pixel.strategies"), ({"ewc": 3}, "streams.pixel.strategies.ewc")):
        damaged = {**wanted, "streams": {"pixel": {"strategies": strategies}}}
        (out.root / "suite.yaml").write_text(yaml.safe_dump(damaged))
        refused(join, str(out.root / "suite.yaml"), key, "dictionary")


def test_streams_and_orders_join_a_folder_in_any_sequence(
    release: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    file, out = suite_of(tmp_path, release), tmp_path / "out"
    for words in (["--streams", "clutter", "--strategies", "naive", "--orders", "0"],
                  ["--streams", "pixel", "--strategies", "ewc", "--orders", "1"]):  # fmt: skip
        assert cli("run", file, "--out", out, *words).code == 0
    answer = cli("run", file, "--out", out)
    assert answer.code == 0 and "8 runs, 2 already finished" in answer.err + answer.out
    assert yaml.safe_load((out / "suite.yaml").read_text()) == load_suite(file).resolved
    assert list(pd.read_csv(out / "experiences.csv").stream) == ["clutter"] * 9 + ["pixel"] * 9
    for change, words in (
        ("benchmarks.clutter.fraction=0.25", ["stream 'clutter'", "benchmark.fraction", "0.5", "0.25"]),
        ("streams.pixel.training.epochs=3", ["stream 'pixel'", "training.epochs: 4", "3"]),
        ("streams.clutter.head.hidden=[2]", ["stream 'clutter'", "head.hidden"]),
        ("ewc.training.lr=0.02", ["strategy 'ewc'", "training.lr"]),
        ("training.epochs=9", ["training"]),
    ):
        refused(cli("run", file, "--out", out, "--set", change), *words)


def test_a_suite_of_one_stream_takes_in_another(release: Path, tmp_path: Path, cli: Callable[..., Any]) -> None:
    one = {"name": "openloris", "protocol": "factor", "factor": "clutter", "root": str(release), "fraction": 0.5}
    single: dict[str, Any] = {"benchmarks": "none", "streams": "none", "benchmark": one, "orders": [0]}
    single["strategies"] = {"naive": None}
    out = tmp_path / "out"
    assert cli("run", suite_of(tmp_path, release, **single), "--out", out).code == 0
    assert "streams" not in json.loads((out / "data.json").read_text())
    several = {**single, "benchmark": "none", "streams": {"pixel": {"training": {"epochs": 1}}},
               "benchmarks": {"openloris-clutter": one, "pixel": {**one, "factor": "pixel"}}}  # fmt: skip
    answer = cli("run", suite_of(tmp_path, release, **several), "--out", out)
    assert answer.code == 0 and "2 runs, 1 already finished" in answer.err + answer.out
    assert list(json.loads((out / "data.json").read_text())["streams"]) == ["openloris-clutter", "pixel"]
    assert set(pd.read_csv(out / "results.csv").status) == {"done"}
    other = {**single, "benchmark": {**one, "factor": "pixel"}}
    (tmp_path / "b").mkdir()
    assert cli("run", suite_of(tmp_path / "b", release, **single), "--out", tmp_path / "b" / "out").code == 0
    refused(
        cli("run", suite_of(tmp_path / "b", release, **other), "--out", tmp_path / "b" / "out"), "benchmark", "factor"
    )


def test_a_worker_prepares_one_stream_after_the_other(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = load_suite(suite_of(tmp_path, release))
    prepared, trained = [], []
    monkeypatch.setattr(workbench, "prepare", lambda config, manifest: prepared.append(config.stream) or config.stream)
    bench_of, specs = crews.prepared(json.dumps(suite.resolved))
    for spec in suite.runs:
        trained.append((bench_of(specs[spec.run_id].stream), spec.stream))
    assert prepared == list(STREAMS) and all(bench == stream for bench, stream in trained) and len(trained) == 8


def test_the_report_keeps_streams_and_orders_apart(out: Path) -> None:
    page = write_report(out).read_text()
    table = pd.read_csv(out / "results.csv")
    means = table.groupby(["stream", "order", "strategy"]).accuracy_last.mean() * 100
    ranks = pd.read_csv(out / "report" / "tables" / "ranks.csv").set_index("strategy")
    for stream in STREAMS:
        assert f">{stream}</h2>" in page
        folder = out / "report" / "streams" / stream
        orders = pd.read_csv(folder / "tables" / "orders.csv").set_index("strategy")
        compared = pd.read_csv(folder / "tables" / "comparison.csv").set_index("strategy")
        for label in ("naive", "ewc"):
            both = means[stream].xs(label, level="strategy")
            assert orders["mean"][label] == pytest.approx(both.mean())
            assert orders.std_over_orders[label] == pytest.approx(both.std())
            assert orders.worst[label] == pytest.approx(both.min()) and orders.worst_order[label] == both.idxmin()
            assert compared.accuracy_last_mean[label] == pytest.approx(both.mean())
            assert compared.accuracy_last_n[label] == 1, "orders are no seeds"
            assert ranks[f"{stream}_accuracy_last"][label] == pytest.approx(both.mean())
    assert ranks.mean_rank.sum() == 3
    assert "<dd>head (hidden 16), training (epochs 4)</dd>" in page and page.count("stream alone") == 1
    shown = {each["name"]: each for each in data_of(page)["streams"]}
    assert set(shown) == set(STREAMS) and list(shown["pixel"]["orders"]) == ["0", "1"]
    first, last = (permutation(1, 9)[0], permutation(1, 9)[-1])
    forgotten = pd.read_csv(out / "report" / "streams" / "pixel" / "tables" / "forgetting_per_experience.csv")
    names = list(pd.read_csv(out / "experiences.csv").query("stream == 'pixel'").name)
    assert [f"{name}_mean" in forgotten for name in (names[first], names[last], names[-1])] == [True] * 3


def test_a_strategy_without_a_stream_is_not_ranked(out: Path, tmp_path: Path) -> None:
    import shutil

    part = Path(shutil.copytree(out, tmp_path / "out"))
    table = pd.read_csv(part / "results.csv")
    table[(table.stream == "clutter") | (table.strategy == "naive")].to_csv(part / "results.csv", index=False)
    write_report(part)
    ranks = pd.read_csv(part / "report" / "tables" / "ranks.csv").set_index("strategy")
    told = (part / "report" / "tables" / "ranks.md").read_text()
    assert "ewc is not ranked: it has no finished run on pixel" in told
    assert np.isnan(ranks.mean_rank["ewc"]) and ranks.mean_rank["naive"] == 1


def test_nothing_is_averaged_over_streams(out: Path, cli: Callable[..., Any], capsys: Any) -> None:
    table = pd.read_csv(out / "results.csv")
    told = headline(table)
    assert len(told.splitlines()) == 9 and all(stream in told for stream in STREAMS)
    results = lorisbench.load(out)
    assert results.streams == list(STREAMS) and list(results.summary.stream) == ["clutter"] * 2 + ["pixel"] * 2
    refused(lambda: results.matrix("naive"), "streams clutter, pixel", ".on(stream)")
    refused(lambda: results.on("pixl"), "'pixl'", "'pixel'")
    one = results.on("pixel")
    assert len(one.table) == 4 and len(results.table) == 8
    by_order = [one.matrix("naive", order=order) for order in (0, 1)]
    assert len(set(table.accuracy_last)) > 2, "figures that are equal would show nothing"
    assert np.array_equal(one.matrix("naive"), np.mean(by_order, axis=0)) and not np.array_equal(*by_order)
    refused(lambda: one.predictions("naive"), "the orders 0, 1")
    refused(lambda: read(out), "the streams clutter, pixel", "name one")
    same = compare_outputs(out, out)
    assert set(same.stream) == set(STREAMS) and set(same.seeds) == {1} and (same.difference == 0).all()
    assert missing(out, out) == []


def test_tuning_wants_one_stream(release: Path, tmp_path: Path, cli: Callable[..., Any]) -> None:
    suite = suite_of(tmp_path, release, streams={"pixel": {"strategies": {"ewc": {"ewc_lambda": 7}}}})
    refused(cli("tune", suite, "--out", tmp_path / "t"), "streams clutter, pixel", "--stream NAME")
    refused(cli("tune", suite, "--out", tmp_path / "t", "--stream", "pixl"), "'pixl'", "'pixel'")
    words = ["--stream", "pixel", "--strategies", "ewc", "--trials", 1, "--experiences", 2]
    assert cli("tune", suite, "--out", tmp_path / "t", *words).code == 0
    tuned = load_suite(str(tmp_path / "t" / "tuned.yaml"))
    assert list(tuned.streams) == list(STREAMS) and "On the stream pixel." in tuned.config.tuning
    trials = pd.read_csv(tmp_path / "t" / "trials.csv")
    assert trials.ewc_lambda.tolist() == [7], "the first trial has the stream's own value"
    words[words.index("--trials") + 1] = 3
    assert cli("tune", suite, "--out", tmp_path / "t", *words).code == 0
    trials = pd.read_csv(tmp_path / "t" / "trials.csv")
    best = trials.ewc_lambda[trials.accuracy_last.idxmax()]
    tuned = load_suite(str(tmp_path / "t" / "tuned.yaml"))
    found = [config.strategies["ewc"].strategy.ewc_lambda for config in tuned.streams.values()]
    untuned = load_suite(suite).config.strategies["ewc"].strategy.ewc_lambda
    assert found == [untuned, best] and len(set(trials.ewc_lambda)) == 3


def test_a_caller_may_leave_out_or_replace_a_strategy_that_differs_on_a_stream(release: Path, tmp_path: Path) -> None:
    own = {"pixel": {"strategies": {"ewc": {"ewc_lambda": 7}, "naive": {"training": {"epochs": 1}}}}}
    suite = suite_of(tmp_path, release, streams=own, orders=[0])
    for strategies, wanted in (
        (["naive"], {"naive": None}),
        ({"ewc": {"strategy": "ewc", "ewc_lambda": 2}}, {"ewc": 2}),
    ):
        folder = tmp_path / next(iter(wanted))
        lorisbench.run(suite, strategies, streams=["pixel"], out=folder)
        (config,) = (yaml.safe_load(file.read_text()) for file in folder.glob("runs/*/config.yaml"))
        assert {config["label"]: config["strategy"].get("ewc_lambda")} == wanted
        assert config["training"]["epochs"] == (1 if config["label"] == "naive" else 6)
