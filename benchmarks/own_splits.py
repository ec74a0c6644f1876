"""Splits for own data that have none: which images of each class become test and validation images."""

from __future__ import annotations

import random
from typing import Literal

import pandas as pd
from pydantic import Field

from benchmarks.subsets import Arranged

UNDECIDED = ""  # split of an image whose split is to be chosen


class OwnData(Arranged):
    """Settings of benchmarks made of a user's own images.

    Where an experience has no test images, `test_share` of each class become some; where it has no validation images,
    `validation_share` of each class, taken from those left for training. `held_out: random` draws them with
    `split_seed`; `held_out: tail` takes the last ones by name, for frames of a video, which resemble their neighbours.
    """

    test_share: float = Field(0.2, gt=0, lt=1)
    validation_share: float = Field(0.1, gt=0, lt=1)
    held_out: Literal["random", "tail"] = "random"
    split_seed: int = Field(0, ge=0)

    def decide(self, table: pd.DataFrame, notes: dict[str, str]) -> pd.DataFrame:
        """The table with every split decided; what was done is added to `notes`.

        A class with one undecided image in an experience trains on it, with two has no validation image.
        """
        split = table.split.to_numpy(dtype=object).copy()
        made = {"test": 0, "validation": 0}
        for _, rows in table.groupby("experience", sort=True).indices.items():
            there = set(split[rows])
            names = table.class_name.to_numpy()[rows]
            free: dict[str, list[int]]
            free = {str(name): [] for name in names} if UNDECIDED in there or "validation" not in there else {}
            for row, name in zip(rows, names, strict=True):
                if split[row] == UNDECIDED or (split[row] == "train" and "validation" not in there):
                    free[str(name)].append(int(row))
            for name, own in free.items():
                own = self._arrange(own, f"{table.experience.iloc[rows[0]]}/{name}", table)
                wanted = {
                    "test": self.test_share if "test" not in there else 0.0,
                    "validation": self.validation_share if "validation" not in there else 0.0,
                }
                left = len(own)
                for row in own:
                    split[row] = "train"
                for kind, share in wanted.items():
                    count = min(max(1, round(share * len(own))), left - 1) if share else 0
                    for row in own[left - count : left]:
                        split[row] = kind
                    left -= count
                    made[kind] += count
        if any(made.values()):
            how = f"drawn with seed {self.split_seed}" if self.held_out == "random" else "the last by name"
            shares = {"test": self.test_share, "validation": self.validation_share}
            said = [
                f"{shares[kind]:.0%} of each class for {kind} ({count} images)" for kind, count in made.items() if count
            ]
            notes["splits"] = f"{' and '.join(said)}, {how}, where an experience has none of its own"
        return table.assign(split=split.astype(str))

    def _arrange(self, rows: list[int], place: str, table: pd.DataFrame) -> list[int]:
        """The rows so that those to be held out come last."""
        paths = table.path.to_numpy()
        ordered = sorted(rows, key=lambda row: str(paths[row]))
        if self.held_out == "random":
            random.Random(f"lorisbench split {self.split_seed} {place}").shuffle(ordered)
        return ordered
