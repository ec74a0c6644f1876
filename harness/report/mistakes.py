"""How often the runs of a strategy answered each test image rightly: which it knows best and least, and gets wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lorisbench.common.errors import InputError
from lorisbench.metrics import predictions
from lorisbench.metrics.predictions import NOT_TESTED, read_stored
from lorisbench.report.stored import Matrix, Stored
from lorisbench.suite.orders import permutation

MISTAKES, EXTREMES = 12, 3


@dataclass(frozen=True)
class Tested:
    """The answers of several runs, summed; arrays by the image's number.

    asked, right : answers after the image's own experience and each later one. asked_before, right_before : those
    before. finally_asked, wrong : those after the last. experience : its own, -1 for an image that was not tested.
    label : its class. taken, heads : of an image that was answered wrongly, what it was taken for, and which heads did.
    """

    asked: Matrix
    right: Matrix
    asked_before: Matrix
    right_before: Matrix
    finally_asked: Matrix
    wrong: Matrix
    experience: NDArray[np.integer]
    label: NDArray[np.integer]
    taken: dict[int, Counter[int]]
    heads: dict[int, Counter[int]]


def tested(stored: Stored, runs: Iterable[tuple[str, int]]) -> Tested | None:
    """The answers of runs, each with its order; None without any. A damaged file is left out: the report names it."""
    size = len(stored.own_names)
    found = [(_answers(stored, run, size), order) for run, order in runs]
    known = [(answers, order) for answers, order in found if answers is not None]
    if not known:
        return None
    images = 1 + max(int(image_of(answers).max()) for answers, _ in known)
    asked_of, right, asked_before, right_before, finally_asked, wrongly = np.zeros((6, images))
    experience, label = np.full(images, -1), np.full(images, -1)
    taken: dict[int, Counter[int]] = {}
    heads: dict[int, Counter[int]] = {}
    for answers, order in known:
        image = image_of(answers)
        asked, hit = answers.predicted != NOT_TESTED, answers.predicted == answers.label
        since = np.arange(len(asked))[:, None] >= answers.experience
        last = np.flatnonzero(asked.any(axis=1))[-1]
        wrong = asked[last] & ~hit[last]
        for total, each in (
            (asked_of, asked & since), (right, hit & since), (asked_before, asked & ~since),
            (right_before, hit & ~since), (finally_asked, asked[last][None]), (wrongly, wrong[None]),
        ):  # fmt: skip
            np.add.at(total, image, each.sum(axis=0))
        experience[image] = np.array(permutation(order, size))[answers.experience]
        label[image] = answers.label
        for place in np.flatnonzero(wrong).tolist():
            taken.setdefault(int(image[place]), Counter())[int(answers.predicted[last, place])] += 1
            if answers.head is not None:
                heads.setdefault(int(image[place]), Counter())[int(answers.head[last, place])] += 1
    return Tested(
        asked_of, right, asked_before, right_before, finally_asked, wrongly, experience, label, taken, heads
    )  # fmt: skip


def image_of(answers: predictions.Stored) -> NDArray[np.integer]:
    """The numbers of the images, which `_answers` has made sure of."""
    assert answers.image is not None
    return answers.image


def _answers(stored: Stored, run: str, experiences: int) -> predictions.Stored | None:
    """A run's answers, if each tells its image and its experience and something was tested."""
    try:
        answers = read_stored(stored.out / "runs" / run / "predictions.npz", with_scores=False)
    except InputError:
        return None
    if answers.image is None or answers.image.min() < 0 or answers.experience.max() >= experiences:
        return None
    return answers if (answers.predicted != NOT_TESTED).any() else None


def _share(part: Matrix, whole: Matrix) -> Matrix:
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)


def worst(found: Tested) -> list[dict[str, Any]]:
    """The images that the most runs got wrong in the end; of those alike, the ones that were least often right."""
    known = np.nan_to_num(_share(found.right, found.asked), nan=1.0)
    rank = np.lexsort((known, -found.wrong))
    return [
        {
            "image": number,
            "label": int(found.label[number]),
            "wrong": int(found.wrong[number]),
            "of": int(found.finally_asked[number]),
            "taken": found.taken[number].most_common(),
            "heads": found.heads.get(number, Counter()).most_common(),
        }
        for number in rank[:MISTAKES].tolist()
        if found.wrong[number]
    ]


def extremes(found: Tested) -> list[dict[str, Any]]:
    """For each experience its images that are most and least known: how often they were answered rightly from it on.

    Of those alike, what was answered before the experience decides.
    """
    known, before = _share(found.right, found.asked), _share(found.right_before, found.asked_before)
    shown = []
    for step in range(int(found.experience.max(initial=-1)) + 1):
        own = np.flatnonzero((found.experience == step) & np.isfinite(known))
        rank = own[np.lexsort((np.nan_to_num(before[own], nan=0.5), known[own]))]
        ends = {"most": rank[::-1][:EXTREMES], "least": rank[:EXTREMES]}
        if len(own):
            told = {name: [[int(n), round(float(known[n]), 4)] for n in chosen] for name, chosen in ends.items()}
            shown.append({"experience": step, **told})
    return shown
