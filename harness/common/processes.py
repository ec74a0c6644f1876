"""Worker processes that end when they should: with their parent, and quietly on Ctrl-C."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from lorisbench.common.errors import InputError

Task = TypeVar("Task")
Answer = TypeVar("Answer")

AHEAD = 4  # tasks waiting for each process: enough to keep it busy, few enough to stop soon


def end_with_parent() -> None:
    """End this worker when its parent dies, even by a signal that lets the parent end nothing itself."""
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def answers_of(
    work: Callable[[Task], Answer], tasks: Iterable[Task], workers: int
) -> Generator[tuple[Task, Answer], None, None]:
    """Each task with the answer of `work(task)`, in the order they end, worked on by `workers` fresh processes.

    Close the iterator (`contextlib.closing`) to stop early: running tasks are then given up. One worker is this
    process itself.

    Parameters
    ----------
    work : a function of a module that is cheap to import, for each process imports it.

    Raises
    ------
    InputError : a process was killed, which happens where memory runs out.
    """
    if workers == 1:
        yield from ((task, work(task)) for task in tasks)
        return
    # Spawned, since the parent may hold torch's threads, which do not survive a fork
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=end_with_parent)
    remaining = iter(tasks)
    waiting: dict[Future[Answer], Task] = {}
    try:
        while True:
            for task in itertools.islice(remaining, AHEAD * workers - len(waiting)):
                with _interrupts_wait():
                    waiting[pool.submit(work, task)] = task
            if not waiting:
                break
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                yield waiting.pop(future), future.result()
    except BaseException as error:
        for process in list((pool._processes or {}).values()):
            process.terminate()
        if isinstance(error, BrokenProcessPool):
            raise InputError(
                f"one of {workers} worker processes was killed, perhaps for lack of memory; what was finished is kept, "
                "fewer workers need less"
            ) from error
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Hold Ctrl-C back. Processes started meanwhile never see it: their parent ends them, without a traceback each."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
