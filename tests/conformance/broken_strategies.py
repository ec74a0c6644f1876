"""Strategies that each break one rule, for the tests of `lorisbench check`; a file for `--plugin`."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from avalanche.core import SupervisedPlugin
from avalanche.training import Naive
from torch import nn
from torch.nn.functional import one_hot
from torch.utils.data import DataLoader, TensorDataset

from lorisbench.engine.strategy import Context, Strategy
from lorisbench.model.models import Classifier
from lorisbench.strategies.ewc import EWCPlugin
from lorisbench.strategies.joint import Joint
from lorisbench.strategies.lwf import LwFPlugin


class Distils(Strategy):
    """LwF, which conforms, and beside it the plugin `extra` that does not."""

    def extra(self, context: Context) -> Any:
        raise NotImplementedError

    def plugins(self, context: Context) -> list[Any]:
        return [LwFPlugin(1.0, 2.0), self.extra(context)]


class DetachedPenalty(EWCPlugin):
    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        if self.importance:
            strategy.loss += self.strength * self.penalty(strategy.model).detach()


class NoOp(Strategy, name="broken-noop"):
    def plugins(self, context: Context) -> list[Any]:
        return [DetachedPenalty(1.0)]


class FewOutputs(SupervisedPlugin):
    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        self.known = max(strategy.experience.classes_in_this_experience) + 1

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        probabilities = strategy.mb_output.softmax(dim=1)
        strategy.loss += (probabilities.sum(dim=0) * torch.ones(self.known)).sum() * 0


class FewClasses(Distils, name="broken-few-classes"):
    """Takes the classes of an experience for all there are."""

    def extra(self, context: Context) -> Any:
        return FewOutputs()


class AnswersAll(Classifier):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x)) + torch.arange(8.0)[: self.head.out_features]


class Unmasked(Strategy, name="broken-unmasked"):
    """Answers by the head itself, and so classes that are still to come, though it says that its heads can grow."""

    def wrap(self, model: nn.Module, context: Context) -> nn.Module:
        return AnswersAll(model.backbone, model.head)


class ZeroLoss(SupervisedPlugin):
    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        strategy.loss *= 0


class LearnsNothing(Distils, name="broken-learns-nothing"):
    def extra(self, context: Context) -> Any:
        return ZeroLoss()


class Peeks(SupervisedPlugin):
    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        strategy.store.x[-1]  # the last test sample of the last experience


class TestSet(Distils, name="broken-test-set"):
    def extra(self, context: Context) -> Any:
        return Peeks()


class LooksAhead(SupervisedPlugin):
    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        list(strategy.experience.origin_stream)[-1].dataset[3]


class Future(Distils, name="broken-future"):
    def extra(self, context: Context) -> Any:
        return LooksAhead()


class Cheats(SupervisedPlugin):
    def after_eval_forward(self, strategy: Any, **kwargs: Any) -> None:
        strategy.mb_output = strategy.mb_output + one_hot(strategy.mb_y, strategy.mb_output.shape[1])


class TestLabels(Distils, name="broken-test-labels"):
    def extra(self, context: Context) -> Any:
        return Cheats()


class CentresBatch(SupervisedPlugin):
    def after_eval_forward(self, strategy: Any, **kwargs: Any) -> None:
        strategy.mb_output = strategy.mb_output - strategy.mb_output.mean(dim=0)


class TestBatch(Distils, name="broken-test-batch"):
    def extra(self, context: Context) -> Any:
        return CentresBatch()


class KeepsSome(SupervisedPlugin):
    kept: torch.Tensor | None = None

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        if self.kept is None:
            self.kept = strategy.mb_x[:5].clone()


class Leaks(Distils, name="broken-leak"):
    def extra(self, context: Context) -> Any:
        return KeepsSome()


class KeepsForm(SupervisedPlugin):
    """Keeps the first batch in a form that a function of the model and the inputs gives."""

    def __init__(self, form: Any) -> None:
        super().__init__()
        self.form = form
        self.kept: Any = None

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        if self.kept is None:
            self.kept = self.form(strategy.model, strategy.mb_x)


class LeaksNormalised(Distils, name="broken-leak-normalised"):
    """Keeps them as the backbone's network sees them, in half precision."""

    def extra(self, context: Context) -> Any:
        return KeepsForm(lambda model, x: ((x.float() - model.backbone.mean) / model.backbone.std).half())


class LeaksDataset(Distils, name="broken-leak-dataset"):
    def extra(self, context: Context) -> Any:
        return KeepsForm(lambda model, x: DataLoader(TensorDataset(x.clone())))


class LeaksClosure(Distils, name="broken-leak-closure"):
    def extra(self, context: Context) -> Any:
        return KeepsForm(lambda model, x: lambda: x)


class KeepsInClass(SupervisedPlugin):
    kept: list[torch.Tensor] = []

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        if not self.kept:
            self.kept.append(strategy.mb_x.clone())


class LeaksInClass(Distils, name="broken-leak-in-class"):
    def extra(self, context: Context) -> Any:
        return KeepsInClass()


class SoundKeeps(Distils, name="sound-keeps"):
    """Keeps a batch, and says so."""

    state_growth = "samples"

    def replay_limit(self) -> int:
        return 16

    def extra(self, context: Context) -> Any:
        plugin = KeepsForm(lambda model, x: x.half())
        plugin.replay_samples = 16  # type: ignore[attr-defined]
        return plugin


class SecretReplay(Joint, name="broken-secret-replay"):
    def replay_limit(self) -> int:  # type: ignore[override]
        return 0


class UnfrozenTeacher(LwFPlugin):
    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        self.teacher = copy.deepcopy(strategy.model)
        self.teacher.train()


class Teacher(Strategy, name="broken-teacher"):
    def plugins(self, context: Context) -> list[Any]:
        return [UnfrozenTeacher(1.0, 2.0)]


class RenewedTeacher(LwFPlugin):
    def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        if self.teacher is not None:
            self.after_training_exp(strategy)


class TeacherOfLastEpoch(Strategy, name="broken-renewed-teacher"):
    def plugins(self, context: Context) -> list[Any]:
        return [RenewedTeacher(1.0, 2.0)]


class AverageTeacher(LwFPlugin):
    """Its teacher is an exponential moving average of the weights and statistics (Tarvainen & Valpola 2017)."""

    @torch.no_grad()
    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        if self.teacher is not None:
            for name, value in strategy.model.state_dict().items():
                if value.is_floating_point():
                    self.teacher.state_dict()[name].lerp_(value, 0.1)


class MovingTeacher(Strategy, name="broken-moving-teacher"):
    def plugins(self, context: Context) -> list[Any]:
        return [AverageTeacher(1.0, 2.0)]


class DeclaredTeacher(AverageTeacher):
    moving = ("teacher",)


class SoundMovingTeacher(Strategy, name="sound-moving-teacher"):
    """The same, declared."""

    def plugins(self, context: Context) -> list[Any]:
        return [DeclaredTeacher(1.0, 2.0)]


class TrainsNorm(SupervisedPlugin):
    def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        if strategy.model.backbone is not None:
            strategy.model.backbone.network.train()


class Norm(Distils, name="broken-norm"):
    def extra(self, context: Context) -> Any:
        return TrainsNorm()


class StepsOnFrozen(SupervisedPlugin):
    @torch.no_grad()
    def after_update(self, strategy: Any, **kwargs: Any) -> None:
        for parameter in strategy.model.parameters():
            if not parameter.requires_grad:
                parameter.mul_(1.001)


class FrozenMoves(Distils, name="broken-frozen-moves"):
    def extra(self, context: Context) -> Any:
        return StepsOnFrozen()


class ManyHeads(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.backbone, self.heads = model.backbone, nn.ModuleList([model.head])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = x if self.backbone is None or x.ndim == 2 else self.backbone(x)
        return torch.stack([head(features) for head in self.heads]).sum(dim=0)


class AddsLate(SupervisedPlugin):
    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        if strategy.clock.train_exp_counter:
            strategy.model.heads.append(copy.deepcopy(strategy.model.heads[0]))


class LateHead(Strategy, name="broken-late-head"):
    state_growth = "experiences"
    growing_heads = False

    def wrap(self, model: nn.Module, context: Context) -> nn.Module:
        return ManyHeads(model)

    def plugins(self, context: Context) -> list[Any]:
        return [AddsLate()]


class AddsInTime(SupervisedPlugin):
    def after_train_dataset_adaptation(self, strategy: Any, **kwargs: Any) -> None:
        if strategy.clock.train_exp_counter:
            strategy.model.heads.append(copy.deepcopy(strategy.model.heads[0]))


class SoundHead(LateHead, name="sound-head"):
    """The same with nothing wrong."""

    def plugins(self, context: Context) -> list[Any]:
        return [AddsInTime()]


class AddsOffset(SupervisedPlugin):
    """Adds trainable offsets in the first experience, once the optimizer is made."""

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        if not hasattr(strategy.model, "offset"):
            strategy.model.offset = nn.Parameter(torch.full((strategy.model.head.out_features,), 0.1))

    def after_forward(self, strategy: Any, **kwargs: Any) -> None:
        if hasattr(strategy.model, "offset"):
            strategy.mb_output = strategy.mb_output + strategy.model.offset

    after_eval_forward = after_forward


class LateOffset(Distils, name="broken-late-offset"):
    def extra(self, context: Context) -> Any:
        return AddsOffset()


class SoundBuild(Strategy, name="sound-build"):
    """A strategy of Avalanche's as it comes, with its own loaders and optimizer."""

    def build(self, context: Context) -> Any:
        model = context.model.to(context.device)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
        return Naive(
            model=model, optimizer=optimizer, train_mb_size=16, train_epochs=5, eval_mb_size=64,
            device=context.device, evaluator=None,
        )  # fmt: skip


class Counts(SupervisedPlugin):
    def __init__(self) -> None:
        super().__init__()
        self.count = torch.zeros(1)

    def after_eval_iteration(self, strategy: Any, **kwargs: Any) -> None:
        self.count += len(strategy.mb_y)


class EvalState(Distils, name="broken-eval-state"):
    def extra(self, context: Context) -> Any:
        return Counts()


class Draws(SupervisedPlugin):
    def before_eval(self, strategy: Any, **kwargs: Any) -> None:
        np.random.rand()


class EvalRandom(Distils, name="broken-eval-random"):
    def extra(self, context: Context) -> Any:
        return Draws()


class Scaled(SupervisedPlugin):
    """Scales the loss by a factor that a function gives at the start of each experience."""

    def __init__(self, factor: Any) -> None:
        super().__init__()
        self.factor = factor

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        self.now = self.factor()

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        strategy.loss *= self.now


_calls = [0]


def _count() -> float:
    _calls[0] += 1
    return 1 + 0.05 * _calls[0]


class ModuleState(Distils, name="broken-module-state"):
    def extra(self, context: Context) -> Any:
        return Scaled(_count)


class ModuleStateOfARun(Distils, name="broken-module-state-of-a-run"):
    def extra(self, context: Context) -> Any:
        _calls[0] = 0
        return Scaled(_count)


class Unseeded(Distils, name="broken-unseeded"):
    def extra(self, context: Context) -> Any:
        return Scaled(lambda: 1 + 0.1 * np.random.default_rng().random())


_shared: list[Any] = []


class SharedList(Strategy, name="broken-shared-list"):
    def plugins(self, context: Context) -> list[Any]:
        _shared.append(Scaled(lambda: 1.1))
        return [LwFPlugin(1.0, 2.0), *_shared]


class Appends(SupervisedPlugin):
    def __init__(self, seen: list[int]) -> None:
        super().__init__()
        self.seen = seen

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        self.seen.append(strategy.clock.train_exp_counter)


class MutatesSettings(Distils, name="broken-settings"):
    done: list[int] = []

    def extra(self, context: Context) -> Any:
        return Appends(self.done)


class KeepsWeights(SupervisedPlugin):
    def __init__(self) -> None:
        super().__init__()
        self.kept: list[torch.Tensor] = []

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        self.kept += [p.detach().clone() for p in strategy.model.parameters()]


class Grows(Distils, name="broken-grows"):
    def extra(self, context: Context) -> Any:
        return KeepsWeights()


class SoundGrows(Grows, name="sound-grows"):
    """The same, declared."""

    state_growth = "experiences"


class KeepsOutputs(SupervisedPlugin):
    def __init__(self) -> None:
        super().__init__()
        self.kept: list[torch.Tensor] = []

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        self.kept.append(strategy.mb_output.detach().clone())


class GrowsWithSamples(Distils, name="broken-grows-with-samples"):
    state_growth = "experiences"

    def extra(self, context: Context) -> Any:
        return KeepsOutputs()


class NeedsTwo(SupervisedPlugin):
    def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        if len(strategy.mb_x) == 1:
            raise ValueError("one sample")


class SmallBatch(Distils, name="broken-small-batch"):
    def extra(self, context: Context) -> Any:
        return NeedsTwo()


class Crashes(Distils, name="broken-crash"):
    def extra(self, context: Context) -> Any:
        return Scaled(lambda: {}["nothing"])


class Leaves(SupervisedPlugin):
    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        raise SystemExit(0)


class Exits(Distils, name="broken-exits"):
    def extra(self, context: Context) -> Any:
        return Leaves()


class Breaks(SupervisedPlugin):
    """Cannot train a second strategy."""

    count = 0

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        if strategy.clock.train_exp_counter == 0:
            type(self).count += 1
        if self.count > 1:
            raise KeyError("nothing")


class Once(Distils, name="broken-once"):
    def extra(self, context: Context) -> Any:
        return Breaks()


class Untrained(SupervisedPlugin):
    """Has no answer before it has learnt."""

    learnt = False

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        self.learnt = True

    def before_eval(self, strategy: Any, **kwargs: Any) -> None:
        if not self.learnt:
            raise ValueError("nothing was learnt")


class SoundAfterTraining(Distils, name="sound-after-training"):
    def extra(self, context: Context) -> Any:
        return Untrained()


class Diverges(Distils, name="broken-diverges"):
    def extra(self, context: Context) -> Any:
        return Scaled(lambda: float("inf"))


class Forgetful(LwFPlugin):
    """Says itself what its state is, and leaves out the teacher."""

    def state_dict(self) -> dict[str, Any]:
        return {"alpha": self.alpha}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.alpha = state["alpha"]


class Forgets(Strategy, name="broken-forgets"):
    def plugins(self, context: Context) -> list[Any]:
        return [Forgetful(1.0, 2.0)]


class Iterating(LwFPlugin):
    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        super().after_training_exp(strategy, **kwargs)
        self.batches = (batch for batch in strategy.dataloader)


class Iterates(Strategy, name="sound-iterates"):
    def plugins(self, context: Context) -> list[Any]:
        return [Iterating(1.0, 2.0)]
