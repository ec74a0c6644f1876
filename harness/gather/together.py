"""`lorisbench report A B --out OUT`: several outputs as one, with what differs between them.

Nothing is averaged that is not the same: a stream of the same name but with other images, and a strategy of the same
name but with other settings, get names of their own. OUT is an output folder like any other, except that no run is
added to it, so that whatever reads outputs reads this one too.
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import numpy as np
import pandas as pd

from lorisbench.common.errors import InputError
from lorisbench.common.files import contents, write_bytes, write_json, write_text
from lorisbench.common.reading import parse_table, read_bytes
from lorisbench.common.targets import output_folder
from lorisbench.common.yaml_files import read_yaml, write_yaml
from lorisbench.gather.differences import differences
from lorisbench.gather.naming import Naming, names_of
from lorisbench.gather.sources import Source, read_source
from lorisbench.metrics import correct
from lorisbench.metrics.correct import CORRECT, Correct
from lorisbench.metrics.elsewhere import COMBINED, Combined
from lorisbench.metrics.machines import OF_MACHINE
from lorisbench.suite.streams import OWN, benchmarks_of, own_settings
from lorisbench.suite.training import differing

IMAGES = "images.csv.gz"
OTHER_MACHINE = "measured on another machine, and times of different machines are not compared"
LEFT_BEHIND = ("checkpoint", "report")
WRITTEN = ("results.csv", "matrix.csv", "experiences.csv", "latency.csv", IMAGES, CORRECT, "data.json", "suite.yaml")


def combine(outs: Sequence[Path], target: Path) -> Combined:
    """Write an output folder that holds the runs of several, without checkpoints; returns what it says of them.

    Times and memory of runs on another machine than that of the first output's are left empty with that reason.

    Raises InputError, before anything is written, if an output cannot be read, is given twice or is the target, or if
    the target holds anything but outputs that were combined before.
    """
    _check(outs, target)
    sources = [read_source(letter, out) for letter, out in zip(ascii_uppercase, outs, strict=False)]
    naming = names_of(sources)
    told = Combined(
        outputs={each.letter: each.out.resolve().name for each in sources},
        differs=differences(sources, naming),
        left_out=[f"{each.letter}: {line.replace(f'{each.out}/', '')}" for each in sources for line in each.left_out],
    )
    tables = [_table(each, naming, sources[0]) for each in sources]
    _clear(target)
    write_json(target / COMBINED, told.model_dump(mode="json"))
    for each in sources:
        _copy_runs(each, naming, target, sources[0])
    owners = _owners(sources, naming)
    _write(target / "matrix.csv", [_renamed(each, each.cells, naming) for each in sources])
    _write(
        target / "experiences.csv",
        [_of_streams(owner.experiences, own, whole) for whole, (owner, own) in owners.items()],
    )
    _write(target / "latency.csv", [_renamed(each, each.latency, naming, again=True) for each in sources])
    _write(target / IMAGES, [_images(owner, own, whole) for whole, (owner, own) in owners.items()])
    if answers := _answers(sources, naming):
        correct.write(target / CORRECT, answers)
    write_json(
        target / "data.json", {"streams": {whole: each.data.get(own, {}) for whole, (each, own) in owners.items()}}
    )
    write_yaml(target / "suite.yaml", _suite(sources, naming, owners, target))
    _write(target / "results.csv", tables)
    return told


def _check(outs: Sequence[Path], target: Path) -> None:
    if len(outs) > len(ascii_uppercase):
        raise InputError(f"{len(outs)} outputs: no more than {len(ascii_uppercase)} are shown together")
    places = [out.resolve() for out in outs]
    for out, place in zip(outs, places, strict=True):
        if places.count(place) > 1:
            raise InputError(f"{out}: was given twice")
        if place == target.resolve():
            raise InputError(f"--out {target}: is one of the outputs")
    output_folder(target)
    if contents(target) and not (target / COMBINED).is_file():
        raise InputError(f"--out {target}: holds something else than outputs shown together; give an empty folder")


def _clear(target: Path) -> None:
    """Remove what an earlier combination left; what results from elsewhere lie beside it stay."""
    for name in ("runs", "report"):
        shutil.rmtree(target / name, ignore_errors=True)
    for name in WRITTEN[::-1]:
        (target / name).unlink(missing_ok=True)


def _owners(sources: Sequence[Source], naming: Naming) -> dict[str, tuple[Source, str]]:
    """For each stream of the whole, the first source that has it, and its name there."""
    found: dict[str, tuple[Source, str]] = {}
    for source in sources:
        for own, whole in naming.streams[source.letter].items():
            found.setdefault(whole, (source, own))
    return found


def _comparable(source: Source, run: str, first: Source) -> bool:
    """Whether times of a run may stand beside those of the first source."""
    return source is first or source.machines[run] in first.known_machines


def _table(source: Source, naming: Naming, first: Source) -> pd.DataFrame:
    """The rows of results.csv of a source as they are in the whole."""
    table = _renamed(source, source.runs, naming)
    ids = {whole: own for own, whole in naming.runs[source.letter].items()}
    away = np.array([not _comparable(source, ids[whole], first) for whole in table["run_id"]], dtype=bool)
    undefined = list(table["undefined"]) if "undefined" in table else [""] * len(table)
    for name in (name for name in OF_MACHINE if name in table):
        for place, had in enumerate(table[name].notna() & away):
            if had:
                undefined[place] = "; ".join(filter(None, (undefined[place], f"{name}: {OTHER_MACHINE}")))
        table[name] = table[name].mask(away)
    return table.assign(undefined=undefined)


def _renamed(source: Source, table: pd.DataFrame, naming: Naming, again: bool = False) -> pd.DataFrame:
    """The rows of runs that count, with the names that runs, streams and strategies have in the whole.

    again : also those of runs that an earlier source has, too: they were timed on each machine.
    """
    names = {
        "run_id": naming.runs[source.letter] | (naming.again[source.letter] if again else {}),
        "stream": naming.streams[source.letter],
        "strategy": naming.labels[source.letter],
    }
    if table.empty or "run_id" not in table:
        return pd.DataFrame()
    kept = table[table["run_id"].isin(names["run_id"].keys())].copy()
    for column, known in names.items():
        if column in kept:
            kept[column] = [known.get(value, value) for value in kept[column]]
    return kept.reset_index(drop=True)


def _of_streams(table: pd.DataFrame, own: str, whole: str) -> pd.DataFrame:
    """The rows of one stream, under its name in the whole."""
    if table.empty:
        return table
    return table[table["stream"] == own].assign(stream=whole)


def _images(source: Source, own: str, whole: str) -> pd.DataFrame:
    """images.csv.gz of one stream; empty if the source has none that can be read."""
    file = source.out / IMAGES
    if not file.is_file():
        return pd.DataFrame()
    try:
        return _of_streams(parse_table(gzip.decompress(read_bytes(file)), str(file), ("stream",)), own, whole)
    except (OSError, EOFError, InputError):
        return pd.DataFrame()


def _answers(sources: Sequence[Source], naming: Naming) -> dict[str, dict[str, Correct]]:
    """What correct.npz says of the runs that count, by stream; a damaged one is left out, and predictions.npz read."""
    found: dict[str, dict[str, Correct]] = {}
    for source in sources:
        try:
            stored = correct.read(source.out / CORRECT)
        except InputError:
            continue
        names = naming.runs[source.letter]
        for own, runs in stored.items():
            if known := {names[run]: each for run, each in runs.items() if run in names}:
                found.setdefault(naming.streams[source.letter].get(own, own), {}).update(known)
    return found


def _write(file: Path, tables: Sequence[pd.DataFrame]) -> None:
    """Write tables below each other; no file if all are empty."""
    known = [table for table in tables if not table.empty]
    if not known:
        return
    text = pd.concat(known, ignore_index=True).to_csv(index=False, lineterminator="\n")
    if file.suffix == ".gz":
        write_bytes(file, gzip.compress(text.encode(), mtime=0))
    else:
        write_text(file, text)


def _copy_runs(source: Source, naming: Naming, target: Path, first: Source) -> None:
    """Copy the folder of each run, all but its checkpoint, with its names in the whole."""
    left = shutil.ignore_patterns(*LEFT_BEHIND)
    for own, whole in naming.runs[source.letter].items():
        folder, copy = source.out / "runs" / own, target / "runs" / whole
        if Path(own).name == own and folder.is_dir():
            shutil.copytree(folder, copy, ignore=left, symlinks=True)
        if not _comparable(source, own, first):
            (copy / "latency.json").unlink(missing_ok=True)
        if own in source.environments and not (copy / "env.json").exists():
            write_json(copy / "env.json", source.environments[own])
        if (copy / "config.yaml").is_file():
            _rename_config(copy / "config.yaml", source, naming, whole)


def _rename_config(file: Path, source: Source, naming: Naming, run: str) -> None:
    try:
        config = read_yaml(file, alike=True)
    except InputError:  # the run is listed as damaged, as before
        return
    streams, labels = naming.streams[source.letter], naming.labels[source.letter]
    stream = str(config.get("stream") or source.streams[0])
    names = {"stream": streams.get(stream, stream), "label": labels.get(str(config.get("label")), config.get("label"))}
    write_yaml(file, {**config, "run_id": run, **names})


def _suite(
    sources: Sequence[Source], naming: Naming, owners: Mapping[str, tuple[Source, str]], target: Path
) -> dict[str, Any]:
    """The settings of all, as far as one suite.yaml can say them; it has no schema, so that no run joins it."""
    suite: dict[str, Any] = {
        "name": target.resolve().name,
        "description": f"Together from {', '.join(map(str, sources))}.",
        "benchmarks": {
            whole: benchmarks_of(source.suite).get(own, {"name": str(_benchmark(source, own))})
            for whole, (source, own) in owners.items()
        },
    }
    for key in ("evaluation", "device", "tuning"):
        values = [each.suite[key] for each in sources if key in each.suite]
        if values and all(value == values[0] for value in values):
            suite[key] = values[0]
    streams: dict[str, dict[str, Any]] = {}
    for key in OWN:
        found = {
            (whole, each.letter): own_settings(each.suite, own).get(key)
            for each in sources for own, whole in naming.streams[each.letter].items() if not each.imported
        }  # fmt: skip
        known = {place: value for place, value in found.items() if value is not None}
        by_stream = {whole: [value for (name, _), value in known.items() if name == whole] for whole, _ in known}
        if not known or any(value != values[0] for values in by_stream.values() for value in values):
            continue  # not one for all runs of a stream; the differences say so
        suite[key] = next(iter(known.values()))
        for whole, values in by_stream.items():
            if changed := differing(values[0], suite[key]):
                streams.setdefault(whole, {})[key] = changed
    strategies = {}
    for each in sources:
        for label, whole in naming.labels[each.letter].items():
            if whole not in strategies:
                strategies[whole] = _entry(each, label, whole_training="training" not in suite)
    suite["strategies"] = strategies
    for whole, (each, own) in owners.items():
        for label, name in naming.labels[each.letter].items():
            if changed := differing(each.entry(own, label), strategies[name]):
                streams.setdefault(whole, {}).setdefault("strategies", {})[name] = changed
    if streams:
        suite["streams"] = streams
    about = [
        naming.labels[each.letter][label]
        for each in sources for label in _listed(each.suite.get("about")) if label in naming.labels[each.letter]
    ]  # fmt: skip
    numbers = {
        key: sorted({int(value) for each in sources for value in each.runs[column].dropna()})
        for key, column in (("seeds", "seed"), ("orders", "order"))
    }
    return {**suite, **numbers, **({"about": list(dict.fromkeys(about))} if about else {})}


def _benchmark(source: Source, stream: str) -> str:
    mine = source.runs[source.runs["stream"] == stream]
    return str(mine["benchmark"].iloc[0]) if "benchmark" in mine else stream


def _listed(value: Any) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else [str(value)] if value else []


def _entry(source: Source, label: str, whole_training: bool) -> dict[str, Any]:
    """A strategy's entry; with all settings of its training if the suite has none that hold for all."""
    strategies = source.suite.get("strategies")
    entry = strategies.get(label) if isinstance(strategies, Mapping) else None
    entry = dict(entry) if isinstance(entry, Mapping) else {}
    if whole_training and (training := source.around(source.streams[0], label).get("training")):
        entry["training"] = training
    return entry
