"""What a report concludes of a stream: how strategies stand on the last row, and which can be told apart.

Everything that a report claims comes from here: differences are drawn over seeds, orders and test recordings together
(`metrics.bootstrap`), and their p values corrected for the number of comparisons.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lorisbench.metrics.bootstrap import Bootstrap, Estimate, Run, strata_of
from lorisbench.metrics.paired import (
    LEVEL,
    McNemar,
    holm,
    improvement,
    interquartile_mean,
    mcnemar,
    pairs_needed,
    permutation_p,
)
from lorisbench.report.answered import Answers
from lorisbench.report.stored import Stored
from lorisbench.suite.orders import permutation


@dataclass(frozen=True)
class Test:
    """First − second on the last row, in points.

    difference : drawn over all sources; `difference.p` is not corrected. p_holm : corrected for all tests of `first`.
    apart : whether they can be told apart. permutation : p of the exact paired permutation test over runs (`pairs` of
    them, of which it needs 6). mcnemar : on the images of the first (order, seed) that both have; None if not known.
    improvement : probability that a run of the first is better than one of the second on an experience's test set.
    """

    first: str
    second: str
    difference: Estimate
    p_holm: float
    apart: bool
    permutation: float
    mcnemar: McNemar | None
    improvement: float

    @property
    def pairs(self) -> int:
        return len(self.difference.runs)


@dataclass(frozen=True)
class Standing:
    """How the strategies of a stream stand on the last row, in per cent and points.

    estimates : of each strategy with a finished run, best mean first. middle : the interquartile mean of its accuracies
    on each test set in each run. best : of those without a remark, if there are. alike : those that cannot be told from
    it. groups : longest stretches of the ranking whose first cannot be told from any of the rest, of two at least.
    tests : of the strategies that the report is about, or else of the best, against all others. over : what claims
    generalise over, in words. caveats : sentences on what the figures cannot say. runs, bootstrap, answers : what all
    this was worked out from.
    """

    estimates: Mapping[str, Estimate]
    middle: Mapping[str, float]
    best: str
    alike: frozenset[str]
    groups: Sequence[Sequence[str]]
    tests: Sequence[Test]
    over: Sequence[str]
    caveats: Sequence[str]
    runs: Mapping[str, Mapping[Run, str]]
    bootstrap: Bootstrap
    answers: Answers

    def near(self, label: str) -> frozenset[str]:
        """The strategies that cannot be told from this one, corrected for as many tests as there are others."""
        if label not in self.estimates:
            return frozenset()
        return _near(self.bootstrap, label, [other for other in self.estimates if other != label])


@functools.lru_cache(maxsize=4)
def standing(stored: Stored) -> Standing:
    """How the strategies stand. Deterministic: the same files give the same figures."""
    answers = Answers(stored)
    runs = _runs(stored)
    bootstrap = _bootstrap(stored, runs, answers)

    estimates = {label: bootstrap.mean(label) for label in stored.labels if label in runs}
    estimates = dict(sorted(estimates.items(), key=lambda item: -item[1].mean))
    judged = [label for label in estimates if not stored.remarks(label)] or list(estimates)
    best = judged[0] if judged else ""
    alike = _near(bootstrap, best, [label for label in judged if label != best]) if best else frozenset()
    tasks = {label: _by_test(stored, own) for label, own in runs.items()}
    subjects = [label for label in stored.about if label in estimates and not stored.remarks(label)] or [best] * bool(
        best
    )
    tests = [
        test
        for subject in subjects
        for test in _tests(subject, [o for o in estimates if o not in subjects], bootstrap, answers, runs, tasks)
    ]
    return Standing(
        estimates,
        {label: interquartile_mean(tasks[label]) if tasks[label].size else np.nan for label in estimates},
        best, alike, _groups(bootstrap, judged), tests, _over(bootstrap, answers, "drawn" in stored.data),
        [*_caveats(bootstrap, answers, judged), *_aside(stored)], runs, bootstrap, answers,
    )  # fmt: skip


def _runs(stored: Stored) -> dict[str, dict[Run, str]]:
    """The finished runs of each strategy of ours that have an accuracy on the last row, by order and seed."""
    runs: dict[str, dict[Run, str]] = {}
    done = stored.runs[(stored.runs["status"] == "done") & stored.runs["accuracy_last"].notna()]
    done = done[~done["strategy"].isin(stored.elsewhere)]
    orders = done["order"].astype(int) if "order" in done else [0] * len(done)
    for label, order, seed, run in zip(done["strategy"], orders, done["seed"], done["run_id"], strict=True):
        runs.setdefault(str(label), {})[order, int(seed)] = str(run)
    return runs


def _bootstrap(stored: Stored, runs: Mapping[str, Mapping[Run, str]], answers: Answers) -> Bootstrap:
    """Draws of the accuracy on the last row, in per cent."""
    ids, rows = _numbered(runs)
    means = 100 * stored.runs.drop_duplicates("run_id").set_index("run_id")["accuracy_last"].reindex(ids)
    scores = answers.scores(ids)
    if scores is None or answers.tested is None:
        return Bootstrap(rows, means.to_numpy(dtype=float))
    return Bootstrap(rows, means.to_numpy(dtype=float), 100 * scores.parts, strata_of(answers.tested))


def bootstrap_of(found: Standing, experiences: Sequence[int]) -> Bootstrap | None:
    """The same of the mean over some of the test sets; None where it is not known which images are answered rightly."""
    ids, rows = _numbered(found.runs)
    answers = found.answers.of(experiences)
    scores = answers.scores(ids)
    if scores is None or answers.tested is None:
        return None
    drawn = found.bootstrap.kept
    return Bootstrap(rows, 100 * scores.means, 100 * scores.parts, strata_of(answers.tested), kept=drawn)


def _numbered(runs: Mapping[str, Mapping[Run, str]]) -> tuple[list[str], dict[str, dict[Run, int]]]:
    """The ids of all runs, and for each strategy their places among them."""
    ids = [run for own in runs.values() for run in own.values()]
    place = {run: number for number, run in enumerate(ids)}
    return ids, {label: {run: place[own[run]] for run in own} for label, own in runs.items()}


def _near(bootstrap: Bootstrap, label: str, others: Sequence[str]) -> frozenset[str]:
    """Those of `others` that cannot be told from a strategy."""
    corrected = holm(bootstrap.p_values(label, others))
    return frozenset(
        other
        for other, p in zip(others, corrected, strict=True)
        if not (p < LEVEL and _can_claim(bootstrap, label, other))
    )


def _can_claim(bootstrap: Bootstrap, first: str, second: str) -> bool:
    """Whether both were trained under two seeds at least, and it is known which images they answer rightly."""
    shared = bootstrap.runs[first].keys() & bootstrap.runs[second].keys()
    return bootstrap.parts is not None and len({seed for _, seed in shared}) > 1


def _groups(bootstrap: Bootstrap, ranked: Sequence[str]) -> list[list[str]]:
    found: list[list[str]] = []
    reached = 0
    for first, label in enumerate(ranked):
        below = ranked[first + 1 :]
        near = _near(bootstrap, label, below) if below else frozenset()
        last = first
        while last + 1 < len(ranked) and ranked[last + 1] in near:
            last += 1
        if last > first and last > reached:
            found.append(list(ranked[first : last + 1]))
            reached = last
    return found


def _tests(
    subject: str, others: Sequence[str], bootstrap: Bootstrap, answers: Answers,
    runs: Mapping[str, Mapping[Run, str]], tasks: Mapping[str, NDArray[np.float64]],
) -> list[Test]:  # fmt: skip
    differences = [bootstrap.difference(subject, other) for other in others]
    corrected = holm([difference.p for difference in differences])
    found = []
    for other, difference, p in zip(others, differences, corrected, strict=True):
        pairs = [bootstrap.means[bootstrap.runs[subject][r]] - bootstrap.means[bootstrap.runs[other][r]]
                 for r in difference.runs]  # fmt: skip
        both = [runs[label][difference.runs[0]] for label in (subject, other)] if difference.runs else []
        known = [answers.right[run].right for run in both if run in answers.right]
        found.append(
            Test(
                subject,
                other,
                difference,
                float(p),
                bool(p < LEVEL) and _can_claim(bootstrap, subject, other),
                permutation_p(pairs),
                mcnemar(*known) if len(known) == 2 else None,
                improvement(tasks[subject], tasks[other]),
            )
        )
    return found


def _by_test(stored: Stored, runs: Mapping[Run, str]) -> NDArray[np.float64]:
    """Accuracy of each run on each test set at the end, in per cent, (runs, test sets), in the stream's own order."""
    size = len(stored.own_names)
    rows = []
    for (order, _), run in sorted(runs.items()):
        if run in stored.matrices:
            row = np.full(size, np.nan)
            row[permutation(order, size)] = 100 * stored.matrices[run][-1]
            rows.append(row)
    return np.array(rows).reshape(len(rows), size)


def _over(bootstrap: Bootstrap, answers: Answers, drawn: bool) -> list[str]:
    """What is drawn for the strategies, in words. drawn : whether each seed has a stream of its own."""
    runs = {run for own in bootstrap.runs.values() for run in own}
    seeds = "seeds (which draw the stream, too)" if drawn else "seeds"
    found = [seeds] if len({seed for _, seed in runs}) > 1 else []
    found += ["orders of the experiences"] if len({order for order, _ in runs}) > 1 else []
    if bootstrap.parts is not None:
        found.append("test recordings" if answers.by_recording else "test images")
    return found


def _aside(stored: Stored) -> list[str]:
    """That results from elsewhere are neither ranked nor tested, if there are any."""
    labels = [label for label in stored.labels if label in stored.elsewhere]
    why = "the answers to single images are not known, so that they are neither ranked nor tested here"
    return [f"Of {', '.join(labels)} {why}."] if labels else []


def _caveats(bootstrap: Bootstrap, answers: Answers, judged: Sequence[str]) -> list[str]:
    """What the figures cannot say, in sentences."""
    found: list[str] = []
    if not judged:
        return found
    fewest = min(len({seed for _, seed in bootstrap.runs[label]}) for label in judged)
    pairs = min(len(bootstrap.runs[label]) for label in judged)
    if bootstrap.parts is None:
        found.append(f"{answers.why} What other test images would change is not known, and no difference is claimed.")
    if fewest < 2:
        found.append(
            "A strategy has one seed only: nothing can be concluded of other seeds, and no difference to it is claimed."
        )
    elif pairs < pairs_needed():
        found.append(
            f"{pairs} runs of a strategy are too few for an exact paired permutation test, which needs "
            f"{pairs_needed()} pairs for p < {LEVEL:g}; what is claimed rests on Student's t for so few."
        )
    if bootstrap.parts is not None and not answers.by_recording:
        found.append("No recordings of the test images are known: they count as independent of each other.")
    if bootstrap.strata is not None and bootstrap.parts is not None and np.bincount(bootstrap.strata).max() < 2:
        found.append("Each test set is one recording: what others would change is not known.")
    return found
