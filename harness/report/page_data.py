"""What the page works on: each stream's runs, figures, matrices and tables, in a form that JSON can hold."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from lorisbench.metrics.elsewhere import read_combined
from lorisbench.metrics.records import AS_SEED
from lorisbench.metrics.table import METRICS, Metric, in_results
from lorisbench.report import kept
from lorisbench.report.facts import Facts
from lorisbench.report.kept import Kept
from lorisbench.report.latency import OF_CALLS, measured
from lorisbench.report.standing import standing
from lorisbench.report.stored import Stored
from lorisbench.report.style import COLOURS
from lorisbench.report.summary import COLUMNS, Summary, parse_undefined, replay
from lorisbench.report.tables import RUN_METRICS
from lorisbench.report.tabular import Table
from lorisbench.suite.orders import permutation

UNIT = 60_000
"""Accuracies are whole parts of this: those of 96, 100, 120, 500 or 10,000 images are exact. 65535 is unknown."""
UNKNOWN = 65_535
MOST_CELLS = 600_000
"""Cells of all matrices on the page; where there are more, it has the means over the runs of each strategy."""
RECOMPUTED = {"comparison", "compute", "orders", "accuracy_last_per_experience", "forgetting_per_experience", "runs"}
"""Tables that the page makes of the runs that are chosen; it shows the others as they are."""
Json = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """All that the page shows of one stream. `findings`: its first sentences. `heads`: see `gallery.of`. `omitted`: why
    something is not shown. `folder`: of its files, below the report's."""

    stored: Stored
    summary: Summary
    tables: Sequence[Table]
    kept: Sequence[Kept]
    kept_tables: Sequence[Table]
    facts: Facts
    findings: Sequence[str]
    heads: Json
    plots: Sequence[Json]
    omitted: Sequence[str]
    folder: str


@dataclass(frozen=True)
class Together:
    """What is shown of several streams together: the table of ranks, and the plots that were written."""

    ranking: Table
    plots: Sequence[Json]


def of_parts(parts: Sequence[Part], together: Together | None = None) -> Json:
    """Everything, for `dumps`."""
    seeds = max(part.stored.runs["seed"].nunique() for part in parts)
    return {
        "metrics": [_metric(metric) for metric in METRICS if metric.in_results],
        "lead": [metric.name for metric in COLUMNS],
        "of_runs": list(RUN_METRICS),
        "colours": list(COLOURS),
        "quantiles": [float(stdtrit(freedom, 0.975)) for freedom in range(1, max(seeds, 2))],
        "as_seed": AS_SEED,
        "unit": UNIT,
        # Several outputs that are shown as one are not a suite that could be run
        "is_suite": read_combined(parts[0].stored.out) is None,
        "together": together
        and {
            "notes": [note.text for note in together.ranking.notes if note.text.startswith("Friedman")],
            "plots": together.plots,
            "near": [row[0].text for row in together.ranking.rows if row[1].underlined],
        },
        "streams": [_stream(part, sum(len(each.stored.matrices) for each in parts)) for part in parts],
    }


def dumps(content: Json) -> str:
    """JSON that may stand in a page's script element: no character in it ends the element or a line of JavaScript."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _metric(metric: Metric) -> Json:
    return {
        "name": metric.name, "header": metric.header, "heading": metric.heading, "column": metric.column_header,
        "unit": metric.unit, "better": metric.better, "formula": metric.formula, "source": metric.source,
        "group": metric.group, "scale": metric.scale, "decimals": metric.decimals, "leads": metric.leads,
        "in_tables": metric.in_tables, "of_matrix": metric.of_matrix is not None, "reason_of": metric.reason_of,
    }  # fmt: skip


def _stream(part: Part, matrices: int) -> Json:
    stored = part.stored
    size = len(stored.own_names)
    runs, texts = stored.runs, Texts()
    labels = stored.labels
    at = {label: place for place, label in enumerate(labels)}
    reasons = [texts.place(str(reason)) for reason in runs["reason"]]
    undefined: dict[str, int] = {}
    told = [undefined.setdefault(str(text), len(undefined)) for text in runs["undefined"]]
    orders = [_whole(order) for order in runs["order"]] if "order" in runs else [0] * len(runs)
    return {
        "name": str(runs["stream"].iloc[0]),
        "suite": str(stored.suite.get("name") or ""),
        "folder": part.folder,
        "experiences": stored.own_names,
        "factors": _factors(stored, size),
        "orders": {str(order): permutation(order, size) for order in stored.orders} if size else {},
        "labels": labels,
        "about": stored.about,
        "remarks": {label: stored.remarks(label) for label in labels if stored.remarks(label)},
        "images_kept": {label: replay(part.summary, label) for label in labels if replay(part.summary, label)},
        "settings": {label: _plain(settings) for label, settings in stored.settings.items()},
        "runs": {
            "id": list(runs["run_id"]),
            "strategy": [at[label] for label in runs["strategy"]],
            "order": orders,
            "seed": [_whole(seed) for seed in runs["seed"]],
            "status": list(runs["status"]),
            "reason": reasons,
            "undefined": told,
            "folder": [(stored.out / "runs" / str(run) / "status.json").is_file() for run in runs["run_id"]],
        },
        "values": {metric.name: _numbers(runs[metric.name]) for metric in in_results() if metric.name in runs},
        "measured": {key: _measured(stored, key) for key in OF_CALLS},
        "texts": texts.all,
        "undefined": [parse_undefined(text) for text in undefined],
        **_matrices(stored, size, matrices),
        "tables": [_table(table) for table in part.tables if table.name not in RECOMPUTED],
        "notes": {table.name: _unmarked(table) for table in part.tables if table.name in RECOMPUTED},
        "near": {table.name: _near(table) for table in part.tables if table.name in RECOMPUTED},
        "standing": _standing(stored),
        "files": [table.name for table in (*part.tables, *part.kept_tables)],
        "plots": list(part.plots),
        "kept": _kept(part),
        "heads": part.heads,
    }


def _measured(stored: Stored, key: str) -> list[list[Any] | None]:
    """For each run the run that it was timed on, and half the width of that measurement's interval; None: not timed."""
    found = measured(stored, key, stored.runs["run_id"])
    return [[found[run][0], round_to(found[run][1])] if run in found else None for run in stored.runs["run_id"]]


class Texts:
    """Texts that occur often, each once."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    def place(self, text: str) -> int:
        return self._places.setdefault(text, len(self._places))

    @property
    def all(self) -> list[str]:
        return list(self._places)


def _factors(stored: Stored, size: int) -> list[str]:
    """The factor of each experience, empty where none is stored."""
    table = stored.experiences
    if not {"experience", "factor"} <= set(table.columns):
        return [""] * size
    found = dict(zip(table["experience"], table["factor"], strict=True))
    return [str(found.get(place, "") or "") for place in range(size)]


def _matrices(stored: Stored, size: int, of_all: int) -> Json:
    """The accuracy matrices of the finished runs, one after another, row by row; `of`: the place of each one's run.

    If they are too many, one for each strategy and order, the mean over its seeds, and `means` says so.
    """
    finished = stored.runs["status"] == "done"
    done = [
        (place, run) for place, run in enumerate(stored.runs["run_id"]) if finished[place] and run in stored.matrices
    ]
    found = [(place, stored.matrices[run]) for place, run in done]
    means = of_all * size * size > MOST_CELLS
    if means and found:
        kinds = (
            stored.runs[["strategy", *(["order"] if "order" in stored.runs else [])]].astype(str).agg(" ".join, axis=1)
        )
        groups: dict[str, list[tuple[int, Any]]] = {}
        for place, matrix in found:
            groups.setdefault(kinds[place], []).append((place, matrix))
        found = [(own[0][0], np.mean([matrix for _, matrix in own], axis=0)) for own in groups.values()]
    stack = np.array([matrix for _, matrix in found]).reshape(len(found), size, size)
    whole = np.where(np.isfinite(stack), np.round(np.clip(np.nan_to_num(stack), 0, 1) * UNIT), UNKNOWN)
    return {
        "matrices": base64.b64encode(whole.astype("<u2").tobytes()).decode("ascii"),
        "of": [place for place, _ in found],
        "means": means,
    }


def _standing(stored: Stored) -> Json:
    """What the ranked picture shows of the last row as long as all runs are chosen."""
    found = standing(stored)
    return {
        "estimates": {
            label: [round_to(end) for end in (each.mean, *each.together)] for label, each in found.estimates.items()
        },
        "groups": [list(group) for group in found.groups],
        "over": list(found.over),
        "caveats": list(found.caveats),
    }


def _near(table: Table) -> dict[str, list[int]]:
    """For each strategy the columns of a table, from 0, in which it cannot be told from the best."""
    places = {str(row[0].text): [place for place, cell in enumerate(row[2:]) if cell.underlined] for row in table.rows}
    return {label: found for label, found in places.items() if found}


def _table(table: Table) -> Json:
    return {
        "name": table.name,
        "caption": table.caption,
        "heads": [{"text": head.text, "group": head.group, "number": head.number} for head in table.heads],
        "rows": [[_cell(cell) for cell in row] for row in table.rows],
        "notes": [[note.mark, note.text] for note in table.notes],
    }


def _cell(cell: Any) -> str | list[Any]:
    """A cell's text, or if there is more to it also the half-width of its interval, whether it is best, its mark,
    and whether it cannot be told from the best."""
    if not (cell.spread or cell.bold or cell.mark or cell.underlined):
        return str(cell.text)
    return [cell.text, cell.spread, cell.bold, cell.mark, cell.underlined]


def _unmarked(table: Table) -> list[str]:
    return [note.text for note in table.notes if not note.mark]


def _kept(part: Part) -> list[Json]:
    """The tables that strategies kept, with their runs' files, and as lines where a plot was asked for."""
    shown = {each.file: each for each in part.kept}
    found = []
    for table in part.kept_tables:
        own = shown[table.name]
        plot = {} if not own.hint or list(kept.plotted(own)) else {"hint": own.hint, "lines": _lines(kept.values(own))}
        found.append(_table(table) | {"links": kept.links(own)} | plot)
    return found


def _lines(values: Mapping[str, Any]) -> list[list[Any]]:
    """[strategy, line, x, mean, lowest, highest, runs] of each point."""
    points = []
    for label, lines in values.items():
        for line, runs in lines.items():
            for x in dict.fromkeys(x for run in runs for x in run):
                found = [run[x] for run in runs if x in run]
                points.append([label, line, x, float(np.mean(found)), min(found), max(found), len(found)])
    return points


def _numbers(column: Iterable[float]) -> list[float | None]:
    return [round_to(value) for value in np.asarray(column, dtype=float).tolist()]


def round_to(value: float, digits: int = 12) -> float | None:
    """A number with as many digits as anyone shows; None for one that is unknown."""
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None


def _whole(value: Any) -> int:
    return 0 if pd.isna(value) else int(value)


def _plain(value: Any) -> Any:
    """Settings as JSON has them: what is neither text, number, list nor mapping as text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
