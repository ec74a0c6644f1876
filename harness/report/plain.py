"""Tables as aligned text, for a terminal or a plain message."""

import unicodedata
from collections.abc import Sequence

from lorisbench.report.tabular import Cell, Head, Table, emphasised, groups
from lorisbench.report.texts import isolated, one_line

GAP = 2
BOLD, UNDERLINED, END = "\x1b[1m", "\x1b[4m", "\x1b[0m"


def terminal(table: Table, width: int = 0, colour: bool = False) -> str:
    """The table in aligned columns, with its caption above and its notes below.

    width : letters of a line; a wider table is cut into parts, which begin with its first column. 0: never cut.
    colour : the best figures in bold and those like them underlined by the signs of terminals; otherwise between
    asterisks and underscores.
    """
    cells = [[_text(cell, colour) for cell in row] for row in table.rows]
    titles = [one_line(head.text) for head in table.heads]
    widths = [max([_columns(title), *(_columns(row[place]) for row in cells)]) for place, title in enumerate(titles)]
    start = 0
    for group, count in groups(table.heads):
        spare = _columns(group) - sum(widths[start : start + count]) - GAP * (count - 1)
        widths[start + count - 1] += max(0, spare)
        start += count
    lines = [one_line(table.caption), ""]
    for places in _parts(widths, width):
        heads = [table.heads[place] for place in places]
        if any(head.group for head in heads):
            lines.append(_grouped(heads, [widths[place] for place in places]))
        lines.append(_line(heads, [titles[place] for place in places], [widths[place] for place in places]))
        lines.append("  ".join("─" * widths[place] for place in places))
        for row in cells:
            lines.append(_line(heads, [row[place] for place in places], [widths[place] for place in places]))
        lines.append("")
    lines += [f"{note.mark + ' ' if note.mark else ''}{one_line(note.text)}" for note in table.notes]
    return "\n".join(line.rstrip() for line in lines).rstrip() + "\n"


def _parts(widths: Sequence[int], width: int) -> list[list[int]]:
    parts: list[list[int]] = [[0]]
    used = widths[0]
    for place in range(1, len(widths)):
        if width and len(parts[-1]) > 1 and used + GAP + widths[place] > width:
            parts.append([0])
            used = widths[0]
        parts[-1].append(place)
        used += GAP + widths[place]
    return parts


def _text(cell: Cell, colour: bool) -> str:
    bold, underlined = ((BOLD, END), (UNDERLINED, END)) if colour else (("*", "*"), ("_", "_"))
    text = emphasised(cell, isolated(one_line(cell.text)), bold, underlined)
    spread = f" ± {cell.spread}" if cell.spread else ""
    mark = f" {cell.mark}" if cell.mark else ""
    return f"{text}{spread}{mark}"


def _line(heads: Sequence[Head], texts: Sequence[str], widths: Sequence[int]) -> str:
    padded = []
    for head, text, width in zip(heads, texts, widths, strict=True):
        space = " " * (width - _columns(text))
        padded.append(space + text if head.number else text + space)
    return (" " * GAP).join(padded)


def _grouped(heads: list[Head], widths: Sequence[int]) -> str:
    texts, start = [], 0
    for group, count in groups(heads):
        room = sum(widths[start : start + count]) + GAP * (count - 1)
        texts.append(one_line(group) + " " * (room - _columns(one_line(group))))
        start += count
    return (" " * GAP).join(texts)


def _columns(text: str) -> int:
    """How many columns of a terminal text takes: wide letters two, marks and signs that are not seen none."""
    for sign in (BOLD, UNDERLINED, END):
        text = text.replace(sign, "")
    if text.isascii():
        return len(text)
    return sum(
        0
        if unicodedata.category(letter) in ("Mn", "Me", "Cf")
        else 2
        if unicodedata.east_asian_width(letter) in "WF"
        else 1
        for letter in text
    )
