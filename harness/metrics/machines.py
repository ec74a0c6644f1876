"""On which machine an output's runs were made, and so which of their figures may be compared with another's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorisbench.common.errors import InputError
from lorisbench.common.reading import read_json
from lorisbench.metrics.table import in_results

OF_MACHINE = tuple(metric.name for metric in in_results() if metric.group == "Time" or metric.name == "peak_memory_mb")
"""The metrics that are measured rather than counted: another machine has others for the same runs."""


@dataclass(frozen=True)
class Machine:
    """What env.json says of a machine; of two that say the same it is not known that they are two."""

    cpu: str
    cores: int | None
    gpu: str
    system: str

    def __str__(self) -> str:
        parts = (self.cpu, f"{self.cores} cores" if self.cores else "", self.gpu, self.system)
        return ", ".join(filter(None, parts))


def machine_of(environment: Mapping[str, Any] | None) -> Machine | None:
    """The machine of an env.json; None if it names none."""
    told = (environment or {}).get("machine")
    if not isinstance(told, Mapping) or not told.get("cpu"):
        return None
    cores = told.get("cores")
    return Machine(
        str(told["cpu"]),
        cores if isinstance(cores, int) else None,
        str(told.get("gpu") or ""),
        str(told.get("system") or ""),
    )


def environment_of(out: Path, run: str) -> dict[str, Any] | None:
    """The env.json of a run, or else that of its output (`results/reference/` keeps one for all runs).

    None if there is none, or if it is damaged.
    """
    places = [out / "env.json"]
    if run and Path(run).name == run and run not in (".", ".."):
        places.insert(0, out / "runs" / run / "env.json")
    for place in places:
        try:
            if (found := read_json(place)) is not None:
                return found
        except InputError:
            continue
    return None


def machines_of(out: Path, runs: Iterable[str]) -> set[Machine | None]:
    """The machines of these runs of an output; None among them for runs that do not say."""
    return {machine_of(environment_of(out, run)) for run in runs}


def differing_machines(a: set[Machine | None], b: set[Machine | None]) -> str:
    """Why times of runs on the machines `a` and on `b` are not comparable; empty if all are from one machine."""
    if None in a | b:
        return "env.json does not say on which machine each run was made"
    if len(a | b) > 1:
        return f"they come from different machines ({'; '.join(_names(a))} and {'; '.join(_names(b))})"
    return ""


def _names(machines: set[Machine | None]) -> list[str]:
    return sorted(map(str, machines))
