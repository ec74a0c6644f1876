"""Exported graphs: they answer as the trained run did, say what they are, and a wrong one is never left behind."""

import functools
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from answers import refused
from PIL import Image
from small_models import small_backbone
from torch import nn

from lorisbench.common.errors import InputError
from lorisbench.data import images
from lorisbench.export import beside
from lorisbench.export import onnx as export
from lorisbench.export.trained import TrainedRun
from lorisbench.model import backbones
from lorisbench.report import frame, tables
from lorisbench.runs.launch import launch
from lorisbench.strategies.dnn.network import DynamicNetwork
from lorisbench.suite.benchmarks import make_benchmark
from lorisbench.suite.resolve import load_suite

onnx = pytest.importorskip("onnx", reason="the extra [onnx] is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra [onnx] is not installed")

SIZE = 32
RULES = ("prototype", "agreement", "confidence", "mean", "newest")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backbones, "_make", small_backbone)
        patch.setattr("lorisbench.report.write_report", lambda out, *how: out)
        yield


@pytest.fixture(scope="module")
def trained(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`trained(label)` -> folder of a finished run; DNN's runs have three heads. Each suite is trained on demand."""
    folder = tmp_path_factory.mktemp("trained")
    rules = {f"dnn-{rule}": {"strategy": "dnn", "expand_at": [2, 5], "answer": rule} for rule in RULES}
    usual = ("naive", f"dnn-{RULES[0]}")
    frozen = {"naive": {}, "ranpac": {"projection": 100}, **rules}
    suites = {
        "usual": ("never", {label: frozen[label] for label in usual}),
        "rare": ("never", {label: entry for label, entry in frozen.items() if label not in usual}),
        "own": ("first", {"own": {"strategy": "naive"}}),
    }

    @functools.cache
    def train(name: str) -> Path:
        mode, strategies = suites[name]
        settings = {
            "name": name,
            "benchmark": {"name": "openloris", "protocol": "factor", "factor": "clutter", "root": str(release)},
            "backbone": {"name": "resnet18", "image_size": SIZE, "train": mode},
            "training": {"epochs": 2, "batch_size": 4},
            "strategies": strategies,
            "seeds": [0],
            "latency": {"enabled": False},
            "device": "cpu",
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        frame = launch(load_suite(str(folder / f"{name}.yaml")), folder / name)
        assert (frame.status == "done").all(), frame.reason.tolist()
        return folder / name

    def find(label: str) -> Path:
        (name,) = (name for name, (_, strategies) in suites.items() if label in strategies)
        (run,) = train(name).glob(f"runs/*.{label}.s0.*")
        return run

    return find


@pytest.fixture(scope="module")
def naive_file(trained: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("naive") / "naive.onnx"
    assert export.export_run(trained("naive"), "onnx", file).comparison.passed
    return file


def copied(run: Path, folder: Path) -> Path:
    """A run and its data.json, without anything else of the output folder."""
    there = folder / "elsewhere" / "runs" / run.name
    shutil.copytree(run, there)
    shutil.copy(run.parent.parent / "data.json", folder / "elsewhere")
    return there


@pytest.mark.parametrize(
    "label",
    [
        *("own", f"dnn-{RULES[0]}"),
        *(
            pytest.param(label, marks=pytest.mark.heavy)
            for label in ("naive", "ranpac", *(f"dnn-{r}" for r in RULES[1:]))
        ),
    ],
)
def test_the_graph_predicts_what_the_run_predicted(trained, release: Path, cli, tmp_path: Path, label: str) -> None:
    run, file = trained(label), tmp_path / "made" / "model.onnx"
    answer = cli("export", run, "--out", file)
    assert answer.code == 0, answer.err
    assert not answer.err and "100.00 % equal predictions" in answer.out and str(file) in answer.out
    assert [path.name for path in file.parent.iterdir()] == ["model.onnx"]
    benchmark = {"name": "openloris", "protocol": "factor", "factor": "clutter", "root": str(release)}
    manifest = make_benchmark(benchmark).manifest()
    rows = np.concatenate([manifest.rows("test", experience) for experience in range(manifest.experiences)])
    x = images.cached(manifest, SIZE)[rows].transpose(0, 3, 1, 2)
    session = onnxruntime.InferenceSession(file)
    (whole,) = session.run(["probabilities"], {"images": x})
    with np.load(run / "predictions.npz", allow_pickle=False) as stored:
        assert len(np.unique(stored["predicted"][-1])) > 1  # a graph that always says the same would be found out
        assert np.array_equal(whole.argmax(axis=1), stored["predicted"][-1])
    assert whole.dtype == np.float32 and np.allclose(whole.sum(axis=1), 1, atol=1e-5)
    for batch in (1, 2, 7, 33):
        (part,) = session.run(["probabilities"], {"images": x[:batch]})
        assert np.allclose(part, whole[:batch], atol=1e-5)
    if label.startswith("dnn"):
        assert json.loads((run / "journal.jsonl").read_text().splitlines()[-1])["heads"] == 3


def test_it_says_what_it_is_and_nothing_of_this_machine(trained, naive_file: Path) -> None:
    graph = onnx.load(naive_file)
    about = {entry.key: entry.value for entry in graph.metadata_props}
    assert json.loads(about["classes"]) == ["box_01", "cup_01", "cup_02"]
    assert about["run_id"] == trained("naive").name
    assert about["benchmark"] == "openloris-clutter" and about["synthetic"] == "false"
    assert about["image_size"] == str(SIZE) and about["preprocessing"] == images.PREPROCESSING
    (given,), (made,) = graph.graph.input, graph.graph.output
    shapes = [[d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim] for value in (given, made)]
    assert shapes == [["batch", 3, SIZE, SIZE], ["batch", 3]]
    assert (given.name, made.name) == ("images", "probabilities")
    stored = naive_file.read_bytes()
    for place in (ROOT, Path(torch.__file__).parent, Path.home()):
        assert str(place).encode() not in stored, place


def test_the_run_alone_is_enough(trained, naive_file: Path, cli, tmp_path: Path, monkeypatch) -> None:
    run = copied(trained("naive"), tmp_path)
    data = json.loads((tmp_path / "elsewhere" / "data.json").read_text())
    (tmp_path / "elsewhere" / "data.json").write_text(json.dumps({**data, "synthetic": True}))
    monkeypatch.setenv("LORISBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(export, "graph_of", lambda *_: onnx.load(naive_file))  # saves seconds
    answer = cli("export", run, "--format", "onnx")
    assert answer.code == 0, answer.err
    about = {entry.key: entry.value for entry in onnx.load(run / "model.onnx").metadata_props}
    assert about["synthetic"] == "true" and not (tmp_path / "cache").exists()


@pytest.mark.parametrize("fault", ["weight", "batch", "nan"])
def test_a_wrong_graph_is_found_and_not_left_behind(
    trained, naive_file: Path, cli, tmp_path: Path, monkeypatch, fault: str
) -> None:
    def broken(*_: object):
        graph = onnx.load(naive_file)
        if fault == "batch":
            graph.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
        else:
            (head,) = (tensor for tensor in graph.graph.initializer if tensor.name.endswith("head.weight"))
            values = onnx.numpy_helper.to_array(head) * (1.05 if fault == "weight" else np.nan)
            head.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), head.name))
        return graph

    monkeypatch.setattr(export, "graph_of", broken)
    file = tmp_path / "made" / "model.onnx"
    answer = cli("export", trained("naive"), "-o", file)
    assert answer.code == 1 and "not written" in answer.err
    assert ("does not run" if fault == "batch" else "difference") in answer.out
    assert not file.parent.exists()
    file.parent.mkdir()
    file.write_text("of before")
    assert cli("export", trained("naive"), "-o", file).code == 1 and file.read_text() == "of before"
    assert not export.Comparison(images=43, largest=float("nan"), equal=1.0).passed


def test_unusable_runs_give_one_line(trained, cli, tmp_path: Path, monkeypatch) -> None:
    run = copied(trained("naive"), tmp_path)
    out = run.parent.parent
    refused(cli("export", tmp_path), "not the folder of a run")
    refused(cli("export", out), "give one of its runs", run.name)
    refused(cli("export", run, "--format", "onxn"), "'onxn'", "did you mean 'onnx'")
    refused(cli("export", run, "-o", tmp_path), "is a folder")
    checkpoint = run / "checkpoint" / "model.safetensors"
    whole = checkpoint.read_bytes()
    for damaged in (b"", whole[:-9], (trained("own") / "checkpoint" / "model.safetensors").read_bytes()):
        checkpoint.write_bytes(damaged)
        refused(cli("export", run), "model.safetensors")
    checkpoint.unlink()
    refused(cli("export", run), "has no checkpoint")
    checkpoint.write_bytes(whole)
    for status in ("running", "failed"):
        (run / "status.json").write_text(json.dumps({"status": status, "reason": "x"}))
        refused(cli("export", run), "not finished", status)
    (run / "status.json").write_text('{"status": "done"}')
    data = (out / "data.json").read_text()
    (out / "data.json").unlink()
    refused(cli("export", run), "data.json")
    (out / "data.json").write_text(data)
    config = (run / "config.yaml").read_text()
    for damaged in ("run_id: [", "1", "run_id: a"):
        (run / "config.yaml").write_text(damaged)
        refused(cli("export", run), "config.yaml")
    (run / "config.yaml").write_text(config)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "onnxruntime", None)
        refused(cli("export", run), "onnxruntime", "pip install 'lorisbench[onnx]'")
    assert not (run / "model.onnx").exists()


def test_strategies_that_answer_by_more_than_their_model_are_refused(trained, cli, tmp_path: Path) -> None:
    run = copied(trained("naive"), tmp_path)
    config = yaml.safe_load((run / "config.yaml").read_text())

    def as_strategy(entry: dict[str, object]):
        (run / "config.yaml").write_text(yaml.safe_dump({**config, "strategy": entry}))
        return cli("export", run)

    nearest_class = {"strategy": "avalanche", "plugin": "avalanche.training.plugins:CoPEPlugin", "args": {}}
    refused(as_strategy(nearest_class), "CoPEPlugin", "after_eval_iteration")
    refused(as_strategy({"strategy": "my-own"}), "'my-own'")
    (run.parent.parent / "suite.yaml").write_text("plugins: [/somewhere/mine.py]")
    refused(as_strategy({"strategy": "my-own"}), "'my-own'", "--plugin /somewhere/mine.py")
    network = DynamicNetwork(None, lambda: nn.Linear(2, 2))
    network.answer = "oracle"  # type: ignore[assignment]
    with pytest.raises(export.InputError, match="'oracle' takes more than the image"):
        export.check_exportable("run", network)


PLUGIN = """
from avalanche.core import SupervisedPlugin
from lorisbench.engine.strategy import Strategy

class Watch(SupervisedPlugin):
    def after_eval_forward(self, strategy, **kwargs):
        pass

class Watched(Strategy, name="watched-in-tests"):
    says: bool = True
    reason: str = ""

    def wrap(self, model, context):
        if self.reason:
            model.not_exportable = lambda: self.reason
        return model

    def plugins(self, context):
        plugin = Watch()
        if self.says:
            plugin.answers_unchanged = True
        return [plugin]
"""


def test_any_plugin_may_say_that_it_only_watches_and_any_model_that_it_is_no_graph(
    trained, naive_file: Path, cli, tmp_path: Path, monkeypatch
) -> None:
    run = copied(trained("naive"), tmp_path)
    config = yaml.safe_load((run / "config.yaml").read_text())
    (tmp_path / "watched.py").write_text(PLUGIN)
    monkeypatch.setattr(export, "graph_of", lambda *_: onnx.load(naive_file))  # saves seconds

    def answer(**settings: object):
        entry = {**config["strategy"], "strategy": "watched-in-tests", **settings}
        (run / "config.yaml").write_text(yaml.safe_dump({**config, "strategy": entry}))
        return cli("export", run, "--plugin", tmp_path / "watched.py")

    # a line before says that the code of the strategy has changed
    refused(answer(says=False), "Watch may change what the model answers", "after_eval_forward", after=True)
    refused(answer(reason="it asks its neighbours"), f"{run.name}: it asks its neighbours", after=True)
    assert not (run / "model.onnx").exists()
    made = answer()
    assert made.code == 0, made.err


def test_a_class_that_no_domain_has_seen_gets_no_probability() -> None:
    network = DynamicNetwork(None, lambda: nn.Linear(72, 4), answer="agreement")
    for domain in range(2):
        if domain:
            network.train_only(network.add_head())
        network.record_domain([(torch.randn(20, 72) + domain, torch.randint(0, 3, (20,)))])
    network.backbone = small_backbone("", "none", 0)
    deployed = export.Deployed(network).eval()
    graph = export.converted("", deployed, export.Inputs("images", SIZE)).SerializeToString()
    compared = export.compare(graph, deployed, export.Inputs("images", SIZE))
    assert compared.passed, compared
    x = export.sample_images(5, SIZE).numpy()
    (given,) = onnxruntime.InferenceSession(graph).run(None, {"images": x})
    assert (given[:, 3] == 0).all() and np.allclose(given.sum(axis=1), 1, atol=1e-5)


def test_the_example_of_the_readme_classifies_a_folder(trained, naive_file: Path, tmp_path: Path) -> None:
    page = (ROOT / "results" / "README.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n([^`]*?onnxruntime.*?)```", page, re.DOTALL)
    assert len(code.split("\n\n")) == 2 and len(code.strip().replace("\n\n", "\n").splitlines()) <= 10
    assert "torch" not in code and "lorisbench" not in code
    shutil.copy(naive_file, tmp_path / "model.onnx")
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(1)
    for index, (width, height) in enumerate([(SIZE, SIZE), (41, 32), (333, 480), (25, 90), (601, 402), (64, 63)]):
        small = Image.fromarray(rng.integers(0, 255, (5, 4, 3), dtype=np.uint8))
        photo = small.resize((width, height), Image.Resampling.BICUBIC)
        exif = Image.Exif()
        exif[images.ORIENTATION] = 6 if index % 2 else 1
        photo.save(tmp_path / "photos" / f"{index}.{'jpg' if index > 1 else 'png'}", exif=exif)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    run = export.read_run(trained("naive"))
    deployed = export.Deployed(export.restore_run(run)).eval()
    wanted = []
    for file in sorted((tmp_path / "photos").iterdir()):
        pixels = images.decode(str(file), SIZE)
        with torch.inference_mode():
            p = deployed(torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy()))[0]
        wanted.append(f"{file.name} {run.classes[int(p.argmax())]} {float(p.max()):.4f}")
    given = [line.split() for line in done.stdout.splitlines()]
    for (name, predicted, p), line in zip(given, wanted, strict=True):
        assert [name, predicted] == line.split()[:2] and float(p) == pytest.approx(float(line.split()[2]), abs=2e-4)


def test_latency_has_onnxruntime_beside_pytorch(
    trained: Callable[[str], Path], cli: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Path(shutil.copytree(trained("naive").parent.parent, tmp_path / "out"))
    sessions: list[int] = []
    opened = export.opened
    monkeypatch.setattr(beside, "opened", lambda graph, threads: sessions.append(threads) or opened(graph, threads))
    words = ("latency", out, "--device", "cpu", "--calls", 3)
    answer = cli(*words, "--onnx", "--threads", 1, "--strategies", "dnn-prototype")
    assert answer.code == 0 and "onnx_ratio" in answer.out and sessions == [1], answer.err
    (row,) = pd.read_csv(out / "latency.csv").to_dict("records")
    assert min(row[f"onnx_{key}"] for key in ("p50_ms", "ratio", "large_p50_ms", "large_ratio")) > 0
    assert 0 <= row["onnx_difference"] <= export.LARGEST_DIFFERENCE and pd.isna(row["onnx_fault"])
    (table,) = tables.latency_by_machine(frame.read(out))
    assert [head.text for head in table.heads if head.group == "onnxruntime"][:2] == ["Median ms", "to PyTorch"]

    def unlike(graph: bytes, deployed: nn.Module, inputs: object) -> export.Comparison:
        return export.Comparison(43, 0.5, 0.9)

    monkeypatch.setattr(beside, "compare", unlike)
    monkeypatch.setattr(beside, "exported", lambda run: (nn.Identity(), None, b""))
    answer = cli(*words, "--onnx", "--strategies", "naive")
    assert answer.code == 0 and "not in onnxruntime: onnxruntime against PyTorch, 43" in answer.err
    assert len(pd.read_csv(out / "latency.csv")) == 2, "a row for each architecture"

    def refuse(run: TrainedRun) -> None:
        raise InputError(f"{run.spec.run_id}: cannot be told in one graph")

    monkeypatch.setattr(beside, "exported", refuse)
    answer = cli(*words, "--onnx", "--strategies", "naive")
    assert answer.code == 0 and answer.err.endswith(": not in onnxruntime: cannot be told in one graph\n")
    (table,) = tables.latency_by_machine(frame.read(out))
    assert any("cannot be told in one graph" in note.text for note in table.notes)
    before = (out / "latency.csv").read_bytes()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    refused(cli(*words, "--onnx"), "onnxruntime", "lorisbench[onnx]")
    assert (out / "latency.csv").read_bytes() == before
