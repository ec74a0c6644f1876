"""`lorisbench data`: inspect, check and split data sets, render the synthetic one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorisbench.cli.options import PluginOption, existing
from lorisbench.common.errors import InputError
from lorisbench.common.targets import output_file, output_folder

if TYPE_CHECKING:
    from lorisbench.data.manifest import Manifest

app = typer.Typer(
    help="Inspect, check and split data sets, render the synthetic one.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

FEW = 40  # a table with at most this many rows is printed unasked

RootArgument = Annotated[
    Path,
    typer.Argument(
        help="Folder of OpenLORIS-Object in any layout or of own images in domains, a CSV manifest, or features"
    ),
]
LayoutOption = Annotated[
    str, typer.Option(help="auto, release, benchmark1, challenge, avalanche, folder, manifest or features")
]


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
    from lorisbench.benchmarks.sim.benchmark import render_set

    if out is not None:
        output_folder(out)
    print(render_set(out, workers, objects=objects, frames=frames, size=size, seed=seed))


@app.command()
def describe(
    root: RootArgument,
    layout: LayoutOption = "auto",
    sheet: Annotated[Path | None, typer.Option(help="Draw a contact sheet: FILE.png")] = None,
    objects: Annotated[int | None, typer.Option(min=1, help="Rows of the sheet  [default: up to 12]")] = None,
) -> None:
    """Describe a folder: layout, classes, images, their sizes, published counts it does not match; and draw a sheet."""
    from lorisbench.benchmarks.tools import describe as describing
    from lorisbench.benchmarks.tools.open_data import open_data
    from lorisbench.benchmarks.tools.refusals import run_refuses

    if objects is not None and sheet is None:
        raise InputError("--objects needs --sheet FILE.png")
    if sheet is not None:
        output_file(sheet, (".png",), "--sheet")
    manifest = open_data(root, layout)
    for line in [*describing.describe(manifest), *run_refuses(manifest, root, layout).lines]:
        print(line)
    if sheet is not None:
        from lorisbench.benchmarks.tools.sheet import OBJECTS, write_sheet

        write_sheet(manifest, sheet, objects or OBJECTS)
        print(f"sheet: {sheet}")


@app.command()
def verify(
    root: RootArgument,
    layout: LayoutOption = "auto",
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that decode  [default: all cores]")] = None,
    report: Annotated[Path | None, typer.Option(help="CSV file for all bad files: path,reason")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Also decode what an earlier check found good")] = False,
) -> None:
    """Decode every image of a folder, check its archives, and list what is bad; nothing there is changed.

    Files found good are remembered until they change, so an interrupted check can be resumed. What a run would refuse
    is told for each protocol. Exit code 1 if anything is bad or a run would be refused; counts that differ from
    published ones, and archives of no known checksum, are only reported.
    """
    from lorisbench.benchmarks.openloris.checksums import known_near, releases, told
    from lorisbench.benchmarks.openloris.counts import count_differences
    from lorisbench.benchmarks.tools.archives import fault_of
    from lorisbench.benchmarks.tools.describe import features as describe_features
    from lorisbench.benchmarks.tools.open_data import open_data
    from lorisbench.benchmarks.tools.refusals import run_refuses
    from lorisbench.benchmarks.tools.verified import Verified
    from lorisbench.benchmarks.tools.verify import (
        bad_files,
        check_report,
        print_bad,
        write_report,
    )

    if report is not None:
        check_report(report, root)
    manifest = open_data(root, layout)
    splits = ", ".join(f"{split} {count:,}" for split, count in manifest.table.split.value_counts(sort=False).items())
    print(f"{manifest.name}{' (synthetic, not OpenLORIS-Object)' if manifest.synthetic else ''}, "
          f"layout {manifest.notes['layout']}: {len(manifest.table):,} images ({splits})")  # fmt: skip
    for topic, note in manifest.notes.items():
        if topic != "layout":
            print(f"{topic}: {note}")
    refusal = run_refuses(manifest, root, layout)
    for line in refusal.lines:
        print(line)
    for line in count_differences(manifest):
        print(f"differs: {line}")
    archives = []
    for file, found in releases(known_near(root)).items():
        # One of a known checksum is whole; whether another is, only reading it tells
        fault = fault_of(file) if isinstance(found, str) else ""
        print(f"{file}: {fault or told(found)}", flush=True)
        archives += [(str(file), fault)] if fault else []
    known = Verified(root, fresh)
    if archives:
        print(f"{len(archives)} bad archives", flush=True)
    if manifest.features is not None:  # all were looked at when they were read
        for line in describe_features(manifest):
            print(line)
    bad = bad_files(manifest.files() if manifest.features is None else [], workers, known)
    checked = f"images checked, {known.remembered:,} of them good in an earlier check"
    print(f"{len(manifest.table):,} {checked if manifest.features is None else 'rows of features checked'}")
    if report is not None:
        write_report(report, [*archives, *bad])
        print(f"report: {report}")
    print_bad(bad, report)
    if archives or bad or refusal.refused:
        raise typer.Exit(1)


@app.command()
def unpack(
    sources: Annotated[list[Path], typer.Argument(metavar="SOURCE...", help="Archives, or folders that contain them")],
    into: Annotated[Path, typer.Option(help="Folder to unpack into; nothing outside it is written")],
    skip_checksums: Annotated[
        bool, typer.Option("--skip-checksums", help="Do not tell by checksum which release archives are of")
    ] = False,
) -> None:
    """Unpack zip, tar and tar.gz archives; existing files are skipped, so running it again resumes.

    All members are checked before anything is written: links, devices, names that lead elsewhere or overwrite each
    other, encryption and too little disk space are refused.
    """
    from lorisbench.benchmarks.tools.archives import find_archives
    from lorisbench.benchmarks.tools.unpack import unpack as unpack_all

    output_folder(into, "--into")
    for done in unpack_all(find_archives(sources), into, not skip_checksums):
        places = ", ".join(done.tops[:5]) + (", ..." if len(done.tops) > 5 else "")
        print(f"{done.archive}: {done.written:,} files unpacked, {done.skipped:,} were there already ({places})")
    print(into)


@app.command()
def leaks(
    root: RootArgument,
    layout: LayoutOption = "auto",
    distance: Annotated[
        int | None, typer.Option(min=0, max=127, help="Bits of 256 that may differ in near-duplicates  [default: 40]")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the table of recordings as CSV")] = None,
) -> None:
    """Count test images that are near-duplicates of training images, for each experience and recording."""
    from lorisbench.benchmarks.tools.leaks import DISTANCE, leaks, per_experience, per_recording, summary
    from lorisbench.benchmarks.tools.open_data import open_data
    from lorisbench.common.files import write_text

    if out is not None:
        output_file(out, (".csv",))
    manifest = open_data(root, layout)
    limit = DISTANCE if distance is None else distance
    found = leaks(manifest, limit)
    print(per_experience(manifest, found).to_string(index=False, formatters={"share": "{:.1%}".format}))
    for line in summary(manifest, found, limit):
        print(line)
    recordings = per_recording(manifest, found)
    if out is not None:
        write_text(out, recordings.to_csv(index=False))
        print(f"recordings: {out}")
    elif len(recordings) <= FEW:
        print(recordings.to_string(index=False))
    else:
        print(f"{len(recordings)} recordings with test images: --out FILE.csv writes a row for each")


@app.command()
def features(
    what: Annotated[
        str, typer.Argument(metavar="SUITE|BENCHMARK", help="A suite's name or file, or the name of a benchmark")
    ],
    out: Annotated[Path, typer.Argument(help="File to write: FILE.npz")],
    data_root: Annotated[Path | None, typer.Option(help="Folder of the real data set, in place of the suite's")] = None,
    stream: Annotated[str, typer.Option(help="Which stream of the suite, if it has several")] = "",
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, e.g. backbone.name=timm:resnet50")
    ] = None,
    plugin: PluginOption = None,
) -> None:
    """Write what a frozen backbone makes of a benchmark's images to a file, which {features: FILE} reads without them.

    Labels, class names, experiences, splits, recordings, factors and levels are in it; a run on it gives the numbers
    that a run on the images gives.
    """
    from lorisbench.runs.feature_file import stream_named, write_features

    output_file(out, (".npz",), "OUT")
    config = stream_named(what, stream, existing(data_root), assignments or [], [str(path) for path in plugin or []])
    print(write_features(config, out))
    print(f"features: {out}")


@app.command()
def split(
    root: RootArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="CSV manifest to write")],
    disjoint: Annotated[
        bool, typer.Option("--disjoint", help="Split by whole recordings: no test recording is trained on")
    ] = False,
    layout: LayoutOption = "auto",
    protocol: Annotated[
        str, typer.Option(help="sequence, factor or challenge  [default: the folder's own experiences]")
    ] = "",
    factor: Annotated[str, typer.Option(help="Factor, for the protocol 'factor'")] = "",
    test_share: Annotated[float, typer.Option(help="Share of a class's recordings used for testing")] = 0.2,
    validation_share: Annotated[float, typer.Option(help="Share used for validation")] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the split")] = 0,
) -> None:
    """Split a folder's images anew and write the result as a CSV manifest; no image is moved."""
    from lorisbench.benchmarks.own.csv_manifest import check_listable, write
    from lorisbench.data import disjoint as splitting

    if not disjoint:
        raise InputError("no way of splitting was given: add --disjoint (the only one there is)")
    output_file(out, (".csv",))
    before = _read(root, layout, protocol, factor)
    check_listable(before, out)
    after = splitting.disjoint(before, test_share, validation_share, seed)
    print(splitting.changes(before, after).to_string(index=False))
    for topic in splitting.TOPICS:
        if topic in after.notes:
            print(f"{topic}: {after.notes[topic]}")
    print(splitting.verified(before, after))
    write(after, out)
    print(f"manifest: {out}")


def _read(root: Path, layout: str, protocol: str, factor: str) -> Manifest:
    """A folder under a protocol, or in its own experiences if none is named."""
    from lorisbench.benchmarks.openloris.layouts import LAYOUTS, read
    from lorisbench.benchmarks.openloris.words import FACTORS
    from lorisbench.benchmarks.tools.open_data import check_layout, open_data
    from lorisbench.common.registry import select
    from lorisbench.data.subsets import Subset

    if factor and protocol != "factor":
        raise InputError("--factor needs --protocol factor")
    if not protocol:
        return open_data(root, layout)
    check_layout(layout)
    if layout not in ("auto", *LAYOUTS):
        raise InputError(f"--protocol {protocol}: own data (layout {layout!r}) have no protocols; leave it out")
    select("protocol", [protocol], ("sequence", "factor", "challenge"))
    if protocol == "factor":
        select("factor", [factor or FACTORS[0]], FACTORS)
    return read(root, layout, protocol, (factor or FACTORS[0]) if protocol == "factor" else None, Subset())
