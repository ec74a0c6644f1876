"""The pages of documentation and what they show: blocks of code, tables, links."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted(page for page in ROOT.glob("*/README.md") if not page.parent.name.startswith(".")),
    ROOT / ".github" / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
]
_BLOCK = re.compile(r"(?:^<!-- setup: (.+?) -->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (\w+\.(?:py|yaml))\n")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language (may be empty), its text, what its marker asks for (or None), and where it is."""

    page: Path
    line: int
    language: str
    text: str
    setup: str | None

    @property
    def file(self) -> str | None:
        """The name of the file that the block is meant to be saved as: its first line, `# NAME.py` or `# NAME.yaml`."""
        found = _FILE.match(self.text)
        return found and found[1]

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    """All fenced blocks of these languages, page by page."""
    return [block for page in PAGES for block in _blocks(page) if block.language in languages]


def _blocks(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    return [
        Block(page, text[: found.start()].count("\n") + 1, found[2], found[3], found[1])
        for found in _BLOCK.finditer(text)
    ]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _BLOCK.sub("", page.read_text("utf-8"))


def rows(page: Path, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its first two lines."""
    section = page.read_text("utf-8").split(f"# {heading}\n")[1]
    table = re.search(r"(?:^\|.*\|\n)+", section, re.MULTILINE)
    assert table, heading
    return [[cell.strip() for cell in line.strip("|\n").split("|")] for line in table[0].splitlines()[2:]]


def code_spans(text: str) -> list[str]:
    """The inline code of a text."""
    return re.findall(r"`([^`\n]+)`", text)


def written_files(page: Path, folder: Path) -> Path:
    """Write the files that a page shows and says to save; returns the folder."""
    for block in _blocks(page):
        if block.file is not None:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / block.file).write_text(block.text, encoding="utf-8")
    return folder
