"""`lorisbench reproduce`: the suite behind a paper's tables, and those tables, published beside measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorisbench.common.errors import InputError
from lorisbench.common.registry import select
from lorisbench.common.targets import output_folder
from lorisbench.reproduce.published import Published, available, load
from lorisbench.suite.config import SuiteConfig, read_suite
from lorisbench.suite.entries import by_label, written_out
from lorisbench.suite.overrides import override
from lorisbench.suite.parsing import parse
from lorisbench.suite.paths import folder_of
from lorisbench.suite.resolve import Suite, resolve, tell_changes
from lorisbench.suite.streams import OWN, on_stream
from lorisbench.suite.training import differing, preset_as_mapping

if TYPE_CHECKING:
    import pandas as pd

    from lorisbench.report.tabular import Table


@dataclass(frozen=True)
class Reproduction:
    """A paper's published results and the suite that represents its experiments: a stream for each part.

    Attributes
    ----------
    settings : of the shipped suite, what `--as-published` changes, in the form of `--set`.
    """

    published: Published
    suite: Suite
    settings: Sequence[str] = ()


def plan(
    paper: str,
    *,
    parts: Sequence[str] = (),
    data_root: Path | None = None,
    seeds: Sequence[int] = (),
    assignments: Sequence[str] = (),
    as_published: bool = False,
) -> Reproduction:
    """The suite of a paper, checked but not run: the shipped suite on a stream for each part, under that protocol.

    as_published : trained as the authors trained, see `AsPublished`.

    Raises InputError for an unknown paper or part, naming the nearest, for a paper that is not trained in two ways, and
    for whatever `load_suite` rejects.
    """
    published = load(paper)
    settings: Sequence[str] = ()
    if as_published:
        if published.as_published is None:
            raise InputError(f"reproduce {paper}: --as-published is for {' and '.join(in_two_ways())} alone")
        settings = published.as_published.assignments()
        published = published.model_copy(update={"differences": published.as_published.differences})
    chosen = select("part", parts or list(published.parts), list(published.parts))
    config = parse(SuiteConfig, together(published, assignments, settings))
    base = folder_of(published.suite)
    suite = resolve(config, data_root=data_root, streams=chosen, seeds=seeds, base=base)
    return Reproduction(published, suite, settings)


def in_two_ways() -> list[str]:
    """The papers whose suites can also be trained as the authors trained."""
    return [paper for paper in available() if load(paper).as_published is not None]


def together(published: Published, assignments: Sequence[str] = (), settings: Sequence[str] = ()) -> dict[str, Any]:
    """The shipped suite of a paper as it would be in a file, with a stream for each part, called by its name.

    assignments : what a user sets, as for `run`; `benchmark.KEY` holds for all parts. It takes precedence over what a
    part sets, except for the part's protocol. settings : what the shipped suite has in place of its own.
    """
    late = [each for each in assignments if each.partition(".")[0] in ("benchmarks", "streams")]
    early = [*settings, *(each for each in assignments if each not in late)]
    suite = _changed(published.suite, early)
    benchmarks, streams = {}, {}
    for name, part in published.parts.items():
        own = _changed(published.suite, [*part.assignments(), *early, *part.protocol_of("benchmark")])
        benchmarks[name] = own["benchmark"]
        streams[name] = _differences(own, suite)
    kept = {key: value for key, value in suite.items() if key != "benchmark"}
    whole = {**kept, "benchmarks": benchmarks, "streams": streams, "description": _description(published)}
    override(whole, late)
    for name, part in published.parts.items():
        override(whole, part.protocol_of(f"benchmarks.{name}"))
    tell_changes(whole, assignments)
    return whole


def _changed(suite: str, assignments: Sequence[str]) -> dict[str, Any]:
    raw = read_suite(suite)
    override(raw, assignments)
    return raw


def _differences(own: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    """What a stream has of its own, if its settings were those of the suite `own` and the others those of `shared`."""
    found = {}
    for key in (*OWN, "strategies"):
        ours, theirs = _written_out(key, own.get(key)), _written_out(key, shared.get(key))
        if isinstance(ours, Mapping) and isinstance(theirs, Mapping) and ours != theirs:
            found[key] = differing(ours, theirs)
    return found


def _written_out(key: str, value: Any) -> Any:
    if key != "strategies":
        return preset_as_mapping(value) or {}
    entries = by_label(value)
    if not isinstance(entries, Mapping):
        return entries
    return {label: written_out(entry, str(label)) for label, entry in entries.items()}


def _description(published: Published) -> str:
    parts = "; ".join(f"{name}: {part.title}" for name, part in published.parts.items())
    return f"For comparison with {published.title}. {parts}."


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

    Output(output_folder(out)).check(reproduction.suite)
    checks = run_checks(ALL)
    rows = [{key: _finite(value) for key, value in asdict(each).items()} | {"passed": each.passed} for each in checks]
    write_json(out / CHECKS, rows)
    tables = write(reproduction.published, shipped(reproduction), out)
    return next(table for table in tables if table.name == "checks"), [each.name for each in checks if not each.passed]


def _finite(value: Any) -> Any:
    """A value as JSON can hold it, since JSON has no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def reproduce(reproduction: Reproduction, out: Path, workers: int | None = None) -> tuple[pd.DataFrame, list[Table]]:
    """Run what is not finished in OUT, and write its report, and tables and page from all results so far.

    Returns the rows of results.csv of all parts run now, and the tables. Raises InputError, before anything is
    trained, for a folder that holds other results or for data that lack one of the parts.
    """
    from lorisbench.report import write_report
    from lorisbench.reproduce.page import write
    from lorisbench.runs.launch import launch

    frame = launch(reproduction.suite, out, workers)
    write_report(out)
    return frame, write(reproduction.published, shipped(reproduction), out)


def shipped(reproduction: Reproduction) -> dict[str, dict[str, Any]]:
    """The settings of each part without any changes from the command line but for `--as-published`."""
    published = reproduction.published
    config = parse(SuiteConfig, together(published, settings=reproduction.settings))
    resolved = resolve(config, base=folder_of(published.suite)).resolved
    return {name: on_stream(resolved, name) for name in published.parts}
