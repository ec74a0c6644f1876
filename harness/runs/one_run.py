"""One run from its settings to its files: data, model, strategy, the loop over experiences, and what is saved."""

from __future__ import annotations

import itertools
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from lorisbench.common.environment import environment
from lorisbench.common.errors import InputError, reason_of
from lorisbench.common.registry import apart
from lorisbench.data import images
from lorisbench.data.manifest import Manifest
from lorisbench.data.stream import Store, Views, make_stream
from lorisbench.engine.assembly import assemble, seed_everything
from lorisbench.engine.batches import normalise_single_samples
from lorisbench.engine.divergence import Diverged, check_weights, trained_place
from lorisbench.engine.engine import DivergenceGuard, Recorder
from lorisbench.engine.evaluation import learn
from lorisbench.engine.state import heads_of, referred_samples, replay_samples, state_bytes
from lorisbench.engine.strategy import kinds_of
from lorisbench.engine.validation_replay import ValidationReplay
from lorisbench.model import features, views
from lorisbench.model.checkpoint import write_checkpoint
from lorisbench.model.models import Backbone, backbone_of, megabytes
from lorisbench.runs.checks import check_batch_sizes, check_features, not_finite_rows
from lorisbench.runs.directory import RunDirectory
from lorisbench.suite.orders import permutation
from lorisbench.suite.resolve import ResolvedConfig
from lorisbench.suite.spec import RunSpec
from lorisbench.suite.training import AugmentConfig


@dataclass
class Workbench:
    """What all runs of a stream share in one process.

    Attributes
    ----------
    x : inputs of all images in manifest order: float32 features if they are cached, else uint8 images (n, 3, s, s).
    y, task : int64 labels and task labels.
    backbone : the pretrained backbone; a run that trains it works on a copy.
    device : where runs train. `device: auto` trains heads on cached features on the CPU even where there is a GPU:
        their steps are too small to be worth kernel launches (quickstart's LwF: 4.6 s on an H100, 1.9 s on its host).
    accelerator : where backbones run: features are extracted and latency is measured there.
    """

    config: ResolvedConfig
    manifest: Manifest
    device: torch.device
    accelerator: torch.device
    backbone: Backbone
    x: torch.Tensor
    y: torch.Tensor
    task: torch.Tensor

    @property
    def on_features(self) -> bool:
        return self.config.backbone.on_features


def device_of(name: str) -> torch.device:
    """The device of this name; `auto` is the GPU if there is one. Raises InputError for a GPU that does not exist."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda"):
        index = int(name.partition(":")[2] or 0)
        if index >= torch.cuda.device_count():
            raise InputError(f"device {name!r}: this machine has {torch.cuda.device_count()} GPUs")
    return torch.device(name)


def prepare(config: ResolvedConfig, manifest: Manifest, backbone: Backbone | None = None) -> Workbench:
    """Load the backbone, unless given, and the inputs (features or images, from the cache or computed now).

    `manifest` is one that `usable` gave for the split that fills the accuracy matrix. Raises InputError if batches of
    one sample cannot train the backbone, or if features are not finite.
    """
    accelerator = device_of(config.device)
    if accelerator.type == "cuda":
        _make_cuda_deterministic()
    settings = config.backbone
    backbone = backbone or backbone_of(settings)
    size = settings.image_size
    if settings.train == "never":
        backbone.freeze()
    check_batch_sizes(config, backbone)
    device = torch.device("cpu") if settings.on_features and config.device == "auto" else accelerator
    if settings.on_features:
        # Here, where all cores are used and no other process waits for them; orders differ in who comes first
        ordered = [manifest.in_order(permutation(order, manifest.experiences)) for order in config.orders]
        for augment, stream in itertools.product(views.wanted(config), ordered):
            extracted = views.cached(stream, backbone, size, accelerator, augment).extracted
            check_features(extracted.flatten(1), views.rows_of(stream, augment), "augmented ", config, stream)
        x = torch.from_numpy(features.cached(manifest, backbone, size, accelerator))
        check_features(x, np.arange(len(x)), "", config, manifest)
        x = x.to(device)
    else:
        x = torch.from_numpy(images.cached(manifest, size)).permute(0, 3, 1, 2)
    y = torch.tensor(manifest.table.label.to_numpy(dtype=np.int64))
    task = torch.tensor(manifest.task_labels())
    return Workbench(config, manifest, device, accelerator, backbone, x, y.to(x.device), task.to(x.device))


def _views(bench: Workbench, augment: AugmentConfig | None) -> Views | None:
    if augment is None:
        return None
    if bench.on_features:
        size = bench.config.backbone.image_size
        return views.cached(bench.manifest, bench.backbone, size, bench.accelerator, augment)
    return views.image_views(bench.manifest, augment)


def _make_cuda_deterministic() -> None:
    """Make runs repeatable on one GPU: no algorithm is chosen by timing, none sums in an arbitrary order."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.use_deterministic_algorithms(True)


def build(bench: Workbench, spec: RunSpec, store: Store) -> Any:
    """The Avalanche strategy of a run, with a fresh model, optimizer and plugin list. `store`: see `store_of`."""
    classes, experiences = len(bench.manifest.classes), bench.manifest.experiences
    return assemble(spec, bench.backbone, store, classes, experiences, bench.device)


def train(bench: Workbench, spec: RunSpec, directory: RunDirectory) -> None:
    """Train and evaluate one run, journalling each experience; its status ends as done, diverged or failed.

    An error in the strategy ends this run only (status failed, reason and traceback in status.json); an interrupt and
    an InputError are passed on. What it changes in the process is put back, so that no run sees what came before it.
    """
    marks = _marks(bench)
    experiences = bench.manifest.experiences
    ordered = replace(bench, manifest=bench.manifest.in_order(permutation(spec.order, experiences)))
    threads = 1 if bench.on_features else torch.get_num_threads()
    directory.start(spec.config_for(experiences), environment(threads, str(bench.device), str(bench.accelerator)))
    try:
        with apart(kinds_of(spec.strategy)):
            # One thread for heads on features: more would gain nothing, and this way sums never depend on --workers
            torch.set_num_threads(threads)
            strategy = _loop(ordered, spec, directory)
        write_checkpoint(strategy.model, directory.path, frozen=bench.config.backbone.train == "never")
        directory.set_status("done")
    except Diverged as error:
        directory.set_status("diverged", f"{spec.label}: {error}")
    except (KeyboardInterrupt, InputError) as error:
        directory.set_status("pending", f"interrupted ({type(error).__name__})")
        raise
    except (Exception, SystemExit) as error:  # a plugin that exits ends its run, not the suite
        import traceback

        directory.set_status("failed", reason_of(error), traceback=traceback.format_exc())
    finally:
        if _marks(bench) != marks:
            vars(bench).update(vars(prepare(bench.config, bench.manifest)))


def _marks(bench: Workbench) -> list[int]:
    """Numbers that rise with each change in place to what all runs share: inputs, labels, the pretrained backbone."""
    return [tensor._version for tensor in (bench.x, bench.y, bench.task, *bench.backbone.state_dict().values())]


def store_of(bench: Workbench) -> Store:
    """The samples as strategies see them, for one run."""
    return Store(bench.x, bench.y, bench.task, labelled=bench.config.head.per_task)


def _loop(bench: Workbench, spec: RunSpec, directory: RunDirectory) -> Any:
    store = store_of(bench)
    store.views = _views(bench, spec.training.augment)
    stream = make_stream(bench.manifest, store)
    strategy = build(bench, spec, store)
    normalise_single_samples(strategy.model)  # also if it is no Engine, which does so too
    recorder = Recorder()
    strategy.plugins.append(recorder)
    if not any(isinstance(plugin, DivergenceGuard) for plugin in strategy.plugins):
        strategy.plugins.append(DivergenceGuard())
    if bench.manifest.val_as_replay:
        strategy.plugins.append(ValidationReplay([e.dataset for e in stream.streams["validation"]]))
    split = bench.config.evaluation.split
    tests = list(stream.streams[split])
    rows = [bench.manifest.rows(split, e) for e in range(bench.manifest.experiences)]
    label = bench.manifest.table.label.to_numpy(dtype=np.int32)[np.concatenate(rows)]
    experience = np.repeat(np.arange(len(rows), dtype=np.int32), [len(r) for r in rows])
    predicted: list[np.ndarray] = []
    for index, current in enumerate(stream.train_stream):
        seed_everything(spec.seed, index)
        start = time.perf_counter()
        learn(strategy, stream, index)
        _synchronise(bench.device)
        seconds = time.perf_counter() - start
        if index == 0 and bench.config.backbone.train == "first":
            _freeze_backbone(bench, strategy, store)
        strategy.eval(tests)
        check_weights(strategy)  # of a part that did not answer, such as a head not chosen
        predicted.append(recorder.predictions().numpy())
        directory.write_predictions(np.stack(predicted), label, experience)
        hits = np.bincount(experience, weights=predicted[-1] == label) / np.bincount(experience)
        directory.journal(
            {
                "experience": index,
                "name": bench.manifest.experience_names[index],
                "train_seconds": seconds,
                "train_images": len(current.dataset),
                "accuracy": hits.tolist(),
                **_sizes(bench, strategy, store),
            }
        )
        _write_tables(strategy.plugins, directory)
    return strategy


def _freeze_backbone(bench: Workbench, strategy: Any, store: Store) -> None:
    """`backbone.train: first`: after experience 0 the backbone is frozen and its features replace the images."""
    backbone = strategy.model.backbone
    backbone.freeze()
    if isinstance(store.views, views.ImageViews):  # before the images are gone; the first's are used up
        later = store.views.settings.experiences == "all"
        store.views = views.of_backbone(backbone, store.x, store.views, bench.device) if later else None
    chunks = (
        np.ascontiguousarray(store.x[i : i + features.BATCH].permute(0, 2, 3, 1).numpy())
        for i in range(0, len(store.x), features.BATCH)
    )
    extracted = np.concatenate(list(features.extract(backbone, chunks, bench.device)))
    bad = not_finite_rows(torch.from_numpy(extracted))
    if len(bad):
        share = f"{100 * len(bad) / len(extracted):.3g} %"
        raise Diverged(f"the features of {share} of the images are not finite after {trained_place(strategy)}")
    store.x = torch.from_numpy(extracted).to(bench.device)
    store.y, store.task = store.y.to(bench.device), store.task.to(bench.device)
    # Features (2-D inputs) skip the backbone; it stays in the model, frozen, for the checkpoint and for latency


def _sizes(bench: Workbench, strategy: Any, store: Store) -> dict[str, Any]:
    model = strategy.model
    attached = getattr(model, "backbone", None) is not None
    parameters = megabytes(model) + (0.0 if attached else megabytes(bench.backbone))
    extra, router = state_bytes(strategy, model)
    sample = store.x[0].numel() * store.x.element_size()
    return {
        "model_mb": parameters - router / 1e6,
        "state_mb": (extra + router + referred_samples(strategy.plugins) * sample) / 1e6,
        "replay_samples": replay_samples(strategy.plugins),
        "heads": heads_of(model),
    }


def _write_tables(plugins: list[Any], directory: RunDirectory) -> None:
    """Write <name>.csv for each of the plugins' `tables`. Raises ValueError unless a name is a plain file name."""
    import pandas as pd

    from lorisbench.common.files import write_text

    tables: dict[str, list[Mapping[str, Any]]] = {}
    for plugin in plugins:
        found = getattr(plugin, "tables", None)
        # A plugin of Avalanche or of a third party may use an attribute of this name for its own purposes
        for name, rows in found.items() if isinstance(found, dict) else ():
            if isinstance(rows, list) and rows:
                tables.setdefault(str(name), []).extend(rows)
    for name, rows in tables.items():
        if not re.fullmatch("[a-z0-9_]+", name):
            raise ValueError(f"a table may not be called {name!r}: use only a-z, 0-9 and _")
        write_text(directory.path / f"{name}.csv", pd.DataFrame(rows).convert_dtypes().to_csv(index=False))


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
