"""Painting: the images of factors computed from pictures, one after another or on all cores."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from lorisbench.benchmarks.factors.cutouts import Cutout, Source, cutout_of
from lorisbench.benchmarks.factors.images import Levels, Measured, apply
from lorisbench.common.processes import map_unordered

# Worker processes import this module and what it needs: pandas alone would make each start a second later

FEW = 1000  # images up to which starting other processes does not pay
BLOCK = 8  # tasks that a process handles at a time

Step = tuple[str, int]  # a factor and its level


class Task(NamedTuple):
    """A picture, its name and class, the split it is used in, and the steps to compute from it."""

    source: Source
    name: str
    class_name: str
    split: str
    steps: tuple[Step, ...]


class Painter:
    """Computes the images of jobs; each depends on its own picture, the settings and the bank, and on no other picture.

    Parameters
    ----------
    bank : for each split, the classes and cutouts that distractors are made from: pictures of the same split, so that
        nothing used for testing has appeared in a background in training.
    """

    def __init__(self, size: int, seed: int, bank: dict[str, list[tuple[str, Cutout]]]) -> None:
        self.size, self.seed, self.bank = size, seed, bank

    def __call__(self, task: Task) -> tuple[np.ndarray, list[Measured]]:
        """uint8 (steps, size, size, 3) and the levels reached. Raises InputError for a file that is not an image."""
        cutout = cutout_of(task.source, 2 * self.size)
        bank = self.bank[task.split]
        others = [other for name, other in bank if name != task.class_name] or [other for _, other in bank]  # one class
        images, levels = [], []
        for factor, level in task.steps:
            key = f"{self.seed}|{task.name}|{factor}|{level}"
            image, measured = apply(cutout, Levels(**{factor: level}), key, others, self.size)
            images.append(image)
            levels.append(measured)
        return np.stack(images), levels


def paint(painter: Painter, tasks: Sequence[Task]) -> Iterator[tuple[np.ndarray, list[Measured]]]:
    """The answer to each task, in order. Raises InputError if a worker process was killed."""
    workers = os.cpu_count() or 1
    if sum(len(task.steps) for task in tasks) < FEW:
        workers = 1
    blocks = ((start, tasks[start : start + BLOCK]) for start in range(0, len(tasks), BLOCK))
    early: dict[int, list[tuple[np.ndarray, list[Measured]]]] = {}  # few: blocks take about as long as each other
    due = 0
    with contextlib.closing(map_unordered(functools.partial(_paint_block, painter), blocks, workers)) as ended:
        for (start, _), answers in ended:
            early[start] = answers
            while due in early:
                yield from early.pop(due)
                due += BLOCK


def _paint_block(painter: Painter, block: tuple[int, Sequence[Task]]) -> list[tuple[np.ndarray, list[Measured]]]:
    return [painter(task) for task in block[1]]
