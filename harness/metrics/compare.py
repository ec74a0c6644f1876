"""`lorisbench compare A B`: differences between two outputs, paired run by run, and a test of them.

A run is a stream, an order of its experiences, a strategy and a seed. Nothing is averaged over streams.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from lorisbench.common.errors import InputError
from lorisbench.common.reading import read_json
from lorisbench.common.yaml_files import read_yaml
from lorisbench.metrics.gates import Condition, metrics_of
from lorisbench.metrics.intervals import mean_interval
from lorisbench.metrics.machines import OF_MACHINE, differing_machines, machines_of
from lorisbench.metrics.paired import LEVEL, holm, pairs_needed, permutation_p
from lorisbench.metrics.records import images_by_stream
from lorisbench.metrics.results import RUN, read_results
from lorisbench.metrics.table import compared, named

METRICS = tuple(metric.name for metric in compared())
COLUMNS = (*RUN, "status", "benchmark")
TIMES = tuple(name for name in METRICS if name in OF_MACHINE)
"""The metrics that are not compared across machines unless one asks for it."""


def compare_outputs(before: Path, after: Path, any_machine: bool = False) -> pd.DataFrame:
    """Mean of B - A over the seeds finished in both, for each strategy and metric of each stream.

    Columns: stream (only if there are several), strategy, metric, a, b (means over the shared seeds, in the units of
    results.csv), difference, low, high (95 % Student-t interval of the paired differences; NaN for one seed), seeds, p.
    Where a seed was run in several orders, its values are means over the orders finished in both.

    p is that of the exact paired permutation test (two-sided, over the seeds), corrected by Holm's method for the
    number of lines that a metric has; n pairs cannot give less than 2 / 2^n. It says whether other seeds would have
    done, not whether other images would. NaN for what was timed or counted once for all seeds (latency.json).

    any_machine : also compare times (`TIMES`) of runs from different machines; they are left out
    otherwise, and `other_machine` says why.

    Raises InputError if an output is missing, they share no finished run, or a stream of both has other images in one
    of them.
    """
    _check_images(before, after)
    left = set() if any_machine or not other_machine(before, after) else set(TIMES)
    rows = []
    for (stream, strategy), group in _merged(before, after).groupby(["stream", "strategy"], sort=False):
        for metric in METRICS:
            both = group[["seed", f"{metric}_a", f"{metric}_b"]].astype(float).dropna()
            if both.empty or metric in left:
                continue
            seeds = both.groupby("seed", sort=False).mean()
            a, b = seeds[f"{metric}_a"].to_numpy(), seeds[f"{metric}_b"].to_numpy()
            interval = mean_interval(b - a)
            p = float("nan") if named(metric).source == "latency.json" else permutation_p(b - a)
            means, found = (a.mean(), b.mean()), (interval.mean, interval.low, interval.high, interval.n, p)
            rows.append((stream, strategy, metric, *means, *found))
    columns = ["stream", "strategy", "metric", "a", "b", "difference", "low", "high", "seeds", "p"]
    frame = pd.DataFrame(rows, columns=columns)
    for _, lines in frame.groupby("metric", sort=False):
        frame.loc[lines.index, "p"] = holm(lines["p"].to_numpy(dtype=float))
    return frame if _several(before, after) else frame.drop(columns="stream")


def other_machine(before: Path, after: Path) -> str:
    """Why times of the runs finished in both outputs are not comparable.

    Empty if they are, if both are one folder, or if no run has any in both.
    """
    merged = _merged(before, after)
    timed = any((merged[f"{name}_a"].notna() & merged[f"{name}_b"].notna()).any() for name in TIMES)
    if not timed or before.resolve() == after.resolve():
        return ""
    a, b = (machines_of(out, merged[f"run_id_{side}"]) for out, side in ((before, "a"), (after, "b")))
    return differing_machines(a, b)


def _check_images(before: Path, after: Path) -> None:
    """Raise InputError if the outputs share no stream, or one that has other images or another benchmark in one.

    So it does if one was tested on validation images, and the other was not.
    """
    outputs = (before, after)
    splits = [_split(out) for out in outputs]
    if None not in splits and splits[0] != splits[1]:
        raise InputError(f"{before} was evaluated on the {splits[0]} split, {after} on the {splits[1]} split")
    tables = [_finished(out) for out in outputs]
    images = [
        images_by_stream(read_json(out / "data.json") or {}, set(runs.stream))
        for out, runs in zip(outputs, tables, strict=True)
    ]
    shared = [stream for stream in dict.fromkeys(tables[0].stream) if stream in set(tables[1].stream)]
    for stream in shared or [None]:
        parts = [runs if stream is None else runs[runs.stream == stream] for runs in tables]
        names = {*parts[0].benchmark, *parts[1].benchmark}
        hashes = {str(each.get(str(stream), {}).get("content_hash")) for each in images}
        if len(names) > 1 or len(hashes) > 1:
            where = f" in stream {stream!r}" if stream and len(shared) > 1 else ""
            told = ", ".join(sorted(names))
            raise InputError(f"{before} and {after} come from different images or benchmarks ({told}){where}")


def _split(out: Path) -> Any:
    """The split that an output was evaluated on; None if it is not stored."""
    file = out / "suite.yaml"
    evaluation = read_yaml(file).get("evaluation") if file.is_file() else None
    return evaluation.get("split") if isinstance(evaluation, dict) else None


def _several(before: Path, after: Path) -> bool:
    return len({*_table(before).stream, *_table(after).stream}) > 1


def _which(stream: object, strategy: object, several: bool) -> str:
    """A strategy's name for a line, with its stream's if there are several."""
    return f"{stream}: {strategy}" if several else str(strategy)


def missing(before: Path, after: Path) -> list[str]:
    """Runs finished in A but not in B, where B tried them or lacks their strategy on their stream altogether."""
    a, b = _finished(before), _table(after)
    several = _several(before, after)
    done, tried = _runs(b[b.status == "done"]), _runs(b)
    strategies = set(zip(b.stream, b.strategy, strict=True))
    return [
        f"{_which(stream, strategy, several)}{f' order {order:g}' if order else ''} seed {seed}: "
        f"finished in {before}, not in {after}"
        for stream, order, strategy, seed in a[list(RUN)].itertuples(index=False, name=None)
        if (stream, order, strategy, seed) not in done
        and ((stream, order, strategy, seed) in tried or (stream, strategy) not in strategies)
    ]


def _runs(table: pd.DataFrame) -> set[tuple[Any, ...]]:
    return set(table[list(RUN)].itertuples(index=False, name=None))


@dataclass(frozen=True)
class Verdict:
    """What became of a gate.

    broken : a sentence for each strategy and condition that its difference fulfils. absent : one for each run that is
    finished in A alone. notes : one for each strategy of which there was nothing to test.
    """

    wanted: list[Condition]
    broken: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not self.broken and not self.absent


def judge(
    before: Path, after: Path, frame: pd.DataFrame, wanted: Sequence[Condition], any_machine: bool = False
) -> Verdict:
    """Hold the mean differences of `compare_outputs` against conditions.

    A condition is on the mean, as it is written; each sentence adds whether the seeds can tell the difference from
    chance. Raises InputError if a condition cannot be tested: a gate that looks at no number would pass whatever
    happened. A metric must have been measured in a pair of runs for some strategy, and for each strategy that has it in
    one of the outputs, and times on one machine.
    """
    faults, notes = _untested(before, after, wanted, any_machine)
    if faults:
        raise InputError(f"--fail-on: {'; '.join(faults)}")
    return Verdict(list(wanted), _violations(frame, wanted), missing(before, after), notes)


def _untested(before: Path, after: Path, wanted: Sequence[Condition], any_machine: bool) -> tuple[list[str], list[str]]:
    """Why the conditions cannot be tested, and, less grave, for which strategies there is nothing to test."""
    merged, several = _merged(before, after), _several(before, after)
    faults, notes = [], []
    for metric in metrics_of(wanted):
        a, b = merged[f"{metric}_a"].notna(), merged[f"{metric}_b"].notna()
        if not (a & b).any():
            nowhere = " and ".join(str(out) for out, there in ((before, a), (after, b)) if not there.any())
            where = f"has no value in {nowhere}" if nowhere else "has no value in the same run of both"
            faults.append(f"{metric} {where}: there is nothing to test")
            continue
        if metric in TIMES and not any_machine and (why := other_machine(before, after)):
            faults.append(
                f"{metric} of {before} and {after} cannot be compared: {why}; --any-machine does it all the same"
            )
            continue
        for (stream, label), group in merged.groupby(["stream", "strategy"], sort=False):
            strategy = _which(stream, label, several)
            in_a, in_b = a[group.index], b[group.index]
            if (in_a & in_b).any():
                continue
            if in_a.any() or in_b.any():
                faults.append(f"{metric} of {strategy} was measured in {before if in_a.any() else after} only")
            else:
                notes.append(f"{strategy} has no {metric} in either output: not tested")
    return faults, notes


def _violations(frame: pd.DataFrame, wanted: Sequence[Condition]) -> list[str]:
    found = []
    for condition in wanted:
        for line in frame[frame.metric == condition.metric].to_dict("records"):
            a, difference = float(line["a"]), float(line["difference"])
            if condition.holds(a, difference):
                which = _which(line.get("stream"), line["strategy"], "stream" in line)
                said = f"{condition.metric} B - A = {condition.told(a, difference)}, which is {_limit(condition)}"
                p = float(line["p"]), float(line.get("p_images", math.nan))
                found.append(f"{which}: {said} ({certainty(int(line['seeds']), *p)})")
    return found


def _limit(condition: Condition) -> str:
    """The condition without its metric, as in `< -0.5pp`."""
    return str(condition).removeprefix(f"{condition.metric} ")


def certainty(seeds: int, p: float, p_images: float = math.nan) -> str:
    """Whether a difference can be told from chance, in words.

    p, p_images : as `compare_outputs` and `report.compared_answers.with_answers` give them.
    """
    if not math.isnan(p_images):
        beyond = "beyond" if p_images < LEVEL else "not beyond"
        return f"{beyond} chance, p = {p_images:.2g} over {seeds} paired seeds and the test images"
    if math.isnan(p) and seeds > 1:
        return "timed or counted once for all seeds, which cannot tell it from chance"
    if p < LEVEL:
        return f"beyond chance, p = {p:.2g} over {seeds} paired seeds"
    if seeds < pairs_needed():
        told = "one seed" if seeds == 1 else f"{seeds} paired seeds"
        return f"{told} cannot tell it from chance: {pairs_needed()} are needed"
    return f"not beyond chance, p = {p:.2g} over {seeds} paired seeds"


def _merged(before: Path, after: Path) -> pd.DataFrame:
    """The runs finished in both outputs, side by side. Raises InputError if there is none."""
    merged = _finished(before).merge(_finished(after), on=list(RUN), suffixes=("_a", "_b"))
    if merged.empty:
        raise InputError(f"{before} and {after} have no finished run in common (same strategy, seed and order)")
    return merged


def _finished(out: Path) -> pd.DataFrame:
    frame = _table(out)
    return frame[frame.status == "done"]


def _table(out: Path) -> pd.DataFrame:
    frame, _ = read_results(out)
    if not set(COLUMNS) <= set(frame.columns) or not set(METRICS) & set(frame.columns):
        raise InputError(f"{out / 'results.csv'}: not a table written by lorisbench")
    return frame.reindex(columns=["run_id", *METRICS, *COLUMNS])  # a table of an older version has fewer metrics
