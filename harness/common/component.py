"""The base of everything that has a name in a suite file and typed settings: strategies and benchmarks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from lorisbench.common.errors import InputError
from lorisbench.common.registry import Registry


class Component(BaseModel):
    """Settings as typed fields (unknown keys are errors); a subclass with `name="..."` registers itself."""

    # A number where a name is expected is the name of a class or a domain that is called by it
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, coerce_numbers_to_str=True)
    name: ClassVar[str] = ""
    registry: ClassVar[Registry]

    def __init_subclass__(cls, *, name: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)

    @classmethod
    def __pydantic_init_subclass__(cls, *, name: str | None = None, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            raise InputError(
                f"{cls.__name__} has an __init__: settings are annotated fields of the class, strength: float = 1.0"
            )
        if name is not None:
            cls.name = name
            cls.registry.add(name, cls)


def check_truths(function: Callable[..., Any], args: Mapping[str, Any], where: str) -> None:
    """Raise InputError for a word given as an argument whose default is true or false: any word counts as true.

    Typed settings turn `yes` and `no` into what they mean; arguments of an outside function are handed on as they are.
    """
    try:
        known = inspect.signature(function).parameters
    except (TypeError, ValueError):  # of some built-in functions
        return
    for key, value in args.items():
        if isinstance(value, str) and key in known and isinstance(known[key].default, bool):
            raise InputError(f"{where}: the argument {key!r} is true or false, not the word {value!r}")
