"""OpenLORIS-Object as a benchmark: any of its layouts, any of its protocols."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from lorisbench.benchmarks.openloris.layouts import read
from lorisbench.benchmarks.openloris.words import FACTORS
from lorisbench.common.errors import InputError
from lorisbench.data.disjoint import disjoint
from lorisbench.data.increments import ClassOrder, arriving, by_category, in_classes
from lorisbench.data.manifest import Manifest
from lorisbench.data.subsets import Arranged, Subset, arrange, check_objects

ARRIVE = ("classes", "both")  # protocols in which classes arrive one after the other
Factor = Literal["illumination", "occlusion", "pixel", "clutter"]


class Protocol(Arranged):
    """How images become experiences.

    With new data of the same classes: `sequence` is 12 tasks, `factor` the 9 tasks of one factor (illumination by
    default), `challenge` the nine mixed batches or the final's 12 tasks, whichever there are. With new classes:
    `classes` has `classes_per_experience` of them in each experience (a tenth of all by default), with all their images
    of every factor and level. With `both`, new classes arrive while the tasks of the sequence go on, as many with each
    as bring the last class in the last. These two take the images of one `factor` alone where it is given, and of the
    challenge's batches where there is nothing else.

    `labels: category` puts objects together by their folder's name before `_NN` (40 or 19 categories of 121 or 69
    objects). `class_order`: in which order classes arrive, their names or {seed: 3}; by default by label.
    """

    protocol: Literal["sequence", "factor", "challenge", "classes", "both"] = "sequence"
    factor: Factor | None = None
    labels: Literal["instance", "category"] = "instance"
    classes_per_experience: int | None = Field(None, ge=1)
    class_order: ClassOrder = None

    @model_validator(mode="before")
    @classmethod
    def _match_factor(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        protocol = values.get("protocol")
        goes_with = {"factor": ("factor", *ARRIVE), "classes_per_experience": ARRIVE, "class_order": ARRIVE}
        for key, protocols in goes_with.items():
            if values.get(key) is not None and protocol not in protocols:
                names = f"{', '.join(protocols[:-1])} or {protocols[-1]}"
                raise ValueError(f"the key {key!r} goes with protocol: {names}")
        if protocol == "factor":
            return {**values, "factor": values.get("factor") or FACTORS[0]}
        return values


class Recorded(Protocol):
    """Frames of recordings. With `disjoint`, no experience trains on a test recording (see lorisbench.data.disjoint).

    The released splits share all recordings: frames of one video are used for both training and testing.
    """

    disjoint: bool = False

    def read(self, root: Path, layout: str, objects: int | list[str] | None = None) -> Manifest:
        """The manifest of a folder under these settings."""
        subset = self.subset(objects)
        if self.labels == "instance" and self.protocol not in ARRIVE and not self.disjoint:
            return self._tasks(root, layout, subset)
        whole = self._tasks(root, layout, Subset())  # before order and subsets, so that they change no split
        if self.labels == "category":
            whole = by_category(whole)
        if self.disjoint:
            whole = disjoint(whole)
        if self.protocol == "classes":
            return in_classes(whole, subset, self.classes_per_experience, self.class_order)
        arranged = arrange(whole, subset)
        if self.protocol == "both":
            return arriving(arranged, self.classes_per_experience, self.class_order)
        return arranged

    def _tasks(self, root: Path, layout: str, subset: Subset) -> Manifest:
        """The images that `subset` selects, in the tasks that they are recorded in."""
        tasks: str = self.protocol
        if self.protocol in ARRIVE:
            tasks = "tasks" if self.factor is None else "factor"
        found = read(root, layout, tasks, self.factor, subset)
        return replace(found, notes={**found.notes, "protocol": self.protocol})


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
