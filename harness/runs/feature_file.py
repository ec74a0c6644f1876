"""`lorisbench data features`: what a frozen backbone makes of the images of a benchmark, as a file without images."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from lorisbench.common.errors import InputError
from lorisbench.common.registry import STRATEGIES, load_plugin, select
from lorisbench.suite.config import SuiteConfig, names_suite
from lorisbench.suite.overrides import override
from lorisbench.suite.parsing import parse
from lorisbench.suite.resolve import ResolvedConfig, load_suite, resolve


def stream_named(
    what: str,
    stream: str = "",
    data_root: Path | None = None,
    assignments: Sequence[str] = (),
    plugins: Sequence[str] = (),
) -> ResolvedConfig:
    """The settings of a stream: the only one of a suite, or the one of this name; or a benchmark, by its name, under a
    suite's defaults.

    Raises InputError for an unknown name, and for whatever `run` refuses in the settings.
    """
    for plugin in plugins:
        load_plugin(plugin)
    if names_suite(what):
        suite = load_suite(what, data_root=data_root, assignments=assignments, plugins=plugins)
    else:
        some = min(STRATEGIES.names())  # a suite has one; nothing is trained
        raw = {"name": what, "benchmark": {"name": what}, "strategies": {some: {}}}
        override(raw, assignments)
        suite = resolve(parse(SuiteConfig, raw), data_root=data_root, base=Path.cwd())
    names = list(suite.streams)
    if not stream and len(names) > 1:
        raise InputError(f"{what}: has the streams {', '.join(names)}; choose one by --stream NAME")
    return suite.streams[select("stream", [stream or names[0]], names)[0]]


def write_features(config: ResolvedConfig, file: Path) -> str:
    """Extract the features of all images of a stream, unless the cache has them, and write them to a .npz file.

    What they are of goes with them: labels, names, experiences, splits, recordings, factors and levels. Returns a
    sentence on what was written. Raises InputError if the benchmark gives features, the backbone is trained, or the
    features are not finite, and whatever the benchmark refuses.
    """
    from lorisbench.benchmarks.features.writing import write
    from lorisbench.data.images import PREPROCESSING
    from lorisbench.runs.workbench import prepare

    settings, name = config.backbone, config.benchmark.name
    if config.benchmark.gives == "features":
        raise InputError(f"benchmark {name!r} has features already; benchmark: {{features: FILE}} reads them")
    if settings.train != "never":
        raise InputError(
            f"backbone.train: {settings.train} gives features that are no longer those of the images alone; set "
            "backbone.train=never"
        )
    manifest = config.benchmark.usable(config.evaluation.split)
    frozen = config.model_copy(update={"backbone": settings.model_copy(update={"cache": True}), "strategies": {}})
    bench = prepare(frozen, manifest)
    features = bench.x.cpu().numpy()
    about = {
        "name": manifest.name,
        "source": f"features of {settings.name} at {settings.image_size} pixels; {manifest.source}",
        "synthetic": manifest.synthetic,
        "backbone": settings.model_dump(mode="json"),
        "weights": bench.backbone.digest(),
        "preprocessing": PREPROCESSING,
        "images": manifest.content_hash,
        "lorisbench": version("lorisbench"),
    }
    write(file, manifest, features, about)
    replay = "; benchmark.val_as_replay is a setting, to be given again" if manifest.val_as_replay else ""
    return (
        f"{len(features):,} images of {manifest.name}, {features.shape[1]} features each, "
        f"{manifest.experiences} experiences{replay}"
    )
