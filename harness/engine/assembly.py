"""A run's Avalanche strategy from its settings: model, optimizer and plugins, all seeded by the run's seed."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lorisbench.data.stream import Store
from lorisbench.engine.checked import checked_model, checked_plugins, checked_strategy
from lorisbench.engine.engine import EVAL_BATCH, Engine, make_optimizer, seed_of
from lorisbench.engine.evaluation import NoMetrics
from lorisbench.engine.own_plugins import Schedule
from lorisbench.engine.strategy import Context
from lorisbench.model.backbones import backbone_of
from lorisbench.model.checkpoint import load_backbone, load_checkpoint
from lorisbench.model.growing import GrowingClassifier
from lorisbench.model.models import Backbone, Classifier, make_head, xavier
from lorisbench.model.task_heads import TaskClassifier, TaskHead
from lorisbench.suite.config import BackboneConfig
from lorisbench.suite.spec import RunSpec


def seed_everything(*parts: object) -> None:
    """Seed torch (all devices), numpy and random from all parts."""
    seed = seed_of(*parts)
    if _has_accelerator():
        torch.manual_seed(seed)
    else:  # the same for the CPU alone; the other notes, with a stack trace each time, what devices to come would need
        torch.default_generator.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


@functools.cache
def _has_accelerator() -> bool:
    """Whether torch can use any device but the CPU."""
    return torch.cuda.is_available() or torch.xpu.is_available() or torch.backends.mps.is_available()


def assemble(
    spec: RunSpec, pretrained: Backbone, store: Store, classes: int, experiences: int, device: torch.device
) -> Any:
    """The Avalanche strategy of a run, given the sizes of its data. If it trains the backbone, it is a copy."""
    return built(spec, context_of(spec, pretrained, store, classes, experiences, device))


def restored_model(
    spec: RunSpec, pretrained: Backbone, store: Store, classes: int, experiences: int, device: torch.device,
    folder: Path, check: Callable[[Any], None] = lambda strategy: None, attach: bool = True,
) -> nn.Module:  # fmt: skip
    """The trained model of a run from its folder, in eval mode: built as for `assemble`, then given what was learnt.

    check : is given the strategy before, and may raise. attach : whether `pretrained` is put in front of a model that
        was trained on its features.

    Raises what `load_checkpoint` does, and what the strategy's own code raises.
    """
    first = spec.backbone.train == "first"
    if first:
        pretrained = pretrained.copied()
        load_backbone(pretrained, folder)
        pretrained.freeze()
    context = context_of(spec, pretrained, store, classes, experiences, device)
    strategy = built(spec, context)
    check(strategy)
    backbone = pretrained if attach else None
    frozen = spec.backbone.train != "always"
    return load_checkpoint(strategy.model, folder, backbone, frozen, context.new_head, apart=first)


def built(spec: RunSpec, context: Context) -> Any:
    """What a run's strategy builds. Raises TypeError if it cannot be trained."""
    strategy = checked_strategy(type(spec.strategy), spec.strategy.build(context))
    strategy.reset_optimizer = spec.training.reset_optimizer
    return strategy


def context_of(
    spec: RunSpec, pretrained: Backbone, store: Store, classes: int, experiences: int, device: torch.device
) -> Context:
    """What a strategy is built from: a fresh model initialised from the run's seed, and the engine for it."""
    seed_everything(spec.seed, "model")
    head, training = spec.head, spec.training
    width = pretrained.feature_dim

    def new_head() -> nn.Module:
        made: nn.Module
        if head.per_task:
            made = TaskHead(width, store.classes_of_tasks(), classes, head.hidden)
        else:
            made = make_head(width, classes, head.hidden)
        return xavier(made) if head.init == "xavier" else made

    backbone = None if spec.backbone.on_features else own_backbone(spec.backbone, pretrained, spec.seed)
    model: Classifier
    if head.grow:
        model = GrowingClassifier(backbone, new_head(), classes)
    else:
        model = (TaskClassifier if head.per_task else Classifier)(backbone, new_head())

    kind = type(spec.strategy)

    def arguments(wrapped: nn.Module) -> dict[str, Any]:
        checked_model(kind, wrapped).to(device)
        return {
            "model": wrapped, "optimizer": make_optimizer(wrapped, training), "train_mb_size": training.batch_size,
            "train_epochs": training.epochs, "eval_mb_size": EVAL_BATCH, "device": device,
            "plugins": [Schedule(training)], "evaluator": NoMetrics(),
        }  # fmt: skip

    def engine(wrapped: nn.Module, plugins: list[Any]) -> Engine:
        checked_model(kind, wrapped).to(device)
        return Engine(
            model=wrapped, optimizer=make_optimizer(wrapped, training), plugins=checked_plugins(kind, plugins),
            store=store, training=training, device=device, seed=spec.seed,
            features_move=bool(head.hidden) or spec.backbone.train == "always",
        )  # fmt: skip

    return Context(
        model=model, new_head=new_head, num_classes=classes, feature_dim=width,
        experiences=experiences, device=device, seed=spec.seed, engine=engine, arguments=arguments,
        rows=spec.evaluation.rows,
    )  # fmt: skip


def own_backbone(settings: BackboneConfig, pretrained: Backbone, seed: int) -> Backbone:
    """A run's own copy of the pretrained backbone; one trained from random weights draws them from `seed`."""
    if settings.weights == "none" and settings.train == "always":
        return backbone_of(settings, seed)
    return pretrained.copied()
