"""What a page carries in itself, so that it needs no network: its style, its script, and Vega-Lite as one script."""

from __future__ import annotations

import contextlib
from pathlib import Path

from lorisbench.common.cache import cache_root
from lorisbench.common.errors import InputError
from lorisbench.common.files import write_text

ASSETS = Path(__file__).parent / "assets"
SCRIPTS = (
    "dom", "statistics", "choices", "table", "charts", "ranking", "comparison", "curves", "matrices", "costs", "heads",
    "kept", "runs", "main",
)  # fmt: skip
"""The page's own scripts in `assets`, in the order in which they are put together into one."""
END = "/* end */\n"


def css() -> str:
    """The style of all pages."""
    return (ASSETS / "page.css").read_text("utf-8")


def own_script() -> str:
    """The page's own script: the files of `assets`, in one function."""
    files = [(ASSETS / f"{name}.js").read_text("utf-8") for name in SCRIPTS]
    return '(() => {\n"use strict";\n' + "\n".join(files) + "})();\n"


def charts() -> str:
    """JavaScript that defines `vegaEmbed`, with Vega and Vega-Lite in it (0.9 MB).

    It is put together by vl-convert, in a second, and kept in the cache folder by its version. Without room there it is
    made each time.
    """
    from importlib.metadata import version

    import vl_convert

    file = cache_root() / "pages" / f"vega-{version('vl-convert-python')}.js"
    if kept := _kept(file):
        return kept
    # In a function, so that none of its short names is seen outside
    vega = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    made = f"(() => {{{vega}}})();\n{END}"
    with contextlib.suppress(OSError, InputError):
        write_text(file, made)
    return made


def _kept(file: Path) -> str:
    """What the cache has, if it is whole."""
    try:
        text = file.read_text("utf-8")
    except (OSError, ValueError):
        return ""
    return text if text.endswith(END) else ""
