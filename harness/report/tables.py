"""The report's tables, as data that the page and the writers in render.py show alike."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from lorisbench.metrics.intervals import mean_interval
from lorisbench.metrics.metric import Metric
from lorisbench.metrics.table import METRICS, named
from lorisbench.report import per_experience
from lorisbench.report.further import further
from lorisbench.report.latency import latency, latency_by_machine, load_told, shared_interval
from lorisbench.report.standing import standing
from lorisbench.report.statistics import statistics
from lorisbench.report.stored import Stored
from lorisbench.report.summary import (
    COLUMNS,
    DASH,
    Summary,
    count_states,
    near_by_seeds,
    number,
    over_orders,
    why_empty,
)  # fmt: skip
from lorisbench.report.tabular import Cell, Column, Head, Note, Rule, Table, of_strategies

RUN_METRICS = {"accuracy_last": 2, "train_seconds": 1}
"""What the table of all runs shows for each run, with the number of decimals."""
PAPER = ("strategy", "accuracy_last", "accuracy_seen", "square", "forgetting_max", "latency_ratio", "state_mb")
"""The columns of the comparison that a paper shows."""
STATES = ("failed", "diverged", "running", "pending", "done")


def build(stored: Stored, summary: Summary) -> list[Table]:
    """All tables, in the page's order."""
    return [
        comparison(stored, summary),
        *statistics(stored, summary),
        *([compute(stored, summary)] if stored.runs["train_flops"].notna().any() else []),
        *([orders(stored)] if len(stored.orders) > 1 else []),
        per_experience.accuracy_last(stored, summary),
        per_experience.forgetting(stored, summary),
        *further(stored, summary),
        runs(stored),
        *latency(stored),
        *latency_by_machine(stored),
    ]


def comparison(stored: Stored, summary: Summary) -> Table:
    """A row for each strategy: every metric with its interval over seeds."""
    columns = []
    for column in COLUMNS:
        columns.append(
            Column(
                key=column.name,
                head=Head(column.column_header, column.group),
                better=column.better,
                interval=lambda label, key=column.name: shared_interval(stored, summary, label, key),  # type: ignore[misc]
                why=lambda label, key=column.name: why_empty(stored, label, key),  # type: ignore[misc]
                decimals=column.decimals,
                quiet=column.of_matrix is None,
                rule=_rule(column),
                near=_near(stored, column),
            )
        )
    definitions = [(f"{column.column_header}: {column.formula}", column.name) for column in COLUMNS]
    definitions += [(sentence, "latency_p50_ms") for sentence in load_told(stored)]
    return of_strategies("comparison", "Comparison of the strategies", stored, summary, columns, definitions, PAPER)


def _rule(metric: Metric) -> Rule:
    if metric.name == "accuracy_last":
        return "drawn"
    return "paired" if metric.group == "Accuracy (%)" else "exclusive"


def _near(stored: Stored, metric: Metric) -> Callable[[str], frozenset[str]] | None:
    """What of accuracies cannot be told apart."""
    if metric.name == "accuracy_last":
        return standing(stored).near
    return partial(near_by_seeds, stored, metric.name) if metric.group == "Accuracy (%)" else None


def compute(stored: Stored, summary: Summary) -> Table:
    """A row for each strategy: what training took and, if there is a budget, how much of it was used."""
    shown = [named("train_seconds"), *(metric for metric in METRICS if metric.group == "Compute")]
    budgets = {label: _budget(stored, label) for label in stored.labels}
    if not any(budgets.values()):
        shown.remove(named("budget_used"))
    largest = stored.runs["train_flops"].max() * 1e-9
    places = {"GFLOP": 2 - math.floor(math.log10(largest)) if 0 < largest < 1 else None}
    columns = [
        Column(
            key=metric.name,
            head=Head(metric.heading),
            better=metric.better,
            interval=lambda label, metric=metric: mean_interval(  # type: ignore[misc]
                stored.per_seed(label, metric.name) * metric.scale
            ),
            why=lambda label, key=metric.name: why_empty(stored, label, key),  # type: ignore[misc]
            decimals=places.get(metric.unit, metric.decimals),
            quiet=True,
        )
        for metric in shown
    ]
    notes = [(f"{metric.header}: {metric.formula}", metric.name) for metric in shown]
    for budget in dict.fromkeys(budgets.values()):
        if any(budgets.values()):
            those = ", ".join(label for label, own in budgets.items() if own == budget)
            notes.append((f"Budget of each experience, {those}: {budget or 'none, but epochs'}.", ""))
    backbone = stored.suite.get("backbone")
    if isinstance(backbone, dict) and backbone.get("train") == "first":
        of_budgets = " Budgets count it apart." if any(budgets.values()) else ""
        told = "Training, operations, samples, steps and memory include what it took to train the backbone first, which"
        notes.append((f"{told} all runs with this recipe share, as if each had done it alone.{of_budgets}", ""))
    return of_strategies("compute", "What training took", stored, summary, columns, notes)


def _budget(stored: Stored, label: str) -> str:
    """The budget of each experience of a strategy in words, empty if it has none."""
    given = [owner.get("training") for owner in (stored.suite, stored.settings.get(label, {}))]
    own = [training["budget"] for training in given if isinstance(training, dict) and "budget" in training][-1:]
    amounts = own[0].items() if own and isinstance(own[0], dict) else ()
    return ", ".join(f"{number(amount, 0)} {key}" for key, amount in amounts if isinstance(amount, int | float))


def orders(stored: Stored) -> Table:
    """Strategy × order: accuracy on the last row, and how much it depends on the order, apart from the seed."""
    numbers = stored.orders
    heads = [
        Head("Strategy", number=False, key="strategy", data=("strategy",)),
        Head("Mean", key="mean", data=("orders", "mean")),
        Head("Std", "over orders", key="std_over_orders", data=("std_over_orders",)),
        Head("Worst", "over orders", key="worst", data=("worst", "worst_order")),
        Head("Best", "over orders", key="best", data=("best", "best_order")),
        Head("Std", "over seeds", key="std_over_seeds", data=("std_over_seeds",)),
    ]
    keys = ["strategy", *(name for head in heads[1:] for name in head.data)]
    figures = ("mean", "ci95", "n")
    of_order = {order: tuple(f"order_{order}_{figure}" for figure in figures) for order in numbers}
    heads += [
        Head(f"order {order}", "mean over seeds", key=f"order_{order}", data=of_order[order]) for order in numbers
    ]
    rows, values = [], []
    for label in stored.labels:
        by = over_orders(stored, label)
        known = {order: interval for order, interval in by.intervals.items() if interval.n}
        cells = [_figure(figure, 1, 2) for figure in (by.mean, by.over_orders, by.worst, by.best, by.over_seeds)]
        for place, order in ((2, by.worst_order), (3, by.best_order)):
            if order is not None:
                cells[place] = replace(cells[place], text=f"{cells[place].text} (order {order})")
        shown = [by.intervals[order] for order in numbers]
        cells += [
            replace(
                _figure(each.mean, 1, 2),
                spread="" if np.isnan(each.half_width) else number(each.half_width, 2),
                half=each.half_width,
            )
            for each in shown
        ]
        rows.append([Cell(label), *cells])
        row = [
            label,
            len(known),
            by.mean,
            by.over_orders,
            by.worst,
            by.worst_order,
            by.best,
            by.best_order,
            by.over_seeds,
        ]
        values.append([*row, *(figure for each in shown for figure in (each.mean, each.half_width, each.n))])
    columns = [name for of in of_order.values() for name in of]
    notes = [
        "Accuracy on the last row (%). Mean: over the orders' means over seeds; ± is the 95 % Student-t interval over "
        "the seeds of one order.",
        "Over orders: the standard deviation of the orders' means (what the order of the experiences changes), and the "
        "lowest and the highest of them with their orders. Over seeds: the standard deviation over seeds within an "
        "order, pooled (root of the mean variance).",
        "Order 0 is the stream's own; the others are drawn by number, the same for all strategies and seeds.",
    ]
    caption = "How much the order of the experiences matters"
    return Table("orders", caption, heads, rows, pd.DataFrame(values, columns=[*keys, *columns]), [*map(Note, notes)])


def runs(stored: Stored) -> Table:
    """Every run with its state and reason; those that did not finish come first."""
    order = {state: rank for rank, state in enumerate(STATES)}
    label_order = {label: rank for rank, label in enumerate(stored.labels)}
    several = len(stored.orders) > 1
    listed = stored.runs.assign(
        _state=[order.get(state, 0) for state in stored.runs["status"]],
        _label=[label_order[label] for label in stored.runs["strategy"]],
    ).sort_values(["_state", *(["order"] if several else []), "_label", "seed"], kind="stable")
    shown = [(named(name), places) for name, places in RUN_METRICS.items()]
    rows = []
    for run in listed.to_dict("records"):
        reason = " ".join(str(run["reason"]).split())
        rows.append(
            [
                Cell(str(run["strategy"])),
                Cell(f"{int(run['order'])}, {int(run['seed'])}" if several else str(int(run["seed"]))),
                Cell(str(run["status"])),
                *(_figure(run[metric.name], metric.scale, places) for metric, places in shown),
                Cell(reason if len(reason) <= 400 else reason[:399] + "…"),
                Cell(str(run["run_id"])),
            ]
        )
    heads = [
        Head("Strategy", number=False, key="strategy", data=("strategy",)),
        Head("Order, seed" if several else "Seed", key="seed", data=("order", "seed") if several else ("seed",)),
        Head("Status", number=False, key="status", data=("status",)),
        *(Head(metric.heading, key=metric.name, data=(metric.name,)) for metric, _ in shown),
        Head("Reason", number=False, key="reason", data=("reason",)),
        Head("Run", number=False, key="run_id", data=("run_id",)),
    ]
    names = [metric.name for metric, _ in shown]
    values = listed[
        ["run_id", *(["order"] if several else []), "strategy", "seed", "status", "reason", *names, "undefined"]
    ].assign(**{metric.name: listed[metric.name] * metric.scale for metric, _ in shown})
    notes = [Note(f"{len(listed)} run{'s' * (len(listed) != 1)}: {count_states(listed['status'])}.")]
    paper = ("strategy", "seed", "status", *names)
    return Table("runs", "All runs", heads, rows, values, notes, list(listed["status"]), paper)


def _figure(value: float, scale: float, decimals: int) -> Cell:
    return Cell(DASH) if pd.isna(value) else Cell(number(value * scale, decimals), value=value * scale)
