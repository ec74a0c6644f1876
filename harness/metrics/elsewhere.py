"""Results from elsewhere as rows of results.csv, and how they are marked wherever they are shown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from lorisbench.common.reading import read_json
from lorisbench.common.yaml_files import read_yaml
from lorisbench.metrics import table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MARK = "elsewhere"
"""In the label of such a result beside ours, and the key of its settings that holds the source."""
IMPORTED = "imported"
"""The key of suite.yaml and data.json that says where an output of such results comes from."""
NOT_LOGGED = "a result from elsewhere, which does not tell it"


def is_imported(out: Path) -> bool:
    """Whether an output holds results from elsewhere (`lorisbench import`)."""
    file = out / "suite.yaml"
    return file.is_file() and IMPORTED in read_yaml(file)


def marked(label: str, source: str = "") -> str:
    """The label of a strategy from elsewhere beside ours; `source` tells two such apart."""
    return f"{label} ({source}, {MARK})" if source else f"{label} ({MARK})"


def remark(source: str, notes: str = "") -> str:
    """What a reader must know of it, as the remarks of strategies are written."""
    return f"from elsewhere ({source}), not run here{f': {notes}' if notes else ''}"


def row_of(matrix: NDArray[np.float64], known: Mapping[str, float]) -> dict[str, Any]:
    """The metrics of a matrix (T, T), in fractions, as columns of results.csv with `undefined`.

    known : those that are known although the matrix does not determine them. What the matrix does not determine has its
    reason; of costs nothing is known.
    """
    values, reasons = table.compute(matrix)
    values |= known
    reasons = {name: reason for name, reason in reasons.items() if name not in known}
    absent = [metric.name for metric in table.in_results() if metric.of_run is not None and not metric.reason_of]
    reasons |= dict.fromkeys(absent, NOT_LOGGED)
    return {**values, "undefined": "; ".join(f"{name}: {reason}" for name, reason in reasons.items())}


COMBINED = "combined.json"
"""The file of an output that was made from several, which says what differs between them."""


class Combined(BaseModel):
    """Its content. differs, left_out : sentences."""

    model_config = ConfigDict(extra="forbid", strict=True)
    outputs: dict[str, str]  # by letter, the folder's name
    differs: list[str]
    left_out: list[str]


def read_combined(out: Path) -> Combined | None:
    """What OUT was made from; None if it is not made from several. Raises InputError if the file is damaged."""
    found = read_json(out / COMBINED, Combined)
    return None if found is None else Combined.model_validate(found)
