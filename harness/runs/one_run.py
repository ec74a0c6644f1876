"""One run from its settings to its end: trained, or diverged, failed or stopped with the reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from lorisbench.common.environment import environment, versions
from lorisbench.common.errors import InputError, Stopped, reason_of
from lorisbench.common.registry import apart
from lorisbench.engine.divergence import Diverged
from lorisbench.runs.continuing import Continued
from lorisbench.runs.directory import RunDirectory
from lorisbench.runs.estimate import remember_run
from lorisbench.runs.observers import Observer
from lorisbench.runs.restorable import keep_model
from lorisbench.runs.running import Running
from lorisbench.runs.workbench import Workbench, of_seed, prepare
from lorisbench.suite.entries import kinds_of
from lorisbench.suite.orders import permutation
from lorisbench.suite.spec import RunSpec


def train(
    bench: Workbench,
    spec: RunSpec,
    directory: RunDirectory,
    stop: Callable[[], bool] = lambda: False,
    observers: Sequence[Observer] = (),
) -> None:
    """Train and evaluate one run, journalling each experience; its status ends as done, diverged or failed.

    A run that was interrupted goes on after the last experience that it has a checkpoint of, with the same numbers as
    if it had not been (see `lorisbench.runs.resume`). An error in the strategy ends this run only (status failed,
    reason and traceback in status.json); an interrupt and an InputError are passed on. What it changes in the process
    is put back, so that no run sees what came before it.

    stop : asked after each step; once it says so, the run ends as pending, with its checkpoint, and Stopped is raised.
    observers : told how the run goes.
    """
    marks = _marks(bench)
    own = of_seed(bench, spec.seed)
    ordered = replace(own, manifest=own.manifest.in_order(permutation(spec.order, own.manifest.experiences)))
    threads = 1 if bench.on_features else torch.get_num_threads()
    where = environment(threads, str(bench.device), str(bench.accelerator))
    where |= {"amp": spec.training.amp, "compile": spec.training.compile, "runtime": spec.backbone.runtime}
    if spec.backbone.runtime != "torch":
        where["versions"] |= versions([spec.backbone.runtime])
    kind = Running if ordered.manifest.parts is None else Continued
    running = kind(ordered, spec, directory, where, stop, observers)
    try:
        running.ready()
        with apart(kinds_of(spec.strategy)):
            # One thread for heads on features: more would gain nothing, and this way sums never depend on --workers
            torch.set_num_threads(threads)
            running.loop()
        running.end("done", keep_model(running.bench, spec, directory, running.strategy, running.store))
        running.checkpoints.keep() if bench.config.keep_state else running.checkpoints.remove()
        remember_run(spec.config, bench.manifest.content_hash, directory)
    except Diverged as error:
        running.end("diverged", f"{spec.label}: {error}")
        running.checkpoints.remove()
    except (KeyboardInterrupt, InputError, Stopped) as error:
        running.end("pending", f"{_how(error)}; {running.checkpoints.told()}")
        raise
    except (Exception, SystemExit) as error:  # a plugin that exits ends its run, not the suite
        import traceback

        running.end("failed", reason_of(error), traceback=traceback.format_exc())
        if running.resumed:  # for whatever reason: the next start is from the beginning
            running.checkpoints.remove()
    finally:
        if _marks(bench) != marks:
            vars(bench).update(vars(bench.anew() if bench.anew else prepare(bench.config, bench.manifest)))


def _how(error: BaseException) -> str:
    """What is said of a run that will go on: why it does not now."""
    if isinstance(error, InputError):  # a disk that is full, say
        return f"broken off: {str(error).partition(chr(10))[0]}"
    return "stopped" if isinstance(error, Stopped) else "interrupted"


def _marks(bench: Workbench) -> list[int]:
    """Numbers that rise with each change in place to what all runs share: inputs, labels, the pretrained backbone."""
    return [tensor._version for tensor in (bench.x, bench.y, bench.task, *bench.backbone.state_dict().values())]
