"""The base class of every strategy and the context that a run hands to it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from lorisbench.common.component import Component
from lorisbench.common.errors import InputError
from lorisbench.common.registry import STRATEGIES, nearest
from lorisbench.suite.entries import settings_of, written_out

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import nn


Range = (
    tuple[Literal["log"], float, float] | tuple[Literal["linear"], float, float] | tuple[Literal["choice"], list[Any]]
)
"""Where `lorisbench tune` searches: between two numbers, linearly or logarithmically, or among listed values."""
Growth = Literal["constant", "experiences", "samples"]
GROWTHS: tuple[Growth, ...] = get_args(Growth)  # from least to most


_METHODS = {
    "plugins": ("context",),
    "wrap": ("model", "context"),
    "build": ("context",),
    "replay_limit": (),
    "remarks": (),
}


@dataclass
class Context:
    """What a strategy may know about the run it is built for.

    Attributes
    ----------
    model : a `lorisbench.model.models.Classifier` (`backbone` or None, `head`). With a frozen backbone and cached
        features `backbone` is None and inputs are features, float32 of shape (batch, feature_dim); otherwise inputs are
        uint8 images of shape (batch, 3, size, size), which the model normalises itself. With `head.per_task` it is
        a `lorisbench.model.task_heads.TaskClassifier`, whose inputs carry the task label in one more column or channel;
        with `head.grow` a `lorisbench.model.growing.GrowingClassifier`.
    new_head : makes a freshly initialised head, (batch, feature_dim) -> (batch, num_classes) logits; with
        `head.per_task` its input has one more column, the task label.
    num_classes, feature_dim : sizes of the head.
    experiences : number of training experiences in the stream.
    device : where the run trains.
    seed : seed of the run.
    engine : `engine(model, plugins)` builds the harness's own Avalanche strategy around a model and plugins.
    arguments : `arguments(model)` gives, by name, what every strategy of Avalanche takes, for `build`: model,
        optimizer, train_mb_size, train_epochs, eval_mb_size, device, evaluator, and plugins, a new list with the one
        that sets epochs and learning rate of each experience. All is as the run's settings say.
    rows : after which experiences the model is tested: `all`, or the `last` alone. For a strategy in a stack always
        `all`, as the others of it may need what it does before.
    """

    model: nn.Module
    new_head: Callable[[], nn.Module]
    num_classes: int
    feature_dim: int
    experiences: int
    device: torch.device
    seed: int
    engine: Callable[[nn.Module, list[Any]], Any]
    arguments: Callable[[nn.Module], dict[str, Any]]
    rows: Literal["all", "last"] = "all"


class Strategy(Component):
    """A continual-learning method: typed settings plus the Avalanche plugins they make.

    Subclass with a name, `class LwF(Strategy, name="lwf")`, annotate the settings as fields, and return fresh
    Avalanche plugins from `plugins`. Fields become YAML keys, `--set` overrides and `lorisbench ls --json`.

    A plugin may expose attributes that the harness reads: `replay_samples` (how many samples of earlier experiences it
    holds), `owns_samples` (True if they are tensors among its attributes, whose bytes are counted there, rather than
    parts of the stream's data), `moving` (names of attributes holding modules that it changes on purpose during an
    experience, such as a teacher that is a moving average of the weights; `lorisbench check` expects all others to stay
    frozen), `answers_unchanged` (True if its evaluation hooks only watch and change no answer; a run with a plugin that
    has such hooks but does not declare this cannot be exported) and `tables` (a dict from names of lower-case letters,
    digits and underscores to lists of flat dicts; each non-empty list is written whole to <name>.csv in the run's
    folder, and the rows of plugins that share a name follow one another; all are shown in the report) and `table_plots`
    (how the report plots some of them: a dict from a table's name to {"x": column, "y": column, "by": column}).
    """

    registry: ClassVar = STRATEGIES
    deterministic: ClassVar[bool] = False
    """Whether, on given features, neither what it learns nor what it answers depends on the run's seed, nor on the
    order of the images within an experience. One run then stands for all seeds, and the report says so."""
    # The six below are read from an instance: a stack's depend on what is in it
    needs_task_labels: ClassVar[bool] = False
    """Whether it needs task labels while training or testing; refused on a stream that has only one."""
    task_heads: ClassVar[bool] = True
    """Whether it works with an output layer for each task label. If not (it answers in another way, or makes inputs of
    its own, which have no label), it is refused with `head.per_task`."""
    growing_heads: ClassVar[bool] = True
    """Whether it works with outputs that open as their classes arrive. If not (its answers are not an output layer's,
    or it compares logits of different times), it is refused with `head.grow`."""
    needs_epochs: ClassVar[str] = ""
    """Why it has to train on an image more than once, if it does; it is then refused with `training.online`."""
    without_steps: ClassVar[str] = ""
    """How it learns, if not in training steps; it is then refused with `training.budget`, which counts these."""
    state_growth: ClassVar[Growth] = "constant"
    """What state and model may grow with after the second experience: nothing, experiences, or samples."""
    tuned: ClassVar[Mapping[str, Range]] = {}
    """The settings that `lorisbench tune` chooses, with their ranges; without any, it is left as the suite has it."""
    tuned_from: ClassVar[int] = 2
    """The fewest experiences in which what is tuned can change anything: 1 if it acts in the first already."""
    transductive: ClassVar[Mapping[str, list[Any]]] = {}
    """Values of settings with which an answer depends on the images tested together, as `{"answer": ["batch"]}`. They
    are marked in `lorisbench ls`, and a remark then begins with "transductive"."""
    conflicts: ClassVar[Mapping[str, str]] = {}
    """Names of strategies that it cannot be stacked with, and why not; only one of the two needs to say so."""

    @classmethod
    def __pydantic_init_subclass__(cls, *, name: str | None = None, **kwargs: Any) -> None:
        if isinstance(cls.state_growth, str) and cls.state_growth not in GROWTHS:  # a stack's is a property
            raise InputError(f"{cls.__name__}: state_growth {cls.state_growth!r}{nearest(cls.state_growth, GROWTHS)}")
        for taken in ("strategy", "training"):  # keys of a suite's entry: such a setting could never be set
            if taken in cls.model_fields:
                raise InputError(
                    f"{cls.__name__}: a setting cannot be called {taken!r}: a suite's entry already has that key"
                )
        for method, arguments in _METHODS.items():
            _check_method(cls, method, arguments)
        super().__pydantic_init_subclass__(name=name, **kwargs)

    def replay_limit(self) -> int | None:
        """The most samples from earlier experiences that it ever keeps, in whatever form; None: all of them."""
        return 0

    def remarks(self) -> list[str]:
        """What a reader must know before comparing results, such as "transductive: …"; a footnote in every table.

        A strategy with a remark is never set in bold as the best, nor named as such.
        """
        return []

    def wrap(self, model: nn.Module, context: Context) -> nn.Module:
        """The module to train; override to add heads or other parts around `model`.

        A module with several heads may tell which of them answered each image of a minibatch: `answered_by`, integers
        (batch,), -1 for none, set by its forward pass in evaluation mode. It is kept as `head` beside the predictions.

        If its answers depend on more than each image itself, such as a task label or the rest of the batch, it should
        have a method `not_exportable()` that returns the reason as text, or None, for `lorisbench export`.
        """
        return model

    def plugins(self, context: Context) -> list[Any]:
        """Fresh Avalanche plugins for one run (never shared between runs).

        One that needs the optimizer, or the model as `wrap` returns it, is given as a function that makes it from both:
        `lambda model, optimizer: LRSchedulerPlugin(StepLR(optimizer, 5))`.
        """
        return []

    def build(self, context: Context) -> Any:
        """The Avalanche strategy for one run; override only if the method cannot be written as plugins.

        One of Avalanche's own is `ER_ACE(**context.arguments(self.wrap(context.model, context)), mem_size=200)`. It
        loads samples one by one, and so takes longer; `training.augment`, `training.budget` and
        `training.stream: instance` are refused.
        """
        return context.engine(self.wrap(context.model, context), self.plugins(context))


def _check_method(kind: type, name: str, arguments: tuple[str, ...]) -> None:
    """Raise InputError for a method of a strategy's own class that cannot be called with these arguments."""
    method = vars(kind).get(name)
    if inspect.isfunction(method):
        try:
            inspect.signature(method).bind(None, *arguments)
        except TypeError:
            wanted = ", ".join(("self", *arguments))
            raise InputError(
                f"{kind.__name__}.{name}{inspect.signature(method)}: expected def {name}({wanted})"
            ) from None


def entry_from(given: Mapping[str, Any] | Strategy | type[Strategy]) -> dict[str, Any]:
    """A strategy's entry from settings in any form of a suite, a class, or an instance, with all values written out.

    Raises InputError for anything else, and for a class without a name.
    """
    if isinstance(given, Mapping):
        return dict(written_out(given))
    kind = given if isinstance(given, type) else type(given)
    if not issubclass(kind, Strategy):
        raise InputError(f"{kind.__name__} is not a Strategy: give a name, settings, or a class or instance of one")
    if not kind.name:
        raise InputError(f'{kind.__name__} has no name: class {kind.__name__}(Strategy, name="...")')
    return settings_of(given) if isinstance(given, Strategy) else {"strategy": kind.name}
