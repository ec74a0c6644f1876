"""Small pictures of images for the page, where the very images are on this machine; nothing is rendered for them."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import pandas as pd

from lorisbench.common.errors import InputError
from lorisbench.data.images import decode
from lorisbench.report.stored import Stored
from lorisbench.suite.here import manifest_here
from lorisbench.suite.streams import benchmarks_of

MOST, SIDE, QUALITY = 96, 72, 72  # pictures on a page of a stream, pixels, of JPEG: some 2 kB each
LARGEST = 100_000
"""Images of a stream; looking for more of them takes longer than the whole report."""


def thumbnails(stored: Stored, table: pd.DataFrame, images: Sequence[int]) -> dict[int, str]:
    """Data URIs of the first `MOST` of these images, by their numbers; none unless the output's images are here.

    table : the images of the stream, as `read_images` gives them. Pictures of one that is drawn anew for each seed, or
    that cannot be decoded, are left out.
    """
    if len(table) > LARGEST or "drawn" in stored.data or stored.data.get("features"):
        return {}
    settings = next(iter(benchmarks_of(stored.suite).values()), None)
    if settings is None:
        return {}
    split = (stored.suite.get("evaluation") or {}).get("split", "test")
    try:
        manifest = manifest_here(settings, str(split))
        if list(manifest.table["path"]) != list(table["path"]):
            return {}
        sources = manifest.sources_at(pd.Index(images[:MOST]).to_numpy())
    except (InputError, OSError):
        return {}
    found = {}
    for number, source in zip(images, sources, strict=False):
        try:
            found[number] = _jpeg(source)
        except (InputError, OSError):
            continue
    return found


def _jpeg(source: object) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(decode(source, SIDE)).save(buffer, "JPEG", quality=QUALITY)  # type: ignore[arg-type]
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
