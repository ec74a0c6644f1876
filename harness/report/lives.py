"""The lives of a dynamic network's heads, as runs kept them: when each was born, from which, where it was trained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lorisbench.report.stored import Matrix


@dataclass(frozen=True)
class Lane:
    """A head: the experience it was made for, the head it was copied from (None: fresh), those it was distilled on."""

    head: int
    birth: int
    source: int | None
    distilled: tuple[int, ...]


@dataclass(frozen=True)
class Timeline:
    """What is drawn of one run with H heads and T experiences.

    `gaps` (H, T): accuracy of each head on an experience's training images before training on it; `known` (T,): share
    of them that the distilled head knew; both in 0..1, NaN where not measured. `shares` (H, T): share of an
    experience's test images that each head answers after the experience `after`, or None if that is not stored; with
    one more row, the last, if some are answered by no head.
    """

    lanes: list[Lane]
    gaps: Matrix
    known: Matrix
    shares: Matrix | None
    after: int | None


def structure(decisions: pd.DataFrame, answers: pd.DataFrame | None, experiences: int) -> Timeline | None:
    """A run's decisions.csv and answers.csv as lanes and matrices; None if the former has no usable line.

    A head whose creation is not recorded has no lane. Older files have no `source`; a new head's `teacher` is used
    instead.
    """
    needed = ["experience", "verdict", "head"]
    if not set(needed) <= set(decisions.columns):
        return None
    table = decisions.dropna(subset=needed).sort_values("experience", kind="stable")
    columns = experiences or len(table)
    # At most one head is made for each experience: other indices mean damage, and could make a picture of any size
    table = table[table["experience"].between(0, columns - 1) & table["head"].between(0, columns - 1)]
    if table.empty:
        return None
    heads = int(table["head"].max()) + 1
    births: dict[int, tuple[int, int | None]] = {}
    distilled: dict[int, list[int]] = {}
    gaps, known = np.full((heads, columns), np.nan), np.full(columns, np.nan)
    for record in table.to_dict("records"):
        step, head = int(record["experience"]), int(record["head"])
        for other in range(heads):
            gaps[other, step] = record.get(f"gap_{other}", np.nan)
        if record["verdict"] == "distill":
            distilled.setdefault(head, []).append(step)
            if record.get("samples", 0) > 0:
                known[step] = record.get("known", np.nan) / record["samples"]
        elif record["verdict"] in ("base", "expand"):
            source = record.get("source" if "source" in table else "teacher", np.nan)
            births.setdefault(head, (step, None if pd.isna(source) else int(source)))
    lanes = [Lane(head, *births[head], tuple(distilled.get(head, ()))) for head in sorted(births)]
    shares, after = _shares(answers, heads, columns)
    return Timeline(lanes, gaps, known, shares, after)


def _shares(answers: pd.DataFrame | None, heads: int, columns: int) -> tuple[Matrix | None, int | None]:
    needed = ["after_experience", "test_experience", "head", "share"]
    if answers is None or not set(needed) <= set(answers.columns):
        return None, None
    answers = answers.dropna(subset=needed)
    answers = answers[answers["head"].between(-1, heads - 1) & answers["test_experience"].between(0, columns - 1)]
    if answers.empty:
        return None, None
    after = int(answers["after_experience"].max())
    last = answers[answers["after_experience"] == after]
    shares = np.zeros((heads + int((last["head"] < 0).any()), columns))  # -1 is the last row as well
    shares[last["head"].to_numpy(dtype=int), last["test_experience"].to_numpy(dtype=int)] = last["share"]
    shares[:, shares.sum(axis=0) == 0] = np.nan  # not tested on
    return shares, after
