"""Painting: the images of factors computed from pictures, one after the other or by every core there is."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from typing import NamedTuple

import numpy as np

from lorisbench.benchmarks.factors.cutouts import Cutout, Source, cutout_of
from lorisbench.benchmarks.factors.images import Levels, Measured, apply
from lorisbench.common.processes import end_with_parent

# What other processes import is this module and what it needs: pandas, for one, would cost each a second to start

FEW = 1000  # images for which starting other processes does not pay
BLOCK = 8  # tasks that a process does at a time

Step = tuple[str, int]  # a factor and its level


class Task(NamedTuple):
    """A picture, its name and class, the split it is used in, and what is to be computed from it."""

    source: Source
    name: str
    class_name: str
    split: str
    steps: tuple[Step, ...]


class Painter:
    """Computes the images of jobs; each depends on its own picture, the settings and the bank, and on no other.

    Parameters
    ----------
    bank : for each split, classes and cutouts of what distractors are cut from: pictures of the same split, so that
        nothing that is tested on has been in the background of training.
    """

    def __init__(self, size: int, seed: int, bank: dict[str, list[tuple[str, Cutout]]]) -> None:
        self.size, self.seed, self.bank = size, seed, bank

    def __call__(self, task: Task) -> tuple[np.ndarray, list[Measured]]:
        """uint8 (steps, size, size, 3) and the levels reached. Raises InputError for a file that is no image."""
        cutout = cutout_of(task.source, 2 * self.size)
        others = [other for name, other in self.bank[task.split] if name != task.class_name]
        images, levels = [], []
        for factor, level in task.steps:
            key = f"{self.seed}|{task.name}|{factor}|{level}"
            image, measured = apply(cutout, Levels(**{factor: level}), key, others, self.size)
            images.append(image)
            levels.append(measured)
        return np.stack(images), levels


def paint(painter: Painter, tasks: Sequence[Task]) -> Iterator[tuple[np.ndarray, list[Measured]]]:
    """The answer to each task, in order."""
    workers = os.cpu_count() or 1
    if workers == 1 or sum(len(task.steps) for task in tasks) < FEW:
        yield from map(painter, tasks)
        return
    # Spawned, since the parent may hold torch's threads, which do not survive a fork
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_start, initargs=(painter,))
    try:
        pending: deque[Future[list[tuple[np.ndarray, list[Measured]]]]] = deque()
        for start in range(0, len(tasks), BLOCK):
            pending.append(pool.submit(_work, tasks[start : start + BLOCK]))
            if len(pending) > 4 * workers:  # so that what waits to be written stays small
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_painters: list[Painter] = []  # in a worker, the one it paints with


def _start(painter: Painter) -> None:
    end_with_parent()
    _painters.append(painter)


def _work(tasks: Sequence[Task]) -> list[tuple[np.ndarray, list[Measured]]]:
    return [_painters[-1](task) for task in tasks]
