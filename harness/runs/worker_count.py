"""How many runs are trained at a time where nobody says so."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from lorisbench.common.environment import cores
from lorisbench.common.errors import InputError

if TYPE_CHECKING:
    from lorisbench.suite.resolve import Suite

VARIABLE = "LORISBENCH_WORKERS"


def usual_workers(suite: Suite) -> int:
    """What LORISBENCH_WORKERS says; else one for each core where runs train on one core each, or 1.

    Runs train on one core each if all streams of a suite train heads on features on the CPU; backbones whose features
    these are (`train: first`) are trained in turn. Those that train a backbone in all experiences use all cores, and
    those that train on a GPU share it: one at a time.

    Raises InputError if the variable holds no number of processes.
    """
    text = os.environ.get(VARIABLE)
    if text:
        if not text.isascii() or not text.isdigit():
            raise InputError(f"{VARIABLE}={text}: a number of processes was expected, 0 or more")
        return int(text)
    each_on_a_core = all(
        config.backbone.on_features and config.device in ("auto", "cpu") for config in suite.streams.values()
    )
    return (cores() or 1) if each_on_a_core else 1
