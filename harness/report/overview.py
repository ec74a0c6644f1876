"""What several streams say together: the rank of each strategy on each of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from lorisbench.metrics.paired import Ranking, friedman
from lorisbench.report.stored import Stored
from lorisbench.report.summary import DASH, Summary, number, replay
from lorisbench.report.tabular import DAGGER, Cell, Head, Note, Table
from lorisbench.report.texts import file_names

FOLDER = "streams"


def folders(streams: Iterable[str]) -> dict[str, str]:
    """The folder of the tables and plots of each of several streams, below that of the report."""
    return {stream: f"{FOLDER}/{name}" for stream, name in file_names(streams).items()}


def _means(streams: Mapping[str, tuple[Stored, Summary]]) -> pd.DataFrame:
    """Mean accuracy on the last row, in per cent, of each strategy (rows) on each stream (columns)."""
    labels = list(dict.fromkeys(label for stored, _ in streams.values() for label in stored.labels))
    found = {
        stream: {label: summary[label]["accuracy_last"].mean if label in summary else np.nan for label in labels}
        for stream, (_, summary) in streams.items()
    }
    return pd.DataFrame(found, index=labels, columns=list(streams))


def ranked(streams: Mapping[str, tuple[Stored, Summary]]) -> tuple[list[str], Ranking] | None:
    """The strategies that have a mean on every stream, and Friedman's test of their ranks; None for fewer than two."""
    means = _means(streams).dropna()
    if min(means.shape) < 2:
        return None
    return list(means.index), friedman(means.to_numpy().T)


def ranks(streams: Mapping[str, tuple[Stored, Summary]]) -> Table:
    """Strategy × stream: the rank by mean accuracy on the last row, 1 for the best; and the mean over streams.

    Only strategies with a value on every stream are ranked: the others would change what a rank means from one stream
    to the next. Equal means share the mean of their ranks.
    """
    means = _means(streams)
    labels, found = list(means.index), means.to_dict()
    kept = {label: any(replay(each, label) for _, each in streams.values() if label in each) for label in labels}
    own = means.dropna().rank(ascending=False)
    together, tested = own.mean(axis=1), ranked(streams)
    near = together.min() + tested[1].critical if tested else np.inf
    turn = sorted(labels, key=lambda label: together.get(label, np.inf))
    rows = [
        [
            Cell(label, mark=DAGGER if kept[label] else ""),
            _cell(
                together.get(label, np.nan),
                2,
                bold=label in together and together[label] == together.min(),
                underlined=label in together and together.min() < together[label] < near,
            ),
            *(_cell(own[stream].get(label, np.nan), 1) for stream in streams),
            *(_cell(found[stream][label], 2) for stream in streams),
        ]
        for label in turn
    ]
    heads = [Head("Strategy", number=False, key="strategy", data=("strategy",))]
    heads += [Head("Mean rank", "over streams", key="mean_rank", data=("mean_rank",))]
    for name, group in (("rank", "rank"), ("accuracy_last", "accuracy on the last row (%)")):
        heads += [Head(stream, group, key=f"{stream}_{name}", data=(f"{stream}_{name}",)) for stream in streams]
    notes = [
        f"Rank by the mean accuracy on the last row, of the {len(own)} strategies that have one on every stream; "
        "1 is the best, equal means share their ranks. Accuracies of different streams are never averaged."
    ]
    if tested:
        test = tested[1]
        notes.append(
            f"Friedman's test that all rank alike: chi-squared = {test.chi2:.2f}, p = {test.p:.4f}; "
            f"Iman and Davenport's F = {test.f:.2f}, p = {test.f_p:.4f}. "
            f"Nemenyi's critical difference of two mean ranks: {test.critical:.2f} "
            f"over {test.streams} streams (Demšar 2006). Underlined: cannot be told from the best by it. A claim of "
            "ranks generalises over streams such as these, which vary neither seeds nor recordings."
        )
    for label in labels:
        absent = [stream for stream in streams if np.isnan(found[stream][label])]
        if absent:
            notes.append(f"{label} is not ranked: it has no finished run on {', '.join(absent)}.")
    for label in own.index:
        remarks = dict.fromkeys(each for stored, _ in streams.values() for each in stored.remarks(label))
        notes += [f"{label}: {remark}." for remark in remarks]
    values = pd.DataFrame({"strategy": turn, "mean_rank": [together.get(label, np.nan) for label in turn]})
    for stream in streams:
        values[f"{stream}_rank"] = [own[stream].get(label, np.nan) for label in turn]
        values[f"{stream}_accuracy_last"] = list(means[stream][turn])
    daggers = [Note("It keeps images of earlier experiences.", DAGGER)] if any(kept.values()) else []
    return Table("ranks", "Mean rank over the streams", heads, rows, values, [*map(Note, notes), *daggers])


def _cell(value: float, decimals: int, bold: bool = False, underlined: bool = False) -> Cell:
    if np.isnan(value):
        return Cell(DASH)
    shown = number(value, 0 if decimals == 1 and value == int(value) else decimals)
    return Cell(shown, bold=bold, underlined=underlined, value=value)
