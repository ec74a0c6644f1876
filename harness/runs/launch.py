"""A whole suite: check the output folder, prepare the data, train what is not finished, measure and collect."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from lorisbench.common.console import say
from lorisbench.common.files import digest_of
from lorisbench.common.registry import select
from lorisbench.common.restored import restored
from lorisbench.metrics import table
from lorisbench.runs.claims import Taken
from lorisbench.runs.crews import Event, Said
from lorisbench.runs.executors import crew_of
from lorisbench.runs.inspection import check_builds, inspect
from lorisbench.runs.schedule import POLICY, Policy, Schedule
from lorisbench.runs.store import Output
from lorisbench.runs.tables import Tables
from lorisbench.runs.workers import warm_up
from lorisbench.suite.entries import SHORT_FOR
from lorisbench.suite.resolve import Suite
from lorisbench.suite.spec import RunSpec

if TYPE_CHECKING:
    from lorisbench.runs.one_run import Workbench

STARTING = 120.0  # seconds to wait for another process that starts on the same folder
HEADLINE = ("accuracy_last", "accuracy_seen", "forgetting_max", "latency_p50_ms")


@restored()
def launch(
    suite: Suite,
    out: Path,
    workers: int = 1,
    executor: str = "local",
    policy: Policy = POLICY,
    rerun: Sequence[str] = (),
) -> pd.DataFrame:
    """Run a suite to its end and return the table of results.csv.

    Finished runs are left as they are. Any number of processes, also on several machines, may do this with one folder:
    each run is trained by one of them, and all return when the last run has ended. Whatever happens, the runs that have
    ended are collected into results.csv and matrix.csv. The report is the caller's. Whatever strategies and readers
    change in this process is put back.

    Parameters
    ----------
    workers : processes that train; 0 trains in this process.
    rerun : labels whose runs are trained again, even if they are finished.

    Raises
    ------
    InputError : the folder or the data cannot be used (raised before anything is trained).
    KeyboardInterrupt : after the finished runs have been collected.
    """
    out = out.absolute()
    output = Output(out)
    output.check(suite)
    select("strategy", list(rerun), list(suite.resolved["strategies"]))
    todo = output.unfinished(suite, policy.retry_failed, rerun)
    if todo and workers and executor == "local":
        warm_up()
    found = inspect(suite, output, needs_backbone=bool(todo or output.unmeasured(suite)))
    manifest, data = found.manifest, found.data
    assert manifest is not None and data is not None  # only a rehearsal may lack them
    bench = None
    if found.backbone is not None:
        from lorisbench.runs.one_run import build, prepare, store_of

        # Before the folder is written to, so that an image that cannot be decoded leaves nothing behind; and in this
        # process even with workers, so that the features are in the cache before any of them needs them
        bench = prepare(suite.config, manifest, found.backbone)
        of_plugins = [spec for spec in todo if spec.strategy.name in SHORT_FOR]
        check_builds(of_plugins, lambda spec: build(bench, spec, store_of(bench)))
    with output.alone("starting a suite", patience=STARTING):
        output.prepare(suite, output.check(suite), data, manifest.counts())
    tables = Tables(out)
    for line in tables.faults:
        say(line)
    tables.write()
    _tell_beforehand(suite, output, todo)
    try:
        if bench is not None:
            _train(suite, bench, output, tables, todo, workers, executor, policy)
            _measure(suite, bench, output, tables)
    finally:
        frame = tables.complete()
    ids = [spec.run_id for spec in suite.runs]
    return frame[frame.run_id.isin(ids)]


def headline(frame: pd.DataFrame) -> str:
    """The `HEADLINE` columns of the finished runs as text: means over seeds, accuracies in per cent."""
    done = frame[frame.status == "done"]
    if done.empty:
        return "no run has finished"
    groups = done.groupby("strategy", sort=False)
    scales = {name: table.named(name).scale for name in HEADLINE}
    means = groups[list(scales)].mean() * pd.Series(scales)
    means.insert(0, "seeds", groups.size())
    named = means.rename(columns={name: f"{name} %" for name, scale in scales.items() if scale == 100})
    return named.round(2).reset_index().to_string(index=False, na_rep="-")


def _tell_beforehand(suite: Suite, output: Output, todo: list[RunSpec]) -> None:
    for label, same in _same_settings(suite).items():
        say(f"{label} and {same} have the same settings: one method, run twice under two names")
    done = len(suite.runs) - len(todo)
    waiting = {spec.run_id for spec in todo}
    failed = [s for s in suite.runs if s.run_id not in waiting and output.run(s.run_id).status()["status"] == "failed"]
    say(f"{len(suite.runs)} runs, {done} already finished" if done else f"{len(suite.runs)} runs")
    if failed:
        say(f"{len(failed)} of them failed before; --retry-failed trains them again")


def _train(
    suite: Suite, bench: Workbench, output: Output, tables: Tables, todo: list[RunSpec], workers: int, executor: str,
    policy: Policy,
) -> None:  # fmt: skip
    if not todo:
        return
    labels = {spec.run_id: f"{spec.label} seed {spec.seed}" for spec in todo}

    def heard(event: Event) -> None:
        if isinstance(event, Said):
            say(event.line)

    crew = crew_of(executor, suite.resolved, lambda _: bench, output.root, min(workers, len(todo)))
    with contextlib.closing(Schedule(output, todo, crew, policy, heard).ended()) as ended:
        for count, run_id in enumerate(ended, 1):
            status = output.run(run_id).status()
            line = _summary(output, run_id) if status["status"] == "done" else status["reason"]
            say(f"[{count}/{len(todo)}] {labels[run_id]}: {status['status']}, {line}")
            tables.read(run_id)
            tables.write_if_due()


def _measure(suite: Suite, bench: Workbench, output: Output, tables: Tables) -> None:
    """Measure the latency of the runs, after all training; one of the processes that share the folder does it."""
    from lorisbench.runs.latency import forward_cost, measure

    if not output.unmeasured(suite):
        return
    try:
        with output.alone("measuring latency"):
            left = output.unmeasured(suite)
            say(f"measuring the latency of {len(left)} runs")
            forward = forward_cost(bench)
            for spec in left:
                try:
                    measure(bench, spec, output.run(spec.run_id), forward)
                finally:
                    tables.read(spec.run_id)
    except Taken:
        say("another process is measuring the latency")


def _same_settings(suite: Suite) -> dict[str, str]:
    """Labels whose strategy has the settings of an earlier label, and that label."""
    first: dict[str, str] = {}
    same = {}
    for label, entry in suite.resolved["strategies"].items():
        earlier = first.setdefault(digest_of(entry), label)
        if earlier != label:
            same[label] = earlier
    return same


def _summary(output: Output, run_id: str) -> str:
    entries = output.run(run_id).entries()
    last = entries[-1]["accuracy"]
    seconds = sum(entry["train_seconds"] for entry in entries)
    return f"last row {100 * sum(last) / len(last):.1f} %, trained in {seconds:.1f} s"
