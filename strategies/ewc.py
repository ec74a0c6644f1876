"""Elastic Weight Consolidation: weights that mattered to the past are held by springs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
from avalanche.core import SupervisedPlugin
from pydantic import NonNegativeFloat, PositiveInt
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import one_hot

from strategies.base import Context, Strategy
from strategies.data import batches

Fisher = Literal["exact", "empirical"]
Tensors = dict[str, torch.Tensor]

_CHUNK_BYTES = 64 * 2**20


class EWCPlugin(SupervisedPlugin):
    """Adds half lambda times the sum over past experiences i of F_i (theta - theta_i)^2 to the loss.

    The sum is kept merged, in the memory of one experience. With A = sum_i F_i and
    c = (sum_i F_i theta_i) / A,

        sum_i F_i (theta - theta_i)^2  =  A (theta - c)^2  +  terms without theta,

    since both sides are quadratics in theta with the same curvature 2A and the same gradient
    2 (A theta - sum_i F_i theta_i). So the gradient is exactly that of separate penalties, the form
    Kirkpatrick et al. call "two separate penalties or ... one by noting that the sum of two quadratic
    penalties is itself a quadratic penalty" (2017, section 2.1); Huszar (PNAS 2018) argues for anchoring at
    the last theta alone, which is not done here.

    Attributes
    ----------
    importance, centre : A and c by parameter name, each shaped like its parameter; trainable parameters only.
    """

    def __init__(self, ewc_lambda: float, fisher: Fisher = "exact", fisher_samples: int | None = None) -> None:
        super().__init__()
        self.ewc_lambda = ewc_lambda
        self.fisher = fisher
        self.fisher_samples = fisher_samples
        self.importance: Tensors = {}
        self.centre: Tensors = {}

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Let go of parameters that have been frozen or removed since they were consolidated."""
        live = trainable(strategy.model)
        for store in (self.importance, self.centre):
            for name in [name for name in store if name not in live or store[name].shape != live[name].shape]:
                del store[name]

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        if self.importance:
            strategy.loss += self.ewc_lambda * self.penalty(strategy.model)

    def penalty(self, model: nn.Module) -> torch.Tensor:
        """Half the sum of A (theta - c)^2 over all consolidated parameters, a scalar with a gradient."""
        live = trainable(model)
        terms = [
            (importance * (live[name] - self.centre[name]).square()).sum()
            for name, importance in self.importance.items()
            if name in live
        ]
        return 0.5 * torch.stack(terms).sum() if terms else torch.zeros(())

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        data = strategy.experience.dataset.eval()
        if self.fisher_samples is not None and self.fisher_samples < len(data):
            step = len(data) / self.fisher_samples
            data = data.subset([int(step * index) for index in range(self.fisher_samples)])
        present = fisher_diagonal(strategy.model, batches(strategy, data), self.fisher)
        for name, parameter in trainable(strategy.model).items():
            self._merge(name, present[name], parameter.detach())

    def _merge(self, name: str, fisher: torch.Tensor, parameter: torch.Tensor) -> None:
        if name not in self.importance:
            self.importance[name], self.centre[name] = fisher, parameter.clone()
            return
        total = self.importance[name] + fisher
        # (A c + F theta) / (A + F), written as a step from c so that rounding cannot move a centre that
        # agrees.
        share = torch.where(total > 0, fisher / total, torch.ones_like(total))
        self.centre[name] = self.centre[name] + share * (parameter - self.centre[name])
        self.importance[name] = total


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that require gradients, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def fisher_diagonal(model: nn.Module, data: Iterator[tuple[torch.Tensor, torch.Tensor]], kind: Fisher) -> Tensors:
    """Diagonal of the Fisher information of the trainable parameters, mean over samples.

    F_j = mean over x of E_y[(d log p(y|x) / d theta_j)^2], with y drawn from the model's own p(y|x) (`exact`:
    the expectation is taken over all classes, nothing is sampled) or set to the label (`empirical`).
    Gradients are squared for each sample by itself, so the result does not depend on the batch size.

    Parameters
    ----------
    model : logits (batch, classes) from a batch of inputs; put into evaluation mode meanwhile, so that no
        batch-norm statistics move and no dropout acts, and then back.
    data : pairs x (batch, ...), y int64 (batch,).

    Returns
    -------
    One non-negative tensor a trainable parameter, of its shape, dtype and device.

    Raises
    ------
    ValueError : there are no samples.
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    total = {name: torch.zeros_like(parameter) for name, parameter in trainable(model).items()}
    count = 0
    try:
        for x, y in data:
            sums = _last_layer_sums(model, x, y, kind)
            if sums is None:
                sums = _sample_gradient_sums(model, x, y, kind)
            for name, value in sums.items():
                total[name] += value
            count += len(x)
    finally:
        for module, mode in modes.items():
            module.training = mode
    if count == 0:
        raise ValueError("the Fisher information needs at least one sample")
    return {name: value / count for name, value in total.items()}


@torch.no_grad()
def _last_layer_sums(model: nn.Module, x: torch.Tensor, y: torch.Tensor, kind: Fisher) -> Tensors | None:
    """Sums over samples where only the linear layer that makes the logits trains; None where that is not so.

    There d log p(y) / d W_kj = (1[y = k] - p_k) a_j for the layer's input a, so the sum over samples is one
    matrix product, and in the exact case E_y (1[y = k] - p_k)^2 = p_k (1 - p_k).
    """
    names = list(trainable(model))
    owners = {name.rpartition(".")[0] for name in names}
    layer = model.get_submodule(owners.pop()) if len(owners) == 1 else None
    if not isinstance(layer, nn.Linear):
        return None
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    hook = layer.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output)))
    try:
        logits = model(x)
    finally:
        hook.remove()
    if len(seen) != 1 or seen[0][1] is not logits or logits.ndim != 2:
        return None
    p = logits.softmax(dim=1)
    square = p * (1 - p) if kind == "exact" else (p - one_hot(y, p.shape[1])).square()
    sums = {"weight": square.T @ seen[0][0].square(), "bias": square.sum(dim=0)}
    return {name: sums[name.rpartition(".")[2]] for name in names}


def _sample_gradient_sums(model: nn.Module, x: torch.Tensor, y: torch.Tensor, kind: Fisher) -> Tensors:
    """Sums over samples for any model, by per-sample gradients vectorised over chunks of the batch."""
    parameters = {name: parameter.detach() for name, parameter in trainable(model).items()}

    def log_p(values: Tensors, sample: torch.Tensor, label: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores = functional_call(model, values, (sample[None],))[0].log_softmax(dim=0)
        return scores.gather(0, label[None])[0], scores.detach()

    gradients = vmap(grad(log_p, has_aux=True), in_dims=(None, 0, 0))
    size = sum(value.numel() * value.element_size() for value in parameters.values())
    chunk = max(1, _CHUNK_BYTES // max(1, size))
    sums = {name: torch.zeros_like(value) for name, value in parameters.items()}

    def add(values: Tensors, weights: torch.Tensor) -> None:
        for name, value in values.items():
            sums[name] += torch.tensordot(weights, value.square(), dims=1)

    for some_x, some_y in zip(x.split(chunk), y.split(chunk), strict=True):
        values, scores = gradients(parameters, some_x, some_y)
        if kind == "empirical":
            add(values, torch.ones_like(scores[:, 0]))
            continue
        for label in range(scores.shape[1]):
            values, scores = gradients(parameters, some_x, torch.full_like(some_y, label))
            add(values, scores[:, label].exp())
    return sums


class EWC(Strategy, name="ewc"):
    """Elastic Weight Consolidation (Kirkpatrick et al. 2017, PNAS, eq. 3).

    ewc_lambda: the strength of the springs; as the loss is a mean over samples and so is the Fisher
    information, 1 weighs a past experience like the present one. The paper gives no general value; 100 is
    what Hsu et al. (arXiv 1810.12488) found for domain-incremental Split MNIST. Plain SGD becomes unstable
    where learning rate x lambda x largest importance exceeds 2.
    fisher: `exact` (expectation over the model's own predictions, which eq. 3 means) or `empirical` (labels,
    cheaper by the number of classes where more than the last linear layer trains).
    fisher_samples: at most this many samples, evenly spaced over the experience; none given: all of them. Worth
    setting where a backbone trains: there an exact estimate costs a backward pass for each sample and class.
    """

    tuned = {"ewc_lambda": ("log", 1.0, 1e4)}

    ewc_lambda: NonNegativeFloat = 100.0
    fisher: Literal["exact", "empirical"] = "exact"
    fisher_samples: PositiveInt | None = None

    def plugins(self, context: Context) -> list[Any]:
        return [EWCPlugin(self.ewc_lambda, self.fisher, self.fisher_samples)]
