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

RootArgument = Annotated[
    Path, typer.Argument(help="Folder of OpenLORIS-Object in any layout, of own images in domains, or a CSV manifest")
]
LayoutOption = Annotated[str, typer.Option(help="auto, release, benchmark1, challenge, avalanche or folder")]


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
    from benchmarks.data import open_data

    manifest = open_data(root, layout)
    print(f"{manifest.name}{' (synthetic)' if manifest.synthetic else ''}: {len(manifest.table)} images, "
          f"{len(manifest.classes)} classes")  # fmt: skip
    for topic, note in manifest.notes.items():
        print(f"{topic}: {note}")
    print(manifest.counts().to_string(index=False))
    for line in count_differences(manifest):
        print(line)


@app.command()
def verify(
    root: RootArgument,
    layout: LayoutOption = "auto",
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that decode  [default: all cores]")] = None,
    report: Annotated[Path | None, typer.Option(help="CSV file for all bad files: path,reason")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Decode also what an earlier check found good")] = False,
) -> None:
    """Decode every image of a folder, check known archives, and list what is bad; nothing there is changed.

    Files found good are remembered until they change, so that an interrupted check goes on. Exit code 1 if anything is
    bad; counts that differ from published ones are only told.
    """
    from benchmarks.checksums import checksum_faults, known_near
    from benchmarks.counts import count_differences
    from benchmarks.data import open_data
    from benchmarks.verified import Verified
    from benchmarks.verify import bad_files, check_report, print_bad, printable, unused_images, write_report

    if report is not None:
        check_report(report, root)
    manifest = open_data(root, layout)
    splits = ", ".join(f"{split} {count:,}" for split, count in manifest.table.split.value_counts(sort=False).items())
    print(f"{manifest.name}{' (synthetic, not OpenLORIS-Object)' if manifest.synthetic else ''}, "
          f"layout {manifest.notes['layout']}: {len(manifest.table):,} images ({splits})")  # fmt: skip
    for topic, note in manifest.notes.items():
        if topic != "layout":
            print(f"{topic}: {note}")
    for line in count_differences(manifest):
        print(f"differs: {line}")
    unused = unused_images(manifest) if root.is_dir() else []
    if unused:
        print(f"not used: {len(unused):,} more images lie there, such as {printable(unused[0])}", flush=True)
    faults = checksum_faults(known_near(root))
    for file, fault in faults.items():
        print(f"{file}: {fault or 'the checksum is right'}", flush=True)
    known = Verified(root, fresh)
    archives = [(str(file), fault) for file, fault in faults.items() if fault]
    if archives:
        print(f"{len(archives)} bad archives", flush=True)
    bad = bad_files(manifest.files(), workers, known)
    print(f"{len(manifest.table):,} images checked, {known.remembered:,} of them good in an earlier check")
    if report is not None:
        write_report(report, [*archives, *bad])
        print(f"report: {report}")
    print_bad(bad, report)
    if archives or bad:
        raise typer.Exit(1)


@app.command()
def unpack(
    sources: Annotated[list[Path], typer.Argument(metavar="SOURCE...", help="Archives, or folders that hold them")],
    into: Annotated[Path, typer.Option(help="Folder to unpack into; nothing outside it is written")],
    skip_checksums: Annotated[
        bool, typer.Option("--skip-checksums", help="Unpack archives of known names whatever their checksum")
    ] = False,
) -> None:
    """Unpack zip, tar and tar.gz archives; what is there already is skipped, so the same command goes on.

    All members are checked before anything is written: links, devices, names that lead elsewhere or overwrite each
    other, encryption and too little room on the disk are refused.
    """
    from benchmarks.archives import find_archives
    from benchmarks.unpack import unpack as unpack_all

    for done in unpack_all(find_archives(sources), into, not skip_checksums):
        places = ", ".join(done.tops[:5]) + (", ..." if len(done.tops) > 5 else "")
        print(f"{done.archive}: {done.written:,} files unpacked, {done.skipped:,} were there already ({places})")
    print(into)
