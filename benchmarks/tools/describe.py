"""The contents of a manifest, in words: counts, notes and the sizes of its images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from lorisbench.benchmarks.openloris.counts import count_differences
from lorisbench.data.formats import pillow
from lorisbench.data.identity import same_rows
from lorisbench.data.images import Source
from lorisbench.data.manifest import POSITION, Manifest

SAMPLE = 2000  # images whose headers are read
BLOCK = 4096  # rows of features looked at together
SHOWN = 8  # sizes in the line; the rest are only counted


def describe(manifest: Manifest) -> list[str]:
    """Lines for a terminal: name, notes, images of each experience and split, count mismatches, sizes (or features).

    Opens no more than `SAMPLE` images, and only their headers. Raises InputError if the file of `pixels` is unusable.
    """
    synthetic = " (synthetic)" if manifest.synthetic else ""
    return [
        f"{manifest.name}{synthetic}: {len(manifest.table)} images, {len(manifest.classes)} classes",
        *(f"{topic}: {note}" for topic, note in manifest.notes.items()),
        manifest.counts().to_string(index=False),
        *count_differences(manifest),
        *(sizes(manifest.sources()) if manifest.features is None else features(manifest)),
    ]


def features(manifest: Manifest) -> list[str]:
    """Lines about features in place of images: how many each, between which values, and how many are copies."""
    given = manifest.given_features()
    low, high = min(part.min() for part in _blocks(given)), max(part.max() for part in _blocks(given))
    rows = same_rows(manifest.features) if manifest.features is not None else np.empty(0)
    of = pd.DataFrame({"row": rows[manifest.with_positions()[POSITION]], "split": manifest.table.split})
    trained = set(of.row[of.split == "train"])
    copies = int(of.row[of.split == "test"].isin(trained).sum())
    return [
        f"features: {given.shape[1]} of each image, from {low:.4g} to {high:.4g}; all are finite; no image was seen",
        f"copies: {copies:,} test images have the same features, bit for bit, as a training image",
    ]


def _blocks(given: np.ndarray) -> list[np.ndarray]:
    return [given[start : start + BLOCK] for start in range(0, len(given), BLOCK)]


def evenly(count: int, most: int) -> list[int]:
    """At most `most` positions of 0..count-1, evenly spaced, each the middle of its part."""
    most = min(count, most)
    return [(2 * index + 1) * count // (2 * most) for index in range(most)]


def sizes(sources: Sequence[Source]) -> list[str]:
    """Lines with width x height (as stored), formats and modes of images, the most frequent first.

    Reads the headers of an evenly spaced sample of at most `SAMPLE`; no pixel is decoded, so an image whose pixels are
    damaged still counts as readable (`lorisbench data verify` decodes them).
    """
    chosen = evenly(len(sources), SAMPLE)
    headers = [_header(sources[place]) for place in chosen]
    readable = [header for header in headers if header is not None]
    sample = f" of a sample of {len(chosen):,}" if len(chosen) < len(sources) else ""
    lines = []
    for place, topic in enumerate(("sizes", "formats", "modes")):
        if readable:
            lines.append(f"{topic}{sample}: {_counted(Counter(header[place] for header in readable))}")
    if len(readable) < len(chosen):
        first = next(sources[place] for place, header in zip(chosen, headers, strict=True) if header is None)
        lines.append(f"unreadable{sample}: {len(chosen) - len(readable):,}, the first is {first}")
    return lines


def _header(source: Source) -> tuple[str, str, str] | None:
    """Size, format and mode; None if the file has no header that Pillow knows."""
    if isinstance(source, np.ndarray):
        return f"{source.shape[1]}×{source.shape[0]}", "array", "RGB" if source.shape[2] == 3 else "L"
    try:
        with pillow().open(source) as image:
            return f"{image.width}×{image.height}", str(image.format), image.mode
    except Exception:  # Pillow's readers raise all sorts on damage
        return None


def _counted(counter: Counter[str]) -> str:
    """`424×240 (1,990), 320×180 (10)`; equal counts in alphabetical order."""
    ordered = sorted(counter.items(), key=lambda item: (-item[1], item[0]))
    more = f" and {len(ordered) - SHOWN} more" if len(ordered) > SHOWN else ""
    return ", ".join(f"{name} ({count:,})" for name, count in ordered[:SHOWN]) + more
