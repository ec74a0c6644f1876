"""What streams, strategies and runs of several outputs are called where they are shown together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from lorisbench.gather.sources import Source, other_settings, same_stream
from lorisbench.metrics.elsewhere import marked
from lorisbench.metrics.table import in_results

ACCURACIES = [metric.name for metric in in_results() if metric.of_matrix]
ROUNDING = 1e-9  # of accuracies that are the same, written by two versions


@dataclass
class Naming:
    """Names in the whole.

    streams, labels, runs : by letter of the source, from its own name to that in the whole. again : likewise the runs
    that an earlier source has, too; they are not among `runs`. said : a sentence for whatever is not called as it was,
    or counts once.
    """

    streams: dict[str, dict[str, str]] = field(default_factory=dict)
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    runs: dict[str, dict[str, str]] = field(default_factory=dict)
    again: dict[str, dict[str, str]] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def shared(self, a: Source, b: Source) -> list[tuple[str, str]]:
        """Pairs of streams of A and B that are one and the same."""
        of_b = {whole: own for own, whole in self.streams[b.letter].items()}
        return [(own, of_b[whole]) for own, whole in self.streams[a.letter].items() if whole in of_b]


def names_of(sources: Sequence[Source]) -> Naming:
    """Give everything its name, the sources in their order: what is the same has one name, what is not has two."""
    naming = Naming()
    for place, source in enumerate(sources):
        _name_streams(naming, sources[:place], source)
        _name_labels(naming, sources[:place], source)
        _name_runs(naming, sources[:place], source)
    return naming


def _name_streams(naming: Naming, earlier: Sequence[Source], source: Source) -> None:
    names = naming.streams[source.letter] = {}
    for stream in source.streams:
        holders = [each for each in earlier if stream in each.streams]
        why = ""
        for holder in holders:
            why = same_stream(holder, source, stream)
            if not why:
                names[stream] = naming.streams[holder.letter][stream]
                break
        else:
            names[stream] = f"{stream} ({source.letter})" if holders else stream
            if holders:
                naming.said.append(
                    f"The stream {stream} of {source.letter} is not that of {holders[-1].letter} ({why}) and is called "
                    f"{names[stream]}"
                )


def _name_labels(naming: Naming, earlier: Sequence[Source], source: Source) -> None:
    names = naming.labels[source.letter] = {}
    taken = {label for letter in naming.labels for label in naming.labels[letter].values()}
    for label in source.labels:
        if source.imported:
            names[label] = marked(label) if marked(label) not in taken else marked(label, source.letter)
            naming.said.append(f"{names[label]} is not from here: {source} was imported")
            continue
        why = ""
        holders = [each for each in earlier if label in each.labels and not each.imported]
        for holder in holders:
            streams = naming.shared(holder, source)
            why = other_settings(holder, source, streams, label) or _other_results(holder, source, streams, label)
            if not why:
                names[label] = naming.labels[holder.letter][label]
                break
        else:
            names[label] = label if label not in taken else f"{label} ({source.letter})"
            if names[label] != label:
                naming.said.append(
                    f"{label} of {source.letter} is called {names[label]}: {why or 'the name was taken'}"
                )


def _pairs(a: Source, b: Source, streams: Sequence[tuple[str, str]], label: str) -> pd.DataFrame:
    """The finished runs of a strategy that both sources have, side by side: run_id_a, run_id_b and accuracies."""
    columns = ["stream", "order", "seed", "run_id", *ACCURACIES]
    mine, theirs = (
        each.runs[(each.runs["strategy"] == label) & (each.runs["status"] == "done")].reindex(columns=columns)
        for each in (a, b)
    )
    names = {other: own for own, other in streams}
    theirs = theirs.assign(stream=[names.get(stream, "") for stream in theirs["stream"]])
    return mine.merge(theirs, on=["stream", "order", "seed"], suffixes=("_a", "_b"))


def _other_results(a: Source, b: Source, streams: Sequence[tuple[str, str]], label: str) -> str:
    """How the results of the same runs differ between two sources, in words; empty if they do not."""
    pairs = _pairs(a, b, streams, label)
    if pairs.empty:
        return ""
    mine, theirs = (pairs[[f"{name}_{side}" for name in ACCURACIES]].to_numpy(dtype=float) for side in "ab")
    both = np.isfinite(mine) & np.isfinite(theirs)
    apart = both & (np.abs(np.where(both, mine - theirs, 0)) > ROUNDING)
    if not apart.any():
        return ""
    run, column = np.argwhere(apart)[0]
    return (
        f"the same settings, but other results ({ACCURACIES[column]} under seed {int(pairs['seed'].iloc[run])}: "
        f"{100 * theirs[run, column]:.2f} in place of {100 * mine[run, column]:.2f} %)"
    )


def _name_runs(naming: Naming, earlier: Sequence[Source], source: Source) -> None:
    """Each run keeps its id if that is free; one that an earlier source has, too, counts once."""
    names = naming.runs[source.letter] = dict.fromkeys(source.runs["run_id"], "")
    again = naming.again[source.letter] = {}
    for holder in earlier:
        those: dict[str, int] = {}
        for label, whole in naming.labels[source.letter].items():
            if naming.labels[holder.letter].get(label) != whole:
                continue
            pairs = _pairs(holder, source, naming.shared(holder, source), label)
            for first, run in zip(pairs["run_id_a"], pairs["run_id_b"], strict=True):
                if first in naming.runs[holder.letter] and names.pop(run, None) is not None:
                    again[run] = naming.runs[holder.letter][first]
                    those[label] = those.get(label, 0) + 1
        if count := sum(those.values()):
            naming.said.append(
                f"{count} run{'s' * (count != 1)} of {source.letter} ({', '.join(those)}) are those of {holder.letter} "
                "again, with the same results, and count once"
            )
    taken = {run for letter in naming.runs if letter != source.letter for run in naming.runs[letter].values()}
    for run in names:
        names[run] = run if run not in taken else f"{run}.{source.letter}"
