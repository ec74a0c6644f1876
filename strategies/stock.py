"""Avalanche's own EWC, LwF and SI as they are, faults included, to compare our and others' results with.

In one file, as each class holds only settings and remarks: the methods are Avalanche 0.6.0's plugins, unchanged.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from avalanche.training.plugins import EWCPlugin, LwFPlugin, SynapticIntelligencePlugin
from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from lorisbench.engine.strategy import Context, Strategy


class EWCAvalanche(Strategy, name="ewc-avalanche"):
    """EWC as Avalanche 0.6.0 has it: importance depends on the batch size, frozen weights are kept too.

    It squares the gradient of the mean loss of a batch (labels, the training batch size), so that ewc_lambda is
    comparable neither between batch sizes nor with papers; its penalty lacks the half of Kirkpatrick et al. (2017,
    eq. 3); `separate` keeps two copies of all weights, frozen ones too, for each experience. `ewc` with `fisher: batch`
    and twice the lambda computes the same.

    ewc_lambda: required in Avalanche; 1 here (our choice). mode, decay_factor: as there; `online` needs the factor.
    """

    state_growth = "experiences"

    ewc_lambda: NonNegativeFloat = 1.0
    mode: Literal["separate", "online"] = "separate"
    decay_factor: float | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _factor_of_online(self) -> Self:
        if (self.decay_factor is None) == (self.mode == "online"):
            raise ValueError("decay_factor is required with mode: online, and allowed only there")
        return self

    def remarks(self) -> list[str]:
        return ["Avalanche's own: its importance, squared gradients of batch means, depends on the batch size"]

    def plugins(self, context: Context) -> list[Any]:
        return [EWCPlugin(self.ewc_lambda, self.mode, self.decay_factor)]


class LwFAvalanche(Strategy, name="lwf-avalanche"):
    """LwF as Avalanche 0.6.0 has it: the teacher stays in training mode, no T^2.

    In training mode the teacher's batch-norm statistics move while it teaches and its dropout acts; with a frozen
    backbone and a linear head there is neither. Without the factor T^2 of `lwf`, alpha here is alpha * T^2 there.

    alpha, temperature: the defaults of Avalanche's plugin.
    """

    alpha: NonNegativeFloat = 1.0
    temperature: PositiveFloat = 2.0

    def remarks(self) -> list[str]:
        return ["Avalanche's own: its teacher stays in training mode, and the distillation loss has no factor T^2"]

    def plugins(self, context: Context) -> list[Any]:
        return [LwFPlugin(self.alpha, self.temperature)]


class SIAvalanche(Strategy, name="si-avalanche"):
    """SI as Avalanche 0.6.0 has it: on the CPU it does nothing, as all its importances are 0.

    There the "old" weights it keeps are views of the live ones, so that no step is seen; on a GPU they are copies, and
    it works, with importance clamped at 0.001 from above and not at 0 from below, and the gradient of the penalty in
    the path.

    si_lambda: required in Avalanche; 1 here (our choice). eps: the default of Avalanche's plugin.
    """

    si_lambda: NonNegativeFloat = 1.0
    eps: PositiveFloat = 1e-7

    def remarks(self) -> list[str]:
        return ["Avalanche's own: on the CPU it equals naive, as its importances stay 0"]

    def plugins(self, context: Context) -> list[Any]:
        return [SynapticIntelligencePlugin(self.si_lambda, self.eps)]
