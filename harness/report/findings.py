"""The report's opening sentences, worked out from the figures."""

from dataclasses import dataclass

import numpy as np

from lorisbench.metrics.intervals import Interval, Verdict, paired_difference, verdict
from lorisbench.report.frame import Stored
from lorisbench.report.summary import MINUS, Summary, by_seed, count_states, number, paired, replay
from lorisbench.report.tabular import DAGGER


@dataclass(frozen=True)
class Duel:
    """One strategy against one baseline on the last row's accuracy, in points, paired by seed."""

    label: str
    baseline: str
    difference: Interval
    verdict: Verdict
    text: str


def headlines(stored: Stored, summary: Summary) -> list[str]:
    """Two or three sentences: the best strategy, its distance from those that keep images, and how certain that is."""
    states = stored.runs["status"]
    scores = {label: summary[label]["accuracy_last"] for label in stored.labels}
    known = {label: score for label, score in scores.items() if not np.isnan(score.mean)}
    known = {label: score for label, score in known.items() if not stored.remarks(label)} or known
    sentences = []
    if not (states == "done").all():
        sentences.append(
            f"{int((states == 'done').sum())} of {len(states)} runs finished ({count_states(states)}); "
            "only finished runs are counted below."
        )
    if not known:
        return [
            *sentences,
            "No finished run has an accuracy on the last row, so there is nothing to compare.",
        ]
    sentences.append(_best(summary, known))
    sentences.append(_caution(known, "drawn" in stored.data))
    if len(stored.orders) > 1:
        sentences.append(
            f"Values are means over {len(stored.orders)} orders of the experiences; how these differ is shown apart."
        )
    return sentences


def _best(summary: Summary, known: dict[str, Interval]) -> str:
    def top(labels: list[str]) -> str:
        return max(labels, key=lambda label: known[label].mean)

    free = [label for label in known if not replay(summary, label)]
    keeping = [label for label in known if replay(summary, label)]
    if not free:
        best = top(keeping)
        return (
            f"Every finished strategy keeps images of earlier experiences; the best is {best}{DAGGER} with "
            f"{_score(known[best])} accuracy on the last row."
        )
    best = top(free)
    tied = [label for label in free if label != best and known[label].mean == known[best].mean]
    names = " and ".join([best, *tied])
    without = "Without keeping images, " if keeping else ""
    verb = "have" if tied else "has"
    rank = " the highest accuracy on the last row, " if len(free) > 1 else " an accuracy on the last row of "
    sentence = f"{without}{names} {verb}{rank}{_score(known[best])}"
    if keeping:
        rival = top(keeping)
        distance = known[best].mean - known[rival].mean
        side = "above" if distance > 0 else "below"
        sentence += (
            f"; that is {number(abs(distance), 2)} points {side} {rival}{DAGGER}, which keeps "
            f"{number(replay(summary, rival), 0)} images of earlier experiences"
        )
    return sentence + "."


def _score(interval: Interval) -> str:
    spread = "" if np.isnan(interval.half_width) else f"\u00a0±\u00a0{number(interval.half_width, 2)}"
    return f"{number(interval.mean, 2)}{spread}\u00a0%"


def _caution(known: dict[str, Interval], drawn: bool) -> str:
    fewest = min(score.n for score in known.values())
    if fewest == 1:
        return (
            "Some strategies have one seed only: differences to them cannot be told from chance."
            if max(score.n for score in known.values()) > 1
            else "One seed a strategy: there is no interval, and differences cannot be told from chance."
        )
    many = "a small sample" if fewest < 10 else "the sample"
    return (
        f"Intervals are 95 % Student-t over {fewest} seeds ({many}); where two "
        "overlap, the order of the two is not established, and seeds vary the training "
        + ("and the stream, which is drawn from each." if drawn else "only, not the data.")
    )


def duels(stored: Stored, summary: Summary) -> list[Duel]:
    """The strategies the report is about against every other one, on `accuracy_last`, paired by seed; losses first."""
    ours = stored.about
    found = []
    for label in ours:
        if stored.remarks(label):
            continue  # it knows more than its rivals are allowed to
        own = by_seed(stored, label, "accuracy_last")
        for baseline in stored.labels:
            other = by_seed(stored, baseline, "accuracy_last")
            if baseline in ours or not own or not other:
                continue
            raw = paired_difference(*paired(own, other))
            difference = Interval(100 * raw.mean, 100 * raw.half_width, raw.n)
            outcome = verdict(difference)
            kept = DAGGER if replay(summary, baseline) else ""
            text = _told(label, baseline + kept, difference, outcome)
            found.append(Duel(label, baseline, difference, outcome, text))
    order = {"loses": 0, "undecided": 1, "wins": 2}
    return sorted(found, key=lambda duel: (ours.index(duel.label), order[duel.verdict]))


def _told(label: str, baseline: str, difference: Interval, outcome: Verdict) -> str:
    if difference.n == 0:
        return f"{label} and {baseline} have no seed in common: undecided."
    points = number(difference.mean, 2)
    points = points if points.startswith(MINUS) else f"+{points}"
    if difference.n == 1:
        return f"{label} against {baseline}: {points} points in one seed, no interval: undecided."
    points += f" ± {number(difference.half_width, 2)} points ({difference.n} paired seeds)"
    if outcome == "undecided":
        return f"{label} against {baseline} is undecided: {points}."
    return f"{label} {outcome} against {baseline}: {points}."
