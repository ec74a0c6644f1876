"""Where runs are trained: in this process, in local worker processes, or on a Ray cluster."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorisbench.common.console import hide_warnings
from lorisbench.common.errors import InputError
from lorisbench.common.processes import map_unordered
from lorisbench.common.registry import carried, nearest

if TYPE_CHECKING:
    from lorisbench.runs.one_run import Workbench
    from lorisbench.suite.spec import RunSpec


def here(bench: Workbench, specs: Sequence[RunSpec], out: Path) -> Iterator[str]:
    """Train the runs one after another in this process; yields each run's id when it ends."""
    from lorisbench.runs.one_run import train
    from lorisbench.runs.store import Output

    for spec in specs:
        train(bench, spec, Output(out).run(spec.run_id))
        yield spec.run_id


def local(resolved: dict[str, Any], run_ids: Sequence[str], out: Path, workers: int) -> Iterator[str]:
    """Train the runs in `workers` fresh processes; yields each run's id when it ends.

    Results do not depend on the number of workers: a run takes no random numbers from outside itself, and a worker has
    the thread count that the run would have in this process. An interrupt stops the workers. Raises InputError if one
    is killed.
    """
    work = functools.partial(train_by_id, json.dumps(resolved), out=str(out), kinds=carried(resolved))
    with contextlib.closing(map_unordered(work, run_ids, workers)) as ended:
        for run_id, _ in ended:
            yield run_id


def ray(resolved: dict[str, Any], run_ids: Sequence[str], out: Path, workers: int) -> Iterator[str]:
    """Train the runs as Ray tasks; `out`, the cache folder and the data must be on a file system all nodes share."""
    import ray as cluster

    started = not cluster.is_initialized()
    if started:
        cluster.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
    try:
        task = cluster.remote(max_retries=0)(train_by_id)
        suite, kinds = cluster.put(json.dumps(resolved)), carried(resolved)
        pending = {task.remote(suite, run_id, str(out), kinds): run_id for run_id in run_ids}
        while pending:
            (ready, *_), _ = cluster.wait(list(pending), num_returns=1)
            cluster.get(ready)
            yield pending.pop(ready)
    finally:
        if started:
            cluster.shutdown()


def train_by_id(resolved: str, run_id: str, out: str, kinds: Sequence[type]) -> None:
    """Train one run of a resolved suite, given as JSON, in this process; what runs share is prepared with the first.

    `kinds` are those strategies and benchmarks named by the suite that a script or notebook defines.
    """
    for kind in kinds:
        kind.registry.add(kind.name, kind)  # type: ignore[attr-defined]
    hide_warnings()  # before Avalanche is imported, which emits some
    from lorisbench.runs.one_run import train
    from lorisbench.runs.store import Output

    bench_of, specs = _prepared(resolved)
    spec = specs[run_id]
    train(bench_of(spec.stream), spec, Output(Path(out)).run(run_id))


@functools.lru_cache(maxsize=1)  # a worker of a Ray cluster may see one suite after another
def _prepared(resolved: str) -> tuple[Callable[[str], Workbench], dict[str, RunSpec]]:
    """What the runs of a suite's stream share in this process, by the stream's name, and the suite's runs by id."""
    from lorisbench.runs.one_run import prepare
    from lorisbench.suite.config import SuiteConfig
    from lorisbench.suite.parsing import parse
    from lorisbench.suite.resolve import resolve

    suite = resolve(parse(SuiteConfig, json.loads(resolved)))

    def make(stream: str) -> Workbench:
        config = suite.streams[stream]
        return prepare(config, config.benchmark.usable(config.evaluation.split))

    return one_at_a_time(make), {spec.run_id: spec for spec in suite.runs}


def one_at_a_time(make: Callable[[str], Workbench]) -> Callable[[str], Workbench]:
    """`make`, but what it made last is kept for the next call, and let go before something else is made."""
    kept: dict[str, Workbench] = {}

    def get(stream: str) -> Workbench:
        if stream not in kept:
            kept.clear()
            kept[stream] = make(stream)
        return kept[stream]

    return get


Executor = Callable[[dict[str, Any], Sequence[str], Path, int], Iterator[str]]
EXECUTORS: dict[str, Executor] = {"local": local, "ray": ray}


def check_executor(name: str) -> None:
    """Raises InputError for an unknown executor, or one whose package is not installed, before anything is loaded."""
    if name not in EXECUTORS:
        raise InputError(f"unknown executor {name!r}{nearest(name, EXECUTORS)}")
    if name == "ray":
        try:
            import ray  # noqa: F401
        except ImportError as error:
            raise InputError("--executor ray needs the package ray: pip install 'lorisbench[ray]'") from error
