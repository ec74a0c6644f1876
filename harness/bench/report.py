"""`lorisbench bench report`: what collecting and reporting on many runs takes, and how it grows with their number."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from lorisbench.bench import many_runs
from lorisbench.bench.many_runs import suite_of, trained_runs, written
from lorisbench.bench.measured import Amount, Finding, Growth
from lorisbench.bench.timing import peak_so_far
from lorisbench.common.errors import InputError

COUNTS = (250, 1000, 4000, 10_000)  # of runs
ONCE = 5000  # with more runs than this, an output is looked at once
ORDERS = 5
ROUNDS = 3
STEPS = ("imports", "collect", "report", "status")
AIMED_AT, SECONDS, GIGABYTES, EXPONENT = 1000, 5.0, 1.0, 1.05


def measure(counts: Sequence[int] = COUNTS, rounds: int = ROUNDS) -> Iterator[Finding]:
    """Each output's report and its peak of memory, by number of runs, then the exponents of growth.

    CPU seconds, which other work on the machine hardly changes, of fresh processes that look at the outputs in turn.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trained = trained_runs(folder)
        size = f"{many_runs.EXPERIENCES} x {many_runs.EXPERIENCES}"
        outs = {f"{runs:,} runs of {size}": written(folder, suite_of(folder, runs), trained) for runs in counts}
        in_orders = suite_of(folder, counts[0], ORDERS)
        outs[f"{counts[0]:,} runs in {ORDERS} orders"] = written(folder, in_orders, trained)
        found: dict[str, list[dict[str, float]]] = {told: [] for told in outs}
        once = {told for told, runs in zip(outs, counts, strict=False) if runs > ONCE}
        for number in range(rounds):
            for told, out in list(outs.items())[:: -1 if number % 2 else 1]:
                if not (number and told in once):
                    found[told].append(in_fresh_process(out))
    for told, each in found.items():
        aim = told.startswith(f"{AIMED_AT:,} runs of")
        whole = tuple(sum(taken[step] for step in STEPS[:-1]) for taken in each)
        peaks = tuple(taken["peak"] for taken in each)
        yield Amount(f"a report on {told}, imports included", whole, "s of CPU", SECONDS if aim else None)
        yield Amount(f"peak of a report on {told}", peaks, "GB", GIGABYTES if aim else None)
        parts = ", ".join(f"{step} {np.median([taken[step] for taken in each]):.2f}" for step in STEPS)
        yield f"of which, in s: {parts}"
    if len(counts) > 2:
        for step in STEPS[1:]:
            seconds = [[taken[step] for taken in each] for each in found.values()]
            yield Growth.of(f"{step}, to runs", dict(zip(counts, seconds, strict=False)), EXPONENT)


def in_fresh_process(out: Path) -> dict[str, float]:
    """What `measure_reporting` prints of an output, run in a process of its own."""
    code = "import sys; from lorisbench.bench.report import measure_reporting; measure_reporting(sys.argv[1])"
    process = subprocess.run([sys.executable, "-c", code, str(out)], capture_output=True, text=True)
    if process.returncode:
        raise InputError(f"{out}: reporting ended with exit code {process.returncode}: {process.stderr[-300:]}")
    return dict(json.loads(process.stdout.splitlines()[-1]))


def measure_reporting(out: str) -> None:
    """Print as JSON the CPU seconds of `lorisbench report` and `status`, by step, and the report's peak in GB."""
    taken: dict[str, float] = {}
    last = 0.0

    def lap(name: str) -> None:
        nonlocal last
        now = time.process_time()
        taken[name], last = now - last, now

    from lorisbench.report import drawings, write_report  # noqa: F401  (matplotlib)
    from lorisbench.runs.status import as_text, overview
    from lorisbench.runs.tables import Tables

    lap("imports")
    tables = Tables(Path(out))
    tables.complete()
    del tables
    lap("collect")
    write_report(Path(out))
    lap("report")
    taken["peak"] = peak_so_far()
    as_text(overview(Path(out)))
    lap("status")
    print(json.dumps(taken))
