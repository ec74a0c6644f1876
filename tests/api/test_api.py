"""`import lorisbench` from a script: the same numbers, files and errors as the command line, in tables and figures."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from avalanche.benchmarks.utils import AvalancheDataset
from matplotlib.figure import Figure

import lorisbench
from lorisbench.common.registry import STRATEGIES

TINY = {
    "backbone": {"name": "timm:test_resnet", "weights": "none", "image_size": 32},
    "training": {"epochs": 1, "batch_size": 4},
    "latency": {"enabled": False},
    "device": "cpu",
}


class Pulled(lorisbench.Strategy, name="pulled"):
    """L2-SP under a name of its own, to be given as a class and as an instance."""

    strength: float = 0.0

    def plugins(self, context: lorisbench.Context) -> list[Any]:
        from lorisbench.strategies.l2sp import L2SPPlugin

        return [L2SPPlugin(self.strength, "previous")]


@pytest.fixture(scope="module")
def clutter(release: Path) -> dict[str, Any]:
    return {"name": "openloris", "protocol": "factor", "factor": "clutter", "root": str(release)}


@pytest.fixture(scope="module")
def results(clutter, tmp_path_factory: pytest.TempPathFactory) -> lorisbench.Results:
    out = tmp_path_factory.mktemp("api") / "out"
    strategies = ["naive", Pulled, Pulled(strength=50), {"strategy": "ncm"}]
    return lorisbench.run(clutter, strategies, seeds=range(2), out=out, **TINY)


def test_importing_costs_no_torch_and_names_are_there() -> None:
    code = (
        "import sys, lorisbench; assert not {'torch', 'avalanche', 'pandas', 'pydantic'} & set(sys.modules); "
        "print(lorisbench.__version__, *dir(lorisbench))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"run", "load", "stream", "Strategy", "Context", "Benchmark"} <= set(said)
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        _ = lorisbench.runn


def test_tables_arrays_and_figures(results: lorisbench.Results) -> None:
    assert results.strategies == ["naive", "pulled", "pulled-strength=50.0", "ncm"]
    assert list(results.table.status) == ["done"] * 8 and results.failed.empty
    assert isinstance(results.table, pd.DataFrame) and len(results.experiences) == 9
    both = [results.matrix("naive", seed) for seed in (0, 1)]
    assert both[0].shape == (9, 9) and not np.array_equal(*both)
    assert np.allclose(results.matrix("naive"), np.mean(both, axis=0))
    predicted, label, experience = results.predictions("naive", 1)
    for row, answers in enumerate(predicted):
        for test in range(9):
            share = (answers == label)[experience == test].mean()
            assert share == pytest.approx(both[1][row, test], abs=1e-12)
    last = results.table.set_index(["strategy", "seed"]).accuracy_last
    assert last["naive", 1] == pytest.approx(both[1][-1].mean(), abs=1e-12)
    assert np.array_equal(results.matrix("naive", 0), results.matrix("pulled", 0)), "of no strength, it is naive"
    assert not np.array_equal(results.matrix("naive", 0), results.matrix("pulled-strength=50.0", 0))
    figures = results.plots()
    assert {"curves", "forgetting", "matrices", "matrix_naive"} <= set(figures)
    curves = results.plot("curves")
    assert isinstance(curves, Figure) and curves.axes[0].lines
    assert "pulled-strength=50.0" in results._repr_html_() and "8 done" in repr(results)
    assert list(results.summary.strategy) == results.strategies
    assert results.data["synthetic"] is False and results.suite["seeds"] == [0, 1]


@pytest.mark.heavy
def test_the_report_is_that_of_the_command_line(results: lorisbench.Results, cli, tmp_path: Path) -> None:
    assert not (results.out / "report").exists(), "nobody has asked for it"
    page = results.report()
    assert page == results.out / "report" / "index.html"
    text = page.read_text("utf-8")
    assert cli("report", results.out, report=True).code == 0 and page.read_text("utf-8") == text


def test_loading_gives_the_same(results: lorisbench.Results, tmp_path: Path) -> None:
    again = lorisbench.load(str(results.out))
    pd.testing.assert_frame_equal(again.table, results.table)
    assert np.array_equal(again.matrix("ncm", 0), results.matrix("ncm", 0))
    with pytest.raises(lorisbench.InputError, match=r"results\.csv"):
        lorisbench.load(tmp_path)


def test_the_command_line_finds_the_same_numbers(results, clutter, cli, tmp_path: Path) -> None:
    import yaml

    suite = tmp_path / "suite.yaml"
    suite.write_text(yaml.safe_dump({"name": "comparison", "benchmark": clutter, "strategies": ["naive"], **TINY}))
    assert cli("run", suite, "--out", tmp_path / "out", "--seeds", "1").code == 0
    there = lorisbench.load(tmp_path / "out")
    assert np.array_equal(there.predictions("naive", 1).predicted, results.predictions("naive", 1).predicted)
    assert set(there.table.run_id) <= set(results.table.run_id)


def test_finished_runs_are_kept_and_others_are_added(results, clutter, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in results.out.rglob("predictions.npz")}
    more = lorisbench.run(clutter, ["ncm", "slda"], seeds=[0], out=results.out, **TINY)
    assert "1 already finished" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert set(more.table.strategy) == {*results.strategies, "slda"}


def test_a_suite_its_keys_and_a_temporary_folder(suite_file) -> None:
    suite = suite_file(strategies={"soft": {"strategy": "lwf", "alpha": 0.5}, "naive": None}, **TINY)
    results = lorisbench.run(suite, ["soft", "frozen"], seeds=[3], training={"epochs": 2})
    assert list(results.table.strategy) == ["soft", "frozen"] and list(results.table.seed) == [3, 3]
    assert results.suite["strategies"]["soft"]["alpha"] == 0.5
    assert results.suite["training"]["epochs"] == 2 and results.suite["training"]["batch_size"] == 4
    labelled = lorisbench.run(suite, {"mine": Pulled(strength=1), "naive": None}, seeds=[0])
    assert labelled.strategies == ["mine", "naive"] and labelled.suite["strategies"]["mine"]["strength"] == 1
    assert labelled.out != results.out and labelled.out.is_dir()


@pytest.mark.heavy
def test_a_temporary_folder_goes_with_the_process(suite_file) -> None:
    code = f"import lorisbench; print(lorisbench.run({str(suite_file(**TINY))!r}, seeds=[0]).out)"
    out = Path(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip())
    assert out.name.startswith("lorisbench-") and not out.exists()


def test_a_manifest_and_a_benchmark_object(clutter, results, tmp_path: Path) -> None:
    class Half(lorisbench.Benchmark, name="first-half"):
        """The first experiences of another benchmark."""

        root: str

        def manifest(self) -> lorisbench.Manifest:
            whole = lorisbench.stream({**clutter, "root": self.root}, image_size=16).manifest
            table = whole.table[whole.table.experience < 4].reset_index(drop=True)
            return lorisbench.Manifest(table, whole.root, "half", False, whole.classes, whole.experience_names[:4])

    half = Half(root=clutter["root"])
    of_object = lorisbench.run(half, ["naive"], seeds=[0], **TINY)
    of_table = lorisbench.run(half.manifest(), ["naive"], seeds=[0], out=tmp_path / "out", **TINY)
    assert of_object.matrix("naive").shape == (4, 4)
    assert np.array_equal(of_object.predictions("naive").predicted, of_table.predictions("naive").predicted)
    assert list(of_table.experiences.name) == list(results.experiences.name[:4])
    assert of_table.data["name"] == "half"
    again = lorisbench.run(half.manifest(), ["naive"], seeds=[0], out=tmp_path / "out", **TINY)
    assert list(again.table.run_id) == list(of_table.table.run_id)
    with pytest.raises(lorisbench.InputError, match=r"manifest\.csv: lists different images"):
        lorisbench.run(lorisbench.stream(clutter, image_size=16).manifest, out=tmp_path / "out", **TINY)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "notes.txt").write_text("mine")
    with pytest.raises(lorisbench.InputError, match="holds other files"):
        lorisbench.run(half.manifest(), out=tmp_path / "own", **TINY)
    assert [file.name for file in (tmp_path / "own").iterdir()] == ["notes.txt"]


class Nameless(lorisbench.Strategy):
    """A method that was given no name."""


@pytest.mark.parametrize(
    ("what", "strategies", "settings", "said"),
    [
        ("openloris-simm", None, {}, "unknown suite or benchmark 'openloris-simm'; did you mean 'openloris-sim'"),
        ({"name": "openloris-sim"}, ["ewcc"], {}, "unknown strategy 'ewcc'; did you mean 'ewc'"),
        ({"name": "openloris-sim"}, None, {"trainings": {}}, "unknown key 'trainings'; did you mean 'training'"),
        ({"name": "openloris-sim"}, None, {}, "no strategies are given"),
        ({"name": "openloris-sim"}, ["naive"], {"training": {"epoch": 1}}, "'training.epoch'; did you mean 'epochs'"),
        ({"name": "openloris-sim"}, [{"strategy": "lwf", "alpa": 1}], {}, "lwf.alpa'; did you mean 'alpha'"),
        ({"name": "openloris-sim", "protocoll": 1}, ["naive"], {}, "protocoll'; did you mean 'protocol'"),
        ({"name": "openloris-sim"}, [Nameless], {}, "Nameless has no name"),
        ({"name": "openloris-sim"}, [int], {}, "int is not a Strategy"),
        ({"name": "openloris-sim"}, ["naive"], {"data_root": "/no/such"}, "data_root /no/such: no such folder"),
        (3, None, {}, "3 is neither a suite nor a benchmark"),
        ("quickstart", None, {"plugins": ["nowhere.py"]}, "plugin nowhere.py: no such file"),
    ],
)
def test_what_is_wrong_is_one_line(what, strategies, settings, said: str) -> None:
    with pytest.raises(lorisbench.InputError) as error:
        lorisbench.run(what, strategies, seeds=[0], **settings)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_what_results_do_not_hold_is_one_line(results: lorisbench.Results) -> None:
    for wrong, said in (
        (lambda: results.matrix("naiv"), "no strategy 'naiv'; did you mean 'naive'"),
        (lambda: results.matrix("naive", 7), "seed 7 of 'naive' has no finished run; available: 0, 1"),
        (lambda: results.predictions("naive"), "'naive' has the seeds 0, 1"),
        (lambda: results.plot("curve"), "did you mean 'curves'"),
        (lambda: results.plot("orders"), "no plot 'orders'"),
    ):
        with pytest.raises(lorisbench.InputError, match=said):
            wrong()


def test_a_run_that_fails_is_in_the_table_with_its_reason(clutter) -> None:
    class Fails(lorisbench.Strategy, name="fails-at-once"):
        """Raises when it is built."""

        def plugins(self, context: lorisbench.Context) -> list[Any]:
            raise RuntimeError("on purpose")

    results = lorisbench.run(clutter, ["naive", Fails], seeds=[0], **TINY)
    assert list(results.failed.strategy) == ["fails-at-once"] and "on purpose" in results.failed.reason.iloc[0]
    assert results.matrix("naive").shape == (9, 9)
    with pytest.raises(lorisbench.InputError, match="'fails-at-once' has no finished run"):
        results.matrix("fails-at-once")


@pytest.mark.heavy
def test_a_script_without_a_guard_may_use_workers_and_strategies_of_its_own(clutter, tmp_path: Path) -> None:
    """Also one whose folder has folders called as the project's, and a class that only the script knows."""
    script = tmp_path / "mine.py"
    for name in ("strategies", "benchmarks", "harness", "tests"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('the folder of the user, not of the project')")
    script.write_text(
        textwrap.dedent(f"""
        import lorisbench
        from lorisbench import Context, Strategy

        print("the script runs")

        class Mine(Strategy, name="mine"):
            '''Fine-tuning under a name of its own.'''
            def plugins(self, context: Context):
                return []

        results = lorisbench.run({clutter!r}, ["naive", Mine()], seeds=[0, 1], workers=2, **{TINY!r})
        for seed in (0, 1):
            assert (results.matrix("mine", seed) == results.matrix("naive", seed)).all()
        print(len(results.table), results.failed.empty)
        """)
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["the script runs", "4 True"]


def test_a_class_defined_again_takes_the_place_of_the_first() -> None:
    """As in a notebook, where a cell is run twice."""
    for number in (1.0, 2.0):
        namespace: dict[str, Any] = {"__name__": "__main__", "lorisbench": lorisbench}
        exec(
            f"class Again(lorisbench.Strategy, name='again'):\n    '''Twice.'''\n    strength: float = {number}",
            namespace,
        )
        assert STRATEGIES.get("again")().strength == number


def test_a_stream_for_a_plain_avalanche_script(clutter, release: Path) -> None:
    from avalanche.models import SimpleMLP
    from avalanche.training import Naive

    from lorisbench.data import images

    benchmark = lorisbench.stream(clutter, image_size=24)
    assert [len(stream) for stream in (benchmark.train_stream, benchmark.validation_stream, benchmark.test_stream)] == [
        9
    ] * 3
    manifest = benchmark.manifest
    for experience in benchmark.test_stream:
        rows = manifest.rows("test", experience.current_experience)
        assert isinstance(experience.dataset, AvalancheDataset) and len(experience.dataset) == len(rows)
        for row, (x, y, task) in zip(rows, experience.dataset, strict=True):
            assert x.dtype == torch.float32 and x.shape == (3, 24, 24) and y == manifest.table.label[row] and task == 0
            decoded = images.cached(manifest, 24)[row].transpose(2, 0, 1)
            assert np.array_equal((x * 255).round().numpy(), decoded)
    model = SimpleMLP(num_classes=len(manifest.classes), input_size=3 * 24 * 24)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    strategy = Naive(model=model, optimizer=optimizer, train_mb_size=8, evaluator=None)
    before = model.classifier.weight.detach().clone()
    strategy.train(benchmark.train_stream[0])
    strategy.eval(benchmark.test_stream)
    assert not torch.equal(model.classifier.weight, before)


def test_a_stream_of_features(clutter) -> None:
    whole = lorisbench.stream({"name": "openloris", **{k: v for k, v in clutter.items() if k != "name"}},
                              backbone={"name": "timm:test_resnet", "weights": "none"}, image_size=32)  # fmt: skip
    x, _, _ = whole.train_stream[3].dataset[0]
    assert x.dtype == torch.float32 and x.ndim == 1 and torch.isfinite(x).all()
    with pytest.raises(lorisbench.InputError, match="only a frozen one provides features"):
        lorisbench.stream(clutter, backbone={"name": "timm:test_resnet", "weights": "none", "train": "always"})
    with pytest.raises(lorisbench.InputError, match=r"backbone\.wieghts.*'weights'"):
        lorisbench.stream(clutter, backbone={"name": "timm:test_resnet", "wieghts": "none"})
    with pytest.raises(lorisbench.InputError, match="did you mean 'openloris-sim'"):
        lorisbench.stream("openloris-sin")
