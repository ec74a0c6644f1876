"""One pool of worker processes for all code that needs one: they end with their parent, and quietly on Ctrl-C."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, TypeVar

from lorisbench.common.errors import InputError

Task = TypeVar("Task")
Answer = TypeVar("Answer")

STOPS = ("SIGTERM", "SIGUSR1")  # what schedulers send before they take a machine away
AHEAD = 4  # tasks waiting for each process: enough to keep it busy, few enough to stop soon


def map_unordered(
    work: Callable[[Task], Answer], tasks: Iterable[Task], workers: int
) -> Generator[tuple[Task, Answer], None, None]:
    """Each task with the result of `work(task)`, in the order they end, computed by `workers` fresh processes.

    Close the generator (`contextlib.closing`) to stop early: running tasks are then abandoned. With one worker,
    this process does the work itself. The processes run again only what `work` and the tasks need, so a plain script
    needs no `if __name__ == "__main__"`, and what a script or a notebook defines can be used.

    Parameters
    ----------
    work : any callable; each process gets it once, however large it is. Its module should be cheap to import, since
        each process imports it.
    tasks : read only a few ahead of the results.

    Raises
    ------
    InputError : a process was killed, which happens when memory runs out.
    """
    if workers == 1:
        yield from ((task, work(task)) for task in tasks)
        return
    # Imported here, since it imports numpy. Its executor, not joblib.Parallel, which would give each process fewer
    # threads than this one has: some sums depend on the number of threads
    from multiprocessing import resource_tracker

    from joblib.externals.loky import ProcessPoolExecutor, wait
    from joblib.externals.loky.backend.reduction import dumps
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    pickled = bytes(dumps(work))
    resource_tracker.ensure_running()  # before processes, as starting it lets interrupts through
    pool = ProcessPoolExecutor(workers, initializer=_begin, initargs=(os.getpid(), pickled))
    remaining = iter(tasks)
    waiting: dict[Any, Task] = {}
    try:
        while True:
            for task in itertools.islice(remaining, AHEAD * workers - len(waiting)):
                with interrupts_wait():
                    waiting[pool.submit(_answer, task)] = task
            if not waiting:
                break
            for future in wait(waiting, return_when="FIRST_COMPLETED").done:
                yield waiting.pop(future), future.result()
    except BaseException as error:
        for process in list(pool._processes.values()):
            process.terminate()
        if isinstance(error, TerminatedWorkerError):
            raise InputError(
                f"one of {workers} worker processes was killed, perhaps for lack of memory; what was finished is kept; "
                "fewer workers need less memory"
            ) from error
        raise
    finally:
        pool.shutdown(wait=True)


@contextlib.contextmanager
def interrupts_wait() -> Iterator[None]:
    """Hold Ctrl-C back. Processes started meanwhile never see it: their parent ends them, without tracebacks."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def stop_signals() -> list[signal.Signals]:
    """Those of `STOPS` that this system has."""
    return [getattr(signal, name) for name in STOPS if hasattr(signal, name)]


def keep_interrupts() -> None:
    """Let an interrupt count that comes while Python runs a callback of its garbage collection, which swallows it."""
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            # Soon, not at once: this is still within that callback
            again = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
            again.daemon = True
            again.start()
        else:
            before(unraisable)

    sys.unraisablehook = hook


def lives(pid: int) -> bool:
    """Whether there is a process of this id on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # someone else's, or no id of this system
        return True
    return True


# In a worker process

_given: list[bytes] = []  # the work, pickled


def _begin(parent: int, work: bytes) -> None:
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _given.append(work)


def _end_with(parent: int) -> None:
    """End this process once its parent has died, even from a signal that gave the parent no chance to end it."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _answer(task: Any) -> Any:
    return _unpickled(_given[-1])(task)


@functools.cache
def _unpickled(work: bytes) -> Callable[[Any], Any]:
    """The work, unpickled only with the first task, so that a failure reaches the caller as that task's error."""
    work_of: Callable[[Any], Any] = pickle.loads(work)
    return work_of
