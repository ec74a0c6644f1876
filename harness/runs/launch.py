"""A whole suite: check the output folder, prepare the data, train what is not finished, measure and collect."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from lorisbench.common.console import say
from lorisbench.common.files import digest_of
from lorisbench.common.restored import restored
from lorisbench.metrics import table
from lorisbench.runs.executors import EXECUTORS, here
from lorisbench.runs.inspection import check_builds, inspect
from lorisbench.runs.store import Output
from lorisbench.runs.tables import Tables
from lorisbench.suite.entries import SHORT_FOR
from lorisbench.suite.resolve import Suite
from lorisbench.suite.spec import RunSpec

if TYPE_CHECKING:
    from lorisbench.runs.one_run import Workbench

HEADLINE = ("accuracy_last", "accuracy_seen", "forgetting_max", "latency_p50_ms")


@restored()
def launch(suite: Suite, out: Path, workers: int = 1, executor: str = "local") -> pd.DataFrame:
    """Run a suite to its end and return the table of results.csv.

    Finished runs are left as they are; every other run is trained from the beginning. Whatever happens, the
    runs that have ended are collected into results.csv and matrix.csv. The report is the caller's. Whatever strategies
    and readers change in this process is put back.

    Raises
    ------
    InputError : the folder or the data cannot be used (raised before anything is trained).
    KeyboardInterrupt : after the finished runs have been collected.
    """
    out = out.absolute()
    output = Output(out)
    resolved = output.check(suite)
    with output.locked():
        todo = output.unfinished(suite)
        found = inspect(suite, output, needs_backbone=bool(todo or output.unmeasured(suite)))
        manifest, data = found.manifest, found.data
        assert manifest is not None and data is not None  # only a rehearsal may lack them
        bench = None
        if found.backbone is not None:
            from lorisbench.runs.one_run import build, prepare, store_of

            # Before the folder is written to, so that an image that cannot be decoded leaves nothing behind; and in
            # this process even with workers, so that the features are in the cache before any of them needs them
            bench = prepare(suite.config, manifest, found.backbone)
            of_plugins = [spec for spec in todo if spec.strategy.name in SHORT_FOR]
            check_builds(of_plugins, lambda spec: build(bench, spec, store_of(bench)))
        output.prepare(suite, resolved, data, manifest.counts(), todo)
        tables = Tables(out)
        for line in tables.faults:
            say(line)
        tables.write()
        done = len(suite.runs) - len(todo)
        for label, same in _same_settings(suite).items():
            say(f"{label} and {same} have the same settings: one method, run twice under two names")
        say(f"{len(suite.runs)} runs, {done} already finished" if done else f"{len(suite.runs)} runs")
        try:
            if bench is not None:
                _work(suite, bench, output, tables, todo, workers, executor)
        finally:
            tables.read_unfinished()  # an interrupt or a lost worker may leave runs in a new state
            frame = tables.write()
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


def _work(
    suite: Suite, bench: Workbench, output: Output, tables: Tables, todo: list[RunSpec], workers: int, executor: str
) -> None:
    from lorisbench.runs.latency import forward_cost, measure

    ended: Iterator[str]
    if workers == 1 and executor == "local":
        ended = here(bench, todo, output.root)
    else:
        ended = EXECUTORS[executor](suite.resolved, [spec.run_id for spec in todo], output.root, workers)
    labels = {spec.run_id: f"{spec.label} seed {spec.seed}" for spec in todo}
    for count, run_id in enumerate(ended, 1):
        status = output.run(run_id).status()
        line = _summary(output, run_id) if status["status"] == "done" else status["reason"]
        say(f"[{count}/{len(todo)}] {labels[run_id]}: {status['status']}, {line}")
        tables.read(run_id)
        tables.write_if_due()
    left = output.unmeasured(suite)
    if left:
        say(f"measuring the latency of {len(left)} runs")
        forward = forward_cost(bench)
    for spec in left:
        try:
            measure(bench, spec, output.run(spec.run_id), forward)
        finally:
            tables.read(spec.run_id)


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
