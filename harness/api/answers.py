"""What runs answered, as one tidy table: a row for each image after each experience, read from an output's files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pandas as pd

from lorisbench.common.console import say
from lorisbench.common.errors import InputError
from lorisbench.common.registry import nearest, select
from lorisbench.data.image_table import IMAGES, read_images
from lorisbench.engine.answers import NO_HEAD
from lorisbench.metrics.predictions import Stored as StoredAnswers
from lorisbench.report.stored import Stored
from lorisbench.runs.directory import RunDirectory

After = Literal["last", "all"] | int | Iterable[int]
ABOUT = ("path", "recording", "factor")  # what the images are told apart by, in words
BY = ("class", "recording", "factor", "level", "experience", "head", "image")


@dataclass(frozen=True)
class Run:
    """A run with answers: which one it is, its status, and whether that is `done`."""

    stream: str
    strategy: str
    seed: int
    order: int
    status: str
    answers: StoredAnswers


@dataclass(frozen=True)
class Wanted:
    """Which answers are wanted; None: all. See `Results.answers`."""

    strategies: str | Sequence[str] | None = None
    seeds: int | Iterable[int] | None = None
    orders: int | Iterable[int] | None = None
    after: After = "last"
    finished: bool = False


class Images:
    """What is known of the images of several streams: for each stream, codes into categories that all have in common.

    Raises InputError, naming the file, if OUT/images.csv.gz is damaged. Where it has nothing of a stream, a line says
    so, and nothing is known of its images but their classes.
    """

    def __init__(self, out: Path, streams: Mapping[str, Stored]) -> None:
        file = out / IMAGES
        self.tables: dict[str, pd.DataFrame] = {}
        for stream in streams:
            if file.exists():
                self.tables[stream] = read_images(file, stream)
            if not len(self.tables.get(stream, ())):
                self.tables.pop(stream, None)
                say(f"{file}: has no images of stream {stream!r}: their paths and recordings are not known")
        self.classes = {name: _classes(stored, self.tables.get(name)) for name, stored in streams.items()}
        self.class_names = pd.CategoricalDtype(list(dict.fromkeys(n for each in self.classes.values() for n in each)))
        self.kinds = {
            column: pd.CategoricalDtype(pd.unique(pd.concat([t[column] for t in self.tables.values()])))
            if self.tables
            else pd.CategoricalDtype([])
            for column in ABOUT
        }
        self._codes = {
            name: {column: pd.Categorical(table[column], dtype=self.kinds[column]).codes for column in ABOUT}
            for name, table in self.tables.items()
        }

    def named(self, stream: str, labels: np.ndarray) -> pd.Categorical:
        """The classes of labels, by name; missing for a label that is none of the stream's."""
        codes = pd.Categorical(self.classes[stream], dtype=self.class_names).codes
        known = (labels >= 0) & (labels < len(codes))
        found = np.where(known, codes[np.where(known, labels, 0)], -1) if len(codes) else np.full(len(labels), -1)
        return pd.Categorical.from_codes(found, dtype=self.class_names)

    def about(self, stream: str, image: np.ndarray) -> dict[str, Any]:
        """The columns `ABOUT` and `level` for images by their numbers, -1 where they are not known."""
        table = self.tables.get(stream)
        size = 0 if table is None else len(table)
        known = (image >= 0) & (image < size)
        found: dict[str, Any] = {}
        for column in ABOUT:
            codes = np.full(len(image), -1, dtype=np.int32)
            if table is not None:
                codes[known] = self._codes[stream][column][image[known]]
            found[column] = pd.Categorical.from_codes(codes, dtype=self.kinds[column])
        level = np.zeros(len(image), dtype=np.int32)
        if table is not None:
            level[known] = table["level"].to_numpy()[image[known]]
        found["level"] = level if known.all() else pd.arrays.IntegerArray(level, ~known)
        return found


def _classes(stored: Stored, table: pd.DataFrame | None) -> list[str]:
    """Class names by label, from data.json, or else from the images."""
    names = stored.data.get("classes")
    if isinstance(names, list) and names:
        return [str(name) for name in names]
    if table is None:
        return []
    named = table.drop_duplicates("label").set_index("label")["class_name"]
    return [str(named.get(label, "")) for label in range(int(named.index.max()) + 1)]


def runs_of(out: Path, streams: Mapping[str, Stored], wanted: Wanted) -> list[Run]:
    """The runs that are wanted and have answers, in the order of results.csv.

    A finished run of which a file is damaged is left out, and a line says so. Raises InputError, in one line, for a
    strategy, seed or order that there is none of, or if nothing is left.
    """
    labels = list(dict.fromkeys(label for stored in streams.values() for label in stored.labels))
    chosen = labels if wanted.strategies is None else _strategies(wanted.strategies, labels)
    table = pd.concat([stored.runs.assign(stream=name) for name, stored in streams.items()], ignore_index=True)
    table = table[table["strategy"].isin(chosen)]
    for key, numbers in (("seed", wanted.seeds), ("order", wanted.orders)):
        if numbers is None or key not in table:
            continue
        there = sorted({int(number) for number in table[key].dropna()})
        listed = _whole(f"{key}s", numbers)
        if missing := [number for number in listed if number not in there]:
            told = ", ".join(map(str, there))
            raise InputError(f"{out}: no run of {', '.join(chosen)} has {key} {missing[0]}; available: {told}")
        table = table[table[key].isin(listed)]
    found = []
    for row in table.to_dict("records"):
        directory = RunDirectory(out / "runs" / str(row["run_id"]))
        status = directory.status()["status"]
        if (wanted.finished and status != "done") or not directory.has_predictions():
            continue
        try:
            if status == "done":
                directory.outcome(status)
            answers = directory.answers()
        except InputError as error:
            say(f"{directory.path} is left out: {error}")
            continue
        order = 0 if pd.isna(row.get("order", 0)) else int(row.get("order", 0))
        found.append(Run(str(row["stream"]), str(row["strategy"]), int(row["seed"]), order, status, answers))
    if not found:
        kind = "finished run" if wanted.finished else "run"
        raise InputError(f"{out}: no {kind} of {', '.join(chosen)} has stored answers (predictions.npz)")
    return found


def table_of(run: Run, images: Images, after: After) -> pd.DataFrame:
    """The answers of a run: the columns of `Results.answers`, but for those that only several runs are told apart by.

    Raises InputError for an experience that the stream does not have.
    """
    stored = run.answers
    rows, count = _rows_after(run, after), len(stored.label)
    size = len(rows) * count
    image = np.full(count, -1, dtype=np.int32) if stored.image is None else stored.image.astype(np.int32)
    about = pd.DataFrame({"image": image, **images.about(run.stream, image)})
    about["label"], about["class_name"] = stored.label.astype(np.int32), images.named(run.stream, stored.label)
    about.insert(0, "experience", stored.experience.astype(np.int32))
    found = about.take(np.tile(np.arange(count), len(rows))).reset_index(drop=True)
    found.insert(0, "after_experience", np.repeat(rows.astype(np.int32), count))
    predicted = stored.predicted[rows].reshape(size).astype(np.int32)
    found["predicted"], found["predicted_name"] = predicted, images.named(run.stream, predicted)
    found["correct"] = predicted == found["label"].to_numpy()
    if stored.scores is not None:
        found["score"] = _scores(stored.scores, rows, predicted)
    if stored.head is not None:
        found["head"] = stored.head[rows].reshape(size)
    return found


def tidy(
    runs: Sequence[Run], images: Images, after: After, streams: Sequence[str], labels: Sequence[str]
) -> pd.DataFrame:
    """The answers of all runs below one another."""
    words = {"stream": list(streams), "strategy": list(labels), "status": list(dict.fromkeys(r.status for r in runs))}
    kinds = {key: pd.CategoricalDtype(values) for key, values in words.items()}
    scores, heads = (any(getattr(run.answers, key) is not None for run in runs) for key in ("scores", "head"))
    tables = []
    for run in runs:
        table = table_of(run, images, after)
        size = len(table)
        which = {
            key: pd.Categorical.from_codes(np.full(size, words[key].index(getattr(run, key))), dtype=kind)
            for key, kind in kinds.items()
        }
        if scores and "score" not in table:
            table["score"] = np.float32(np.nan)
        if heads and "head" not in table:
            table["head"] = np.int16(NO_HEAD)
        table = table.assign(**which, finished=run.status == "done")
        table["seed"], table["order"] = np.int32(run.seed), np.int32(run.order)
        tables.append(table)
    found = pd.concat(tables, ignore_index=True)
    first = [*(["stream"] if len(streams) > 1 else []), "strategy", "seed", "order"]
    last = [name for name in ("score", "head", "status", "finished") if name in found]
    return found[[*first, *(name for name in found if name not in (*first, *last, "stream")), *last]]


def _rows_after(run: Run, after: After) -> np.ndarray:
    """The rows of the predictions that are wanted and were tested, int64."""
    tested = run.answers.tested
    if isinstance(after, str):
        if after not in ("last", "all"):
            raise InputError(f"after={after!r}{nearest(after, ['last', 'all'])}, or numbers of experiences")
        return tested if after == "all" else tested[-1:]
    wanted = _whole("after", after)
    experiences = int(run.answers.experience.max()) + 1
    if wrong := [number for number in wanted if not 0 <= number < experiences]:
        raise InputError(f"after={wrong[0]}: the stream has the experiences 0 to {experiences - 1}")
    return tested[np.isin(tested, wanted)]


def _scores(scores: np.ndarray, rows: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """float32, the probability of each predicted class; NaN for one that has none."""
    chosen = scores[rows].reshape(-1, scores.shape[2])
    known = predicted < scores.shape[2]
    found = chosen[np.arange(len(chosen)), np.where(known, predicted, 0)].astype(np.float32)
    return cast(np.ndarray, np.where(known, found, np.float32(np.nan)))


def _strategies(given: str | Sequence[str], labels: Sequence[str]) -> list[str]:
    return select("strategy", [given] if isinstance(given, str) else [str(label) for label in given], labels)


def _whole(what: str, given: Any) -> list[int]:
    """One number or several as a list. Raises InputError for anything else."""
    numbers = list(given) if isinstance(given, Iterable) and not isinstance(given, str | bytes) else [given]
    if wrong := [n for n in numbers if isinstance(n, bool) or not isinstance(n, int | np.integer)]:
        raise InputError(f"{what}={wrong[0]!r}: whole numbers were expected")
    return [int(number) for number in numbers]
