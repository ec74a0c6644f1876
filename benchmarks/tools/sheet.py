"""A contact sheet: one picture of what a data set looks like, objects down and levels of factors across."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lorisbench.benchmarks.openloris.words import FACTORS, LEVELS
from lorisbench.benchmarks.tools.describe import evenly
from lorisbench.common.files import write_bytes
from lorisbench.data.images import Source, open_source
from lorisbench.data.manifest import Manifest

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

CELL = 96  # pixels
GAP = 4  # between cells
GROUP_GAP = 12  # between factors
MARGIN = 14
OBJECTS = 12  # rows, by default
EXPERIENCES = 24  # columns, at most

INK, FAINT, CROSSED, CROSS = "#202124", "#5f6368", "#e4e6e9", "#b4b8bd"
LETTERBOX = "#3c4043"  # sets a picture's edge off from the paper


@dataclass(frozen=True)
class Column:
    """`group` is written once above the columns that share it; `rows` are positions in the manifest's table."""

    group: str
    title: str
    rows: np.ndarray


@dataclass(frozen=True)
class Grid:
    """Where things are on a sheet, in pixels: `left` edges of the columns, `top` edges of the rows, size of all."""

    left: list[int]
    top: list[int]
    width: int
    height: int


def write_sheet(manifest: Manifest, file: Path, objects: int = OBJECTS) -> None:
    """Write the sheet as PNG; see `draw`. Raises InputError as `draw` does."""
    stream = io.BytesIO()
    draw(manifest, objects)[0].save(stream, "PNG")
    write_bytes(file, stream.getvalue())


def draw(manifest: Manifest, objects: int = OBJECTS) -> tuple[Image.Image, Grid]:
    """A contact sheet, RGB: one row per object (class), one column per level of a factor.

    Parameters
    ----------
    objects : at most this many rows, evenly spaced over the classes.

    Each cell is `CELL` pixels square and holds, letterboxed, the middle frame of the object's test images there, or of
    its training images if none is for test; without either it is grey and crossed. Data that are not made of the four
    factors have one column per experience, at most `EXPERIENCES`, evenly spaced. The title names the data set and says
    `synthetic` if no camera took them.

    Raises InputError naming an image that cannot be decoded.
    """
    from PIL import Image, ImageDraw

    columns, what = _columns(manifest)
    labels = evenly(len(manifest.classes), objects)
    title = f"{manifest.name}{' (synthetic)' if manifest.synthetic else ''}"
    shown = "all" if len(labels) == len(manifest.classes) else f"{len(labels)} of"
    subtitle = f"{shown} {len(manifest.classes)} classes; {what}; the middle test image of each"
    probe = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    names = [_fitted(probe, manifest.classes[label], _font(14), 2 * CELL) for label in labels]
    grid, header = _grid(probe, columns, names, [(title, _font(20)), (subtitle, _font(14))])

    sheet = Image.new("RGB", (grid.width, grid.height), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, MARGIN), title, INK, _font(20))
    pen.text((MARGIN, MARGIN + 26), subtitle, FAINT, _font(14))
    _write_header(pen, columns, grid, header)
    sources = manifest.sources()
    for label, name, top in zip(labels, names, grid.top, strict=True):
        pen.text((grid.left[0] - 10, top + CELL // 2), name, INK, _font(14), anchor="rm")
        for column, left in zip(columns, grid.left, strict=True):
            row = _middle(manifest.table, column.rows, label)
            if row is None:
                _cross(pen, left, top)
            else:
                sheet.paste(_letterboxed(sources[row]), (left, top))
    return sheet, grid


def _columns(manifest: Manifest) -> tuple[list[Column], str]:
    """The columns, and what they are in words."""
    factors = set(manifest.table.factor)
    positions = np.arange(len(manifest.table))
    if factors <= set(FACTORS):
        factor, level = manifest.table.factor.to_numpy(), manifest.table.level.to_numpy()
        return [
            Column(name, f"level {number}", positions[(factor == name) & (level == number)])
            for name in FACTORS
            if name in factors
            for number in range(1, LEVELS + 1)
        ], "one column per level of a factor"
    experience = manifest.table.experience.to_numpy()
    chosen = evenly(manifest.experiences, EXPERIENCES)
    some = "" if len(chosen) == manifest.experiences else f" ({len(chosen)} of {manifest.experiences})"
    columns = [Column("", manifest.experience_names[e], positions[experience == e]) for e in chosen]
    return columns, f"one column per experience{some}"


def _middle(table: pd.DataFrame, rows: np.ndarray, label: int) -> int | None:
    """Position of the middle one of the test, else training, images of a class among `rows`."""
    mine = rows[table.label.to_numpy()[rows] == label]
    splits = table.split.to_numpy()[mine]
    for split in ("test", "train"):
        there = mine[splits == split]
        if len(there):
            return int(there[len(there) // 2])
    return None


def _grid(
    pen: ImageDraw.ImageDraw, columns: list[Column], names: list[str], titles: list[tuple[str, ImageFont.FreeTypeFont]]
) -> tuple[Grid, int]:
    """The places of the cells, and the top of the columns' titles."""
    edge = MARGIN + round(max(pen.textlength(name, _font(14)) for name in names)) + 10
    left = []
    for index, column in enumerate(columns):
        if index:
            edge += CELL + (GAP if column.group == columns[index - 1].group else GROUP_GAP)
        left.append(edge)
    header = MARGIN + 56
    first = header + (44 if columns[0].group else 40)
    top = [first + index * (CELL + GAP) for index in range(len(names))]
    width = max(edge + CELL, *(MARGIN + round(pen.textlength(text, font)) for text, font in titles)) + MARGIN
    return Grid(left, top, width, top[-1] + CELL + MARGIN), header


def _write_header(pen: ImageDraw.ImageDraw, columns: list[Column], grid: Grid, header: int) -> None:
    for index, (column, left) in enumerate(zip(columns, grid.left, strict=True)):
        middle, bottom = left + CELL // 2, grid.top[0] - 6
        if column.group and (index == 0 or columns[index - 1].group != column.group):
            pen.text((left, header), column.group, INK, _font(16))
        lines = [column.title] if column.group else _wrapped(pen, column.title)
        pen.multiline_text((middle, bottom), "\n".join(lines), FAINT, _font(13), anchor="md", align="center", spacing=2)


def _wrapped(pen: ImageDraw.ImageDraw, text: str) -> list[str]:
    """At most two lines of a column's width."""
    words = text.split()
    fits: Callable[[str], bool] = lambda line: pen.textlength(line, _font(13)) <= CELL  # noqa: E731
    if fits(text) or len(words) < 2:
        return [_fitted(pen, text, _font(13), CELL)]
    count = max((k for k in range(1, len(words)) if fits(" ".join(words[:k]))), default=1)
    parts = " ".join(words[:count]), " ".join(words[count:])
    return [_fitted(pen, part, _font(13), CELL) for part in parts]


def _fitted(pen: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """A text cut in its middle until it fits: the ends of names tell them apart."""
    text = " ".join(text.split())
    kept = len(text)
    shorter = text
    while pen.textlength(shorter, font) > width and kept > 2:
        kept -= 1
        tail = kept // 2
        shorter = f"{text[: kept - tail]}…{text[len(text) - tail :]}"
    return shorter


def _letterboxed(source: Source) -> Image.Image:
    from PIL import Image, ImageOps

    image = open_source(source, (CELL, CELL))
    return ImageOps.pad(image, (CELL, CELL), Image.Resampling.BICUBIC, LETTERBOX)


def _cross(pen: ImageDraw.ImageDraw, left: int, top: int) -> None:
    right, bottom = left + CELL - 1, top + CELL - 1
    pen.rectangle((left, top, right, bottom), CROSSED)
    pen.line((left, top, right, bottom), CROSS, 2)
    pen.line((left, bottom, right, top), CROSS, 2)


def _font(size: int) -> ImageFont.FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.load_default(size)  # type: ignore[return-value]
