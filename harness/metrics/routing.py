"""How often a model with several heads chooses the right one: a function of two tables that its strategy keeps."""

from __future__ import annotations

from collections.abc import Iterable

from lorisbench.metrics.costs import RunRecord
from lorisbench.metrics.matrix import UndefinedMetricError

TABLES = {
    "decisions": ("experience", "head"),
    "answers": ("after_experience", "test_experience", "head", "share"),
}
"""The tables, by name, and the columns of them that count."""


def routing_accuracy(run: RunRecord) -> float | None:
    """Mean over the experiences trained of the share of their test images that their own head answers, at the end.

    The own head of an experience is the one that it trained, by `decisions`; `answers` has the shares of all heads.
    Images that no head answers count as answered by another one. None if nothing was trained yet.

    Raises
    ------
    UndefinedMetricError : there is one head, no or a damaged table, or no share of an experience.
    """
    if not run.entries:
        return None
    if run.entries[-1].get("heads", 1) < 2:
        raise UndefinedMetricError("there is one head")
    missing = [f"{name}.csv" for name in TABLES if not run.tables.get(name)]
    if missing:
        raise UndefinedMetricError(f"which head answers is not told: no readable {' and no '.join(missing)}")
    try:
        own = {int(experience): int(head) for experience, head in run.tables["decisions"]}
        shares = list(_shares(run.tables["answers"]))
    except ValueError as error:
        raise UndefinedMetricError("decisions.csv or answers.csv has a number that cannot be right") from error
    last = max(after for after, *_ in shares)
    at_end = {(test, head): share for after, test, head, share in shares if after == last}
    tested = {test for test, _ in at_end}
    trained = [experience for experience in sorted(own) if experience <= last]
    if lacking := [str(experience) for experience in trained if experience not in tested]:
        raise UndefinedMetricError(f"answers.csv has no share of experience {', '.join(lacking)}")
    return sum(at_end.get((test, own[test]), 0.0) for test in trained) / len(trained)


def _shares(rows: Iterable[tuple[str, ...]]) -> Iterable[tuple[int, int, int, float]]:
    """after_experience, test_experience, head and share of each row."""
    for after, test, head, text in rows:
        share = float(text)
        if not 0 <= share <= 1:
            raise ValueError(text)
        yield int(after), int(test), int(head), share
