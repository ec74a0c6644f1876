"""Checksums of the archives of OpenLORIS-Object: several for a name, as there are several releases.

A checksum tells which release an archive is of. One that is not known is no fault: there are releases that nobody has
listed, so such an archive is bad only if it cannot be read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import NamedTuple

from lorisbench.common.console import track
from lorisbench.common.yaml_files import read_yaml

AVALANCHE = Path("benchmarks", "datasets", "openloris", "openloris_data.py")  # below the package avalanche
OTHERS = Path(__file__).with_name("checksums.yaml")
BLOCK = 1 << 20


class Known(NamedTuple):
    """A checksum (hex), the release whose archive has it, and who states it."""

    md5: str
    release: str
    source: str


@cache
def known_checksums() -> dict[str, list[Known]]:
    """The known checksums by file name; without Avalanche's where it is not installed or keeps its table elsewhere."""
    known: dict[str, list[Known]] = {}
    for name, _, md5 in _avalanches():
        known.setdefault(name, []).append(Known(md5, "Avalanche's mirror", "avalanche-lib"))
    for name, entries in read_yaml(OTHERS).items():
        known.setdefault(name, []).extend(Known(**entry) for entry in entries)
    return known


def _avalanches() -> Iterable[tuple[str, str, str]]:
    """Name, address and MD5 of each file of Avalanche's mirror."""
    package = find_spec("avalanche")  # which does not import it: that would take seconds
    for place in (package and package.submodule_search_locations) or ():
        spec = spec_from_file_location("lorisbench_openloris_data", Path(place, AVALANCHE))
        if spec is not None and spec.loader is not None and Path(place, AVALANCHE).is_file():
            module = module_from_spec(spec)
            spec.loader.exec_module(module)
            return list(getattr(module, "avl_vps_data", ()))
    return ()


def known_among(files: Sequence[Path]) -> list[Path]:
    """Those of `files` that exist and have the name of an archive with known checksums."""
    return [file for file in files if file.name in known_checksums() and file.is_file()]


def known_near(root: Path) -> list[Path]:
    """Archives with known checksums of their names, in a folder and in the one that holds it."""
    folder = root.resolve()
    places = dict.fromkeys([folder, folder.parent])
    return known_among([place / name for place in places for name in sorted(known_checksums())])


def releases(files: Sequence[Path]) -> dict[Path, Known | str]:
    """What is known of each of `files`, whose names are known: its entry, or its MD5 if no release has it.

    Shows progress.
    """
    with track("checking archives", sum(max(file.stat().st_size, 1) for file in files), unit="bytes") as advance:
        return {file: _release(file, advance) for file in files}


def told(found: Known | str) -> str:
    """One line about an archive for the user."""
    if isinstance(found, str):
        return f"its checksum is not known (MD5 {found}); it may be of another release"
    return f"the checksum is right ({found.release}; {found.source})"


def _release(file: Path, advance: Callable[[int], None]) -> Known | str:
    digest = hashlib.md5(usedforsecurity=False)
    size = 0
    with open(file, "rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
            size += len(block)
            advance(len(block))
    if size == 0:
        advance(1)
    md5 = digest.hexdigest()
    return next((known for known in known_checksums()[file.name] if known.md5 == md5), md5)
