"""How experiences are trained: the settings below `training`, and presets that stand for several of them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from lorisbench.common.registry import nearest
from lorisbench.suite.parsing import Settings


class LaterConfig(Settings):
    """Training settings for experiences after the first; what is not given stays as in `training`."""

    epochs: int | None = Field(None, ge=1)
    lr: float | None = Field(None, gt=0)
    warmup: int | None = Field(None, ge=0)
    milestones: list[int] | None = None


class AugmentConfig(Settings):
    """`views` fixed augmented versions of each training image; an epoch draws either the original or one of them.

    A version is a random crop of at least the share `crop` of the area, scaled back, mirrored half the time (`flip`),
    with brightness, contrast and saturation scaled by 1 ± the value. `experiences` says whose training images are
    augmented, those of the `first` (Ma et al. 2019, slides: "more data augmentation" for head 1; the kinds and
    strengths are ours) or of `all`. `seed` draws the versions, which all runs share; the run's own seed draws which of
    them an epoch sees.
    """

    views: int = Field(4, ge=1, le=64)
    experiences: Literal["first", "all"] = "first"
    crop: float = Field(0.5, gt=0, le=1)
    flip: bool = True
    brightness: float = Field(0.2, ge=0, le=1)
    contrast: float = Field(0.2, ge=0, le=1)
    saturation: float = Field(0.2, ge=0, le=1)
    seed: int = Field(0, ge=0)


def _whole(number: Any) -> Any:
    """A whole number that YAML takes for text, such as 2e10; anything else is returned unchanged."""
    with contextlib.suppress(ValueError):
        if isinstance(number, str) and "e" in number.lower() and float(number).is_integer():
            return int(float(number))
    return number


class BudgetConfig(Settings):
    """How much training each experience gets, in place of epochs: one of three, the same for all strategies.

    `iterations`: training steps. `samples`: those in them, replayed and generated ones included. `flops`: operations of
    all that a strategy does for an experience, see `lorisbench.engine.flops`. (Computationally budgeted continual
    learning: Prabhu et al. 2023, arXiv 2303.11165.)
    """

    iterations: int | None = Field(None, ge=1)
    samples: int | None = Field(None, ge=1)
    flops: int | None = Field(None, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _of_numbers(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise ValueError("expected one of iterations, samples and flops with a number, as in {iterations: 200}")
        for key, number in value.items():
            if isinstance(number, bool) and key in cls.model_fields:
                raise ValueError(f"{key}: expected a whole number from 1, not {str(number).lower()}")
        return {key: _whole(number) for key, number in value.items()}

    @model_validator(mode="after")
    def _only_one(self) -> BudgetConfig:
        given = [key for key in BudgetConfig.model_fields if getattr(self, key) is not None]
        if len(given) != 1:
            told = f"not {' and '.join(given)}" if given else "and none is given"
            raise ValueError(f"one of iterations, samples and flops was expected, {told}")
        return self

    @property
    def given(self) -> tuple[str, int]:
        """What is counted, and how much of it there is."""
        return next((key, number) for key, number in self if number is not None)


PRESETS: dict[str, dict[str, Any]] = {
    # "Adam, base lr=0.003 @[50, 90, 120], inc lr=0.003 @[50, 90]" (Ma et al. 2019, caption). The epochs are ours, 30
    # after the last milestone; batch size and the factor at a milestone are not stated either and keep their defaults
    "hik2019": {
        "optimizer": "adam",
        "lr": 0.003,
        "milestones": [50, 90, 120],
        "epochs": 150,
        "later": {"lr": 0.003, "milestones": [50, 90], "epochs": 120},
    },
    # Buzzega et al. 2020 on permuted and rotated MNIST: one pass by plain gradient descent; rates differ by method
    # (0.2, 0.1 or 0.01, Mammoth e75a491, `utils/best_args.py`), so that each entry has its own `training: {lr: …}`
    "der2020": {"optimizer": "sgd", "lr": 0.1, "momentum": 0.0, "weight_decay": 0.0, "epochs": 1, "batch_size": 128},
}


def preset_as_mapping(training: Any) -> Any:
    """`training: hik2019` as `{preset: hik2019}`; anything else is returned unchanged."""
    return {"preset": training} if isinstance(training, str) else training


def expand_preset(training: Any) -> Any:
    """`training: hik2019`, or `{preset: hik2019, ...}` whose other keys take precedence, with the preset's values.

    Anything else is returned unchanged. Raises ValueError for an unknown preset.
    """
    given = preset_as_mapping(training)
    if not isinstance(given, Mapping) or "preset" not in given:
        return training
    own = {key: value for key, value in given.items() if key != "preset"}
    if given["preset"] is None:
        return own
    name = str(given["preset"])
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}{nearest(name, PRESETS)}")
    return merged(PRESETS[name], own)


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `changes`; where both hold a mapping, the two are merged, but for a `budget`."""
    both = {key for key in changes if isinstance(changes[key], Mapping) and isinstance(base.get(key), Mapping)}
    both -= {"budget"}  # of samples in place of one of iterations
    return {**base, **changes, **{key: {**base[key], **changes[key]} for key in both}}


def differing(values: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the values that differ from `shared` or are not in it; where both hold a mapping, those of its keys."""
    found = {}
    for key, value in values.items():
        other = shared.get(key)
        if value != other:
            nested = isinstance(value, Mapping) and isinstance(other, Mapping)
            found[key] = differing(value, other) if nested else value  # type: ignore[arg-type]
    return found


def given_of(values: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the values whose keys are in `given`; where both hold a mapping, those of its keys."""
    return {
        key: given_of(values[key], given[key])
        if isinstance(values[key], Mapping) and isinstance(given[key], Mapping)
        else values[key]
        for key in given
    }


class TrainingConfig(Settings):
    """How each experience is trained; lr is scaled at each milestone (epoch).

    `reset_optimizer`: the optimizer forgets, with each experience, what it has gathered (moments, steps): what Adam has
    learned of the gradients of one domain says nothing of the next. Avalanche's scripts keep it (`false`).

    In the first `warmup` epochs of an experience the learning rate rises to `lr` in equal steps, the first of which is
    `lr / warmup` (gradual warmup: Goyal et al. 2017, arXiv 1706.02677, section 2.2; ours rises by epochs). It cannot
    be had with a `budget`, which counts no epochs.

    Where `later` sets `epochs`, `lr`, `warmup` or `milestones`, those here are for the first experience only: for more
    batches for the first head, set `epochs: 30, later: {epochs: 10}`. `preset: hik2019` stands for the method's own
    values (see `PRESETS`).

    `online: true` is one pass over each experience: every image is trained on once. `stream` says in which order an
    epoch takes the images: shuffled (`iid`), or as a robot sees them (`instance`, as in Hayes and Kanan 2022): all
    frames of one recording of one object, in their order, then the next.

    With a `budget` an experience is trained on until that is used up, whatever `epochs` says; milestones come at the
    share of it that they are of `epochs`.

    `amp: bf16` computes the forward passes of training steps, and so the backward ones, in bfloat16 where torch's
    autocast does; weights, losses and evaluations stay in float32. `compile: true` compiles a backbone that is trained
    by `torch.compile`, which takes a minute or more at the first step and needs a C++ compiler. Both change numbers
    within rounding.
    """

    epochs: int = Field(10, ge=1)
    batch_size: int = Field(32, ge=1)
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float = Field(0.003, gt=0)
    warmup: int = Field(0, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    milestones: list[int] = []
    milestone_factor: float = Field(0.1, gt=0)
    later: LaterConfig = LaterConfig()
    augment: AugmentConfig | None = None
    online: bool = False
    reset_optimizer: bool = True
    stream: Literal["iid", "instance"] = "iid"
    budget: BudgetConfig | None = None
    amp: Literal["bf16"] | None = None
    compile: bool = False

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, value: Any) -> Any:
        value = expand_preset(value)
        if isinstance(value, Mapping) and value.get("online") is True and "epochs" not in value:
            return {**value, "epochs": 1}
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> TrainingConfig:
        if self.budget is not None and (self.warmup or self.later.warmup):
            raise ValueError("warmup is counted in epochs, and a budget counts none: give one only")
        if self.online and self.budget is not None:
            raise ValueError("online is one pass over each experience, and a budget may be more or less: give one only")
        if self.online:
            for key, epochs in (("epochs", self.epochs), ("later.epochs", self.later.epochs)):
                if epochs not in (1, None):
                    raise ValueError(f"online is one pass over each experience, so {key} must be 1, not {epochs}")
        return self
