"""What a run would refuse in a data set, told before one is started."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from lorisbench.benchmarks.openloris.layouts import refusals
from lorisbench.data.manifest import Manifest
from lorisbench.data.usable import faults, some

LISTED = 8  # reasons in a line; the rest are only counted


class Told(NamedTuple):
    """Lines for a terminal, and whether one of them says that a run is refused."""

    lines: list[str]
    refused: bool


def run_refuses(manifest: Manifest, root: Path, layout: str = "auto") -> Told:
    """What a run refuses in the data at a path, of which `manifest` is all: for OpenLORIS-Object under each protocol
    that the layout has, for own data as they are. Where only `evaluation.split: validation` is refused, a line says so.
    """
    if manifest.notes.get("protocol") == "natural":
        found = {f"protocol {name}": reasons for name, reasons in refusals(root, layout).items()}
    else:
        reasons = faults(manifest, "test")
        found = {"": (reasons, [each for each in faults(manifest, "validation") if each not in reasons])}
    lines, refused = [], False
    for name, (always, validated) in found.items():
        of = f"{name}: " if name else ""
        if always:
            lines.append(f"{of}a run will be refused: {some(always, '; ', LISTED)}")
            refused = True
        if validated:
            lines.append(f"{of}only evaluation.split: validation will be refused: {some(validated, '; ', LISTED)}")
    if found and not refused:
        named = [name.removeprefix("protocol ") for name in found if name]
        lines.append(f"protocols: {', '.join(named)} can be run" if named else "a run can use these data")
    return Told(lines, refused)
