"""OUT/images.csv.gz, the images of each stream: what an output says of one is understood without the data set."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lorisbench.common.errors import InputError, reason_of
from lorisbench.common.files import write_bytes
from lorisbench.common.reading import parse_table, read_bytes

if TYPE_CHECKING:
    import pandas as pd

    from lorisbench.data.manifest import Manifest

IMAGES = "images.csv.gz"
COLUMNS = (
    "stream", "image", "path", "label", "class_name", "experience", "split", "factor", "level", "recording"
)  # fmt: skip
NUMBERS = ("image", "label", "experience", "level")


def add_images(file: Path, manifests: Mapping[str, Manifest]) -> None:
    """Add the images of streams to the file, or write it; those of streams that it has already stay as they are.

    Streams of a name have the same images in an output (`Store.check_images`). A file that is damaged is made again,
    without the streams that are not given.
    """
    import pandas as pd

    try:
        there = set(_read(file, ["stream"]).stream.unique())
        new = {name: manifest for name, manifest in manifests.items() if name not in there}
        known = _read(file) if new else None
    except InputError:
        new, known = dict(manifests), None
    if not new:
        return
    frames = [
        manifest.table.assign(stream=name, image=range(len(manifest.table)))[list(COLUMNS)]
        for name, manifest in new.items()
    ]
    table = pd.concat([*([] if known is None else [known]), *frames], ignore_index=True)
    write_bytes(file, gzip.compress(table.to_csv(index=False).encode("utf-8"), 6, mtime=0))


def read_images(file: Path, stream: str) -> pd.DataFrame:
    """The images of a stream, a row for each in the order of its manifest, so that `image` counts them from 0.

    The columns are `COLUMNS` without the stream; `image`, `label`, `experience` (in the stream's own order) and `level`
    are int32, the others text. Empty if the file has none of the stream.

    Raises InputError, naming the file, if it is missing or damaged.
    """
    table = _read(file)
    mine = table[table.stream == stream].drop(columns="stream").reset_index(drop=True)
    try:
        mine = mine.astype(dict.fromkeys(NUMBERS, "int32"))
    except (ValueError, OverflowError) as error:
        raise InputError(f"{file}: {', '.join(NUMBERS)}: whole numbers were expected ({reason_of(error)})") from error
    if not (mine.image == range(len(mine))).all():
        raise InputError(f"{file}: the images of stream {stream!r} are not numbered from 0")
    return mine


def _read(file: Path, columns: Sequence[str] = COLUMNS) -> pd.DataFrame:
    try:
        with gzip.open(io.BytesIO(read_bytes(file))) as stream:
            data = stream.read()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{file}: not a readable .gz file ({reason_of(error)})") from error
    return parse_table(data, str(file), columns, others=False)
