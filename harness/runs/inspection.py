"""What is checked before a suite is trained: by `run` first of all, and by `--dry-run` instead of training.

Both call `inspect`, so that what one refuses the other refuses in the same words.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lorisbench.common.errors import InputError, reason_of
from lorisbench.common.rehearsal import note, noted, or_noted, rehearsal
from lorisbench.runs.store import Output
from lorisbench.suite.resolve import ResolvedConfig, Suite

if TYPE_CHECKING:
    from lorisbench.data.manifest import Manifest
    from lorisbench.model.models import Backbone
    from lorisbench.suite.spec import RunSpec


@dataclass(frozen=True)
class Inspected:
    """What was found: the images, what data.json says about them, and the backbone.

    In a rehearsal, `manifest` is None if the data would be downloaded, and `data` if they cannot be compared with those
    of the folder; `weights` says whether the backbone's are there. `backbone` is None if all runs are finished and
    measured.
    """

    manifest: Manifest | None
    data: dict[str, Any] | None
    backbone: Backbone | None
    weights: bool = True


def inspect(config: ResolvedConfig, output: Output, needs_backbone: bool) -> Inspected:
    """Build backbone and manifest of a stream, and check that they suit each other, the folder and the settings.

    needs_backbone : whether a run is to be trained or measured.

    Raises InputError, naming the key, file or folder, for whatever keeps its runs from being made.
    """
    backbone, weights = None, True
    given = config.benchmark.gives == "features"
    if needs_backbone:
        # Before the data, which may take minutes to render: a missing device or backbone is reported at once
        from lorisbench.model.backbones import backbone_of
        from lorisbench.runs.checks import check_runtime
        from lorisbench.runs.workbench import device_of

        check_runtime(config, device_of(config.device))
        if not given:
            backbone = or_noted(
                lambda: backbone_of(config.backbone), f"the ImageNet weights of backbone {config.backbone.name!r}"
            )
            weights = backbone is not None
            backbone = backbone or backbone_of(config.backbone.model_copy(update={"weights": "none"}))
    split = config.evaluation.split
    manifest = or_noted(lambda: config.benchmark.usable(split), f"the data of benchmark {config.benchmark.name!r}")
    if manifest is not None and given != (manifest.features is not None):
        raise InputError(
            f"benchmark {config.benchmark.name!r} says that it gives {config.benchmark.gives}, and its manifest holds "
            f"{'images' if given else 'features'}: its class must set gives: ClassVar[str]"
        )
    if manifest is not None and given and needs_backbone:
        backbone = backbone_of(config.backbone, width=manifest.width)
    data = None
    if manifest is not None and not noted():
        data = manifest.describe()
        output.check_images(config.stream, data)
    if manifest is not None and backbone is not None:
        from lorisbench.runs.checks import check_stream

        check_stream(config, manifest)
    return Inspected(manifest, data, backbone, weights)


def rehearse(
    suite: Suite, output: Output, needed: Container[str], look: Callable[[Inspected, ResolvedConfig], None]
) -> list[str]:
    """Inspect a suite without rendering or downloading anything; returns sentences about what would be.

    Each strategy is also built for the stream, as its runs would. Raises InputError as `run` does.

    needed : the streams of which a run is to be trained or measured. look : is given what was found of each stream,
    which lasts no longer than the rehearsal.
    """
    lacking = False
    with rehearsal() as notes:
        for name, config in suite.streams.items():
            found = inspect(config, output, needs_backbone=name in needed)
            if found.manifest is not None and found.backbone is not None:
                specs = [spec for spec in suite.runs if spec.stream == name]
                _build_strategies(config, specs, found.manifest, found.backbone)
            look(found, config)
            lacking |= found.manifest is None
    return [*notes, *(["what depends on these data is not checked"] if lacking else [])]


def check_builds(specs: Iterable[RunSpec], build: Callable[[RunSpec], object]) -> None:
    """Build one run of each label, before any training, for what cannot work in it.

    Raises InputError, naming the suite's key, for what refuses the stream, such as a plugin of Avalanche. Anything else
    that is raised would end the label's own runs only, as failed: a rehearsal notes it.
    """
    for spec in {spec.label: spec for spec in specs}.values():
        try:
            build(spec)
        except InputError as error:
            raise InputError(f"strategies.{spec.label}: {error}") from error
        except (Exception, SystemExit) as error:
            note(f"strategies.{spec.label}: its runs would fail: {reason_of(error)}")


def _build_strategies(config: ResolvedConfig, specs: Iterable[RunSpec], manifest: Manifest, backbone: Backbone) -> None:
    """Build what a run of each strategy would train, on inputs without content (see `check_builds`)."""
    import torch

    from lorisbench.engine.assembly import assemble
    from lorisbench.runs.checks import check_batch_sizes, check_precision
    from lorisbench.runs.workbench import device_of, store_without_content

    if config.backbone.train == "never":
        backbone.freeze()
    check_batch_sizes(config, backbone)
    check_precision(config, device_of(config.device))

    def build(spec: RunSpec) -> Any:
        store = store_without_content(config.backbone, backbone.feature_dim, manifest, config.head.per_task)
        return assemble(spec, backbone, store, len(manifest.classes), manifest.experiences, torch.device("cpu"))

    check_builds(specs, build)
