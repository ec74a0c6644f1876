"""Tables as Markdown, LaTeX (booktabs) and CSV text, and the templates of pages."""

import re
from collections.abc import Iterable
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from lorisbench.common.files import write_text
from lorisbench.report.summary import DASH, MINUS
from lorisbench.report.tabular import Cell, Head, Table

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    MINUS: "$-$",
    DASH: "---",
    "†": r"\textdagger{}",
    "×": r"$\times$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "…": r"\dots{}",
    "“": "``",
    "”": "''",
    "\N{NARROW NO-BREAK SPACE}": r"\,",
}


def _one_line(text: str) -> str:
    return re.sub(r"[\r\n\t]+", " ", text)


def latex_text(text: str) -> str:
    """Text that LaTeX prints literally: special characters are escaped, line breaks and tabs become one space."""
    return "".join(_LATEX.get(character, character) for character in _one_line(text))


def markdown_text(text: str) -> str:
    """Text that Markdown shows literally, also in a table cell: no markup, no HTML, one line."""
    escaped = re.sub(r"([\\`*_{}\[\]#|~])", r"\\\1", _one_line(text))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


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


def _latex_mark(mark: str) -> str:
    return rf"\textsuperscript{{{latex_text(mark)}}}" if mark else ""


def _markdown_cell(cell: Cell) -> str:
    text = markdown_text(cell.text)
    if cell.bold:
        text = f"**{text}**"
    elif cell.underlined:
        text = f"<u>{text}</u>"
    if cell.spread:
        text += f" ± {cell.spread}"
    return text + _markdown_mark(cell.mark)


def latex(table: Table) -> str:
    """A table environment; needs the packages booktabs and graphicx."""
    alignment = "".join("r" if head.number else "l" for head in table.heads)
    lines = [
        r"% needs \usepackage{booktabs,graphicx}",
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{latex_text(table.caption)}}}",
        rf"  \label{{tab:{table.name.replace('_', '-')}}}",
        r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"  \begin{{tabular}}{{{alignment}}}",
        r"    \toprule",
    ]
    if any(head.group for head in table.heads):
        lines += _latex_groups(table.heads)
    lines.append("    " + " & ".join(latex_text(head.text) for head in table.heads) + r" \\")
    lines.append(r"    \midrule")
    # A row that begins with "[" would be read as the optional argument of the \\ before it.
    lines += ["    {}" + " & ".join(_latex_cell(cell) for cell in row) + r" \\" for row in table.rows]
    lines += [r"    \bottomrule", r"  \end{tabular}}", r"  \par\medskip", r"  \footnotesize\raggedright"]
    lines += [f"  {_latex_mark(note.mark)}{latex_text(note.text)}\\par" for note in table.notes]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def groups(heads: list[Head]) -> list[tuple[str, int]]:
    """Runs of neighbouring columns of one group: (group, how many columns)."""
    found: list[tuple[str, int]] = []
    for head in heads:
        if found and found[-1][0] == head.group:
            found[-1] = (head.group, found[-1][1] + 1)
        else:
            found.append((head.group, 1))
    return found


def _latex_groups(heads: list[Head]) -> list[str]:
    cells, rules, start = [], [], 1
    for group, count in groups(heads):
        cells.append(rf"\multicolumn{{{count}}}{{c}}{{{latex_text(group)}}}")
        if group:
            rules.append(rf"\cmidrule(lr){{{start}-{start + count - 1}}}")
        start += count
    return ["    " + " & ".join(cells) + r" \\", "    " + " ".join(rules)]


def _latex_cell(cell: Cell) -> str:
    text = latex_text(cell.text)
    if cell.bold:
        text = rf"\textbf{{{text}}}"
    elif cell.underlined:
        text = rf"\underline{{{text}}}"
    if cell.spread:
        text += rf" $\pm$ {latex_text(cell.spread)}"
    return text + _latex_mark(cell.mark)


def csv(table: Table) -> str:
    """The numbers behind the table; an undefined one is left empty."""
    return table.values.to_csv(index=False, lineterminator="\n", float_format="%.10g")


def _title(head: Head) -> str:
    return f"{head.text} (%)" if head.group.endswith("(%)") else head.text


def write_tables(tables: Iterable[Table], folder: Path) -> None:
    """Write each table as Markdown, LaTeX and CSV, in files named after it."""
    for table in tables:
        write_text(folder / f"{table.name}.md", markdown(table))
        write_text(folder / f"{table.name}.tex", latex(table))
        write_text(folder / f"{table.name}.csv", csv(table))


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
