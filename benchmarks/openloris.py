"""OpenLORIS-Object as a benchmark: any of its layouts, any of its protocols."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from benchmarks.base import Benchmark
from benchmarks.layouts import read
from benchmarks.manifest import Manifest
from benchmarks.protocols import Subset
from benchmarks.tree import FACTORS
from harness.errors import InputError

Factor = Literal["illumination", "occlusion", "pixel", "clutter"]


class Shuffle(BaseModel):
    """`order: {seed: 3}`: the experiences shuffled, the same way for the same seed everywhere."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    seed: int = Field(ge=0)


class Protocol(Benchmark):
    """How images become experiences.

    `sequence` is 12 tasks, `factor` the 9 tasks of one factor (illumination if not said), `challenge` the nine mixed
    batches or the final's 12 tasks, whichever there are. `order` is a permutation such as [2, 0, 1] (of 0..n-1: the
    experience that comes first, second, ...) or {seed: 3}, a seeded shuffle. `fraction` keeps so much of each
    recording. `val_as_replay` adds the validation images of earlier experiences to the training data of later ones,
    as the challenge allowed.
    """

    protocol: Literal["sequence", "factor", "challenge"] = "sequence"
    factor: Factor | None = None
    order: list[int] | Shuffle | None = None
    fraction: float = Field(1.0, gt=0, le=1)
    val_as_replay: bool = False

    @model_validator(mode="before")
    @classmethod
    def _match_factor(cls, values: Any) -> Any:
        if isinstance(values, dict):
            if values.get("protocol") == "factor":
                return {**values, "factor": values.get("factor") or FACTORS[0]}
            if values.get("factor") is not None:
                raise ValueError("the key 'factor' goes with protocol: factor")
        return values

    @field_validator("order")
    @classmethod
    def _check_order(cls, value: Any) -> Any:
        if isinstance(value, list) and sorted(value) != list(range(len(value))):
            raise ValueError("each of 0..n-1 was expected once")
        return value

    def read(self, root: Path, layout: str, objects: int | list[str] | None = None) -> Manifest:
        """The manifest of a folder under these settings."""
        order = self.order.seed if isinstance(self.order, Shuffle) else self.order
        return read(root, layout, self.protocol, self.factor, Subset(order, objects, self.fraction, self.val_as_replay))


class OpenLORIS(Protocol, name="openloris"):
    """OpenLORIS-Object in any of its layouts (see benchmarks.layouts); `objects`: a number, or names, of classes."""

    root: str | None = None
    layout: Literal["auto", "release", "benchmark1", "challenge", "avalanche"] = "auto"
    objects: int | list[str] | None = None

    @field_validator("objects")
    @classmethod
    def _check_objects(cls, value: Any) -> Any:
        if isinstance(value, int) and value < 2:
            raise ValueError("at least 2 objects are needed")
        if isinstance(value, list) and (len(value) < 2 or len(set(value)) < len(value)):
            raise ValueError("at least 2 different names are needed")
        return value

    def manifest(self) -> Manifest:
        if self.root is None:
            raise InputError("benchmark openloris needs the folder of the data set: give --data-root DIR")
        return self.read(Path(self.root), self.layout, self.objects)


def read_release(root: Path, protocol: str = "sequence", factor: str | None = None) -> Manifest:
    """Read a tree in the released layout under a protocol; see `layouts.read`."""
    return read(root, "release", protocol, factor, Subset())
