"""`lorisbench learn`: a finished run goes on with an experience that did not exist before, as a robot does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lorisbench.common.errors import InputError
from lorisbench.runs.directory import RunDirectory
from lorisbench.suite.benchmarks import settings_of_benchmark
from lorisbench.suite.config import SuiteConfig
from lorisbench.suite.parsing import parse
from lorisbench.suite.resolve import Suite, resolve
from lorisbench.suite.run_folders import read_config, suite_of
from lorisbench.suite.spec import changed_code


def suite_after(run: Path, data: Path, plugins: Sequence[str] = ()) -> Suite:
    """The suite of a single run: the finished run of a folder OUT/runs/<run_id>, and then the images of `data`.

    data : a folder <class>/<image> or {train,test[,validation]}/<class>/<image>, or a CSV file as the benchmark
    `manifest` reads it, with one experience. Where it names no splits, some images are held out for testing, as for any
    own data. The new run is tested once, at its end, on the tests of all experiences.

    Raises InputError if the folder is no finished run, or one that cannot go on.
    """
    run = run.absolute()
    if not (run / "config.yaml").is_file():
        raise InputError(f"{run}: not the folder of a run, OUT/runs/<run_id>")
    config = read_config(run)
    status = RunDirectory(run).status()
    if status["status"] != "done":
        raise InputError(f"{run}: its status is {status['status']}; only a finished run can go on")
    out = run.parent.parent
    raw = suite_of(out)
    if plugins:
        raw["plugins"] = [*(raw.get("plugins") or []), *plugins]
    suite = resolve(parse(SuiteConfig, raw, str(out / "suite.yaml")))
    spec = next((spec for spec in suite.runs if spec.run_id == run.name), None)
    if spec is None:
        for settings in suite.streams.values():
            entry = settings.strategies.get(str(config["label"]))
            if entry is not None and (other := changed_code(config, entry.strategy)):
                raise InputError(f"{run}: {other} changed since it was trained; what it knows is another method's")
        raise InputError(f"{run}: no run of {out / 'suite.yaml'}")
    if spec.head.per_task:
        raise InputError(f"{run}: head.per_task: nobody says which task the new images are of")
    if spec.training.augment is not None and spec.training.augment.experiences == "all":
        raise InputError(f"{run}: training.augment of all experiences: images that came later are not augmented")
    settings = suite.streams[spec.stream]
    own: dict[str, Any] = {
        "name": f"{settings.name}-learned",
        "benchmark": {
            "name": "continued",
            "run": str(run),
            "of": settings_of_benchmark(settings.benchmark),
            "order": list(config.get("permutation") or []),
            "data": _benchmark_of(data.absolute()),
        },
        "strategies": {spec.label: settings.strategies[spec.label].settings},
        "evaluation": {**settings.evaluation.model_dump(), "rows": "last"},
        "seeds": [spec.seed],
        "orders": [0],
        "keep_state": settings.keep_state,
    }
    for key in ("backbone", "head", "training", "latency"):
        own[key] = getattr(settings, key).model_dump(mode="json")
    return resolve(parse(SuiteConfig, {**own, "device": settings.device, "plugins": settings.plugins}))


def _benchmark_of(data: Path) -> dict[str, Any]:
    """The settings of the benchmark that reads a folder of classes, or a CSV file."""
    if data.is_file():
        return {"name": "manifest", "file": str(data)}
    if not data.is_dir():
        raise InputError(f"--data {data}: no such folder or file")
    return {"name": "folder", "root": str(data.parent), "domains": [data.name]}
