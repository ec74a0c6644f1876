"""What fails later is found by `lorisbench check`: growing state, a hidden backbone, averages taken for samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from avalanche.core import SupervisedPlugin
from torch import nn

from lorisbench import Context, Strategy
from lorisbench.common.registry import load_plugin
from lorisbench.conformance.checks import CHECKS, MODES, Verdict, collect, judge
from lorisbench.model.models import Classifier
from lorisbench.suite.entries import make_strategy

GROWING = Path(__file__).with_name("growing_strategies.py")


def judged(name: str, mode: str, *checks: str, **settings: Any) -> dict[str, Verdict]:
    """What these checks, or all, say of a strategy that is watched in one mode."""
    entry = {"strategy": name, **settings}
    evidence = collect(entry, make_strategy(entry), [mode])  # type: ignore[list-item]
    return {check: CHECKS[check](evidence) for check in checks} or judge(evidence)


def failed(found: dict[str, Verdict]) -> dict[str, str]:
    return {check: verdict.hint for check, verdict in found.items() if verdict.status == "fail"}


@pytest.mark.parametrize(("name", "mode"), [("kmeans-router", "features"), ("class-mahalanobis", "images")])
def test_what_grows_is_restored_and_averages_of_one_sample_are_no_samples(name: str, mode: str) -> None:
    """A list of heads that was empty, buffers that were None or had no rows; clusters that have a single sample."""
    load_plugin(GROWING)
    found = judged(name, mode, "past data", "new parameters", "model parts", "restores")
    assert not failed(found) and found["restores"].status == "pass", found
    if name == "kmeans-router":
        assert "averages of one sample are no kept samples" in found["past data"].hint


@pytest.mark.heavy
@pytest.mark.parametrize("name", ["kmeans-router", "class-mahalanobis", "herding-replay"])
@pytest.mark.parametrize("mode", MODES)
def test_methods_that_grow_conform_without_a_word_on_loading(name: str, mode: str) -> None:
    load_plugin(GROWING)
    assert not failed(judged(name, mode))


class Hides(nn.Module):
    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) * 1.1


class Delegates(Hides):
    @property
    def backbone(self) -> Any:
        return self.inner.backbone


class ImagesOnly(Classifier):
    """Asks whether it has a backbone, and not what it was given."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 1.1 * self.head(x.float().flatten(1)[:, : self.head.in_features])


class Remembers(Classifier):
    """Keeps what it knows in an attribute, which no state has."""

    def __init__(self, backbone: nn.Module | None, head: nn.Module) -> None:
        super().__init__(backbone, head)
        self.shift: list[float] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * torch.tensor(self.shift[-1] if self.shift and not self.training else 1.0)


class Draws(Classifier):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + 0.01 * torch.randn(len(x), 1)


class Shifts(SupervisedPlugin):
    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        if isinstance(strategy.model, Remembers):
            strategy.model.shift.append(1.0 + len(strategy.model.shift))


class Wraps(Strategy, name="wraps-in-tests"):
    """Wraps the model in one of these."""

    kind: str

    def wrap(self, model: Any, context: Context) -> nn.Module:
        kind = {each.__name__: each for each in (Hides, Delegates, ImagesOnly, Remembers, Draws)}[self.kind]
        return kind(model) if issubclass(kind, Hides) else kind(model.backbone, model.head)

    def plugins(self, context: Context) -> list[Any]:
        return [Shifts()]


@pytest.mark.parametrize(
    ("kind", "mode", "check", "words"),
    [
        ("Hides", "features", "model parts", ["a Hides, has no `backbone`", "lorisbench.model.models.Classifier"]),
        ("Hides", "images", "model parts", ["a Hides, has no `backbone`"]),
        ("Delegates", "features", "restores", ["the `backbone` of a Delegates is a property"]),
        ("ImagesOnly", "features", "restores", ["answers images otherwise than their features", "self.features(x)"]),
        ("Remembers", "features", "restores", ["shift (a list) changed in training", "register_buffer"]),
    ],
)
def test_what_keeps_a_model_from_being_had_back_is_named(kind: str, mode: str, check: str, words: list[str]) -> None:
    found = failed(judged("wraps-in-tests", mode, "model parts", "restores", kind=kind))
    assert list(found) == [check], found
    for word in words:
        assert word in found[check], found


def test_answers_that_are_drawn_are_not_compared() -> None:
    assert not failed(judged("wraps-in-tests", "features", "restores", kind="Draws"))


class KeepsOne(SupervisedPlugin):
    """Keeps the first sample of each class as it is, where another would keep the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[int, torch.Tensor] = {}

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        for x, y in zip(strategy.mb_x, strategy.mb_y.tolist(), strict=True):
            self.kept.setdefault(y, x.clone())


class Prefers(Strategy, name="keeps-one-in-tests"):
    def plugins(self, context: Context) -> list[Any]:
        return [KeepsOne()]


def test_a_sample_of_each_class_is_kept_and_no_average() -> None:
    found = judged("keeps-one-in-tests", "features", "past data")
    assert "4 samples are held in KeepsOne.kept" in failed(found)["past data"]


class Layer(Classifier):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x)


class Fails(Strategy, name="fails-in-tests"):
    """Breaks off, for a reason that it did not think of."""

    def wrap(self, model: Any, context: Context) -> nn.Module:
        return Layer(model.backbone, model.head)

    def plugins(self, context: Context) -> list[Any]:
        return []


def test_the_likely_cause_is_told() -> None:
    assert "inputs are uint8 images" in failed(judged("fails-in-tests", "images", "batches"))["batches"]
