"""Elastic Weight Consolidation: weights that mattered for past experiences are held by springs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

from lorisbench.engine.strategy import Context, Strategy
from lorisbench.strategies.parts.data import batches, evaluating
from lorisbench.strategies.parts.gradients import Data, Tensors, mean_over_samples, power_sums, trainable
from lorisbench.strategies.parts.springs import SpringPlugin

Fisher = Literal["exact", "empirical", "label", "batch"]


class EWCPlugin(SpringPlugin):
    """Adds half lambda times the sum over past experiences i of F_i (theta - theta_i)^2 to the loss.

    Separate penalties (gamma None) are stored merged, in the memory of a single one. With A = sum_i F_i and
    c = (sum_i F_i theta_i) / A,

        sum_i F_i (theta - theta_i)^2  =  A (theta - c)^2  +  terms without theta,

    since both sides are quadratics in theta with the same curvature 2A and the same gradient
    2 (A theta - sum_i F_i theta_i). So the gradient is exactly that of separate penalties, the form
    Kirkpatrick et al. call "two separate penalties or ... one by noting that the sum of two quadratic
    penalties is itself a quadratic penalty" (2017, section 2.1). With a gamma there is one penalty
    A (theta - theta_last)^2 at the last weights, A <- gamma A + F: online EWC (Schwarz et al. 2018, section 4; Huszar,
    PNAS 2018, argues for that anchor).

    Attributes
    ----------
    importance, centre : A and c by parameter name, each shaped like its parameter; trainable parameters only.
    """

    def __init__(
        self,
        ewc_lambda: float,
        fisher: Fisher = "exact",
        fisher_samples: int | None = None,
        fisher_batch_size: int | None = None,
        gamma: float | None = None,
    ) -> None:
        super().__init__(ewc_lambda)
        self.fisher = fisher
        self.fisher_samples = fisher_samples
        self.fisher_batch_size = fisher_batch_size
        self.gamma = gamma

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        data = strategy.experience.dataset.eval()
        if self.fisher_samples is not None and self.fisher_samples < len(data):
            step = len(data) / self.fisher_samples
            data = data.subset([int(step * index) for index in range(self.fisher_samples)])
        if self.fisher == "batch":
            pairs = batches(strategy, data, self.fisher_batch_size or strategy.train_mb_size)
        else:
            pairs = batches(strategy, data)
        present = fisher_diagonal(strategy.model, pairs, self.fisher)
        for name, parameter in trainable(strategy.model).items():
            self._merge(name, present[name], parameter.detach())

    def _merge(self, name: str, fisher: torch.Tensor, parameter: torch.Tensor) -> None:
        if name not in self.importance:
            self.importance[name], self.centre[name] = fisher, parameter.clone()
        elif self.gamma is not None:
            self.importance[name] = self.gamma * self.importance[name] + fisher
            self.centre[name] = parameter.clone()
        else:
            total = self.importance[name] + fisher
            # (A c + F theta) / (A + F), as a step from c so that rounding cannot move a centre that already agrees.
            share = torch.where(total > 0, fisher / total, torch.ones_like(total))
            self.centre[name] = self.centre[name] + share * (parameter - self.centre[name])
            self.importance[name] = total


def fisher_diagonal(model: nn.Module, data: Data, kind: Fisher) -> Tensors:
    """Diagonal of the Fisher information of the trainable parameters.

    F_j = mean over x of E_y[(d log p(y|x) / d theta_j)^2], with y drawn from the model's own p(y|x) (`exact`:
    the expectation is taken over all classes, nothing is sampled) or set to the label (`empirical`). `label` is the
    label's term of the exact expectation, mean over x of p(label|x) (d log p(label|x) / d theta_j)^2.
    Gradients are squared sample by sample, so these three do not depend on the batch size. `batch` is the mean over
    batches of the squared gradient of a batch's mean loss, as in many implementations: about the empirical one divided
    by the batch size if gradients are independent with mean 0.

    Parameters
    ----------
    model : gives logits (batch, classes) for a batch of inputs; in evaluation mode meanwhile.
    data : pairs x (batch, ...), y int64 (batch,).

    Returns
    -------
    One non-negative tensor per trainable parameter, with its shape, dtype and device.

    Raises
    ------
    ValueError : there are no samples.
    """
    if kind == "batch":
        return _of_batches(model, data)

    def of_last_layer(inputs: torch.Tensor, logits: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # d log p(y) / d W_kj = (1[y = k] - p_k) a_j for the layer's input a, so the sum over samples is one
        # matrix product, and in the exact case E_y (1[y = k] - p_k)^2 = p_k (1 - p_k)
        p = logits.softmax(dim=1)
        square = p * (1 - p) if kind == "exact" else (p - one_hot(y, p.shape[1])).square()
        if kind == "label":
            square = square * p.gather(1, y[:, None])
        return square.T @ inputs.square(), square.sum(dim=0)

    of_model = {"exact": _exact_sums, "empirical": _empirical_sums, "label": _label_sums}[kind]
    return mean_over_samples(model, data, of_last_layer, of_model)


def _log_p(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    return logits.log_softmax(dim=0).gather(0, label[None])[0]


def _empirical_sums(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> Tensors:
    return power_sums(model, _log_p, x, y, 2)


def _weighted_log_p(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    log_p = _log_p(logits, label)
    return (log_p / 2).exp().detach() * log_p  # so that the square of its gradient is p g^2


def _label_sums(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> Tensors:
    return power_sums(model, _weighted_log_p, x, y, 2)


def _exact_sums(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> Tensors:
    sums: Tensors = {name: torch.zeros_like(parameter) for name, parameter in trainable(model).items()}
    with torch.no_grad():
        possible = model(x).softmax(dim=1).any(dim=0)
    for label in possible.nonzero().flatten().tolist():  # others, such as classes still to come, would add zeros

        def probability(logits: torch.Tensor, label: int = label) -> torch.Tensor:
            return logits.softmax(dim=1)[:, label]

        of_label = power_sums(model, _log_p, x, torch.full_like(y, label), 2, probability)
        for name, value in of_label.items():
            sums[name] += value
    return sums


def _of_batches(model: nn.Module, data: Data) -> Tensors:
    parameters = trainable(model)
    sums: Tensors = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    count = 0
    with evaluating(model):
        for x, y in data:
            loss = cross_entropy(model(x), y)
            gradients = torch.autograd.grad(loss, list(parameters.values()), materialize_grads=True, allow_unused=True)
            for name, value in zip(parameters, gradients, strict=True):
                sums[name] += value.square()
            count += 1
    if count == 0:
        raise ValueError("importance needs at least one sample")
    return {name: value / count for name, value in sums.items()}


class EWC(Strategy, name="ewc"):
    """Elastic Weight Consolidation (Kirkpatrick et al. 2017, PNAS, eq. 3).

    ewc_lambda: the strength of the springs; as the loss is a mean over samples and so is the Fisher
    information, 1 gives a past experience the same weight as the present one. The paper gives no general value; 100 is
    what Hsu et al. (arXiv 1810.12488) found for domain-incremental Split MNIST. Plain SGD becomes unstable
    where learning rate x lambda x largest importance exceeds 2.
    mode: `separate` penalties for all past experiences, or `online`: one at the last weights, where the Fisher
    information of older experiences decays by `gamma` each time (Schwarz et al. 2018, section 4; they multiply the
    whole penalty by gamma once more, which here is left to lambda). gamma: 1 if not given, so that nothing decays (our
    choice).
    fisher: `exact` (expectation over the model's own predictions, as eq. 3 means), `empirical` (labels, cheaper by the
    number of classes if more than the last linear layer trains), `label` (the label's term of the exact expectation:
    the squared gradient times the label's probability, as in Mammoth's online EWC; smaller than both, above all where
    the model is sure of a wrong class), or `batch` (the squared gradient of the mean loss of a batch, as Avalanche
    does: lambda then depends on the batch size).
    fisher_samples: at most this many samples, evenly spaced over the experience; all of them if not given. Worth
    setting if a backbone trains, as an exact estimate then costs a backward pass for each sample and class.
    fisher_batch_size: for `batch`; if not given, the training batch size, as in Avalanche.
    """

    tuned = {"ewc_lambda": ("log", 1.0, 1e4)}

    ewc_lambda: NonNegativeFloat = 100.0
    mode: Literal["separate", "online"] = "separate"
    gamma: Annotated[float, Field(ge=0, le=1)] | None = None
    fisher: Fisher = "exact"
    fisher_samples: PositiveInt | None = None
    fisher_batch_size: PositiveInt | None = None

    @model_validator(mode="after")
    def _only_what_acts(self) -> EWC:
        if self.gamma is not None and self.mode != "online":
            raise ValueError("gamma applies only to mode: online")
        if self.fisher_batch_size is not None and self.fisher != "batch":
            raise ValueError("fisher_batch_size applies only to fisher: batch")
        return self

    def plugins(self, context: Context) -> list[Any]:
        gamma = (1.0 if self.gamma is None else self.gamma) if self.mode == "online" else None
        return [EWCPlugin(self.ewc_lambda, self.fisher, self.fisher_samples, self.fisher_batch_size, gamma)]
