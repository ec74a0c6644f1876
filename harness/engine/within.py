"""How accuracies move while an experience is trained: evaluations every so many steps that change nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch

from lorisbench.data.stream import Store
from lorisbench.engine.loader import eval_loader, rows_once
from lorisbench.engine.meter import uncounted
from lorisbench.engine.own_plugins import HarnessPlugin


class Within(HarnessPlugin):
    """Measures, every `every` training steps, the accuracy on the test sets of the experiences trained so far.

    Before the first step of a run it measures all of them. No plugin is told of it, no random number is drawn, and
    modes of modules are as they were, so that a run trains the same without it. Its operations do not count.

    Attributes
    ----------
    tables : `within`, a row for each test set of each evaluation. seconds : what it took in the present experience.
    """

    passing = ("tests", "store", "seconds", "step")

    def __init__(self, every: int, store: Store, tests: Sequence[Any]) -> None:
        super().__init__()
        self.every, self.store, self.tests = every, store, tests
        self.tables: dict[str, list[dict[str, float]]] = {"within": []}
        self.seconds, self.step = 0.0, 0

    def before_training_exp(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        self.seconds, self.step = 0.0, 0
        if strategy.clock.train_exp_counter == 0 and not self.tables["within"]:
            try:
                self._measure(strategy, len(self.tests))
            except Exception:  # a model that answers only once it has learnt something: there is no such row then
                self.tables["within"].clear()

    def after_training_iteration(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        self.step += 1
        if self.step % self.every == 0:
            self._measure(strategy, strategy.clock.train_exp_counter + 1)

    def _measure(self, strategy: Any, count: int) -> None:
        start = time.perf_counter()
        index = strategy.clock.train_exp_counter
        modes = {module: module.training for module in strategy.model.modules()}
        batch, training = strategy.mbatch, strategy.is_training
        with torch.no_grad(), uncounted(), torch.random.fork_rng():
            strategy.model.eval()
            strategy.is_training = False
            try:
                found = [self._accuracy(strategy, test) for test in self.tests[:count]]
            finally:
                strategy.mbatch, strategy.is_training = batch, training
                strategy.model.train(modes[strategy.model])
                for module, mode in modes.items():
                    module.training = mode
        self.tables["within"] += [
            {"experience": index, "step": self.step, "test_experience": test, "accuracy": accuracy}
            for test, accuracy in enumerate(found)
            if accuracy is not None
        ]
        self.seconds += time.perf_counter() - start

    def _accuracy(self, strategy: Any, test: Any) -> float | None:
        """The fraction of a test set that is answered rightly; None without images."""
        rows = rows_once(test.dataset)
        if rows is None or not len(rows):
            return None
        right = 0
        for batch in eval_loader(self.store, rows, strategy.eval_mb_size, strategy.device):
            strategy.mbatch = [part.to(strategy.device) for part in batch]
            outputs = strategy.forward()
            if not torch.isfinite(outputs.max(dim=1).values).all():
                raise ValueError("outputs are not finite")
            right += int((outputs.argmax(dim=1) == strategy.mb_y).sum())
        return right / len(rows)
