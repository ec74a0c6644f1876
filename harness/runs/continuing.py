"""A run that goes on, with an experience that came later, where a finished one has ended (`lorisbench learn`)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from lorisbench.common.console import say
from lorisbench.common.errors import InputError
from lorisbench.data.manifest import Manifest
from lorisbench.data.stream import make_stream
from lorisbench.engine.answers import Answers
from lorisbench.engine.revive import Misfit
from lorisbench.runs.answers import untested
from lorisbench.runs.directory import RunDirectory
from lorisbench.runs.resume import BUILT_WITH, LAST, unpacked
from lorisbench.runs.running import Running
from lorisbench.runs.workbench import Workbench


class Continued(Running):
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
        return True

    def _join(self, whole: Workbench, manifest: Manifest) -> None:
        """Let the store, and the stream, have all images of this manifest, as far as they are not there."""
        store, start, stop = self.store, len(self.store.y), len(manifest.table)
        if stop > start:
            store.x = torch.cat([store.x, whole.x[start:stop].to(store.x.device)])
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

    def _begin(self) -> list[Answers]:
        """No answers, as the finished run was not tested on what came later; its journal without its accuracies."""
        entries = RunDirectory(self._kept).entries()
        for entry in entries:
            self.directory.journal({**entry, "accuracy": []})
        return [untested(len(self.tested.label)) for _ in entries]
