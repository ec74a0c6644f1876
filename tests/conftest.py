"""Fixtures: a tiny data set in the release layout, and suites that train on it in seconds."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main
import yaml
from filelock import FileLock
from hypothesis import HealthCheck, settings
from PIL import Image

# One thread per process, set before torch is imported and also for processes that a test starts: workers of
# pytest-xdist do not get in each other's way, and no sum depends on the number of cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Suites train in the test's own process, where a test can watch and change things, unless it asks for workers.
os.environ.setdefault("LORISBENCH_WORKERS", "0")
# Commands are made of their functions' signatures once, not for each of a thousand calls.
typer.main.get_command = functools.cache(typer.main.get_command)
# Examples may take long on a machine that does other things as well.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
# Nothing that a test writes has to outlast a power cut, and waiting for the disk takes a tenth of a tiny run.
os.fsync = lambda descriptor: None

# Folders whose files take longest, and those that take next to nothing: with `--no-loadscope-reorder` a worker is given
# files in this order, so that none is left with a long one at the end.
FIRST = ("conformance", "export", "report", "cli", "reproduce", "runs", "api")
LAST = ("model", "suite", "data", "common", "metrics")
# Files that one worker has, as each process in which they run imports something large anew: torch in the server that
# runs are forked from, and torch's exporter.
TOGETHER = (
    (
        "runs/test_isolation.py", "runs/test_joining.py", "runs/test_observers.py", "runs/test_versions_of_a_method.py",
    ),
    ("export/test_export.py", "export/test_causes.py"),
)  # fmt: skip


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Half as many test processes again as there are cores: many a test waits for a process, a signal or a clock."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores + cores // 2


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Files are handed out one by one, except those that belong together (`TOGETHER`)."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return next((files[0] for files in TOGETHER if file.removeprefix("tests/") in files), file)

    return Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long come first; the tests of a file stay together, in their order."""
    together = {Path(__file__).parent / file for files in TOGETHER for file in files}

    def turn(item: pytest.Item) -> tuple[bool, int]:
        folder = item.path.parent.name
        return item.path not in together, (folder not in FIRST) + (folder in LAST)

    items.sort(key=turn)


FACTORS = ("illumination", "occlusion", "pixel", "clutter")
OBJECTS = ("box_01", "cup_01", "cup_02")


def write_release(root: Path, objects: tuple[str, ...] = OBJECTS, per_split: int = 2, size: int = 32) -> Path:
    """A tree in the release layout: an object is a colour, a segment a brightness, a frame a little noise."""
    rng = np.random.default_rng(0)
    colours = rng.integers(60, 255, (len(objects), 3))
    for split in ("train", "validation", "test"):
        for factor in FACTORS:
            for segment in range(1, 10):
                shade = 0.4 + 0.06 * segment
                for name, colour in zip(objects, colours, strict=True):
                    folder = root / split / factor / f"segment{segment}" / name
                    folder.mkdir(parents=True)
                    for frame in range(per_split):
                        noise = rng.normal(0, 12, (size, size + 8, 3))
                        pixels = np.clip(colour * shade + noise, 0, 255).astype(np.uint8)
                        Image.fromarray(pixels).save(folder / f"{frame:03d}.jpg", quality=90)
    return root


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One thread of the CPU during the test; test files with small tensors use it by `pytest.mark.usefixtures`."""
    from lorisbench.common.threads import one_thread

    with one_thread():
        yield


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """`made_once(name, make)` -> a folder that one test process fills with `make(folder)`; it is only to be read."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def made(name: str, make: Callable[[Path], object]) -> Path:
        folder, partial = shared / name, shared / f"{name}.partial"
        with FileLock(shared / f"{name}.lock"):
            if not folder.exists():
                shutil.rmtree(partial, ignore_errors=True)
                make(partial)
                partial.rename(folder)
        return folder

    return made


@pytest.fixture(scope="session")
def release(made_once: Callable[..., Path]) -> Path:
    """648 images: 3 objects, 4 factors, 9 segments, 3 splits, 2 frames."""
    return made_once("release", write_release)


@pytest.fixture(scope="session", autouse=True)
def cache(made_once: Callable[..., Path]) -> Path:
    """The test run's own cache folder, shared by its processes; the user's cache is neither read nor written."""
    folder = made_once("cache", Path.mkdir)
    os.environ["LORISBENCH_CACHE"] = str(folder)
    return folder


@pytest.fixture(scope="session", autouse=True)
def own_lock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No measurement of a latency waits, for seconds, until other test processes, or other users, train nothing."""
    from lorisbench.runs import quiet

    lock = tmp_path_factory.mktemp("lock") / "lock"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quiet, "_file", lambda: lock)
        yield


PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x40\0\0\0\x40"
"""As much of a PNG file, 64 pixels wide, as the report reads."""


@pytest.fixture
def checked_on_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """`lorisbench check` watches runs on features alone, which takes a quarter of the time."""
    from lorisbench.conformance import checks

    monkeypatch.setattr(checks, "collect", functools.partial(checks.collect, modes=["features"]))


@pytest.fixture(scope="session")
def render_only() -> Callable[[pytest.MonkeyPatch, Sequence[str]], None]:
    """`render_only(patch, names)`: other plots are laid out and their files exist, but nothing is rendered.

    Rendering is the slowest part of a report.
    """
    from lorisbench.report import style

    def only(patch: pytest.MonkeyPatch, names: Sequence[str]) -> None:
        render = style.save

        def save(drawing: style.Drawing, folder: Path) -> style.Plot:
            if drawing.name in names:
                return render(drawing, folder)
            folder.mkdir(parents=True, exist_ok=True)
            for kind in style.FILES:
                (folder / f"{drawing.name}.{kind}").write_bytes(PNG if kind == "png" else b"<svg/>")
            return style.Plot(drawing.name, drawing.caption)

        patch.setattr(style, "save", save)

    return only


@pytest.fixture(autouse=True)
def plots_left_out(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, render_only: Callable[..., None]
) -> None:
    """No plot is rendered. `@pytest.mark.drawn("curves")` renders that one; without a name, all.

    (Module-scoped fixtures render all anyway.)
    """
    mark = request.node.get_closest_marker("drawn")
    if mark is None or mark.args:
        render_only(monkeypatch, mark.args if mark is not None else ())


@pytest.fixture
def suite_file(tmp_path: Path, release: Path) -> Callable[..., Path]:
    """Writes a suite on the tiny data set: `suite_file(strategies=..., seeds=[0], ...)` -> path.

    The backbone is small, and latency is not measured unless a test asks for it (`latency=TWO_CALLS`).
    """

    from small_models import SMALL

    def write(**changes: object) -> Path:
        suite: dict[str, object] = {
            "name": "tiny",
            "benchmark": {
                "name": "openloris",
                "protocol": "factor",
                "factor": "clutter",
                "root": str(release),
            },
            "backbone": SMALL,
            "training": {"epochs": 2, "batch_size": 4},
            "strategies": ["naive"],
            "seeds": [0],
            "latency": {"enabled": False},
            "device": "cpu",
            **changes,
        }
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(suite, sort_keys=False), encoding="utf-8")
        return path

    return write


@pytest.fixture
def suite_on(suite_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Callable[..., Path]]:
    """`suite_on(file, **settings)` -> a function like `suite_file`, for the images of a CSV file, with these settings.

    The backbone has two layers.
    """
    from small_models import small_backbone

    from lorisbench.model import backbones

    def on(file: Path, **settings: object) -> Callable[..., Path]:
        monkeypatch.setattr(backbones, "_make", small_backbone)
        own = {"benchmark": {"manifest": str(file)}, "backbone": {"name": "resnet18", "image_size": 32}, **settings}
        return lambda **changes: suite_file(**{**own, **changes})

    return on


@pytest.fixture
def finished(suite_file: Callable[..., Path], made_once: Callable[..., Path]) -> Callable[[Path], Path]:
    """`finished(out)` -> out, with what the suite `suite_file(seeds=[0, 1, 2])` leaves, trained once in a test run."""
    from lorisbench.runs.launch import launch
    from lorisbench.suite.resolve import load_suite

    trained = made_once("finished", lambda out: launch(load_suite(str(suite_file(seeds=[0, 1, 2]))), out))
    return lambda out: Path(shutil.copytree(trained, out))


@pytest.fixture(scope="session")
def make_release() -> Callable[..., Path]:
    """The function that writes such a tree: `make_release(root, objects=..., per_split=..., size=...)`."""
    return write_release


@dataclass
class Answer:
    """What a command of the command line returned and printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Runs `lorisbench WORDS...` in this process: `cli("run", suite, "--out", folder)`.

    Drawing a report takes longer than training on the tiny data set, so it is left out unless `report=True`.
    """

    def run(*words: object, report: bool = False) -> Answer:
        from lorisbench import report as reports
        from lorisbench.cli import app as cli

        if not report:
            monkeypatch.setattr(reports, "write_report", lambda out, *how: out / "report" / "index.html")

        monkeypatch.setattr("sys.argv", ["lorisbench", *map(str, words)])
        capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return run


@pytest.fixture
def without_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Suites are planned although the folders and files that a page names are not there."""
    from lorisbench.runs import plan
    from lorisbench.suite import benchmarks, resolve

    monkeypatch.setattr(plan, "rehearse", lambda *given: [])
    for module in (benchmarks, resolve):
        monkeypatch.setattr(module, "placed", lambda component, settings, base, where: dict(settings))
