"""What Avalanche's plugins need of a run: one that cannot work here is refused, where it might silently do nothing.

A plugin of Avalanche may need a model of a certain kind, another plugin, a package, or inputs that it can change. Where
that is missing some of them fail in the middle of a run, and others do nothing at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from avalanche.models import FeCAMClassifier, NCMClassifier
from avalanche.models.base_model import BaseModel
from avalanche.models.packnet import PackNetModel, PackNetPlugin
from avalanche.training import plugins as stock
from avalanche.training.losses import ICaRLLossPlugin
from avalanche.training.plugins.clock import Clock
from avalanche.training.templates.base_sgd import PeriodicEval
from torch import nn
from torchvision.models.feature_extraction import get_graph_node_names

from lorisbench.common.errors import InputError, reason_of
from lorisbench.common.registry import nearest
from lorisbench.model.models import Classifier, FeatureKeeper
from lorisbench.model.task_heads import TaskClassifier

BaseModel.register(Classifier)  # it has `get_features`, which is all that the class asks for

OWN = "return such a model from `wrap` of a strategy of your own"


def fitted(model: nn.Module, plugins: Sequence[Any]) -> nn.Module:
    """The model, as one that keeps its features where a plugin reads them from it."""
    if type(model) is Classifier and any(isinstance(plugin, stock.FeatureDistillationPlugin) for plugin in plugins):
        return FeatureKeeper(model.backbone, model.head)
    return model


def check_needs(plugin: Any, engine: Any) -> None:
    """Raise InputError, in one line naming plugin, reason and what to do, for a plugin that cannot work in a run.

    engine : the Avalanche strategy with its model, optimizer, plugins and store, before it has trained.
    """
    for kind, reasons in NEEDS.items():
        if isinstance(plugin, kind):
            for reason in reasons(plugin, engine):
                raise InputError(f"{type(plugin).__name__} cannot work here: {reason}")
    for name in ("before_inner_updates", "after_inner_updates", "before_outer_update", "after_outer_update"):
        if _overrides(plugin, name):
            raise InputError(
                f"{type(plugin).__name__} cannot work here: {name} is called in meta-learning only, of which there is "
                "none; use before_update or after_update"
            )


def _overrides(plugin: Any, name: str) -> bool:
    """Whether a plugin has this callback and it is more than Avalanche's empty one."""
    found = getattr(type(plugin), name, None)
    return found is not None and not getattr(found, "__module__", "").startswith("avalanche.core")


def _observer(plugin: Any, engine: Any) -> Iterator[str]:
    yield "it only measures, and a run keeps its own measurements; leave it out"


def _bic(plugin: Any, engine: Any) -> Iterator[str]:
    yield (
        "Avalanche 0.6.0's sets `experience.dataset`, which its own benchmarks do not allow, and gives torch's "
        "MultiStepLR an argument that is gone; use another strategy"
    )


def _classifier_of(kind: type) -> Callable[[Any, Any], Iterator[str]]:
    def reasons(plugin: Any, engine: Any) -> Iterator[str]:
        model = engine.model
        if not isinstance(getattr(model, "eval_classifier", None), kind) or not hasattr(model, "feature_extractor"):
            yield f"the model needs a `feature_extractor` and a {kind.__name__} as `eval_classifier`; {OWN}"

    return reasons


def _frozen_features(plugin: Any, engine: Any) -> Iterator[str]:
    if isinstance(engine.model, Classifier) and not engine.features_move:
        yield (
            "it holds fast what the last layer sees, which never moves here; "
            "use head.hidden, such as [64], or backbone.train: always"
        )


def _lfl(plugin: Any, engine: Any) -> Iterator[str]:
    if not isinstance(engine.model, BaseModel):
        yield f"the model needs `get_features`; {OWN}"
    if isinstance(engine.model, TaskClassifier):
        yield "it freezes one output layer, and there is one for each task; use head.per_task: false"
    yield from _frozen_features(plugin, engine)


def _feature_distillation(plugin: Any, engine: Any) -> Iterator[str]:
    if plugin.mode != "cosine":
        yield f"mode {plugin.mode!r} gives torch's mse_loss an argument that it does not have; use mode: cosine"
    if isinstance(engine.model, TaskClassifier):
        yield "the model has an output layer for each task; use head.per_task: false"
    if callable(getattr(engine.model, "features", None)) and not isinstance(engine.model, FeatureKeeper):
        yield f"the model must keep what the last layer saw as `features`, which is a method here; {OWN}"
    yield from _frozen_features(plugin, engine)


def _generative(plugin: Any, engine: Any) -> Iterator[str]:
    if plugin.generator_strategy is None and not hasattr(engine.model, "generate"):
        yield (
            "the model is no generator, and there is no `generator_strategy`: give one, an Avalanche strategy that "
            "trains a generator, in a strategy of your own"
        )


def _generator_trainer(plugin: Any, engine: Any) -> Iterator[str]:
    if not any(type(other) is stock.GenerativeReplayPlugin for other in engine.plugins):
        yield "it trains the generator of a GenerativeReplayPlugin, and there is none; add one before it"


def _gem(plugin: Any, engine: Any) -> Iterator[str]:
    import qpsolvers

    if "quadprog" not in qpsolvers.available_solvers:
        yield "it needs the package quadprog: pip install quadprog"


def _rar(plugin: Any, engine: Any) -> Iterator[str]:
    if not plugin.use_adversarial_replay:
        return
    if engine.store.labelled:
        yield "it perturbs inputs, and with head.per_task these carry the task label; use head.per_task: false"
    if not engine.store.x.dtype.is_floating_point:
        yield "it perturbs inputs, and images are bytes here; use backbone.train: never with backbone.cache: true"
    try:
        names = get_graph_node_names(engine.model)[0]
    except Exception as error:  # whatever the model's own code raises
        yield f"it traces the model, which cannot be traced ({reason_of(error)}); {OWN}"
        return
    layer = plugin.name_ext_layer
    if layer is not None and not any(f"{name}.".startswith(f"{layer}.") for name in names):
        yield f"name_ext_layer {layer!r} is no layer of the model{nearest(layer, names)}"


def _cwr(plugin: Any, engine: Any) -> Iterator[str]:
    if plugin.model is not engine.model:
        yield "its `model` is not the one that this run trains; return a function of model and optimizer from `plugins`"


def _lr_scheduler(plugin: Any, engine: Any) -> Iterator[str]:
    if getattr(plugin.scheduler, "optimizer", engine.optimizer) is not engine.optimizer:
        yield "its scheduler is not of this run's optimizer; return a function of model and optimizer from `plugins`"


def _cope(plugin: Any, engine: Any) -> Iterator[str]:
    name = [name for name, layer in engine.model.named_modules() if isinstance(layer, nn.Linear)][-1:]
    if any("." in each for each in name):
        yield "it replaces the last layer, which it can only do outside of other modules; use head.hidden: []"


def _packnet(plugin: Any, engine: Any) -> Iterator[str]:
    if not isinstance(engine.model, PackNetModel):
        yield f"the model must be a PackNetModel; {OWN}"
    if engine.budget is not None:
        yield "it prunes some epochs before the last, and with training.budget nothing says which is the last"


def _icarl_loss(plugin: Any, engine: Any) -> Iterator[str]:
    if engine._criterion is not plugin:
        yield "it is a loss, which nothing uses here; set it as `_criterion` in `build` of a strategy of your own"


NEEDS: dict[Any, Callable[[Any, Any], Iterator[str]]] = {
    (stock.EvaluationPlugin, PeriodicEval, Clock): _observer,
    stock.BiCPlugin: _bic,
    (stock.CurrentDataNCMUpdate, stock.MemoryNCMUpdate, stock.NCMOracle): _classifier_of(NCMClassifier),
    (stock.CurrentDataFeCAMUpdate, stock.MemoryFeCAMUpdate, stock.FeCAMOracle): _classifier_of(FeCAMClassifier),
    stock.LFLPlugin: _lfl,
    stock.FeatureDistillationPlugin: _feature_distillation,
    stock.GenerativeReplayPlugin: _generative,
    stock.TrainGeneratorAfterExpPlugin: _generator_trainer,
    stock.GEMPlugin: _gem,
    stock.RARPlugin: _rar,
    stock.CWRStarPlugin: _cwr,
    stock.LRSchedulerPlugin: _lr_scheduler,
    stock.CoPEPlugin: _cope,
    PackNetPlugin: _packnet,
    ICaRLLossPlugin: _icarl_loss,
}
"""Classes of plugins, and a function of plugin and engine that gives the reasons why one cannot work."""
