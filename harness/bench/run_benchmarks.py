"""`lorisbench bench`: what the harness costs on this machine, by alternating comparisons and median ratios."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from lorisbench.bench.timing import alternated, one_experience
from lorisbench.common.errors import InputError
from lorisbench.common.registry import nearest


def run_benchmarks(what: str = "") -> Iterator[str]:
    """Run one benchmark, or all; yields the machine's description, then each line of text as soon as it is measured."""
    if what and what not in BENCHMARKS:
        raise InputError(f"unknown benchmark {what!r}{nearest(what, BENCHMARKS)}")
    from lorisbench.common.environment import environment

    env = environment(1, "cpu", "cpu")
    versions = ", ".join(f"{name} {version}" for name, version in env["versions"].items())
    machine = env["machine"]
    yield f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB; {versions}; {env['date']}"
    for name in [what] if what else BENCHMARKS:
        for line in BENCHMARKS[name]():
            yield f"{name}: {line}"


def startup() -> list[str]:
    """Wall time of the command line's fast commands against an interpreter that does nothing."""

    def command(*words: str) -> Callable[[], Any]:
        return lambda: subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)

    times = alternated(
        {
            "pass": command("-c", "pass"),
            "--help": command("-m", "lorisbench", "--help"),
            "ls": command("-m", "lorisbench", "ls"),
        },
        rounds=15,
    )
    base = times.pop("pass")
    return [
        f"lorisbench {name} takes {seconds / base:.1f} x `python -c pass` ({seconds * 1e3:.0f} ms, {base * 1e3:.0f} ms)"
        for name, seconds in times.items()
    ]


def engine() -> list[str]:
    """Training and evaluating a linear head on features: our engine, Avalanche's own loop, and a bare torch loop."""
    from types import SimpleNamespace

    import torch
    from avalanche.training import Naive

    from lorisbench.data.stream import Store
    from lorisbench.engine.engine import Engine, make_optimizer
    from lorisbench.engine.own_plugins import Recorder
    from lorisbench.suite.config import TrainingConfig

    torch.set_num_threads(1)
    samples, width, classes, batch = 4000, 1280, 16, 32
    # two samples more than are trained on: the stream needs a validation and a test split
    store = Store(torch.randn(samples + 2, width), torch.randint(classes, (samples + 2,)))
    experience = one_experience(store, samples)
    training = TrainingConfig(epochs=1, batch_size=batch)

    def head() -> torch.nn.Module:
        return torch.nn.Linear(width, classes)

    ours_model, avalanche_model, torch_model = head(), head(), head()
    ours = Engine(
        model=ours_model, optimizer=make_optimizer(ours_model, training), plugins=[Recorder()], store=store,
        training=training, device=torch.device("cpu"), seed=0,
    )  # fmt: skip
    theirs = Naive(
        model=avalanche_model, optimizer=torch.optim.Adam(avalanche_model.parameters()), train_mb_size=batch,
        train_epochs=1, eval_mb_size=256, evaluator=None,
    )  # fmt: skip
    plain = SimpleNamespace(optimizer=torch.optim.Adam(torch_model.parameters()), loss=torch.nn.CrossEntropyLoss())

    def torch_loop() -> None:
        for rows in torch.randperm(samples).split(batch):
            plain.optimizer.zero_grad()
            plain.loss(torch_model(store.x[rows]), store.y[rows]).backward()
            plain.optimizer.step()

    train = alternated(
        {"ours": lambda: ours.train(experience), "avalanche": lambda: theirs.train(experience), "torch": torch_loop}, 7
    )
    test = alternated({"ours": lambda: ours.eval([experience]), "avalanche": lambda: theirs.eval([experience])}, 7)
    return [
        f"training an epoch ({samples} x {width}, batch {batch}): Avalanche's loop takes "
        f"{train['avalanche'] / train['ours']:.1f} x ours, ours {train['ours'] / train['torch']:.2f} x plain torch",
        f"evaluating the same: Avalanche's loop takes {test['avalanche'] / test['ours']:.1f} x ours",
    ]


def memory() -> list[str]:
    """Peak resident memory of a process that imports what a run needs, and of the quickstart suite."""
    import tempfile

    command = [sys.executable, "-m", "lorisbench", "run", "quickstart", "--out"]
    with tempfile.TemporaryDirectory() as folder:
        return [
            f"importing the engine: {_peak([sys.executable, '-c', 'import lorisbench.runs.one_run']):.2f} GB",
            f"the quickstart suite: {_peak([*command, folder + '/out']):.2f} GB",
        ]


def _peak(command: Sequence[str]) -> float:
    """Peak resident memory in GB (10^9 bytes) of a command, the largest of its processes.

    A small process starts it: if this process started it, it would be charged with this process's peak, which may
    include torch and data.
    """
    code = (
        "import resource, subprocess, sys\n"
        "code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode\n"
        "print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    answer = subprocess.run([sys.executable, "-c", code, *command], check=True, capture_output=True, text=True)
    exit_code, kilobytes = map(int, answer.stdout.split())
    if exit_code:
        raise InputError(f"{' '.join(command)} ended with exit code {exit_code}")
    return kilobytes * 1024 / 1e9


def data() -> Iterator[str]:
    """Reading a set as large as OpenLORIS-Object, the image cache against decoding, and the search for bad files."""
    from lorisbench.bench.data import caching, reading, verifying

    for part in (reading, caching, verifying):
        yield from part()


def dnn() -> Iterator[str]:
    """Twelve heads with the router against one head, and adapting to a new domain against a pass over its images."""
    from lorisbench.bench.dnn import measure

    yield from measure()


def slda() -> Iterator[str]:
    """Streaming LDA over features in whole batches against Avalanche's, sample by sample."""
    from lorisbench.bench.slda import measure

    yield from measure()


def optimizer() -> Iterator[str]:
    """What it changes to keep the optimizer's state between experiences, beside a plain script of Avalanche."""
    from lorisbench.bench.optimizer import measure

    yield from measure()


def suite() -> Iterator[str]:
    """What a suite costs beyond the training of its runs."""
    from lorisbench.bench.suite import measure

    yield from measure()


BENCHMARKS: dict[str, Callable[[], Iterable[str]]] = {
    "startup": startup,
    "engine": engine,
    "memory": memory,
    "data": data,
    "dnn": dnn,
    "slda": slda,
    "optimizer": optimizer,
    "suite": suite,
}
