"""The suite file: its typed form, where it is found, overrides, and one-line errors that name the key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import yaml
from pydantic import (
    BaseModel,
    Field,
    PositiveInt,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
)

from lorisbench.common.errors import InputError
from lorisbench.common.registry import nearest
from lorisbench.suite import shipped as suites
from lorisbench.suite.training import Settings, TrainingConfig

Model = TypeVar("Model", bound=BaseModel)


class BackboneConfig(Settings):
    """The shared convolutional layers. `cache: false` runs a frozen one on each batch (slow; same up to rounding).

    `norm: group` replaces each BatchNorm by a GroupNorm with its weight and bias (Ma et al. 2019, poster and slides),
    of up to `norm_groups` groups (our choice, see `norms.groups_of`). The running statistics of a pretrained network
    have no place there, so it is meant for `train: first` or `always`: with `never` the features are poor.
    """

    name: str = "efficientnet-lite0"
    weights: Literal["imagenet", "none"] = "imagenet"
    train: Literal["never", "first", "always"] = "never"
    image_size: int = Field(128, ge=16, le=1024)
    cache: bool = True
    norm: Literal["batch", "group"] = "batch"
    norm_groups: int = Field(32, ge=1)

    @model_serializer(mode="wrap")
    def _without_what_does_nothing(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Settings of a run name it: those that came later are left out where they change nothing."""
        values: dict[str, Any] = handler(self)
        if self.norm == "batch":
            for key in ("norm", "norm_groups"):
                values.pop(key, None)
        return values

    @property
    def on_features(self) -> bool:
        """Whether runs train on features that are extracted once."""
        return self.train == "never" and self.cache


class HeadConfig(Settings):
    """The classifier on top: linear, or an MLP with these hidden widths.

    `per_task: true` has an output layer for each task label of the stream, chosen by the image's label in training and
    in testing (task-incremental learning; the hidden layers are shared), over the classes of the task alone.
    """

    hidden: list[PositiveInt] = []
    per_task: bool = False

    @model_serializer(mode="wrap")
    def _without_what_does_nothing(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        if not self.per_task:
            values.pop("per_task", None)
        return values


class EvaluationConfig(Settings):
    """The split that fills the accuracy matrix: `test`, or `validation` while settings are being chosen."""

    split: Literal["test", "validation"] = "test"


class LatencyConfig(Settings):
    """Forward passes at `batch` on images of the set, after `warmup`, in alternation with the bare backbone."""

    calls: int = Field(100, ge=1)
    warmup: int = Field(10, ge=0)
    batch: int = Field(1, ge=1)
    threads: int = Field(1, ge=1)
    enabled: bool = True


class SuiteConfig(Settings):
    """A suite: benchmark x strategies x seeds with all their settings.

    `about` has the labels of the strategies that the report is about, one or a list: it says of each how it does
    against every other strategy. It changes no run.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    description: str = ""
    benchmark: dict[str, Any]
    backbone: BackboneConfig = BackboneConfig()
    head: HeadConfig = HeadConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    strategies: dict[str, dict[str, Any]] = Field(min_length=1)
    seeds: list[int] = Field([0, 1, 2], min_length=1)
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    plugins: list[str] = []
    latency: LatencyConfig = LatencyConfig()
    tuning: str = ""
    about: list[str] = []

    @field_validator("about", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value or []

    @field_validator("about")
    @classmethod
    def _check_about(cls, value: list[str], info: ValidationInfo) -> list[str]:
        labels = info.data.get("strategies", value)  # not there if they are wrong themselves, which is told instead
        for label in value:
            if label not in labels:
                raise ValueError(f"{label!r} is no label of its strategies{nearest(label, labels)}")
        return value

    @field_validator("strategies", mode="before")
    @classmethod
    def _fill_strategies(cls, value: Any) -> Any:
        """`[ewc, lwf]` and `{ewc: }` are short for `{ewc: {strategy: ewc}}`; the key is the label in reports.

        `{strategy: {stack: [...]}}` is `{stack: [...]}`, see `strategies.stack`.
        """
        if isinstance(value, Sequence) and not isinstance(value, str):
            value = {str(item): None for item in value}
        if not isinstance(value, Mapping):
            return value
        filled = {}
        for label, settings in value.items():
            settings = dict(settings or {}) if isinstance(settings, Mapping) or settings is None else settings
            if isinstance(settings, dict):
                if isinstance(settings.get("strategy"), Mapping):  # strategy: {stack: [...]}
                    settings = {**settings.pop("strategy"), **settings}
                if not {"strategy", "avalanche", "stack"} & set(settings):
                    settings = {"strategy": label, **settings}
            filled[str(label)] = settings
        return filled

    @field_validator("strategies")
    @classmethod
    def _check_labels(cls, value: dict[str, Any]) -> dict[str, Any]:
        for label in value:
            if not label or any(c in label for c in "/\\\0") or label.startswith(".") or len(label) > 80:
                raise ValueError(f"{label!r} cannot name a strategy: it becomes part of a folder's name")
        return value

    @field_validator("seeds")
    @classmethod
    def _check_seeds(cls, value: list[int]) -> list[int]:
        if len(set(value)) != len(value) or min(value) < 0:
            raise ValueError("seeds must be different non-negative integers")
        return value


def parse(model: type[Model], values: Any, where: str = "") -> Model:
    """Validate `values`; the first fault becomes an InputError of one line that names the key (and the nearest)."""
    try:
        return model.model_validate(values, context={"where": where})  # for components that hold others (stack)
    except ValidationError as error:
        raise InputError(_one_line(model, error, where)) from error


def _one_line(model: type[BaseModel], error: ValidationError, where: str) -> str:
    fault = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in fault["loc"])
    dotted = ".".join(part for part in (where, place) if part)
    if fault["type"] == "extra_forbidden":
        owner: Any = model
        for part in fault["loc"][:-1]:
            annotation = owner.model_fields[part].annotation if part in owner.model_fields else None
            kinds = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]  # X | None too
            inner = next((kind for kind in kinds if issubclass(kind, BaseModel)), None)
            if inner is None:
                break
            owner = inner
        return f"unknown key {dotted!r}{nearest(str(fault['loc'][-1]), owner.model_fields)}"
    if fault["type"] == "missing":
        return f"the key {dotted!r} is missing"
    given = "" if isinstance(fault["input"], dict) else f" (got {fault['input']!r})"
    message = fault["msg"].removeprefix("Value error, ")
    return f"{dotted or model.__name__}: {message}{given}"


def read_suite(name_or_path: str) -> dict[str, Any]:
    """The raw mapping of a shipped suite (by name) or of a YAML file (by path).

    Raises InputError if there is no such suite, or the file is not valid YAML holding a mapping.
    """
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        if not path.is_file():
            raise InputError(f"suite {path}: no such file")
    elif name_or_path in suites.shipped():
        path = suites.FOLDER / f"{name_or_path}.yaml"
    else:
        raise InputError(f"unknown suite {name_or_path!r}{nearest(name_or_path, suites.shipped())}")
    return read_yaml(path)


class _UniqueKeys(yaml.SafeLoader):
    """YAML takes the last of two equal keys without a word: one of two strategies would silently be missing."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} is there twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping, in which no key is twice.

    Raises InputError, in one line with the line number, if it does not.
    """
    try:
        value = yaml.load(path.read_text("utf-8"), _UniqueKeys)  # safe: a SafeLoader that looks at its keys
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f":{mark.line + 1}" if mark else ""
        raise InputError(f"{path}{place}: not valid YAML ({getattr(error, 'problem', None) or error})") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: a mapping of settings was expected")
    return value


def override(values: dict[str, Any], assignments: Sequence[str]) -> None:
    """Apply `--set key.sub=value` (value read as YAML) in place.

    A first part that is no key of a suite but a label of its strategies is short for `strategies.<label>`. In a list
    the key is an item's number from 0, and an item that is a name stands for its strategy: `both.stack.0.ewc_lambda`.
    Raises InputError for a malformed assignment or a path through something that is not a mapping.
    """
    for assignment in assignments:
        dotted, equals, text = assignment.partition("=")
        if not equals or not dotted:
            raise InputError(f"--set {assignment!r}: expected key=value")
        keys = dotted.split(".")
        if keys[0] not in SuiteConfig.model_fields:
            labels = [str(label) for label in values.get("strategies") or {}]
            label = max((n for n in labels if dotted.startswith(f"{n}.") or dotted == n), key=len, default=None)
            if label is None:  # labels may hold dots themselves: the longest that fits
                known = [*SuiteConfig.model_fields, *labels]
                raise InputError(f"--set {dotted}: unknown key {keys[0]!r}{nearest(keys[0], known)}")
            keys = ["strategies", label, *[part for part in dotted[len(label) + 1 :].split(".") if part]]
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise InputError(f"--set {assignment!r}: the value is not valid YAML") from error
        target = values
        for depth, key in enumerate(keys[:-1]):
            if isinstance(target, dict) and depth == 0 and key == "strategies" and isinstance(target.get(key), list):
                target[key] = {str(item): None for item in target[key]}
            if isinstance(target, dict) and key == "training" and isinstance(target.get(key), str):
                target[key] = {"preset": target[key]}
            if isinstance(target, list) and key.isdecimal() and int(key) < len(target):
                if isinstance(target[int(key)], str):
                    target[int(key)] = {"strategy": target[int(key)]}
                target = target[int(key)]
            elif isinstance(target, dict):
                if target.get(key) is None:
                    target[key] = {}
                target = target[key]
            last = depth == len(keys) - 2
            if not isinstance(target, dict if last else (dict, list)):
                raise InputError(f"--set {dotted}: {'.'.join(keys[: depth + 1])} holds no keys")
        target[keys[-1]] = value
