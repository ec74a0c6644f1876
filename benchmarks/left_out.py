"""Files below a data set's folder that are no image of its manifest: counted by type, so that none goes unmentioned."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from lorisbench.benchmarks.tree import passed_over
from lorisbench.common.console import printable
from lorisbench.data.formats import HEIF, HEIF_EXTRA, has_heif, is_image
from lorisbench.data.marker import MARKER

TOPIC = "files not read"  # of a manifest's notes, which describe, verify, data.json and the report show
SHOWN = 8  # types that are named; the rest are only counted
NO_SUFFIX = "without a suffix"


def note_left_out(
    notes: dict[str, str],
    root: Path,
    used: Iterable[str],
    places: Iterable[str] = ("",),
    deep: bool = True,
    known: Callable[[str], bool] = lambda path: False,
) -> None:
    """Add to a manifest's notes how many files of each type were not read; nothing where all were.

    Parameters
    ----------
    used : the images that are read, relative to `root` with POSIX separators.
    places : folders below the root that are looked through, with their subfolders if `deep`.
    known : whether a path is that of a file with another use, such as a list.
    """
    taken = set(used)
    found = sorted(
        path
        for path in dict.fromkeys(path for place in places for path in _files(root, place.strip("/"), deep))
        if path not in taken and path != MARKER and not known(path)
    )
    if found:
        notes[TOPIC] = _told(found)


def _told(paths: list[str]) -> str:
    """`3 (2 .heic, 1 .mpg), such as s1/cup/phone.HEIC`, and what makes them readable where that is known."""
    suffixes = Counter(os.path.splitext(path)[1].lower() or NO_SUFFIX for path in paths)
    kinds = sorted(suffixes.items(), key=lambda item: (-item[1], item[0]))
    named = ", ".join(f"{count:,} {suffix}" for suffix, count in kinds[:SHOWN])
    more = sum(count for _, count in kinds[SHOWN:])
    example = min(paths, key=lambda path: (not (is_image(path) or is_image(path, HEIF)), path))
    heif = any(suffix in HEIF for suffix in suffixes) and not has_heif()
    return printable(
        f"{len(paths):,} ({named}{f', {more:,} of other types' if more else ''}), such as {example}"
        f"{f'; {HEIF_EXTRA} makes HEIF (HEIC) readable' if heif else ''}"
    )


def _files(root: Path, place: str, deep: bool) -> Iterator[str]:
    """Files in a folder and, if `deep`, below it, without leftovers; links to folders are followed once."""
    waiting, links = [place], set()
    while waiting:
        below = waiting.pop()
        try:
            entries = list(os.scandir(os.path.join(root, below)))
        except OSError:  # what cannot be looked into is told where it is needed
            continue
        prefix = f"{below}/" if below else ""
        for entry in entries:
            if passed_over(entry.name):
                continue
            if not _is_folder(entry):
                yield f"{prefix}{entry.name}"
            elif deep:
                if entry.is_symlink():
                    target = os.path.realpath(entry.path)
                    if target in links or f"{os.path.realpath(root / below)}/".startswith(f"{target}/"):
                        continue
                    links.add(target)
                waiting.append(f"{prefix}{entry.name}")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
