"""Names and sentences as text of a format: nothing in them is markup, and letters of any script come out right."""

import functools
import re
import unicodedata
from collections.abc import Iterable

from lorisbench.report.summary import DASH, MINUS

OPEN, CLOSE = "\N{FIRST STRONG ISOLATE}", "\N{POP DIRECTIONAL ISOLATE}"
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
    '"': r"\char34{}",
    "`": r"\char96{}",
    "±": r"$\pm$",
    MINUS: "$-$",
    DASH: "---",
    "–": "--",
    "†": r"\dag{}",
    "‡": r"\ddag{}",
    "×": r"$\times$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "…": r"\dots{}",
    "“": "``",
    "”": "''",
    "‘": "`",
    "’": "'",
    "·": r"$\cdot$",
    "→": r"$\to$",
    "√": r"$\surd$",
    "°": r"$^{\circ}$",
    "µ": r"$\mu$",
    "\N{NO-BREAK SPACE}": "~",
    "\N{NARROW NO-BREAK SPACE}": r"\,",
    "\N{THIN SPACE}": r"\,",
    "ß": r"{\ss}",
    "æ": r"{\ae}",
    "Æ": r"{\AE}",
    "ø": r"{\o}",
    "Ø": r"{\O}",
    "œ": r"{\oe}",
    "Œ": r"{\OE}",
    "å": r"{\aa}",
    "Å": r"{\AA}",
    "ł": r"{\l}",
    "Ł": r"{\L}",
    "ı": r"{\i}",
}
_ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0308": '"', "\u030a": "r", "\u0327": "c",
    "\u030c": "v", "\u0304": "=", "\u0306": "u", "\u0307": ".", "\u030b": "H",
}  # fmt: skip
_GREEK = re.compile(r"GREEK (SMALL|CAPITAL) LETTER (\w+)$")
# Capitals that look like Latin ones have no command of their own
_LATIN = dict(
    zip(
        ["ALPHA", "BETA", "EPSILON", "ZETA", "ETA", "IOTA", "KAPPA", "MU", "NU", "OMICRON", "RHO", "TAU", "CHI"],
        "ABEZHIKMNOPTX",
        strict=True,
    )
)
UNKNOWN = r"\lorisname"


def one_line(text: str) -> str:
    """Text on one line, without control characters: line breaks and tabs become one space, others nothing."""
    return "".join(
        letter for letter in re.sub(r"[\r\n\t\v\f\x85\u2028\u2029]+", " ", text) if unicodedata.category(letter) != "Cc"
    )


def file_names(labels: Iterable[str]) -> dict[str, str]:
    """A safe file name (without extension) for each label, distinct even where case does not count."""
    names: dict[str, str] = {}
    used: set[str] = set()
    for label in labels:
        base = re.sub(r"[^A-Za-z0-9.+-]+", "_", label).strip("._")[:80] or "strategy"
        name, count = base, 1
        while name.lower() in used:
            count += 1
            name = f"{base}-{count}"
        used.add(name.lower())
        names[label] = name
    return names


def is_leftward(text: str) -> bool:
    """Whether text has letters that are written from right to left."""
    return not text.isascii() and any(unicodedata.bidirectional(letter) in ("R", "AL", "AN") for letter in text)


def isolated(text: str) -> str:
    """Text whose letters from right to left change nothing of what stands beside it."""
    return f"{OPEN}{text}{CLOSE}" if is_leftward(text) else text


def markdown_text(text: str) -> str:
    """Text that Markdown shows literally, also in a table cell: no markup, no HTML, one line."""
    escaped = re.sub(r"([\\`*_{}\[\]#|~])", r"\\\1", one_line(text))
    return isolated(escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))


@functools.lru_cache(maxsize=65536)
def latex_text(text: str) -> str:
    """Text that LaTeX prints literally, on one line.

    pdfLaTeX has letters of the Latin alphabet, with their accents, and Greek ones. A word with others is an argument of
    `UNKNOWN` (see `latex.latex`), beside what pdfLaTeX prints in its place: their numbers.
    """
    words = re.split(r"( )", one_line(text))
    return "".join(_latex_word(word) for word in words)


def _latex_word(word: str) -> str:
    found = [_latex_letter(letter) for letter in unicodedata.normalize("NFC", word)]
    if None not in found:
        return "".join(letter or "" for letter in found)
    normal = unicodedata.normalize("NFC", word)
    literal = "".join(_LATEX.get(letter, letter) for letter in normal)
    instead = " ".join(
        f"U+{ord(letter):04X}" if in_latex is None else in_latex for letter, in_latex in zip(normal, found, strict=True)
    )
    return rf"{UNKNOWN}{{{literal}}}{{{instead}}}{{{'R' if is_leftward(word) else 'L'}}}"


def _latex_letter(letter: str) -> str | None:
    """A letter as pdfLaTeX prints it, None if it cannot."""
    if letter in _LATEX:
        return _LATEX[letter]
    if letter.isascii():
        return letter
    if unicodedata.category(letter) == "Cf":  # marks of direction and the like print nothing
        return ""
    parts = list(unicodedata.normalize("NFD", letter))
    if len(parts) == 2 and parts[0].isascii() and parts[0].isalpha() and parts[1] in _ACCENTS:
        return rf"\{_ACCENTS[parts[1]]}{{{parts[0]}}}"
    if greek := _GREEK.match(unicodedata.name(letter, "")):
        case, name = greek[1], {"LAMDA": "LAMBDA"}.get(greek[2], greek[2])
        if case == "CAPITAL" and name in _LATIN:
            return f"$\\mathrm{{{_LATIN[name]}}}$"
        return "$o$" if name == "OMICRON" else f"$\\{name.capitalize() if case == 'CAPITAL' else name.lower()}$"
    return None
