"""Splits for own data that have none: which images of each class become test and validation images."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from pydantic import Field

from lorisbench.common.errors import InputError
from lorisbench.data.manifest import SPLITS
from lorisbench.data.subsets import Arranged

UNDECIDED = ""  # split of an image whose split is to be chosen


class _Plan(NamedTuple):
    """What is drawn in an experience: its rows, the split that rows are drawn from, and the share for each split."""

    rows: list[int]
    free: str
    wanted: dict[str, float]

    @property
    def draws(self) -> bool:
        return self.free == UNDECIDED or any(self.wanted.values())


class OwnData(Arranged):
    """Settings of benchmarks made of a user's own images.

    Where an experience has no test images, `test_share` of each class is held out as such; where it has no validation
    images, `validation_share` of each class (0: none), taken from what is left for training. `held_out: random` draws
    them with `split_seed`; `held_out: tail` takes the last ones by name, for frames of a video, which resemble their
    neighbours.
    """

    test_share: float = Field(0.2, gt=0, lt=1)
    validation_share: float = Field(0.1, ge=0, lt=1)
    held_out: Literal["random", "tail"] = "random"
    split_seed: int = Field(0, ge=0)

    def decide(
        self,
        table: pd.DataFrame,
        notes: dict[str, str],
        images: np.ndarray,
        contents: Callable[[], np.ndarray] | None = None,
    ) -> pd.DataFrame:
        """The table with every split decided; what was done is added to `notes`.

        An image is in one split, however many rows show it: one is drawn for all of them, and where a row names a
        split, those that name none take it over. A class with one undecided image in an experience trains on it; one
        with two has no validation image.

        Parameters
        ----------
        images : which image each row shows, int64 (rows,).
        contents : gives the same by what is in the images, so that copies are in one split too; asked only if images
            are undecided. Where a class would have no image left to test, copies count as different images.

        Raises
        ------
        InputError : one image is in two classes.
        """
        _check_classes(table, images)
        given, paths = table.split.to_numpy(dtype=object), table.path.to_numpy()
        plans = [self._plan(given, rows) for rows in _places(table.experience)]
        if not any(plan.draws for plan in plans):
            return table
        same = contents() if contents is not None and UNDECIDED in set(given) else images
        plan_of = {row: plan for plan in plans for row in plan.rows}
        split, made = given.copy(), dict.fromkeys(SPLITS, 0)
        for rows in _places(table.class_name):
            groups: dict[int, list[int]] = {}
            for row in sorted(rows, key=lambda row: str(paths[row])):  # whatever order experiences come in
                groups.setdefault(id(plan_of[row]), []).append(row)
            cells = [(plan_of[members[0]], members) for members in groups.values()]
            drawn = self._draw(cells, given, paths, same)
            if len(set(same[rows])) < len(set(images[rows])):
                apart = self._draw(cells, given, paths, images)
                drawn = apart if _tested(cells, drawn) < _tested(cells, apart) else drawn
            for row, decided in drawn.items():
                split[row] = decided
                made[decided] += 1
        if made["test"] or made["validation"]:
            how = f"drawn with seed {self.split_seed}" if self.held_out == "random" else "the last by name"
            shares = {"test": self.test_share, "validation": self.validation_share}
            said = [
                f"{share:.0%} of each class for {kind} ({made[kind]} images)"
                for kind, share in shares.items()
                if made[kind]
            ]
            notes["splits"] = f"{' and '.join(said)}, {how}, where an experience has none of its own"
        table = table.assign(split=split.astype(str))
        if same is not images and (copies := _copies(table, images, same)):
            notes["copies"] = copies
        return table

    def _plan(self, given: np.ndarray, rows: list[int]) -> _Plan:
        there = set(given[rows])
        return _Plan(
            rows,
            UNDECIDED if UNDECIDED in there else "train",  # images marked for training are never tested on
            {
                "test": self.test_share if "test" not in there and UNDECIDED in there else 0.0,
                "validation": self.validation_share if "validation" not in there else 0.0,
            },
        )

    def _draw(
        self, cells: list[tuple[_Plan, list[int]]], given: np.ndarray, paths: np.ndarray, images: np.ndarray
    ) -> dict[int, str]:
        """The splits, by row, of the undecided rows of a class and of those that are drawn from its training images.

        `cells` are the rows of the class in each experience.
        """
        every = [row for _, rows in cells for row in rows]
        image = dict(zip(every, images[every].tolist(), strict=True))
        free = {row for plan, rows in cells if plan.draws for row in rows if given[row] == plan.free}
        undecided = {image[row] for row in every if given[row] == UNDECIDED}
        known: dict[int, str] = {}  # the split of an image that some row names, then also of those drawn
        for row in every:
            if given[row] != UNDECIDED and (row not in free or image[row] in undecided):
                known.setdefault(image[row], str(given[row]))
        drawn: dict[int, str] = {}
        for plan, rows in cells:
            first = {image[row]: row for row in reversed(rows) if row in free}
            before = [known[one] for one in first if one in known]
            members = self._arrange([row for one, row in first.items() if one not in known], paths)
            left = len(members)
            drawn |= {image[row]: "train" for row in members}
            for kind, share in plan.wanted.items():
                count = max(1, round(share * len(first))) - before.count(kind) if share else 0
                count = max(0, min(count, left - ("train" not in before)))
                drawn |= {image[row]: kind for row in members[left - count : left]}
                left -= count
            known |= {image[row]: drawn[image[row]] for row in members}
        decided = {row: known[image[row]] for row in free if given[row] == UNDECIDED}
        return decided | {row: drawn.get(image[row], "train") for row in free if given[row] != UNDECIDED}

    def _arrange(self, rows: list[int], paths: np.ndarray) -> list[int]:
        """The rows, with those to be held out last; their order does not depend on what other experiences there are."""
        ordered = sorted(rows, key=lambda row: str(paths[row]))
        if self.held_out == "random" and ordered:
            random.Random(f"lorisbench split {self.split_seed} {paths[ordered[0]]}").shuffle(ordered)
        return ordered


def _places(column: pd.Series) -> list[list[int]]:
    """The rows of each value of a column, in the order of the values."""
    return [np.asarray(rows).tolist() for _, rows in column.groupby(column, sort=True).indices.items()]


def _check_classes(table: pd.DataFrame, images: np.ndarray) -> None:
    """Raise InputError for an image that is in two classes."""
    different = table[["path", "class_name"]].assign(image=images).drop_duplicates(["image", "class_name"])
    twice = different[different.image.duplicated(keep=False)]
    if len(twice):
        one, two = twice[twice.image == twice.image.iloc[0]].iloc[:2].itertuples(index=False)
        raise InputError(f"{one.path} ({one.class_name!r}) and {two.path} ({two.class_name!r}) are one image")


def _copies(table: pd.DataFrame, images: np.ndarray, contents: np.ndarray) -> str:
    """How many images of a class have copies in the same split and in another one; empty if none has."""
    different = table[["class_name", "split"]].assign(image=images, content=contents).drop_duplicates("image")
    groups = different.groupby(["class_name", "content"]).split
    copied, parted = groups.transform("size") > 1, groups.transform("nunique") > 1
    counts = {"the same split": (copied & ~parted).sum(), "another split": parted.sum()}
    return "; ".join(f"{count} images have copies in {place}" for place, count in counts.items() if count)


def _tested(cells: list[tuple[_Plan, list[int]]], decided: dict[int, str]) -> int:
    """In how many experiences a class has images that were drawn for testing."""
    return sum(any(decided.get(row) == "test" for row in rows) for _, rows in cells)
