"""Commands that judge something: against published numbers, another output, or what a strategy claims about itself."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from lorisbench.cli.options import PluginOption, existing, integers, signals_told, split, tell_faults, tell_plan
from lorisbench.common.errors import InputError


@signals_told()
def reproduce(
    paper: Annotated[
        str,
        typer.Argument(
            help="hik2019 (Ma et al.), openloris2020 (She et al.), clp-snn (few shots), baselines (Hsu et al.), "
            "der2020 (Buzzega et al.), or plugins (those of Avalanche, here and in a plain script of Avalanche)"
        ),
    ],
    data_root: Annotated[
        Path | None,
        typer.Option(
            help="Folder of OpenLORIS-Object (of MNIST's files, for baselines and der2020; the authors' file of "
            "features, for clp-snn); without it, other data are used and no value is compared"
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Output folder  [default: results/reproduce-<paper>, or …-as-published]")
    ] = None,
    as_published: Annotated[
        bool,
        typer.Option(
            "--as-published",
            help="hik2019 as its authors trained it: shared layers with GroupNorm, on the first batch, then frozen",
        ),
    ] = False,
    parts: Annotated[str, typer.Option(help="Run only these, separated by commas, e.g. clutter,sequence")] = "",
    seeds: Annotated[str, typer.Option(help="Run under these seeds, separated by commas")] = "",
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that train runs; 0 trains in this one  [default: as for `run`]")
    ] = None,
    assignments: Annotated[list[str] | None, typer.Option("--set", help="key=value, as for `run`")] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check all that a run checks first, list the runs; train and render nothing"),
    ] = False,
) -> None:
    """Reproduce a paper's tables, published beside measured. Finished runs are kept.

    `baselines` first runs checks of the strategies that need no data. `plugins` needs no data either, and has no
    options but --out and --dry-run. Exit code 1 if a run or a check failed.
    """
    if paper == "plugins":
        if data_root or parts or seeds or workers is not None or assignments or as_published:
            raise InputError("reproduce plugins: it has no options but --out and --dry-run")
        _plugins(out or Path("results") / "reproduce-plugins", dry_run)
        return
    from lorisbench.reproduce.plan import plan, verify
    from lorisbench.reproduce.plan import reproduce as run_all

    planned = plan(
        paper,
        parts=split(parts),
        data_root=existing(data_root),
        seeds=integers(seeds, "--seeds"),
        assignments=assignments or [],
        as_published=as_published,
    )
    target = out or Path("results") / f"reproduce-{paper}{'-as-published' if as_published else ''}"
    if dry_run:
        tell_plan(planned.suite, target, workers)
        return
    from lorisbench.reproduce.page import text

    checks, failed = verify(planned, target)
    if checks is not None:  # printed now: they also hold if there are no data to go on with
        print(text(checks))
        for name in failed:
            print(f"check failed: {name}", file=sys.stderr)
    frame, tables = run_all(planned, target, workers)
    for table in tables:
        if table.name != "checks":
            print(text(table))
    print(f"page: {target / 'index.html'}")
    tell_faults(frame)
    if failed:
        raise typer.Exit(1)


def _number(value: float) -> str:
    """Six decimals, or none of a large number: metrics of all sizes share a column, and one exponent gives all one."""
    if abs(value) >= 1e6:
        return f"{value:.0f}"
    return f"{value:.6f}".rstrip("0").rstrip(".") if abs(value) >= 1e-6 else f"{value:.3g}"


def _plugins(target: Path, dry_run: bool) -> None:
    from lorisbench.common.targets import output_folder
    from lorisbench.reproduce.page import text
    from lorisbench.reproduce.plugins import names, reproduce_plugins

    output_folder(target)
    if dry_run:
        print("\n".join(names()))
        return
    table, failed = reproduce_plugins(target)
    print(text(table))
    print(f"tables: {target / 'tables'}")
    for name in failed:
        print(f"not equal: {name}", file=sys.stderr)
    if failed:
        raise typer.Exit(1)


def compare(
    before: Annotated[Path, typer.Argument(metavar="A", help="Output folder")],
    after: Annotated[Path, typer.Argument(metavar="B", help="Output folder compared with A")],
    fail_on: Annotated[
        str | None,
        typer.Option(
            help="Exit 1 if true of any strategy's mean difference B - A; conditions separated by commas, such as "
            '"accuracy_last < -0.5pp" (points) or "latency_p50 > +10%" (relative to A)'
        ),
    ] = None,
    any_machine: Annotated[
        bool, typer.Option("--any-machine", help="Compare times even of runs from different machines")
    ] = False,
    markdown: Annotated[
        Path | None,
        typer.Option(help="Write a summary in Markdown, for the comment on a pull request; - for standard output"),
    ] = None,
) -> None:
    """Differences B - A per strategy, paired by seed, with 95 % intervals and corrected tests.

    A gate that tests nothing is an error.
    """
    from lorisbench.common.files import write_text
    from lorisbench.common.targets import output_file
    from lorisbench.metrics.compare import TIMES, compare_outputs, judge, missing, other_machine
    from lorisbench.metrics.elsewhere import is_imported
    from lorisbench.metrics.gates import conditions
    from lorisbench.report.compared_answers import with_answers
    from lorisbench.report.differences import markdown as summary
    from lorisbench.report.frame import left_out

    wanted = None if fail_on is None else conditions(fail_on)
    to_file = markdown is not None and str(markdown) != "-"
    if markdown is not None and to_file:
        output_file(markdown, (".md",), "--markdown")
    if wanted is not None and before.resolve() == after.resolve():
        print(f"{before} and {after} are the same folder: every difference is 0", file=sys.stderr)
    for out in dict.fromkeys((before, after)):
        for line in left_out(out):
            print(line, file=sys.stderr)
    frame = with_answers(before, after, compare_outputs(before, after, any_machine))
    notes = [
        f"{out} holds results from elsewhere: its seeds are paired with the others by number alone"
        for out in (before, after)
        if is_imported(out)
    ]
    if not any_machine and (why := other_machine(before, after)):
        notes.append(f"Not compared ({', '.join(TIMES)}): {why}")
    verdict = None if wanted is None else judge(before, after, frame, wanted, any_machine)
    absent = missing(before, after) if verdict is None else verdict.absent
    text = "" if markdown is None else summary(before, after, frame, verdict, notes)
    if markdown is not None and to_file:
        write_text(markdown, text)
    plain = markdown is None or to_file
    print(frame.to_string(index=False, float_format=_number) if plain else text)
    for line in [*notes, *absent, *(verdict.notes + verdict.broken if verdict else [])]:
        print(line, file=sys.stderr)
    if verdict is not None and not verdict.passed:
        raise typer.Exit(1)


def check(
    strategy: Annotated[str, typer.Argument(help="A name, or package.module:ClassName of a plugin for Avalanche")],
    plugin: PluginOption = None,
    assignments: Annotated[list[str] | None, typer.Option("--set", help="key=value, a setting of the strategy")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable")] = False,
    export: Annotated[bool, typer.Option("--export", help="Export its model to ONNX, too (needs the extra)")] = False,
) -> None:
    """Check in seconds, on a toy stream, that a strategy does what it claims. Exit code 1 if a check failed.

    Kept samples are recognised even if normalised, rounded, mirrored, turned, or moved by up to two pixels, in any
    tensor or array that its plugins, their classes and modules hold. Samples mixed with others, scaled to another size,
    standardised value by value, compressed or written to files are not detected.
    """
    from lorisbench.conformance import kit

    report = kit.check(kit.entry_of(strategy, plugin or [], assignments or []))
    if export:
        from lorisbench.export.trial import trial

        report = replace(report, rows=[*report.rows, trial(report.settings)])
    if as_json:
        print(kit.as_json(report))
    else:
        kit.show(report)
    if report.failed:
        raise typer.Exit(1)


def bench(
    what: Annotated[
        str,
        typer.Argument(
            help="startup, steps, stock, growth, extraction, endtoend, memory, data, latency, dnn, slda, "
            "optimizer, suite, report; all if omitted"
        ),
    ] = "",
    out: Annotated[Path | None, typer.Option(help="Write all that was found to this JSON file")] = None,
    compare: Annotated[Path | None, typer.Option(help="Put the ratios of such a file beside those measured")] = None,
    any_machine: Annotated[bool, typer.Option("--any-machine", help="Compare even another machine's")] = False,
    device: Annotated[
        str, typer.Option(help="cpu, cuda or cuda:N; on a GPU there are steps, extraction, endtoend, latency")
    ] = "cpu",
) -> None:
    """Measure the harness on this machine by alternating comparisons and median ratios."""
    from lorisbench.bench.run_benchmarks import run_benchmarks

    try:
        for line in run_benchmarks(what, out, compare, any_machine, device):
            print(line, flush=True)
    except KeyboardInterrupt:
        kept = f"; {out} has what was found until then" if out is not None and out.is_file() else ""
        print(f"lorisbench: interrupted{kept}", file=sys.stderr)
        raise typer.Exit(1) from None
