"""The report's tables of what a prediction takes: time, operations, memory, and the same on other machines."""

from collections.abc import Iterable, Mapping
from functools import cache
from math import comb
from typing import Any

import numpy as np
import pandas as pd

from lorisbench.metrics import costs
from lorisbench.metrics.costs import RunRecord
from lorisbench.metrics.intervals import Interval
from lorisbench.metrics.table import compute_costs, named, reason_for
from lorisbench.report.stored import Stored
from lorisbench.report.summary import DASH, Summary, number
from lorisbench.report.tabular import Cell, Head, Note, Table, letters

TIMES = ("latency_p50_ms", "latency_p95_ms", "latency_p99_ms")
OF_CALLS = ("latency_p50_ms", "latency_ratio")
SIZES = ("parameters", "macs", "model_mb", "state_mb", "inference_mb")


def shared_interval(stored: Stored, summary: Summary, label: str, key: str) -> Interval:
    """Mean and interval of a column. For those in `OF_CALLS` the interval is that of the measurement, not over seeds.

    Runs whose models have one architecture share a measurement: that their values agree says nothing. The interval of
    one measurement is that of a median (order statistics of the calls, or of the ratios of their pairs, 95 %), and
    that of the mean over runs follows from the share of the runs that each measurement stands for.
    """
    interval = summary[label][key]
    runs = measured(stored, key, stored.done(label)["run_id"])
    if not runs or not np.isfinite(interval.mean):
        return interval
    shares: dict[str, float] = {}
    halves: dict[str, float] = {}
    for measurement, half in runs.values():
        shares[measurement] = shares.get(measurement, 0) + 1 / len(runs)
        halves[measurement] = half
    width = float(np.sqrt(sum((share * halves[measurement]) ** 2 for measurement, share in shares.items())))
    return Interval(interval.mean, width, interval.n)


def measured(stored: Stored, key: str, runs: Iterable[str]) -> dict[str, tuple[str, float]]:
    """Of each run that was timed, the run that it was measured on, and half the width of that measurement's interval.

    Nothing for a column that is not in `OF_CALLS`.
    """
    found: dict[str, tuple[str, float]] = {}
    halves: dict[str, float] = {}
    for run in runs:
        content = stored.latencies.get(run, {})
        if key in OF_CALLS and content.get("ms"):
            measurement = str(content.get("measured_on") or run)
            if measurement not in halves:
                halves[measurement] = _half_width(content, of_ratios=key == "latency_ratio")
            found[run] = measurement, halves[measurement]
    return found


def _half_width(calls: Mapping[str, Any], of_ratios: bool) -> float:
    """Half the width of the 95 % interval of the median call, or of the median ratio; NaN for fewer than six calls."""
    values = np.array(calls["ms"], dtype=float)
    if of_ratios:
        bare = np.array(calls.get("bare_ms") or [], dtype=float)
        if len(bare) != len(values) or not bare.all():
            return float("nan")
        values = values / bare
    rank = _rank(len(values))
    if rank is None:
        return float("nan")
    values.sort()
    return float(values[-1 - rank] - values[rank]) / 2


@cache
def _rank(count: int, confidence: float = 0.95) -> int | None:
    """The largest r for which the r-th smallest to the r-th largest value (from 0) hold the median so often."""
    below, rank = 0.0, -1
    while rank + 1 < count / 2 and (below := below + comb(count, rank + 1) / 2**count) <= (1 - confidence) / 2:
        rank += 1
    return rank if rank >= 0 else None


def load_of(content: Mapping[str, Any]) -> str:
    """How loaded a machine was when a latency was measured, in words; empty if that is not stored."""
    load, cores = content.get("load"), content.get("cores")
    return "" if load is None else f"{number(load, 2)} of {cores}" if cores else number(load, 2)


def load_told(stored: Stored) -> list[str]:
    """A sentence on how far absolute times can be believed; none if nothing was timed."""
    timed = {
        str(content.get("measured_on") or run): content
        for run, content in stored.latencies.items()
        if content.get("ms")
    }
    loads = [content["load"] for content in timed.values() if content.get("load") is not None]
    if not timed:
        return []
    if not loads:
        told = "how loaded the machine was is not stored"
    else:
        cores = ", ".join(
            str(each) for each in sorted({content["cores"] for content in timed.values() if content.get("cores")})
        )
        low, high = number(min(loads), 2), number(max(loads), 2)
        told = f"the load of the machine before it was measured was {low if low == high else f'{low} to {high}'}"
        told += f" processes (average of a minute; {cores} cores)" if cores else " processes (average of a minute)"
    return [
        f"Latency p50 in ms depends on the machine and what else it does: {told}. The ratio compares calls that took "
        "turns with those of the bare backbone. Their intervals are those of the measured calls."
    ]


def latency(stored: Stored) -> list[Table]:
    """What a prediction of each strategy takes, a row for each architecture; no table if nothing was timed."""
    found = {
        (label, content.get("architecture", "")): (run, content)
        for label in stored.labels
        for run in reversed(list(stored.done(label)["run_id"]))
        if (content := stored.latencies.get(run, {})).get("ms")
    }
    rank = {label: place for place, label in enumerate(stored.labels)}
    by_run = stored.runs.set_index("run_id")
    rows, values = [], []
    footnotes: dict[str, str] = {}
    for (label, _), (run, content) in sorted(found.items(), key=lambda item: rank[item[0][0]]):
        figures, reasons = compute_costs(RunRecord([], content, {}))
        figures |= by_run.loc[run, ["model_mb", "state_mb"]].astype(float).to_dict()

        def cell(name: str, decimals: int, figures: Any = figures, reasons: Any = reasons) -> Cell:
            value = figures.get(name)
            if value is None or pd.isna(value):
                reason = reason_for(name, reasons) or "not measured"
                return Cell(DASH, mark=footnotes.setdefault(reason, letters(len(footnotes))))
            return _cell(value * named(name).scale, decimals)

        large = costs.in_batches(content) or {}
        none_larger = cell("throughput", 1)  # a dash with its reason
        calls = {"": content, "large_": large}
        rows.append(
            [
                Cell(label),
                _ratio(content),
                *(cell(name, 2) for name in TIMES),
                _ratio(large) if large else none_larger,
                _cell(costs.percentile(large, 50), 1) if large.get("ms") else none_larger,
                cell("throughput", 1),
                Cell(load_of(content), value=content["load"]) if load_of(content) else cell("load", 2),
                *(cell(name, 2) for name in SIZES),
            ]
        )
        values.append(
            {"strategy": label, "run_id": run, "load": content.get("load"), "cores": content.get("cores")}
            | {f"{key}{name}": value for key, each in calls.items() for name, value in _of_calls(each).items()}
            | {name: figures.get(name) for name in ("throughput", *SIZES)}
        )
    if not rows:
        return []
    sizes = [_sizes(row[key] for row in values) for key in ("batch", "large_batch")]
    groups = [f"batch {size}" if size else "larger batches" for size in sizes]
    small = {"Median, ms": "p50_ms", "p95, ms": "p95_ms", "p99, ms": "p99_ms"}
    heads = [
        Head("Strategy", number=False, key="strategy", data=("strategy", "run_id")),
        Head("Ratio", groups[0], key="ratio", data=("ratio", "ratio_q1", "ratio_q3")),
        *(Head(text, groups[0], key=key, data=(key,)) for text, key in small.items()),
        Head("Ratio", groups[1], key="large_ratio", data=("large_ratio", "large_ratio_q1", "large_ratio_q3")),
        Head("Median, ms", groups[1], key="large_p50_ms", data=("large_p50_ms",)),
        Head("Images/s", groups[1], key="throughput", data=("throughput",)),
        Head("Load", key="load", data=("load", "cores")),
        *(Head(named(name).heading, key=name, data=(name,)) for name in SIZES),
    ]
    first = values[0]
    notes = [
        "Ratio: the median time of a call to that of the bare backbone with one head, on the same machine; in brackets "
        "the quartiles of the ratios of the pairs of calls, which came one after the other: "
        f"{first['calls']} of the smallest batches"
        + (f", {first['large_calls']} of the largest." if first["large_calls"] else "."),
        "A row for each architecture that a strategy's runs came to.",
    ]
    load = (
        "Load: processes that ran or waited on the machine, on average over the minute before the measurement, and its "
        "cores; times in ms are longer the more there were, and the ratio hardly changes."
    )
    told = [Note(f"{reason}.", mark) for reason, mark in footnotes.items()] + [*map(Note, notes)]
    told += [Note(load, column="load")]
    told += [Note(f"{named(name).header}: {named(name).formula}", column=name) for name in SIZES]
    paper = ("strategy", "ratio", "large_ratio", "throughput", "parameters", "macs", "inference_mb")
    return [Table("latency", "What a prediction takes", heads, rows, pd.DataFrame(values), told, paper=paper)]


def _cell(value: float, decimals: int) -> Cell:
    return Cell(number(value, decimals), value=value)


def _sizes(found: Any) -> str:
    """The sizes of batches in words; empty if there are none."""
    return ", ".join(str(size) for size in sorted({size for size in found if size}))


def _ratio(calls: Mapping[str, Any]) -> Cell:
    ratio, quartiles = costs.ratio_of(calls), costs.ratio_quartiles(calls)
    if ratio is None:
        return Cell(DASH)
    spread = f" ({number(quartiles[0], 3)} to {number(quartiles[1], 3)})" if quartiles else ""
    return Cell(number(ratio, 3) + spread, value=ratio)


def _of_calls(calls: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of the calls with batches of one size, None where there are none."""
    times = {
        f"p{percent}_ms": costs.percentile(calls, percent) if calls.get("ms") else None for percent in (50, 95, 99)
    }
    low, high = costs.ratio_quartiles(calls) or (None, None)
    kept = {key: calls.get(key) for key in ("batch", "calls")}
    return kept | times | {"ratio": costs.ratio_of(calls), "ratio_q1": low, "ratio_q3": high}


def latency_by_machine(stored: Stored) -> list[Table]:
    """The latency of each strategy on each machine, if it was measured on several or in onnxruntime; else no table."""
    found = stored.machines
    place = ["machine", "device", "threads"]
    in_onnx = not found.empty and bool((found["onnx_p50_ms"] + found["onnx_fault"]).any())
    if found.empty or (len(found[place].drop_duplicates()) < 2 and not in_onnx):
        return []
    rank = {label: place for place, label in enumerate(stored.labels)}
    shown = {"p50_ms": "Median ms", "p95_ms": "95th percentile ms", "bare_ms": "Bare backbone ms"}
    shown |= {"load": "Load before"} if found["load"].any() else {}
    large = {"large_p50_ms": "Median ms, large batch"} if found["large_p50_ms"].any() else {}
    onnx = {
        "onnx_p50_ms": "Median ms", "onnx_ratio": "to PyTorch", "onnx_large_p50_ms": "Median ms, large batch",
        "onnx_large_ratio": "to PyTorch, large batch",
    } if in_onnx else {}  # fmt: skip
    times = [*shown, *large, *onnx]
    listed = found.assign(
        **{name: pd.to_numeric(found[name], errors="coerce") for name in times},
        _rank=[rank.get(label, len(rank)) for label in found["strategy"]],
    ).sort_values(["_rank", *place], kind="stable")
    footnotes: dict[str, str] = {}
    rows = []
    for row in listed.to_dict("records"):
        fault = str(row["onnx_fault"])
        mark = footnotes.setdefault(fault, letters(len(footnotes))) if fault else ""
        rows.append(
            [Cell(row["strategy"], mark=mark), *(Cell(row[key] or DASH) for key in place)]
            + [Cell(DASH) if pd.isna(row[name]) else _cell(row[name], 2) for name in times]
            + [Cell(row["images"] or DASH)]
        )
    heads = [
        Head("Strategy", number=False, key="strategy", data=("strategy",)),
        *(Head(key.capitalize(), number=key == "threads", key=key, data=(key,)) for key in place),
        *(Head(text, key=key, data=(key,)) for key, text in {**shown, **large}.items()),
        *(Head(text, "onnxruntime", key=key, data=(key,)) for key, text in onnx.items()),
        Head("Images", number=False, key="images", data=("images",)),
    ]
    values = listed[["strategy", *place, *times, "images", "architecture"]]
    notes = [
        *(Note(f"Not in onnxruntime: {fault}.", mark) for fault, mark in footnotes.items()),
        Note("A row for each architecture that a strategy's runs came to; latency.csv has versions, dates and faults."),
    ]
    return [Table("latency_by_machine", "Latency by machine", heads, rows, values, notes)]
