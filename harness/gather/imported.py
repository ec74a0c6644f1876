"""`lorisbench import`: logs of other code as an output folder, which reports and comparisons read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lorisbench.common.errors import InputError
from lorisbench.common.files import contents, digest_of, digest_of_file, write_json, write_text
from lorisbench.common.reading import read_json, read_table
from lorisbench.common.registry import nearest
from lorisbench.common.targets import output_folder
from lorisbench.common.yaml_files import read_yaml, write_yaml
from lorisbench.gather.foreign import Foreign, sentence
from lorisbench.gather.formats import read_foreign
from lorisbench.metrics.elsewhere import IMPORTED, MARK, is_imported, remark, row_of
from lorisbench.metrics.records import images_by_stream
from lorisbench.metrics.results import read_results
from lorisbench.metrics.table import in_results
from lorisbench.suite.streams import benchmarks_of


@dataclass(frozen=True)
class Place:
    """The stream that results are said to be of: its name, and what an output holds of it."""

    stream: str
    benchmark: str
    experiences: pd.DataFrame
    data: dict[str, Any]
    settings: dict[str, Any]


def import_results(
    kind: str, files: Sequence[Path], out: Path, name: str = "", seeds: Sequence[int] = (),
    like: Path | None = None, stream: str = "",
) -> pd.DataFrame:  # fmt: skip
    """Write the runs of files of a format (`formats.FORMATS`) to an output folder; returns its results.csv.

    name : the label of the method, if the files do not say it. seeds : of the runs in their order; those that the files
    say if not given, or else 0, 1, 2 … . like : an output whose `stream` (its only one if not given) these results are
    said to be of, so that they can be compared with it: whoever imports them answers for that.

    Raises InputError, before anything is written, for files that cannot be read, for runs of different sizes, for two
    of one method with the same seed, and for a folder that holds something else.
    """
    found = [(file, run) for file in files for run in read_foreign(kind, file)]
    sizes = {len(run.matrix) for _, run in found}
    if len(sizes) > 1:
        raise InputError(
            f"{files[0]}: the runs have {', '.join(map(str, sorted(sizes)))} experiences: import them apart"
        )
    size = sizes.pop()
    place = _unknown(size, out) if like is None else _of_output(like, stream, size)
    labels = [run.label or name for _, run in found] if not name else [name] * len(found)
    if "" in labels:
        raise InputError(f"{found[labels.index('')][0]}: does not say which method this is: --name LABEL")
    numbers = _seeds([run for _, run in found], labels, seeds)
    check_folder(out)

    rows, cells = [], []
    strategies: dict[str, dict[str, Any]] = {}
    for (file, run), label, seed in zip(found, labels, numbers, strict=True):
        run_id = _run_id(place.stream, label, seed, run)
        shared = {"run_id": run_id, "benchmark": place.benchmark, "stream": place.stream, "order": 0}
        row = {**shared, "strategy": label, "seed": seed, "status": "done", "reason": "", "experiences": size}
        rows.append(row | row_of(run.matrix, run.known))
        for (after, tested), accuracy in np.ndenumerate(run.matrix):
            if np.isfinite(accuracy):
                cells.append((run_id, place.stream, 0, after, tested, accuracy, ""))
        remarks = strategies.setdefault(label, {MARK: kind, "remarks": []})["remarks"]
        told = remark(f"{kind}, {file.name}", sentence(run.notes))
        remarks += [told] if told not in remarks else []
    source = {"format": kind, "files": {file.name: digest_of_file(file) for file in files}}
    frame = pd.DataFrame(rows, columns=[*RUN_KEYS, *(metric.name for metric in in_results()), "undefined"])
    matrix = ["run_id", "stream", "order", "after_experience", "test_experience", "accuracy", "n"]
    write_text(out / "matrix.csv", pd.DataFrame(cells, columns=matrix).to_csv(index=False, lineterminator="\n"))
    write_text(out / "experiences.csv", place.experiences.to_csv(index=False, lineterminator="\n"))
    write_json(out / "data.json", {**place.data, IMPORTED: source})
    suite = {"name": out.resolve().name, **place.settings, "strategies": strategies}
    write_yaml(out / "suite.yaml", {**suite, "seeds": sorted(set(numbers)), "orders": [0], IMPORTED: source})
    write_text(out / "results.csv", frame.to_csv(index=False, lineterminator="\n"))
    return frame


RUN_KEYS = ("run_id", "benchmark", "stream", "order", "strategy", "seed", "status", "reason", "experiences")


def check_folder(out: Path) -> None:
    """Raise InputError unless a folder is empty, or holds what was imported before."""
    output_folder(out)
    if not contents(out) or is_imported(out):
        return
    raise InputError(f"--out {out}: holds something else than imported results; give an empty folder")


def _seeds(runs: Sequence[Foreign], labels: Sequence[str], given: Sequence[int]) -> list[int]:
    if given and len(given) != len(runs):
        raise InputError(f"--seeds: {len(given)} were given for {len(runs)} runs")
    numbers = list(given)
    for run, label in zip(runs, labels, strict=True) if not given else ():
        taken = {number for number, other in zip(numbers, labels, strict=False) if other == label}
        numbers.append(run.seed if run.seed is not None else next(n for n in range(len(runs)) if n not in taken))
    pairs = list(zip(labels, numbers, strict=True))
    twice = next((pair for pair in pairs if pairs.count(pair) > 1), None)
    if twice:
        raise InputError(f"{twice[0]}: two runs have the seed {twice[1]}: --seeds gives each its own")
    return numbers


def _run_id(stream: str, label: str, seed: int, run: Foreign) -> str:
    """The id of a run, plain enough for a file's name; it ends in a hash of the matrix."""
    digest = digest_of([[None if np.isnan(cell) else float(cell) for cell in row] for row in run.matrix])
    words = (re.sub(r"[^\w+-]+", "-", word) for word in (stream, label))
    return ".".join([*words, f"s{seed}", digest[:10]])


def _unknown(size: int, out: Path) -> Place:
    """A stream of which nothing is known but its number of experiences."""
    name = out.resolve().name
    rows = [(name, number, f"experience {number}", "", "", "", "", "") for number in range(size)]
    columns = ["stream", "experience", "name", "factor", "level", "train", "validation", "test"]
    data = {"name": "images from elsewhere", "source": "not known: results were imported"}
    return Place(name, "elsewhere", pd.DataFrame(rows, columns=columns), data, {"benchmark": {"name": "elsewhere"}})


def _of_output(like: Path, stream: str, size: int) -> Place:
    """A stream of an output. Raises InputError if it has none of this name, or one of another size."""
    runs, _ = read_results(like)
    known = list(dict.fromkeys(runs["stream"]))
    if not stream and len(known) != 1:
        raise InputError(f"--like {like}: holds the streams {', '.join(known)}: --stream names one of them")
    stream = stream or known[0]
    if stream not in known:
        raise InputError(f"--stream {stream}: {like} holds no such stream{nearest(stream, known)}")
    experiences = read_table(like / "experiences.csv", ("experience",))
    if "stream" in experiences:
        experiences = experiences[experiences["stream"] == stream]
    else:
        experiences.insert(0, "stream", stream)
    if len(experiences) != size:
        raise InputError(f"--like {like}: {stream} has {len(experiences)} experiences, what is imported {size}")
    runs = runs[runs["stream"] == stream]
    data = images_by_stream(read_json(like / "data.json") or {}, known).get(stream, {})
    file = like / "suite.yaml"
    suite = read_yaml(file) if file.is_file() else {}
    benchmarks = benchmarks_of(suite)
    benchmark = benchmarks.get(stream) or (next(iter(benchmarks.values())) if len(benchmarks) == 1 else {})
    settings = {"benchmarks": {stream: benchmark}} if benchmark else {}
    settings |= {"evaluation": suite["evaluation"]} if isinstance(suite.get("evaluation"), dict) else {}
    return Place(stream, str(runs["benchmark"].iloc[0]) if "benchmark" in runs else "", experiences, data, settings)
