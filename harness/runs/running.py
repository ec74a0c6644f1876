"""A run while it is trained: the loop over experiences, and what is written after each."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lorisbench.common.errors import InputError, Stopped
from lorisbench.data.stream import make_stream
from lorisbench.engine.answers import Answers
from lorisbench.engine.assembly import seed_everything
from lorisbench.engine.batches import normalise_single_samples
from lorisbench.engine.divergence import check_weights
from lorisbench.engine.engine import Engine
from lorisbench.engine.evaluation import learn
from lorisbench.engine.flops import forward_flops
from lorisbench.engine.own_plugins import DivergenceGuard, Recorder
from lorisbench.engine.resume import Resumable
from lorisbench.engine.revive import Misfit
from lorisbench.engine.state import sizes_of
from lorisbench.engine.stopping import StopRequest
from lorisbench.engine.tally import StepTally
from lorisbench.engine.validation_replay import ValidationReplay
from lorisbench.engine.within import Within
from lorisbench.runs.answers import Tested, stored, untested
from lorisbench.runs.directory import RunDirectory
from lorisbench.runs.memory import PeakMemory
from lorisbench.runs.observers import Audience, Observer, Watch
from lorisbench.runs.resume import Checkpoints, identity
from lorisbench.runs.trained_backbone import with_backbone
from lorisbench.runs.workbench import Workbench, build, compile_backbone, store_for, synchronise
from lorisbench.suite.config import NO_BACKBONE
from lorisbench.suite.spec import RunSpec
from lorisbench.suite.training import AugmentConfig


class Running:
    """A run while it is trained.

    Attributes
    ----------
    checkpoints : its checkpoint. strategy : the Avalanche strategy, from `_build` on.
    of_backbone : what it cost to train the backbone on the first experience, by the journal's keys, from `ready` on.
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
        self.of_backbone: dict[str, Any] = {}
        split, experiences = bench.config.evaluation.split, bench.manifest.experiences
        rows = [bench.manifest.rows(split, experience) for experience in range(experiences)]
        image = np.concatenate(rows).astype(np.int32)
        label = bench.manifest.table.label.to_numpy(dtype=np.int32)[image]
        self.tested = Tested(label, np.repeat(np.arange(len(rows), dtype=np.int32), [len(r) for r in rows]), image)
        if not self.checkpoints.path.exists():
            directory.start(spec.config_for(experiences), where)

    def ready(self) -> None:
        """Have the backbone trained on the first experience, if that is how it is to be trained."""
        if self.spec.backbone.train == "first":
            self.bench, self.of_backbone = with_backbone(self.bench, self.spec, self.stop)

    def end(self, status: str, reason: str = "", **more: Any) -> None:
        """Write the run's status, and tell it."""
        self.checkpoints.settle()
        self.audience.tell("ended", status)
        self.directory.set_status(status, reason, **more, **({"resumed": self.resumed} if self.resumed else {}))

    def loop(self) -> None:
        """Train on each experience that is still to be trained on, evaluate, and write what came of it."""
        self._build()
        rows = self._continue() if self.checkpoints.path.exists() else self._begin()
        self.audience.tell("begun", self.spec, self.bench.manifest.experience_names, len(rows))
        tests = list(self.stream.streams[self.bench.config.evaluation.split])
        for index in range(len(rows), self.bench.manifest.experiences):
            if self.stop():
                raise Stopped
            cost = self._learn(index)
            answers = untested(len(self.tested.label))
            if self._tested_after(index):
                self.strategy.eval(tests)
                answers = self.recorder.answers()
            check_weights(self.strategy)  # of a part that did not answer, such as a head not chosen
            rows.append(answers)
            self._write(index, cost, rows)

    def _begin(self) -> list[Answers]:
        """What is known before anything has been trained: answers after earlier experiences, none as a rule."""
        return []

    def _tested_after(self, index: int) -> bool:
        return self.spec.evaluation.rows == "all" or index + 1 == self.bench.manifest.experiences

    def _build(self) -> None:
        """Build the run anew: store, stream, strategy and the harness's own plugins."""
        bench, spec = self.bench, self.spec
        self.store = store_for(bench, spec)
        self.stream = make_stream(bench.manifest, self.store)
        self.strategy = build(bench, spec, self.store)
        if not isinstance(self.strategy, Engine):
            training = spec.training
            asked = {
                "stream: instance": self.store.sequence,
                "augment": self.store.views,
                "budget": training.budget,
                "amp": training.amp,
            }
            for setting in (setting for setting, value in asked.items() if value is not None):
                raise InputError(
                    f"{spec.label}: training.{setting} cannot be kept to by {type(self.strategy).__name__}: it is "
                    "not the harness's own engine"
                )
        compile_backbone(self.strategy.model, spec)
        normalise_single_samples(self.strategy.model)  # also if it is no Engine, which does so too
        self.recorder = Recorder(len(bench.manifest.classes) if spec.evaluation.scores else 0)
        plugins = self.strategy.plugins
        plugins.append(self.recorder)
        if not any(isinstance(plugin, DivergenceGuard) for plugin in plugins):
            plugins.append(DivergenceGuard())
        if bench.manifest.val_as_replay:
            plugins.append(ValidationReplay([e.dataset for e in self.stream.streams["validation"]]))
        if not isinstance(self.strategy, Engine):
            plugins.append(StepTally())
        self.within: Within | None = None
        if spec.evaluation.every is not None:
            self.within = Within(spec.evaluation.every, self.store, list(self.stream.streams[spec.evaluation.split]))
            plugins.append(self.within)
        plugins.append(StopRequest(self.stop))
        if self.audience:
            plugins.append(Watch(self.audience))
        own = None if bench.on_features else dict(bench.backbone.state_dict(keep_vars=True))
        self.resumable = Resumable(self.strategy, [self.store, self.stream], own)
        trained = bench.backbone.digest() if spec.backbone.train == "first" else ""
        self.identity = identity(spec, bench.manifest.content_hash, self.resumable, trained)

    def _continue(self) -> list[Answers]:
        """Put the checkpoint's state into the run, if it fits; the answers after what has been trained so far."""
        found = self.checkpoints.read(self.identity, self.tested)
        if found is not None:
            try:
                self.resumable.restore(found.state)
            except Misfit as error:
                self.checkpoints.set_aside("unusable", str(error))
                self._build()
                found = None
        self.resumed = self.directory.start(
            self.spec.config_for(self.bench.manifest.experiences), self.where, found.trained if found else 0
        )
        if found is None:
            return self._begin()
        self.directory.write_tables(self.strategy.plugins)
        return found.rows

    def _learn(self, index: int) -> dict[str, Any]:
        """Train on an experience; what it cost, as the journal has it."""
        seed_everything(self.spec.seed, index)
        images = len(self.stream.train_stream[index].dataset)
        features = feature_flops(self.bench, self.spec.training.augment, index, images)
        memory = PeakMemory(self.bench.device)
        start = time.perf_counter()
        meter = learn(self.strategy, self.stream, index)
        synchronise(self.bench.device)
        cost = {
            "train_seconds": time.perf_counter() - start - (self.within.seconds if self.within else 0.0),
            "peak_memory_mb": memory.megabytes(),
            **meter.journal(),
            **features,
        }
        return with_backbone_of(cost, self.of_backbone) if index == 0 and self.of_backbone else cost

    def _write(self, index: int, cost: dict[str, Any], rows: list[Answers]) -> None:
        """Write predictions, journal and tables, and then the checkpoint that takes them for granted."""
        bench = self.bench
        self.directory.write_predictions(*stored(rows, self.tested))
        accuracy: list[float] = []
        if self._tested_after(index):
            hits = np.bincount(self.tested.experience, weights=rows[-1].predicted == self.tested.label)
            accuracy = (hits / np.bincount(self.tested.experience)).tolist()
        self.directory.journal(
            {
                "experience": index,
                "name": bench.manifest.experience_names[index],
                "train_images": len(self.stream.train_stream[index].dataset),
                **cost,
                "accuracy": accuracy,
                **sizes_of(self.strategy, bench.backbone, self.store),
            }
        )
        self.directory.write_tables(self.strategy.plugins)
        self.audience.tell("experience", index, accuracy, cost["train_seconds"])
        # after the last, there is nothing left that is worth its while
        if index + 1 < bench.manifest.experiences or bench.config.keep_state:
            self.checkpoints.write(self.resumable, self.identity, rows)


def feature_flops(bench: Workbench, augment: AugmentConfig | None, index: int, images: int) -> dict[str, int]:
    """Operations of the passes by which the features of an experience's training images come about, once each.

    Nothing where features are given: nobody knows of what. 0 where the backbone runs in training steps.
    """
    settings = bench.config.backbone
    if settings.name == NO_BACKBONE.name:
        return {}
    if not settings.on_features:
        return {"feature_flops": 0}
    augmented = augment is not None and (index == 0 or augment.experiences == "all")
    versions = 1 + (augment.views if augment is not None and augmented else 0)
    return {"feature_flops": versions * images * forward_flops(bench.backbone, settings.image_size)}


def with_backbone_of(cost: dict[str, Any], backbone: Mapping[str, Any]) -> dict[str, Any]:
    """What the first experience cost a run, with what it cost to train its backbone there, by the journal's keys.

    That is counted in every run, as if it had trained the backbone itself; `backbone_seconds` says how long that took.
    """
    whole = {key: cost[key] + backbone[key] for key in ("train_seconds", "train_flops", "train_samples", "train_steps")}
    peaks = [each["peak_memory_mb"] for each in (cost, backbone)]
    peak = None if None in peaks else max(peaks)
    return {**cost, **whole, "peak_memory_mb": peak, "backbone_seconds": backbone["train_seconds"]}
