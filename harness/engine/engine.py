"""The training engine: one Avalanche strategy with whole-batch loaders, a recorder and a learning-rate schedule."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from avalanche.training.templates import SupervisedTemplate
from torch import nn

from lorisbench.data.stream import Store, rows_of
from lorisbench.suite.training import TrainingConfig

EVAL_BATCH = 256


class Diverged(Exception):
    """The loss of a run is no longer finite."""


def seed_of(*parts: object) -> int:
    """A 63-bit seed that depends on all parts, the same on every machine."""
    digest = hashlib.blake2b(repr(parts).encode("utf-8"), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


class TensorLoader:
    """Minibatches [x, y, task labels] cut from a store as whole tensors on the device.

    With a generator, the rows are reshuffled in each pass (on the CPU, so that every device sees the same order). With
    a generator for views, each pass draws for each sample either the sample itself or one of the store's versions of
    it, all equally likely.
    """

    def __init__(
        self,
        store: Store,
        rows: torch.Tensor,
        batch_size: int,
        device: torch.device,
        generator: torch.Generator | None = None,
        for_views: torch.Generator | None = None,
    ) -> None:
        self.store, self.rows, self.batch_size, self.device = store, rows, batch_size, device
        self.generator, self.for_views = generator, for_views

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self) -> Iterator[list[torch.Tensor]]:
        rows = self.rows
        if self.generator is not None:
            rows = rows[torch.randperm(len(rows), generator=self.generator)]
        views = None if self.for_views is None else self.store.views
        for cpu_rows in rows.split(self.batch_size):
            chunk = cpu_rows.to(self.store.y.device)
            x = self.store.x[chunk]
            if views is not None:
                x = views.pick(x, cpu_rows, torch.randint(views.count + 1, (len(chunk),), generator=self.for_views))
            x = self.store.inputs(x, chunk).to(self.device, non_blocking=True)
            y = self.store.y[chunk].to(self.device, non_blocking=True)
            yield [x, y, self.store.task[chunk].to(self.device, non_blocking=True)]


class Engine(SupervisedTemplate):
    """`SupervisedTemplate` whose loaders cut whole batches from the stream's store.

    Plugins written for Avalanche run unmodified: they see the same callbacks, datasets and minibatches. A dataset with
    samples from outside the store (say, from a generator) is loaded by Avalanche's own loader. Only training
    minibatches are augmented (`training.augment`): datasets, `batches` and evaluation give the samples as they are.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        plugins: list[Any],
        store: Store,
        training: TrainingConfig,
        device: torch.device,
        seed: int,
    ) -> None:
        super().__init__(
            model=model,
            optimizer=optimizer,
            criterion=nn.CrossEntropyLoss(),
            train_mb_size=training.batch_size,
            train_epochs=training.epochs,
            eval_mb_size=EVAL_BATCH,
            device=device,
            # the schedule comes first, so that what a plugin then does to epochs or the learning rate stays
            plugins=[Schedule(training), *plugins, DivergenceGuard()],
            evaluator=None,
            eval_every=-1,
        )
        self.store = store
        self.seed = seed
        self.augment = training.augment

    def _loader(self, dataset: Any, batch_size: int, *generators: torch.Generator | None) -> TensorLoader | None:
        rows = rows_of(dataset)
        return None if rows is None else TensorLoader(self.store, rows, batch_size, self.device, *generators)

    def _generator(self, purpose: str) -> torch.Generator:
        return torch.Generator().manual_seed(seed_of(self.seed, self.clock.train_exp_counter, purpose))

    def make_train_dataloader(self, **kwargs: Any) -> None:
        # Separate generators: a strategy that draws random numbers sees the same order of samples as one that does not,
        # and so does a run with augmentation
        first = self.clock.train_exp_counter == 0
        augmented = self.augment is not None and (first or self.augment.experiences == "all")
        for_views = self._generator("views") if augmented else None
        loader = self._loader(self.adapted_dataset, self.train_mb_size, self._generator("order"), for_views)
        if loader is None:
            super().make_train_dataloader(**kwargs)
        else:
            self.dataloader = loader

    def make_eval_dataloader(self, **kwargs: Any) -> None:
        loader = self._loader(self.adapted_dataset, self.eval_mb_size)
        if loader is None:
            super().make_eval_dataloader(**kwargs)
        else:
            self.dataloader = loader

    def batches(self, dataset: Any, batch_size: int = 1024) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """(x, y) from an Avalanche dataset, in its order, as whole batches on the device."""
        rows = rows_of(dataset)
        if rows is None:
            raise ValueError("the dataset holds samples that are not from this stream")
        for x, y, _ in TensorLoader(self.store, rows, batch_size, self.device):
            yield x, y

    def make_optimizer(self, reset_optimizer_state: bool = False, **kwargs: Any) -> None:
        """Give the optimizer exactly the parameters that require a gradient now; known ones keep their state.

        Avalanche's own method adds every parameter of the model, frozen or not, even if the optimizer was given only
        the head. An optimizer with several groups is left to Avalanche, which knows how new parameters join them.
        """
        if len(self.optimizer.param_groups) > 1:
            super().make_optimizer(reset_optimizer_state=reset_optimizer_state, **kwargs)
            return
        named = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        self.optimizer.param_groups[0]["params"] = list(named.values())
        for parameter in list(self.optimizer.state):
            if reset_optimizer_state or not any(parameter is p for p in named.values()):
                del self.optimizer.state[parameter]
        self.optimized_param_id = named


class HarnessPlugin(SupervisedPlugin):
    """A plugin of the harness itself: not part of a method, so nothing it holds counts as a method's state."""


class Schedule(HarnessPlugin):
    """Epochs, learning rate and milestones of each experience, as set by `training` and `training.later`."""

    def __init__(self, training: TrainingConfig) -> None:
        super().__init__()
        self.training = training

    def before_training_exp(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        first = strategy.clock.train_exp_counter == 0
        training, later = self.training, self.training.later
        epochs = training.epochs if first else later.epochs or training.epochs
        lr = training.lr if first else later.lr or training.lr
        milestones = training.milestones if first or later.milestones is None else later.milestones
        self.milestones = set(milestones)
        strategy.train_epochs = epochs
        for group in strategy.optimizer.param_groups:
            group["lr"] = lr

    def before_training_epoch(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        # The rate is changed only at milestones; in between it is left to plugins that schedule it
        if strategy.clock.train_exp_epochs in self.milestones:
            for group in strategy.optimizer.param_groups:
                group["lr"] *= self.training.milestone_factor


class DivergenceGuard(HarnessPlugin):
    """Stops a run whose loss is not finite; reads the loss from the device once per epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.total: torch.Tensor | None = None

    def after_training_iteration(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        loss = strategy.loss.detach().sum()
        self.total = loss if self.total is None else self.total + loss

    def after_training_epoch(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        total, self.total = self.total, None
        if total is not None and not torch.isfinite(total):
            raise Diverged(f"the loss is not finite in epoch {strategy.clock.train_exp_epochs}")


class Recorder(HarnessPlugin):
    """Keeps the predicted classes of an evaluation on the device and hands them over in one transfer."""

    def __init__(self) -> None:
        super().__init__()
        self._predicted: list[torch.Tensor] = []

    def before_eval(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        self._predicted = []

    def after_eval_iteration(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        self._predicted.append(strategy.mb_output.argmax(dim=1).to(torch.int32))

    def predictions(self) -> torch.Tensor:
        """int32 (samples,) on the CPU: the predicted class of every sample in the last evaluation, in stream order."""
        return torch.cat(self._predicted).cpu()


def make_optimizer(model: nn.Module, training: TrainingConfig) -> torch.optim.Optimizer:
    """The optimizer of a run over the parameters that require a gradient."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    if training.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, lr=training.lr, momentum=training.momentum, weight_decay=training.weight_decay
        )
    kind = torch.optim.AdamW if training.optimizer == "adamw" else torch.optim.Adam
    # On a GPU `foreach` is PyTorch's default; on a CPU it gives the same numbers in half the time, bit for bit
    return kind(parameters, lr=training.lr, weight_decay=training.weight_decay, foreach=True)
