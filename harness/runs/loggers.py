"""TensorBoard and Weights & Biases: the loss of each step, the accuracies after each experience, the suite's table."""

from __future__ import annotations

import contextlib
import netrc
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorisbench.common.errors import InputError
from lorisbench.metrics import table
from lorisbench.runs.observers import Observer

if TYPE_CHECKING:
    import pandas as pd

    from lorisbench.suite.spec import RunSpec

HOST = "api.wandb.ai"


class TensorBoard(Observer):
    """Writes event files below OUT/tensorboard/<run_id>; a run that goes on replaces what was written beyond."""

    def __init__(self, out: Path) -> None:
        self._folder = out / "tensorboard"
        self._writer: Any = None

    def begun(self, spec: RunSpec, names: Sequence[str], trained: int) -> None:
        self._names, self._run_id = names, spec.run_id
        if not trained:
            self._begin_at(0)

    def _begin_at(self, step: int | None) -> None:
        """Write from here on; what an earlier attempt wrote at this step and later does not count."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(self._folder / self._run_id), purge_step=step)

    def epoch(self, experience: int, epoch: int, epochs: int, step: int, losses: Sequence[float]) -> None:
        first = step - len(losses) + 1
        if self._writer is None:
            self._begin_at(first)
        for number, loss in enumerate(losses, first):
            self._writer.add_scalar("loss", loss, number)

    def experience(self, index: int, accuracy: Sequence[float], seconds: float) -> None:
        if self._writer is None:  # of a method that does not train in epochs
            self._begin_at(None)
        for name, value in _accuracies(self._names, accuracy):
            self._writer.add_scalar(f"accuracy/{name}", value, index)
        self._writer.add_scalar("train_seconds", seconds, index)
        self._writer.flush()

    def ended(self, status: str) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class WandB(Observer):
    """One run of Weights & Biases for each run, in a group named after the output; offline without an account."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._pending: dict[str, float] = {}

    def begun(self, spec: RunSpec, names: Sequence[str], trained: int) -> None:
        self._names = names
        self._run = _wandb_run(self._out, spec.run_id, spec.config_for(len(names)))

    def epoch(self, experience: int, epoch: int, epochs: int, step: int, losses: Sequence[float]) -> None:
        for number, loss in enumerate(losses, step - len(losses) + 1):
            self._run.log({"loss": loss, "step": number})

    def experience(self, index: int, accuracy: Sequence[float], seconds: float) -> None:
        values = {f"accuracy/{name}": value for name, value in _accuracies(self._names, accuracy)}
        self._run.log({**values, "train_seconds": seconds, "experience": index})

    def ended(self, status: str) -> None:
        if hasattr(self, "_run"):
            self._run.summary["status"] = status
            self._run.finish(exit_code=0 if status == "done" else 1)


LOGGERS: dict[str, Callable[[Path], Observer]] = {"tensorboard": TensorBoard, "wandb": WandB}


def check_loggers(names: Iterable[str]) -> None:
    """Raise InputError for a logger whose package is missing, before anything is trained."""
    for name in names:
        try:
            __import__(name)
        except ImportError as error:
            raise InputError(f"--{name} needs the package {name}: pip install {name}") from error


def log_table(names: Iterable[str], out: Path, suite: str, frame: pd.DataFrame) -> None:
    """Log the table of a suite, results.csv, with the means of its runs."""
    measured = [
        metric.name for metric in table.in_results() if metric.name in frame and frame[metric.name].notna().any()
    ]
    told = frame[["stream", "order", "strategy", "seed", "status", *measured]]
    for name in names:
        (_table_to_tensorboard if name == "tensorboard" else _table_to_wandb)(out, suite, told)


def _table_to_tensorboard(out: Path, suite: str, frame: pd.DataFrame) -> None:
    from torch.utils.tensorboard import SummaryWriter

    lines = [" | ".join(frame.columns), " | ".join("---" for _ in frame.columns)]
    lines += [" | ".join(_text(value) for value in row) for row in frame.itertuples(index=False)]
    with SummaryWriter(str(out / "tensorboard" / "suite")) as writer:
        writer.add_text(suite, "\n".join(lines))


def _table_to_wandb(out: Path, suite: str, frame: pd.DataFrame) -> None:
    import wandb

    run = _wandb_run(out, f"{suite}-table", {"suite": suite})
    run.log({"results": wandb.Table(dataframe=frame.reset_index(drop=True))})
    run.finish()


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")


def _accuracies(names: Sequence[str], accuracy: Sequence[float]) -> list[tuple[str, float]]:
    """The accuracy on each experience's test set by the experience's name, and their mean; nothing if not tested."""
    if not accuracy:
        return []
    known = [(f"{index:02d} {name}", value) for index, (name, value) in enumerate(zip(names, accuracy, strict=True))]
    answered = [value for _, value in known if value == value]  # an experience without test images has none
    return [*known, ("mean", sum(answered) / len(answered))] if answered else known


def _wandb_run(out: Path, name: str, config: dict[str, Any]) -> Any:
    import wandb

    folder = out / "wandb"
    folder.mkdir(parents=True, exist_ok=True)
    return wandb.init(
        dir=str(out), project=os.environ.get("WANDB_PROJECT", "lorisbench"), group=out.name, name=name, config=config,
        mode=None if _has_account() or "WANDB_MODE" in os.environ else "offline", reinit="create_new",
        settings=wandb.Settings(silent=True, console="off"),
    )  # fmt: skip


def _has_account() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    with contextlib.suppress(OSError, netrc.NetrcParseError):
        return netrc.netrc(os.environ.get("NETRC")).authenticators(HOST) is not None
    return False
