"""Orders of a stream's experiences: which permutation a number stands for, the same everywhere and for ever."""

from __future__ import annotations

import functools
import math
import random

from lorisbench.common.errors import InputError

LARGEST = 999  # finding order k means drawing those before it


def permutation(order: int, experiences: int) -> list[int]:
    """The experiences, numbered as in the stream's own order, in the order in which they come.

    Order 0 is the stream's own. Order k > 0 is the k-th permutation of a fixed random sequence from which the stream's
    own order and repetitions are left out. It depends on nothing but k and the number of experiences.

    Raises InputError for a number that is no order: so many experiences have `experiences`! of them.
    """
    known = math.factorial(experiences)
    if not 0 <= order < min(known, LARGEST + 1):
        there = f"{known} orders (0 to {known - 1})" if known > 1 else "only its own (0)"
        plural = "s" if experiences > 1 else ""
        raise InputError(f"orders: {order}: a stream of {experiences} experience{plural} has {there}")
    return list(_drawn(experiences, order)[order])


@functools.lru_cache
def _drawn(experiences: int, last: int) -> list[tuple[int, ...]]:
    """The orders from 0 to `last`."""
    draw = random.Random(f"lorisbench orders of {experiences}")  # Python keeps this sequence across versions
    found = {tuple(range(experiences)): None}
    while len(found) <= last:
        shuffled = list(range(experiences))
        draw.shuffle(shuffled)
        found.setdefault(tuple(shuffled))
    return list(found)
