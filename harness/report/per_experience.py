"""The report's tables of strategy × experience: accuracy after the last experience, and what was forgotten."""

from collections.abc import Callable
from typing import Literal

import numpy as np

from lorisbench.metrics.intervals import mean_interval
from lorisbench.metrics.matrix import forgetting_max_by_experience
from lorisbench.report.stored import Matrix, Stored
from lorisbench.report.summary import Summary, why_empty
from lorisbench.report.tabular import Column, Head, Table, of_strategies
from lorisbench.suite.orders import permutation


def accuracy_last(stored: Stored, summary: Summary) -> Table:
    """Strategy × experience: the last row of the accuracy matrix."""
    return _per_experience(
        stored,
        summary,
        "accuracy_last_per_experience",
        "Accuracy on each experience after the last (%)",
        lambda matrix: matrix[-1],
        len(stored.names),
        "higher",
        "Accuracy: R[T−1, j], on experience j's test images after training on all experiences.",
    )


def forgetting(stored: Stored, summary: Summary) -> Table:
    """Strategy × experience: what was lost between the best row and the last."""
    return _per_experience(
        stored,
        summary,
        "forgetting_per_experience",
        "Forgetting on each experience (percentage points)",
        forgetting_max_by_experience,
        len(stored.names) - 1,
        "lower",
        "Forgetting: (max of R[i, j] over j ≤ i < T−1) − R[T−1, j] (Chaudhry et al. 2018); lower is better. "
        "The last experience cannot be forgotten and has no column.",
    )


def _per_experience(
    stored: Stored,
    summary: Summary,
    name: str,
    caption: str,
    values_of: Callable[[Matrix], Matrix],
    size: int,
    better: Literal["higher", "lower"],
    definition: str,
) -> Table:
    size, names = max(size, 0), stored.names
    if len(stored.orders) > 1:  # each experience by its own number, wherever it comes
        names = stored.own_names
        values = {label: 100 * _by_experience(stored, label, values_of) for label in stored.labels}
        size = len(names)
    else:
        stacks = {label: stored.stack(label) for label in stored.labels}
        values = {
            label: 100 * np.array([values_of(matrix) for matrix in stack]).reshape(len(stack), size)
            for label, stack in stacks.items()
        }

    def why(label: str) -> str:
        if len(values[label]):
            return "not measured"
        return why_empty(stored, label, "") if stored.done(label).empty else "no accuracy matrix is stored"

    columns = []
    for j, experience in enumerate(names[:size]):
        found = {label: mean_interval(values[label][:, j]) for label in stored.labels}
        columns.append(Column(experience, Head(experience), better, found.__getitem__, why, rule="overlapping"))
    return of_strategies(name, caption, stored, summary, columns, [(definition, "")])


def _by_experience(stored: Stored, label: str, values_of: Callable[[Matrix], Matrix]) -> Matrix:
    """What `values_of` says of each position in the order, by experience: (seeds, T), means over the orders.

    NaN for an experience that has no value in any order.
    """
    size = len(stored.own_names)
    found: dict[int, list[Matrix]] = {}
    done = stored.done(label)
    for run, order, seed in zip(*(done[key] for key in ("run_id", "order", "seed")), strict=True):
        if run in stored.matrices:
            row = np.full(size, np.nan)
            values = values_of(stored.matrices[run])
            row[permutation(int(order), size)[: len(values)]] = values
            found.setdefault(int(seed), []).append(row)
    rows = []
    for seed in sorted(found):
        stack = np.stack(found[seed])
        count = np.isfinite(stack).sum(axis=0)
        rows.append(np.where(count > 0, np.nansum(stack, axis=0) / np.maximum(count, 1), np.nan))
    return np.array(rows).reshape(len(rows), size)
