"""Training on a Ray cluster; the output, the cache and the data must be on a file system that all nodes share."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorisbench.common.console import hide_warnings
from lorisbench.common.registry import carried
from lorisbench.runs.claims import Claim
from lorisbench.runs.crews import Died, Ended, Event, Refused, prepared, train_claimed

if TYPE_CHECKING:
    from lorisbench.suite.spec import RunSpec


class Cluster:
    """Trains runs as Ray tasks, `size` at a time."""

    def __init__(self, resolved: Mapping[str, Any], out: Path, size: int, logs: Sequence[str]) -> None:
        import ray

        self.size, self._out, self._ray = size, out, ray
        self._started = not ray.is_initialized()
        if self._started:
            ray.init(num_cpus=size, include_dashboard=False, log_to_driver=False)
        self._task = ray.remote(max_retries=0)(_train)
        self._given = ray.put(json.dumps(resolved)), str(out), tuple(logs), carried(resolved)
        self._pending: dict[Any, str] = {}

    def start(self, spec: RunSpec, claim: Claim) -> None:
        self._pending[self._task.remote(*self._given, spec.run_id, claim.number)] = spec.run_id

    def events(self, seconds: float) -> list[Event]:
        if not self._pending:
            return []
        told: list[Event] = []
        ready, _ = self._ray.wait(list(self._pending), timeout=seconds)
        for reference in ready:
            run_id = self._pending.pop(reference)
            try:
                told.append(self._ray.get(reference))
            except self._ray.exceptions.RayError as error:
                told.append(Died(run_id, f"its task was lost ({type(error).__name__})", "RAY"))
        return told

    def kill(self, run_id: str) -> None:
        for reference in [reference for reference, name in self._pending.items() if name == run_id]:
            self._ray.cancel(reference, force=True)

    def close(self) -> None:
        for reference in self._pending:
            self._ray.cancel(reference, force=True)
        if self._started:
            self._ray.shutdown()


def _train(
    resolved: str, out: str, logs: Sequence[str], kinds: list[type], run_id: str, number: int
) -> Ended | Refused:
    hide_warnings()  # before Avalanche is imported, which emits some
    for kind in kinds:
        kind.registry.add(kind.name, kind)  # type: ignore[attr-defined]
    bench_of, specs = _prepared(resolved)
    spec = specs[run_id]
    return train_claimed(bench_of(spec.stream), spec, Path(out), number, logs, lambda: False, lambda _: None)


_prepared = functools.lru_cache(maxsize=1)(prepared)  # a node may see one suite after another
