"""Splits for own data that have none: which images of each class become test and validation images."""

from __future__ import annotations

import random
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field

from lorisbench.data.subsets import Arranged

UNDECIDED = ""  # split of an image whose split is to be chosen


class OwnData(Arranged):
    """Settings of benchmarks made of a user's own images.

    Where an experience has no test images, `test_share` of each class is held out as such; where it has no validation
    images, `validation_share` of each class, taken from what is left for training. `held_out: random` draws them with
    `split_seed`; `held_out: tail` takes the last ones by name, for frames of a video, which resemble their neighbours.
    """

    test_share: float = Field(0.2, gt=0, lt=1)
    validation_share: float = Field(0.1, gt=0, lt=1)
    held_out: Literal["random", "tail"] = "random"
    split_seed: int = Field(0, ge=0)

    def decide(self, table: pd.DataFrame, notes: dict[str, str]) -> pd.DataFrame:
        """The table with every split decided; what was done is added to `notes`.

        A class with one undecided image in an experience trains on it; one with two has no validation image.
        """
        split = table.split.to_numpy(dtype=object).copy()
        paths, names = table.path.to_numpy(), table.class_name.to_numpy()
        made = {"test": 0, "validation": 0}
        for _, rows in table.groupby("experience", sort=True).indices.items():
            there = set(split[rows])
            wanted = {
                "test": self.test_share if "test" not in there and UNDECIDED in there else 0.0,
                "validation": self.validation_share if "validation" not in there else 0.0,
            }
            free = UNDECIDED if UNDECIDED in there else "train"  # images marked for training are never tested on
            own: dict[str, list[int]] = {}
            for row, name in zip(rows, names[rows], strict=True):
                if split[row] == free:
                    own.setdefault(str(name), []).append(int(row))
            for members in own.values() if UNDECIDED in there or any(wanted.values()) else ():
                members, left = self._arrange(members, paths), len(members)
                split[members] = "train"
                for kind, share in wanted.items():
                    count = min(max(1, round(share * len(members))), left - 1) if share else 0
                    split[members[left - count : left]] = kind
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

    def _arrange(self, rows: list[int], paths: np.ndarray) -> list[int]:
        """The rows, with those to be held out last; their order does not depend on what other experiences there are."""
        ordered = sorted(rows, key=lambda row: str(paths[row]))
        if self.held_out == "random" and ordered:
            random.Random(f"lorisbench split {self.split_seed} {paths[ordered[0]]}").shuffle(ordered)
        return ordered
