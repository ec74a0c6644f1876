"""Runs on the tiny data set: what they write, and that their numbers are what they claim to be."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file
from small_models import FEATURES, TWO_CALLS

from lorisbench.data.stream import Store, make_stream
from lorisbench.engine.engine import seed_of
from lorisbench.runs.workbench import build, prepare
from lorisbench.suite.config import SuiteConfig
from lorisbench.suite.parsing import parse
from lorisbench.suite.resolve import load_suite

FAULTY = '''
from avalanche.core import SupervisedPlugin
from lorisbench import Strategy


class Breaks(SupervisedPlugin):
    def before_training_exp(self, strategy, **kwargs):
        if strategy.clock.train_exp_counter == 2:
            raise RuntimeError("broken on purpose")


class Faulty(Strategy, name="faulty"):
    """Raises in the third experience."""

    def plugins(self, context):
        return [Breaks()]
'''


SCHEDULES = """
from avalanche.core import SupervisedPlugin
from lorisbench import Strategy


class Rate(SupervisedPlugin):
    def __init__(self, of_experience, of_epoch):
        super().__init__()
        self.of_experience, self.of_epoch = of_experience, of_epoch

    def scale(self, strategy, factor):
        for group in strategy.optimizer.param_groups:
            group["lr"] *= factor

    def before_training_exp(self, strategy, **kwargs):
        self.scale(strategy, self.of_experience)

    def after_training_epoch(self, strategy, **kwargs):
        self.scale(strategy, self.of_epoch)


class Rates(Strategy, name="rates"):
    \"\"\"Scales the learning rate.\"\"\"

    of_experience: float = 1.0
    of_epoch: float = 1.0

    def plugins(self, context):
        return [Rate(self.of_experience, self.of_epoch)]
"""


def only(out: Path, label: str, seed: int = 0) -> Path:
    (folder,) = (out / "runs").glob(f"*.{label}.s{seed}.*")
    return folder


def predictions(out: Path, label: str, seed: int = 0) -> np.ndarray:
    with np.load(only(out, label, seed) / "predictions.npz", allow_pickle=False) as stored:
        return np.array(stored["predicted"])


def test_a_suite_writes_everything_the_design_lists(suite_file: Callable[..., Path], cli, tmp_path: Path) -> None:
    out = tmp_path / "out"
    settings = {"strategies": ["naive", "joint", "dnn"], "seeds": [0, 1], "latency": TWO_CALLS}
    answer = cli("run", suite_file(**settings), "--out", out, report=True)
    assert answer.code == 0, answer.err
    assert str(out / "report" / "index.html") in answer.out
    results = pd.read_csv(out / "results.csv")
    assert list(results.strategy) == ["naive", "naive", "joint", "joint", "dnn", "dnn"]
    assert (results.status == "done").all() and (results.experiences == 9).all()
    matrix = pd.read_csv(out / "matrix.csv")
    assert len(matrix) == 6 * 81 and (matrix.n == 6).all()
    for row in results.itertuples():
        own = matrix[matrix.run_id == row.run_id].pivot(
            index="after_experience", columns="test_experience", values="accuracy"
        )
        r = own.to_numpy()
        assert row.accuracy_last == pytest.approx(r[-1].mean())
        assert row.square == pytest.approx(r.mean())
        assert row.plasticity == pytest.approx(np.diag(r).mean())
        folder = out / "runs" / row.run_id
        with np.load(folder / "predictions.npz", allow_pickle=False) as stored:
            hits = stored["predicted"] == stored["label"]
            assert hits[4, stored["experience"] == 7].mean() == pytest.approx(r[4, 7])
        assert yaml.safe_load((folder / "config.yaml").read_text())["run_id"] == row.run_id
        assert json.loads((folder / "env.json").read_text())["versions"]["torch"]
        latency = json.loads((folder / "latency.json").read_text())
        assert len(latency["ms"]) == len(latency["bare_ms"]) == 2
        assert row.latency_p50_ms == pytest.approx(np.median(latency["ms"]))
        assert len((folder / "journal.jsonl").read_text().splitlines()) == 9
        assert (folder / "checkpoint" / "model.safetensors").is_file()
    joint = results[results.strategy == "joint"].iloc[0]
    assert joint.replay_samples == 8 * 6  # all earlier training images
    assert joint.state_mb == pytest.approx((48 * FEATURES * 4 + (FEATURES * 3 + 3) * 4) / 1e6)  # features, initial head
    naive = results[results.strategy == "naive"].iloc[0]
    assert naive.state_mb == 0 and naive.replay_samples == 0 and naive.heads == 1
    assert (only(out, "dnn") / "decisions.csv").is_file()
    answers = pd.read_csv(only(out, "dnn") / "answers.csv")
    sums = answers.groupby(["after_experience", "test_experience"]).share.sum()
    assert len(sums) == 81 and np.allclose(sums, 1)
    for name in ("comparison.md", "comparison.tex", "comparison.csv"):
        assert (out / "report" / "tables" / name).is_file()


def test_training_equals_a_plain_torch_loop(suite_file: Callable[..., Path]) -> None:
    later = {"epochs": 2, "lr": 0.01}
    suite = load_suite(str(suite_file(training={"epochs": 3, "batch_size": 4, "optimizer": "sgd", "lr": 0.05,
                                                "warmup": 2, "milestones": [2], "later": later})))  # fmt: skip
    bench = prepare(suite.config, suite.config.benchmark.manifest())
    store = Store(bench.x, bench.y)
    strategy = build(bench, suite.runs[0], store)
    stream = make_stream(bench.manifest, store)
    head = torch.nn.Linear(FEATURES, 3)
    head.load_state_dict(strategy.model.head.state_dict())
    for index in range(2):
        strategy.train(stream.train_stream[index], reset_optimizer_state=True)
        rows = torch.from_numpy(bench.manifest.rows("train", index))
        order = torch.Generator().manual_seed(seed_of(0, index, "order"))
        optimizer = torch.optim.SGD(head.parameters(), lr=0.1, momentum=0.9)
        for epoch in range(3 if index == 0 else 2):
            rate = (0.05 if index == 0 else 0.01) * (epoch + 1) / 2 if epoch < 2 else 0.05 * 0.1
            for group in optimizer.param_groups:
                group["lr"] = rate
            for batch in rows[torch.randperm(len(rows), generator=order)].split(4):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(head(bench.x[batch]), bench.y[batch]).backward()
                optimizer.step()
    assert torch.equal(head.weight, strategy.model.head.weight)


def test_a_plugin_may_schedule_the_learning_rate(suite_file, cli, tmp_path: Path) -> None:
    (tmp_path / "schedules.py").write_text(SCHEDULES)
    sgd = {"optimizer": "sgd", "lr": 0.25, "momentum": 0.5, "epochs": 3, "batch_size": 4}
    strategies = {
        "halved": {"strategy": "rates", "of_experience": 0.5},
        "half": {"strategy": "naive", "training": {"lr": 0.125}},
        "decayed": {"strategy": "rates", "of_epoch": 0.5},
        "milestones": {"strategy": "naive", "training": {"milestones": [1, 2], "milestone_factor": 0.5}},
        "naive": None,
    }
    suite = suite_file(strategies=strategies, training=sgd, latency={"enabled": False})
    assert cli("run", suite, "--plugin", tmp_path / "schedules.py", "--out", tmp_path / "out").code == 0
    weight = {label: load_file(only(tmp_path / "out", label) / "checkpoint" / "model.safetensors")["head.weight"]
              for label in strategies}  # fmt: skip
    assert torch.equal(weight["halved"], weight["half"]) and torch.equal(weight["decayed"], weight["milestones"])
    assert not torch.allclose(weight["half"], weight["naive"]) and not torch.allclose(
        weight["decayed"], weight["naive"]
    )


def test_a_plugin_that_exits_ends_its_run_and_not_the_suite(suite_file, cli, tmp_path: Path) -> None:
    text = FAULTY.replace('RuntimeError("broken on purpose")', "SystemExit(0)").replace('"faulty"', '"leaver"')
    (tmp_path / "leaver.py").write_text(text)
    suite = suite_file(strategies=["leaver", "naive"], latency={"enabled": False})
    answer = cli("run", suite, "--plugin", tmp_path / "leaver.py", "--out", tmp_path / "out")
    assert answer.code == 1, answer.err
    results = pd.read_csv(tmp_path / "out" / "results.csv").set_index("strategy")
    assert results.status.to_dict() == {"leaver": "failed", "naive": "done"}
    assert "SystemExit" in results.reason["leaver"]


@pytest.mark.heavy
def test_numbers_do_not_depend_on_workers_or_order(suite_file, cli, tmp_path: Path) -> None:
    suite = suite_file(strategies=["naive", "dnn"], seeds=[0, 1], latency={"enabled": False})
    assert cli("run", suite, "--out", tmp_path / "one").code == 0
    words = ["run", str(suite), "--out", str(tmp_path / "two"), "--workers", "2"]
    workers = subprocess.run([sys.executable, "-m", "lorisbench", *words], capture_output=True, text=True, check=True)
    assert "Warning" not in workers.stderr, "of the libraries that each worker imports"
    assert cli("run", suite, "--out", tmp_path / "last", "--strategies", "dnn", "--seeds", "1").code == 0
    for label in ("naive", "dnn"):
        for seed in (0, 1):
            assert np.array_equal(
                predictions(tmp_path / "one", label, seed), predictions(tmp_path / "two", label, seed)
            )
    assert np.array_equal(predictions(tmp_path / "one", "dnn", 1), predictions(tmp_path / "last", "dnn", 1))
    assert not np.array_equal(predictions(tmp_path / "one", "naive", 0), predictions(tmp_path / "one", "naive", 1))


def test_backbone_training_modes(suite_file) -> None:
    digests: dict[str, list[str]] = {}
    for mode in ("never", "always"):
        backbone = {"name": "timm:test_resnet", "weights": "none", "image_size": 32, "train": mode, "cache": False}
        suite = load_suite(str(suite_file(backbone=backbone, training={"epochs": 1, "batch_size": 6})))
        bench = prepare(suite.config, suite.config.benchmark.manifest())
        store = Store(bench.x, bench.y)
        strategy = build(bench, suite.runs[0], store)
        digests[mode] = [strategy.model.backbone.digest()]
        for experience in make_stream(bench.manifest, store).train_stream[:3]:
            strategy.train(experience, reset_optimizer_state=True)
            digests[mode].append(strategy.model.backbone.digest())
    assert len(set(digests["never"])) == 1
    assert len(set(digests["always"])) == 4


@pytest.mark.parametrize("mode", ["first", pytest.param("always", marks=pytest.mark.heavy)])
def test_all_strategies_run_end_to_end_on_images(suite_file, cli, tmp_path: Path, mode: str) -> None:
    backbone = {"name": "timm:test_resnet", "weights": "none", "image_size": 32, "train": mode}
    suite = suite_file(backbone=backbone, training={"epochs": 1, "batch_size": 6}, latency=TWO_CALLS,
                       strategies=["naive", "joint", "ewc", "lwf", "dnn"])  # fmt: skip
    answer = cli("run", suite, "--out", tmp_path / "out")
    assert answer.code == 0, answer.err
    results = pd.read_csv(tmp_path / "out" / "results.csv")
    assert (results.status == "done").all()
    assert results.latency_p50_ms.notna().all(), results.undefined.tolist()


def test_plugins_of_avalanche_run_by_their_names(suite_file, cli, tmp_path: Path) -> None:
    plugin = "avalanche.training.plugins"
    suite = suite_file(strategies={
        "stock-replay": {"avalanche": f"{plugin}:ReplayPlugin", "args": {"mem_size": 5}},
        "stock-ewc": {"avalanche": f"{plugin}:EWCPlugin", "args": {"ewc_lambda": 0.1}},
        "stock-lwf": {"avalanche": f"{plugin}:LwFPlugin", "args": {"alpha": 1, "temperature": 2}},
    })  # fmt: skip
    answer = cli("run", suite, "--out", tmp_path / "out")
    assert answer.code == 0, answer.err
    results = pd.read_csv(tmp_path / "out" / "results.csv").set_index("strategy")
    assert results.loc["stock-replay", "replay_samples"] == 5
    assert results.loc["stock-lwf", "state_mb"] == pytest.approx((FEATURES * 3 + 3) * 4 / 1e6)  # its teacher head


def test_a_failing_and_a_diverging_run_leave_the_others(suite_file, cli, tmp_path: Path) -> None:
    (tmp_path / "faulty.py").write_text(FAULTY)
    suite = suite_file(strategies={"naive": None, "faulty": None,
                                   "wild": {"strategy": "naive", "training": {"optimizer": "sgd", "lr": 1e38}}},
                       plugins=["faulty.py"])  # fmt: skip
    out = tmp_path / "out"
    answer = cli("run", suite, "--out", out, report=True)
    assert answer.code == 1
    results = pd.read_csv(out / "results.csv").set_index("strategy")
    assert dict(results.status) == {"naive": "done", "faulty": "failed", "wild": "diverged"}
    line = FAULTY.splitlines().index('            raise RuntimeError("broken on purpose")') + 1
    assert results.loc["faulty", "reason"] == f"RuntimeError: broken on purpose (faulty.py, line {line})"
    assert "not finite" in results.loc["wild", "reason"]
    assert "Traceback" in json.loads((only(out, "faulty") / "status.json").read_text())["traceback"]
    assert "accuracy_last" in results.loc["faulty", "undefined"] and np.isnan(results.loc["faulty", "accuracy_last"])
    page = (out / "report" / "index.html").read_text()
    assert "broken on purpose" in page


def test_finished_runs_are_kept_and_unfinished_ones_start_anew(suite_file, finished, cli, tmp_path: Path) -> None:
    suite, out = suite_file(seeds=[0, 1]), finished(tmp_path / "out")
    kept, again = only(out, "naive", 0), only(out, "naive", 1)
    before = (kept / "predictions.npz").stat().st_mtime_ns
    expected = predictions(out, "naive", 1)
    (again / "status.json").write_text('{"status": "running"')  # a process killed while it wrote
    with open(again / "journal.jsonl", "a") as journal:
        journal.write('{"experience": 9, "acc')
    answer = cli("run", suite, "--out", out)
    assert answer.code == 0 and "1 already finished" in answer.err
    assert (kept / "predictions.npz").stat().st_mtime_ns == before
    assert np.array_equal(predictions(out, "naive", 1), expected)
    assert len((again / "journal.jsonl").read_text().splitlines()) == 9


def test_resolved_suite_gives_the_same_runs(suite_file, cli, tmp_path: Path) -> None:
    suite, out = suite_file(strategies=["ewc", "dnn"]), tmp_path / "out"
    assert cli("run", suite, "--out", out).code == 0
    resolved = yaml.safe_load((out / "suite.yaml").read_text())
    assert parse(SuiteConfig, resolved)
    again = cli("run", out / "suite.yaml", "--out", out, "--dry-run")
    assert again.code == 0 and again.out.count("done") == 2


def test_the_seed_draws_the_first_weights(suite_file) -> None:
    suite = load_suite(str(suite_file(seeds=[0, 1])))
    bench = prepare(suite.config, suite.config.benchmark.manifest())
    first, second, again = (build(bench, spec, Store(bench.x, bench.y)).model for spec in (*suite.runs, suite.runs[0]))
    assert torch.equal(first.head.weight, again.head.weight)
    assert not torch.equal(first.head.weight, second.head.weight)
