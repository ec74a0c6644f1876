"""The base of everything that has a name in a suite file and typed settings: strategies and benchmarks."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from lorisbench.common.errors import InputError
from lorisbench.common.registry import Registry


class Component(BaseModel):
    """Settings as typed fields (unknown keys are errors); a subclass with `name="..."` registers itself."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
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
