"""`lorisbench reproduce`: the suites behind a paper's tables, and those tables, published beside measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorisbench.common.registry import select
from lorisbench.common.targets import output_folder
from lorisbench.reproduce.published import Published, load
from lorisbench.suite.resolve import Suite, load_suite

if TYPE_CHECKING:
    import pandas as pd

    from lorisbench.report.tables import Table


@dataclass(frozen=True)
class Reproduction:
    """A paper's published results and the suites, by part, that represent its experiments."""

    published: Published
    suites: dict[str, Suite]


def plan(
    paper: str,
    *,
    parts: Sequence[str] = (),
    data_root: Path | None = None,
    seeds: Sequence[int] = (),
    assignments: Sequence[str] = (),
) -> Reproduction:
    """The suites of a paper, checked but not run: the shipped suite once for each part, under that part's protocol.

    Raises InputError for an unknown paper or part, naming the nearest, and for whatever `load_suite` rejects.
    """
    published = load(paper)
    suites = {}
    for name in select("part", parts or list(published.parts), list(published.parts)):
        own = [] if name == published.suite else [f"name={published.suite}-{name}"]
        settings = published.parts[name].assignments([*assignments, *own])
        suites[name] = load_suite(published.suite, data_root=data_root, seeds=seeds, assignments=settings)
    return Reproduction(published, suites)


def rehearsed(reproduction: Reproduction, out: Path, workers: int = 1) -> tuple[list[str], list[str]]:
    """What `--dry-run` prints: a line per run, with its folder and status; and what would be made, by part.

    Raises InputError for a folder in use, and for whatever else keeps a part from being run.
    """
    from lorisbench.common.rehearsal import rehearsal
    from lorisbench.runs.plan import plan as plan_part
    from lorisbench.runs.store import Output

    output_folder(out)
    lines: list[str] = []
    notes: list[str] = []
    told: list[str] = []
    with rehearsal():  # around all parts, which may be about one set of images
        for name, suite in reproduction.suites.items():
            planned = plan_part(suite, Output(out / name))
            notes += [note for note in planned.notes if note not in notes]
            told += [f"{name}: {line}" for line in planned.lines(workers)]
            lines += [f"{name}/{run_id}\t{state}" for run_id, state in planned.states.items()]
    return lines, [*notes, *told]


def verify(reproduction: Reproduction, out: Path) -> tuple[Table | None, list[str]]:
    """Run the paper's checks, save them to OUT/checks.json, and write tables and page from all results so far.

    Returns their table (None if the paper has no checks) and the names of those that failed. Needs no data. Raises
    InputError for a folder that holds other results.
    """
    if not reproduction.published.checks:
        return None, []
    from dataclasses import asdict

    from lorisbench.common.files import write_json
    from lorisbench.reproduce.page import CHECKS, write
    from lorisbench.reproduce.verification import run_checks
    from lorisbench.reproduce.verification.checks import ALL
    from lorisbench.runs.store import Output

    output_folder(out)
    for name, suite in reproduction.suites.items():
        Output(out / name).check(suite)
    checks = run_checks(ALL)
    rows = [{key: _finite(value) for key, value in asdict(each).items()} | {"passed": each.passed} for each in checks]
    write_json(out / CHECKS, rows)
    tables = write(reproduction.published, _shipped(reproduction.published), out)
    return next(table for table in tables if table.name == "checks"), [each.name for each in checks if not each.passed]


def _finite(value: Any) -> Any:
    """A value as JSON can hold it, since JSON has no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def reproduce(reproduction: Reproduction, out: Path, workers: int = 1) -> tuple[pd.DataFrame, list[Table]]:
    """Run what is not finished, each part in its folder OUT/<part>, and write tables and page from all results so far.

    Returns the rows of results.csv of all parts run now, and the tables. Raises InputError, before anything is
    trained, for a folder that holds other results or for data that lack one of the parts.
    """
    import pandas as pd

    from lorisbench.report import write_report
    from lorisbench.reproduce.page import write
    from lorisbench.runs.launch import launch
    from lorisbench.runs.store import Output

    output_folder(out)
    for name, suite in reproduction.suites.items():
        Output(out / name).check(suite)
        if len(reproduction.suites) > 1:  # the data may lack one part: fail now, not after hours spent on the others
            suite.config.benchmark.usable(suite.config.evaluation.split)
    frames = []
    for name, suite in reproduction.suites.items():
        frames.append(launch(suite, out / name, workers))
        write_report(out / name)
    tables = write(reproduction.published, _shipped(reproduction.published), out)
    return pd.concat(frames, ignore_index=True), tables


def _shipped(published: Published) -> dict[str, dict[str, Any]]:
    """The shipped suite of each part, resolved, without any changes from the command line."""
    return {
        name: load_suite(published.suite, assignments=part.assignments()).resolved
        for name, part in published.parts.items()
    }
