"""Options that several commands share, and how a command ends if a run failed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from lorisbench.common.errors import InputError

PluginOption = Annotated[list[Path] | None, typer.Option("--plugin", help="Python file with strategies or benchmarks")]


def tell_faults(frame: Any) -> None:
    """Print a line for each run (of results.csv) that is not done; exit with code 1 if there is one."""
    faulty = frame[frame.status != "done"]
    for row in faulty.itertuples():
        print(f"{row.run_id}: {row.status}: {row.reason}", file=sys.stderr)
    if len(faulty):
        raise typer.Exit(1)


def split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def integers(text: str, option: str) -> list[int]:
    try:
        return [int(part) for part in split(text)]
    except ValueError:
        raise InputError(f"{option} {text!r}: integers separated by commas were expected") from None


def existing(folder: Path | None) -> Path | None:
    if folder is not None and not folder.is_dir():
        raise InputError(f"--data-root {folder}: no such folder")
    return folder
