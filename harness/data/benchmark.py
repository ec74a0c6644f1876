"""The base class of every benchmark: typed settings and a function that returns a manifest."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from lorisbench.common.component import Component
from lorisbench.common.errors import InputError, reason_of
from lorisbench.common.registry import BENCHMARKS, apart, file_of

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
    reads: ClassVar[str] = ""
    """What kind of folder its `root` is, where other benchmarks read the same."""
    untrained: Literal["refuse", "allow"] = "refuse"
    makes_root: ClassVar[bool] = False
    """Whether its `root` need not exist, because it is a place for downloads."""
    gives: ClassVar[Literal["images", "features"]] = "images"
    """What its manifest holds: images, or features that a backbone elsewhere made of them (`Manifest.features`)."""

    @classmethod
    def __pydantic_init_subclass__(cls, *, name: str | None = None, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(name=name, **kwargs)
        if "manifest" in vars(cls) and not cls.__module__.startswith(f"{__name__.partition('.')[0]}."):
            cls.manifest = _guarded(cls, cls.manifest)  # type: ignore[assignment, method-assign]

    def manifest(self) -> Manifest:
        """The table of images. Raises InputError, in one line that names the file or folder, if it cannot be made."""
        raise TypeError(f"{type(self).__name__} does not say how to make its manifest")

    def usable(self, split: str = "test") -> Manifest:
        """The manifest as a run evaluated on `split` uses it: checked, with notes on gaps and names (see `usable`).

        Raises InputError, in one line, if it cannot be made or lacks what such a run needs.
        """
        from lorisbench.data.usable import checked

        return checked(self.manifest(), split, self.untrained == "allow")


def _guarded(kind: type, make: Callable[[Any], Any]) -> Callable[[Any], Manifest]:
    """`manifest` of an outside class: what it changes in the process is put back, and its mistakes are one line."""

    @functools.wraps(make)
    def manifest(self: Any) -> Manifest:
        from lorisbench.data.manifest import Manifest

        what = f"{kind.__name__}.manifest() in {file_of(kind)}"
        try:
            with apart([kind]):
                made = make(self)
        except (InputError, OSError):
            raise
        except Exception as error:
            raise InputError(f"{what}: {reason_of(error)}") from error
        if not isinstance(made, Manifest):
            raise InputError(f"{what} returned {made!r:.60}: return a lorisbench Manifest")
        return made

    return manifest
