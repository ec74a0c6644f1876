"""Decode every image of a data set, to find those that cannot be used."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import stat
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lorisbench.common.console import printable, track
from lorisbench.common.errors import InputError
from lorisbench.common.files import write_bytes
from lorisbench.common.processes import map_unordered
from lorisbench.common.targets import output_file

if TYPE_CHECKING:  # not needed by the processes that decode, which have to start fast
    from lorisbench.benchmarks.tools.verified import Stamp, Verified

SHOWN = 20  # bad files that are printed
CHUNK = 32  # images per task: a tenth of a second or so


class Chunk(NamedTuple):
    """Some of the files and their positions among all."""

    places: list[int]
    files: list[str]


def bad_files(files: Sequence[str], workers: int | None = None, known: Verified | None = None) -> list[tuple[str, str]]:
    """Decode images fully; the path of each that cannot be used and the reason, in the order given.

    An intact image in a file with a wrong suffix is good. A JPEG whose bytes were changed, not cut off, may decode
    to wrong pixels without a word from the decoder; such a file is not found.

    Parameters
    ----------
    workers : processes, by default one per core; 1 decodes in this process.
    known : files found good before, which are not decoded again; those found good now are added, even if the check is
        interrupted.

    Raises
    ------
    InputError : a worker process was killed.
    """
    reasons: dict[int, str] = {}
    stamps: dict[int, Stamp] = {}  # taken before decoding: a file that changes meanwhile is decoded next time
    for place, file in enumerate(files):
        stamp = _stamp(file)
        if isinstance(stamp, str):
            reasons[place] = stamp
        elif known is None or not known.knows(file, stamp):
            stamps[place] = stamp
    todo = list(stamps)
    parts = [todo[start : start + CHUNK] for start in range(0, len(todo), CHUNK)]
    chunks = (Chunk(part, [files[place] for place in part]) for part in parts)
    processes = max(1, min(workers or os.cpu_count() or 1, len(parts)))
    try:
        with (
            track("decoding images", len(todo)) as advance,
            contextlib.closing(map_unordered(decode_chunk, chunks, processes)) as answers,
        ):
            for chunk, found in answers:
                for place, reason in zip(chunk.places, found, strict=True):
                    if reason:
                        reasons[place] = reason
                    elif known is not None:
                        known.add(files[place], stamps[place])
                if known is not None:
                    known.save(now=False)
                advance(len(chunk.places))
    finally:
        if known is not None:
            known.save()
    return [(files[place], reasons[place]) for place in sorted(reasons)]


def decode_chunk(chunk: Chunk) -> list[str]:
    """Why each file of a chunk cannot be decoded; empty text where it can."""
    from lorisbench.data.images import read_image

    reasons = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about odd metadata, in a picture that decodes
        for file in chunk.files:
            try:
                read_image(file)
                reasons.append("")
            except InputError as error:
                reasons.append(str(error).removeprefix(f"{file}: "))
    return reasons


def _stamp(file: str) -> Stamp | str:
    """Size and time of change of a file, or why it is not worth opening."""
    try:
        status = os.stat(file)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
        return "is not a file"
    return status.st_size, status.st_mtime_ns


def check_report(file: Path, root: Path) -> None:
    """Raise InputError, before hours of work, if a report cannot be written there or would change the data set."""
    output_file(file, (".csv",), "--report")
    if file.resolve().is_relative_to(root.resolve()):
        raise InputError(f"--report {file}: lies in {root}, where nothing may be changed; choose another place")


def write_report(file: Path, bad: Sequence[tuple[str, str]]) -> None:
    """Write bad files as CSV with the columns `path` and `reason`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([("path", "reason"), *bad])
    write_bytes(file, text.getvalue().encode("utf-8", "surrogateescape"))


def print_bad(bad: Sequence[tuple[str, str]], report: Path | None) -> None:
    """Print how many files are bad and, where no report holds them, the first of them."""
    print(f"{len(bad):,} bad files" if bad else "no bad files")
    if report is not None:
        return
    for path, reason in bad[:SHOWN]:
        print(f"  {printable(path)}: {printable(reason)}")
    if len(bad) > SHOWN:
        print(f"... and {len(bad) - SHOWN:,} more; --report FILE lists all")
