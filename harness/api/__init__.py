"""The way in from Python: run comparisons, load finished ones, and get a stream for a plain Avalanche script."""

import warnings

from lorisbench.common.console import hide_warnings

with warnings.catch_warnings():
    hide_warnings()
    import avalanche.training  # noqa: F401  (warns of a solver that only one method needs when it is first imported)
