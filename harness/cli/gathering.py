"""Commands that bring results together: reports on one output or several, and results from elsewhere."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorisbench.cli.options import integers
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
    stream: Annotated[str, typer.Option(help="The stream that --beside is of, if there are several")] = "",
    metric: Annotated[
        list[str] | None, typer.Option(metavar="FILE.py:FUNCTION", help="Add a metric of your own; may be given again")
    ] = None,
) -> None:
    """Write an output folder's report again, from its files alone; that of several outputs together with --out."""
    from lorisbench.common.functions import load_function
    from lorisbench.metrics.elsewhere import read_combined
    from lorisbench.report import write_report
    from lorisbench.runs.tables import Tables

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
        print(f"report: {write_report(target, metrics)}")


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
