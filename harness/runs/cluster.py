"""Training on a Ray cluster whose machines share nothing: runs travel there and back, and only this process writes.

Each run is a task that yields what happens. What it yields last is how the run ended; until then, each checkpoint comes
back as it is written, so that a run whose machine is gone goes on elsewhere.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorisbench.common.errors import InputError
from lorisbench.runs.claims import Claim, Lost
from lorisbench.runs.crews import Died, Ended, Event, Refused, Vanished
from lorisbench.runs.luggage import code_of, material_of
from lorisbench.runs.node import Order, Placed, leave_there, train_there
from lorisbench.runs.parcels import Parcel, put_down, taken

if TYPE_CHECKING:
    from lorisbench.runs.workbench import Workbench
    from lorisbench.suite.spec import RunSpec

PATIENCE = 10.0  # seconds in which a cluster has to answer
GRACE = 10.0  # seconds in which a task that is cancelled has to end before its process is killed
AGAIN = 5.0  # seconds after which it is asked again what the cluster has


@dataclass(frozen=True)
class Share:
    """What of a cluster is used: its address (that of RAY_ADDRESS, or Ray on this machine, if empty), and how many CPUs
    and GPUs a run gets."""

    address: str = ""
    cpus: float = 1.0
    gpus: float = 0.0


@contextlib.contextmanager
def connected(share: Share, workers: int | None) -> Iterator[bool]:
    """Be connected to a Ray cluster meanwhile: to the one that this process is connected to, or that `share` names.

    Gives whether it was started here, so that all of it has this process's cache.

    workers : how many runs are trained at a time where Ray is started on this machine; None for as many as it can.
    Raises InputError if the cluster cannot be reached, or if no machine of it has what a run is to get.
    """
    import ray

    if ray.is_initialized():
        _check_fits(share)
        yield False
        return
    address = share.address or os.environ.get("RAY_ADDRESS", "")
    if address.startswith("ray://"):
        raise InputError(f"--address {address}: start it on a machine of the cluster, with auto or HOST:PORT")
    _check_answers(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    here = address in ("", "local")
    with _handlers_kept():
        try:
            if not here:
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            else:
                ray.init(
                    address="local", num_cpus=max(1, round(workers * share.cpus)) if workers else None,
                    include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR,
                )  # fmt: skip
        except (ConnectionError, OSError, RuntimeError, ValueError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise InputError(f"--address {address or 'local'}: no Ray cluster can be used there ({reason})") from error
    try:
        _check_fits(share)
        yield here
    finally:
        with _handlers_kept():
            ray.shutdown()


def _check_answers(address: str) -> None:
    """Raise InputError unless something answers at HOST:PORT: Ray itself would try for minutes, and end the process."""
    if address in ("", "local", "auto"):
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise InputError(f"--address {address}: auto or HOST:PORT was expected")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise InputError(f"--address {address}: no Ray cluster answers there ({error})") from error


@contextlib.contextmanager
def _handlers_kept() -> Iterator[None]:
    """Ray puts handlers of its own in the place of this process's; here those before it come back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # not in the main thread, where Ray does not either
            for number, handler in before.items():
                signal.signal(number, handler)


def _check_fits(share: Share) -> None:
    import ray

    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for kind, wanted in (("CPU", share.cpus), ("GPU", share.gpus)):
        most = max((machine.get(kind, 0.0) for machine in machines), default=0.0)
        if wanted > most:
            option = f"--{kind.lower()}s-per-run {wanted:g}"
            raise InputError(f"{option}: no machine of the Ray cluster has more than {most:g} {kind}s")


@dataclass
class _Task:
    spec: RunSpec
    number: int
    machines: frozenset[str]  # where it may be: those of the cluster when it began, until it tells
    killed: float = 0.0


class Cluster:
    """Trains runs as Ray tasks, which Ray places on the machines of the cluster that this process is connected to.

    Parameters
    ----------
    bench_of : what the runs of a stream share, in this process. size : how many runs are trained at a time; None for as
        many as the cluster has CPUs and GPUs for, at present. same_cache : whether all machines have this one's cache.
    """

    def __init__(
        self,
        resolved: Mapping[str, Any],
        bench_of: Callable[[str], Workbench],
        out: Path,
        size: int | None,
        share: Share,
        logs: Sequence[str],
        same_cache: bool = False,
    ) -> None:
        import ray

        self._ray, self._bench_of, self._out, self._share, self._wanted = ray, bench_of, out, share, size
        # Ray does not try again by itself: it would send what the run was at its beginning
        self._train = ray.remote(train_there).options(
            num_cpus=share.cpus, num_gpus=share.gpus, num_returns="streaming", max_retries=0, name="lorisbench"
        )
        self._code = ray.put(code_of(resolved, out, logs))
        self._materials: dict[str, Any] = {}
        self._tasks: dict[Any, _Task] = {}
        self._told: list[Event] = []
        self._counted = 0, 0.0
        self._looked = time.monotonic()
        self._put = None if same_cache else ray.put

    @property
    def size(self) -> int:
        if self._wanted:
            return self._wanted
        count, then = self._counted
        if not count or time.monotonic() - then > AGAIN:
            has = self._ray.cluster_resources()
            shares = [(has.get("CPU", 0.0), self._share.cpus), (has.get("GPU", 0.0), self._share.gpus)]
            count = max(1, min(int(there / each) for there, each in shares if each))
            self._counted = count, time.monotonic()
        return count

    def start(self, spec: RunSpec, claim: Claim) -> None:
        if spec.stream not in self._materials:
            self._materials[spec.stream] = self._ray.put(material_of(self._bench_of(spec.stream), self._put))
        order = Order(
            spec.run_id, spec.stream, [self._code], [self._materials[spec.stream]], taken(self._out, spec.run_id),
            str(self._out), threads=max(1, int(self._share.cpus)),
        )  # fmt: skip
        self._tasks[self._train.remote(order)] = _Task(spec, claim.number, frozenset(self._machines()))

    def events(self, seconds: float) -> list[Event]:
        if self._tasks and not self._told:
            self._ray.wait(list(self._tasks), timeout=seconds, fetch_local=False)
        elif not self._told:
            time.sleep(seconds)
        while ready := self._ready():
            for stream in ready:
                self._told += self._next(stream)
        for stream, task in self._tasks.items():
            if task.killed and time.monotonic() - task.killed > GRACE:
                self._ray.cancel(stream, force=True)
        self._told += self._gone()
        told, self._told = self._told, []
        return told

    def _machines(self) -> list[str]:
        """Ray's ids of the machines of the cluster."""
        return [node["NodeID"] for node in self._ray.nodes() if node["Alive"]]

    def _gone(self) -> list[Event]:
        """The runs whose machine is gone. Where its network is, Ray itself waits for the task for a long time."""
        if not self._tasks or time.monotonic() - self._looked < AGAIN:
            return []
        self._looked = time.monotonic()
        alive = set(self._machines())
        gone = {stream: task for stream, task in self._tasks.items() if not task.machines <= alive}
        for stream in gone:
            self._ray.cancel(stream, force=True)
            del self._tasks[stream]
        return [
            Died(task.spec.run_id, "its task was cancelled", "SIGKILL")
            if task.killed
            else Vanished(task.spec.run_id, "its machine is gone")
            for task in gone.values()
        ]

    def _ready(self) -> list[Any]:
        streams = list(self._tasks)
        if not streams:
            return []
        return list(self._ray.wait(streams, num_returns=len(streams), timeout=0, fetch_local=False)[0])

    def _next(self, stream: Any) -> list[Event]:
        """The next of what a task tells; its files are put down."""
        task = self._tasks[stream]
        run_id = task.spec.run_id
        try:
            told = self._ray.get(next(stream))
            if isinstance(told, Placed):
                task.machines = frozenset([told.machine])
                return []
            if isinstance(told, Parcel):
                put_down(told, self._out, task.number)
                return []
        except Lost:
            self._ray.cancel(stream, force=False)
            told = Ended(run_id, lost=True)
        except StopIteration:
            told = Vanished(run_id, "its task ended without a word")
        except self._ray.exceptions.RayError as error:
            told = self._of_error(run_id, task, error)
        if isinstance(told, Ended | Died | Vanished | Refused):
            del self._tasks[stream]
        return [told]

    def _of_error(self, run_id: str, task: _Task, error: Exception) -> Event:
        """How a run ended whose task did not tell it."""
        known = self._ray.exceptions
        if task.killed:
            return Died(run_id, "its task was cancelled", "SIGKILL")
        cause = getattr(error, "cause", None) or error
        if isinstance(cause, known.OutOfMemoryError):
            return Died(run_id, "Ray ended it since the memory of its machine ran out", "SIGKILL")
        if isinstance(cause, known.TaskCancelledError):
            return Vanished(run_id, "its task was cancelled")
        if isinstance(error, known.RayTaskError | known.RuntimeEnvSetupError | known.TaskUnschedulableError):
            return Died(run_id, f"its task failed ({' '.join(str(cause).split())[-500:]})")
        return Vanished(run_id, f"its machine, or Ray on it, is gone ({type(error).__name__})")

    def kill(self, run_id: str) -> None:
        for stream, task in self._tasks.items():
            if task.spec.run_id == run_id and not task.killed:
                task.killed = time.monotonic()
                self._ray.cancel(stream, force=False)

    def close(self) -> None:
        """Cancel what is being trained; its last checkpoint is here."""
        told = self.events(0.0)
        for task in list(self._tasks.values()):
            self.kill(task.spec.run_id)
        until = time.monotonic() + GRACE
        while self._tasks and time.monotonic() < until:
            told += self.events(0.2)
        for stream in self._tasks:
            self._ray.cancel(stream, force=True)
        self._tasks.clear()
        with contextlib.suppress(self._ray.exceptions.RayError):  # nothing may hide why the suite ends
            self._leave()
        self._told = [event for event in told if not isinstance(event, Died)]  # stopped, not failed

    def _leave(self) -> None:
        """Let each machine remove what the runs have left there."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        leave = self._ray.remote(leave_there)
        left = [
            leave.options(num_cpus=0, max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(machine, False))
            .remote(self._code.hex())
            for machine in self._machines()
        ]  # fmt: skip
        self._ray.wait(left, num_returns=len(left), timeout=GRACE)
