"""Which strategies a plot tells apart, where there are more than a reader can."""

import numpy as np

from lorisbench.report.stored import Stored
from lorisbench.report.summary import Summary, replay

MOST = 8


def chosen(stored: Stored, means: Summary) -> list[str]:
    """All strategies if they are eight at most; else the eight that matter, in the suite's order.

    Those are the ones that the report is about, the best, the best that keeps no images, the two next ones, the worst,
    and of the others some that lie apart from each other.
    """
    if len(stored.labels) <= MOST:
        return stored.labels
    known = [label for label in stored.labels if np.isfinite(means[label]["accuracy_last"].mean)]
    ranked = sorted(known, key=lambda label: -means[label]["accuracy_last"].mean)
    fair = [label for label in ranked if not stored.remarks(label)] or ranked
    free = [label for label in fair if not replay(means, label)]
    wanted = dict.fromkeys([*stored.about[: MOST // 2], *fair[:1], *free[:1], *fair[1:3], *ranked[-1:]])
    rest = [label for label in ranked if label not in wanted]
    more = min(MOST - len(wanted), len(rest))
    wanted |= dict.fromkeys(rest[(2 * k + 1) * len(rest) // (2 * more)] for k in range(more))
    return [label for label in stored.labels if label in wanted]


def told(theme_chosen: list[str], labels: list[str]) -> str:
    """A sentence on which strategies are grey; empty if none is."""
    rest = len(labels) - sum(label in theme_chosen for label in labels)
    if not rest:
        return ""
    return f" In grey, without names, the {rest} other strategies; the CSV file has their figures."
