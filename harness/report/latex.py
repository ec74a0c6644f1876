"""Tables in LaTeX (booktabs), at a size that is read, no wider than the page."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from lorisbench.report.tabular import Cell, Head, Table, emphasised, groups
from lorisbench.report.texts import UNKNOWN, is_leftward, latex_text

COLUMN, PAGE = 345.0, 490.0
"""Points (1/72.27 inch): the text of `article` at 10 pt, and both columns of most two-column styles."""
SIZES = {"small": (9.0, 4.0), "footnotesize": (8.0, 3.0), "scriptsize": (7.0, 2.0)}
"""Sizes of letters, the first that fits, each with its points and half the space between columns."""
ROWS = 40
"""A page has no room for more."""
LONG = 0.36
"""A column of text no wider than this share of the table; longer texts are broken."""
_NAMES = rf"""  % Names with letters that pdfLaTeX lacks: LuaLaTeX and XeLaTeX print them, in a font that has them.
  \providecommand*{{{UNKNOWN}}}[3]{{\ifdefined\directlua{{\if#3R\textdir TRT\fi #1}}\else
    \ifdefined\XeTeXrevision{{\TeXXeTstate=1 \if#3R\beginR#1\endR\else#1\fi}}\else#2\fi\fi}}"""


@dataclass(frozen=True)
class _Part:
    """Some rows and columns of a table."""

    heads: list[Head]
    rows: list[list[Cell]]


def latex(table: Table, wide: bool = False, width: float | None = None) -> str:
    """One `table` environment, or several if the table is wider or longer than a page; needs the package booktabs.

    wide : `table*`, across both columns of a two-column paper. width : what there is room for, in points of TeX; by
    default `COLUMN`, or `PAGE` if `wide`. What a column means is in comments.
    """
    room = width or (PAGE if wide else COLUMN)
    size, space = _size(table, room)
    points = SIZES[size][0]
    limit = LONG * room
    parts = list(_parts(table, room, points, space))
    named = any(UNKNOWN in latex_text(text) for text in _texts(table))
    environment = "table*" if wide else "table"
    lines = [r"% needs \usepackage{booktabs}"]
    lines += [f"% {latex_text(note.text)}" for note in table.notes if note.column]
    for number, part in enumerate(parts):
        if number and number % 12 == 0:
            lines.append(r"\clearpage % LaTeX keeps no more floats waiting")
        of = f" (part {number + 1} of {len(parts)})" if len(parts) > 1 else ""
        lines += [rf"\begin{{{environment}}}", r"  \centering", rf"  \{size}"]
        lines += [_NAMES] if named else []
        lines += [rf"  \caption{{{latex_text(table.caption)}{of}}}"]
        lines += [] if number else [rf"  \label{{tab:{table.name.replace('_', '-')}}}"]
        lines += [rf"  \setlength{{\tabcolsep}}{{{space:g}pt}}", *_tabular(part, points, limit)]
        if number == len(parts) - 1:
            lines += _notes(table)
        lines.append(rf"\end{{{environment}}}")
    return "\n".join(lines) + "\n"


def _notes(table: Table) -> list[str]:
    """The lines below the table: those without a mark, then all with one in a paragraph."""
    plain = [latex_text(note.text) + r"\par" for note in table.notes if not note.column and not note.mark]
    marked = [f"{_mark(note.mark)}{latex_text(note.text)}" for note in table.notes if not note.column and note.mark]
    shown = [*plain, *([" ".join(marked) + r"\par"] if marked else [])]
    return [r"  \par\smallskip", r"  \scriptsize\raggedright", *(f"  {line}" for line in shown)] if shown else []


def _texts(table: Table) -> Iterator[str]:
    yield table.caption
    yield from (note.text for note in table.notes)
    for head in table.heads:
        yield from (head.text, head.group)
    for row in table.rows:
        yield from (cell.text for cell in row)


def _tabular(part: _Part, points: float, limit: float) -> list[str]:
    alignment = "".join("r" if head.number else "l" for head in part.heads)
    lines = [rf"  \begin{{tabular}}{{@{{}}{alignment}@{{}}}}", r"    \toprule"]
    if any(head.group for head in part.heads):
        lines += _groups(part.heads)
    lines += ["    " + " & ".join(_heading(head) for head in part.heads) + r" \\", r"    \midrule"]
    # A row that begins with "[" would be read as the optional argument of the \\ before it.
    lines += ["    {}" + " & ".join(_cell(cell, points, limit) for cell in row) + r" \\" for row in part.rows]
    return [*lines, r"    \bottomrule", r"  \end{tabular}"]


def _groups(heads: list[Head]) -> list[str]:
    cells, rules, start = [], [], 1
    for group, count in groups(heads):
        cells.append(
            rf"\multicolumn{{{count}}}{{c}}{{{latex_text(group)}}}"
            if group
            else ""
            if count == 1
            else "&" * (count - 1)
        )
        if group:
            rules.append(rf"\cmidrule(lr){{{start}-{start + count - 1}}}")
        start += count
    return ["    " + " & ".join(cells) + r" \\", "    " + " ".join(rules)]


def _lines(text: str) -> list[str]:
    """A heading on one line or two, broken where it is narrowest."""
    words = text.split(" ")
    if len(text) <= 8 or len(words) < 2:
        return [text]
    halves = [(" ".join(words[:k]).removesuffix(","), " ".join(words[k:])) for k in range(1, len(words))]
    return list(min(halves, key=lambda half: max(map(_ems, half))))


def _heading(head: Head) -> str:
    lines = [latex_text(line) for line in _lines(head.text)]
    side = "r" if head.number else "l"
    return rf"\shortstack[{side}]{{" + r" \\ ".join(lines) + "}" if len(lines) > 1 else lines[0]


def _cell(cell: Cell, points: float, limit: float) -> str:
    text = emphasised(cell, latex_text(cell.text), (r"\textbf{", "}"), (r"\underline{", "}"))
    if cell.spread:
        text += rf"\,$\pm$\,{latex_text(cell.spread)}"
    text += _mark(cell.mark)
    if _ems(cell.text) * points > limit:
        text = rf"\parbox[t]{{{limit:.0f}pt}}{{\raggedright\hyphenpenalty=10000\hspace{{0pt}}{_breakable(text)}}}"
    return text


def _breakable(text: str) -> str:
    """Words that are longer than a line may break after these signs."""
    for sign in (r"\_", "-", "/", "."):
        text = text.replace(sign, sign + r"\allowbreak{}")
    return text


def _mark(mark: str) -> str:
    return rf"\textsuperscript{{{latex_text(mark)}}}" if mark else ""


def _size(table: Table, room: float) -> tuple[str, float]:
    """The largest size of letters at which the table is no wider than there is room; else the smallest."""
    for size, (points, space) in SIZES.items():
        if sum(_widths(table, points, room)) + 2 * space * (len(table.heads) - 1) <= room:
            return size, space
    smallest = list(SIZES)[-1]
    return smallest, SIZES[smallest][1]


def _widths(table: Table, points: float, room: float) -> list[float]:
    """How wide each column is at a size of letters, in points."""
    widths = []
    for place, head in enumerate(table.heads):
        cells = [min(points * _ems(row[place].text), LONG * room) + _beside(row[place], points) for row in table.rows]
        widths.append(max([points * max(map(_ems, _lines(head.text))), *cells]))
    start = 0
    for group, count in groups(table.heads):  # a group's heading widens its last column
        widths[start + count - 1] += max(0.0, points * _ems(group) - sum(widths[start : start + count]))
        start += count
    return widths


def _beside(cell: Cell, points: float) -> float:
    spread = points * (_ems(cell.spread) + 1.15) if cell.spread else 0.0
    return spread + 0.75 * points * _ems(cell.mark) + (0.1 * points * _ems(cell.text) if cell.bold else 0.0)


def _parts(table: Table, room: float, points: float, space: float) -> Iterator[_Part]:
    """The table cut into parts that fit into the room and onto a page; each begins with the first column."""
    widths = _widths(table, points, room)
    several: list[list[int]] = [[]]
    left = room - widths[0]
    for place in range(1, len(table.heads)):
        need = widths[place] + 2 * space
        if several[-1] and need > left:
            several.append([])
            left = room - widths[0]
        several[-1].append(place)
        left -= need
    # Parts of even size look like one table
    flat = [place for places in several for place in places]
    each = -(-len(flat) // len(several)) or 1
    if len(several) > 1 and all(
        widths[0] + sum(widths[p] + 2 * space for p in flat[k : k + each]) <= room for k in range(0, len(flat), each)
    ):
        several = [flat[k : k + each] for k in range(0, len(flat), each)]
    blocks = max(1, -(-len(table.rows) // ROWS))
    tall = -(-len(table.rows) // blocks) or 1
    for places in several:
        for start in range(0, max(len(table.rows), 1), tall):
            rows = [[row[place] for place in (0, *places)] for row in table.rows[start : start + tall]]
            yield _Part([table.heads[place] for place in (0, *places)], rows)


_NARROW = dict.fromkeys("iljtfrI.,:;'|!()[] -", 0.36)
_WIDE = dict.fromkeys("mwMW%@—", 0.92) | {"±": 0.8}


@functools.lru_cache(maxsize=65536)  # each cell is measured for several sizes of letters
def _ems(text: str) -> float:
    """About how wide text is in the fonts of LaTeX, in its size; letters that pdfLaTeX lacks print as their numbers."""
    words = text.split(" ")
    unknown = [word for word in words if not word.isascii() and (UNKNOWN in latex_text(word) or is_leftward(word))]
    total = sum(_NARROW.get(letter) or _WIDE.get(letter) or (0.72 if letter.isupper() else 0.53) for letter in text)
    return total + sum(3.6 * len(word) for word in unknown)
