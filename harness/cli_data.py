"""`lorisbench data`: look at data sets, check and split them, render the synthetic one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Look at data sets, check and split them, render the synthetic one.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

RootArgument = Annotated[Path, typer.Argument(help="Folder of OpenLORIS-Object in any of its layouts")]
LayoutOption = Annotated[str, typer.Option(help="auto, release, benchmark1, challenge or avalanche")]


@app.command()
def render(
    out: Annotated[Path | None, typer.Option(help="Folder to make  [default: the cache folder]")] = None,
    objects: Annotated[int, typer.Option(min=2, help="Object instances (classes)")] = 16,
    frames: Annotated[int, typer.Option(min=5, help="Frames of each object in each segment")] = 10,
    size: Annotated[int, typer.Option(min=32, help="Image side in pixels")] = 128,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the whole set")] = 0,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes  [default: all cores]")] = None,
) -> None:
    """Render OpenLORIS-Sim, the synthetic stand-in, in the layout of the released data set."""
    from benchmarks.synthetic import render_set

    print(render_set(out, workers, objects=objects, frames=frames, size=size, seed=seed))


@app.command()
def describe(
    root: RootArgument,
    layout: LayoutOption = "auto",
) -> None:
    """What a folder holds: its layout, classes, images of each experience and split, and published counts it misses."""
    from benchmarks.counts import count_differences
    from benchmarks.layouts import read_root

    manifest = read_root(root, layout)
    print(f"{manifest.name}{' (synthetic)' if manifest.synthetic else ''}: {len(manifest.table)} images, "
          f"{len(manifest.classes)} classes")  # fmt: skip
    for topic, note in manifest.notes.items():
        print(f"{topic}: {note}")
    print(manifest.counts().to_string(index=False))
    for line in count_differences(manifest):
        print(line)
