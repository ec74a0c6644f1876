"""results.csv of an output, as its runs' files or a person left it: each run counts once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lorisbench.common.errors import InputError
from lorisbench.common.reading import read_table

if TYPE_CHECKING:
    import pandas as pd

REQUIRED = ("run_id", "strategy", "seed", "status")
TEXT = ("run_id", "benchmark", "strategy", "status", "reason", "undefined")


def read_results(out: Path) -> tuple[pd.DataFrame, list[str]]:
    """The rows of OUT/results.csv, one a run, and a sentence about each row that is left out.

    The columns `TEXT` stay text (a strategy may be called "nan" or "01"), all others become numbers. Of rows with the
    same run_id, and of finished runs of one strategy under one seed, the first counts: a second one would make a mean
    of fewer runs than it seems.

    Raises InputError if there is no such file, or it is no table of runs.
    """
    import numpy as np
    import pandas as pd

    file = out / "results.csv"
    if not file.exists():
        raise InputError(f"{out} holds no results.csv; run `lorisbench run SUITE --out {out}` first")
    table = read_table(file, REQUIRED)
    for column in table.columns:
        if column not in TEXT:
            table[column] = pd.to_numeric(table[column], errors="coerce").replace([np.inf, -np.inf], np.nan)
    left: list[str] = []
    unseeded = ~(table["seed"] % 1 == 0)
    left += [f"{file}: the run {run} is left out: its seed is not a whole number" for run in table["run_id"][unseeded]]
    table = table[~unseeded]
    twice = table["run_id"].duplicated()
    left += [f"{file}: the run {run} is listed again; it counts once" for run in table["run_id"][twice].unique()]
    table = table[~twice]
    done = table["status"] == "done"
    again = done & table[done].duplicated(["strategy", "seed"]).reindex(table.index, fill_value=False)
    left += [
        f"{file}: the run {run} is left out: {strategy} has another finished run of seed {seed:g}"
        for run, strategy, seed in zip(*(table[again][key] for key in ("run_id", "strategy", "seed")), strict=True)
    ]
    return table[~again].reset_index(drop=True), left
