"""A whole suite: check the output folder, prepare the data, train what is not finished, measure and collect."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from lorisbench.common.allocator import keep_freed
from lorisbench.common.console import say
from lorisbench.common.files import digest_of
from lorisbench.common.registry import select
from lorisbench.common.restored import restored
from lorisbench.metrics import table
from lorisbench.runs.claims import Taken, Watch, clear
from lorisbench.runs.crews import Crew, one_at_a_time
from lorisbench.runs.display import Display
from lorisbench.runs.estimate import count_of_runs
from lorisbench.runs.executors import Executor, Ready
from lorisbench.runs.inspection import check_builds, inspect
from lorisbench.runs.latency_table import drop_rows
from lorisbench.runs.loggers import log_table
from lorisbench.runs.policy import POLICY, Policy
from lorisbench.runs.quiet import measuring, training
from lorisbench.runs.schedule import Schedule
from lorisbench.runs.store import Output
from lorisbench.runs.tables import Tables
from lorisbench.runs.twins import twins
from lorisbench.runs.worker_count import usual_workers
from lorisbench.suite.entries import SHORT_FOR
from lorisbench.suite.resolve import Suite
from lorisbench.suite.spec import RunSpec

if TYPE_CHECKING:
    from lorisbench.runs.workbench import Workbench

STARTING = 120.0  # seconds to wait for another process that starts on the same folder
HEADLINE = ("accuracy_last", "accuracy_seen", "forgetting_max", "latency_p50_ms")


@restored()
def launch(
    suite: Suite,
    out: Path,
    workers: int | None = None,
    executor: Executor | None = None,
    policy: Policy = POLICY,
) -> pd.DataFrame:
    """Run a suite to its end and return the table of results.csv.

    Finished runs are left as they are. Any number of processes, also on several machines, may do this with one folder:
    each run is trained by one of them, and all return when the last run has ended. Whatever happens, the runs that have
    ended are collected into results.csv and matrix.csv. The report is the caller's. Whatever strategies and readers
    change in this process is put back.

    Parameters
    ----------
    workers : processes that train on this machine; 0 trains in this process. None: see `usual_workers`.
    executor : who trains instead.

    Raises
    ------
    InputError : the folder or the data cannot be used (raised before anything is trained).
    KeyboardInterrupt : after the finished runs have been collected.
    """
    keep_freed()
    who = executor or Executor(workers=workers)
    if who.name == "local" and who.workers is None:
        who = replace(who, workers=usual_workers(suite))
    out = out.absolute()
    output = Output(out)
    select("strategy", policy.rerun, list(suite.resolved["strategies"]))
    output.check(suite, policy.rerun)
    before = {spec.run_id: output.run(spec.run_id).stamped() for spec in suite.runs}
    todo = output.unfinished(suite, policy.retry_failed, policy.rerun)
    with who.ready() if todo else contextlib.nullcontext() as ready:
        return _launch(suite, output, todo, before, ready, policy)


def _launch(
    suite: Suite, output: Output, todo: list[RunSpec], before: Mapping[str, Mapping[str, Any]],
    ready: Ready | None, policy: Policy,
) -> pd.DataFrame:  # fmt: skip
    needed = {spec.stream for spec in [*todo, *output.unmeasured(suite)]}
    found = {name: inspect(config, output, name in needed) for name, config in suite.streams.items()}
    manifests = {name: each.manifest for name, each in found.items() if each.manifest is not None}
    assert len(manifests) == len(found)  # only a rehearsal may lack one
    backbones = {name: each.backbone for name, each in found.items()}

    def make(stream: str) -> Workbench:
        from lorisbench.runs.workbench import prepare

        config = suite.streams[stream]
        extract = ready.extractor(config.backbone) if ready is not None and ready.extractor is not None else None
        return prepare(config, manifests[stream], backbones.pop(stream, None), extract=extract)

    bench_of = one_at_a_time(make)
    for stream in [name for name in suite.streams if name in needed]:
        # Before the folder is written to, so that an image that cannot be decoded leaves nothing behind; and in this
        # process even with workers, so that the features are in the cache before any of them needs them
        of_plugins = [spec for spec in todo if spec.stream == stream and spec.strategy.name in SHORT_FOR]
        check_builds(of_plugins, functools.partial(_build, bench_of(stream)))
    with output.alone("starting a suite", patience=STARTING):
        output.prepare(suite, output.check(suite, policy.rerun), manifests)
    tables = Tables(output.root)
    drop_rows(output.root, tables.left_out)
    for line in tables.faults:
        say(line)
    tables.write()
    _tell_beforehand(suite, output, todo)
    try:
        if ready is not None:
            crew = ready.crew(suite.resolved, bench_of, output.root, len(todo), policy.logs)
            _train(output, tables, todo, before, crew, policy, twins(suite, todo, manifests))
        _measure(suite, bench_of, output, tables)
    finally:
        frame = tables.complete()
    watch = Watch()
    for spec in suite.runs:  # of processes that were killed when a run had just ended
        clear(output.run(spec.run_id).path, watch)
    log_table(policy.logs, output.root, suite.config.name, frame)
    ids = [spec.run_id for spec in suite.runs]
    return frame[frame.run_id.isin(ids)]


def headline(frame: pd.DataFrame) -> str:
    """The `HEADLINE` columns of the finished runs as text: means over seeds, accuracies in per cent.

    Streams and orders, if there are several, are kept apart.
    """
    done = frame[frame.status == "done"]
    if done.empty:
        return "no run has finished"
    apart = [key for key in ("stream", "order") if frame[key].nunique() > 1]
    groups = done.groupby([*apart, "strategy"], sort=False)
    scales = {name: table.named(name).scale for name in HEADLINE}
    means = groups[list(scales)].mean() * pd.Series(scales)
    means.insert(0, "seeds", groups.size())
    named = means.rename(columns={name: f"{name} %" for name, scale in scales.items() if scale == 100})
    return named.round(2).reset_index().to_string(index=False, na_rep="-")


def _build(bench: Workbench, spec: RunSpec) -> object:
    from lorisbench.runs.workbench import build, store_of

    return build(bench, spec, store_of(bench))


def _by_stream(specs: Sequence[RunSpec]) -> dict[str, list[RunSpec]]:
    names = dict.fromkeys(spec.stream for spec in specs)
    return {name: [spec for spec in specs if spec.stream == name] for name in names}


def _tell_beforehand(suite: Suite, output: Output, todo: list[RunSpec]) -> None:
    for label, same in _same_settings(suite).items():
        say(f"{label} and {same} have the same settings: one method, run twice under two names")
    done = len(suite.runs) - len(todo)
    waiting = {spec.run_id for spec in todo}
    failed = [s for s in suite.runs if s.run_id not in waiting and output.run(s.run_id).status()["status"] == "failed"]
    runs = count_of_runs(len(suite.runs))
    say(f"{runs}, {done} already finished" if done else runs)
    if failed:
        say(f"{len(failed)} of them failed before; --retry-failed trains them again")


def _train(
    output: Output, tables: Tables, todo: list[RunSpec], before: Mapping[str, Mapping[str, Any]], crew: Crew,
    policy: Policy, over_again: Mapping[str, RunSpec],
) -> None:  # fmt: skip
    with training(), Display({spec.run_id: spec.told for spec in todo}) as display:
        schedule = Schedule(output, todo, before, crew, policy, display.heard, over_again)
        with contextlib.closing(schedule.ended()) as ended:
            for run_id in ended:
                status = output.run(run_id).status()
                trained = status["status"] == "done" and "copied_from" not in status
                told = [_summary(output, run_id)] if trained else []
                line = "; ".join([*told, *filter(None, [status["reason"]])])
                display.ended(run_id, f"{status['status']}, {line}")
                tables.read(run_id)
                tables.write_if_due()


def _measure(suite: Suite, bench_of: Callable[[str], Workbench], output: Output, tables: Tables) -> None:
    """Measure the latency of the runs, after all training; one of the processes that share the folder does it.

    Runs whose models have one architecture share one measurement.
    """
    from lorisbench.runs.latency import Latencies
    from lorisbench.runs.latency_table import OWN, add_rows, row_of

    if not output.unmeasured(suite):
        return
    try:
        with output.alone("measuring latency"), measuring():
            left = output.unmeasured(suite)
            say(f"measuring the latency of {count_of_runs(len(left))}")
            for stream, specs in _by_stream(left).items():
                bench = bench_of(stream)
                latencies, rows = Latencies(bench), {}
                for spec in specs:
                    try:
                        found = latencies.measure(spec, output.run(spec.run_id))
                    finally:
                        tables.read(spec.run_id)
                    if found.get("error"):
                        say(f"{spec.told}: its latency could not be measured: {' '.join(found['error'].split())}")
                    kind = spec.label, found.get("architecture", spec.run_id)
                    if kind not in rows:
                        threads = bench.config.latency.threads
                        rows[kind] = row_of(spec.config, found, str(bench.accelerator), threads, OWN)
                add_rows(output.root, rows.values())
    except Taken:
        say("another process is measuring the latency")


def _same_settings(suite: Suite) -> dict[str, str]:
    """Labels whose strategy has the settings of an earlier label on every stream, and that label."""
    first: dict[str, str] = {}
    same = {}
    for label in suite.config.strategies:
        settings = [config.strategies[label].settings for config in suite.streams.values()]
        earlier = first.setdefault(digest_of(settings), label)
        if earlier != label:
            same[label] = earlier
    return same


def _summary(output: Output, run_id: str) -> str:
    entries = output.run(run_id).entries()
    last = entries[-1]["accuracy"]
    seconds = sum(entry["train_seconds"] for entry in entries)
    return f"last row {100 * sum(last) / len(last):.1f} %, trained in {seconds:.1f} s"
