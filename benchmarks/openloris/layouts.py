"""Which layout of OpenLORIS-Object a folder has, and everything in it as a manifest.

release     the released data set                    avalanche   file lists of Avalanche's mirror
benchmark1  the tree of the paper's own code         challenge   tasks or mixed batches of the IROS 2019 challenge
"""

from __future__ import annotations

from pathlib import Path

from lorisbench.benchmarks.openloris.layout_folders import BENCHMARK1, CHALLENGE, RELEASE, FolderLayout
from lorisbench.benchmarks.openloris.layout_lists import AVALANCHE, ListLayout
from lorisbench.benchmarks.openloris.protocols import (
    Experience,
    experiences_of,
    make_manifest,
    missing,
    note_unread,
    summary,
)
from lorisbench.benchmarks.openloris.words import FACTORS, SEGMENTS, Group
from lorisbench.benchmarks.tree import visible_subfolders
from lorisbench.common.errors import InputError
from lorisbench.common.registry import nearest
from lorisbench.data.manifest import Manifest
from lorisbench.data.subsets import Subset
from lorisbench.data.usable import faults, some

Layout = FolderLayout | ListLayout

# Lists come first: the archives unpacked beside them are a layout of their own, but the lists give labels and order
LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in (AVALANCHE, RELEASE, BENCHMARK1, CHALLENGE)}


def looked_for() -> str:
    """What detection looks for, one layout after the other, in one line."""
    return "; ".join(f"{name}: {layout.looked_for}" for name, layout in LAYOUTS.items())


def find_layout(root: Path, layout: str = "auto") -> Layout:
    """The layout of a folder: the one named, or the one detected.

    A tree that several layouts can read counts as the first of avalanche, release, benchmark1, challenge.
    Raises InputError if there is no such folder, no such layout, or nothing that the layout looks for.
    """
    if layout != "auto" and layout not in LAYOUTS:
        raise InputError(f"unknown layout {layout!r}{nearest(layout, ['auto', *LAYOUTS])}")
    if not root.is_dir():
        raise InputError(f"{root}: no such folder (looked for an OpenLORIS-Object tree)")
    if layout != "auto":
        chosen = LAYOUTS[layout]
        if not chosen.available(root):
            raise InputError(f"{root} does not have the layout {layout!r}: looked for {chosen.looked_for}{hint(root)}")
        return chosen
    for chosen in LAYOUTS.values():
        if chosen.available(root):
            return chosen
    raise InputError(f"{root} is not an OpenLORIS-Object tree: looked for {looked_for()}{hint(root)}")


def hint(root: Path) -> str:
    """Which folder within `root` has a layout, where one does; archives often unpack into a folder of their own."""
    for name in visible_subfolders(root):
        if any(layout.available(root / name) for layout in LAYOUTS.values()):
            return f"; did you mean {root / name}?"
    return ""


def read_root(root: Path, layout: str = "auto") -> Manifest:
    """Everything in a folder, in its natural experiences.

    release: one experience for each level of each factor (12 in a complete tree); benchmark1 and avalanche: one for
    each task or list of each factor (36; the 12 lists of `iros` where there are no others); challenge: its batches
    and tasks. Missing tasks and classes are reported in `Manifest.notes`, not refused, and no image is opened nor its
    size read: a damaged folder can be described, and `Manifest.files()` checked one by one. Also in the notes:
    `layout`, `protocol` (`natural`), `duplicates`, `validation` (if split off train).

    Raises
    ------
    InputError : one line, if the folder has no such layout, an experience lacks a split, or lists cannot be read.
    """
    chosen = find_layout(root, layout)
    groups = chosen.available(root)
    experiences = experiences_of(chosen.name, groups, "natural", None)
    wanted = [group for _, members in experiences for group in members]
    reading = chosen.read(root, wanted, strict=False)
    absent = sorted(_expected(wanted) - set(wanted))
    if absent:
        places = ", ".join(chosen.place("train", group) for group in absent[:3])
        reading.notes["missing tasks"] = f"{len(absent)} missing, such as {places}"
    if reading.gone:
        reading.notes["missing parts"] = some(summary(reading.gone, wanted, chosen.place))
    reading.notes |= {"layout": chosen.name, "protocol": "natural"}
    note_unread(reading, root, whole_tree=True)
    return make_manifest(root, reading, experiences, Subset())


def read(root: Path, layout: str, protocol: str, factor: str | None, subset: Subset) -> Manifest:
    """A folder under a protocol of `protocols`, with order and subsets.

    Validation images may be missing: what is evaluated on them refuses that (see `usable.faults`).
    Raises InputError, in one line that names the place, for anything else that is missing or damaged.
    """
    chosen = find_layout(root, layout)
    experiences = experiences_of(chosen.name, chosen.available(root), protocol, factor)
    reading = chosen.read(root, [group for _, members in experiences for group in members])
    lacking = [line for split, line in missing(root, reading, experiences, chosen.place) if split != "validation"]
    if lacking:
        more = f" (and {len(lacking) - 1} more; `lorisbench data verify` tells all)" if len(lacking) > 1 else ""
        raise InputError(f"{lacking[0]}{more}")
    if reading.gone:
        wanted = [group for _, members in experiences for group in members]
        reading.notes["missing parts"] = some(summary(reading.gone, wanted, chosen.place))
    reading.notes |= {"layout": chosen.name, "protocol": protocol}
    note_unread(reading, root, whole_tree=False)
    return make_manifest(root, reading, experiences, subset)


PROTOCOLS = (("sequence", None), *(("factor", factor) for factor in FACTORS), ("challenge", None))


def refusals(root: Path, layout: str = "auto") -> dict[str, tuple[list[str], list[str]]]:
    """What each protocol that a tree's layout has would miss, by the protocol's name: `sequence`, `factor: clutter`.

    The first list is why a run is refused, the second what only `evaluation.split: validation` needs; both are empty
    where the tree is complete. A protocol whose tasks are those of an earlier one is left out. Empty if the folder has
    no layout of OpenLORIS-Object.
    """
    try:
        chosen = find_layout(root, layout)
    except InputError:
        return {}
    available = chosen.available(root)
    kinds = {group.kind for group in available}
    told: dict[str, tuple[list[str], list[str]]] = {}
    done: list[list[Experience]] = []
    for protocol, factor in PROTOCOLS:
        name = protocol if factor is None else f"{protocol}: {factor}"
        try:
            experiences = experiences_of(chosen.name, available, protocol, factor)
        except InputError as error:
            if factor is not None and kinds & set(FACTORS):  # other factors have their lists
                told[name] = [str(error)], []
            continue
        if experiences not in done:
            done.append(experiences)
            told[name] = _refusal(root, chosen, experiences)
    return told


def _refusal(root: Path, chosen: Layout, experiences: list[Experience]) -> tuple[list[str], list[str]]:
    wanted = [group for _, members in experiences for group in members]
    try:
        reading = chosen.read(root, wanted, strict=False)
        lacking = missing(root, reading, experiences, chosen.place)
        if not lacking:
            manifest = make_manifest(root, reading, experiences, Subset())
            return faults(manifest, "test"), []
    except InputError as error:
        return [str(error)], []
    said = []
    for validation in (False, True):
        gone = [part for part in reading.gone if (part.split == "validation") == validation]
        objects = [line for split, line in lacking[len(reading.gone) :] if (split == "validation") == validation]
        said.append([*(f"{name} is not there" for name in summary(gone, wanted, chosen.place)), *objects])
    return said[0], said[1]


def _expected(groups: list[Group]) -> set[Group]:
    """The groups that belong to a tree with these kinds of group."""
    numbers = {"task": 12, "iros": 12, "batch": 9, **dict.fromkeys(FACTORS, SEGMENTS)}
    return {Group(kind, n) for kind in {group.kind for group in groups} for n in range(1, numbers[kind] + 1)}
