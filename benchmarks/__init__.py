"""Readers of data, by family: each is a `Benchmark`, which returns a manifest of images."""

from typing import TYPE_CHECKING

from lorisbench.common.lazy import exports

if TYPE_CHECKING:
    from lorisbench.data.benchmark import Benchmark

__all__ = ["Benchmark"]
__getattr__, __dir__ = exports(__name__, {"Benchmark": "lorisbench.data.benchmark"})
