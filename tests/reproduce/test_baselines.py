"""`lorisbench reproduce baselines`: Split MNIST from its files, statuses, the command, and checks that can fail."""

from __future__ import annotations

import importlib.util
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from lorisbench.benchmarks.classic import split_mnist as split_module
from lorisbench.benchmarks.classic.labelled import MNIST_COUNTS
from lorisbench.benchmarks.classic.split_mnist import Split, find
from lorisbench.common.errors import InputError
from lorisbench.data.images import decode
from lorisbench.data.manifest import Manifest
from lorisbench.model.backbones import make_backbone
from lorisbench.model.models import make_head
from lorisbench.model.task_heads import TaskHead
from lorisbench.report import render
from lorisbench.report.page import write as write_report
from lorisbench.report.stored import Stored
from lorisbench.report.tabular import Table
from lorisbench.reproduce.page import text
from lorisbench.reproduce.plan import plan
from lorisbench.reproduce.published import PublishedTable, load
from lorisbench.reproduce.tables import build
from lorisbench.reproduce.verification import Check, checks, run_checks
from lorisbench.strategies import agem, ewc, gem, lwf, mas, replay, slda
from lorisbench.strategies.parts import paths, springs
from lorisbench.suite.parsing import parse
from lorisbench.suite.resolve import load_suite

QUICK = (
    "--set", "backbone.image_size=16", "--set", "benchmark.validation=2", "--set", "head.hidden=[8]",
    "--set", "training.epochs=1", "--set", "training.batch_size=16", "--set", "gem.memory=20",
    "--set", "replay.memory=20", "--set", "latency.calls=2", "--set", "latency.warmup=0",
)  # fmt: skip


def write_idx(root: Path, counts: dict[str, list[int]], size: int) -> Path:
    """The four files: images whose mean tells the class, in an order that mixes the classes."""
    rng = np.random.default_rng(0)
    root.mkdir(parents=True)
    for part, numbers in counts.items():
        labels = rng.permutation(np.repeat(np.arange(10, dtype=np.uint8), numbers))
        noise = rng.integers(0, 30, (len(labels), size, size), dtype=np.uint8)
        pixels = (20 * labels[:, None, None] + noise).astype(np.uint8)
        (root / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 2051, *pixels.shape) + pixels.tobytes())
        (root / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 2049, len(labels)) + labels.tobytes())
    return root


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 + 100 images of 12 x 12 of ten classes."""
    return write_idx(tmp_path_factory.mktemp("idx") / "tiny", {"train": [20] * 10, "t10k": [10] * 10}, 12)


@pytest.fixture
def nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No MNIST in the cache folder and no package of Debian; the cache folder."""
    monkeypatch.setenv("LORISBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(split_module, "DEBIAN", tmp_path / "no package")
    return tmp_path / "cache"


# ---- the stream


def stored(manifest: Manifest, split: str, experience: int) -> list[tuple[str, int, np.ndarray]]:
    rows = manifest.rows(split, experience)
    sources = manifest.sources()
    return [(manifest.table.path[row], int(manifest.table.label[row]), sources[int(row)]) for row in rows]


@pytest.mark.parametrize(("protocol", "labels"), [("domain", {0, 1}), ("task", {0, 1}), ("class", {4, 5})])
def test_each_task_has_two_classes_and_the_labels_that_the_protocol_says(
    tiny: Path, protocol: Any, labels: set[int]
) -> None:
    manifest = Split(root=str(tiny), protocol=protocol, validation=3, pad=2).manifest()
    assert manifest.experiences == 5 and len(manifest.classes) == (10 if protocol == "class" else 2)
    assert (manifest.task_labels() == (manifest.table.experience if protocol == "task" else 0)).all()
    assert manifest.counts()[["train", "validation", "test"]].to_numpy().tolist() == [[34, 6, 20]] * 5
    assert manifest.experience_names[2] == "4 and 5" and not manifest.synthetic
    for split in ("train", "validation", "test"):
        found = stored(manifest, split, 2)
        assert {label for _, label, _ in found} == labels
        for name, label, pixels in found:
            digit = round((pixels[2:-2, 2:-2].mean() - 14.5) / 20)
            assert digit in (4, 5) and digit % 2 == label % 2, name
            assert pixels.shape == (16, 16, 1) and not pixels[:2].any() and not pixels[:, -2:].any()
    everything = [
        name for split in ("train", "validation", "test") for e in range(5) for name, *_ in stored(manifest, split, e)
    ]
    assert len(set(everything)) == len(everything) == 300


def test_classes_that_come_together_name_a_label_of_the_domain_protocol(tiny: Path) -> None:
    manifest = Split(root=str(tiny), validation=3, classes_per_task=5).manifest()
    assert manifest.classes == [f"{k} / {k + 5}" for k in range(5)]
    assert manifest.experience_names == ["0 and 1 and 2 and 3 and 4", "5 and 6 and 7 and 8 and 9"]


def test_mnist_is_told_by_its_labels_wherever_torchvision_keeps_it(nothing: Path, tmp_path: Path) -> None:
    place = nothing / "datasets" / "mnist" / "MNIST" / "raw"
    write_idx(place, {"train": MNIST_COUNTS, "t10k": [3] * 10}, 2)
    assert sum(MNIST_COUNTS) == 60000
    assert Split().manifest().name == "MNIST"
    assert find(nothing / "datasets" / "mnist") == place == find(place)
    other = write_idx(tmp_path / "other", {"train": [*MNIST_COUNTS[1:], MNIST_COUNTS[0]], "t10k": [3] * 10}, 2)
    assert Split(root=str(other)).manifest().name == "other"


def test_debians_package_comes_after_mnist(nothing: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split_module, "DEBIAN", tiny)
    assert Split(validation=3).manifest().name == "tiny"
    write_idx(nothing / "datasets" / "mnist" / "MNIST" / "raw", {"train": MNIST_COUNTS, "t10k": [3] * 10}, 2)
    assert Split().manifest().name == "MNIST"


def test_what_is_not_there_is_said(nothing: Path, tmp_path: Path, tiny: Path) -> None:
    with pytest.raises(InputError, match=r"neither MNIST .* nor Fashion-MNIST .*apt-get install"):
        Split().manifest()
    with pytest.raises(InputError, match="one of the four files of MNIST"):
        Split(root=str(tmp_path)).manifest()
    with pytest.raises(InputError, match=r"benchmark.validation: 20 images of a class that has 20"):
        Split(root=str(tiny), validation=20).manifest()


def test_pixels_are_features_without_weights() -> None:
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 1), dtype=np.uint8)
    backbone = make_backbone("pixels", image_size=16)
    x = torch.from_numpy(decode(image, 16).copy()).permute(2, 0, 1)[None]
    wanted = (image.astype(np.float64).ravel() / 255 - 0.1) / 0.2752
    assert backbone.feature_dim == 256 and not list(backbone.parameters())
    assert np.allclose(backbone(x).numpy()[0], wanted, atol=1e-5)
    assert [layer.out_features for layer in make_head(256, 2, [400, 400])[::2]] == [400, 400, 2]
    with pytest.raises(InputError, match="no BatchNorm"):
        make_backbone("pixels", image_size=16, norm_groups=4)


# ---- statuses


def folder(name: str, accuracy: dict[str, list[float]], **changes: Any) -> Stored:
    """What a part's folder would hold after runs with this accuracy everywhere, a seed each."""
    rows = [(f"{label}-{s}", label, s, "done", "") for label, values in accuracy.items() for s in range(len(values))]
    labels: dict[str, Any] = {label: {} for label in accuracy}
    fields: dict[str, Any] = {
        "out": Path("/nowhere"),
        "suite": {"benchmark": {"name": "split", "protocol": "domain"}, "strategies": labels},
        "data": {"name": name, "synthetic": False, "classes": ["0", "1"]},
        "runs": pd.DataFrame(rows, columns=["run_id", "strategy", "seed", "status", "reason"]),
        "experiences": pd.DataFrame(),
        "names": [str(k) for k in range(5)],
        "matrices": {f"{k}-{s}": np.full((5, 5), v) for k, values in accuracy.items() for s, v in enumerate(values)},
        "environments": {}, "latencies": {}, "warnings": [],
    }  # fmt: skip
    return Stored(**(fields | changes))


def tables(stored: Stored) -> dict[str, Table]:
    return {table.name: table for table in build(load("baselines"), {"domain": stored})}


def everything(table: Table) -> str:
    return render.markdown(table) + render.latex(table) + render.csv(table) + text(table)


def test_on_mnist_published_and_measured_are_compared() -> None:
    found = tables(folder("MNIST", {"naive": [0.5516], "lwf": [0.7354], "gem": [0.90]}))["domain"]
    rows = found.values.set_index("method")
    assert rows.status[["naive (Adam)", "LwF", "GEM", "SI"]].tolist() == [
        "reproduced",
        "reproduced",
        "differs",
        "not measured",
    ]
    assert rows.tolerance["LwF"] == pytest.approx(2 * 1.26 + 0.005) and rows.published_std["LwF"] == 1.26
    assert rows.difference["GEM"] == pytest.approx(-6.16)
    assert len(rows) == 9 and "Tolerance: uncertainty" in everything(found)


def test_a_remark_is_shown_where_its_value_differs() -> None:
    published = load("baselines")
    table = published.tables["domain"].model_copy(update={"remarks": {"LwF": "on another day", "GEM": "in the rain"}})
    published = published.model_copy(update={"tables": {"domain": table}})
    on_mnist, elsewhere = (
        next(iter(build(published, {"domain": folder("MNIST", {"lwf": [0.9], "gem": [0.96]}, **changes)})))
        for changes in ({}, {"data": {"name": "MNIST", "synthetic": True, "classes": ["0", "1"]}})
    )
    assert "LwF: on another day" in everything(on_mnist) and "in the rain" not in everything(on_mnist)
    assert on_mnist.values.set_index("method").remark.dropna().to_dict() == {"LwF": "on another day"}
    assert "on another day" not in everything(elsewhere)
    with pytest.raises(InputError, match="remarks: unknown method 'LwV'; did you mean 'LwF'"):
        parse(PublishedTable, {**table.model_dump(), "remarks": {"LwV": "why it differs"}})


def test_class_incremental_is_one_head_whose_outputs_open() -> None:
    config = plan("baselines", parts=["class"], assignments=["benchmark.protocol=domain"]).suite.config
    assert config.benchmark.protocol == "class" and config.head.grow and not config.head.per_task
    assert config.strategies["ewc"].strategy.ewc_lambda == 1200 and config.strategies["gem"].strategy.memory == 1100


@pytest.mark.parametrize("synthetic", [False, True])
def test_other_data_claim_nothing(synthetic: bool) -> None:
    data = {"name": "Fashion-MNIST", "synthetic": synthetic, "classes": ["0", "1"]}
    found = tables(folder("", {"naive": [0.5516], "joint": [0.98]}, data=data))
    for name in ("domain", "order"):
        for shown in (render.markdown(found[name]), render.latex(found[name]), text(found[name])):
            assert "Fashion-MNIST" in shown and "not MNIST" in shown and "OpenLORIS" not in shown
            assert "reproduced" not in shown.lower() and "differs" not in shown
    rows = found["domain"].values
    assert set(rows.status) == {"other data"} and rows.difference.isna().all()
    assert "Kendall's tau of published and measured order 1.00" in render.markdown(found["order"])


def test_mnist_that_does_not_say_it_is_real_is_other_data() -> None:
    assert set(tables(folder("MNIST", {"naive": [0.5]}, data={"name": "MNIST"}))["domain"].values.status) == {
        "other data"
    }


def test_a_subset_of_mnist_is_not_comparable() -> None:
    suite = {"benchmark": {"name": "split", "protocol": "domain", "fraction": 0.1}}
    found = tables(folder("MNIST", {"naive": [0.5516]}, suite=suite))["domain"]
    assert set(found.values.status) == {"not comparable"} and "only 0.1 of the images" in found.caption


def test_task_incremental_results_have_a_table_of_their_own() -> None:
    suite = {"benchmark": {"name": "split", "protocol": "task"}, "strategies": {"naive": {}}}
    stored = folder("MNIST", {"naive": [0.94]}, suite=suite)
    found = {table.name: table for table in build(load("baselines"), {"task": stored})}
    assert set(found) == {"task", "order"}
    rows = found["task"].values.set_index("method")
    assert rows.published["naive (Adam)"] == 93.46 and rows.status["naive (Adam)"] == "reproduced"
    domain = folder("MNIST", {"naive": [0.94]})
    (wrong,) = (t for t in build(load("baselines"), {"task": domain}) if t.name == "task")
    assert set(wrong.values.status) == {"not comparable"} and "protocol domain, not task" in wrong.caption


def test_what_a_user_sets_comes_after_a_parts_own_settings_and_before_its_protocol() -> None:
    assignments = ["strategies.si.si_lambda=5", "benchmark.protocol=class"]
    config = plan("baselines", parts=["task"], assignments=assignments).suite.config
    si, mas = (config.strategies[label].strategy for label in ("si", "mas"))
    assert si.si_lambda == 5 and mas.mas_lambda == 0.5
    assert config.head.per_task and config.benchmark.protocol == "task"
    fewer = plan("baselines", assignments=["strategies={naive: }"]).suite
    assert list(fewer.streams) == ["domain", "task", "class"] and list(fewer.config.strategies) == ["naive"]
    words = [
        "streams.class.strategies.si.si_lambda=7",
        "benchmarks.task.validation=9",
        "benchmarks.task.protocol=class",
    ]
    domain, task, others = plan("baselines", assignments=[*words, "mas.mas_lambda=2"]).suite.streams.values()
    assert [each.strategies["si"].strategy.si_lambda for each in (domain, task, others)] == [3000, 300, 7]
    assert {each.strategies["mas"].strategy.mas_lambda for each in (domain, task, others)} == {2}
    assert (task.benchmark.validation, task.benchmark.protocol, others.benchmark.validation) == (9, "task", 100)


def test_table_2_is_as_published() -> None:
    """Sums of means and deviations, as a guard against a digit changed by mistake."""
    for name, mean, std in (("domain", 665.60, 17.60), ("task", 883.92, 4.99), ("class", 403.15, 2.15)):
        numbers = [load("baselines").tables[name].get(m, "accuracy_last") for m in load("baselines").methods]
        assert sum(n.value for n in numbers if n) == pytest.approx(mean, abs=1e-6), name
        assert sum(n.std or 0 for n in numbers if n) == pytest.approx(std, abs=1e-6), name


# ---- the command


def fails() -> list[Check]:
    return [Check("one that fails", "nothing", 2.0, 1.0)]


def passes() -> list[Check]:
    return [Check("one that passes", "nothing", 0.0, 1.0, 2.0)]


def reference(out: Path, folder: Path) -> Path:
    """What results/make_reference.py copies of an output, below a folder."""
    file = Path(__file__).parents[2] / "results" / "make_reference.py"
    spec = importlib.util.spec_from_file_location("make_reference", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.HERE = folder
    copied: Path = module.copy(out)
    shown = module.block(copied, module.PAGES[0])
    assert "| method | domain, published | domain, measured | task, published |" in shown and "1 seeds" in shown
    return copied


@pytest.mark.heavy
def test_from_end_to_end_and_again(
    cli: Callable[..., Any], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "ALL", (checks.online_with_one_task, passes))
    out = tmp_path / "out"
    words = ("reproduce", "baselines", "--data-root", tiny, "--out", out, "--seeds", "0", *QUICK)
    answer = cli(*words)
    assert answer.code == 0, answer.err
    assert answer.out.index("Checks that hold on any data: 2 of 2 passed") < answer.out.index("Split MNIST, domain")
    everything = pd.read_csv(out / "results.csv")
    assert list(dict.fromkeys(everything.stream)) == ["domain", "task", "class"]
    for part in ("domain", "task", "class"):
        results = everything[everything.stream == part].set_index("strategy")
        assert (results.status == "done").all() and len(results) == 9
        rows = pd.read_csv(out / "tables" / f"{part}.csv").set_index("method")
        assert set(rows.status) == {"other data"} and rows.measured.notna().all()
        assert rows.measured["GEM"] == pytest.approx(100 * results.accuracy_last["gem"])
    order = pd.read_csv(out / "tables" / "order.csv")
    assert order.part.value_counts().to_dict() == {"domain": 9, "task": 9, "class": 9}
    assert {path.name for path in (out / "tables").glob("*.csv")} == {
        "checks.csv",
        "domain.csv",
        "task.csv",
        "class.csv",
        "order.csv",
    }
    found = pd.read_csv(out / "tables" / "checks.csv")
    assert found.passed.all() and found.name.tolist()[1] == "one that passes"
    page = (out / "index.html").read_text("utf-8")
    assert "Other data (tiny), not MNIST" in page and "one that passes" in page and "OpenLORIS" not in page
    assert "head.hidden: [8] (suite: [400, 400])" in page
    assert "task labels at test time: runs: 9 done" in page and "mas_lambda" not in page, "a part's own settings"
    copied = reference(out, tmp_path)
    assert {path.name for path in copied.iterdir()} == {"domain", "task", "class", "tables"}
    task = yaml.safe_load((copied / "task" / "suite.yaml").read_text())
    assert (
        task["strategies"]["si"]["si_lambda"] == 300
        and load_suite(str(copied / "class" / "suite.yaml")).config.head.grow
    )
    assert set(pd.read_csv(copied / "class" / "results.csv").stream) == {"class"}
    again = cli(*words)
    assert again.code == 0 and "27 runs, 27 already finished" in again.err and again.out == answer.out
    before = (out / "checks.json").stat().st_mtime_ns
    other = cli(*words, "--set", "training.lr=0.5")
    assert other.code == 2 and not other.out and (out / "checks.json").stat().st_mtime_ns == before


@pytest.mark.heavy
def test_a_check_that_fails_is_named_and_makes_exit_code_1(
    cli: Callable[..., Any], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "ALL", (passes, fails))
    words = ("--data-root", tiny, "--out", tmp_path / "out", "--seeds", "0", "--parts", "domain", *QUICK)
    only = ("--set", "strategies={naive: }")
    answer = cli("reproduce", "baselines", *words, *only)
    assert answer.code == 1 and "check failed: one that fails" in answer.err, answer.err
    assert "FAILED" in (tmp_path / "out" / "tables" / "checks.md").read_text("utf-8")
    assert set(pd.read_csv(tmp_path / "out" / "results.csv").stream) == {"domain"}
    out = tmp_path / "out"
    later = cli("reproduce", "baselines", *words, *only, "--parts", "task")
    assert later.code == 1 and "1 run\n" in later.err, later.err
    assert list(pd.read_csv(out / "results.csv").stream) == ["domain", "task"]
    assert {"domain.csv", "task.csv"} <= {file.name for file in (out / "tables").iterdir()}
    report = write_report(out).read_text("utf-8")
    more = (
        "--set",
        "strategies={naive: , ewc: {ewc_lambda: 200}}",
        "--set",
        "streams.task.strategies.ewc.ewc_lambda=9",
    )
    cli("reproduce", "baselines", *words, *more, "--parts", "task")
    page = (out / "index.html").read_text("utf-8")
    assert "<span>task: strategies.ewc.ewc_lambda: 9.0 (suite: 200.0)</span>" in page
    assert "<span>training.epochs: 1 (suite: 4)</span>" in page
    for part in ("domain", "task"):
        assert f'href="report/index.html#stream={part}"' in page
    assert 'href="report/index.html"' in page and "Ranks over the streams" in report
    assert "class-incremental, ten classes whose outputs open two by two: not run" in page
    assert "Of this stream alone" in report and "per_task yes" in report
    assert report.count("every image is tested with its task label") == 1
    before = (out / "tables" / "domain.csv").read_text("utf-8")
    cli("reproduce", "baselines", *words, *only, "--set", "orders=2")
    results = pd.read_csv(out / "results.csv")
    assert results[results.stream == "domain"].accuracy_last.nunique() == 2, "or what follows would show nothing"
    assert (out / "tables" / "domain.csv").read_text("utf-8") == before, "the paper's order alone counts"


def test_without_data_the_checks_are_told_and_the_rest_is_one_line(
    cli: Callable[..., Any], nothing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "ALL", (passes,))
    answer = cli("reproduce", "baselines", "--out", tmp_path / "out")
    assert answer.code == 2 and "1 of 1 passed" in answer.out
    assert (
        answer.err.splitlines()[-1].startswith("lorisbench: error: neither MNIST") and len(answer.err.splitlines()) == 1
    )
    assert "one that passes" in (tmp_path / "out" / "index.html").read_text("utf-8")
    assert json.loads((tmp_path / "out" / "checks.json").read_text("utf-8"))[0]["passed"] is True


def test_a_plan_needs_nothing_of_the_cache(cli: Callable[..., Any], nothing: Path, tiny: Path, tmp_path: Path) -> None:
    words = ("--data-root", tiny, "--out", tmp_path / "out", "--seeds", "0", *QUICK, "--dry-run")
    answer = cli("reproduce", "baselines", *words)
    assert answer.code == 0, answer.err
    parts = [line.partition(".")[0] for line in answer.out.splitlines()]
    assert parts == [*9 * ["domain"], *9 * ["task"], *9 * ["class"]]
    assert "27 runs: 27 to train" in answer.err and "reading tiny: 0 MB would be made in the cache" in answer.err
    assert "features" not in answer.err, "grey pixels of the right size need none"
    assert not (tmp_path / "out").exists() and not (nothing / "pixels").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--parts", "tsak"], "unknown part 'tsak'; did you mean 'task'"), (["--set", "benchmark.pda=1"], "'pad'")],
)
def test_wrong_words_are_one_line(cli: Callable[..., Any], tmp_path: Path, words: list[str], said: str) -> None:
    answer = cli("reproduce", "baselines", *words, "--out", tmp_path / "out")
    assert answer.code == 2 and said in answer.err and len(answer.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


# ---- the checks


@pytest.mark.parametrize("check", checks.ALL, ids=lambda check: check.__name__)
def test_each_check_passes(check: Callable[[], list[Check]]) -> None:
    for found in run_checks([check]):
        assert found.passed, found
        assert found.control > found.tolerance, "the check could not fail"


def _unscaled(plugin: Any, strategy: Any, **kwargs: Any) -> None:
    if plugin.importance:
        strategy.loss += plugin.penalty(strategy.model)


def _replaced(owner: Any, name: str, change: Callable[[Any], Any]) -> tuple[Any, str, Any]:
    """A function of `owner` whose result is changed."""
    real = getattr(owner, name)
    return owner, name, lambda *args, **kwargs: change(real(*args, **kwargs))


def _larger(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: 1.01 * value for name, value in tensors.items()}


def _nothing(*args: Any, **kwargs: Any) -> None:
    return None


Spring = springs.SpringPlugin
NO_PENALTY = _replaced(Spring, "penalty", lambda penalty: 0 * penalty)
FAULTS = {
    "springs that ignore lambda": (Spring, "before_backward", _unscaled, checks.without_strength, "EWC with"),
    "springs that are never there": (*NO_PENALTY, checks.without_strength, "MAS with"),
    "springs that do not pull": (*NO_PENALTY, checks.large_strength, "EWC with"),
    "springs of SI that do not pull": (paths.PathPlugin, "after_backward", _nothing, checks.large_strength, "SI with"),
    "Fisher information off by 1 %": (*_replaced(ewc, "fisher_diagonal", _larger), checks.importances, "EWC's exact"),
    "sensitivity off by 1 %": (*_replaced(mas, "output_sensitivity", _larger), checks.importances, "MAS's"),
    "a path that is not followed": (paths.PathPlugin, "after_update", _nothing, checks.path_integral, "SI's"),
    "replay without samples": (replay.ReplayPlugin, "before_training_iteration", _nothing, checks.whole_past, "Replay"),
    "GEM that does not project": (gem, "project", lambda g, *_: g, checks.projections, "GEM's"),
    "A-GEM that does not project": (agem, "averaged_projection", lambda g, _: g, checks.projections, "A-GEM's"),
    "a covariance off by 1 %": (
        *_replaced(slda.StreamingLDA, "covariance", lambda c: 1.01 * c), checks.discriminant_analysis, "SLDA",
    ),
    "distillation of the new task's layer": (
        lwf, "pairs", lambda s, teacher: [(s.mb_output, teacher(s.mb_x).detach())], checks.avalanches_own,
        "LwF in the stock setting, with an output",
    ),
    "a zero gradient for layers not in use": (
        TaskHead, "forward", lambda head, x, real=TaskHead.forward: real(head.train(False), x), checks.output_layers,
        "An output",
    ),
    "no distillation": (*_replaced(lwf, "distillation", lambda loss: 0 * loss), checks.avalanches_own, "LwF"),
    "a penalty without its half": (
        *_replaced(Spring, "penalty", lambda penalty: 2 * penalty), checks.avalanches_own, "EWC in",
    ),
    "an exception": (ewc, "fisher_diagonal", None, checks.online_with_one_task, "online with"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_check_fails_where_its_subject_is_broken(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name, broken, check, title = FAULTS[fault]
    monkeypatch.setattr(owner, name, broken)
    found = [each for each in run_checks([check]) if each.name.startswith(title)]
    assert len(found) >= 1 and not all(each.passed for each in found)


def test_online_ewc_that_decays_at_once_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = ewc.EWCPlugin._merge

    def merge(plugin: Any, name: str, fisher: torch.Tensor, parameter: torch.Tensor) -> None:
        real(plugin, name, 0.5 * fisher if plugin.gamma is not None else fisher, parameter)

    monkeypatch.setattr(ewc.EWCPlugin, "_merge", merge)
    assert [each.passed for each in run_checks([checks.online_with_one_task])] == [False]


def test_figures_that_are_no_numbers_and_controls_within_the_tolerance_fail() -> None:
    assert not Check("", "", float("nan"), 1.0).passed
    assert not Check("", "", 0.0, 1.0, 0.5).passed
    assert Check("", "", 0.0, 0.0).passed and Check("", "", 0.5, 1.0, 1.5).passed
