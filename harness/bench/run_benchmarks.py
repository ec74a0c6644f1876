"""`lorisbench bench`: what the harness costs on this machine, by alternating comparisons and median ratios."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lorisbench.bench.measured import Amount, Earlier, Finding, Growth, Ratio, limits, write_findings
from lorisbench.bench.timing import in_turn, timed
from lorisbench.common.errors import InputError
from lorisbench.common.registry import nearest
from lorisbench.common.targets import output_file

if TYPE_CHECKING:
    import torch


def run_benchmarks(
    what: str = "", out: Path | None = None, compare: Path | None = None, any_machine: bool = False,
    device: str = "cpu",
) -> Iterator[str]:  # fmt: skip
    """Run one benchmark, or all; yields the machine's description, then each line of text as soon as it is measured.

    out : a JSON file that findings are written to, each as soon as it is made, and beside it, as a PNG of the same
    name, a plot of what grows with what, once that was measured. compare : such a file of before, whose ratios are put
    beside those measured now; `any_machine`, even if it is another machine's. device : cpu, or cuda or
    cuda:N for those benchmarks that run on a GPU, `ON_DEVICES`.

    Raises InputError for an unknown benchmark or device, for a benchmark that runs on the CPU alone, and for a file to
    compare that is none or another machine's.
    """
    if what and what not in BENCHMARKS:
        raise InputError(f"unknown benchmark {what!r}{nearest(what, BENCHMARKS)}")
    chosen = [what] if what else list(BENCHMARKS if device == "cpu" else ON_DEVICES)
    if device != "cpu" and what not in ("", *ON_DEVICES):
        raise InputError(f"bench {what} runs on the CPU alone; with --device {device}: {', '.join(ON_DEVICES)}")
    from lorisbench.common.environment import environment
    from lorisbench.runs.workbench import device_of

    on = device_of(device)
    import torch

    env = environment(torch.get_num_threads(), str(on), str(on))
    machine = env["machine"]
    earlier = None if compare is None else Earlier(compare)
    if earlier is not None and not any_machine:
        earlier.check_machine(machine)
    if out is not None:
        output_file(out, (".json",))
        if "growth" in chosen:
            output_file(out.with_suffix(".png"))
    load = os.getloadavg()[1] if hasattr(os, "getloadavg") else None  # of the last five minutes: of other work
    versions = ", ".join(f"{name} {version}" for name, version in env["versions"].items())
    yield f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB; {versions}; {env['date']}"
    if earlier is not None:
        yield from earlier.other_software(env)
    found: dict[str, list[Finding]] = {}
    for name in chosen:
        found[name] = []
        for finding in BENCHMARKS[name](*([on] if name in ON_DEVICES else [])):
            found[name].append(finding)
            if out is not None:
                write_findings(out, {**env, "load": load}, found)
            then = f" | {earlier.beside(name, finding)}" if earlier and not isinstance(finding, str) else ""
            yield f"{name}: {finding}{then}"
    if earlier is not None:
        yield from earlier.missing(found)
    growths = [one for each in found.values() for one in each if isinstance(one, Growth)]
    if out is not None and growths:
        from lorisbench.bench.growth_plot import draw

        draw(growths, out.with_suffix(".png"))
    kept, all_limits = limits(found)
    if all_limits:
        yield f"{kept} of {all_limits} limits kept"


def startup() -> list[Finding]:
    """Wall time of the command line's fast commands against an interpreter that does nothing."""

    def command(*words: str) -> Callable[[], float]:
        return timed(lambda: subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL))

    taken = in_turn(
        {
            "pass": command("-c", "pass"),
            "--help": command("-m", "lorisbench", "--help"),
            "ls": command("-m", "lorisbench", "ls"),
        },
        rounds=15,
    )
    return [Ratio.of(f"lorisbench {name}, to python -c pass", taken[name], taken["pass"]) for name in ("--help", "ls")]


def steps(device: torch.device) -> Iterator[Finding]:
    """Training steps and evaluations on features beside loops written by hand, and beside Avalanche's own loop."""
    from lorisbench.bench.steps import measure

    yield from measure(device)


def extraction(device: torch.device) -> Iterator[Finding]:
    """Extracting features of images in the cache beside plain forward passes over decoded ones."""
    from lorisbench.bench.extraction import measure

    yield from measure(device)


def endtoend(device: torch.device) -> Iterator[Finding]:
    """Training a backbone in the engine beside loops written by hand over the same images."""
    from lorisbench.bench.endtoend import measure

    yield from measure(device)


def memory() -> list[Finding]:
    """Peak resident memory of a process that imports what a run needs, and of the quickstart suite."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        commands = {
            "importing the engine": ["-c", "import lorisbench.runs.one_run"],
            "the quickstart suite": ["-m", "lorisbench", "run", "quickstart", "--out", folder + "/out"],
        }
        return [Amount(f"peak of {told}", (_peak([sys.executable, *words]),), "GB") for told, words in commands.items()]


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


def data() -> Iterator[Finding]:
    """Reading a set as large as OpenLORIS-Object, the image cache against decoding, and the search for bad files."""
    from lorisbench.bench.data import caching, reading, verifying

    yield from reading()
    yield caching()
    yield verifying()


def latency(device: torch.device) -> Iterator[Finding]:
    """Twelve heads with their router beside the bare backbone with one head."""
    from lorisbench.bench.latency import measure

    yield from measure(device)


def dnn() -> Iterator[Finding]:
    """Adapting to a new domain against a pass over its images."""
    from lorisbench.bench.dnn import measure

    yield from measure()


def slda() -> Iterator[Finding]:
    """Streaming LDA over features in whole batches against Avalanche's, sample by sample."""
    from lorisbench.bench.slda import measure

    yield from measure()


def optimizer() -> Iterator[Finding]:
    """What it changes to keep the optimizer's state between experiences, beside a plain script of Avalanche."""
    from lorisbench.bench.optimizer import measure

    yield from measure()


def suite() -> Iterator[Finding]:
    """What a suite costs beyond the training of its runs."""
    from lorisbench.bench.suite import measure

    yield from measure()


def report() -> Iterator[Finding]:
    """What collecting and reporting on many runs takes, and how it grows with their number."""
    from lorisbench.bench.report import measure

    yield from measure()


def stock() -> Iterator[Finding]:
    """A small comparison as a suite, beside scripts of Avalanche that do the same."""
    from lorisbench.bench.stock import measure

    yield from measure()


def growth() -> Iterator[Finding]:
    """How costs grow with images, experiences, heads, classes, strategies and runs."""
    from lorisbench.bench.growth import measure

    yield from measure()


ON_DEVICES = ("steps", "extraction", "endtoend", "latency")
"""What is measured on a GPU, too, and is called with the device."""

BENCHMARKS: dict[str, Callable[..., Iterable[Finding]]] = {
    "startup": startup,
    "steps": steps,
    "stock": stock,
    "growth": growth,
    "extraction": extraction,
    "endtoend": endtoend,
    "memory": memory,
    "data": data,
    "latency": latency,
    "dnn": dnn,
    "slda": slda,
    "optimizer": optimizer,
    "suite": suite,
    "report": report,
}
