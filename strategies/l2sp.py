"""L2-SP: all weights are held where they started, each as strongly as the others."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import NonNegativeFloat

from lorisbench.engine.strategy import Context, Strategy
from lorisbench.strategies.parts.gradients import trainable
from lorisbench.strategies.parts.springs import SpringPlugin, weights_now

Anchor = Literal["initial", "previous"]


class L2SPPlugin(SpringPlugin):
    """Adds half alpha * sum of (theta - anchor)^2 to the loss (Li et al. 2018, their first term).

    The anchor is `initial`, the weights before the first experience, from that experience on; or `previous`, the
    weights after the previous experience, so that nothing is held in the first.
    """

    def __init__(self, alpha: float, anchor: Anchor) -> None:
        super().__init__(alpha)
        self.anchor = anchor

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        super().before_training_exp(strategy, **kwargs)
        if self.anchor == "initial" and strategy.clock.train_exp_counter == 0:
            self._hold(strategy)

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        if self.anchor == "previous":
            self._hold(strategy)

    def _hold(self, strategy: Any) -> None:
        self.centre = weights_now(strategy.model)
        # one number stands for all, so that only the anchor needs memory
        self.importance = {name: p.new_ones(()).expand(p.shape) for name, p in trainable(strategy.model).items()}


class L2SP(Strategy, name="l2sp"):
    """L2-SP (Li, Grandvalet & Davoine 2018): weight decay towards a starting point instead of 0.

    The paper holds a pretrained network while it is tuned for one task (alpha / 2 times the squared distance) and lets
    a new head decay to 0 with a second term. Here there is one term for all trainable weights, the head included.

    anchor: `previous`, the weights after the previous experience (nothing is held in the first), or `initial`, those
    the run began with, the paper's starting point, from the first experience on (meant for a backbone that trains: a
    head is then held near its random start). alpha: its strength; 0.3 is our choice on the validation splits of
    OpenLORIS-Sim's sequence (frozen EfficientNet-Lite0, Adam 0.003, `previous`; best of 0.1, 0.3, 1 with seeds
    100-102).
    """

    tuned = {"alpha": ("log", 0.01, 10.0)}

    alpha: NonNegativeFloat = 0.3
    anchor: Literal["initial", "previous"] = "previous"

    @property
    def tuned_from(self) -> int:  # type: ignore[override]
        return 1 if self.anchor == "initial" else 2

    def plugins(self, context: Context) -> list[Any]:
        return [L2SPPlugin(self.alpha, self.anchor)]
