"""Tables of accuracies beyond the comparison: further metrics, those beside joint training, and by kinds of images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lorisbench.metrics.intervals import Interval, mean_interval
from lorisbench.metrics.matrix import UndefinedMetricError
from lorisbench.metrics.metric import Metric
from lorisbench.metrics.table import METRICS
from lorisbench.report.standing import standing
from lorisbench.report.stored import Stored
from lorisbench.report.summary import Summary, near_by_seeds, why_empty
from lorisbench.report.tabular import Column, Head, Rule, Table, of_strategies

MOST = 40  # groups that a table has columns for
NO_JOINT = "no finished run of the same order and seed keeps all images of earlier experiences, as joint training does"
Values = Mapping[str, NDArray[np.float64]]


def further(stored: Stored, summary: Summary) -> list[Table]:
    """Those of the tables that there is something for."""
    return [*_metrics(stored, summary), *_by_kind(stored, summary)]


def _metrics(stored: Stored, summary: Summary) -> list[Table]:
    """The metrics of accuracies that are in results.csv but not in the comparison, and those beside joint training."""
    columns, notes = [], []
    for metric in METRICS:
        if metric.group != "Accuracy (%)" or metric.in_tables or not (metric.in_results or metric.beside_joint):
            continue
        values, why = beside_joint(stored, metric) if metric.beside_joint else _of_results(stored, metric.name)
        if not any(len(each) and np.isfinite(each).any() for each in values.values()):
            continue
        found = {label: mean_interval(each * metric.scale) for label, each in values.items()}
        near = None if metric.beside_joint else partial(near_by_seeds, stored, metric.name)
        rule: Rule = "overlapping" if metric.beside_joint else "paired"
        columns.append(
            Column(metric.name, Head(metric.heading), metric.better, found.__getitem__, why, 2, rule=rule, near=near)
        )
        notes.append((f"{metric.header}: {metric.formula}", metric.name))
    if not columns:
        return []
    return [of_strategies("further_metrics", "Further metrics of accuracies", stored, summary, columns, notes)]


def _of_results(stored: Stored, name: str) -> tuple[Values, Callable[[str], str]]:
    values = {label: stored.per_seed(label, name) for label in stored.labels}
    return values, lambda label: why_empty(stored, label, name)


def beside_joint(stored: Stored, metric: Metric) -> tuple[Values, Callable[[str], str]]:
    """A metric of each strategy's runs and of joint training's, a value for each seed, and why there is none.

    Joint training is known by what is stored: at the end it keeps all images of the experiences before the last.
    """
    assert metric.beside_joint is not None
    earlier = _images_before_last(stored)
    finished = stored.runs[stored.runs["status"] == "done"].iloc[::-1]  # of several, the first in the suite's order
    which = zip(*(finished[key] for key in ("order", "seed", "run_id", "replay_samples")), strict=True)
    joint = {
        (int(order), int(seed)): stored.matrices[run]
        for order, seed, run, kept in which
        if run in stored.matrices and kept == earlier.get(int(order)) and kept > 0
    }
    values, reasons = {}, {}
    for label in stored.labels:
        done = stored.done(label)
        by_seed: dict[int, list[float]] = {}
        reasons[label] = why_empty(stored, label, "") if done.empty else NO_JOINT
        for order, seed, run in zip(*(done[key] for key in ("order", "seed", "run_id")), strict=True):
            reference = joint.get((int(order), int(seed)))
            if reference is None or run not in stored.matrices:
                continue
            try:
                found = metric.beside_joint(stored.matrices[run], reference)
            except UndefinedMetricError as undefined:
                reasons[label] = str(undefined)
                continue
            by_seed.setdefault(int(seed), []).append(found)
        values[label] = np.array([np.mean(each) for each in by_seed.values()], dtype=np.float64)
    return values, reasons.__getitem__


def _images_before_last(stored: Stored) -> dict[int, int]:
    """By order, how many training images all experiences before the last have; empty if that is not stored."""
    if "train" not in stored.experiences or len(stored.experiences) != len(stored.own_names) or len(stored.names) < 2:
        return {}
    train = dict(zip(stored.experiences["experience"], stored.experiences["train"], strict=True))
    known = np.isfinite(list(train.values())).all() and train.keys() == set(range(len(stored.own_names)))
    if not known:  # of results from elsewhere, or a table that is damaged
        return {}
    whole = sum(train.values())
    return {order: int(whole - train[stored.permuted(order)[-1]]) for order in stored.orders}


def _by_kind(stored: Stored, summary: Summary) -> list[Table]:
    """Accuracy of the final model by factor, by level and by class, and means that weigh images differently."""
    found = standing(stored)
    about, right = found.answers.about, found.answers.right
    if about is None or not found.runs:
        return []
    groups = _groups(about)
    hits = {
        label: {run: right[id_].right for run, id_ in own.items() if id_ in right} for label, own in found.runs.items()
    }
    accuracies = {
        kind: {label: _accuracies(own, codes, len(names)) for label, own in hits.items()}
        for kind, (codes, names) in groups.items()
    }

    def of(kind: str, value: Callable[[NDArray[np.float64]], NDArray[np.float64]], label: str) -> Interval:
        own = accuracies[kind].get(label)
        return mean_interval([]) if own is None or not own.size else mean_interval(100 * value(own))

    def column(kind: str, key: str, head: Head, value: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Column:
        every = {label: of(kind, value, label) for label in stored.labels}
        return Column(key, head, "higher", every.__getitem__, lambda label: why_empty(stored, label, ""), 2,
                      rule="overlapping")  # fmt: skip

    columns = [column(kind, f"by_{kind}", Head(kind, "mean over"), lambda own: own.mean(axis=1)) for kind in groups]
    columns += [
        column(kind, f"worst_{kind}", Head(kind, "worst"), lambda own: own.min(axis=1))
        for kind, (_, names) in groups.items()
        if len(names) > 1 and kind != "image"
    ]
    note = (
        "Accuracy of the final model (%): the mean over all test images alike (image), which weighs test sets by their "
        "size, and means over test sets, factors, levels of factors, classes and recordings, each of which counts "
        "alike however many images it has; then the lowest of each in a run."
    )
    caption = "Accuracy as a mean over images, test sets, classes and more (%)"
    tables = [of_strategies("weights", caption, stored, summary, columns, [(note, "")])]
    for kind, caption in (("factor", "factor"), ("level", "factor and level"), ("class", "class")):
        names = groups.get(kind, (None, []))[1]
        if 1 < len(names) <= MOST:
            of_group = [
                column(kind, name, Head(name), lambda own, place=place: own[:, place])  # type: ignore[misc]
                for place, name in enumerate(names)
            ]
            title = f"Accuracy of the final model by {caption} (%)"
            told = [(f"Over all test images of a {caption}, whichever test set they are in.", "")]
            tables.append(of_strategies(f"accuracy_by_{kind}", title, stored, summary, of_group, told))
    return tables


def _groups(about: pd.DataFrame) -> dict[str, tuple[NDArray[np.int64], list[str]]]:
    """For each kind the group of each image, and the groups' names; kinds of which nothing is known are left out."""
    level = about["factor"] + " " + about["level"].astype(str)
    kinds = {
        "image": pd.Series("all", index=about.index), "test set": about["experience"].astype(str),
        "factor": about["factor"], "level": level.where(about["factor"] != "", ""), "class": about["class_name"],
        "recording": about["recording"],
    }  # fmt: skip
    found = {}
    for kind, names in kinds.items():
        if (names != "").all():
            codes, unique = names.factorize()
            found[kind] = codes.astype(np.int64), [str(name) for name in unique]
    return found


def _accuracies(
    right: Mapping[tuple[int, int], NDArray[np.bool_]], codes: NDArray[np.int64], size: int
) -> NDArray[np.float64]:
    """Accuracy on each group, (seeds, groups), the mean over orders of each seed."""
    images = np.bincount(codes, minlength=size)
    by_seed: dict[int, list[NDArray[np.float64]]] = {}
    for (_, seed), own in sorted(right.items()):
        by_seed.setdefault(seed, []).append(np.bincount(codes, weights=own, minlength=size) / images)
    return np.array([np.mean(each, axis=0) for each in by_seed.values()]).reshape(len(by_seed), size)
