"""The training engine: one Avalanche strategy with whole-batch loaders, a recorder and a learning-rate schedule."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from avalanche.core import SupervisedPlugin
from torch import nn

from lorisbench.data.stream import Store, rows_of, taken
from lorisbench.engine.answers import Answers
from lorisbench.engine.batches import cut, joined, normalise_single_samples
from lorisbench.engine.callbacks import PerBatch
from lorisbench.engine.checked import MAKERS
from lorisbench.engine.divergence import Diverged, check_outputs, not_finite, training_place
from lorisbench.engine.evaluation import evaluator_for, wanted_by
from lorisbench.engine.heads import forget_heads, heads_told, joined_heads, probabilities
from lorisbench.engine.needs import check_needs, fitted
from lorisbench.model.models import Classifier
from lorisbench.suite.training import TrainingConfig

EVAL_BATCH = 256


def seed_of(*parts: object) -> int:
    """A 63-bit seed that depends on all parts, the same on every machine."""
    digest = hashlib.blake2b(repr(parts).encode("utf-8"), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


class TensorLoader:
    """Minibatches [x, y, task labels] cut from a store as whole tensors on the device.

    With a generator, the rows are reshuffled in each pass (on the CPU, so that every device sees the same order). With
    a generator for views, each pass draws for each sample either the sample itself or one of the store's versions of
    it, all equally likely. With `join`, as in training, a last batch of one sample joins the one before it. Where the
    store has a `sequence`, samples come in this order where they would be reshuffled otherwise.
    """

    def __init__(
        self,
        store: Store,
        rows: torch.Tensor,
        batch_size: int,
        device: torch.device,
        generator: torch.Generator | None = None,
        for_views: torch.Generator | None = None,
        join: bool = False,
    ) -> None:
        self.store, self.rows, self.batch_size, self.device = store, rows, batch_size, device
        self.generator, self.for_views = generator, for_views
        self.in_sequence = generator is not None and store.sequence is not None
        self.cut = cut if join else torch.split

    def __len__(self) -> int:
        return len(self.cut(self.rows, self.batch_size)) if len(self.rows) else 0

    def __iter__(self) -> Iterator[list[torch.Tensor]]:
        rows = self.rows
        if self.in_sequence:
            rows = rows[self.store.sequence[rows].argsort()]  # type: ignore[index]
        elif self.generator is not None:
            rows = rows[torch.randperm(len(rows), generator=self.generator)]
        views = None if self.for_views is None else self.store.views
        for cpu_rows in self.cut(rows, self.batch_size):
            chunk = cpu_rows.to(self.store.y.device)
            x = taken(self.store.x, chunk)
            if views is not None:
                x = views.pick(x, cpu_rows, torch.randint(views.count + 1, (len(chunk),), generator=self.for_views))
            x = self.store.inputs(x, chunk).to(self.device, non_blocking=True)
            y = taken(self.store.y, chunk).to(self.device, non_blocking=True)
            task = taken(self.store.task, chunk).to(self.device, non_blocking=True)
            yield [x, y, task]


class Engine(PerBatch):
    """Avalanche's `SupervisedTemplate` whose loaders cut whole batches from the stream's store.

    Plugins written for Avalanche see the same callbacks, datasets and minibatches as there; one that cannot work here
    is refused (`lorisbench.engine.needs`). A dataset with samples from outside the store (say, from a generator) is
    loaded by Avalanche's own loader. Only training minibatches are augmented (`training.augment`): datasets, `batches`
    and evaluation give the samples as they are. In training a last batch of one sample joins the one before it,
    whosever loader it comes from.

    Parameters
    ----------
    plugins : Avalanche plugins, or functions of the model and the optimizer that make one.
    features_move : whether what the last layer sees goes on changing after the first experience.

    Attributes
    ----------
    wanted : evaluations during training that plugins ask for, or None; see `lorisbench.engine.evaluation.learn`.

    Raises InputError for a plugin that cannot work in this run.
    """

    reset_optimizer = True
    """Whether the optimizer's state is emptied before each experience; see `lorisbench.engine.evaluation.learn`."""

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
        features_move: bool = True,
    ) -> None:
        made = [p(model, optimizer) if isinstance(p, MAKERS) else p for p in plugins]
        wanted = wanted_by(made)
        super().__init__(
            model=fitted(model, made),
            optimizer=optimizer,
            criterion=nn.CrossEntropyLoss(),
            train_mb_size=training.batch_size,
            train_epochs=training.epochs,
            eval_mb_size=EVAL_BATCH,
            device=device,
            # the schedule comes first, so that what a plugin then does to epochs or the learning rate stays
            plugins=[Schedule(training), *made, DivergenceGuard()],
            evaluator=evaluator_for(wanted),
            eval_every=-1 if wanted is None else 1,
            peval_mode="epoch" if wanted is None else wanted.every,
        )
        self.store = store
        self.seed = seed
        self.augment = training.augment
        self.wanted = wanted
        self.features_move = features_move
        self._frozen: list[nn.Parameter] = []
        self._tell_model()
        for plugin in made:
            check_needs(plugin, self)

    def _loader(self, dataset: Any, batch_size: int, **training: Any) -> TensorLoader | None:
        rows = rows_of(dataset)
        return None if rows is None else TensorLoader(self.store, rows, batch_size, self.device, **training)

    def _generator(self, purpose: str) -> torch.Generator:
        return torch.Generator().manual_seed(seed_of(self.seed, self.clock.train_exp_counter, purpose))

    def _tell_model(self) -> None:
        """Let a model that takes images or features know which it is given now: images may have been replaced."""
        if isinstance(self.model, Classifier):
            self.model.on_features = self.store.x.ndim == 2

    def _before_training(self, **kwargs: Any) -> None:
        self._tell_model()
        super()._before_training(**kwargs)

    def make_train_dataloader(self, shuffle: bool = True, drop_last: bool = False, **kwargs: Any) -> None:
        # Separate generators: a strategy that draws random numbers sees the same order of samples as one that does not,
        # and so does a run with augmentation
        first = self.clock.train_exp_counter == 0
        augmented = self.augment is not None and (first or self.augment.experiences == "all")
        for_views = self._generator("views") if augmented else None
        order = self._generator("order") if shuffle else None
        loader = self._loader(self.adapted_dataset, self.train_mb_size, generator=order, for_views=for_views, join=True)
        if loader is None or drop_last:
            super().make_train_dataloader(shuffle=shuffle, drop_last=drop_last, **kwargs)
        else:
            self.dataloader = loader

    def training_epoch(self, **kwargs: Any) -> None:
        """One pass over the loader, in batches of more than one sample wherever there is more than one."""
        normalise_single_samples(self.model)
        given = self.dataloader
        if not isinstance(given, TensorLoader):
            self.dataloader = joined(given)
        try:
            super().training_epoch(**kwargs)
        finally:
            self.dataloader = given

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
        the head. What a plugin unfreezes later on joins them then (`optimizer_step`). An optimizer with several groups
        is left to Avalanche, which knows how new parameters join them.
        """
        if len(self.optimizer.param_groups) > 1:
            super().make_optimizer(reset_optimizer_state=reset_optimizer_state, **kwargs)
            return
        self._frozen = [p for p in self.model.parameters() if not p.requires_grad]
        for parameter in self._frozen:
            parameter.grad = None  # no step clears it any more
        named = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        self.optimizer.param_groups[0]["params"] = list(named.values())
        for parameter in list(self.optimizer.state):
            if reset_optimizer_state or not any(parameter is p for p in named.values()):
                del self.optimizer.state[parameter]
        self.optimized_param_id = named

    def optimizer_step(self) -> None:
        if any(p.requires_grad for p in self._frozen):
            self.optimizer.param_groups[0]["params"] += [p for p in self._frozen if p.requires_grad]
            self._frozen = [p for p in self._frozen if not p.requires_grad]
        super().optimizer_step()


class HarnessPlugin(SupervisedPlugin):
    """A plugin of the harness itself: not part of a method, so nothing it holds counts as a method's state.

    Attributes
    ----------
    passing : names of attributes that are set anew in each experience before they are read, so that no checkpoint needs
        them.
    """

    passing: tuple[str, ...] = ()


class Schedule(HarnessPlugin):
    """Epochs, learning rate and milestones of each experience, as set by `training` and `training.later`.

    They are set before any other plugin acts, so that whatever one changes in any callback stays.
    """

    passing = ("training", "milestones")

    def __init__(self, training: TrainingConfig) -> None:
        super().__init__()
        self.training = training

    def before_training(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
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
    """Stops a run whose loss is not finite; reads the losses from the device once per epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[torch.Tensor] = []

    def before_training_exp(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        self.losses = []

    def after_training_iteration(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        self.losses.append(torch.as_tensor(strategy.loss).detach())

    def after_training_epoch(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        losses, self.losses = self.losses, []
        if losses and not torch.cat([loss.flatten() for loss in losses]).isfinite().all():
            raise Diverged(f"the loss is not finite in {training_place(strategy)}")


class Recorder(HarnessPlugin):
    """Keeps the answers of an evaluation on the device and hands them over in one transfer.

    Parameters
    ----------
    classes : of how many classes the probabilities are kept as well; 0 for none.
    """

    passing = ("_predicted", "_no_answer", "_heads", "_head", "_scores")

    def __init__(self, classes: int = 0) -> None:
        super().__init__()
        self.classes = classes
        self._forget()

    def _forget(self) -> None:
        self._predicted: list[torch.Tensor] = []
        self._no_answer: list[torch.Tensor] = []
        self._heads: list[torch.Tensor | None] = []
        self._head: np.ndarray | None = None
        self._scores: list[torch.Tensor] = []

    def before_eval(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        self._forget()
        forget_heads(strategy.model)

    def after_eval_iteration(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        """Raises ValueError if the model tells of its heads what cannot be (see `answers.heads_told`)."""
        self._predicted.append(strategy.mb_output.argmax(dim=1).to(torch.int32))
        self._no_answer.append(not_finite(strategy.mb_output))
        self._heads.append(heads_told(strategy))
        if self.classes:
            self._scores.append(probabilities(strategy.mb_output, self.classes))

    def after_eval(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        """Raises Diverged, with their share, if outputs are not finite: their argmax is a class, but no answer."""
        if self._no_answer:
            check_outputs(torch.cat(self._no_answer), strategy)
            self._head = joined_heads(self._heads, self._predicted, type(strategy.model).__name__)

    def predictions(self) -> torch.Tensor:
        """int32 (samples,) on the CPU: the predicted class of every sample in the last evaluation, in stream order."""
        return torch.cat(self._predicted).cpu()

    def answers(self) -> Answers:
        """All that is known of the answers in the last evaluation, in stream order."""
        scores = torch.cat(self._scores).cpu().numpy() if self._scores else None
        return Answers(self.predictions().numpy(), self._head, scores)


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
