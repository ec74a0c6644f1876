"""`lorisbench status`: how a suite stands, also while others train it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

INTERVAL = 2.0  # seconds between two looks


def status(
    out: Annotated[Path, typer.Argument(help="Output folder of a suite")],
    watch: Annotated[bool, typer.Option("--watch", help="Go on looking until all runs have ended")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable, with every run")] = False,
) -> None:
    """Show a suite's runs by state: who trains them, how far they are, why they ended, and about how long is left."""
    from rich.console import Console
    from rich.live import Live

    from lorisbench.runs.status import as_text, overview

    def text() -> tuple[str, bool]:
        told = overview(out)
        left = {"running", "interrupted", "pending"} & set(told["states"])
        return (json.dumps(told, indent=1) if as_json else as_text(told)), bool(left)

    shown, goes_on = text()
    console = Console(markup=False, highlight=False, emoji=False, soft_wrap=True)
    if not watch or not console.is_terminal:
        print(shown, flush=True)
    if not watch:
        return
    if console.is_terminal:
        with Live(shown, console=console, auto_refresh=False) as live:
            while goes_on:
                time.sleep(INTERVAL)
                shown, goes_on = text()
                live.update(shown, refresh=True)
        return
    while goes_on:
        time.sleep(INTERVAL)
        before, (shown, goes_on) = shown, text()
        if shown != before:
            print(shown, flush=True)
