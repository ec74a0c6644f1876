"""Memory Aware Synapses: weights that the outputs are sensitive to are held by springs."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import NonNegativeFloat
from torch import nn

from lorisbench.engine.strategy import Context, Strategy
from lorisbench.strategies.parts.data import batches
from lorisbench.strategies.parts.gradients import Data, Tensors, mean_over_samples, power_sums
from lorisbench.strategies.parts.springs import SpringPlugin, weights_now


class MASPlugin(SpringPlugin):
    """Adds lambda * sum of Omega (theta - theta_last)^2 to the loss (Aljundi et al. 2018, section 4; no half).

    After each experience its importance, from one pass over its data without their labels, is added to Omega, as in
    the authors' code (`accumelate_reg_params`).

    Attributes
    ----------
    importance, centre : Omega and theta_last, by parameter name.
    """

    def __init__(self, mas_lambda: float) -> None:
        super().__init__(2 * mas_lambda)

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        present = output_sensitivity(strategy.model, batches(strategy, strategy.experience.dataset.eval()))
        for name, value in present.items():
            self.importance[name] = self.importance[name] + value if name in self.importance else value
        self.centre = weights_now(strategy.model)


def output_sensitivity(model: nn.Module, data: Data) -> Tensors:
    """Mean over samples of |d ||f(x)||^2 / d theta|, f the logits: the magnitude of each sample's own gradient.

    For a last linear layer, f = W a + b, it is 2 |f_k| |a_j| for W_kj and 2 |f_k| for b_k.

    Parameters
    ----------
    model : gives logits (batch, classes) for a batch of inputs; in evaluation mode meanwhile.
    data : pairs x (batch, ...), y int64 (batch,); the labels are not used.

    Returns
    -------
    One non-negative tensor per trainable parameter, with its shape, dtype and device.

    Raises
    ------
    ValueError : there are no samples.
    """
    return mean_over_samples(model, data, _of_last_layer, _of_model)


def _of_last_layer(inputs: torch.Tensor, logits: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    size = 2 * logits.abs()
    return size.T @ inputs.abs(), size.sum(dim=0)


def _of_model(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> Tensors:
    return power_sums(model, lambda logits, label: logits.square().sum(), x, y, 1)


class MAS(Strategy, name="mas"):
    """Memory Aware Synapses (Aljundi et al. 2018): importance from how much outputs depend on a weight, label-free.

    mas_lambda: the strength of the springs; a good value depends on the scale of features and logits. 10,000 is what
    Hsu et al. (arXiv 1810.12488) found for domain-incremental Split MNIST; 0.003 is our choice on the validation splits
    of OpenLORIS-Sim's sequence (frozen EfficientNet-Lite0, Adam 0.003; best of 0.0003, 0.001, 0.003, 0.01 with seeds
    100-102).
    """

    tuned = {"mas_lambda": ("log", 1e-5, 1.0)}

    mas_lambda: NonNegativeFloat = 0.003

    def plugins(self, context: Context) -> list[Any]:
        return [MASPlugin(self.mas_lambda)]
