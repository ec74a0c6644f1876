"""The crews by name: local processes, this process, or a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorisbench.common.errors import InputError
from lorisbench.common.registry import nearest
from lorisbench.runs.crews import Crew, Here

if TYPE_CHECKING:
    from lorisbench.runs.one_run import Workbench

EXECUTORS = ("local", "ray")


def crew_of(
    executor: str,
    resolved: Mapping[str, Any],
    bench_of: Callable[[str], Workbench],
    out: Path,
    workers: int,
    logs: Sequence[str],
) -> Crew:
    """The crew of an executor with `workers` processes; without any, the local one trains in this process.

    logs : see `crews.train_claimed`. bench_of : what a run shares with others, in this process.
    """
    if executor == "ray":
        from lorisbench.runs.cluster import Cluster

        return Cluster(resolved, out, max(1, workers), logs)
    if workers:
        from lorisbench.runs.workers import Local

        return Local(resolved, out, workers, logs)
    return Here(bench_of, out, logs)


def check_executor(name: str) -> None:
    """Raises InputError for an unknown executor, or one whose package is not installed, before anything is loaded."""
    if name not in EXECUTORS:
        raise InputError(f"unknown executor {name!r}{nearest(name, EXECUTORS)}")
    if name == "ray":
        try:
            import ray  # noqa: F401
        except ImportError as error:
            raise InputError("--executor ray needs the package ray: pip install 'lorisbench[ray]'") from error
