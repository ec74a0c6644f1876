"""`lorisbench latency OUT`: the models of finished runs measured again, on any machine, from the output's files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from lorisbench.common.console import say
from lorisbench.common.errors import InputError, reason_of
from lorisbench.common.reading import read_json
from lorisbench.common.registry import STRATEGIES, apart, load_plugin, select
from lorisbench.common.restored import restored
from lorisbench.engine.assembly import restored_model
from lorisbench.metrics.records import features_in, images_by_stream
from lorisbench.model.backbones import backbone_of
from lorisbench.model.features import to_tensor
from lorisbench.model.models import Backbone
from lorisbench.runs.latency import architecture_of, bare_of, check_answers, frozen, inputs_of, samples, timed
from lorisbench.runs.latency_table import OWN, RANDOM, add_rows, row_of
from lorisbench.runs.quiet import measuring
from lorisbench.runs.store import Output
from lorisbench.runs.workbench import device_of, store_without_content
from lorisbench.suite.config import BackboneConfig, LatencyConfig
from lorisbench.suite.entries import kinds_of
from lorisbench.suite.here import manifest_here
from lorisbench.suite.parsing import parse
from lorisbench.suite.run_folders import run_folders, suite_of
from lorisbench.suite.spec import RunSpec, spec_from, stream_of, tell_changed_code
from lorisbench.suite.streams import benchmarks_of

if TYPE_CHECKING:
    from torch import nn

    from lorisbench.data.manifest import Manifest


@dataclass
class _Stream:
    """What the runs of a stream share here: its images if they are here, its classes, and batches of uint8 images.

    width : how many features were given for each image, in whose place the batches then are; else 0.
    inputs : batches by size (`inputs_of`). told : which images they are.
    """

    manifest: Manifest | None
    classes: int
    width: int
    inputs: dict[int, list[torch.Tensor]]
    told: str


def measure_again(
    out: Path,
    device: str = "auto",
    threads: int | None = None,
    calls: int | None = None,
    strategies: Sequence[str] = (),
    plugins: Sequence[Path] = (),
) -> pd.DataFrame:
    """Measure the finished runs of an output here, one of each architecture; write and return rows of OUT/latency.csv.

    Needs the output's files alone. Where the images are not on this machine, or would have to be made, random ones of
    the right size are timed; the row says so. A run whose model cannot be restored has a row with the reason in
    `error`. Plugins named in suite.yaml are not loaded by themselves, as an output may come from elsewhere.

    Raises InputError if the folder holds no suite or no finished run, or for an unknown strategy or device.
    """
    suite = suite_of(out)
    for plugin in plugins:
        load_plugin(plugin)
    output = Output(out.absolute())
    configs = list(run_folders(out, suite).kept.values())
    wanted = select("strategy", strategies, list(dict.fromkeys(c["label"] for c in configs))) if strategies else None
    configs = [
        config
        for config in configs
        if (wanted is None or config["label"] in wanted) and output.run(config["run_id"]).status()["status"] == "done"
    ]
    if not configs:
        raise InputError(f"{out}: no finished run{' of these strategies' if strategies else ''} to measure")
    changes = {key: value for key, value in (("threads", threads), ("calls", calls)) if value is not None}
    settings = parse(LatencyConfig, {**(suite.get("latency") or {}), **changes}, "latency")
    place = device_of(device)
    streams: dict[str, _Stream] = {}
    known: dict[tuple[str, str], dict[str, Any]] = {}
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    with output.alone("measuring latency"), measuring():
        for config in configs:
            name = stream_of(config)
            if name not in streams:
                streams[name] = _stream(out, suite, config, settings, place)
            stream = streams[name]
            found = _measure(output, config, stream, settings, place, known)
            kind = name, config["label"], found.get("architecture", config["run_id"])
            if kind not in rows:
                told = {**config, "stream": name}
                rows[kind] = row_of(told, found, str(place), settings.threads, found.get("images", stream.told))
                added = add_rows(out, rows.values())  # now: what was measured outlives an interrupt
        return added


@restored()
def _measure(
    output: Output, config: Mapping[str, Any], stream: _Stream, settings: LatencyConfig, device: torch.device,
    known: dict[tuple[str, str], dict[str, Any]],
) -> dict[str, Any]:  # fmt: skip
    """The latency of a run's model as latency.json has it, or `error`.

    known : what was measured, by stream and architecture; such a model is not timed again.
    """
    folder = output.run(config["run_id"]).path
    try:
        spec = _spec(output.root, config)
        tell_changed_code(config, spec)
        backbone, weights = _backbone(spec, stream.width)
        model = _restore(spec, folder, backbone, stream, len(config.get("permutation") or [0])).to(device)
        architecture = architecture_of(model, spec)
        per_task = spec.head.per_task
        if (spec.stream, architecture) in known:
            check_answers(model, stream.inputs, per_task)
            return known[spec.stream, architecture]
        say(f"measuring {spec.run_id}")
        bare = bare_of(model, backbone.feature_dim, stream.classes)
        times = timed(model, bare, stream.inputs, per_task, settings, device)
    except InputError as error:
        return {"error": str(error)}
    except Exception as error:  # whatever a strategy's own code raises
        return {"error": reason_of(error)}
    known[spec.stream, architecture] = {**times, "architecture": architecture, "images": stream.told + weights}
    return known[spec.stream, architecture]


def _spec(out: Path, config: Mapping[str, Any]) -> RunSpec:
    entry = config.get("strategy")
    name = entry.get("strategy") if isinstance(entry, Mapping) else None
    if isinstance(name, str) and name not in STRATEGIES.names():
        raise InputError(f"strategy {name!r} is not built in; give the file that defines it by --plugin")
    return spec_from(config, out / "runs" / config["run_id"] / "config.yaml")


def _backbone(spec: RunSpec, width: int) -> tuple[Backbone, str]:
    """A run's backbone, and what is to be said of its weights: a frozen one's may be missing here."""
    settings: BackboneConfig = spec.backbone
    empty = settings.model_copy(update={"weights": "none"})
    if width:
        return backbone_of(settings, width=width), ""
    if not frozen(spec):  # the checkpoint holds them
        return backbone_of(empty), ""
    try:
        made = backbone_of(settings)
        made.freeze()
        return made, ""
    except Exception:  # no network, or a host that refuses: what timm and torchvision raise
        made = backbone_of(empty)
        made.freeze()
        return made, ", random weights of the backbone"


def _restore(spec: RunSpec, folder: Path, backbone: Backbone, stream: _Stream, experiences: int) -> nn.Module:
    """The trained model on the CPU, in eval mode, with its backbone."""
    if stream.manifest is None and spec.head.per_task:
        raise InputError("head.per_task: which classes a task has is read from the images, which are not here")
    store = store_without_content(spec.backbone, backbone.feature_dim, stream.manifest, spec.head.per_task)
    with apart(kinds_of(spec.strategy)):
        return restored_model(spec, backbone, store, stream.classes, experiences, torch.device("cpu"), folder)


def _stream(
    out: Path, suite: Mapping[str, Any], config: Mapping[str, Any], settings: LatencyConfig, device: torch.device
) -> _Stream:
    name, size = stream_of(config), config["backbone"]["image_size"]
    benchmarks = benchmarks_of(suite)
    data = images_by_stream(read_json(out / "data.json") or {}, benchmarks).get(name, {})
    classes, width = data.get("classes"), features_in(data)
    if not isinstance(classes, list) or not classes:
        raise InputError(f"{out / 'data.json'}: missing or damaged; the classes of stream {name!r} are read from it")
    split = config["evaluation"]["split"]
    manifest = _manifest(benchmarks.get(name, {}), split, classes)
    if manifest is not None:
        own = manifest
        try:
            inputs = inputs_of(settings, lambda count: samples(own, split, size, count, device))
            return _Stream(manifest, len(classes), width, inputs, OWN)
        except (InputError, OSError):
            manifest = None
    drawing = np.random.default_rng(0)

    def drawn(count: int) -> torch.Tensor:
        if width:
            return torch.from_numpy(drawing.standard_normal((count, width), dtype=np.float32)).to(device)
        return to_tensor(drawing.integers(0, 256, (count, size, size, 3), dtype=np.uint8), device)

    return _Stream(manifest, len(classes), width, inputs_of(settings, drawn), RANDOM)


def _manifest(settings: Mapping[str, Any], split: str, classes: Sequence[str]) -> Manifest | None:
    """The images of a stream if they are here; None if they are not, or would be rendered or downloaded."""
    try:
        found = manifest_here(settings, split)
        return found if list(found.classes) == list(classes) else None
    except Exception:  # an InputError, or whatever the code of a reader raises that finds nothing here
        return None
