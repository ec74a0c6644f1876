"""Numbers that are not finite: how a run that gave any is found out, and what is said about it.

A score of minus infinity is no fault: it says "never this class", as the closed-form heads say of a class without a
sample. NaN and plus infinity answer nothing, and argmax would make class 0 of the first.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lorisbench.common.errors import reason_of


class Diverged(Exception):
    """A run whose loss, weights, features or answers are no longer finite; the message says which, and when."""


def not_finite(outputs: torch.Tensor) -> torch.Tensor:
    """Which rows of scores or log-probabilities (batch, classes) are no answer, bool (batch,).

    Those with a NaN or plus infinity, and those without a single finite score.
    """
    if not outputs.dtype.is_floating_point:
        return torch.zeros(len(outputs), dtype=torch.bool, device=outputs.device)
    scores = outputs.flatten(1)
    if scores.shape[1] and scores.sum().isfinite():  # as a rule: only finite numbers have a finite sum
        return torch.zeros(len(outputs), dtype=torch.bool, device=outputs.device)
    return scores.isnan().any(dim=1) | scores.isposinf().any(dim=1) | ~scores.isfinite().any(dim=1)


def share_text(bad: torch.Tensor) -> str:
    """What is said of outputs some of which, bool (outputs,), `not_finite`: "25 % of the outputs are not finite"."""
    return f"{100 * float(bad.double().mean()):.3g} % of the outputs are not finite"


def faulty_weights(model: nn.Module) -> str:
    """What is said of a model's parameters that are NaN or plus infinity, or an empty string if none is."""
    named = [(name, p) for name, p in model.named_parameters() if p.dtype.is_floating_point and p.numel()]
    if not named:
        return ""
    # NaN or plus infinity is what the largest element then is; one transfer for all parameters
    largest = torch.stack([parameter.detach().max().double().cpu() for _, parameter in named])
    bad = [
        name for (name, _), value in zip(named, largest.tolist(), strict=True) if value != value or value == torch.inf
    ]
    return f"{len(bad)} of {len(named)} parameters are not finite, the first {bad[0]}" if bad else ""


def check_weights(strategy: Any) -> None:
    """Raise Diverged for parameters of an Avalanche strategy's model that are not finite after it was trained."""
    if fault := faulty_weights(strategy.model):
        raise Diverged(f"{fault} after {trained_place(strategy)}")


def check_outputs(bad: torch.Tensor, strategy: Any) -> None:
    """Raise Diverged, with their share, if outputs of an evaluation, bool (outputs,), are `not_finite`."""
    if bad.any():
        raise Diverged(f"{share_text(bad)} in the evaluation after {trained_place(strategy)}")


def training_place(strategy: Any) -> str:
    """Where the training of an Avalanche strategy is: "experience 1, epoch 0", both counted from 0."""
    return f"experience {strategy.clock.train_exp_counter}, epoch {strategy.clock.train_exp_epochs}"


def trained_place(strategy: Any) -> str:
    """Which experience, and which epoch of it, an Avalanche strategy trained last, both counted from 0."""
    epochs = strategy.clock.train_exp_epochs
    return (
        f"experience {max(0, strategy.clock.train_exp_counter - 1)}, {f'epoch {epochs - 1}' if epochs else 'no epoch'}"
    )


def cause_of(error: Exception, strategy: Any) -> Exception:
    """What training was broken off by: the error itself, or Diverged where numbers were no longer finite by then.

    Methods that solve equations or sort may fail on such numbers before an epoch ends and its loss is looked at.
    """
    if isinstance(error, Diverged):
        return error
    loss = getattr(strategy, "loss", None)
    if isinstance(loss, torch.Tensor | float) and not torch.isfinite(torch.as_tensor(loss)).all():
        fault = "the loss is not finite"
    else:
        fault = faulty_weights(strategy.model)
    return Diverged(f"{fault} in {training_place(strategy)} ({reason_of(error)})") if fault else error
