"""What Mammoth logs: `logs.pyd`, a Python dict a line for each run, and the same as JSON.

No line is evaluated: it is parsed, and only its literals are looked at.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lorisbench.common.errors import InputError
from lorisbench.common.reading import parse_json
from lorisbench.gather.foreign import MOST, Foreign, check, matrix_of, text_of, unmeasured_future

LONGEST = 4_000_000
"""Characters of a line that is parsed."""
_CELL = re.compile(r"accuracy_(\d{1,4})_task(\d{1,4})")
_MEAN = re.compile(r"accmean_task(\d{1,4})")
MEANS_ONLY = "holds means over the tasks alone (accmean_task…), and no accuracy on each"


def read_mammoth(path: Path) -> list[Foreign]:
    """The runs of a file, in its order; accuracies are per cent there.

    `accuracy_j_taskI` is R[i, j]. Logs of domain-incremental runs of older versions have `accmean_taskI` alone, the
    mean over the tasks so far: then only the last row's mean is known, which is also said in `notes`. Raises
    InputError, naming file and line, for anything else.
    """
    text = text_of(path)
    records = _records(text, path)
    if not records:
        raise InputError(f"{path}: is empty, where a run of Mammoth in each line was expected")
    return [_run(record, where, path) for where, record in records]


def _records(text: str, path: Path) -> list[tuple[str, dict[str, Any]]]:
    stripped = text.lstrip()
    if stripped.startswith("[") or (stripped.startswith("{") and path.suffix == ".json"):
        try:
            value = parse_json(text, str(path))
        except InputError:
            if stripped.startswith("["):
                raise
        else:
            found = value if isinstance(value, list) else [value]
            if not all(isinstance(each, dict) for each in found):
                raise InputError(f"{path}: a list of runs was expected, each a mapping")
            return [(f"{path}: run {place}", each) for place, each in enumerate(found, 1)]
    return [
        (f"{path}:{place}", _record(line.strip(), f"{path}:{place}"))
        for place, line in enumerate(text.splitlines(), 1)
        if line.strip()
    ]


def _record(line: str, where: str) -> dict[str, Any]:
    """The literals among the values of a line that shows a dict; all else in it is left out."""
    if len(line) > LONGEST:
        raise InputError(f"{where}: a line of more than {LONGEST // 1_000_000} million characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in texts
            shown = ast.parse(line, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"{where}: not a line that shows a dict of Python") from error
    if not isinstance(shown, ast.Dict):
        raise InputError(f"{where}: not a line that shows a dict of Python")
    found = {}
    for key, value in zip(shown.keys, shown.values, strict=True):
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            found[key.value] = _literal(value)
    return found


def _literal(node: ast.expr) -> Any:
    """A number or text, also within one call such as `np.float64(97.3)`, which numpy shows; None for all else."""
    shown = isinstance(node, ast.Call) and len(node.args) == 1 and not node.keywords
    if shown:
        node = node.args[0]  # type: ignore[attr-defined]
    sign = 1
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node, sign = node.operand, -1
    if isinstance(node, ast.Name) and node.id in ("nan", "inf"):
        return sign * float(node.id)
    if not isinstance(node, ast.Constant) or not isinstance(node.value, int | float if shown else int | float | str):
        return None
    return -node.value if sign < 0 and not isinstance(node.value, str) else node.value


def _run(record: dict[str, Any], where: str, path: Path) -> Foreign:
    cells = {(int(after), int(tested)): value for (tested, after), value in _numbered(record, _CELL, where)}
    means = {int(after): value for (after,), value in _numbered(record, _MEAN, where)}
    numbers = {*means, *(number for cell in cells for number in cell)}
    if not numbers:
        raise InputError(f"{where}: has neither accuracy_1_task1 nor accmean_task1: not a run that Mammoth logged")
    if not 1 <= min(numbers) <= max(numbers) <= MOST:
        raise InputError(f"{where}: a task has a number that is not between 1 and {MOST}")
    model, number = record.get("model"), record.get("seed")
    label = model if isinstance(model, str) else ""
    seed = number if isinstance(number, int) and not isinstance(number, bool) and number >= 0 else None
    size = max(*means, *(after for after, _ in cells), 0)
    if not cells:
        known = {"accuracy_last": means[size]}
        return Foreign(np.full((size, size), np.nan), label, seed, known, [MEANS_ONLY])
    if max(tested for _, tested in cells) > size:
        raise InputError(f"{where}: tests more tasks than it trains on")
    matrix = matrix_of({(after - 1, tested - 1): value for (after, tested), value in cells.items()}, size, path)
    notes = ["experiences still to come were not tested"] if unmeasured_future(matrix) else []
    return Foreign(matrix, label, seed, notes=notes)


def _numbered(record: dict[str, Any], pattern: re.Pattern[str], where: str) -> Iterator[tuple[tuple[str, ...], float]]:
    """The numbers in the keys that fit a pattern, with the accuracies (fractions) below them."""
    for key, value in record.items():
        if found := pattern.fullmatch(key):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InputError(f"{where}: {key} is not a number")
            check(float(value), f"{where}: {key}", 100)
            yield found.groups(), float(value) / 100
