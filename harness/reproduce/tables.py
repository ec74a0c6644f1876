"""Tables that put a paper's published numbers beside what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from lorisbench.metrics.table import of_matrices
from lorisbench.report.stored import Stored
from lorisbench.report.summary import DASH, number
from lorisbench.report.tabular import Cell, Head, Note, Table
from lorisbench.reproduce.claims import (
    DIFFERS,
    MARKS,
    RULE,
    Claim,
    Ground,
    Measured,
    by_seed,
    claim,
    ground_of,
    over_seeds,
)
from lorisbench.reproduce.published import Number, Published, PublishedMatrix, PublishedTable

HEADERS = {metric.name: metric.spelt_out or metric.header for metric in of_matrices()}
WIDE = 4  # metrics that fit side by side
SPREAD = "Measured: mean ± sample standard deviation over seeds, in per cent (differences in points)."


def build(published: Published, found: Mapping[str, Stored]) -> list[Table]:
    """All tables of the parts that have results.

    `found` maps a part's name to what was read from its output folder.
    """
    tables = [
        _of_methods(name, published, table, found[table.part])
        for name, table in published.tables.items()
        if table.part in found
    ]
    tables += [
        _of_cells(name, published, matrix, found[matrix.part])
        for name, matrix in published.matrices.items()
        if matrix.part in found
    ]
    return [*tables, order(published, found)] if found else tables


def _of_methods(name: str, published: Published, table: PublishedTable, stored: Stored) -> Table:
    """A row per method with a status mark for each metric; or a row per claim if there are one or many metrics."""
    ground = ground_of(stored, published.parts[table.part])
    claims: dict[str, dict[str, Claim]] = {}
    for method in table.rows:
        label = published.methods[method]
        claims[method] = {
            metric: claim(
                table.get(method, metric),
                over_seeds(by_seed(stored, label, metric).values()),
                ground,
                label is not None,
            )
            for metric in table.metrics
        }
    wide = 1 < len(table.metrics) <= WIDE
    heads, rows = _wide(table.metrics, claims) if wide else _long(table.metrics, claims)
    values = [
        {"part": table.part, "method": method, "metric": metric, **found.values(), "data": _data(ground)}
        for method, of_method in claims.items()
        for metric, found in of_method.items()
    ]
    every = [found for of_method in claims.values() for found in of_method.values()]
    differing = [m for m, of_method in claims.items() if any(found.status == DIFFERS for found in of_method.values())]
    remarks = {method: table.remarks[method] for method in differing if method in table.remarks}
    frame = pd.DataFrame(values)
    if table.remarks:
        frame["remark"] = frame.method.map(remarks).where(frame.status == DIFFERS)
    notes = [*_notes(table, ground, every, wide), *(Note(f"{method}: {why}") for method, why in remarks.items())]
    return Table(name, _caption(f"{table.caption} (%)", ground), heads, rows, frame, notes)


def _wide(metrics: list[str], claims: dict[str, dict[str, Claim]]) -> tuple[list[Head], list[list[Cell]]]:
    heads = [Head("Method", number=False)]
    for metric in metrics:
        heads += [Head("Published", HEADERS[metric]), Head("Measured", HEADERS[metric])]
    rows = []
    for method, found in claims.items():
        pairs = [cell for each in found.values() for cell in (_published(each), _measured(each))]
        rows.append([Cell(method), *pairs, _seeds(list(found.values()))])
    return [*heads, Head("Seeds")], rows


def _long(metrics: list[str], claims: dict[str, dict[str, Claim]]) -> tuple[list[Head], list[list[Cell]]]:
    named = len(metrics) > 1
    heads = [Head("Method", number=False), *([Head("Metric", number=False)] if named else [])]
    heads += [Head(text) for text in ("Published", "Measured", "Seeds", "Difference", "Tolerance")]
    rows = []
    for method, found in claims.items():
        for metric, each in found.items():
            first = [Cell(method), *([Cell(HEADERS[metric])] if named else [])]
            points = [Cell(_signed(each.difference)), Cell(_decimal(each.tolerance))]
            rows.append([*first, _published(each), _plain(each.measured), _seeds([each]), *points, Cell(each.status)])
    return [*heads, Head("Status", number=False)], rows


def _seeds(claims: list[Claim]) -> Cell:
    return Cell(str(max(each.measured.n for each in claims)))


def _of_cells(name: str, published: Published, matrix: PublishedMatrix, stored: Stored) -> Table:
    """Two rows per experience, published and measured; the future is measured too, though nobody published it."""
    ground = ground_of(stored, published.parts[matrix.part])
    stack = stored.stack(published.methods[matrix.method] or "")
    size = len(matrix.cells)
    rows: list[list[Cell]] = []
    values: list[dict[str, Any]] = []
    every: list[Claim] = []
    for i in range(size):
        found = [claim(matrix.get(i, j), _cell(stack, i, j), ground) for j in range(size)]
        seen = stack[:, i, : i + 1].mean(axis=1) if i < stack.shape[1] else []
        found.append(claim(matrix.average(i), over_seeds(seen), ground))
        rows.append([Cell(str(i)), Cell("published"), *(_published(each) for each in found)])
        rows.append([Cell(""), Cell("measured"), *(_measured(each) for each in found)])
        for j, each in enumerate(found):
            test = "average" if j == size else j
            values.append({"after": i, "test": test, **each.values(), "data": _data(ground)})
        every += found
    heads = [Head("After"), Head("", number=False), *(Head(str(j), "Test on") for j in range(size)), Head("Average")]
    notes = _notes(matrix, ground, every)
    average = f"Average: mean over the experiences trained so far; published: {matrix.averages_note}."
    uncertain = f"Its uncertainty is taken as {matrix.averages_uncertainty * matrix.scale:g} points."
    notes.insert(1, Note(f"{average} {uncertain}"))
    if stack.shape[1] != size:
        notes.insert(
            1, Note(f"The measured matrix is {stack.shape[1]} × {stack.shape[1]}, the published {size} × {size}.")
        )
    return Table(name, _caption(f"{matrix.caption} (%)", ground), heads, rows, pd.DataFrame(values), notes)


def _cell(stack: np.ndarray, i: int, j: int) -> Measured:
    inside = max(i, j) < stack.shape[1]
    return over_seeds(stack[:, i, j] if inside else [])


def order(published: Published, found: Mapping[str, Stored]) -> Table:
    """The methods of each part from the lowest published value up, and whether the measured order is the same.

    A step is the difference from the method above, paired by seed for the measured values.
    """
    metric = published.order_by
    rows: list[list[Cell]] = []
    values: list[dict[str, Any]] = []
    notes, heads_of_ground = [], []
    for part, stored in found.items():
        ranked = _ranked(published, part, stored)
        if not ranked:
            continue
        ground = ground_of(stored, published.parts[part])
        heads_of_ground.append(ground.head)
        tau = _kendall([value.value for _, value, _ in ranked], [over_seeds(by.values()).mean for *_, by in ranked])
        said = "undefined (fewer than two methods, or all equal)" if np.isnan(tau) else number(tau, 2)
        notes.append(Note(f"{part}: Kendall's tau of published and measured order {said}, {len(ranked)} methods."))
        ranks = pd.Series([over_seeds(by.values()).mean for *_, by in ranked]).rank(method="min", ascending=False)
        above: tuple[float, dict[int, float]] | None = None
        for place, (method, value, by) in enumerate(ranked):
            mean = over_seeds(by.values())
            seeds = sorted(by.keys() & above[1].keys()) if above else []
            step = over_seeds([by[s] - above[1][s] for s in seeds] if above else [])
            wanted = value.value - above[0] if above else np.nan
            verdict = _verdict(wanted, step)
            rows.append(
                [
                    Cell(part),
                    Cell(method),
                    Cell(number(value.value, 2)),
                    _plain(mean),
                    Cell(f"{len(ranked) - place}"),
                    Cell(DASH if np.isnan(ranks[place]) else f"{ranks[place]:.0f}"),
                    Cell(_signed(wanted)),
                    Cell(_signed(step.mean), "" if np.isnan(step.std) else number(step.std, 2)),
                    Cell(verdict),
                ]
            )
            values.append(
                {"part": part, "method": method, "published": value.value, "measured": mean.mean,
                 "measured_std": mean.std, "seeds": mean.n, "published_rank": len(ranked) - place,
                 "measured_rank": ranks[place], "published_step": wanted, "measured_step": step.mean,
                 "measured_step_std": step.std, "step_verdict": verdict, "kendall_tau": tau, "data": _data(ground)}
            )  # fmt: skip
            above = value.value, by
    texts = ("Published", "Measured", "Rank, published", "Rank, measured", "Step, published", "Step, measured")
    heads = [Head("Part", number=False), Head("Method", number=False), *map(Head, texts), Head("Verdict", number=False)]
    notes += [
        Note(SPREAD),
        Note(
            "Step: difference to the method in the line above, measured ones paired by seed (mean ± standard "
            "deviation). Within the spread: the mean step is no larger than the standard deviation of the steps, so "
            "that it tells no order; with one seed there is no spread to compare with."
        ),
    ]
    caption = f"Order of the methods by {HEADERS[metric].lower()} (%)"
    heads_said = ". ".join(dict.fromkeys(text for text in heads_of_ground if text))
    return Table(
        "order", f"{caption}. {heads_said}" if heads_said else caption, heads, rows, pd.DataFrame(values), notes
    )


def _ranked(published: Published, part: str, stored: Stored) -> list[tuple[str, Number, dict[int, float]]]:
    """Methods with a published and a measured value, from the lowest published up."""
    ranked = []
    for table in published.tables.values():
        for method in table.rows if table.part == part else []:
            value = table.get(method, published.order_by)
            by = by_seed(stored, published.methods[method], published.order_by)
            if value is not None and by:
                ranked.append((method, value, by))
    return sorted(ranked, key=lambda entry: entry[1].value)


def _kendall(first: list[float], second: list[float]) -> float:
    """Kendall's τ-b; NaN if either side has no order."""
    from scipy.stats import kendalltau

    if len(first) < 2 or len(set(first)) < 2 or len(set(second)) < 2:
        return float("nan")
    return float(kendalltau(first, second).statistic)


def _verdict(published: float, step: Measured) -> str:
    if np.isnan(published) or not step.n:
        return ""
    if published == 0:
        return "published as equal"
    way = "same way" if np.sign(step.mean) == np.sign(published) else "other way"
    if np.isnan(step.std):
        return f"{way}, spread unknown"
    return f"{way}, beyond the spread" if abs(step.mean) > step.std else "within the spread"


def _caption(caption: str, ground: Ground) -> str:
    return f"{caption}. {ground.head}" if ground.head else caption


def _data(ground: Ground) -> str:
    return f"{ground.data} (synthetic, not {ground.wanted or 'OpenLORIS'})" if ground.synthetic else ground.data


def _notes(
    origin: PublishedTable | PublishedMatrix, ground: Ground, claims: list[Claim], marked: bool = True
) -> list[Note]:
    """Source, rule and, if there are marks, the meaning of each one used."""
    why = f" ({origin.uncertainty_note})" if origin.uncertainty_note else ""
    off = f"± {origin.uncertainty * origin.scale:g} points{why}"
    notes = [Note(f"Published: {origin.source}; {origin.how}, {off}."), Note(SPREAD)]
    if not (ground.synthetic or ground.faults or ground.wanted):
        notes.append(Note(RULE))
    return [*notes, *(_marks(claims) if marked else [])]


def _marks(claims: list[Claim]) -> list[Note]:
    there = {each.status for each in claims}
    return [Note(f"{status}.", mark) for status, mark in MARKS.items() if status in there]


def _published(found: Claim) -> Cell:
    if found.published is None:
        return Cell(DASH)
    std = found.published.std
    return Cell(number(found.published.value, 2), "" if std is None else number(std, 2))


def _measured(found: Claim) -> Cell:
    plain = _plain(found.measured)
    return Cell(plain.text, plain.spread, mark=MARKS[found.status])


def _plain(measured: Measured) -> Cell:
    if not measured.n:
        return Cell(DASH)
    return Cell(number(measured.mean, 2), "" if np.isnan(measured.std) else number(measured.std, 2))


def _decimal(value: float) -> str:
    return DASH if np.isnan(value) else number(value, 2)


def _signed(value: float) -> str:
    return DASH if np.isnan(value) else ("+" if round(value, 2) > 0 else "") + number(value, 2)
