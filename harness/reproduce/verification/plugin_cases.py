"""The training plugins of Avalanche 0.6.0, with arguments under which each acts on the tiny stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from avalanche.models import FeCAMClassifier, NCMClassifier, TrainEvalModel
from avalanche.training.plugins import GenerativeReplayPlugin, TrainGeneratorAfterExpPlugin
from avalanche.training.supervised.strategy_wrappers import VAETraining
from torch import nn
from torch.nn.functional import mse_loss

from lorisbench.reproduce.verification.plugins import Case
from lorisbench.reproduce.verification.tiny import CLASSES, WIDTH

SCHEDULERS = "torch.optim.lr_scheduler"


class Cloud(nn.Module):
    """A generator of samples, float32 (batch, WIDTH): noise about a mean, which is what it learns."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.mean.expand_as(x)

    def generate(self, batch_size: int) -> torch.Tensor:
        return self.mean.detach() + torch.randn(batch_size, WIDTH)


def _generator_strategy() -> Any:
    """Avalanche's strategy that trains a generator."""
    model = Cloud()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    return VAETraining(
        model=model, optimizer=optimizer, criterion=mse_loss, train_mb_size=8, train_epochs=2, evaluator=None
    )


def _with_ncm(head: nn.Module) -> nn.Module:
    first, *rest = head.children()
    return TrainEvalModel(first, nn.Sequential(*rest), NCMClassifier())


def _with_fecam(head: nn.Module) -> nn.Module:
    first, *rest = head.children()
    return TrainEvalModel(nn.Sequential(first, nn.ReLU()), nn.Sequential(*rest), FeCAMClassifier())


def _scheduler(name: str, **args: Any) -> Mapping[str, Any]:
    return {"object": f"{SCHEDULERS}:{name}", "args": args}


MEMORY = 12
LINEAR: tuple[int, ...] = ()
PLATEAU = _scheduler("ReduceLROnPlateau", patience=0, threshold=0.5)

CASES = (
    Case("AGEMPlugin", {"patterns_per_experience": MEMORY, "sample_size": 8}),
    Case("BiCPlugin", {"mem_size": MEMORY}),
    Case("CWRStarPlugin", note="its `model` is the run's"),
    Case("CoPEPlugin", {"n_classes": CLASSES, "p_size": CLASSES, "mem_size": MEMORY}, hidden=LINEAR,
         note="with a linear head; `p_size` is the number of classes"),
    Case("CoPEPlugin", {"n_classes": CLASSES, "p_size": CLASSES, "mem_size": MEMORY}, "hidden layers"),
    Case("CurrentDataFeCAMUpdate"),
    Case("CurrentDataFeCAMUpdate", variant="with such a model", wrap=_with_fecam),
    Case("CurrentDataNCMUpdate"),
    Case("CurrentDataNCMUpdate", variant="with such a model", wrap=_with_ncm),
    Case("EWCPlugin", {"ewc_lambda": 1.0}),
    Case("EWCPlugin", {"ewc_lambda": 1.0, "mode": "online", "decay_factor": 0.5}, "online"),
    Case("EarlyStoppingPlugin", {"patience": 1, "val_stream_name": "validation_stream", "metric_name": "Loss_Stream",
                                 "mode": "min"}, training={"epochs": 5, "lr": 0.3}, watches="validation",
         note="stops by the validation or training images of the experience"),
    Case("EarlyStoppingPlugin", {"patience": 2, "val_stream_name": "train_stream", "peval_mode": "iteration"},
         "iterations", watches="train", plain={"peval_mode": "iteration"}),
    Case("EarlyStoppingPlugin", {"patience": 1, "val_stream_name": "test_stream"}, "by test images", watches="test"),
    Case("EvaluationPlugin"),
    Case("FeCAMOracle"),
    Case("FeCAMOracle", variant="with such a model", wrap=_with_fecam),
    Case("FeatureDistillationPlugin", {"alpha": 1}, note="with hidden layers or a backbone that is always trained"),
    Case("FeatureDistillationPlugin", {"alpha": 1, "mode": "mse"}, "mse"),
    Case("FromScratchTrainingPlugin"),
    Case("GDumbPlugin", {"mem_size": MEMORY}),
    Case("GEMPlugin", {"patterns_per_experience": 6, "memory_strength": 0.5}, note="with the package quadprog"),
    Case("GSS_greedyPlugin", {"mem_size": 40, "mem_strength": 2, "input_size": [WIDTH]},
         training={"batch_size": 4}, note="`input_size` is the shape of an input"),
    Case("LFLPlugin", {"lambda_e": 1.0}, note="with hidden layers or a backbone that is always trained"),
    Case("LFLPlugin", {"lambda_e": 1.0}, "linear head on given features", hidden=LINEAR),
    Case("LRSchedulerPlugin", {"scheduler": _scheduler("StepLR", step_size=1, gamma=0.5)}),
    Case("LRSchedulerPlugin", {"scheduler": PLATEAU, "metric": "train_loss"}, "training loss", training={"epochs": 4}),
    Case("LRSchedulerPlugin", {"scheduler": PLATEAU, "metric": "val_loss"}, "validation loss", training={"epochs": 4},
         watches="validation"),
    Case("LwFPlugin", {"alpha": 1.0, "temperature": 2.0}),
    Case("MASPlugin"),
    Case("MIRPlugin", {"batch_size_mem": 2, "mem_size": MEMORY, "subsample": 8},
         training={"batch_size": 2, "epochs": 1},
         note="leaves out the classes of the last batch: replays nothing if it has them all, there as here"),
    Case("MemoryFeCAMUpdate", {"mem_size": MEMORY}),
    Case("MemoryFeCAMUpdate", {"mem_size": MEMORY}, "with such a model", wrap=_with_fecam),
    Case("MemoryNCMUpdate", {"mem_size": MEMORY}),
    Case("MemoryNCMUpdate", {"mem_size": MEMORY}, "with such a model", wrap=_with_ncm),
    Case("NCMOracle"),
    Case("NCMOracle", variant="with such a model", wrap=_with_ncm),
    Case("RARPlugin", {"batch_size_mem": 12, "mem_size": MEMORY}, training={"epochs": 1}),
    Case("RARPlugin", {"batch_size_mem": 12, "mem_size": MEMORY, "name_ext_layer": "head.0"}, "a layer below the last",
         training={"epochs": 1}),
    Case("RWalkPlugin", {"delta_t": 2}, note="diverges if an experience has fewer steps than `delta_t`, there as here"),
    Case("ReplayPlugin", {"mem_size": MEMORY}),
    Case("SynapticIntelligencePlugin", {"si_lambda": 1000.0}, note="does nothing on a CPU, there as here"),
    Case("GenerativeReplayPlugin"),
    Case("GenerativeReplayPlugin", variant="with a generator", makers=[
        lambda model, optimizer: GenerativeReplayPlugin(_generator_strategy()),
        lambda model, optimizer: TrainGeneratorAfterExpPlugin(),
    ], note="with TrainGeneratorAfterExpPlugin, in a strategy of your own"),
    Case("TrainGeneratorAfterExpPlugin"),
    Case("avalanche.models.packnet:PackNetPlugin", {"post_prune_epochs": 1}),
    Case("avalanche.training.losses:ICaRLLossPlugin"),
    Case("avalanche.training.templates.base_sgd:PeriodicEval"),
)  # fmt: skip
