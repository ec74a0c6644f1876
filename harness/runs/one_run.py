"""One run from its settings to its files: data, model, strategy, the loop over experiences, and what is saved."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lorisbench.common.console import say
from lorisbench.common.environment import environment
from lorisbench.common.errors import InputError, Stopped, reason_of
from lorisbench.common.registry import apart
from lorisbench.data import images
from lorisbench.data.manifest import Manifest
from lorisbench.data.stream import Store, Views, make_stream
from lorisbench.engine.assembly import assemble, seed_everything
from lorisbench.engine.batches import normalise_single_samples
from lorisbench.engine.divergence import Diverged, check_weights, trained_place
from lorisbench.engine.engine import DivergenceGuard, Engine, Recorder
from lorisbench.engine.evaluation import learn
from lorisbench.engine.resume import Resumable
from lorisbench.engine.revive import Misfit
from lorisbench.engine.state import sizes_of
from lorisbench.engine.stopping import StopRequest
from lorisbench.engine.strategy import kinds_of
from lorisbench.engine.validation_replay import ValidationReplay
from lorisbench.model import features, views
from lorisbench.model.checkpoint import write_checkpoint
from lorisbench.model.grey import GreyPixels, is_grey
from lorisbench.model.models import Backbone, backbone_of
from lorisbench.runs.checks import check_batch_sizes, check_features, not_finite_rows
from lorisbench.runs.directory import NOT_TESTED, RunDirectory
from lorisbench.runs.estimate import remember_run
from lorisbench.runs.observers import Audience, Observer, Watch
from lorisbench.runs.resume import BUILT_WITH, LAST, Checkpoints, identity, unpacked
from lorisbench.suite.config import BackboneConfig
from lorisbench.suite.orders import permutation
from lorisbench.suite.resolve import ResolvedConfig
from lorisbench.suite.spec import RunSpec
from lorisbench.suite.training import AugmentConfig


@dataclass
class Workbench:
    """What all runs of a stream share in one process.

    Attributes
    ----------
    x : inputs of all images in manifest order: float32 features if they are given or cached, else uint8 images
        (n, 3, s, s). Where each run has a stream of its own (`Manifest.draw`), those of the stream as it is told; see
        `of_seed`.
    y, task : int64 labels and task labels.
    backbone : the pretrained backbone; a run that trains it works on a copy.
    device : where runs train. `device: auto` trains heads on cached features on the CPU even where there is a GPU:
        their steps are too small to be worth kernel launches (quickstart's LwF: 4.6 s on an H100, 1.9 s on its host).
    accelerator : where backbones run: features are extracted and latency is measured there.
    anew : makes all of this again, after a run has changed some of it; `prepare` with config and manifest if None.
    """

    config: ResolvedConfig
    manifest: Manifest
    device: torch.device
    accelerator: torch.device
    backbone: Backbone
    x: torch.Tensor
    y: torch.Tensor
    task: torch.Tensor
    anew: Callable[[], Workbench] | None = None

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


def prepare(
    config: ResolvedConfig,
    manifest: Manifest,
    backbone: Backbone | None = None,
    extracted_on: torch.device | None = None,
    extract: features.Extract | None = None,
) -> Workbench:
    """Load the backbone, unless given, and the inputs (features or images, from the cache or computed now).

    manifest : one that `usable` gave for the split that fills the accuracy matrix.
    extracted_on : the device that features which another machine has sent were extracted on; it need not be here.
    extract : what extracts features that are not in the cache, by default `features.extract`.

    Raises InputError if batches of one sample cannot train the backbone, or if features are not finite.
    """
    accelerator = device_of(config.device)
    if extracted_on is not None and config.backbone.on_features and config.device == "auto":
        accelerator = extracted_on
    if accelerator.type == "cuda":
        _make_cuda_deterministic()
    settings = config.backbone
    backbone = backbone or backbone_of(settings, width=manifest.width)
    size = settings.image_size
    if settings.train == "never":
        backbone.freeze()
    check_batch_sizes(config, backbone)
    device = torch.device("cpu") if settings.on_features and config.device == "auto" else accelerator
    # Here, where all cores are used and no other process waits for them
    for seeded in _of_seeds(config, manifest):
        if settings.on_features:  # orders differ in who comes first
            origin = seeded.origin  # what came later is never augmented
            ordered = [origin.in_order(permutation(order, origin.experiences)) for order in config.orders]
            for augment, stream in itertools.product(views.wanted(config), ordered):
                extracted = views.cached(stream, backbone, size, accelerator, augment, extract).extracted
                check_features(extracted.flatten(1), views.rows_of(stream, augment), "augmented ", config, stream)
        x = _inputs(config, seeded, backbone, accelerator, extract)
        if isinstance(x, torch.Tensor) and settings.on_features:
            check_features(x, np.arange(len(x)), "", config, manifest)
    x = x.to(device) if settings.on_features else x
    y = torch.tensor(manifest.table.label.to_numpy(dtype=np.int64))
    task = torch.tensor(manifest.task_labels())
    return Workbench(config, manifest, device, accelerator, backbone, x, y.to(x.device), task.to(x.device))


def _of_seeds(config: ResolvedConfig, manifest: Manifest) -> list[Manifest]:
    """The streams that the runs of a suite have, which differ by seed only where each run has one of its own."""
    return [manifest] if manifest.draw is None else [manifest.for_seed(seed) for seed in config.seeds]


def _inputs(
    config: ResolvedConfig, manifest: Manifest, backbone: Backbone, on: torch.device, extract: features.Extract | None
) -> torch.Tensor:
    """What runs are given of a stream, see `Workbench.x`; on the CPU. It is made now if the cache has none."""
    size = config.backbone.image_size
    if manifest.parts is not None:
        parts = [_inputs(config, part, backbone, on, extract) for part in manifest.parts]
        return torch.cat([part if isinstance(part, torch.Tensor) else part[:] for part in parts])
    if config.backbone.on_features:
        return features.inputs(manifest, backbone, size, on, extract)
    return torch.from_numpy(images.cached(manifest, size)).permute(0, 3, 1, 2)


def of_seed(bench: Workbench, seed: int) -> Workbench:
    """The same for a run of this seed, with images of its own if the stream is drawn from it; `prepare` made them."""
    manifest = bench.manifest.for_seed(seed)
    if manifest is bench.manifest:
        return bench
    x: Any = bench.x
    if isinstance(x, GreyPixels) and manifest.moves is not None:
        x = x.moved(manifest.moves)
    else:
        x = _inputs(bench.config, manifest, bench.backbone, bench.accelerator, None).to(x.device)
    return replace(bench, manifest=manifest, x=x)


def cache_files(bench: Workbench) -> list[Path]:
    """The files of the cache that `prepare` reads, and runs after it."""
    size = bench.config.backbone.image_size
    if bench.manifest.features is not None:
        return [bench.manifest.features]
    at = bench.backbone, size, bench.accelerator
    found = []
    for seeded in _of_seeds(bench.config, bench.manifest):
        if not bench.on_features:
            found.append(images.entry_of(seeded, size).path)
            continue
        grey = seeded.pixels is not None and is_grey(seeded, bench.backbone, size)
        found.append(seeded.pixels if grey else features.entry_of(seeded, *at).path)  # type: ignore[arg-type]
        for augment, order in itertools.product(views.wanted(bench.config), bench.config.orders):
            ordered = seeded.in_order(permutation(order, seeded.experiences))
            found.append(views.entry_of(ordered, *at, augment).path)
    return list(dict.fromkeys(found))


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


def train(
    bench: Workbench,
    spec: RunSpec,
    directory: RunDirectory,
    stop: Callable[[], bool] = lambda: False,
    observers: Sequence[Observer] = (),
) -> None:
    """Train and evaluate one run, journalling each experience; its status ends as done, diverged or failed.

    A run that was interrupted goes on after the last experience that it has a checkpoint of, with the same numbers as
    if it had not been (see `lorisbench.runs.resume`). An error in the strategy ends this run only (status failed,
    reason and traceback in status.json); an interrupt and an InputError are passed on. What it changes in the process
    is put back, so that no run sees what came before it.

    stop : asked after each step; once it says so, the run ends as pending, with its checkpoint, and Stopped is raised.
    observers : told how the run goes.
    """
    marks = _marks(bench)
    own = of_seed(bench, spec.seed)
    ordered = replace(own, manifest=own.manifest.in_order(permutation(spec.order, own.manifest.experiences)))
    threads = 1 if bench.on_features else torch.get_num_threads()
    where = environment(threads, str(bench.device), str(bench.accelerator))
    kind = _Running if ordered.manifest.parts is None else _Continued
    running = kind(ordered, spec, directory, where, stop, observers)
    try:
        with apart(kinds_of(spec.strategy)):
            # One thread for heads on features: more would gain nothing, and this way sums never depend on --workers
            torch.set_num_threads(threads)
            running.loop()
        write_checkpoint(running.strategy.model, directory.path, frozen=bench.config.backbone.train == "never")
        running.end("done")
        running.checkpoints.keep() if bench.config.keep_state else running.checkpoints.remove()
        remember_run(spec.config, bench.manifest.content_hash, directory)
    except Diverged as error:
        running.end("diverged", f"{spec.label}: {error}")
        running.checkpoints.remove()
    except (KeyboardInterrupt, InputError, Stopped) as error:
        how = "stopped" if isinstance(error, Stopped) else f"interrupted ({type(error).__name__})"
        running.end("pending", f"{how}; {running.checkpoints.told()}")
        raise
    except (Exception, SystemExit) as error:  # a plugin that exits ends its run, not the suite
        import traceback

        running.end("failed", reason_of(error), traceback=traceback.format_exc())
        if running.resumed:  # for whatever reason: the next start is from the beginning
            running.checkpoints.remove()
    finally:
        if _marks(bench) != marks:
            vars(bench).update(vars(bench.anew() if bench.anew else prepare(bench.config, bench.manifest)))


def _marks(bench: Workbench) -> list[int]:
    """Numbers that rise with each change in place to what all runs share: inputs, labels, the pretrained backbone."""
    return [tensor._version for tensor in (bench.x, bench.y, bench.task, *bench.backbone.state_dict().values())]


def store_of(bench: Workbench) -> Store:
    """The samples as strategies see them, for one run."""
    return Store(bench.x, bench.y, bench.task, labelled=bench.config.head.per_task)


def store_without_content(settings: BackboneConfig, width: int, manifest: Manifest | None, labelled: bool) -> Store:
    """Samples as `store_of` gives them, all zeros that take no memory, for building a model; none without a manifest.

    width : features of the backbone.
    """
    one = torch.zeros(1, width) if settings.on_features else torch.zeros(1, 3, settings.image_size, settings.image_size)
    y, task = torch.zeros(2, 0, dtype=torch.int64)
    if manifest is not None:
        y = torch.tensor(manifest.table.label.to_numpy(dtype=np.int64))
        task = torch.tensor(manifest.task_labels())
    return Store(one.expand(len(y), *one.shape[1:]), y, task, labelled=labelled)


class _Running:
    """A run while it is trained.

    Attributes
    ----------
    checkpoints : its checkpoint. strategy : the Avalanche strategy, from `_build` on.
    """

    def __init__(
        self,
        bench: Workbench,
        spec: RunSpec,
        directory: RunDirectory,
        where: dict[str, Any],
        stop: Callable[[], bool],
        observers: Sequence[Observer],
    ) -> None:
        self.audience = Audience(observers)
        self.bench, self.spec, self.directory, self.where, self.stop = bench, spec, directory, where, stop
        self.checkpoints = Checkpoints(directory, spec.told)
        self.resumed: list[int] = []
        split, experiences = bench.config.evaluation.split, bench.manifest.experiences
        rows = [bench.manifest.rows(split, experience) for experience in range(experiences)]
        self.label = bench.manifest.table.label.to_numpy(dtype=np.int32)[np.concatenate(rows)]
        self.experience = np.repeat(np.arange(len(rows), dtype=np.int32), [len(r) for r in rows])
        if not self.checkpoints.path.exists():
            directory.start(spec.config_for(experiences), where)

    def end(self, status: str, reason: str = "", **more: Any) -> None:
        """Write the run's status, and tell it."""
        self.checkpoints.settle()
        self.audience.tell("ended", status)
        self.directory.set_status(status, reason, **more, **({"resumed": self.resumed} if self.resumed else {}))

    def loop(self) -> None:
        """Train on each experience that is still to be trained on, evaluate, and write what came of it."""
        self._build()
        predicted = self._continue() if self.checkpoints.path.exists() else self._begin()
        self.audience.tell("begun", self.spec, self.bench.manifest.experience_names, len(predicted))
        tests = list(self.stream.streams[self.bench.config.evaluation.split])
        for index in range(len(predicted), self.bench.manifest.experiences):
            if self.stop():
                raise Stopped
            seconds = self._learn(index)
            answers = np.full(len(self.label), NOT_TESTED, dtype=np.int32)
            if self._tested_after(index):
                self.strategy.eval(tests)
                answers = self.recorder.predictions().numpy()
            check_weights(self.strategy)  # of a part that did not answer, such as a head not chosen
            predicted.append(answers)
            self._write(index, seconds, predicted)

    def _begin(self) -> list[np.ndarray]:
        """What is known before anything has been trained: rows of predictions, none as a rule."""
        return []

    def _tested_after(self, index: int) -> bool:
        return self.spec.evaluation.rows == "all" or index + 1 == self.bench.manifest.experiences

    def _build(self) -> None:
        """Build the run anew: store, stream, strategy and the harness's own plugins."""
        bench, spec = self.bench, self.spec
        self.store = store_of(bench)
        self.store.views = _views(bench, spec.training.augment)
        if spec.training.stream == "instance":
            self.store.sequence = torch.from_numpy(bench.manifest.recorded_order())
        self.stream = make_stream(bench.manifest, self.store)
        self.strategy = build(bench, spec, self.store)
        if self.store.sequence is not None and not isinstance(self.strategy, Engine):
            raise InputError(
                f"{spec.label}: training.stream: instance cannot be kept to by {type(self.strategy).__name__}: it is "
                "not the harness's own engine"
            )
        normalise_single_samples(self.strategy.model)  # also if it is no Engine, which does so too
        self.recorder = Recorder()
        plugins = self.strategy.plugins
        plugins.append(self.recorder)
        if not any(isinstance(plugin, DivergenceGuard) for plugin in plugins):
            plugins.append(DivergenceGuard())
        if bench.manifest.val_as_replay:
            plugins.append(ValidationReplay([e.dataset for e in self.stream.streams["validation"]]))
        plugins.append(StopRequest(self.stop))
        if self.audience:
            plugins.append(Watch(self.audience))
        own = None if bench.on_features else dict(bench.backbone.state_dict(keep_vars=True))
        self.resumable = Resumable(self.strategy, [self.store, self.stream], own)
        self.identity = identity(spec, bench.manifest.content_hash, self.resumable)

    def _continue(self) -> list[np.ndarray]:
        """Put the checkpoint's state into the run, if it fits; the predictions of what has been trained so far."""
        found = self.checkpoints.read(self.identity, self.label, self.experience)
        if found is not None:
            try:
                self.resumable.restore(found.state)
                if self.bench.config.backbone.train == "first":
                    _freeze_backbone(self.bench, self.strategy, self.store)
            except Misfit as error:
                self.checkpoints.set_aside("unusable", str(error))
                self._build()
                found = None
        self.resumed = self.directory.start(
            self.spec.config_for(self.bench.manifest.experiences), self.where, found.trained if found else 0
        )
        if found is None:
            return []
        self.directory.write_tables(self.strategy.plugins)
        return found.predicted

    def _learn(self, index: int) -> float:
        """Train on an experience; the seconds it took."""
        seed_everything(self.spec.seed, index)
        start = time.perf_counter()
        learn(self.strategy, self.stream, index)
        _synchronise(self.bench.device)
        seconds = time.perf_counter() - start
        if index == 0 and self.bench.config.backbone.train == "first":
            _freeze_backbone(self.bench, self.strategy, self.store)
        return seconds

    def _write(self, index: int, seconds: float, predicted: list[np.ndarray]) -> None:
        """Write predictions, journal and tables, and then the checkpoint that takes them for granted."""
        bench = self.bench
        self.directory.write_predictions(np.stack(predicted), self.label, self.experience)
        accuracy: list[float] = []
        if self._tested_after(index):
            hits = np.bincount(self.experience, weights=predicted[-1] == self.label)
            accuracy = (hits / np.bincount(self.experience)).tolist()
        self.directory.journal(
            {
                "experience": index,
                "name": bench.manifest.experience_names[index],
                "train_seconds": seconds,
                "train_images": len(self.stream.train_stream[index].dataset),
                "accuracy": accuracy,
                **sizes_of(self.strategy, bench.backbone, self.store),
            }
        )
        self.directory.write_tables(self.strategy.plugins)
        self.audience.tell("experience", index, accuracy, seconds)
        # after the last, there is nothing left that is worth its while
        if index + 1 < bench.manifest.experiences or bench.config.keep_state:
            self.checkpoints.write(self.resumable, self.identity, predicted)


class _Continued(_Running):
    """A run that goes on, with an experience that came later, where a finished one has ended (`lorisbench learn`).

    It is built on the stream that there was at first and put into the state that was kept, or else trained as before.
    Then the images that came later join the store.
    """

    def _build(self) -> None:
        whole = self.bench
        self._kept = Path(self.bench.config.benchmark.run)
        origin = whole.manifest.origin
        count = len(origin.table)
        self.bench = replace(whole, manifest=origin, x=whole.x[:count], y=whole.y[:count], task=whole.task[:count])
        super()._build()
        assert whole.manifest.parts is not None
        before = whole.manifest.parts[0]
        if not self._recalled():
            say(f"{self.spec.told}: the state of {self._kept} was not kept; its training is repeated first")
            for index in range(before.experiences):
                if index == origin.experiences:
                    self._join(whole, before)
                self._learn(index)
        if before is not origin:
            self._join(whole, before)
        self._compare(before)
        self._join(whole, whole.manifest)
        self.bench = whole

    def _recalled(self) -> bool:
        """Put the state that was kept into the strategy, if there is one that fits what was built."""
        file = self._kept / LAST
        if not file.exists():
            return False
        about, state = unpacked(file)
        other = [key for key in BUILT_WITH if about.of.get(key) != self.identity[key]]
        if other:
            raise InputError(f"{file}: was written with another {other[0]}; it cannot be gone on from")
        try:
            self.resumable.restore(state)
        except Misfit as error:
            say(f"{file}: {error}")
            super()._build()  # it has spoilt the strategy
            return False
        if self.bench.config.backbone.train == "first":
            _freeze_backbone(self.bench, self.strategy, self.store)
        return True

    def _join(self, whole: Workbench, manifest: Manifest) -> None:
        """Let the store, and the stream, have all images of this manifest, as far as they are not there."""
        store, start, stop = self.store, len(self.store.y), len(manifest.table)
        if stop > start:
            more = whole.x[start:stop]
            if store.x.ndim == 2 and more.ndim > 2:  # the run's own backbone has been frozen meanwhile
                more = _features_of(self.strategy.model.backbone, more, whole.device)
            store.x = torch.cat([store.x, more.to(store.x.device)])
            store.y = torch.cat([store.y, whole.y[start:stop].to(store.y.device)])
            store.task = torch.cat([store.task, whole.task[start:stop].to(store.task.device)])
            if store.sequence is not None:
                store.sequence = torch.from_numpy(manifest.recorded_order())
        self.stream = make_stream(manifest, store)

    def _compare(self, before: Manifest) -> None:
        """Say so if the strategy does not answer as the finished run did at its end."""
        split = self.bench.config.evaluation.split
        known = RunDirectory(self._kept).predictions()[0][-1]
        self.strategy.eval(list(make_stream(before, self.store).streams[split]))
        differing = int((self.recorder.predictions().numpy() != known).sum())
        if differing:
            say(
                f"{self.spec.told}: {differing} of {len(known)} test images are answered otherwise than at the end of "
                f"{self._kept}, as happens with other versions or on another machine"
            )

    def _begin(self) -> list[np.ndarray]:
        """No answers, as the finished run was not tested on what came later; its journal without its accuracies."""
        entries = RunDirectory(self._kept).entries()
        for entry in entries:
            self.directory.journal({**entry, "accuracy": []})
        return [np.full(len(self.label), NOT_TESTED, dtype=np.int32) for _ in entries]


def _freeze_backbone(bench: Workbench, strategy: Any, store: Store) -> None:
    """`backbone.train: first`: after experience 0 the backbone is frozen and its features replace the images."""
    backbone = strategy.model.backbone
    backbone.freeze()
    if isinstance(store.views, views.ImageViews):  # before the images are gone; the first's are used up
        later = store.views.settings.experiences == "all"
        store.views = views.of_backbone(backbone, store.x, store.views, bench.device) if later else None
    extracted = _features_of(backbone, store.x, bench.device)
    bad = not_finite_rows(extracted)
    if len(bad):
        share = f"{100 * len(bad) / len(extracted):.3g} %"
        raise Diverged(f"the features of {share} of the images are not finite after {trained_place(strategy)}")
    store.x = extracted.to(bench.device)
    store.y, store.task = store.y.to(bench.device), store.task.to(bench.device)
    # Features (2-D inputs) skip the backbone; it stays in the model, frozen, for the checkpoint and for latency


def _features_of(backbone: Backbone, pixels: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Features, float32 (images, feature_dim) on the CPU, of uint8 images (images, 3, size, size)."""
    chunks = (
        np.ascontiguousarray(pixels[i : i + features.BATCH].permute(0, 2, 3, 1).numpy())
        for i in range(0, len(pixels), features.BATCH)
    )
    return torch.from_numpy(np.concatenate(list(features.extract(backbone, chunks, device))))


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
