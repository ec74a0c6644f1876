"""What `lorisbench compare` found, as a Markdown summary for the comment on a pull request."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lorisbench.metrics.compare import Verdict
from lorisbench.metrics.gates import metrics_of
from lorisbench.metrics.paired import LEVEL, pairs_needed
from lorisbench.metrics.table import Metric, named
from lorisbench.report.compared_answers import COLUMN
from lorisbench.report.summary import DASH, number
from lorisbench.report.texts import markdown_text

SHOWN = ("accuracy_last", "forgetting_max", "latency_ratio", "state_mb")
"""The metrics of the summary's first table, besides those that conditions are on."""
LONGEST = 60_000
"""Characters that fit into a comment on GitHub, with some room for what a workflow adds."""


def markdown(before: Path, after: Path, frame: pd.DataFrame, verdict: Verdict | None, notes: Sequence[str] = ()) -> str:
    """The summary: the gate's verdict, a table of the leading metrics, and one of all, folded away.

    frame : of `compare_outputs`. verdict : None without conditions. notes : sentences on what was left out.
    """
    names = [markdown_text(_name(out)) for out in (before, after)]
    lines = [f"### {names[1]} (B) compared with {names[0]} (A)", "", *_gate(verdict), ""]
    wanted = metrics_of(verdict.wanted) if verdict else []
    shown = [name for name in dict.fromkeys((*SHOWN[:1], *wanted, *SHOWN[1:])) if (frame.metric == name).any()]
    lines += [*_leading(frame, shown), ""]
    seeds = sorted({int(count) for count in frame.seeds})
    over = " to ".join(str(count) for count in dict.fromkeys((seeds[0], seeds[-1])))
    lines.append(
        f"Each cell: A → B (difference ± half-width of its 95 % interval, {over} paired seed{'s' * (seeds[-1] > 1)}). "
        f"**Bold**: beyond chance, by {_tests(frame, seeds[0])}, corrected for the number of strategies (Holm)."
    )
    lines += [f"\n{markdown_text(note)}." for note in notes]
    text = "\n".join(lines) + "\n"
    folded = "\n".join(["", "<details><summary>All metrics</summary>", "", *_all(frame), "", "</details>", ""])
    if len(text) + len(folded) > LONGEST:
        return f"{text}\nThe table of all metrics is too long for a comment; `lorisbench compare` prints it.\n"
    return text + folded


def _tests(frame: pd.DataFrame, fewest: int) -> str:
    """The tests by which a difference is beyond chance, in words."""
    few = f", which needs {pairs_needed()} seeds" if fewest < pairs_needed() else ""
    permutation = f"an exact paired permutation test over the seeds{few}"
    if COLUMN not in frame:
        return f"{permutation} (it says nothing of other images)"
    return f"a bootstrap over seeds and test images (last row), or {permutation}"


def _name(out: Path) -> str:
    return out.name or out.resolve().name


def _gate(verdict: Verdict | None) -> list[str]:
    if verdict is None:
        return ["No condition was given (`--fail-on`): nothing is judged."]
    said = ", ".join(f"`{condition}`" for condition in verdict.wanted)
    if verdict.passed:
        lines = [f"✅ **Passed**: no strategy has {said}."]
    else:
        faults = [markdown_text(line) for line in (*verdict.broken, *verdict.absent)]
        lines = [f"❌ **Failed** on {said}:", "", *(f"* {fault}" for fault in faults)]
    return lines + ([""] if verdict.notes else []) + [f"* {markdown_text(note)}" for note in verdict.notes]


def _leading(frame: pd.DataFrame, shown: Sequence[str]) -> list[str]:
    """A row for each strategy of each stream, a column for each of the metrics `shown`."""
    keys = [key for key in ("stream", "strategy") if key in frame]
    heads = [*keys, *(markdown_text(named(name).heading) for name in shown)]
    lines = [f"| {' | '.join(heads)} |", "|" + ":---|" * len(keys) + "---:|" * len(shown)]
    places = {name: _places(named(name), frame[frame.metric == name]) for name in shown}
    for which, group in frame.groupby(keys, sort=False):
        of_metric = {line["metric"]: line for line in group.to_dict("records")}
        cells = [_cell(named(name), of_metric.get(name), places[name]) for name in shown]
        lines.append(f"| {' | '.join([*(markdown_text(str(key)) for key in which), *cells])} |")
    return lines


def _cell(metric: Metric, line: dict[Any, Any] | None, places: int) -> str:
    if line is None:
        return DASH
    a, b, difference = (number(line[key] * metric.scale, places) for key in ("a", "b", "difference"))
    change = _signed(difference) + _spread(line, metric, places)
    beyond = min(line["p"], line.get(COLUMN, math.nan), key=lambda p: (math.isnan(p), p)) < LEVEL
    return f"{a} → {b} ({f'**{change}**' if beyond else change})"


def _signed(text: str) -> str:
    return f"+{text}" if text.strip("0.,") and text[0].isdigit() else text


def _spread(line: dict[Any, Any], metric: Metric, places: int) -> str:
    half = (line["high"] - line["low"]) / 2 * metric.scale
    return "" if math.isnan(half) else f" ± {number(half, places)}"


def _all(frame: pd.DataFrame) -> list[str]:
    """A line for each metric of each strategy."""
    keys = [key for key in ("stream", "strategy") if key in frame]
    lines = [f"| {' | '.join([*keys, 'metric', 'A', 'B', 'B − A', 'p', 'seeds'])} |"]
    lines.append("|" + ":---|" * (len(keys) + 1) + "---:|" * 5)
    places = {str(name): _places(named(str(name)), group) for name, group in frame.groupby("metric")}
    for line in frame.to_dict("records"):
        metric, decimals = named(line["metric"]), places[line["metric"]]
        a, b, difference = (number(line[key] * metric.scale, decimals) for key in ("a", "b", "difference"))
        cells = [markdown_text(str(line[key])) for key in keys]
        p = DASH if math.isnan(line["p"]) else f"{line['p']:.2g}"
        change = _signed(difference) + _spread(line, metric, decimals)
        cells += [markdown_text(metric.heading), a, b, change, p, str(line["seeds"])]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _places(metric: Metric, lines: pd.DataFrame) -> int:
    """Decimals for a metric's values: its own, or about three figures of the largest."""
    if metric.decimals is not None:
        return metric.decimals
    largest = float(lines[["a", "b"]].abs().max().max()) * metric.scale
    return min(4, max(0, 2 - math.floor(math.log10(largest)))) if largest > 0 else 0
