"""Commands that bring results together: reports on one output or several, and results from elsewhere."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Annotated

import typer

from lorisbench.cli.options import inches, integers, split
from lorisbench.common.errors import InputError

if TYPE_CHECKING:
    from lorisbench.gather.foreign import Foreign


def report(
    outs: Annotated[list[Path], typer.Argument(metavar="OUT...", help="Output folders of suites")],
    out: Annotated[
        Path | None,
        typer.Option(help="Show all of them together, in a folder of their own, with what differs said first"),
    ] = None,
    beside: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=FILE: a matrix of accuracies from elsewhere (or a log of Avalanche or Mammoth) beside the runs; "
            "NAME= takes it away again"
        ),
    ] = None,
    transpose: Annotated[
        bool, typer.Option("--transpose", help="The rows of the matrices are what was tested, not what was trained")
    ] = False,
    stream: Annotated[str, typer.Option(help="The stream that --beside or --table is of, if there are several")] = "",
    metric: Annotated[
        list[str] | None, typer.Option(metavar="FILE.py:FUNCTION", help="Add a metric of your own; may be given again")
    ] = None,
    table: Annotated[
        str, typer.Option(help="Print this table, and write nothing  [default: comparison, with any of the next five]")
    ] = "",
    form: Annotated[
        str, typer.Option("--format", help="Of the table: terminal, markdown, latex or csv  [default: terminal]")
    ] = "",
    columns: Annotated[str, typer.Option(help="Columns of the table, separated by commas, or `all`")] = "",
    sort: Annotated[str, typer.Option(help="Columns to sort by; -NAME for the largest first")] = "",
    precision: Annotated[str, typer.Option(help="Decimals, or auto: two digits of an interval decide")] = "auto",
    wide: Annotated[bool, typer.Option("--wide", help="LaTeX: table*, across two columns")] = False,
    width: Annotated[
        str, typer.Option(help="Of plots and of the LaTeX table: 3.3in, 84mm, 17cm, 240pt  [default: plots 7in]")
    ] = "",
    plots: Annotated[
        str, typer.Option(help="Draw only these, separated by commas, or `all`: the matrix of each strategy, too")
    ] = "",
) -> None:
    """Write an output folder's report again, from its files alone, or print one of its tables; several with --out."""
    from lorisbench.common.functions import load_function
    from lorisbench.metrics.elsewhere import read_combined
    from lorisbench.report import write_report
    from lorisbench.runs.tables import Tables

    size = inches(width, "--width")
    if table or columns or sort or wide or form or precision != "auto":
        if len(outs) > 1 or out is not None or beside or metric:
            raise InputError("--table: prints a table of one output, without --out, --beside and --metric")
        _print_table(outs[0], table or "comparison", form or "terminal", columns, sort, precision, wide, size, stream)
        return
    if (transpose or stream) and not beside:
        raise InputError(f"{'--transpose' if transpose else '--stream'}: is said of --beside, which was not given")
    if beside and out is None and len(outs) > 1:
        raise InputError("--beside: which of the outputs it is of is not clear; give one, or --out for all together")
    foreign = [_beside(each, transpose) for each in beside or []]
    metrics = {named: load_function(named, "--metric") for named in metric or []}
    for each in outs if out is None else ():  # outputs that are shown together may be others', and stay as they are
        if (each / "runs").is_dir() and (each / "suite.yaml").is_file() and read_combined(each) is None:
            tables = Tables(each)
            for line in tables.faults:
                print(line, file=sys.stderr)
            tables.complete()
    if out is not None:
        _combine(outs, out)
    for target in [out] if out is not None else outs:
        for name, result in foreign:
            _put(target, name, result, stream)
        print(f"report: {write_report(target, metrics, size, split(plots))}")


def _print_table(
    out: Path, name: str, form: str, columns: str, sort: str, precision: str, wide: bool, size: float, stream: str
) -> None:
    from lorisbench.report.pasting import Wanted, table_text

    wanted = Wanted(name, form, split(columns), split(sort), precision, wide, size, stream)
    seen = sys.stdout.isatty()
    print(table_text(out, wanted, get_terminal_size().columns if seen else 0, seen), end="")


def _combine(outs: list[Path], target: Path) -> None:
    from lorisbench.gather.together import combine

    told = combine(outs, target)
    for line in (*told.differs, *told.left_out):
        print(line, file=sys.stderr)


def _beside(text: str, transpose: bool) -> tuple[str, tuple[str, Foreign] | None]:
    """The name and the result of a --beside with the name of its file; None if it is to be taken away."""
    from lorisbench.gather.formats import read_one

    name, equals, file = text.partition("=")
    if not equals or not name.strip():
        raise InputError(f"--beside {text!r}: expected NAME=FILE, such as lwf=matrix.csv")
    return name.strip(), (Path(file).name, read_one(Path(file), transpose)) if file else None


def _put(target: Path, name: str, result: tuple[str, Foreign] | None, stream: str) -> None:
    import numpy as np

    from lorisbench.common.registry import nearest
    from lorisbench.gather.foreign import sentence
    from lorisbench.report.beside import Beside, put_beside, take_away
    from lorisbench.report.frame import read, streams

    if result is None:
        take_away(target, name)
        return
    source, foreign = result
    known = streams(target)
    if not stream and len(known) > 1:
        raise InputError(f"--beside {name}: {target} has the streams {', '.join(known)}: --stream names one of them")
    if stream and stream not in known:
        raise InputError(f"--stream {stream}: {target} holds no such stream{nearest(stream, known)}")
    stream = stream or known[0]
    size = len(read(target, stream).names)
    if len(foreign.matrix) != size:
        raise InputError(
            f"--beside {name}: {source} has {len(foreign.matrix)} experiences, {stream} of {target} has {size}"
        )
    matrix = [[None if np.isnan(cell) else float(cell) for cell in row] for row in foreign.matrix]
    notes = sentence(foreign.notes)
    put_beside(target, name, Beside(stream=stream, source=source, notes=notes, matrix=matrix, known=foreign.known))
    print(f"beside: {name} from {source}{f' ({notes})' if notes else ''}")


def import_from(
    kind: Annotated[str, typer.Argument(metavar="FORMAT", help="avalanche, mammoth, facil or matrix")],
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files of that format, one or more runs each")],
    out: Annotated[Path | None, typer.Option(help="Output folder  [default: results/<FORMAT>]")] = None,
    name: Annotated[str, typer.Option(help="The method's name, if the files do not say it")] = "",
    seeds: Annotated[str, typer.Option(help="Seeds of the runs in their order, separated by commas")] = "",
    like: Annotated[
        Path | None, typer.Option(help="An output on whose stream these runs were made, so that they can be compared")
    ] = None,
    stream: Annotated[str, typer.Option(help="The stream of --like, if it has several")] = "",
) -> None:
    """Write results of other code as an output folder, which `report` and `compare` read. Nothing is trained.

    avalanche: eval_results.csv of its CSVLogger, or what its TextLogger or InteractiveLogger printed. mammoth:
    logs.pyd, or the same as JSON. facil, matrix: a T x T matrix in a text file, a row for what was trained last.
    """
    from lorisbench.gather.imported import import_results

    if stream and like is None:
        raise InputError("--stream: is said of --like, which was not given")
    target = out or Path("results") / kind
    frame = import_results(kind, files, target, name, integers(seeds, "--seeds"), like, stream)
    for row in frame.to_dict("records"):
        accuracy = float(row["accuracy_last"])
        last = "not determined" if math.isnan(accuracy) else f"{100 * accuracy:.2f} %"
        print(f"{row['strategy']}, seed {row['seed']}: {row['experiences']} experiences, last row {last}")
    print(f"output: {target}")
