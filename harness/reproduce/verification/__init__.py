"""Whether the strategies compute what their papers say: checks against closed forms and independent implementations.

They hold on any data, so they run on generated data, in seconds, through the harness's engine and registry.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lorisbench.common.errors import reason_of


@dataclass(frozen=True)
class Check:
    """One comparison.

    Attributes
    ----------
    name : what is checked, in one line. compared : what `figure` is, in one line.
    figure : must be finite and at most `tolerance`.
    control : the same figure with what is checked left out (naive in place of EWC, say): it must be above the
        tolerance, as the check could not fail otherwise; one that is NaN is not. None if there is no control.
    """

    name: str
    compared: str
    figure: float
    tolerance: float
    control: float | None = None

    @property
    def passed(self) -> bool:
        controlled = self.control is None or self.control > self.tolerance
        return self.figure <= self.tolerance and controlled


def largest(values: Sequence[float]) -> float:
    """The largest of these; NaN if one is not finite, or there is none: then nothing was checked."""
    return max(values) if values and all(map(math.isfinite, values)) else math.nan


def smallest(values: Sequence[float]) -> float:
    """The smallest of these; NaN as for `largest`."""
    return -largest([-value for value in values])


def run_checks(checks: Sequence[Callable[[], list[Check]]]) -> list[Check]:
    """The results of these checks; one that raises an exception has failed, and names it, without a figure."""
    from lorisbench.common.threads import one_thread

    found: list[Check] = []
    with one_thread():
        for check in checks:
            try:
                found += check()
            except Exception as error:
                found.append(Check(check.__name__.replace("_", " "), f"raised {reason_of(error)}", math.nan, 0.0))
    return found
