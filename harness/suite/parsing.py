"""Settings from plain values, with one-line errors that name the key."""

from __future__ import annotations

from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from lorisbench.common.errors import InputError
from lorisbench.common.registry import nearest

Model = TypeVar("Model", bound=BaseModel)


class Settings(BaseModel):
    """A group of settings, which never change once they are read; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, coerce_numbers_to_str=True)


def parse(model: type[Model], values: Any, where: str = "") -> Model:
    """Validate `values`; the first fault becomes a one-line InputError that names the key (and the nearest one)."""
    try:
        return model.model_validate(values, context={"where": where})  # for components that hold others (stack)
    except ValidationError as error:
        raise InputError(_one_line(model, error, where)) from error


def _one_line(model: type[BaseModel], error: ValidationError, where: str) -> str:
    faults = error.errors(include_url=False)
    fault = next(filter(_unquoted, faults), faults[0])
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
    if _unquoted(fault):
        message += "; a name that reads like this needs quotes"
    return f"{dotted or model.__name__}: {message}{given}"


def _unquoted(fault: Any) -> bool:
    """Whether a name was expected and is one of the few words that YAML takes for something else."""
    return fault["type"] == "string_type" and (fault["input"] is None or isinstance(fault["input"], bool))
