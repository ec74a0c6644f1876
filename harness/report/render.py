"""Tables as text: for a terminal, as Markdown, LaTeX or CSV; and the templates of pages."""

from collections.abc import Iterable
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from lorisbench.common.files import write_text
from lorisbench.report.choosing import paper
from lorisbench.report.latex import latex
from lorisbench.report.plain import terminal
from lorisbench.report.tabular import Cell, Head, Table, emphasised
from lorisbench.report.tabular import groups as groups
from lorisbench.report.texts import markdown_text


def markdown(table: Table) -> str:
    """The table in GitHub's Markdown, with its caption above and its notes below."""
    lines = [f"**{markdown_text(table.caption)}**", ""]
    lines.append("| " + " | ".join(markdown_text(_title(head)) for head in table.heads) + " |")
    lines.append("|" + "|".join("---:" if head.number else ":---" for head in table.heads) + "|")
    for row in table.rows:
        lines.append("| " + " | ".join(_markdown_cell(cell) for cell in row) + " |")
    lines += ["", *(f"- {_markdown_mark(note.mark)}{markdown_text(note.text)}" for note in table.notes)]
    return "\n".join(lines) + "\n"


def _markdown_mark(mark: str) -> str:
    return f"<sup>{mark}</sup>" if mark else ""


def _markdown_cell(cell: Cell) -> str:
    text = emphasised(cell, markdown_text(cell.text), ("**", "**"), ("<u>", "</u>"))
    if cell.spread:
        text += f" ± {cell.spread}"
    return text + _markdown_mark(cell.mark)


def csv(table: Table) -> str:
    """The numbers behind the table; an undefined one is left empty."""
    return table.values.to_csv(index=False, lineterminator="\n", float_format="%.10g")


FORMATS = ("terminal", "markdown", "latex", "csv")
ENDINGS = {"md": "markdown", "tex": "latex", "csv": "csv"}


def text(
    table: Table, format: str, wide: bool = False, points: float | None = None, letters: int = 0, colour: bool = False
) -> str:
    """A table in one of `FORMATS`. `wide`, `points`: see `latex`; `letters`, `colour`: see `terminal`."""
    if format == "latex":
        return latex(table, wide, points)
    if format == "terminal":
        return terminal(table, letters, colour)
    return {"markdown": markdown, "csv": csv}[format](table)


def _title(head: Head) -> str:
    return f"{head.text} (%)" if head.group.endswith("(%)") and not head.text.endswith(", points") else head.text


def write_tables(tables: Iterable[Table], folder: Path) -> None:
    """Write each table as Markdown, LaTeX (the columns that a paper shows) and CSV, in files named after it."""
    for table in tables:
        for ending, format in ENDINGS.items():
            write_text(folder / f"{table.name}.{ending}", text(paper(table) if format == "latex" else table, format))


HERE = Path(__file__).parent


def template(name: str, folder: Path = HERE) -> Template:
    """A page's template from a folder; what pages share is here. The values it is given are escaped; a missing value is
    an error."""
    environment = Environment(
        loader=FileSystemLoader([folder, HERE]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    return environment.get_template(name)
