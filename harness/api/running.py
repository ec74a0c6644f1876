"""`lorisbench.run`: a comparison from Python, with the same settings, files and errors as the command line."""

from __future__ import annotations

import atexit
import itertools
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lorisbench.api.results import Results, load
from lorisbench.common.console import hide_warnings
from lorisbench.common.errors import InputError
from lorisbench.common.files import contents, write_text
from lorisbench.common.reading import read_text
from lorisbench.common.registry import load_plugin, nearest
from lorisbench.data.benchmark import Benchmark
from lorisbench.data.manifest import Manifest
from lorisbench.engine.strategy import Strategy, entry_from
from lorisbench.runs.launch import launch
from lorisbench.runs.policy import Policy
from lorisbench.runs.store import MANIFEST
from lorisbench.suite.benchmarks import settings_of_benchmark
from lorisbench.suite.choice import check_added, entry_named, load_plugins
from lorisbench.suite.config import SuiteConfig, names_suite, read_suite
from lorisbench.suite.entries import by_label
from lorisbench.suite.parsing import parse
from lorisbench.suite.paths import folder_of, given_here
from lorisbench.suite.resolve import resolve
from lorisbench.suite.streams import of_labels
from lorisbench.suite.training import merged

Entry = str | Mapping[str, Any] | Strategy | type[Strategy]
Source = str | os.PathLike[str] | Mapping[str, Any] | Manifest | Benchmark


def run(
    what: Source,
    strategies: Sequence[Entry] | Mapping[str, Entry | None] | None = None,
    *,
    add: Sequence[Entry] | Mapping[str, Entry | None] = (),
    seeds: Iterable[int] | None = None,
    orders: int | Iterable[int] | None = None,
    streams: Sequence[str] = (),
    out: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    time_limit: float | None = None,
    retries: int = 1,
    retry_failed: bool = False,
    rerun: Sequence[str] = (),
    data_root: str | os.PathLike[str] | None = None,
    plugins: Sequence[str | os.PathLike[str]] = (),
    **settings: Any,
) -> Results:
    """Train every strategy on every stream, in every order and under every seed; finished runs in `out` are kept.

    Returns the results.

    Works in scripts without a `__main__` guard and in notebooks, with any number of workers.

    Parameters
    ----------
    what : a benchmark's name (`"openloris-sim"`), its settings (`{"name": "openloris-sim", "protocol": "factor"}`), a
        `Benchmark` or a `Manifest`; or a suite: the name of a shipped one, the path of a YAML file, or its mapping.
    strategies : names, settings as in a suite (`{"strategy": "ewc", "ewc_lambda": 10}`), `Strategy` classes or
        instances; or a mapping from labels to these. A name that is a label in the suite stands for that entry.
        If not given: all of a suite's. With a benchmark they must be given.
    add : strategies besides these, in the same forms; none that the suite has already.
    seeds : one run per strategy for each; by default the suite's, or 0, 1 and 2.
    orders : numbers of orders of the experiences, or how many; by default the suite's, or 0, the stream's own.
    streams : names of the suite's streams that are used; by default all. (Several streams are the setting
        `benchmarks={name: settings, ...}` of a suite.)
    out : output folder; by default a temporary one, which is removed when Python exits.
    workers : processes that train runs; results do not depend on it. 0 trains in this process, where a debugger sees
        it. By default what the environment variable LORISBENCH_WORKERS says, or one for each core where heads are
        trained on features on the CPU, else 1.
    time_limit : seconds after which a run fails. retries : further attempts at a run whose process was killed, or that
        ran out of memory. retry_failed : whether runs that failed before are trained again. rerun : strategies whose
        runs are trained again from the beginning.
    data_root : folder of the real data set, in place of the suite's, or a file of features in place of its images.
    plugins : Python files with strategies or benchmarks.
    settings : any other key of a suite, such as `training={"epochs": 5}` or `backbone={"image_size": 64}`. Keys that
        such a mapping omits keep the suite's values, or the defaults.

    Raises
    ------
    InputError : in one line that names the key or file, before anything is trained. Runs that fail in training raise
        nothing: they are in `Results.failed`, with the reason.
    """
    folder = _temporary() if out is None else Path(out)
    for file in plugins:
        load_plugin(Path(file))
    raw = _suite_of(what, folder)
    base = folder_of(os.fspath(what)) if isinstance(what, str | os.PathLike) else Path.cwd()
    load_plugins(raw, base)
    for key in settings:
        if key not in SuiteConfig.model_fields:
            raise InputError(f"unknown key {key!r}{nearest(key, SuiteConfig.model_fields)}")
    raw = merged(raw, settings)
    own = by_label(raw.get("strategies") or {})
    if strategies is not None:
        raw["strategies"] = _entries(strategies, own)
        if "streams" not in settings:  # what the suite says of an entry holds for that entry
            kept = [label for label, entry in raw["strategies"].items() if label in own and entry == own[label]]
            raw["streams"] = of_labels(raw.get("streams"), kept)
        if "about" not in settings:  # as on the command line, the suite's own holds for what is left of it
            raw["about"] = [label for label in _about(raw) if label in raw["strategies"]]
    if add:
        extra = _entries(add, {})
        check_added(list(extra), own, "add=")
        raw["strategies"] = {**by_label(raw.get("strategies") or {}), **extra}
    if not raw.get("strategies"):
        raise InputError("no strategies are given: name some of those that `lorisbench ls strategies` lists")
    if seeds is not None:
        raw["seeds"] = [int(seed) for seed in seeds]
    if orders is not None:
        raw["orders"] = orders if isinstance(orders, int) else [int(order) for order in orders]
    if plugins:
        raw["plugins"] = [*(raw.get("plugins") or []), *given_here([os.fspath(file) for file in plugins])]
    root = None if data_root is None else Path(data_root)
    if root is not None and not root.is_dir() and not root.is_file():
        raise InputError(f"data_root {root}: no such folder")
    suite = resolve(parse(SuiteConfig, raw), data_root=root, streams=streams, base=base)
    with warnings.catch_warnings():
        hide_warnings()
        launch(suite, folder, workers, policy=Policy(time_limit, retries, retry_failed, tuple(rerun)))
    return load(folder)


def _about(raw: Mapping[str, Any]) -> list[Any]:
    about = raw.get("about") or []
    return list(about) if isinstance(about, list) else [about]


def _temporary() -> Path:
    folder = tempfile.mkdtemp(prefix="lorisbench-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _suite_of(what: Source, folder: Path) -> dict[str, Any]:
    """The mapping of a suite: the one that `what` is or names, or one made around the benchmark that it is or names."""
    if isinstance(what, str | os.PathLike):
        text = os.fspath(what)
        return read_suite(text) if names_suite(text) else _around({"name": text})
    if isinstance(what, Manifest):
        return _around(_listed(what, folder / MANIFEST))
    if isinstance(what, Benchmark):
        return _around(settings_of_benchmark(what))
    if not isinstance(what, Mapping):
        raise InputError(f"{what!r} is neither a suite nor a benchmark: give a name, a file, settings or a manifest")
    a_suite = "benchmark" in what or "benchmarks" in what
    return {"name": "comparison", **what} if a_suite else _around(dict(what))


def _around(benchmark: dict[str, Any]) -> dict[str, Any]:
    return {"name": "comparison", "benchmark": benchmark}


def _listed(manifest: Manifest, file: Path) -> dict[str, Any]:
    """Write a manifest to a file; returns the settings of a benchmark that reads it, as workers and later calls do."""
    from lorisbench.benchmarks.own.csv_manifest import csv_text

    text = csv_text(manifest, file)
    if file.is_file():
        if read_text(file) != text:
            raise InputError(f"{file}: lists different images; choose another folder")
    elif contents(file.parent):
        raise InputError(f"{file.parent}: holds other files; choose an empty folder")
    else:
        write_text(file, text)
    return {"name": "manifest", "file": str(file.resolve()), "val_as_replay": manifest.val_as_replay}


def _entries(wanted: Sequence[Entry] | Mapping[str, Entry | None], own: Mapping[str, Any]) -> dict[str, Any]:
    """A suite's `strategies` from what a caller passes; `own` are those already in the suite."""
    if isinstance(wanted, str | Strategy | type):
        wanted = [wanted]
    if isinstance(wanted, Mapping):
        return {str(label): _entry(label if entry is None else entry, own) for label, entry in wanted.items()}
    found: dict[str, Any] = {}
    for each in wanted:
        entry = _entry(each, own)
        label = each if isinstance(each, str) else _label(entry, found)
        if label in found or (entry is not None and entry in found.values()):
            raise InputError(f"strategies: {label.removesuffix('-2')!r} is given twice, with the same settings")
        found[label] = entry
    return found


def _entry(given: Entry, own: Mapping[str, Any]) -> Any:
    """An entry of `strategies`, with all values written out for an instance; `own` as for `_entries`."""
    return entry_named(given, own) if isinstance(given, str) else entry_from(given)


def _label(entry: Mapping[str, Any], taken: Mapping[str, Any]) -> str:
    """The strategy's name; if another entry has it, followed by the settings in which the two differ."""
    name = str(entry.get("strategy") or next(iter(entry), "strategy"))
    if name not in taken:
        return name
    first = taken[name] or {}
    differing = [f"{key}={value}" for key, value in entry.items() if first.get(key) != value]
    label = re.sub(r"[^A-Za-z0-9=._-]+", "-", "-".join([name, *differing]))[:60]
    numbered = (f"{label}-{number}" for number in itertools.count(2))
    return label if label not in taken else next(each for each in numbered if each not in taken)
