"""Worker processes that train runs: forked from a warm server, used again, replaced when they die."""

from __future__ import annotations

import contextlib
import functools
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import util
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorisbench.common import console
from lorisbench.common.allocator import keep_freed
from lorisbench.common.errors import InputError
from lorisbench.common.fingerprint import code_of, know
from lorisbench.common.processes import interrupts_wait, stop_signals
from lorisbench.common.registry import carried
from lorisbench.runs.claims import Claim
from lorisbench.runs.crews import Died, Ended, Event, Refused, Said, from_data, prepared, train_claimed
from lorisbench.runs.directory import RunDirectory
from lorisbench.runs.log import logged

if TYPE_CHECKING:
    from lorisbench.runs.workbench import Workbench
    from lorisbench.suite.resolve import ResolvedConfig
    from lorisbench.suite.spec import RunSpec

GRACE = 20.0  # seconds in which a run has to stop after its present step before its process is killed
LONGEST_FOLDER = 85


@dataclass
class _Worker:
    process: Any
    connection: Connection
    run_id: str = ""
    killed: bool = False


class Local:
    """Trains in `size` processes of this machine, so that whatever a run does ends at most this run.

    Results do not depend on `size`: a run takes no random numbers from outside itself, and a worker has the thread
    count that the run would have in this process. Scripts need no `__main__` guard, and strategies may be defined in a
    script or a notebook.
    """

    def __init__(self, given: Given, size: int) -> None:
        self.size = size
        self._workers: list[_Worker] = []
        self._left: list[Event] = []
        self._given = given

    def start(self, spec: RunSpec, claim: Claim) -> None:
        self.begin(spec.run_id, claim)

    def begin(self, run_id: str, claim: Claim) -> None:
        """Begin the run of this id."""
        worker = next((w for w in self._workers if not w.run_id), None) or self._hire()
        claim.works_for(worker.process.pid)
        worker.run_id = run_id
        with contextlib.suppress(OSError):  # it died since its last run, which `events` tells
            worker.connection.send((run_id, claim.number))

    def _hire(self) -> _Worker:
        here, there = multiprocessing.Pipe()
        process = _context().Process(target=serve, args=(there, self._given), name="lorisbench-worker")
        with main_hidden(), interrupts_wait():
            process.start()
        there.close()
        self._workers.append(_Worker(process, here))
        return self._workers[-1]

    def events(self, seconds: float) -> list[Event]:
        told, self._left = self._left, []
        # The end of a process shows in its sentinel: a child of its own may keep the pipe open
        watched = [each for worker in self._workers for each in (worker.connection, worker.process.sentinel)]
        ready = set(wait(watched, 0.0 if told else seconds))
        for worker in list(self._workers):
            ended = worker.process.sentinel in ready
            if ended or worker.connection in ready:
                told += self._heard(worker)
            if ended:
                told += self._bury(worker)
        return told

    def _heard(self, worker: _Worker) -> list[Event]:
        told: list[Event] = []
        with contextlib.suppress(EOFError, OSError):
            while worker.connection.poll():
                event = worker.connection.recv()
                if isinstance(event, (Ended, Refused)):
                    worker.run_id = ""
                told.append(event)
        return told

    def _bury(self, worker: _Worker) -> list[Event]:
        """Remove a worker whose process is gone, and tell of its run."""
        self._workers.remove(worker)
        worker.connection.close()
        worker.process.join()
        if not worker.run_id:
            return []
        code = worker.process.exitcode
        if code is None or code >= 0:
            return [Died(worker.run_id, f"its process ended with exit code {code}")]
        name = _signal_name(-code)
        why = ", as happens when memory runs out" if name == "SIGKILL" and not worker.killed else ""
        return [Died(worker.run_id, f"its process was killed by {name}{why}", name)]

    def kill(self, run_id: str) -> None:
        for worker in self._workers:
            if worker.run_id == run_id:
                worker.killed = True
                worker.process.kill()

    def close(self) -> None:
        busy = [worker for worker in self._workers if worker.run_id]
        for worker in busy:
            worker.process.terminate()  # it stops after the present step, and answers
        until = time.monotonic() + GRACE
        while any(worker.run_id for worker in self._workers) and time.monotonic() < until:
            self._left += self.events(0.2)
        for worker in self._workers:
            if worker.run_id:
                worker.process.kill()
            worker.connection.close()  # the end of its work
        for worker in self._workers:
            worker.process.join(5)
            if worker.process.exitcode is None:
                worker.process.kill()
        self._workers.clear()


def warm_up() -> None:
    """Start the server that workers are forked from, so that it imports torch while this process does other work."""
    if _context().get_start_method() == "forkserver":
        from multiprocessing import forkserver

        with main_hidden(), interrupts_wait():
            forkserver.ensure_running()


def _context() -> Any:
    """How workers are started: forked from the server, or, where that cannot be, as processes that import anew."""
    # A socket's name has room for 107 bytes, and this one lies in the temporary folder, which clusters nest deeply
    fits = len(os.fsencode(util.get_temp_dir())) <= LONGEST_FOLDER
    context: Any = multiprocessing.get_context("forkserver" if sys.platform == "linux" and fits else "spawn")
    if context.get_start_method() == "forkserver":
        context.set_forkserver_preload(["lorisbench.runs.warm"])
    return context


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@contextlib.contextmanager
def main_hidden() -> Iterator[None]:
    """Let new processes not run this process's main script again, which may have no `__main__` guard."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@dataclass(frozen=True)
class Given:
    """What every worker is given at its start: what to do, and what this process is like.

    Attributes
    ----------
    resolved : the suite, JSON. out : its output folder. logs : see `crews.train_claimed`.
    kinds : the classes that a script or notebook defines, pickled by value.
    make : makes what the runs of a stream share, from the stream's settings.
    scratch : a folder that is removed once the process that has started the workers is gone.
    """

    resolved: str
    out: Path
    logs: tuple[str, ...]
    kinds: bytes
    import_path: list[str]
    environment: dict[str, str]
    folder: str
    threads: int
    make: Callable[[ResolvedConfig], Workbench] = from_data
    scratch: str = ""


def by_value(kinds: Sequence[type]) -> bytes:
    """Classes that a script or a notebook defines and their fingerprints, for a process that has neither."""
    from joblib.externals.loky.backend.reduction import dumps

    return bytes(dumps([(kind, code_of([kind])) for kind in kinds]))


def given_here(resolved: Mapping[str, Any], out: Path, logs: Sequence[str]) -> Given:
    """What workers of this machine are given: they are to be like this process."""
    import torch

    return Given(
        resolved=json.dumps(resolved),
        out=out,
        logs=tuple(logs),
        kinds=by_value(carried(resolved)),
        import_path=list(sys.path),
        environment=dict(os.environ),
        folder=os.getcwd(),
        threads=torch.get_num_threads(),
    )


# In a worker process

_stopped = threading.Event()


def serve(connection: Connection, given: Given) -> None:
    """Train the runs whose ids come through a pipe, until its other end is closed."""
    keep_freed()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the first one decides
    for number in stop_signals():
        signal.signal(number, lambda *_: _stopped.set())
    threading.Thread(target=_end_with_parent, args=(given.scratch,), daemon=True).start()
    lock = threading.Lock()

    def tell(event: Event) -> None:
        with lock, contextlib.suppress(OSError):  # the parent is gone, and this process ends with it
            connection.send(event)

    console.relay_to(lambda line: tell(Said(line)))
    _become(given)
    while True:
        try:
            run_id, number = connection.recv()
        except (EOFError, OSError):
            return _removed(given.scratch)
        try:
            with logged(given.out / "runs" / run_id):
                bench_of, specs = _prepared(given.resolved, given.make)
                ended: Event = (
                    train_claimed(bench_of(spec.stream), spec, given.out, number, given.logs, _stopped.is_set, tell)
                    if (spec := specs.get(run_id)) is not None
                    else _of_other_code(given.out / "runs" / run_id, number)
                )
        except InputError as error:
            ended = Refused(run_id, str(error))
        tell(ended)
        if _stopped.is_set():
            return


def _of_other_code(folder: Path, number: int) -> Event:
    """End a run that is not among those of the suite as this process has read it: a plugin file was edited since."""
    reason = "the code of its strategy has changed since this suite was started; start it again"
    RunDirectory(folder, number).set_status("failed", reason)
    return Ended(folder.name)


def _become(given: Given) -> None:
    """Make this process like the one that it works for."""
    import torch

    sys.path[:] = given.import_path
    os.environ.clear()
    os.environ.update(given.environment)
    os.chdir(given.folder)
    torch.set_num_threads(given.threads)
    console.hide_warnings()
    for kind, code in pickle.loads(given.kinds):
        kind.registry.add(kind.name, kind)
        know(kind, code)


_prepared = functools.lru_cache(maxsize=1)(prepared)


def _removed(scratch: str) -> None:
    if scratch:
        shutil.rmtree(scratch, ignore_errors=True)


def _end_with_parent(scratch: str) -> None:
    """End this process once its parent has died, even from a signal that gave the parent no chance to end it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        _removed(scratch)
        os._exit(1)
