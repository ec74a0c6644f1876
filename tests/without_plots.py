"""Reports without plots, which take longer to draw than all else."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock


@contextlib.contextmanager
def without_plots() -> Iterator[None]:
    """Meanwhile, no report draws a plot."""
    from lorisbench.report import drawn

    def begun(*given: Any) -> Any:
        return contextlib.nullcontext(lambda: drawn.Plots([], []))

    with mock.patch.object(drawn, "begun", begun):
        yield
