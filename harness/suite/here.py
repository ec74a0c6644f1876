"""The images of a stream, if they are on this machine: an output may have been made elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lorisbench.common.errors import InputError
from lorisbench.common.rehearsal import noted, or_noted, rehearsal
from lorisbench.suite.benchmarks import make_benchmark


def manifest_here(settings: Mapping[str, Any], split: str) -> Any:
    """The `Manifest` of a benchmark with these settings, as a run evaluated on `split` uses it.

    Raises InputError if the images are not here, or would have to be rendered or downloaded.
    """
    with rehearsal() as notes:
        found = or_noted(lambda: make_benchmark(settings).usable(split), "images")
        if found is None or noted():
            raise InputError(f"the images are not on this machine ({'; '.join(notes) or 'none found'})")
        return found
