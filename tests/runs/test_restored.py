"""What a plugin changes in its process reaches neither the next run nor the caller."""

from __future__ import annotations

import cProfile
import gc
import locale
import logging
import os
import pstats
import random
import signal
import socket
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_models import TWO_CALLS
from torch.nn.modules import module as modules
from torch.optim import optimizer as optimizers

import lorisbench
from lorisbench.common.registry import STRATEGIES, load_plugin
from lorisbench.common.restored import restored
from lorisbench.conformance.kit import check
from lorisbench.runs.directory import RunDirectory
from lorisbench.runs.launch import launch
from lorisbench.runs.one_run import train
from lorisbench.runs.workbench import prepare
from lorisbench.suite.resolve import load_suite

VANDAL = Path(__file__).with_name("vandal.py")


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def vandalise() -> None:
    """Run the vandal's code without registering its strategy."""
    module: dict[str, Any] = {"__name__": "vandal_by_itself"}
    exec(VANDAL.read_text().partition("class Vandal(")[0], module)
    module["vandalise"]()


def state() -> dict[str, Any]:
    """What of the process is compared."""
    return {
        "folder": os.getcwd(), "environment": dict(os.environ), "umask": umask(), "random": random.getstate(),
        "numpy": repr(np.random.get_state()), "errors": np.geterr(), "prints": np.get_printoptions(),
        "torch's numbers": torch.get_rng_state().tolist(), "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(), "new tensor": str(torch.empty(1).device),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(), "benchmark": torch.backends.cudnn.benchmark,
        "cudnn": (torch.backends.cudnn.deterministic, torch.backends.cudnn.enabled),
        "precision": torch.get_float32_matmul_precision(), "denormals": sys.float_info.min / len("ab") > 0,
        "anomaly": (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        "shown": repr(torch.tensor([1.23456])), "hooks": (len(modules._global_forward_hooks),
        len(modules._global_forward_pre_hooks), len(optimizers._global_optimizer_pre_hooks)),
        "autocast": torch.is_autocast_enabled("cpu"), "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(), "filters": list(warnings.filters),
        "warnings": warnings.showwarning, "logging": (logging.root.level, list(logging.root.handlers),
        logging.root.manager.disable), "signals": (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)),
        "locale": locale.setlocale(locale.LC_ALL), "timeout": socket.getdefaulttimeout(), "temporary": tempfile.tempdir,
        "collector": gc.isenabled(), "path": list(sys.path), "arguments": sys.argv, "depth": sys.getrecursionlimit(),
        "streams": (sys.stdout, sys.stderr), "hook": sys.excepthook,
    }  # fmt: skip


def differences(before: dict[str, Any]) -> list[str]:
    now = state()
    return [key for key, value in before.items() if now[key] != value]


def test_everything_is_put_back_however_the_block_ends() -> None:
    before = state()
    with restored():
        vandalise()
    assert not differences(before)
    with pytest.raises(ZeroDivisionError), restored():
        vandalise()
        1 / 0  # noqa: B018
    assert not differences(before)


def test_a_profiler_goes_on() -> None:
    profiler = cProfile.Profile()
    with profiler:
        with restored():
            sys.setprofile(None)
        with restored():
            gc.collect()
    assert any(name == "<built-in method gc.collect>" for _, _, name in pstats.Stats(profiler).stats)  # type: ignore


def test_the_callers_own_settings_are_put_back_too() -> None:
    torch.manual_seed(1)
    with torch.no_grad(), restored():
        assert torch.is_grad_enabled()
    with torch.no_grad():
        torch.set_default_dtype(torch.float64)
        try:
            before = state()
            with restored():
                assert torch.is_grad_enabled()
                torch.set_default_dtype(torch.float32)
            assert not differences(before) and not torch.is_grad_enabled()
        finally:
            torch.set_default_dtype(torch.float32)


def predicted(folder: Path) -> np.ndarray:
    with np.load(folder / "predictions.npz", allow_pickle=False) as stored:
        return np.array(stored["predicted"])


def compare(suite_file: Callable[..., Path], folder: Path, names: list[str]) -> None:
    """Train each strategy, then again right after a vandal: the same predictions, and nothing has changed."""
    ends = ("done", "failed", "left", "diverged")
    entries: dict[str, Any] = dict.fromkeys(names)
    vandals: dict[str, Any] = {f"vandal-{end}": {"strategy": "vandal", "end": end} for end in ends}
    suite = load_suite(str(suite_file(strategies={**entries, **vandals}, plugins=[str(VANDAL)],
                                      training={"epochs": 1, "batch_size": 4})))  # fmt: skip
    bench = prepare(suite.config, suite.config.benchmark.manifest())
    specs = {spec.label: spec for spec in suite.runs}
    for name in names:
        train(bench, specs[name], RunDirectory(folder / f"{name}-before"))
    before = state()
    os.chdir(folder)
    for index, name in enumerate(names):
        label = f"vandal-{ends[index % len(ends)]}"
        train(bench, specs[label], RunDirectory(Path(label)))
        ended = RunDirectory(folder / label).status()["status"]
        assert ended == {"left": "failed"}.get(label.partition("-")[2], label.partition("-")[2])
        train(bench, specs[name], RunDirectory(Path(f"{name}-after")))
        statuses = [RunDirectory(folder / f"{name}-{when}").status() for when in ("before", "after")]
        assert statuses[0] == statuses[1] == {"status": "done", "reason": ""}, (name, statuses)
        assert np.array_equal(*(predicted(folder / f"{name}-{when}") for when in ("before", "after"))), name
    os.chdir(before["folder"])
    assert not differences(before)


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for the runs; the working folder is put back even if a test fails."""
    monkeypatch.chdir(os.getcwd())
    return tmp_path


@pytest.mark.heavy
def test_runs_after_a_vandal_give_the_same(suite_file: Callable[..., Path], at_home: Path) -> None:
    compare(suite_file, at_home, ["replay", "dnn", "slda", "ewc"])


@pytest.mark.heavy
def test_runs_of_every_built_in_after_a_vandal_give_the_same(suite_file: Callable[..., Path], at_home: Path) -> None:
    built_in = [name for name, entry in STRATEGIES.entries().items() if entry.origin == "built-in"]
    compare(suite_file, at_home, sorted({*built_in} - {"avalanche", "stack"}))


def test_from_python_and_in_check_the_caller_keeps_its_own(
    suite_file: Callable[..., Path], at_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(at_home)
    torch.manual_seed(3)
    before = state()
    with torch.no_grad():
        results = lorisbench.run(suite_file(), ["vandal", "naive"], seeds=[0], out="here", plugins=[VANDAL],
                                 training={"epochs": 1, "batch_size": 4})  # fmt: skip
    assert list(results.table.status) == ["done", "done"] and (at_home / "here" / "results.csv").is_file()
    assert not differences(before)


IMPORTED = """
import os, random, sys, warnings
import torch
from lorisbench import Strategy
os.chdir("/")
os.environ["HOME"] = "/nowhere"
torch.set_default_dtype(torch.float64)
torch.set_num_threads(5)
random.seed(1)
warnings.simplefilter("error")


class AtImport(Strategy, name="at-import"):
    def plugins(self, context):
        return []
"""


EARLY = """
import os
import torch
from lorisbench import Strategy


class Early(Strategy, name="early"):
    def model_post_init(self, _):
        os.chdir("/")

    def plugins(self, context):
        torch.set_default_dtype(torch.float64)
        os.environ["PATH"] = ""
        return []
"""


def test_making_and_timing_a_strategy_changes_nothing(
    suite_file: Callable[..., Path], at_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (at_home / "changes_early.py").write_text(EARLY)
    monkeypatch.chdir(at_home)
    before = state()
    suite = load_suite(str(suite_file(strategies=["early", "naive"], plugins=["changes_early.py"], latency=TWO_CALLS,
                                      training={"epochs": 1, "batch_size": 5})))  # fmt: skip
    assert not differences(before)
    frame = launch(suite, Path("out"))
    assert list(frame.status) == ["done", "done"] and frame.latency_p50_ms.notna().all(), frame.reason.tolist()
    assert not differences(before)


@pytest.mark.usefixtures("checked_on_features")
def test_importing_a_plugin_file_changes_nothing(at_home: Path) -> None:
    (at_home / "changes_at_import.py").write_text(IMPORTED)
    before = state()
    load_plugin(at_home / "changes_at_import.py")
    assert not differences(before)
    report = check({"strategy": "at-import"})
    assert [row.status for row in report.rows if row.check == "learns"] == ["pass"] and not differences(before)
