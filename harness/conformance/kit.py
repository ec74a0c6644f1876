"""`lorisbench check`: whether a strategy does what it says on a toy stream, and leaves alone what it must."""

from __future__ import annotations

import contextlib
import inspect
import json
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lorisbench.common.registry import STRATEGIES, import_object, load_plugin
from lorisbench.common.restored import restored


@dataclass(frozen=True)
class Row:
    """One line of the report: a check by name, what it asks, `pass`, `fail` or `not applicable`, and what was found."""

    check: str
    asks: str
    status: str
    hint: str

    @property
    def found(self) -> str:
        """What was found, in words: for a pass, what the check asks, with any note; otherwise why it did not pass."""
        if self.status == "pass":
            return f"{self.asks} ({self.hint})" if self.hint else self.asks
        return self.hint or self.asks


@dataclass(frozen=True)
class Report:
    """All checks of one strategy; `settings` is its entry as a suite holds it, with every default filled in."""

    settings: dict[str, Any]
    seconds: float
    rows: list[Row]

    @property
    def failed(self) -> list[str]:
        """Names of the checks that failed."""
        return [row.check for row in self.rows if row.status == "fail"]


def entry_of(name: str, plugins: Sequence[str | Path] = (), assignments: Sequence[str] = ()) -> dict[str, Any]:
    """A strategy's entry, `{"strategy": name, **settings}`, from its name or an Avalanche plugin's dotted name.

    `assignments` are `key=value` with the value in YAML: settings of a strategy, or arguments of the plugin.
    Raises InputError for an unknown name, a wrong assignment, or a file that is not a plugin.
    """
    for plugin in plugins:
        load_plugin(plugin)
    from lorisbench.suite.entries import written_out
    from lorisbench.suite.overrides import assigned

    values = dict(assigned(assignment) for assignment in assignments)
    if ":" not in name:
        STRATEGIES.get(name)
        return {"strategy": name, **values}
    import_object(name)
    return dict(written_out({"avalanche": name, "args": values}))


@restored()
def check(entry: dict[str, Any]) -> Report:
    """Run every check of a strategy on the toy stream; takes seconds, one thread. Raises InputError for a wrong entry.

    An exception raised by the strategy itself counts as a failed check.
    """
    from lorisbench.suite.entries import make_strategy, settings_of

    start = time.perf_counter()
    component = make_strategy(entry, entry["strategy"])
    settings = settings_of(component)
    # what a strategy prints or warns about is not part of the report
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        from lorisbench.conformance.checks import CHECKS, collect, judge

        verdicts = judge(collect(settings, component))
    rows = [
        Row(name, inspect.getdoc(CHECKS[name]) or "", verdict.status, verdict.hint)
        for name, verdict in verdicts.items()
    ]
    return Report(settings, time.perf_counter() - start, rows)


def as_json(report: Report) -> str:
    """The report with the names of the checks that failed."""
    return json.dumps({**asdict(report), "failed": report.failed}, indent=1)


def show(report: Report) -> None:
    """Print the report: a table on a terminal, elsewhere lines of tab-separated columns."""
    counts = {status: sum(row.status == status for row in report.rows) for status in ("pass", "fail", "not applicable")}
    summary = ", ".join(f"{count} {status}" for status, count in counts.items())
    title = f"{report.settings['strategy']}: {summary}, {report.seconds:.1f} s"
    if not sys.stdout.isatty():
        for row in report.rows:
            print(row.check, row.status, row.found, sep="\t")
        print(title)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title)
    for column in ("check", "status", "found"):
        table.add_column(column)
    colours = {"pass": "green", "fail": "bold red", "not applicable": "dim"}
    for row in report.rows:
        table.add_row(row.check, Text(row.status, colours[row.status]), Text(row.found))
    Console().print(table)
