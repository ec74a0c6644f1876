"""Conditions on the differences between two outputs: what `lorisbench compare --fail-on` says, and when it is true."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterable
from dataclasses import dataclass

from lorisbench.common.errors import InputError
from lorisbench.common.registry import nearest
from lorisbench.metrics.table import Metric, compared, named

OPERATORS = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}
POINTS, RELATIVE = "pp", "%"
ENDINGS = {"ms": "_ms", "MB": "_mb", "s": "_seconds"}  # of names, by unit: they may be left out
_PART = re.compile(r"\s*(\w+)\s*(<=|>=|<|>)\s*([-+]?[0-9.]+(?:e[-+]?\d+)?)\s*(%|[a-zA-Z]+(?:/[a-z]+)?)?\s*")


@dataclass(frozen=True)
class Condition:
    """One part of a `--fail-on` expression: `metric symbol number unit`.

    number : in the unit given. unit : `%` (of A's mean), or one that is the metric's own or stands for it; empty for
    the unit of results.csv.
    """

    metric: str
    symbol: str
    number: float
    unit: str = ""

    def __str__(self) -> str:
        between = " " if self.unit and self.unit not in (POINTS, RELATIVE) else ""
        return f"{self.metric} {self.symbol} {self.number:g}{between}{self.unit}"

    def value(self, a: float, difference: float) -> float:
        """A difference B - A, as stored, in the unit of the condition; `a` is the mean of A.

        Relative to a mean of 0, no change is 0 and any other infinite.
        """
        if self.unit == RELATIVE:
            if a:
                return 100 * difference / abs(a)
            return math.copysign(math.inf, difference) if difference else 0.0
        if self.unit == POINTS:
            return 100 * difference
        return difference * named(self.metric).scale if self.unit else difference

    def holds(self, a: float, difference: float) -> bool:
        """Whether it is true of a difference B - A, as stored; `a` is the mean of A."""
        return bool(OPERATORS[self.symbol](self.value(a, difference), self.number))

    def told(self, a: float, difference: float) -> str:
        """The figure that the condition looks at, in its unit."""
        value, unit = self.value(a, difference), self.unit
        if unit in (POINTS, RELATIVE):
            return f"{value:+.2f}{' pp' if unit == POINTS else ' % of A'}"
        return f"{value:+.4f}{f' {unit}' if unit else ''}"


def conditions(expression: str) -> list[Condition]:
    """The parts of an expression `metric < number unit` (or <=, >, >=; commas join several).

    The unit may be left out (that of results.csv counts), or be `pp` for points of a fraction, `%` for a change
    relative to A, or the metric's own (ms, s, MB, …). Raises InputError if there is no part, or one cannot be read,
    names no metric, has a unit that the metric does not have, or could never be true.
    """
    return [_condition(part) for part in expression.split(",")]


def _condition(part: str) -> Condition:
    said = f"--fail-on {part.strip()!r}"
    match = _PART.fullmatch(part)
    if match is None:
        raise InputError(
            f'{said}: expected METRIC < NUMBER, perhaps with a unit, e.g. "accuracy_last < -0.5pp" or '
            f'"latency_p50_ms > +10%"'
        )
    word, symbol, number, unit = match.groups(default="")
    try:
        value = float(number)
    except ValueError:
        raise InputError(f"{said}: {number} is not a number") from None
    if not math.isfinite(value):
        raise InputError(f"{said}: {number} is too large a number to be compared with")
    metric = _metric(word, said)
    return Condition(metric.name, symbol, value, _unit(unit, metric, said))


def _metric(word: str, said: str) -> Metric:
    """The metric of this name, or of the only name that is this one with its unit at the end."""
    known = compared()
    full = [metric for metric in known if metric.name == word]
    short = [metric for metric in known if metric.name == word + ENDINGS.get(metric.unit, "")]
    for found in (full, short):
        if len(found) == 1:
            return found[0]
    names = [metric.name for metric in known]
    known_names = f"; known: {', '.join(names)}"
    raise InputError(f"{said}: unknown metric {word!r}{nearest(word, names) or known_names}")


def _unit(unit: str, metric: Metric, said: str) -> str:
    """The unit as it is written in messages, if the metric may have it."""
    own = POINTS if metric.unit in ("%", "points") else metric.unit
    allowed = [*([own] if own else []), RELATIVE]
    for each in allowed:
        if unit.lower() == each.lower():
            return each
    if not unit:
        return ""
    whole = "a fraction" if own == POINTS else f"in {own}" if own else "without a unit"
    raise InputError(f"{said}: {metric.name} is {whole}: {unit!r} is not among its units ({', '.join(allowed)})")


def metrics_of(wanted: Iterable[Condition]) -> list[str]:
    """The metrics that conditions are on, each once."""
    return list(dict.fromkeys(condition.metric for condition in wanted))
