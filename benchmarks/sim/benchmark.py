"""OpenLORIS-Sim as a benchmark: rendered once into the user's cache, then read like the real release."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from lorisbench.benchmarks.openloris.benchmark import Recorded
from lorisbench.common.cache import cache_root
from lorisbench.common.errors import InputError
from lorisbench.common.files import digest_of
from lorisbench.common.rehearsal import only_noted, stand_in
from lorisbench.data.manifest import Manifest


class OpenLORISSim(Recorded, name="openloris-sim"):
    """Synthetic stand-in with the release's layout, factors and levels, rendered on first use (not OpenLORIS)."""

    real: ClassVar[str | None] = "openloris"
    objects: int = Field(16, ge=2)
    frames: int = Field(10, ge=5)
    size: int = Field(128, ge=32)
    render_seed: int = Field(0, ge=0)

    def manifest(self) -> Manifest:
        mixed = self.protocol == "challenge"
        settings = {"objects": self.objects, "frames": self.frames, "size": self.size, "seed": self.render_seed}
        layout = "challenge" if mixed else "release"
        return self.read(render_set(None, mixed=mixed, **settings), layout)


def render_set(out: Path | None, workers: int | None = None, mixed: bool = False, **settings: int) -> Path:
    """Render a set with `SimSettings(**settings)` at `out` or in the cache, unless it exists; returns its folder.

    `mixed` renders the challenge's nine batches in place of the release's segments. In a rehearsal, a set that is not
    there is noted, and a folder given whose files have its names only.

    Raises InputError on settings that the renderer refuses and on a folder that holds something else.
    """
    from lorisbench.benchmarks.sim.render import RENDERER_VERSION, SimSettings, blank, is_complete, plain, render

    try:
        chosen = SimSettings(mixed=mixed, **settings)  # type: ignore[arg-type]
        key = digest_of({"version": RENDERER_VERSION, **plain(chosen)})[:16]
        folder = out or cache_root() / "renders" / f"openloris-sim-{key}"
        what = f"{chosen.images:,} images of OpenLORIS-Sim would be rendered"
        if not is_complete(folder, chosen) and only_noted(what):
            return stand_in(str(folder), lambda empty: blank(empty, chosen))
        return render(folder, chosen, workers=workers)
    except (ValueError, FileExistsError) as error:
        raise InputError(str(error)) from error
