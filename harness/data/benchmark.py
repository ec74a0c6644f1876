"""The base class of every benchmark: typed settings and a function that returns a manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from lorisbench.common.component import Component
from lorisbench.common.registry import BENCHMARKS

if TYPE_CHECKING:
    from lorisbench.data.manifest import Manifest


class Benchmark(Component):
    """A source of images. Subclass with `name="..."`, annotate the settings as fields, and return a manifest.

    A benchmark with a field `root` can be pointed at a folder with `--data-root`; a class attribute `real` names the
    benchmark that reads real data in the same layout, to which `--data-root` then switches.
    """

    registry: ClassVar = BENCHMARKS
    real: ClassVar[str | None] = None
    makes_root: ClassVar[bool] = False
    """Whether its `root` need not exist, because it is a place for downloads."""

    def manifest(self) -> Manifest:
        """The table of images. Raises InputError, in one line that names the file or folder, if it cannot be made."""
        raise TypeError(f"{type(self).__name__} does not say how to make its manifest")
