"""The marker of rendered data: however a folder is opened, synthetic data are known to be synthetic."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lorisbench.common.errors import InputError

MARKER = "openloris-sim.json"  # in the root of a rendered set


def name_in(folder: Path) -> str | None:
    """The data set's name according to a folder's own marker file; None without one. Raises InputError if damaged."""
    marker = folder / MARKER
    if not marker.is_file():
        return None
    try:
        stored: Any = json.loads(marker.read_text("utf-8"))
        return str(stored["name"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{marker}: not the marker of a rendered set ({type(error).__name__})") from error


def synthetic_name(root: Path, paths: Iterable[str]) -> str | None:
    """The name of the rendered set that some of the images belong to; None if no folder above them has a marker.

    `paths` are relative to `root`, with POSIX separators.
    """
    top = os.path.realpath(root)
    folders = {os.path.realpath(os.path.join(top, place)) for place in {path.rpartition("/")[0] for path in paths}}
    above = {top, *folders}
    for folder in [top, *folders]:
        while (parent := os.path.dirname(folder)) not in above and parent != folder:
            above.add(parent)
            folder = parent
    for folder in sorted(above):
        name = name_in(Path(folder))
        if name is not None:
            return name
    return None
