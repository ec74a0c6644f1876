"""The base of everything that has a name in a suite file and typed settings: strategies and benchmarks."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

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
        if name is not None:
            cls.name = name
            cls.registry.add(name, cls)
