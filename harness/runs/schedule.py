"""Which run is trained next, by whom, and what follows from how it ended: claims, time limits, second attempts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lorisbench.common.console import say
from lorisbench.common.errors import InputError
from lorisbench.runs.claims import Beats, Claim, Watch, claim
from lorisbench.runs.crews import Crew, Died, Ended, Event, Progress, Refused, Said, Vanished
from lorisbench.runs.directory import ENDED, FINISHED, RunDirectory
from lorisbench.runs.log import tail_of
from lorisbench.runs.policy import Policy
from lorisbench.runs.resume import Checkpoints
from lorisbench.runs.store import Output
from lorisbench.runs.twins import copy_run

if TYPE_CHECKING:
    from lorisbench.suite.spec import RunSpec

LOOK = 1.0  # seconds between two looks at runs that other processes hold
MOVES = 5  # times that a run is begun again because its machine is gone, before the run is held to be why
LOST = "lost"  # in place of the name of a signal
OUT_OF_MEMORY = ("OutOfMemoryError", "MemoryError", "CUDA out of memory", "can't allocate memory")


@dataclass
class _Attempt:
    spec: RunSpec
    claim: Claim
    again: bool
    began: float | None = None  # when its process was ready for it
    timed_out: bool = False


class Schedule:
    """Trains what is to be trained of a suite together with whoever else works on its folder.

    Parameters
    ----------
    todo : the runs, in the order in which they are to be trained.
    before : each run as `RunDirectory.stamped` says, before it was decided that it is to be trained; a run that has
        ended since then has been trained by another process.
    heard : is called with what crews tell besides the end of runs.
    twins : for runs that are another one over again, that one (see `twins.twins`). They wait for it and are copied.
    """

    def __init__(
        self,
        output: Output,
        todo: Sequence[RunSpec],
        before: Mapping[str, Mapping[str, Any]],
        crew: Crew,
        policy: Policy,
        heard: Callable[[Event], None],
        twins: Mapping[str, RunSpec] | None = None,
    ) -> None:
        self._output, self._crew, self._policy, self._heard = output, crew, policy, heard
        self._waiting = list(todo)
        self._twins = twins or {}
        self._before = before
        self._attempts = {spec.run_id: 0 for spec in todo}
        self._moves = dict.fromkeys(self._attempts, 0)
        self._running: dict[str, _Attempt] = {}
        self._watch = Watch()
        self._told_to_wait = False

    def ended(self) -> Generator[str, None, None]:
        """The id of each run when it ends, whoever trained it, until all have ended.

        Whatever ends the iteration, the runs that this process trains stop after their present step, and all claims
        are given up. Raises InputError if what the runs need cannot be used.
        """
        with Beats() as self._beats:
            try:
                while self._waiting or self._running:
                    yield from self._begin()
                    yield from self._listen()
            finally:
                self._close()

    def _begin(self) -> Iterator[str]:
        """Start runs for as long as the crew can take one and there is one; yields those that others have ended.

        A second attempt is made alone: before and beside it, this process trains nothing else.
        """
        if not (self._output.root / "suite.yaml").is_file():
            raise InputError(f"{self._output.root}: suite.yaml has vanished while the suite was being trained")
        for again in (False, True):
            for spec in [spec for spec in self._waiting if bool(self._attempts[spec.run_id]) == again]:
                room = self._crew.size - len(self._running)
                if room < 1 or any(a.again for a in self._running.values()) or (again and self._running):
                    return
                twin = self._twins.get(spec.run_id)
                if twin is not None and (twin in self._waiting or twin.run_id in self._running):
                    continue
                held = claim(self._output.run(spec.run_id).path, self._watch)
                if held is None:
                    continue
                self._waiting.remove(spec)
                if self._ended_elsewhere(spec) or self._is_copied(spec, twin, held):
                    held.release(finished=True)
                    yield spec.run_id
                    continue
                if spec.label in self._policy.rerun and not again:
                    Checkpoints(RunDirectory(held.folder, held.number), spec.told).remove()
                self._beats.add(held)
                self._running[spec.run_id] = _Attempt(spec, held, again)
                self._crew.start(spec, held)
        if self._waiting and not self._running and not self._told_to_wait:
            self._told_to_wait = True
            number = len(self._waiting)
            say(f"{number} {'run is' if number == 1 else 'runs are'} being trained by other processes; waiting")

    def _is_copied(self, spec: RunSpec, twin: RunSpec | None, held: Claim) -> bool:
        """Copy a run from the finished one that it is over again; False if it has to be trained."""
        if twin is None or self._status(twin)["status"] not in FINISHED:
            return False
        copy_run(self._output.run(twin.run_id), twin.seed, RunDirectory(held.folder, held.number))
        return True

    def _ended_elsewhere(self, spec: RunSpec) -> bool:
        now = self._output.run(spec.run_id).stamped()
        return now["status"] in ENDED and now != self._before[spec.run_id]

    def _status(self, spec: RunSpec) -> dict[str, Any]:
        return self._output.run(spec.run_id).status()

    def _listen(self) -> Iterator[str]:
        for event in self._crew.events(LOOK):
            if isinstance(event, Progress):
                running = self._running[event.run_id]
                running.began = running.began or time.monotonic()
            if isinstance(event, (Progress, Said)):
                self._heard(event)
                continue
            attempt = self._running.pop(event.run_id)
            if isinstance(event, Refused):
                self._give_up(attempt, finished=False)
                raise InputError(event.reason)
            if self._comes_again(attempt, event):
                self._give_up(attempt, finished=False)
                self._waiting.append(attempt.spec)
            else:
                self._give_up(attempt, finished=True)
                yield event.run_id
        self._enforce_time_limit()

    def _comes_again(self, attempt: _Attempt, event: Ended | Died | Vanished) -> bool:
        """Write down how a run ended if its process could not; returns whether it is to be trained again."""
        spec = attempt.spec
        if isinstance(event, Vanished):
            self._moves[spec.run_id] += 1
            if self._moves[spec.run_id] <= MOVES and not attempt.timed_out:
                self._directory(attempt).set_status("pending", f"to go on elsewhere: {event.reason}")
                say(f"{spec.told}: {event.reason}; it goes on elsewhere")
                return True
            event = Died(spec.run_id, f"{event.reason}, {self._moves[spec.run_id]} times in all", LOST)
        if isinstance(event, Ended):
            if event.lost:
                return True
            status = self._status(spec)
            if status["status"] not in ENDED:  # its process was told to stop, and nobody else was
                return True
            may_pass = status["status"] == "failed" and any(word in status["reason"] for word in OUT_OF_MEMORY)
            reason = status["reason"]
        else:
            may_pass = bool(event.signal) and not attempt.timed_out
            reason = event.reason
        if may_pass and self._attempts[spec.run_id] < self._policy.retries:
            self._attempts[spec.run_id] += 1
            self._directory(attempt).set_status("pending", f"to be tried again: {reason}")
            say(f"{spec.told}: {reason}; it is tried again, alone, when the others have ended")
            return True
        if isinstance(event, Died):
            directory = self._directory(attempt)
            if attempt.timed_out:
                reason = f"it took longer than --time-limit {self._policy.time_limit:g} s"
            elif self._attempts[spec.run_id]:
                reason += f" ({self._attempts[spec.run_id] + 1} attempts)"
            more: Mapping[str, Any] = {"signal": event.signal} if event.signal else {}
            directory.set_status("failed", reason, log=tail_of(directory.path), **more)
        return False

    def _directory(self, attempt: _Attempt) -> RunDirectory:
        return RunDirectory(self._output.run(attempt.spec.run_id).path, attempt.claim.number)

    def _give_up(self, attempt: _Attempt, finished: bool) -> None:
        self._beats.remove(attempt.claim)
        finished = finished and self._status(attempt.spec)["status"] in ENDED
        attempt.claim.release(finished)

    def _enforce_time_limit(self) -> None:
        limit, now = self._policy.time_limit, time.monotonic()
        for run_id, attempt in self._running.items() if limit is not None else ():
            if attempt.began is not None and not attempt.timed_out and now - attempt.began > limit:  # type: ignore[operator]
                attempt.timed_out = True
                self._crew.kill(run_id)

    def _close(self) -> None:
        self._crew.close()
        for event in self._crew.events(0.0):
            if isinstance(event, (Ended, Died, Vanished)) and event.run_id in self._running:
                attempt = self._running.pop(event.run_id)
                self._settle(attempt)
        for attempt in self._running.values():
            self._settle(attempt)
        self._running.clear()

    def _settle(self, attempt: _Attempt) -> None:
        """Leave a run that was stopped to whoever comes next."""
        with contextlib.suppress(Exception):  # it expires by itself; nothing may hide why the suite ends
            if self._status(attempt.spec)["status"] == "running":
                self._directory(attempt).set_status("pending", "interrupted")
        self._give_up(attempt, finished=True)
