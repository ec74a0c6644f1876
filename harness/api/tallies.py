"""Answers counted: accuracies by what the images are of, and confusions of classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from lorisbench.api.answers import BY, After, Images, Run, table_of
from lorisbench.common.errors import InputError
from lorisbench.common.registry import nearest

COLUMNS = {"class": "class_name"}  # where a name in `BY` is not that of the column


def accuracy_by(by: str | Sequence[str], runs: Iterable[Run], images: Images, after: After) -> pd.DataFrame:
    """See `Results.accuracy_by`. Raises InputError for an unknown name, or if the images have nothing of the kind."""
    names = [by] if isinstance(by, str) else list(by)
    for name in names:
        if name not in BY:
            raise InputError(f"accuracy_by({name!r}){nearest(str(name), BY)}")
    columns = [COLUMNS.get(name, name) for name in names]
    apart = ["stream", "strategy", *(["after_experience"] if after != "last" else []), *columns]
    counted, untold = [], ""
    for run in runs:
        table = table_of(run, images, after)
        if unknown := [name for name, column in zip(names, columns, strict=True) if not _is_told(table, column)]:
            untold = f"{run.strategy} seed {run.seed}: the {unknown[0]} of its answers is not known"
            continue
        table["stream"], table["strategy"] = run.stream, run.strategy
        answered = table.groupby(apart, observed=True, sort=True)["correct"]
        counted.append(answered.agg(hits="sum", images="size").reset_index())
    if not counted:
        raise InputError(f"accuracy_by({by!r}): {untold or 'there are no answers'}")
    every = pd.concat(counted, ignore_index=True)
    every["own"] = every["hits"] / every["images"]
    groups = every.groupby(apart, observed=True, sort=False)
    told = {"hits": ("hits", "sum"), "images": ("images", "sum"), "sd": ("own", "std"), "runs": ("own", "size")}
    found: pd.DataFrame = groups.agg(**told).reset_index()
    found.insert(len(apart), "accuracy", found.pop("hits") / found["images"])
    found["images"] = found["images"] / found["runs"]
    if (found["images"] % 1 == 0).all():
        found["images"] = found["images"].astype(int)
    found = found[[*apart, "accuracy", "sd", "images", "runs"]].rename(columns=dict(zip(columns, names, strict=True)))
    return found if found["stream"].nunique() > 1 else found.drop(columns="stream")


def _is_told(table: pd.DataFrame, column: str) -> bool:
    """Whether a column is there and says something of any image."""
    if column not in table:
        return False
    values = table[column]
    if isinstance(values.dtype, pd.CategoricalDtype):  # an image without a recording has an empty one
        return bool((values.notna() & (values != "")).any())
    return bool((values >= 0).any()) if column == "image" else bool(values.notna().any())


def confusion(runs: Sequence[Run], images: Images, after: After) -> pd.DataFrame:
    """See `Results.confusion`; the runs are of one stream."""
    names = images.classes[runs[0].stream]
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    for run in runs:
        table = table_of(run, images, after)
        label, predicted = table["label"].to_numpy(), table["predicted"].to_numpy()
        known = (label < len(names)) & (predicted < len(names))
        np.add.at(counts, (label[known], predicted[known]), 1)
    return pd.DataFrame(counts, pd.Index(names, name="class_name"), pd.Index(names, name="predicted_name"))
