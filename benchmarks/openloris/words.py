"""The words of OpenLORIS-Object: factors, levels, segments and tasks, and what a reader of a layout returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from lorisbench.data.manifest import SPLITS

FACTORS = ("illumination", "occlusion", "pixel", "clutter")  # the order of the 12-task sequence (paper, section V)
SEGMENTS = 9
LEVELS = 3
SOURCE = "She et al., ICRA 2020 (arXiv 1911.06487)"
LABELS = "label.csv"  # in a test folder of the challenge
LISTS = "batches_filelists/domain"  # Avalanche's, below the root
TASKS = len(FACTORS) * LEVELS
MIXED = "mixed"  # factor of the challenge's nine batches, which have no level of their own (0)
EVERY = 8  # without validation images, each eighth frame of a training recording becomes one


class Group(NamedTuple):
    """The smallest unit that a layout keeps apart: kind (a factor, `task`, `batch` or `iros`) and number from 1."""

    kind: str
    number: int

    @property
    def factor(self) -> str:
        if self.kind in FACTORS:
            return self.kind
        return MIXED if self.kind == "batch" or self.number > TASKS else FACTORS[(self.number - 1) // LEVELS]

    @property
    def level(self) -> int:
        """1 to 3; 0 for mixed factors."""
        if self.kind in FACTORS:
            return level_of(self.number)
        return 0 if self.factor == MIXED else (self.number - 1) % LEVELS + 1


class Row(NamedTuple):
    """One image as a layout describes it; `path` is relative to the root with POSIX separators."""

    path: str
    class_name: str
    split: str
    factor: str
    level: int
    group: Group
    recording: str


class Gone(NamedTuple):
    """A part of a tree that is not there: the split of a group, and the line that says what was looked for."""

    split: str
    group: Group
    line: str


@dataclass
class Reading:
    """What a layout's reader found.

    Attributes
    ----------
    rows : in the order of groups, splits, objects and file names (or of the lists).
    labels : class name -> label where a list gives it; None where labels are positions in the sorted names.
    notes : what was dealt with that the user should know, by topic.
    gone : parts that were asked for and are not there.
    """

    rows: list[Row]
    labels: dict[str, int] | None = None
    notes: dict[str, str] = field(default_factory=dict)
    gone: list[Gone] = field(default_factory=list)


def level_of(segment: int) -> int:
    """Difficulty level 1..3 of segment 1..9."""
    return min((segment - 1) // (SEGMENTS // LEVELS) + 1, LEVELS)


def split_off_validation(rows: list[Row]) -> list[Row]:
    """The rows with every eighth training frame of each recording (the last, of fewer than eight) in `validation`.

    For data without validation images. A recording of a single frame stays in training.
    """
    positions: dict[tuple[Group, str], list[int]] = {}
    for index, row in enumerate(rows):
        if row.split == "train":
            positions.setdefault((row.group, row.recording), []).append(index)
    moved = list(rows)
    for places in positions.values():
        chosen = places[EVERY - 1 :: EVERY] or places[-1:]
        if len(places) > 1:
            for index in chosen:
                moved[index] = rows[index]._replace(split="validation")
    return moved


def in_order(rows: list[Row], groups: list[Group]) -> list[Row]:
    """Rows by group, then by split, otherwise in the order given."""
    place = {group: index for index, group in enumerate(groups)}
    return sorted(rows, key=lambda row: (place[row.group], SPLITS.index(row.split)))
