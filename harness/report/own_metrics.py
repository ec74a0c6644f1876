"""The table of metrics of one's own, computed from what is stored of each finished run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lorisbench.common.errors import InputError
from lorisbench.data.image_table import IMAGES, read_images
from lorisbench.metrics.elsewhere import NOT_LOGGED
from lorisbench.metrics.intervals import mean_interval
from lorisbench.metrics.matrix import UndefinedMetricError
from lorisbench.metrics.predictions import matrix_of, read_stored
from lorisbench.metrics.run_data import Metric, RunData, value_of
from lorisbench.report.stored import Stored
from lorisbench.report.summary import Summary, why_empty
from lorisbench.report.tabular import Column, Head, Table, of_strategies


def own_metrics(stored: Stored, summary: Summary, metrics: Mapping[str, Metric]) -> Table:
    """A row for each strategy, a column for each metric (by its name `FILE.py:FUNCTION`): means over seeds, as given.

    Raises InputError, naming metric and run, for one that fails or does not return a finite number.
    """
    recordings = _recordings(stored)
    values: dict[str, dict[str, dict[int, list[float]]]] = {name: {} for name in metrics}
    reasons: dict[str, dict[str, str]] = {name: {} for name in metrics}
    for label in stored.labels:
        if label in stored.elsewhere:
            reasons |= {name: {**reasons[name], label: NOT_LOGGED} for name in metrics}
            continue
        done = stored.done(label)
        for order, seed, run in zip(*(done[key] for key in ("order", "seed", "run_id")), strict=True):
            try:
                data = _data(stored, label, str(run), int(order), int(seed), recordings)
            except InputError as error:
                reasons |= {name: {**reasons[name], label: _without_place(stored, error)} for name in metrics}
                continue
            for name, metric in metrics.items():
                try:
                    found = value_of(name, metric, data)
                except UndefinedMetricError as undefined:
                    reasons[name][label] = str(undefined)
                    continue
                values[name].setdefault(label, {}).setdefault(int(seed), []).append(found)

    def column(name: str) -> Column:
        found = {
            label: mean_interval([float(np.mean(each)) for each in values[name].get(label, {}).values()])
            for label in stored.labels
        }
        return Column(
            name, Head(name.rpartition(":")[2]), "", found.__getitem__,
            lambda label: reasons[name].get(label) or why_empty(stored, label, ""), 4,
        )  # fmt: skip

    columns = [column(name) for name in metrics]
    notes = [
        (f"{name.rpartition(':')[2]}: as {Path(name.rpartition(':')[0]).name} returns it.", "") for name in metrics
    ]
    return of_strategies("own_metrics", "Metrics of one's own", stored, summary, columns, notes)


def _without_place(stored: Stored, error: InputError) -> str:
    """An error's text without the folder that the output lies in, which is of no use to others."""
    return str(error).replace(f"{stored.out}{os.sep}", "")


def _recordings(stored: Stored) -> NDArray[np.str_] | None:
    """The recording of each image of the manifest."""
    file = stored.out / IMAGES
    if not file.exists() or stored.runs.empty:
        return None
    try:
        table = read_images(file, str(stored.runs["stream"].iloc[0]))
    except InputError:
        return None
    return table["recording"].to_numpy(dtype=np.str_) if len(table) else None


def _data(
    stored: Stored, label: str, run: str, order: int, seed: int, recordings: NDArray[np.str_] | None
) -> RunData:  # fmt: skip
    answers = read_stored(stored.out / "runs" / run / "predictions.npz")
    rows, n = matrix_of(answers)
    matrix = np.full((len(n), len(n)), np.nan)
    matrix[: len(rows)] = rows
    image = answers.image
    known = image is not None and recordings is not None and image.max(initial=-1) < len(recordings)
    return RunData(
        run, str(stored.runs["stream"].iloc[0]), label, order, seed, matrix, answers.predicted, answers.label,
        answers.experience, image, recordings[image] if known and recordings is not None else None, answers.head,
        answers.scores,
    )  # fmt: skip
