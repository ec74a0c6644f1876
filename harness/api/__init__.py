"""The Python interface: run comparisons, load finished ones, and get a stream for a plain Avalanche script."""

import warnings

from lorisbench.common.console import hide_warnings

with warnings.catch_warnings():
    hide_warnings()
    import avalanche.training  # noqa: F401  (its first import warns about a solver that only one method needs)
