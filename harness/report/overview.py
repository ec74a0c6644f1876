"""What several streams say together: the rank of each strategy on each of them, and the page that leads to them."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from lorisbench.report import render
from lorisbench.report.facts import of_stream
from lorisbench.report.findings import headlines
from lorisbench.report.frame import Stored
from lorisbench.report.heatmaps import file_names
from lorisbench.report.summary import DASH, Summary, number
from lorisbench.report.tables import Cell, Head, Note, Table, build

FOLDER = "streams"


def folders(streams: Iterable[str]) -> dict[str, str]:
    """The folder of the report on each of several streams, below that of the output's report."""
    return {stream: f"{FOLDER}/{name}" for stream, name in file_names(streams).items()}


def ranks(streams: Mapping[str, tuple[Stored, Summary]]) -> Table:
    """Strategy × stream: the rank by mean accuracy on the last row, 1 for the best; and the mean over streams.

    Only strategies with a value on every stream are ranked: the others would change what a rank means from one stream
    to the next. Equal means share the mean of their ranks.
    """
    labels = list(dict.fromkeys(label for stored, _ in streams.values() for label in stored.labels))
    found = {
        stream: {label: summary[label]["accuracy_last"].mean if label in summary else np.nan for label in labels}
        for stream, (_, summary) in streams.items()
    }
    means = pd.DataFrame(found, index=labels)
    ranked = means.dropna().rank(ascending=False)
    together = ranked.mean(axis=1)
    rows = [
        [
            Cell(label),
            _cell(together.get(label, np.nan), 2, bold=label in together and together[label] == together.min()),
            *(_cell(ranked[stream].get(label, np.nan), 1) for stream in streams),
            *(_cell(found[stream][label], 2) for stream in streams),
        ]
        for label in sorted(labels, key=lambda label: together.get(label, np.inf))
    ]
    heads = [Head("Strategy", number=False), Head("Mean rank", "over streams")]
    heads += [Head(stream, "rank") for stream in streams]
    heads += [Head(stream, "accuracy on the last row (%)") for stream in streams]
    notes = [
        f"Rank by the mean accuracy on the last row, of the {len(ranked)} strategies that have one on every stream; "
        "1 is the best, equal means share their ranks. Accuracies of different streams are never averaged."
    ]
    for label in labels:
        absent = [stream for stream in streams if np.isnan(found[stream][label])]
        if absent:
            notes.append(f"{label} is not ranked: it has no finished run on {', '.join(absent)}.")
    for label in ranked.index:
        remarks = dict.fromkeys(each for stored, _ in streams.values() for each in stored.remarks(label))
        notes += [f"{label}: {remark}." for remark in remarks]
    values = pd.DataFrame({"strategy": labels, "mean_rank": [together.get(label, np.nan) for label in labels]})
    for stream in streams:
        values[f"{stream}_rank"] = [ranked[stream].get(label, np.nan) for label in labels]
        values[f"{stream}_accuracy_last"] = list(means[stream])
    return Table("ranks", "Mean rank over the streams", heads, rows, values, [*map(Note, notes)])


def _cell(value: float, decimals: int, bold: bool = False) -> Cell:
    if np.isnan(value):
        return Cell(DASH)
    return Cell(number(value, 0 if decimals == 1 and value == int(value) else decimals), bold=bold)


def html(out: Path, streams: Mapping[str, tuple[Stored, Summary]], ranking: Table) -> str:
    """The text of the page that leads to the streams' own."""
    first = next(stored for stored, _ in streams.values())
    places = folders(streams)
    parts = [
        {
            "name": stream,
            "folder": places[stream],
            "stored": stored,
            "synthetic": bool(stored.data.get("synthetic")),
            "headlines": headlines(stored, summary),
            "own": of_stream(stored),
            "tables": [table for table in build(stored, summary) if table.name in ("comparison", "orders")],
        }
        for stream, (stored, summary) in streams.items()
    ]
    return render.template("overview.html").render(
        title=str(first.suite.get("name") or out.resolve().name),
        description=str(first.suite.get("description") or ""),
        warnings=list(dict.fromkeys(line for stored, _ in streams.values() for line in stored.warnings)),
        validation=(first.suite.get("evaluation") or {}).get("split") == "validation",
        ranking=ranking,
        parts=parts,
        groups=render.groups,
    )
