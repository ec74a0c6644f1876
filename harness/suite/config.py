"""The suite file: its typed form, and where it is found."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, ValidationInfo, field_validator, model_validator

from lorisbench.common.errors import InputError
from lorisbench.common.registry import BENCHMARKS, nearest, select
from lorisbench.common.yaml_files import read_yaml
from lorisbench.suite import shipped as suites
from lorisbench.suite.entries import by_label, written_out
from lorisbench.suite.orders import LARGEST
from lorisbench.suite.parsing import Settings
from lorisbench.suite.schema import without_schema
from lorisbench.suite.training import TrainingConfig, expand_preset, preset_as_mapping

PIXELS = "pixels"
FEWEST_CALLS = 3  # timed with batches of any size
PIXEL_MEAN, PIXEL_STD = 0.1000, 0.2752  # see `BackboneConfig`


class BackboneConfig(Settings):
    """The shared convolutional layers. `cache: false` runs a frozen backbone on each batch (slow; same up to rounding).

    `norm: group` replaces each BatchNorm with a GroupNorm (Ma et al. 2019, poster and slides) of up to `norm_groups`
    groups (our choice, see `norms.groups_of`), whose weight and bias stand for the running statistics of a pretrained
    network as far as they can (see `norms.batch_to_group`). It is meant for `train: first` or `always`: with `never`
    the features are poor.

    `runtime: onnxruntime` has features extracted by onnxruntime in place of PyTorch, on a CPU; `lorisbench bench
    extraction` tells what that gains. Their last bits differ, so they are kept apart in the cache; where they differ by
    more than 10^-4 of the largest feature, it is refused. It needs the extra `onnx`.

    `mean` and `std` are for `pixels`, in the unit of values in 0..1: of each pixel the mean is taken away, and what is
    left is divided by the standard deviation. `mean: 0, std: 1` leaves pixels as they are. Without them they are those
    that Hsu et al. have for MNIST with a black border of 2 (their `dataloaders/base.py`).

    A stream whose benchmark gives features has `name: none`, whatever the suite says.
    """

    name: str = "efficientnet-lite0"
    weights: Literal["imagenet", "none"] = "imagenet"
    train: Literal["never", "first", "always"] = "never"
    image_size: int = Field(128, ge=16, le=1024)
    cache: bool = True
    norm: Literal["batch", "group"] = "batch"
    norm_groups: int = Field(32, ge=1)
    runtime: Literal["torch", "onnxruntime"] = "torch"
    mean: float | None = Field(None, ge=0, le=1)
    std: float | None = Field(None, gt=0, le=1)

    @model_validator(mode="after")
    def _scaled_pixels(self) -> BackboneConfig:
        for key in ("mean", "std"):
            if getattr(self, key) is not None and self.name != PIXELS:
                raise ValueError(f"{key}: only for backbone.name: {PIXELS}; {self.name!r} brings its own")
        return self

    @model_validator(mode="after")
    def _extracted_by(self) -> BackboneConfig:
        if self.runtime == "torch":
            return self
        if self.name == PIXELS:
            raise ValueError(f"runtime: {PIXELS!r} is no network that anything could run")
        if not self.on_features:
            raise ValueError("runtime: only where features are extracted once, not with train: always or cache: false")
        return self

    @property
    def scale(self) -> tuple[float, float]:
        """Mean and standard deviation by which `pixels` are scaled, for values in 0..1."""
        return PIXEL_MEAN if self.mean is None else self.mean, PIXEL_STD if self.std is None else self.std

    @property
    def on_features(self) -> bool:
        """Whether runs train on features that are extracted once."""
        return self.train != "always" and self.cache

    @property
    def same_features(self) -> bool:
        """Whether they are those of the pretrained backbone, so that all runs of a stream train on the same."""
        return self.train == "never" and self.cache


NO_BACKBONE = BackboneConfig(name="none", weights="none")
"""The backbone of a stream whose features are given, in place of whatever a suite says of it."""


class HeadConfig(Settings):
    """The classifier on top: linear, or an MLP with these hidden widths.

    `init` draws its weights: `pytorch`, the default of its layers, or `xavier`: uniform as Glorot and Bengio (2010)
    have it, with biases of 0.

    `per_task: true` gives each task label of the stream an output layer over the classes of that task alone, chosen by
    the image's task label in training and testing (task-incremental learning; the hidden layers are shared).
    `grow: true` masks the outputs of classes that no experience has shown so far, in training and testing
    (class-incremental learning); otherwise all outputs take part from the start.
    """

    hidden: list[PositiveInt] = []
    init: Literal["pytorch", "xavier"] = "pytorch"
    per_task: bool = False
    grow: bool = False

    @model_validator(mode="after")
    def _one_kind(self) -> HeadConfig:
        if self.per_task and self.grow:
            raise ValueError("per_task and grow exclude each other: each output layer has its task's classes alone")
        return self


class EvaluationConfig(Settings):
    """The split that fills the accuracy matrix: `test`, or `validation` while settings are being chosen.

    `rows: last` fills its last row alone, after all training: metrics that need another one are empty, and a strategy
    that starts afresh in each experience (joint) trains in the last one only, with the same numbers.

    `scores: true` keeps the probability of each class for each image, too, after each experience that is tested.

    `every: N` also measures every N training steps, on the experiences trained so far, and once before training, on
    all: how accuracies move within an experience. It changes no result and counts in no cost.
    """

    split: Literal["test", "validation"] = "test"
    rows: Literal["all", "last"] = "all"
    scores: bool = False
    every: int | None = Field(None, ge=1)


class LatencyConfig(Settings):
    """Timed forward passes on images of the data set, after `warmup`, alternating with the bare backbone.

    `batch`: one size or several; `calls` and `warmup` are those of the smallest.
    """

    calls: int = Field(100, ge=1)
    warmup: int = Field(10, ge=0)
    batch: Annotated[list[PositiveInt], Field(min_length=1)] = [1, 32]
    threads: int = Field(1, ge=1)
    enabled: bool = True

    @field_validator("batch", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return value if isinstance(value, list) else [value]

    @field_validator("batch")
    @classmethod
    def _ascending(cls, value: list[int]) -> list[int]:
        return sorted(set(value))

    def calls_of(self, size: int) -> int:
        """Timed calls with batches of this size: over as many images as at the smallest, but at least FEWEST_CALLS."""
        return min(self.calls, max(FEWEST_CALLS, self.calls * self.batch[0] // size))

    def warmup_of(self, size: int) -> int:
        """Calls before those that are timed: over as many images as at the smallest size, but at least one."""
        return min(self.warmup, max(1, self.warmup * self.batch[0] // size))


class StreamConfig(Settings):
    """What a stream has of its own: the keys given here take precedence over those of the suite.

    `strategies` holds, by label, settings of strategies that differ on this stream, `training` among them.
    """

    training: dict[str, Any] = {}
    backbone: dict[str, Any] = {}
    head: dict[str, Any] = {}
    strategies: dict[str, dict[str, Any]] = {}

    @field_validator("strategies", mode="before")
    @classmethod
    def _write_out(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return {} if value is None else value
        return {str(label): {} if own is None else written_out(own) for label, own in value.items()}

    @field_validator("training", mode="before")
    @classmethod
    def _expand(cls, value: Any) -> Any:
        return expand_preset(preset_as_mapping(value))

    @field_validator("training", "backbone", "head", mode="before")
    @classmethod
    def _nothing(cls, value: Any) -> Any:
        return {} if value is None else value


class SuiteSettings(Settings):
    """The settings of a suite, in the order of suite.yaml, whether or not its components have been made.

    Either `benchmark` gives the only stream, or `benchmarks` several by name; `streams` what one of them has of its
    own. `orders` numbers the orders in which the experiences come (see `suite.orders`): the numbers, or how many.

    `keep_state` keeps what each run knew at its end, so that `lorisbench learn` goes on from there at once.

    `about` gives the labels of the strategies that the report is about, one or a list: it compares each of them with
    every other strategy. It changes no run.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    description: str = ""
    benchmark: Any = None
    benchmarks: dict[str, Any] = {}
    streams: dict[str, StreamConfig] = {}
    backbone: BackboneConfig = BackboneConfig()
    head: HeadConfig = HeadConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    strategies: dict[str, Any] = Field(min_length=1)
    orders: list[int] = Field([0], min_length=1)
    seeds: list[int] = Field([0, 1, 2], min_length=1)
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    plugins: list[str] = []
    latency: LatencyConfig = LatencyConfig()
    tuning: str = ""
    about: list[str] = []
    keep_state: bool = False

    @field_validator("about", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, str | int) else value or []

    @field_validator("about")
    @classmethod
    def _check_about(cls, value: list[str], info: ValidationInfo) -> list[str]:
        labels = info.data.get("strategies", value)  # missing if they are invalid, which is reported instead
        for label in value:
            if label not in labels:
                raise ValueError(f"{label!r} is not a label of its strategies{nearest(label, labels)}")
        return value


class SuiteConfig(SuiteSettings):
    """A suite as written in a file: streams x orders x strategies x seeds with all their settings."""

    benchmark: dict[str, Any] | None = None
    benchmarks: dict[str, dict[str, Any]] = {}
    strategies: dict[str, dict[str, Any]] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _take_out_schema(cls, value: Any) -> Any:
        return without_schema(value, "the suite") if isinstance(value, Mapping) else value

    @field_validator("strategies", mode="before")
    @classmethod
    def _write_out(cls, value: Any) -> Any:
        """The key of an entry is its label in reports; see `suite.entries` for the shorthands."""
        value = by_label(value)
        if not isinstance(value, Mapping):
            return value
        return {str(label): written_out(entry, str(label)) for label, entry in value.items()}

    @field_validator("strategies", "benchmarks")
    @classmethod
    def _check_names(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        for name in value:
            check_name(name, "strategy" if info.field_name == "strategies" else "stream")
        return value

    @field_validator("streams", mode="before")
    @classmethod
    def _nothing_of_its_own(cls, value: Any) -> Any:
        value = {} if value is None else value
        return {name: own or {} for name, own in value.items()} if isinstance(value, Mapping) else value

    @field_validator("orders", mode="before")
    @classmethod
    def _count_orders(cls, value: Any) -> Any:
        """`orders: 3` is `[0, 1, 2]`."""
        if isinstance(value, int) and not isinstance(value, bool):
            if not 1 <= value <= LARGEST + 1:
                raise ValueError(f"how many orders was expected, from 1 to {LARGEST + 1}, or a list of their numbers")
            return list(range(value))
        return value

    @field_validator("orders")
    @classmethod
    def _check_orders(cls, value: list[int]) -> list[int]:
        if len(set(value)) != len(value) or min(value) < 0 or max(value) > LARGEST:
            raise ValueError(f"orders must be different integers from 0 to {LARGEST}")
        return value

    @model_validator(mode="after")
    def _one_or_several(self) -> SuiteConfig:
        if self.benchmark is None and not self.benchmarks:
            raise InputError("the key 'benchmark' is missing (or `benchmarks`, if the suite has several streams)")
        if self.benchmark is not None and self.benchmarks:
            raise InputError("give either `benchmark` (one stream) or `benchmarks` (several by name), not both")
        return self

    @field_validator("seeds")
    @classmethod
    def _check_seeds(cls, value: list[int]) -> list[int]:
        if len(set(value)) != len(value) or min(value) < 0:
            raise ValueError("seeds must be different non-negative integers")
        return value


def read_suite(name_or_path: str) -> dict[str, Any]:
    """The raw mapping of a shipped suite (by name) or of a YAML file (by path), without its schema number.

    Raises InputError if there is no such suite, or if the file is not a mapping in valid YAML or has another schema.
    """
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        if not path.is_file():
            raise InputError(f"suite {path}: no such file")
    elif name_or_path in suites.shipped():
        path = suites.FOLDER / f"{name_or_path}.yaml"
    else:
        raise InputError(f"unknown suite {name_or_path!r}{nearest(name_or_path, suites.shipped())}")
    return without_schema(read_yaml(path), f"suite {path}")


def names_suite(what: str) -> bool:
    """Whether a text names a suite, by a shipped name or a file, and no benchmark; InputError if it names neither."""
    path = Path(what)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return True
    select("suite or benchmark", [what], [*suites.shipped(), *BENCHMARKS.names()])
    return what not in BENCHMARKS.names()


def check_name(name: str, what: str) -> None:
    """Raise ValueError for a name that cannot be a part of a folder's name; `what` it would name, for the message."""
    if not name or any(c in name for c in "/\\\0") or name.startswith(".") or len(name) > 80:
        raise ValueError(f"{name!r} cannot name a {what}: the {what}'s name becomes part of a folder's name")
