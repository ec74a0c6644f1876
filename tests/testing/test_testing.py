"""`lorisbench.testing`: the checks as an assertion, and runs on their toy stream, for an author's own tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from avalanche.core import SupervisedPlugin
from registries import forgotten

import lorisbench
from lorisbench.common.errors import InputError
from lorisbench.conformance.checks import CHECKS
from lorisbench.testing import load_plugin, strategy_conforms, toy_run

BROKEN = Path(__file__).parents[1] / "conformance" / "broken_strategies.py"

pytestmark = pytest.mark.usefixtures("one_thread")


class Pull(SupervisedPlugin):
    """Pulls the weights to 0."""

    def __init__(self, strength: float) -> None:
        super().__init__()
        self.strength = strength

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        strategy.loss += self.strength * sum(p.square().sum() for p in strategy.model.parameters() if p.requires_grad)


class Decay(lorisbench.Strategy, name="testing-decay"):
    """Weight decay as a penalty, which acts unless its strength is 0."""

    strength: float = 0.01

    def plugins(self, context: lorisbench.Context) -> list[Any]:
        return [Pull(self.strength)]


class Nameless(lorisbench.Strategy):
    """Without a name."""


def test_importing_it_needs_neither_pytest_nor_torch() -> None:
    code = "import sys, lorisbench.testing; print(sorted({'pytest', 'torch', 'avalanche'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.usefixtures("checked_on_features")
def test_what_conforms_gives_the_report() -> None:
    report = strategy_conforms(Decay)
    assert [row.check for row in report.rows] == list(CHECKS) and not report.failed
    assert report.settings == {"strategy": "testing-decay", "strength": 0.01}


@pytest.mark.usefixtures("checked_on_features")
@pytest.mark.parametrize(
    ("what", "settings"),
    [
        (Decay(strength=0), {}),
        pytest.param("testing-decay", {"strength": 0}, marks=pytest.mark.heavy),
        pytest.param({"strategy": "testing-decay"}, {"strength": 0}, marks=pytest.mark.heavy),
        pytest.param("avalanche.training.plugins:LwFPlugin", {"alpha": 0}, marks=pytest.mark.heavy),
    ],
)
def test_what_does_not_is_an_assertion_with_a_line_for_each_check_that_failed(what: Any, settings: Any) -> None:
    with pytest.raises(AssertionError) as raised:
        strategy_conforms(what, **settings)
    title, *lines = str(raised.value).splitlines()
    assert title.endswith(f": {len(lines)} of {len(CHECKS)} checks failed")
    assert any(line.startswith("  acts: features: answers equal those of fine-tuning") for line in lines)
    assert all(line.startswith("  ") and len(line) > 30 for line in lines)


def test_the_assertion_names_the_file_s_strategy_and_hides_its_own_lines() -> None:
    """A run in each mode breaks off, so that hardly any check is made."""
    with forgotten():
        load_plugin(BROKEN)
        with pytest.raises(AssertionError, match=r"(?s)^broken-exits: .*batches: .*SystemExit") as raised:
            strategy_conforms("broken-exits")
    assert raised.traceback[-1].frame.f_locals.get("__tracebackhide__") is True


@pytest.mark.parametrize("function", [strategy_conforms, toy_run])
@pytest.mark.parametrize(
    ("what", "settings", "words"),
    [
        ("lwff", {}, "'lwf'"), ("testing-decay", {"strenght": 1}, "'strength'"),
        (Decay, {"strength": "much"}, "strength"), (Nameless, {}, "has no name"), (Pull, {}, "not a Strategy"),
        (Pull(1), {}, "not a Strategy"), (3, {}, "not a Strategy"), ("no.such.module:Plugin", {}, "no.such.module"),
        ({"strategy": "nothing-like-it"}, {}, "nothing-like-it"), ({}, {}, "which strategy it is"),
        (Decay, {"training": {"epochs": 1}}, "leave it out"),
    ],
)  # fmt: skip
def test_what_is_no_strategy_is_one_line(function: Any, what: Any, settings: Any, words: str) -> None:
    with pytest.raises(InputError) as raised:
        function(what, **settings)
    assert words in str(raised.value) and "\n" not in str(raised.value)


def test_a_toy_run_trains_as_many_experiences_as_it_is_told() -> None:
    run = toy_run("naive", experiences=2)
    assert len(run.answers) == 2 and {tuple(each.shape) for each in run.answers} == {(96, 4)}
    assert len(run.stream.train_stream) == 4 and run.strategy.clock.train_exp_counter == 2
    right = (run.answers[0].argmax(dim=1) == run.labels).float().view(4, -1).mean(dim=1)
    assert right[0] > 0.9 and right[2] < 0.7, "experience 0 is learnt, 2 is unlike it"


def test_a_toy_run_is_that_of_the_settings_the_seed_and_the_inputs() -> None:
    plain = toy_run(Decay, experiences=1)
    assert torch.equal(toy_run(Decay, experiences=1).answers[0], plain.answers[0])
    others = [toy_run(Decay(strength=1), experiences=1), toy_run(Decay, seed=1, experiences=1),
              toy_run(Decay, inputs="images", experiences=1)]  # fmt: skip
    assert not any(torch.equal(other.answers[0], plain.answers[0]) for other in others)


def test_a_strategy_of_avalanche_follows_the_training_settings_of_later_experiences(tmp_path: Path) -> None:
    """`context.arguments`: what `build` hands to it, down to epochs and learning rate."""
    from avalanche.training import Naive
    from small_runs import TRAINING, bench, run

    seen: list[tuple[int, float, int]] = []

    class Spied(Naive):
        def _after_training_exp(self, **kwargs: Any) -> None:
            seen.append((self.clock.train_exp_epochs, self.optimizer.param_groups[0]["lr"], self.train_mb_size))
            super()._after_training_exp(**kwargs)

    class Built(lorisbench.Strategy, name="testing-built"):
        """A strategy of Avalanche."""

        def build(self, context: lorisbench.Context) -> Any:
            arguments = context.arguments(self.wrap(context.model, context))
            assert arguments["plugins"] is not context.arguments(context.model)["plugins"]
            return Spied(**arguments)

    made = bench("testing-built", training={**TRAINING, "later": {"epochs": 1, "lr": 0.01}})
    assert run(made, tmp_path / "run").status()["status"] == "done"
    assert seen == [(2, 0.05, 8), (1, 0.01, 8), (1, 0.01, 8)]
    views = {"views": 1, "experiences": "all"}
    refused = bench("testing-built", training={**TRAINING, "augment": views}, backbone={"train": "always"})
    with pytest.raises(InputError, match=r"training\.augment cannot be kept to by Spied"):
        run(refused, tmp_path / "refused")
