"""The command line. Everything heavy (torch, avalanche, pandas) is imported inside the commands that need it."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from lorisbench.cli import data as cli_data
from lorisbench.cli import gathering as cli_gathering
from lorisbench.cli import judge as cli_judge
from lorisbench.cli import progress as cli_progress
from lorisbench.cli.options import (
    PluginOption,
    WorkersOption,
    existing,
    integers,
    seconds,
    signals_told,
    split,
    stopped_by,
    tell_faults,
    tell_plan,
)
from lorisbench.common.allocator import keep_freed
from lorisbench.common.console import hide_warnings
from lorisbench.common.errors import InputError
from lorisbench.common.processes import keep_interrupts

INTERRUPTED = 130  # typer's exit code for Ctrl-C
STOPPED = 75  # EX_TEMPFAIL: a scheduler's signal; the same command goes on

app = typer.Typer(
    name="lorisbench",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
cache_app = typer.Typer(
    help="Show what is in the cache folder, or clear it.", no_args_is_help=True, rich_markup_mode=None
)
new_app = typer.Typer(help="Start a strategy or a benchmark of your own.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(cli_data.app, name="data")
app.add_typer(cache_app, name="cache")
app.add_typer(new_app, name="new")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version as version_of

        print(f"lorisbench {version_of('lorisbench')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version")
    ] = False,
) -> None:
    """Continual-learning comparisons on OpenLORIS-Object: run suites, write reports, add strategies."""


@app.command()
@signals_told()
def run(
    suite: Annotated[str, typer.Argument(help="A shipped suite's name or the path of a YAML file")],
    out: Annotated[Path | None, typer.Option(help="Output folder  [default: results/<suite>]")] = None,
    data_root: Annotated[
        Path | None, typer.Option(help="Folder of the real data set, or a file of features, in place of the suite's")
    ] = None,
    strategies: Annotated[str, typer.Option(help="Run only these, separated by commas; any strategy's name")] = "",
    add: Annotated[str, typer.Option(help="Run these too, with their defaults, separated by commas")] = "",
    streams: Annotated[str, typer.Option(help="Run only on these streams, separated by commas")] = "",
    orders: Annotated[
        str, typer.Option(help="Run in these orders of the experiences, separated by commas; 0 is the stream's own")
    ] = "",
    seeds: Annotated[str, typer.Option(help="Run under these seeds, separated by commas")] = "",
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, e.g. training.epochs=5 or ewc.ewc_lambda=10")
    ] = None,
    plugin: PluginOption = None,
    workers: WorkersOption = None,
    executor: Annotated[str, typer.Option(help="local, or ray (needs the extra [ray])")] = "local",
    address: Annotated[
        str | None,
        typer.Option(help="Ray cluster, auto or HOST:PORT  [default: RAY_ADDRESS, or Ray on this machine]"),
    ] = None,
    cpus_per_run: Annotated[float | None, typer.Option(help="CPUs of the Ray cluster for a run  [default: 1]")] = None,
    gpus_per_run: Annotated[float | None, typer.Option(help="GPUs for a run, such as 0.25  [default: 0]")] = None,
    time_limit: Annotated[str, typer.Option(help="Longest time for a run, such as 90s, 30m or 2h; then it fails")] = "",
    retries: Annotated[
        int, typer.Option(min=0, help="Further attempts at a run that was killed or ran out of memory")
    ] = 1,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Train runs that failed before again")] = False,
    rerun: Annotated[str, typer.Option(help="Train these again from the beginning, separated by commas")] = "",
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Log to OUT/tensorboard for TensorBoard")] = False,
    wandb: Annotated[
        bool, typer.Option("--wandb", help="Log to Weights & Biases; to OUT/wandb without an account")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check all that a run checks first, list the runs; train and render nothing"),
    ] = False,
) -> None:
    """Run a suite and write its report. Finished runs are kept; exit code 1 if a run failed."""
    from lorisbench.runs.executors import Executor
    from lorisbench.suite.resolve import load_suite

    trained_by = Executor(executor, workers, address, cpus_per_run, gpus_per_run)
    trained_by.check()
    if not dry_run:
        trained_by.warm_up()  # while this process imports the same to read the suite
    logs = tuple(name for name, wanted in {"tensorboard": tensorboard, "wandb": wandb}.items() if wanted)
    limit = seconds(time_limit, "--time-limit")
    resolved = load_suite(
        suite,
        data_root=existing(data_root),
        strategies=split(strategies),
        add=split(add),
        streams=split(streams),
        orders=integers(orders, "--orders"),
        seeds=integers(seeds, "--seeds"),
        assignments=assignments or [],
        plugins=[str(path) for path in plugin or []],
    )
    target = out or Path("results") / resolved.config.name
    from lorisbench.runs.policy import Policy

    policy = Policy(limit, retries, retry_failed, tuple(split(rerun)), logs)
    if logs:
        from lorisbench.runs.loggers import check_loggers

        check_loggers(logs)
    if dry_run:
        tell_plan(resolved, target, workers, policy)
        return
    _carry_out(resolved, target, executor=trained_by, policy=policy)


def _carry_out(suite: Any, target: Path, **how: Any) -> None:
    """Run a suite to its end, as `launch` is told `how`, write its report and print what came of it."""
    from lorisbench.report import write_report
    from lorisbench.runs.launch import headline, launch

    frame = launch(suite, target, **how)
    page = write_report(target)
    print(headline(frame))
    print(f"report: {page}")
    tell_faults(frame)


@app.command()
@signals_told()
def learn(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run, OUT/runs/<run_id>")],
    data: Annotated[Path, typer.Option(help="Its new images: a folder of classes, or a CSV file of one experience")],
    out: Annotated[Path | None, typer.Option(help="Output folder  [default: that of the run, with -learned]")] = None,
    plugin: PluginOption = None,
) -> None:
    """Go on with a finished run: train it on an experience that did not exist before, and write a new run.

    It goes on from the state that was kept (`keep_state: true` in the suite); without one, its training is repeated.
    """
    from lorisbench.runs.learn import suite_after

    suite = suite_after(run, data, [str(path.absolute()) for path in plugin or []])
    former = run.absolute().parent.parent
    _carry_out(suite, out or former.with_name(f"{former.name}-learned"))


@app.command()
def tune(
    suite: Annotated[str, typer.Argument(help="A shipped suite's name or the path of a YAML file")],
    out: Annotated[Path | None, typer.Option(help="Output folder  [default: results/tune-<suite>]")] = None,
    strategies: Annotated[str, typer.Option(help="Tune only these, separated by commas")] = "",
    stream: Annotated[str, typer.Option(help="The stream to tune on, if the suite has several")] = "",
    trials: Annotated[int, typer.Option(min=1, help="Trials for each strategy")] = 20,
    experiences: Annotated[int, typer.Option(min=1, help="Use only this many experiences, from the first")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the search and its runs; not one of the suite's")] = 100,
    workers: Annotated[int, typer.Option(min=1, help="Processes; each works on one strategy")] = 1,
    data_root: Annotated[
        Path | None, typer.Option(help="Folder of the real data set, or a file of features, in place of the suite's")
    ] = None,
    assignments: Annotated[list[str] | None, typer.Option("--set", help="key=value, as for `run`")] = None,
    plugin: PluginOption = None,
) -> None:
    """Choose settings on the validation splits of the first experiences, and write a suite that has them. Resumable."""
    from lorisbench.runs.tune import tune as tune_suite
    from lorisbench.suite.resolve import load_suite

    resolved = load_suite(
        suite,
        data_root=existing(data_root),
        assignments=assignments or [],
        plugins=[str(path) for path in plugin or []],
    )
    target = out or Path("results") / f"tune-{resolved.config.name}"
    made = tune_suite(resolved, trials, experiences, seed, target, workers, split(strategies), stream)
    print(f"suite: {made}")


@app.command()
def latency(
    out: Annotated[Path, typer.Argument(help="Output folder of a suite")],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the CPU  [default: the suite's]")] = None,
    calls: Annotated[int | None, typer.Option(min=1, help="Timed calls of each model  [default: the suite's]")] = None,
    strategies: Annotated[str, typer.Option(help="Measure only these, separated by commas")] = "",
    onnx: Annotated[bool, typer.Option("--onnx", help="Also as ONNX in onnxruntime (needs the extra [onnx])")] = False,
    plugin: PluginOption = None,
) -> None:
    """Measure the latency of finished runs on this machine and add it to OUT/latency.csv; results.csv stays.

    Exit code 1 if a model could not be measured; its row says why.
    """
    from lorisbench.runs.elsewhere import measure_again

    shown = ["stream", "strategy", "architecture", "p50_ms", "p95_ms", "bare_ms", "images"]
    if onnx:
        from lorisbench.export.beside import beside_pytorch, check_possible

        check_possible(device)
        shown[-1:] = ["onnx_p50_ms", "onnx_ratio", "onnx_large_p50_ms", "onnx_large_ratio", "images"]
    rows = measure_again(out, device, threads, calls, split(strategies), plugin or [])
    if onnx:
        rows = beside_pytorch(out, rows, plugin or [])
    print(rows[shown].to_string(index=False))
    for row in rows[rows.onnx_fault != ""].itertuples():
        print(f"{row.run_id}: not in onnxruntime: {row.onnx_fault}", file=sys.stderr)
    faulty = rows[rows.error != ""]
    for row in faulty.itertuples():
        print(f"{row.run_id}: {row.error}", file=sys.stderr)
    if len(faulty):
        raise typer.Exit(1)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run, OUT/runs/<run_id>")],
    kind: Annotated[str, typer.Option("--format", help="onnx (needs the extra [onnx])")] = "onnx",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to write  [default: RUN/model.onnx]")] = None,
    plugin: PluginOption = None,
) -> None:
    """Write a run's model to one file: images in, probabilities out. Exit 1, no file, if they differ from PyTorch's."""
    from lorisbench.export.onnx import export_run

    made = export_run(run, kind, out, plugin or [])
    print(made.comparison)
    if not made.comparison.passed:
        print(f"{made.file}: not written", file=sys.stderr)
        raise typer.Exit(1)
    print(f"{made.file}: {made.size / 1e6:.1f} MB")


@app.command("ls")
def list_components(
    kind: Annotated[
        str, typer.Argument(help="strategies, benchmarks, suites or metrics, all if omitted; or results")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable, with every setting")] = False,
    plugin: PluginOption = None,
) -> None:
    """List strategies, benchmarks, suites and metrics; or the reference results of a checkout."""
    from lorisbench.cli.listing import listing

    print(listing(kind, as_json, [str(path) for path in plugin or []]))


@new_app.command("strategy")
def new_strategy(
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits and _, such as my_method")],
    kind: Annotated[
        str,
        typer.Option(
            help="penalty (on the weights), distillation (a teacher), replay (a memory of samples), features (closed "
            "form on features), heads (one more in each experience) or plain (a strategy of Avalanche: another "
            "training loop)"
        ),
    ] = "penalty",
    out: Annotated[Path, typer.Option(help="Folder to write to")] = Path("."),
) -> None:
    """Write NAME.py, a strategy of some kind to start from, and its test test_NAME.py.

    Both work as they are. No existing file is overwritten.
    """
    from lorisbench.cli.scaffold import strategy_of, write_scaffold

    for file in write_scaffold(strategy_of(kind), name, out):
        print(file)


@new_app.command("benchmark")
def new_benchmark(
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits and _, such as my_data")],
    out: Annotated[Path, typer.Option(help="Folder to write to")] = Path("."),
) -> None:
    """Write NAME.py, a data reader to start from, and its test test_NAME.py; no existing file is overwritten."""
    from lorisbench.cli.scaffold import BENCHMARK, write_scaffold

    for file in write_scaffold(BENCHMARK, name, out):
        print(file)


@cache_app.command("ls")
def cache_list() -> None:
    """Show what the cache folder holds, with sizes."""
    from lorisbench.common.cache import cache_contents, cache_root

    print(cache_root())
    for name, count, size in cache_contents():
        print(f"{name:<10} {count:>6} entries {size / 1e6:>10.1f} MB")


@cache_app.command("clear")
def cache_clear(
    kind: Annotated[str, typer.Argument(help="One part, named as in `cache ls`; all if omitted")] = "",
) -> None:
    """Delete the cache, or one part of it; it is rebuilt when needed."""
    from lorisbench.common.cache import clear_cache

    print(f"{clear_cache(kind) / 1e6:.1f} MB freed")


app.command("import")(cli_gathering.import_from)
for judge in (
    cli_gathering.report,
    cli_progress.status,
    cli_judge.reproduce,
    cli_judge.compare,
    cli_judge.check,
    cli_judge.bench,
):
    app.command()(judge)


def main() -> None:
    """Entry point: an InputError gives one line and exit code 2, an interrupt one line and exit code 1."""
    hide_warnings()
    keep_interrupts()
    keep_freed()
    # NumPy's products by one thread: they are small, threads that wait for the next one take a second of a report, and
    # how many there are decides the last digits
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # At its end Python looks for cycles among all objects of torch, for seconds; the system frees them as well
    atexit.register(gc.freeze)
    try:
        app()
    except InputError as error:
        print(f"lorisbench: error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        told = f"{error.filename}: {error.strerror}" if error.filename else error
        print(f"lorisbench: error: {told}", file=sys.stderr)
        sys.exit(2)
    except SystemExit as end:
        if signal := stopped_by():
            print(f"lorisbench: stopped by {signal}; the same command goes on from here", file=sys.stderr)
            sys.exit(STOPPED)
        if end.code != INTERRUPTED:
            raise
        print("lorisbench: interrupted; what was finished is kept, and the same command does the rest", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
