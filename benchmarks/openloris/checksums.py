"""Checksums of the archives of OpenLORIS-Object, as Avalanche lists them for its mirror."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

from lorisbench.common.console import track

TABLE = Path("benchmarks", "datasets", "openloris", "openloris_data.py")  # below the package avalanche
BLOCK = 1 << 20


@cache
def known_checksums() -> dict[str, str]:
    """MD5 (hex) by file name; empty if Avalanche is not installed or keeps its table elsewhere."""
    package = find_spec("avalanche")  # which does not import it: that would take seconds
    for place in (package and package.submodule_search_locations) or ():
        spec = spec_from_file_location("lorisbench_openloris_data", Path(place, TABLE))
        if spec is not None and spec.loader is not None and Path(place, TABLE).is_file():
            module = module_from_spec(spec)
            spec.loader.exec_module(module)
            return {name: md5 for name, _, md5 in getattr(module, "avl_vps_data", ())}
    return {}


def known_among(files: Sequence[Path]) -> list[Path]:
    """Those of `files` that exist and have the name of an archive with a known checksum."""
    return [file for file in files if file.name in known_checksums() and file.is_file()]


def known_near(root: Path) -> list[Path]:
    """Archives with a known checksum in a folder and in the one that holds it."""
    folder = root.resolve()
    places = dict.fromkeys([folder, folder.parent])
    return known_among([place / name for place in places for name in sorted(known_checksums())])


def checksum_faults(files: Sequence[Path]) -> dict[Path, str]:
    """What is wrong with each of `files`, whose checksums are known: empty text if nothing. Shows progress."""
    with track("checking archives", sum(max(file.stat().st_size, 1) for file in files), unit="bytes") as advance:
        return {file: _fault(file, advance) for file in files}


def _fault(file: Path, advance: Callable[[int], None]) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    size = 0
    with open(file, "rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
            size += len(block)
            advance(len(block))
    if size == 0:
        advance(1)
        return "the archive has no bytes"
    expected = known_checksums()[file.name]
    if digest.hexdigest() == expected:
        return ""
    return f"its MD5 is {digest.hexdigest()}; {expected} is known for a file of this name"
