"""`lorisbench bench optimizer`: what it changes to keep the optimizer's state, and whether a plain script agrees."""

from __future__ import annotations

import contextlib
import io
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean

import torch
from avalanche.training import Naive
from avalanche.training.plugins import ReplayPlugin
from torch import nn

from lorisbench.common.threads import one_thread
from lorisbench.data.stream import make_stream
from lorisbench.runs.launch import launch
from lorisbench.runs.workbench import Workbench, prepare, store_of
from lorisbench.suite.resolve import load_suite

SUITE, MEMORY = "quickstart", 200
HERE = {
    "ReplayPlugin": f"{{avalanche: 'avalanche.training.plugins:ReplayPlugin', args: {{mem_size: {MEMORY}}}}}",
    "replay": "{strategy: replay}",
    "naive": "{strategy: naive}",
    "ewc": "{strategy: ewc, ewc_lambda: 30}",
    "lwf": "{strategy: lwf, alpha: 0.01}",
}


def measure(suite: str = SUITE, seeds: Sequence[int] = (0, 1, 2)) -> Iterator[str]:
    """The last row's accuracy on a suite's stream, mean over the seeds, with the optimizer's state kept and reset.

    Avalanche's ReplayPlugin in a plain script of Avalanche, on the same features, then in the harness, beside
    strategies of its own.
    """
    entries = ", ".join(f"{label}: {entry}" for label, entry in HERE.items())
    for kept in (True, False):
        assignments = [
            f"strategies={{{entries}}}", f"seeds=[{', '.join(map(str, seeds))}]", "latency.enabled=false",
            f"training.reset_optimizer={'false' if kept else 'true'}", "about=[]",
        ]  # fmt: skip
        found = load_suite(suite, assignments=assignments)
        bench = prepare(found.config, found.config.benchmark.usable("test"))
        plain = fmean(_plain(bench, seed, kept) for seed in seeds)
        with tempfile.TemporaryDirectory() as folder:
            table = launch(found, Path(folder) / "out", workers=0)
        here = table.groupby("strategy", sort=False).accuracy_last.mean()
        told = ", ".join(f"{label} {100 * value:.1f}" for label, value in here.items())
        yield f"state {'kept' if kept else 'reset'}: ReplayPlugin in a plain script {100 * plain:.1f}; here {told}"


def _plain(bench: Workbench, seed: int, kept: bool) -> float:
    """A script that knows nothing of the harness but its data: the mean accuracy on all test sets at the end."""
    training = bench.config.training
    stream = make_stream(bench.manifest, store_of(bench))
    torch.manual_seed(seed)
    model = nn.Linear(bench.x.shape[1], len(bench.manifest.classes))
    optimizer = torch.optim.Adam(model.parameters(), lr=training.lr)
    with one_thread(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        strategy = Naive(
            model=model, optimizer=optimizer, train_mb_size=training.batch_size, train_epochs=training.epochs,
            plugins=[ReplayPlugin(mem_size=MEMORY)], evaluator=None,
        )  # fmt: skip
        for experience in stream.train_stream:
            strategy.train(experience, **({} if kept else {"reset_optimizer_state": True}))
    hits = []
    with torch.no_grad():
        for number in range(bench.manifest.experiences):
            rows = torch.from_numpy(bench.manifest.rows("test", number))
            hits.append(float((model(bench.x[rows]).argmax(dim=1) == bench.y[rows]).float().mean()))
    return fmean(hits)
