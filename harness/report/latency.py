"""The report's tables of what a prediction takes: time, operations, memory, and the same on other machines."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from lorisbench.metrics import costs
from lorisbench.metrics.costs import RunRecord
from lorisbench.metrics.table import compute_costs, named, reason_for
from lorisbench.report.frame import Stored
from lorisbench.report.summary import DASH, number
from lorisbench.report.tabular import Cell, Head, Note, Table, letters

TIMES = ("latency_p50_ms", "latency_p95_ms", "latency_p99_ms")
SIZES = ("parameters", "macs", "model_mb", "state_mb", "inference_mb")


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
            return Cell(number(value * named(name).scale, decimals))

        large = costs.in_batches(content) or {}
        calls = {"": content, "large_": large}
        rows.append(
            [
                Cell(label),
                *(cell(name, 2) for name in TIMES),
                Cell(_ratio(content)),
                Cell(f"{number(costs.percentile(large, 50), 1)}" if large.get("ms") else DASH),
                Cell(_ratio(large)),
                cell("throughput", 1),
                *(cell(name, 2) for name in SIZES),
            ]
        )
        values.append(
            {"strategy": label, "run_id": run}
            | {f"{key}{name}": value for key, each in calls.items() for name, value in _of_calls(each).items()}
            | {name: figures.get(name) for name in ("throughput", *SIZES)}
        )
    if not rows:
        return []
    sizes = [_sizes(row[key] for row in values) for key in ("batch", "large_batch")]
    groups = [f"batch {size}" if size else "larger batches" for size in sizes]
    heads = [
        Head("Strategy", number=False),
        *(Head(text, groups[0]) for text in ("Median, ms", "p95, ms", "p99, ms", "Ratio")),
        *(Head(text, groups[1]) for text in ("Median, ms", "Ratio", "Images/s")),
        *(Head(named(name).heading) for name in SIZES),
    ]
    first = values[0]
    notes = [
        "Ratio: the median time of a call to that of the bare backbone with one head, on the same machine; in brackets "
        "the quartiles of the ratios of the pairs of calls, which came one after the other: "
        f"{first['calls']} of the smallest batches"
        + (f", {first['large_calls']} of the largest." if first["large_calls"] else "."),
        "A row for each architecture that a strategy's runs came to.",
        *(f"{named(name).header}: {named(name).formula}" for name in SIZES),
    ]
    return [
        Table(
            "latency", "What a prediction takes", heads, rows, pd.DataFrame(values),
            [*(Note(f"{reason}.", mark) for reason, mark in footnotes.items()), *map(Note, notes)],
        )
    ]  # fmt: skip


def _sizes(found: Any) -> str:
    """The sizes of batches in words; empty if there are none."""
    return ", ".join(str(size) for size in sorted({size for size in found if size}))


def _ratio(calls: Mapping[str, Any]) -> str:
    ratio, quartiles = costs.ratio_of(calls), costs.ratio_quartiles(calls)
    if ratio is None:
        return DASH
    return number(ratio, 3) + (f" ({number(quartiles[0], 3)} to {number(quartiles[1], 3)})" if quartiles else "")


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
            + [Cell(DASH if pd.isna(row[name]) else number(row[name], 2)) for name in times]
            + [Cell(row["images"] or DASH)]
        )
    heads = [
        Head("Strategy", number=False), Head("Machine", number=False), Head("Device", number=False), Head("Threads"),
        *(Head(text) for text in (*shown.values(), *large.values())),
        *(Head(text, "onnxruntime") for text in onnx.values()), Head("Images", number=False),
    ]  # fmt: skip
    values = listed[["strategy", *place, *times, "images", "architecture"]]
    notes = [
        *(Note(f"Not in onnxruntime: {fault}.", mark) for fault, mark in footnotes.items()),
        Note("A row for each architecture that a strategy's runs came to; latency.csv has versions, dates and faults."),
    ]
    return [Table("latency_by_machine", "Latency by machine", heads, rows, values, notes)]
