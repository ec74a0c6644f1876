"""The crews by name: local processes, this process, or a Ray cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorisbench.common.errors import InputError
from lorisbench.common.registry import nearest
from lorisbench.runs.crews import Crew, Here

if TYPE_CHECKING:
    from lorisbench.model.features import Extract
    from lorisbench.runs.workbench import Workbench
    from lorisbench.suite.config import BackboneConfig

EXECUTORS = ("local", "ray")


@dataclass(frozen=True)
class Ready:
    """Who is ready to train.

    Attributes
    ----------
    crew : makes the crew of a suite (written out), from what the runs of a stream share in this process, the output,
        how many runs are to be trained, and the logs (see `crews.train_claimed`).
    extractor : of a backbone with these settings, what extracts features in place of `features.extract`, if not None.
    """

    crew: Callable[[Mapping[str, Any], Callable[[str], Workbench], Path, int, Sequence[str]], Crew]
    extractor: Callable[[BackboneConfig], Extract] | None = None


@dataclass(frozen=True)
class Executor:
    """Who trains.

    Attributes
    ----------
    name : one of `EXECUTORS`. workers : how many runs are trained at a time. Locally, 0 trains in this process, None is
        as `usual_workers` says; on Ray, 0 and None are as many as its CPUs and GPUs allow.
    address, cpus, gpus : of the Ray cluster, and of it for each run, see `cluster.Share`; None for the default.
    """

    name: str = "local"
    workers: int | None = None
    address: str | None = None
    cpus: float | None = None
    gpus: float | None = None

    def check(self) -> None:
        """Raises InputError for an unknown executor, options that it does not have, or if its package is missing."""
        if self.name not in EXECUTORS:
            raise InputError(f"unknown executor {self.name!r}{nearest(self.name, EXECUTORS)}")
        given = {"--address": self.address, "--cpus-per-run": self.cpus, "--gpus-per-run": self.gpus}
        for option, value in given.items():
            if value is not None and self.name != "ray":
                raise InputError(f"{option} is for --executor ray")
        if self.cpus is not None and not 0 < self.cpus < float("inf"):
            raise InputError(f"--cpus-per-run {self.cpus:g}: a number above 0 was expected")
        if self.gpus is not None and not 0 <= self.gpus < float("inf"):
            raise InputError(f"--gpus-per-run {self.gpus:g}: a number from 0 was expected")
        for option, number in (("--cpus-per-run", self.cpus), ("--gpus-per-run", self.gpus)):
            if number is not None and number > 1 and number != int(number):
                raise InputError(f"{option} {number:g}: above 1, a whole number was expected")
        if self.name == "ray":
            try:
                import ray  # noqa: F401
            except ImportError as error:
                raise InputError("--executor ray needs the package ray: pip install 'lorisbench[ray]'") from error

    def warm_up(self) -> None:
        """Start what takes time before the first run, where workers of this machine train."""
        if self.name == "local" and self.workers != 0:
            from lorisbench.runs.workers import warm_up

            warm_up()

    @contextlib.contextmanager
    def ready(self) -> Iterator[Ready]:
        """Be ready to train meanwhile. Raises InputError if a cluster cannot be used."""
        if self.name == "ray":
            from lorisbench.runs.cluster import Cluster, Share, connected
            from lorisbench.runs.shards import sharded

            share = Share(self.address or "", 1.0 if self.cpus is None else self.cpus, self.gpus or 0.0)
            with connected(share, self.workers) as same_cache:
                yield Ready(
                    lambda resolved, bench_of, out, runs, logs: Cluster(
                        resolved, bench_of, out, self.workers or None, share, logs, same_cache
                    ),
                    sharded,
                )
        elif self.workers == 0:
            yield Ready(lambda resolved, bench_of, out, runs, logs: Here(bench_of, out, logs))
        else:
            from lorisbench.runs.workers import Local, given_here

            self.warm_up()
            count = self.workers or 1
            yield Ready(
                lambda resolved, bench_of, out, runs, logs: Local(given_here(resolved, out, logs), min(count, runs))
            )
