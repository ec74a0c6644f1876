"""OpenLORIS-Object as a benchmark: any of its layouts, any of its protocols."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import field_validator, model_validator

from lorisbench.benchmarks.openloris.layouts import read
from lorisbench.benchmarks.openloris.words import FACTORS
from lorisbench.common.errors import InputError
from lorisbench.data.disjoint import disjoint
from lorisbench.data.manifest import Manifest
from lorisbench.data.subsets import Arranged, Subset, arrange, check_objects

Factor = Literal["illumination", "occlusion", "pixel", "clutter"]


class Protocol(Arranged):
    """How images become experiences.

    `sequence` is 12 tasks, `factor` the 9 tasks of one factor (illumination by default), `challenge` the nine mixed
    batches or the final's 12 tasks, whichever there are.
    """

    protocol: Literal["sequence", "factor", "challenge"] = "sequence"
    factor: Factor | None = None

    @model_validator(mode="before")
    @classmethod
    def _match_factor(cls, values: Any) -> Any:
        if isinstance(values, dict):
            if values.get("protocol") == "factor":
                return {**values, "factor": values.get("factor") or FACTORS[0]}
            if values.get("factor") is not None:
                raise ValueError("the key 'factor' goes with protocol: factor")
        return values


class Recorded(Protocol):
    """Frames of recordings. With `disjoint`, no experience trains on a test recording (see lorisbench.data.disjoint).

    The released splits share all recordings: frames of one video are used for both training and testing.
    """

    disjoint: bool = False

    def read(self, root: Path, layout: str, objects: int | list[str] | None = None) -> Manifest:
        """The manifest of a folder under these settings."""
        if not self.disjoint:
            return read(root, layout, self.protocol, self.factor, self.subset(objects))
        whole = read(root, layout, self.protocol, self.factor, Subset())  # so that order changes no split
        return arrange(disjoint(whole), self.subset(objects))


class OpenLORIS(Recorded, name="openloris"):
    """OpenLORIS-Object in any of its layouts (see `layouts`); `objects`: a number, or names, of classes."""

    root: str | None = None
    layout: Literal["auto", "release", "benchmark1", "challenge", "avalanche"] = "auto"
    objects: int | list[str] | None = None

    _check_objects = field_validator("objects")(check_objects)

    def manifest(self) -> Manifest:
        if self.root is None:
            raise InputError("benchmark openloris needs the folder of the data set: give --data-root DIR")
        return self.read(Path(self.root), self.layout, self.objects)


def read_release(root: Path, protocol: str = "sequence", factor: str | None = None) -> Manifest:
    """Read a tree in the released layout under a protocol; see `layouts.read`."""
    return read(root, "release", protocol, factor, Subset())
