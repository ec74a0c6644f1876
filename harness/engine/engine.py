"""The training engine: one Avalanche strategy with whole-batch loaders, a recorder and a learning-rate schedule."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, cast

import torch
from avalanche.models.utils import is_multi_task_module
from torch import nn

from lorisbench.data.stream import Store, rows_of
from lorisbench.engine.batches import joined, normalise_single_samples
from lorisbench.engine.budget import budget_of
from lorisbench.engine.callbacks import PerBatch
from lorisbench.engine.checked import MAKERS
from lorisbench.engine.evaluation import evaluator_for, wanted_by
from lorisbench.engine.loader import TensorLoader, eval_loader, for_evaluation, rows_once
from lorisbench.engine.meter import metered
from lorisbench.engine.needs import check_needs, fitted
from lorisbench.engine.own_plugins import DivergenceGuard, Schedule
from lorisbench.engine.whole_row import minibatches_of_all
from lorisbench.model.models import Classifier
from lorisbench.suite.training import TrainingConfig

EVAL_BATCH = 256  # images
EVAL_FEATURES = 1024  # of which a batch takes hardly longer


def seed_of(*parts: object) -> int:
    """A 63-bit seed that depends on all parts, the same on every machine."""
    digest = hashlib.blake2b(repr(parts).encode("utf-8"), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


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
            eval_mb_size=EVAL_BATCH if store.x.ndim > 2 else EVAL_FEATURES,
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
        self.budget = budget_of(training)
        self.amp = training.amp
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

    def forward(self) -> Any:
        """The model's outputs for the minibatch; of a training step with `training.amp` computed in bfloat16."""
        if self.amp is None or not self.is_training:
            return self._outputs()
        with torch.autocast(self.device.type, torch.bfloat16):
            return self._outputs().float()

    def _outputs(self) -> Any:
        # Avalanche asks the experience for its task labels first, whether or not the model wants them
        return super().forward() if is_multi_task_module(self.model) else self.model(self.mb_x)

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
        self.dataloader = metered(self, self.dataloader)
        try:
            super().training_epoch(**kwargs)
        finally:
            self.dataloader = given

    @torch.no_grad()
    def eval(self, exp_list: Any, **kwargs: Any) -> Any:
        """Avalanche's, but that it does not go from experience to experience where nothing depends on that."""
        batches = minibatches_of_all(self, exp_list) if isinstance(exp_list, list) else None
        if batches is None:
            return super().eval(exp_list, **kwargs)
        before = self._save_train_state()
        self.is_training = False
        self.model.eval()
        self.current_eval_stream = exp_list
        self._before_eval(**kwargs)
        self.dataloader = cast(Any, batches)
        self.eval_epoch(**kwargs)
        self._after_eval(**kwargs)
        self._eval_cleanup()
        self._load_train_state(before)
        return self.evaluator.get_last_metrics()

    def make_eval_dataloader(self, **kwargs: Any) -> None:
        rows = rows_once(self.adapted_dataset)
        if rows is None:
            super().make_eval_dataloader(**kwargs)
        else:
            self.dataloader = cast(Any, eval_loader(self.store, rows, self.eval_mb_size, self.device))

    def eval_dataset_adaptation(self, **kwargs: Any) -> None:
        self.adapted_dataset = for_evaluation(self.experience.dataset)

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
        if self._frozen and any(p.requires_grad for p in self._frozen):
            self.optimizer.param_groups[0]["params"] += [p for p in self._frozen if p.requires_grad]
            self._frozen = [p for p in self._frozen if not p.requires_grad]
        super().optimizer_step()


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
