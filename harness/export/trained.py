"""A finished run's model from the run's folder alone: the data set is not needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorisbench.common.errors import InputError, reason_of
from lorisbench.common.reading import read_json
from lorisbench.common.registry import STRATEGIES, load_plugin, with_folders_of
from lorisbench.common.yaml_files import read_yaml
from lorisbench.metrics.records import features_in, images_by_stream
from lorisbench.runs.directory import RunDirectory
from lorisbench.suite.entries import kinds_of
from lorisbench.suite.run_folders import read_config
from lorisbench.suite.spec import RunSpec, check_schema, spec_from, tell_changed_code, title_of

if TYPE_CHECKING:
    from torch import nn

_UNTOLD = "{} needs task labels to answer, and an image comes without one"
# Hooks in which an Avalanche plugin may change the model's output before it is counted (BiC and CoPE do)
ANSWERING_HOOKS = ("before_eval_forward", "after_eval_forward", "after_eval_iteration")


@dataclass(frozen=True)
class TrainedRun:
    """A finished run as its folder describes it.

    Attributes
    ----------
    spec : its settings, from config.yaml.
    benchmark : its benchmark's short name, as in results.csv.
    classes : class names in the order of the labels.
    synthetic : whether it was trained on images that no camera took.
    experiences : how many it was trained on.
    width : how many features were given for each image, where no image was seen; else 0.
    """

    directory: RunDirectory
    spec: RunSpec
    benchmark: str
    classes: list[str]
    synthetic: bool
    experiences: int
    width: int = 0


def read_run(folder: Path, plugins: Sequence[Path] = ()) -> TrainedRun:
    """Read a run directory `OUT/runs/<run_id>` and `OUT/data.json`; `plugins` are files that define its strategy.

    Raises InputError, in one line, if it is no such folder, the run is from another version or not finished, the
    strategy is unknown, or a file is missing or damaged.
    """
    for plugin in plugins:
        load_plugin(plugin)
    file = folder / "config.yaml"
    if not file.exists():
        raise InputError(f"{folder}: not the folder of a run, OUT/runs/<run_id>{_hint(folder)}")
    config = read_config(folder)
    if config["run_id"] != folder.resolve().name:
        raise InputError(f"{folder}: holds the run {config['run_id']}; a copy or renamed folder is not exported")
    check_schema(config, file)
    _check_known(folder, config)
    spec = spec_from(config, file)
    tell_changed_code(config, spec)
    directory = RunDirectory(folder)
    status = directory.status()
    if status["status"] == "diverged":
        raise InputError(f"{spec.run_id}: the run has diverged, so that its model answers nothing; {status['reason']}")
    if status["status"] != "done":
        reason = f", {status['reason']}" if status.get("reason") else ""
        raise InputError(f"{spec.run_id}: the run is not finished (status {status['status']}{reason})")
    place = folder.resolve().parent.parent / "data.json"
    data = images_by_stream(read_json(place) or {}, [spec.stream]).get(spec.stream, {})
    classes = data.get("classes")
    if not isinstance(classes, list) or not classes or not all(isinstance(name, str) for name in classes):
        raise InputError(f"{place}: missing or damaged; the class names are read from it")
    synthetic = data.get("synthetic") is not False
    experiences, width = max(1, len(directory.entries())), features_in(data)
    return TrainedRun(directory, spec, title_of(spec.benchmark), classes, synthetic, experiences, width)


def _hint(folder: Path) -> str:
    runs = sorted(path for path in (folder / "runs").glob("*") if (path / "config.yaml").is_file())
    return f"; give one of its runs, such as {runs[0]}" if runs else ""


def restore_run(run: TrainedRun) -> nn.Module:
    """The run's trained model on the CPU, in eval mode, with its backbone.

    forward: images uint8 (batch, 3, size, size), or features float32 (batch, width) where these were given, -> scores
    (batch, classes).

    Raises InputError, in one line, if the checkpoint is missing, damaged or not the model's, or the strategy's answers
    do not come from its model alone.
    """
    import torch
    from safetensors import SafetensorError

    from lorisbench.data.stream import Store
    from lorisbench.engine.assembly import restored_model
    from lorisbench.model.backbones import backbone_of
    from lorisbench.model.checkpoint import PLACE

    path = run.directory.path
    if not (path / PLACE).is_file():
        raise InputError(f"{path / PLACE}: no such file; the run has no checkpoint")
    name = f"{run.spec.run_id}: strategy {run.spec.label!r}"
    if run.spec.head.per_task:
        raise InputError(_UNTOLD.format(name))
    settings = run.spec.backbone
    frozen = settings.train == "never"
    # The checkpoint holds all that was trained: no pretrained weights are loaded, or even downloaded, needlessly
    backbone = backbone_of(settings if frozen else settings.model_copy(update={"weights": "none"}), width=run.width)
    backbone.freeze()
    empty = Store(torch.zeros(0, backbone.feature_dim), torch.zeros(0, dtype=torch.int64))
    at = len(run.classes), run.experiences, torch.device("cpu"), path
    try:
        with with_folders_of(kinds_of(run.spec.strategy)):
            return restored_model(run.spec, backbone, empty, *at, check=lambda strategy: check_answers(name, strategy))
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise InputError(f"{path / PLACE}: {reason_of(error)}") from error


def _check_known(folder: Path, config: Mapping[str, Any]) -> None:
    """Raise InputError, naming the suite's plugin files, for a strategy that one of them defines."""
    entry = config.get("strategy")
    name = entry.get("strategy") if isinstance(entry, dict) else None
    try:
        suite = read_yaml(folder.resolve().parent.parent / "suite.yaml")
        files = " ".join(f"--plugin {file}" for file in suite["plugins"])
    except (InputError, KeyError, TypeError):
        files = ""
    if name not in STRATEGIES.names() and files:
        # Not loaded automatically: a folder from elsewhere would run code that nobody asked for
        raise InputError(f"{config.get('run_id')}: strategy {name!r} is not built in; add {files}")


def check_answers(name: str, strategy: Any) -> None:
    """Raise InputError, which begins with `name`, if a strategy's predictions do not come from its model alone."""
    from avalanche.core import SupervisedPlugin
    from avalanche.models import MultiTaskModule
    from avalanche.training.plugins import EvaluationPlugin, LRSchedulerPlugin
    from avalanche.training.plugins.clock import Clock

    from lorisbench.engine.engine import Engine

    if getattr(type(strategy), "forward", None) is not Engine.forward:
        raise InputError(f"{name} predicts with its own code ({type(strategy).__name__}), not with its model alone")
    if isinstance(strategy.model, MultiTaskModule):
        raise InputError(_UNTOLD.format(name))
    onlookers = (EvaluationPlugin, LRSchedulerPlugin, Clock)  # they have such hooks, but change no answer
    for plugin in strategy.plugins:
        if isinstance(plugin, onlookers) or getattr(plugin, "answers_unchanged", False):
            continue
        for hook in ANSWERING_HOOKS:
            own = getattr(type(plugin), hook, None)
            if own not in (None, getattr(SupervisedPlugin, hook)):
                raise InputError(f"{name}: {type(plugin).__name__} may change what the model answers ({hook})")
