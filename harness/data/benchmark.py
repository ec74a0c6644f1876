"""The base class of every benchmark: typed settings and a function that returns a manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from lorisbench.common.component import Component
from lorisbench.common.registry import BENCHMARKS

if TYPE_CHECKING:
    from lorisbench.data.manifest import Manifest


class Benchmark(Component):
    """A source of images. Subclass with `name="..."`, annotate the settings as fields, and return a manifest.

    A benchmark with a field `root` can be pointed at a folder with `--data-root`; a class attribute `real` names the
    benchmark that reads real data in the same layout, to which `--data-root` then switches.

    `untrained: allow` lets a run test classes that no experience trains; as a rule they are misspelt, and refused.
    """

    registry: ClassVar = BENCHMARKS
    real: ClassVar[str | None] = None
    untrained: Literal["refuse", "allow"] = "refuse"

    def manifest(self) -> Manifest:
        """The table of images. Raises InputError, in one line that names the file or folder, if it cannot be made."""
        raise TypeError(f"{type(self).__name__} does not say how to make its manifest")

    def usable(self, split: str = "test") -> Manifest:
        """The manifest as a run evaluated on `split` uses it: checked, with notes on gaps and names (see `usable`).

        Raises InputError, in one line, if it cannot be made or lacks what such a run needs.
        """
        from lorisbench.data.usable import checked

        return checked(self.manifest(), split, self.untrained == "allow")
