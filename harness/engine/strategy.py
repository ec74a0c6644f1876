"""The base class of every strategy and the context that a run hands to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from lorisbench.common.component import Component
from lorisbench.common.errors import InputError
from lorisbench.common.registry import STRATEGIES, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch
    from torch import nn


Range = (
    tuple[Literal["log"], float, float] | tuple[Literal["linear"], float, float] | tuple[Literal["choice"], list[Any]]
)
"""Where `lorisbench tune` looks: from the first to the last number, evenly or evenly in the logarithm, or these."""
Growth = Literal["constant", "experiences", "samples"]
GROWTHS: tuple[Growth, ...] = get_args(Growth)  # from the least to the most


@dataclass
class Context:
    """What a strategy may know of the run it is built for.

    Attributes
    ----------
    model : a `lorisbench.model.models.Classifier` (`backbone` or None, `head`). With a frozen backbone and cached
        features `backbone` is None and inputs are features, float32 of shape (batch, feature_dim); otherwise inputs are
        uint8 images of shape (batch, 3, size, size), which the model normalises itself. With `head.per_task` it is
        a `lorisbench.model.task_heads.TaskClassifier`, whose inputs carry the task label in one more column or channel.
    new_head : makes a freshly initialised head, (batch, feature_dim) -> (batch, num_classes) logits; one column more
        goes in, the task label, with `head.per_task`.
    num_classes, feature_dim : sizes of the head.
    experiences : number of training experiences in the stream.
    device : where the run trains.
    seed : seed of the run.
    engine : `engine(model, plugins)` builds the harness's own Avalanche strategy around a model and plugins.
    """

    model: nn.Module
    new_head: Callable[[], nn.Module]
    num_classes: int
    feature_dim: int
    experiences: int
    device: torch.device
    seed: int
    engine: Callable[[nn.Module, list[Any]], Any]


class Strategy(Component):
    """A continual-learning method: typed settings plus the Avalanche plugins they make.

    Subclass with a name, `class LwF(Strategy, name="lwf")`, annotate the settings as fields, and return fresh
    Avalanche plugins from `plugins`. Fields become YAML keys, `--set` overrides and `lorisbench ls --json`.

    A plugin may expose attributes that the harness reads: `replay_samples` (how many samples of earlier experiences it
    holds), `owns_samples` (True where they are tensors among its attributes, whose bytes are counted there, and not
    parts of the stream's data), `moving` (names of its attributes with modules that it changes on purpose while an
    experience is trained, such as a teacher that is a moving average of the weights; `lorisbench check` holds all
    others to be frozen), `answers_unchanged` (True where it has hooks of the evaluation only to watch it and changes
    no answer; a run with a plugin that has such hooks, and does not say this, cannot be exported) and `tables` (a dict
    from a name of lower-case letters, digits and underscores to a list of flat dicts; each list that is not empty is
    written to <name>.csv in the run's folder, whole, with the rows of plugins that share a name one after the other).
    """

    registry: ClassVar = STRATEGIES
    # The three below are read from an instance: a stack's depend on what is in it
    needs_task_labels: ClassVar[bool] = False
    """Whether it needs task labels while training or testing; refused on a stream that has only one."""
    task_heads: ClassVar[bool] = True
    """Whether it works with an output layer for each task label; refused with `head.per_task` if it answers otherwise,
    or makes inputs of its own, to which no label belongs."""
    state_growth: ClassVar[Growth] = "constant"
    """What state and model may grow with after the second experience: nothing, experiences, or samples."""
    tuned: ClassVar[Mapping[str, Range]] = {}
    """The settings that `lorisbench tune` chooses, and from what; without any it is left as the suite has it."""
    conflicts: ClassVar[Mapping[str, str]] = {}
    """Names of strategies that it cannot be stacked with, and why not; one of the two says so."""

    @classmethod
    def __pydantic_init_subclass__(cls, *, name: str | None = None, **kwargs: Any) -> None:
        if isinstance(cls.state_growth, str) and cls.state_growth not in GROWTHS:  # a stack's is a property
            raise InputError(f"{cls.__name__}: state_growth {cls.state_growth!r}{nearest(cls.state_growth, GROWTHS)}")
        for taken in ("strategy", "training"):  # keys of an entry in a suite: such a setting could never be given
            if taken in cls.model_fields:
                raise InputError(
                    f"{cls.__name__}: a setting cannot be called {taken!r}, which a suite's entry has already"
                )
        super().__pydantic_init_subclass__(name=name, **kwargs)

    def replay_limit(self) -> int | None:
        """The most samples of earlier experiences that it ever keeps, in whatever form; None: all of them."""
        return 0

    def remarks(self) -> list[str]:
        """What a reader must know before comparing, such as "transductive: …"; a footnote in every table.

        A strategy with a remark is never set in bold as the best, nor named as such.
        """
        return []

    def wrap(self, model: nn.Module, context: Context) -> nn.Module:
        """The module to train; override to add heads or other parts around `model`.

        Where its answers depend on more than the images that it is given, such as a task label or the rest of the
        batch, it should have a method `not_exportable()` that returns the reason as text, or None, for
        `lorisbench export`.
        """
        return model

    def plugins(self, context: Context) -> list[Any]:
        """Fresh Avalanche plugins for one run (never shared between runs)."""
        return []

    def build(self, context: Context) -> Any:
        """The Avalanche strategy for one run; override only if the method cannot be written as plugins."""
        return context.engine(self.wrap(context.model, context), self.plugins(context))
