"""A new split of the same images: no frame of a test recording is trained on, in any experience."""

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from lorisbench.common.errors import InputError
from lorisbench.data.manifest import SPLITS, Manifest

Cell = tuple[int, int]  # experience, label
TOPICS = ("split", "no test images", "no training images", "shared with validation")  # of the notes of `disjoint`
LISTED = 12  # classes and recordings named in a note; the rest are only counted


def shared_recordings(manifest: Manifest, splits: Iterable[str]) -> list[str]:
    """Named recordings that have test images and also images in `splits`, sorted."""
    named = manifest.table[manifest.table.recording != ""]
    tested = set(named.recording[named.split == "test"])
    return sorted(tested & set(named.recording[named.split.isin(list(splits))]))


def disjoint(manifest: Manifest, test_share: float = 0.2, validation_share: float = 0.1, seed: int = 0) -> Manifest:
    """The same images, in the same order, split anew by whole recordings.

    All images of a recording, whatever split they were in, go to one of train, validation and test, the same in every
    experience. In each experience, a class with three or more recordings has at least one of them in each split, and
    about the shares asked for; with two, one is for test, and the last frames (by name) of the other are for
    validation; with one, it is for training only. Where a recording belongs to several experiences or classes, the
    needs of another may leave fewer; validation images then come from the last frames of a training recording too. So
    validation may share a recording with train; test never does.

    The seed decides how the recordings of a class take turns: over the classes of an experience, each place (such as
    each of the three views of a level) is tested about equally often. The manifest's notes report `split`, `no test
    images`, `no training images` and `shared with validation`.

    Parameters
    ----------
    test_share, validation_share : shares of the recordings of a class in an experience; more than 0, sum below 1.
    seed : the same seed gives the same split, whatever the order of the table.

    Raises
    ------
    InputError : for shares out of range, images without a recording, and an experience left without training or test
        images.
    """
    for name, share in (("test", test_share), ("validation", validation_share)):
        if not 0 < share < 1:
            raise InputError(f"the {name} share {share:g} is not between 0 and 1")
    if test_share + validation_share >= 1:
        raise InputError(f"the shares {test_share:g} and {validation_share:g} leave nothing to train on")
    table = manifest.table
    unnamed = table.path[table.recording == ""]
    if len(unnamed):
        raise InputError(f"{unnamed.iloc[0]}: no recording is named, so what was filmed together with it is unknown")
    chosen = _assign(_cells(manifest), test_share, validation_share, seed)
    split = table.recording.map(chosen).to_numpy(dtype=object)
    borrowed = _borrow(table, split, validation_share)
    notes = {topic: note for topic, note in manifest.notes.items() if topic != "validation"} | {
        "split": f"by recording (test {test_share:g}, validation {validation_share:g}, seed {seed}): no test recording "
        "is in train or validation",
    }
    _check_experiences(manifest, split)
    for part, topic in (("test", "no test images"), ("train", "no training images")):
        if lacking := _lacking(manifest, split, part):
            notes[topic] = _listed(lacking)
    if borrowed:
        notes["shared with validation"] = f"the last frames of training recordings are validation: {_listed(borrowed)}"
    return dataclasses.replace(
        manifest,
        table=table.assign(split=split.astype(str)),
        name=f"{manifest.name} (disjoint recordings)",
        notes=notes,
    )


def changes(before: Manifest, after: Manifest) -> pd.DataFrame:
    """Image counts of each experience and split before and after, one row per experience."""
    old, new = before.counts(), after.counts()
    frame = old[["experience", "name"]].copy()
    for part in SPLITS:
        frame[f"{part} before"], frame[f"{part} after"] = old[part], new[part]
    return frame


def verified(before: Manifest, after: Manifest) -> str:
    """One line that says what was checked about the split.

    Raises RuntimeError if a test recording is in another split or the images are not the same as before.
    """
    same = before.table.drop(columns="split").equals(after.table.drop(columns="split"))
    shared = shared_recordings(after, ["train", "validation"])
    if shared or not same:
        raise RuntimeError(f"the split is not disjoint: {shared[0] if shared else 'images were lost or changed'}")
    tested = after.table.recording[after.table.split == "test"].nunique()
    return (
        f"checked: all {len(after.table)} images are in it once, and none of the {tested} test recordings (of "
        f"{after.table.recording.nunique()}) is in train or validation"
    )


def _cells(manifest: Manifest) -> dict[Cell, list[str]]:
    """The recordings, sorted, of each class in each experience; cells with the least choice come first."""
    columns = manifest.table[["experience", "label", "recording"]].drop_duplicates()
    cells: dict[Cell, list[str]] = {}
    for experience, label, name in columns.itertuples(index=False, name=None):
        cells.setdefault((experience, label), []).append(name)
    order = sorted(cells, key=lambda cell: (len(cells[cell]), cell))
    return {cell: sorted(cells[cell]) for cell in order}


def _assign(cells: dict[Cell, list[str]], test_share: float, validation_share: float, seed: int) -> dict[str, str]:
    """The split of each recording."""
    rank = {label: place for place, label in enumerate(_shuffled({label for _, label in cells}, f"classes {seed}"))}
    chosen: dict[str, str] = {}
    for (experience, label), names in cells.items():
        count = len(names)
        turns = _shuffled(range(count), f"places {seed} {experience} {count}")
        free = [names[(turn + rank[label]) % count] for turn in turns]
        free = [name for name in free if name not in chosen]
        has = {split: sum(chosen.get(name) == split for name in names) for split in SPLITS}
        for split in _wanted(count, test_share, validation_share):
            if has[split]:
                has[split] -= 1  # already met for another experience or class
            elif free:
                chosen[free.pop(0)] = split
        chosen |= dict.fromkeys(free, "train")
    return chosen


def _wanted(count: int, test_share: float, validation_share: float) -> list[str]:
    """Splits for `count` recordings, the most needed first; more than `count` if shares are rounded up."""
    if count < 3:
        return ["train", "test"][:count]
    test, validation = (max(1, round(count * share)) for share in (test_share, validation_share))
    rest = ["test"] * (test - 1) + ["validation"] * (validation - 1)
    return ["train", "test", "validation", *rest]


def _borrow(table: pd.DataFrame, split: np.ndarray, share: float) -> list[str]:
    """Turn last frames of training recordings into validation where a tested class has none; returns the recordings.

    Changes `split` in place: `share` of the class's images in that experience, at least one, at most half of those of
    the recording. An image that is in several experiences is validation in all of them. A class that has no test images
    keeps all its images for training.
    """
    recordings, paths = (table[column].to_numpy(dtype=object) for column in ("recording", "path"))
    together = table.groupby("recording").indices
    borrowed = []
    for _, places in sorted(table.groupby(["experience", "label"]).indices.items()):
        there = split[places]
        if "validation" in there or "test" not in there:
            continue
        training = recordings[places[there == "train"]]
        if not len(training):
            continue
        names, counts = np.unique(training.astype(str), return_counts=True)
        name = str(names[counts.argmax()])
        frames = sorted(places[recordings[places] == name], key=lambda place: _frame_order(str(paths[place])))
        count = min(max(1, round(len(places) * share)), len(frames) // 2)
        if count:
            same = together[name]
            split[same[np.isin(paths[same], paths[frames[-count:]])]] = "validation"
            borrowed.append(name)
    return list(dict.fromkeys(borrowed))


def _frame_order(path: str) -> tuple[list[tuple[int, str]], str]:
    """Sort key of frames: file name, its numbers by value; the folders may be those of the old splits."""
    parts = re.findall(r"\d+|\D+", path.rpartition("/")[2])
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], path


def _check_experiences(manifest: Manifest, split: np.ndarray) -> None:
    """Raise InputError for an experience that would have nothing to train on or to test."""
    table = manifest.table
    there = set(zip(table.experience, split, strict=True))
    for experience, name in enumerate(manifest.experience_names):
        for part in ("train", "test"):
            if (experience, part) not in there:
                most = table[table.experience == experience].groupby("label").recording.nunique().max()
                raise InputError(
                    f"experience {name!r} would have no {part} images: its classes have at most {most} recordings "
                    "each; at least two are needed"
                )


def _lacking(manifest: Manifest, split: np.ndarray, part: str) -> list[str]:
    """`experience: class` for each class that has images, but none in a split."""
    table = manifest.table
    cells = set(zip(table.experience, table.label, strict=True))
    there = split == part
    lacking = sorted(cells - set(zip(table.experience[there], table.label[there], strict=True)))
    return [f"{manifest.experience_names[experience]}: {manifest.classes[label]}" for experience, label in lacking]


def _shuffled(values: Iterable[int], words: str) -> list[int]:
    order = sorted(values)
    random.Random(f"lorisbench disjoint {words}").shuffle(order)  # Python keeps this sequence across versions
    return order


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{len(names)}: {', '.join(names[:LISTED])}{more}"
