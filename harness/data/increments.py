"""Classes that arrive in turn: a stream's images put into class-incremental experiences, and objects into categories.

She et al. (ICRA 2020, section I) name three kinds of increments: of data, of classes, and of both.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import numpy as np
from pydantic import AfterValidator

from lorisbench.common.errors import InputError
from lorisbench.common.registry import nearest
from lorisbench.data.manifest import Manifest
from lorisbench.data.subsets import Shuffle, Subset, arrange, in_stream_order
from lorisbench.data.usable import told

PARTS = 10  # of a class-incremental stream, where nobody says how many classes an experience has
NUMBERED = re.compile(r"_\d+$")
TOPIC = "increments"  # of a note
SPELT = 3  # classes that an experience is named by


def _each_once(value: list[str] | Shuffle | None) -> list[str] | Shuffle | None:
    if isinstance(value, list) and len(set(value)) < len(value):
        raise ValueError("each class must occur exactly once")
    return value


ClassOrder = Annotated[list[str] | Shuffle | None, AfterValidator(_each_once)]
"""The setting `class_order`: in which order classes arrive, their names or a seeded shuffle."""


def by_category(manifest: Manifest) -> Manifest:
    """The same images with the categories of objects as classes: their names before `_NN`, in sorted order.

    Raises InputError if no name ends in a number, or labels stay what they are: there is nothing to put together.
    """
    category = {str(name): NUMBERED.sub("", str(name)) for name in manifest.classes}
    classes = sorted(set(category.values()))
    if list(category) == list(category.values()):
        raise InputError(
            f"benchmark.labels: category: no class of {manifest.name} has a name with a number at its end, such as "
            f"bottle_01, to tell its category by; there are {', '.join(list(category)[:5])}"
        )
    number = {name: label for label, name in enumerate(classes)}
    names = manifest.table.class_name.astype(str).map(category)
    notes = {**manifest.notes, "labels": f"{len(classes)} categories of {len(category)} objects"}
    return replace(
        manifest, table=manifest.table.assign(class_name=names, label=names.map(number)), classes=classes, notes=notes
    )


def class_order(classes: Sequence[str], order: ClassOrder) -> list[str]:
    """The classes in the order in which they arrive: their own, one drawn by a seed, or as named.

    Raises InputError unless the names are those of all classes.
    """
    if order is None:
        return list(classes)
    if isinstance(order, Shuffle):
        shuffled = list(classes)
        # Python keeps this sequence across versions
        random.Random(f"lorisbench classes {order.seed}").shuffle(shuffled)
        return shuffled
    for name in order:
        if name not in classes:
            raise InputError(f"benchmark.class_order: no class {name!r}{nearest(name, classes)}")
    if len(order) < len(classes):
        lacking = next(name for name in classes if name not in order)
        raise InputError(f"benchmark.class_order: all {len(classes)} classes are needed; {lacking!r} is missing")
    return list(order)


def in_classes(manifest: Manifest, subset: Subset, each: int | None, order: ClassOrder) -> Manifest:
    """What `subset` selects, in experiences of new classes (see `by_classes`), which its order and shots are of."""
    chosen = arrange(manifest, replace(subset, order=None, shots=None))
    return arrange(by_classes(chosen, each, order), replace(subset, objects=None, fraction=1.0))


def by_classes(manifest: Manifest, each: int | None, order: ClassOrder) -> Manifest:
    """The same images, all factors and levels together, in experiences of `each` classes that no other one has.

    each : classes of an experience, the last one perhaps fewer; None: a tenth of all, rounded up. order : see
    `class_order`.

    Raises InputError where that makes a single experience.
    """
    names = class_order(manifest.classes, order)
    each = each or -(-len(names) // PARTS)
    if each >= len(names):
        raise InputError(
            f"benchmark.classes_per_experience: {each} leaves no class for a second experience; {manifest.name} has "
            f"{len(names)}"
        )
    groups = [names[first : first + each] for first in range(0, len(names), each)]
    place = {name: number for number, group in enumerate(groups) for name in group}
    table = manifest.table.assign(experience=manifest.table.class_name.map(place).astype(np.int64))
    return replace(
        manifest,
        table=in_stream_order(table),
        experience_names=[_named(group) for group in groups],
        notes={**manifest.notes, TOPIC: f"{_new(each)} with each experience, all images of each at once"},
    )


def arriving(manifest: Manifest, each: int | None, order: ClassOrder) -> Manifest:
    """The same experiences, but `each` classes more in every one: images of classes still to arrive are left out.

    each : classes that each experience brings; None: as few as let the last experience bring the last class. order :
    see `class_order`.

    Raises InputError if some class would never arrive.
    """
    names = class_order(manifest.classes, order)
    least = -(-len(names) // manifest.experiences)
    each = each or least
    if each < least:
        raise InputError(
            f"benchmark.classes_per_experience: {manifest.experiences} experiences of {each} new classes have "
            f"{each * manifest.experiences} of the {len(names)}; at least {least} are needed"
        )
    arrival = {name: place // each for place, name in enumerate(names)}
    table = manifest.table
    there = table.class_name.map(arrival).to_numpy() <= table.experience.to_numpy()
    last = (len(names) - 1) // each
    note = f"{_new(each)} with each experience up to number {last}, beside those that were there"
    return told(
        replace(manifest, table=table[there].reset_index(drop=True), placed=True, notes={**manifest.notes, TOPIC: note})
    )


def _new(classes: int) -> str:
    return f"{classes} new class{'es' if classes > 1 else ''}"


def _named(classes: Sequence[str]) -> str:
    spelt = ", ".join(classes[:SPELT])
    return f"{spelt} and {len(classes) - SPELT} more" if len(classes) > SPELT else spelt
