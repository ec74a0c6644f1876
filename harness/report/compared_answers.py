"""Whether two outputs' answers to the same test images tell their strategies apart, beyond the seeds alone."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from lorisbench.metrics.bootstrap import Bootstrap, Run, strata_of
from lorisbench.metrics.paired import holm
from lorisbench.report.answered import Answers
from lorisbench.report.frame import read
from lorisbench.report.stored import Stored

COLUMN = "p_images"
METRIC = "accuracy_last"


def with_answers(before: Path, after: Path, frame: pd.DataFrame) -> pd.DataFrame:
    """The differences of `compare_outputs` with a column `p_images`, if it can be told for any strategy.

    It is the p of no difference in the accuracy on the last row, by a bootstrap over seeds, orders and test images
    together (by recording, where these are known), corrected by Holm's method for the number of strategies. NaN for
    other metrics, for one seed, and where the answers to single images are not stored.
    """
    lines = frame[frame.metric == METRIC]
    streams = list(dict.fromkeys(lines["stream"])) if "stream" in lines else [None]
    found = pd.Series(np.nan, index=frame.index)
    for stream in streams:
        mine = lines if stream is None else lines[lines["stream"] == stream]
        ours, theirs = read(before, stream), read(after, stream)
        for label, p in _tested(ours, theirs, list(mine["strategy"])):
            found[mine.index[mine["strategy"] == label]] = p
    if found.isna().all():
        return frame
    found[lines.index] = holm(found[lines.index].to_numpy(dtype=float))
    return frame.assign(**{COLUMN: found})


def _tested(ours: Stored, theirs: Stored, labels: list[str]) -> Iterator[tuple[str, float]]:
    """The p of each strategy of which both outputs know the answers to the same images under two seeds."""
    answers = Answers(ours), Answers(theirs)
    first, second = (next(iter(each.right.values()), None) for each in answers)
    if first is None or second is None or not first.is_of(second):
        return
    both = copy.copy(answers[0])
    both.right = {
        f"{side}{run}": right for side, each in zip("AB", answers, strict=True) for run, right in each.right.items()
    }
    for label in labels:
        runs = [
            {key: f"{side}{run}" for key, run in _runs(each, label).items() if f"{side}{run}" in both.right}
            for side, each in zip("AB", (ours, theirs), strict=True)
        ]
        shared = sorted(runs[0].keys() & runs[1].keys())
        scores = both.scores([own[run] for own in runs for run in shared])
        if len({seed for _, seed in shared}) < 2 or scores is None or both.tested is None:
            continue
        places = {side: {run: n + len(shared) * k for n, run in enumerate(shared)} for k, side in enumerate("AB")}
        drawn = Bootstrap(places, scores.means, scores.parts, strata_of(both.tested))
        yield label, drawn.difference("B", "A").p


def _runs(stored: Stored, label: str) -> dict[Run, str]:
    """The finished runs of a strategy by order and seed."""
    done = stored.done(label)
    orders = done["order"].astype(int) if "order" in done else [0] * len(done)
    return {
        (int(order), int(seed)): str(run) for order, seed, run in zip(orders, done["seed"], done["run_id"], strict=True)
    }
