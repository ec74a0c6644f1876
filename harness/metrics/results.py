"""results.csv of an output, as its runs' files or a person left it: each run counts once."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from lorisbench.common.errors import InputError
from lorisbench.common.reading import parse_table, read_bytes

if TYPE_CHECKING:
    import pandas as pd

REQUIRED = ("run_id", "strategy", "seed", "status")
TEXT = ("run_id", "benchmark", "stream", "strategy", "status", "reason", "undefined")
RUN = ("stream", "order", "strategy", "seed")  # what is trained once


def read_results(out: Path) -> tuple[pd.DataFrame, list[str]]:
    """The rows of OUT/results.csv, one a run, and a sentence about each row that is left out.

    The columns `TEXT` stay text (a strategy may be called "nan" or "01"), all others become numbers. Of rows with the
    same run_id, and of finished runs of one strategy on one stream in one order under one seed, the first counts: a
    second one would make a mean of fewer runs than it seems.

    Raises InputError if there is no such file, or it is no table of runs.
    """
    file = out / "results.csv"
    if not file.exists():
        raise InputError(f"{out} holds no results.csv; run `lorisbench run SUITE --out {out}` first")
    table, left = _read(read_bytes(file), str(file))
    return table.copy(), list(left)


@functools.lru_cache(maxsize=4)
def _read(data: bytes, file: str) -> tuple[pd.DataFrame, list[str]]:
    """The same of a file's bytes; a command that compares two outputs asks many times. Not to be changed."""
    import numpy as np
    import pandas as pd

    table = with_streams(parse_table(data, file, REQUIRED))
    for column in table.columns:
        if column not in TEXT:
            table[column] = pd.to_numeric(table[column], errors="coerce").replace([np.inf, -np.inf], np.nan)
    left: list[str] = []
    for column in ("seed", "order"):
        unknown = ~(table[column] % 1 == 0)
        left += [
            f"{file}: the run {run} is left out: its {column} is not a whole number" for run in table["run_id"][unknown]
        ]
        table = table[~unknown]
    twice = table["run_id"].duplicated()
    left += [f"{file}: the run {run} is listed again; it counts once" for run in table["run_id"][twice].unique()]
    table = table[~twice]
    done = table["status"] == "done"
    again = done & table[done].duplicated(list(RUN)).reindex(table.index, fill_value=False)
    left += [
        f"{file}: the run {run} is left out: {strategy} has another finished run of seed {seed:g}"
        + (f" and order {order:g}" if order else "")
        for run, strategy, seed, order in zip(
            *(table[again][key] for key in ("run_id", "strategy", "seed", "order")), strict=True
        )
    ]
    return table[~again].reset_index(drop=True), left


def with_streams(table: pd.DataFrame) -> pd.DataFrame:
    """A table of runs, as text, with the columns `stream` and `order`, which those of older versions lack.

    They held one stream, named by its benchmark, in its own order.
    """
    if "stream" not in table:
        named = [str(name).removesuffix(" (synthetic)") for name in table.get("benchmark", ()) if name]
        table = table.assign(stream=named[0] if named else "")
    return table if "order" in table else table.assign(order="0")
