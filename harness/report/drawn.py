"""Plots drawn and written, in several processes where that is safe and there are cores for them."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from lorisbench.common.environment import cores
from lorisbench.report import style
from lorisbench.report.drawings import Plan, Plans
from lorisbench.report.style import Plot

FEW = 5
"""Plots that take no longer here than it takes to begin processes."""


@dataclass(frozen=True)
class Plots:
    """The plots that were written, and a sentence for each that could not be drawn."""

    written: list[Plot]
    omitted: list[str]


def write(planned: Plans, folder: Path, names: Sequence[str] = ()) -> Plots:
    """Draw the plots with these names (see `Plans.wanted`) and write their files."""
    wanted = planned.wanted(names)
    drawn = _in_processes(wanted, folder) if len(wanted) > FEW and _may_fork() else {}
    found = {plan.name: drawn[plan.name] if plan.name in drawn else _written(plan, folder) for plan in wanted}
    saved = {name: plot for name, plot in found.items() if plot is not None}

    omitted = [plan.omitted for plan in wanted if plan.name not in saved and plan.omitted]
    return Plots(list(saved.values()), [*omitted, *planned.omitted])


def _written(plan: Plan, folder: Path) -> Plot | None:
    with style.plain_style():
        drawing = plan.draw()
        return style.save(drawing, folder) if drawing is not None else None


def _may_fork() -> bool:
    """Whether a fork of this process can draw: it has no other thread, and nothing that has threads of its own."""
    alone = threading.active_count() == 1 and not {"torch", "ray"} & set(sys.modules)
    return sys.platform == "linux" and alone and (cores() or 1) > 1


_held: tuple[Sequence[Plan], Path] | None = None


def _hold(plans: Sequence[Plan], folder: Path) -> None:
    global _held
    _held = plans, folder


def _of_held(place: int) -> Plot | None:
    assert _held is not None
    plans, folder = _held
    return _written(plans[place], folder)


def _in_processes(plans: Sequence[Plan], folder: Path) -> dict[str, Plot | None]:
    """Those of the plots that forked processes drew: all of them, unless one was killed.

    What is drawn is in the memory of this process, and of its forks: nothing is sent but numbers of plots.
    """
    found: dict[str, Plot | None] = {}
    sys.stdout.flush()
    with ProcessPoolExecutor(
        min(cores() or 1, 4), get_context("fork"), initializer=_hold, initargs=(plans, folder)
    ) as pool:
        turn = sorted(range(len(plans)), key=lambda place: plans[place].name != "matrices")  # it takes longest
        try:
            for place, plot in zip(turn, pool.map(_of_held, turn), strict=True):
                found[plans[place].name] = plot
        except BrokenProcessPool:
            pass
    return found
