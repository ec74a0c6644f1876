"""The report's opening sentences, worked out from the tests of `standing`: nothing is claimed that they do not say."""

from collections.abc import Sequence

import numpy as np

from lorisbench.metrics.bootstrap import Bootstrap, Estimate
from lorisbench.metrics.paired import LEVEL, holm
from lorisbench.report.standing import Standing, bootstrap_of, standing
from lorisbench.report.stored import Stored
from lorisbench.report.summary import Summary, count_states, number, replay, signed
from lorisbench.report.tabular import DAGGER

NAMED = 4  # strategies that a sentence names; of more it says how many
SENTENCES = 5
PARTS = 20  # factors or test sets, up to which it is looked for those where a strategy loses


def headlines(stored: Stored, summary: Summary) -> list[str]:
    """At most `SENTENCES`: what has finished, who is best and what cannot be told from it, what the strategy that the
    report is about (of several the best) loses to, on what, and what it costs; then where the others stand that the
    report is about, the last of all first."""
    found, states = standing(stored), stored.runs["status"]
    sentences = []
    if not (states == "done").all():
        sentences.append(
            f"{int((states == 'done').sum())} of {len(states)} runs finished ({count_states(states)}); "
            "only finished runs are counted below."
        )
    if not found.best:
        return [*sentences, "No finished run has an accuracy on the last row, so there is nothing to compare."]
    sentences.append(_best(found, summary))
    subjects = {test.first for test in found.tests}
    subject = next((label for label in found.estimates if label in subjects), found.best)
    if subject != found.best:
        sentences.append(_against(found, subject, summary))
    if found.tests and (lost := _where(stored, found, subject, summary)):
        sentences.append(lost)
    sentences.append(_cost(summary, subject, [label for label in found.estimates if label != subject]))
    others = [label for label in reversed([*found.estimates]) if label in subjects - {subject, found.best}]
    return [*sentences, *(_against(found, label, summary) for label in others)][:SENTENCES]


def _best(found: Standing, summary: Summary) -> str:
    best, others = found.best, [label for label in found.estimates if label != found.best]
    if not others:
        return f"{_name(best, summary)} is the only strategy, {_value(found.estimates[best])} on the last row."
    sentence = f"{_name(best, summary)} has the highest accuracy on the last row, {_value(found.estimates[best])}"
    free = [label for label in others if not replay(summary, label)]
    if replay(summary, best) and free:
        sentence += (
            f"; of those that keep no images of earlier experiences {free[0]}, {_value(found.estimates[free[0]])}"
        )
    equal = [label for label in others if np.isclose(found.estimates[label].mean, found.estimates[best].mean)]
    if equal:
        sentence += f", as {'has' if len(equal) == 1 else 'have'} {_names(equal, summary)}"
    if not _claims(found):
        return f"{sentence}. {found.caveats[0]}"
    over = f"over {_and(found.over)} together, corrected for {len(others)} comparisons"
    alike = [label for label in others if label in found.alike]
    if not alike:
        return f"{sentence}; it is above all others ({over})."
    beside = "any other strategy" if len(alike) == len(others) else _names(alike, summary)
    return f"{sentence}; it cannot be told from {beside} ({over})."


def _claims(found: Standing) -> bool:
    """Whether any difference could be claimed at all."""
    seeds = {seed for runs in found.runs.values() for _, seed in runs}
    return found.bootstrap.parts is not None and len(seeds) > 1


def _against(found: Standing, subject: str, summary: Summary) -> str:
    """What a strategy is above, below, and cannot be told from."""
    mine = [test for test in found.tests if test.first == subject]
    below = [test.second for test in mine if test.apart and test.difference.mean < 0]
    above = [test.second for test in mine if test.apart and test.difference.mean > 0]
    rest = [test.second for test in mine if not test.apart]
    told = [
        f"{words} {_names(labels, summary)}"
        for words, labels in (("is below", below), ("is above", above), ("cannot be told from", rest))
        if labels
    ]
    return f"{_name(subject, summary)}, {_value(found.estimates[subject])}, {_and(told)}."


def _where(stored: Stored, found: Standing, subject: str, summary: Summary) -> str:
    """On which factor, or which experience of a stream of one factor, a strategy loses most; empty if that is not
    known. Corrected for all factors and all other strategies."""
    parts = _parts(stored)
    if not 1 < len(parts) <= PARTS or not _claims(found):
        return ""
    others = [label for label in found.estimates if label != subject]
    boots = {name: bootstrap_of(found, experiences) for name, experiences in parts.items()}
    known = {name: boot for name, boot in boots.items() if boot is not None}
    if not known:
        return ""
    p = np.concatenate([boot.p_values(subject, others) for boot in known.values()])
    cells = [(name, other) for name in known for other in others]
    differences = [_difference(known[name], subject, other) for name, other in cells]
    told = [
        (difference, name, other)
        for difference, (name, other), each in zip(differences, cells, holm(p), strict=True)
        if difference < 0 and each < LEVEL
    ]
    kind = "factor" if _has_factors(stored) else "experience"
    if told:
        _, name, other = min(told)
        lost = known[name].difference(subject, other)
        return (
            f"By {kind}, {subject} loses most on {name}: {signed(lost.mean)} points to {_name(other, summary)} "
            f"({signed(lost.together.low)} to {signed(lost.together.high)})."
        )
    behind = [(difference, *cell) for difference, cell in zip(differences, cells, strict=True) if difference < 0]
    if not behind:
        return f"On no {kind} has another strategy a higher mean than {subject}."
    difference, name, other = min(behind)
    return (
        f"On no {kind} can another strategy be told to be better than {subject}; it is furthest behind on {name}, "
        f"{signed(difference)} points to {_name(other, summary)}."
    )


def _difference(boot: Bootstrap, first: str, second: str) -> float:
    shared = boot.runs[first].keys() & boot.runs[second].keys()
    pairs = [boot.means[boot.runs[first][run]] - boot.means[boot.runs[second][run]] for run in shared]
    return float(np.mean(pairs)) if pairs else np.nan


def _has_factors(stored: Stored) -> bool:
    return "factor" in stored.experiences and len(set(stored.experiences["factor"]) - {""}) > 1


def _parts(stored: Stored) -> dict[str, list[int]]:
    """The experiences of each factor, or each by itself if there is one factor, in the stream's own order."""
    if not _has_factors(stored):
        return {name: [index] for index, name in enumerate(stored.own_names)}
    parts: dict[str, list[int]] = {}
    for index, factor in zip(stored.experiences["experience"], stored.experiences["factor"], strict=True):
        parts.setdefault(str(factor) or "no factor", []).append(int(index))
    return parts


def _cost(summary: Summary, subject: str, others: Sequence[str]) -> str:
    """What a strategy takes, beside the least that another one does."""
    mine, told = summary[subject], []
    ratio, state, seconds = (mine[name].mean for name in ("latency_ratio", "state_mb", "train_seconds"))
    if not np.isnan(ratio):
        told.append(f"a prediction in {number(ratio, 2)} times that of the bare backbone")
    if not np.isnan(state):
        told.append(f"{number(state, 2)}\u00a0MB of state")
    if kept := replay(summary, subject):
        told.append(f"{number(kept, 0)} images of earlier experiences")
    if not np.isnan(seconds):
        told.append(f"{number(seconds, 1)}\u00a0s of training{_beside(seconds, summary, others)}")
    if not told:
        return f"What {subject} costs was not measured."
    return f"{subject} takes {_and(told)}."


def _beside(seconds: float, summary: Summary, others: Sequence[str]) -> str:
    """How a time of training compares with the shortest of other strategies."""
    times = {label: summary[label]["train_seconds"].mean for label in others}
    times = {label: value for label, value in times.items() if value > 0}
    if not times:
        return ""
    quickest = min(times, key=lambda label: times[label])
    if seconds <= times[quickest]:
        return ", no more than any other"
    return f" ({number(seconds / times[quickest], 1)} times that of {_name(quickest, summary)}, the least)"


def _name(label: str, summary: Summary) -> str:
    return f"{label}{DAGGER}" if replay(summary, label) else label


def _names(labels: Sequence[str], summary: Summary) -> str:
    if len(labels) <= NAMED:
        return _and([_name(label, summary) for label in labels])
    first = ", ".join(_name(label, summary) for label in labels[: NAMED - 1])
    return f"{first} and {len(labels) - NAMED + 1} others"


def _value(estimate: Estimate) -> str:
    low, high = estimate.together
    between = "" if np.isnan(low) else f" ({number(low, 2)} to {number(high, 2)})"
    return f"{number(estimate.mean, 2)}\u00a0%{between}"


def _and(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)
