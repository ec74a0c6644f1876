"""The presets of `training`: what they expand to, and what comes before what."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lorisbench.common.errors import InputError
from lorisbench.suite.resolve import Suite, load_suite
from lorisbench.suite.training import PRESETS, TrainingConfig


def load(suite_file: Callable[..., Path], training: Any, *assignments: str, **changes: Any) -> Suite:
    return load_suite(str(suite_file(training=training, **changes)), assignments=assignments)


def test_hik2019_is_what_the_caption_states() -> None:
    """Ma et al. 2019, a caption: "Adam, base lr=0.003 @[50, 90, 120], inc lr=0.003 @[50, 90]"."""
    training = TrainingConfig.model_validate("hik2019")
    assert (training.optimizer, training.lr, training.milestones) == ("adam", 0.003, [50, 90, 120])
    assert (training.later.lr, training.later.milestones) == (0.003, [50, 90])
    # ours: every milestone is reached, and the rest stays as it is without the preset
    assert training.epochs > 120 and (training.later.epochs or 0) > 90
    plain = TrainingConfig()
    assert (training.batch_size, training.milestone_factor) == (plain.batch_size, plain.milestone_factor)


@pytest.mark.parametrize("training", ["hik2019", {"preset": "hik2019"}])
def test_it_is_a_shorthand_and_the_resolved_suite_shows_the_values(suite_file: Callable, training: Any) -> None:
    short = load(suite_file, training)
    spelt_out = load(suite_file, PRESETS["hik2019"])
    assert short.resolved == spelt_out.resolved and short.runs[0].run_id == spelt_out.runs[0].run_id
    assert "preset" not in short.resolved["training"]
    assert short.runs[0].config["training"]["milestones"] == [50, 90, 120]


def test_keys_beside_it_come_first(suite_file: Callable) -> None:
    training = load(suite_file, {"preset": "hik2019", "epochs": 3, "later": {"lr": 0.001}}).config.training
    assert (training.epochs, training.milestones) == (3, [50, 90, 120])
    assert (training.later.lr, training.later.milestones) == (0.001, [50, 90])


def test_set_can_choose_it_and_change_it(suite_file: Callable) -> None:
    assert load(suite_file, {}, "training=hik2019").config.training.epochs == 150
    assert load(suite_file, {"epochs": 2}, "training.preset=hik2019").config.training.epochs == 2
    assert load(suite_file, "hik2019", "training.epochs=7").config.training.epochs == 7
    assert load(suite_file, "hik2019", "training.preset=null").config.training == TrainingConfig()


def test_a_strategys_own_comes_before_the_suites(suite_file: Callable) -> None:
    strategies = {"naive": {"training": "hik2019"}, "lwf": {"training": {"preset": "hik2019", "lr": 0.1}}, "ewc": None}
    suite = load(suite_file, {"epochs": 2, "later": {"epochs": 1}, "batch_size": 4}, strategies=strategies)
    own = {label: entry.training for label, entry in suite.config.strategies.items()}
    assert (own["naive"].epochs, own["naive"].later.epochs, own["naive"].batch_size) == (150, 120, 4)
    assert (own["lwf"].lr, own["lwf"].milestones) == (0.1, [50, 90, 120])
    assert (own["ewc"].epochs, own["ewc"].milestones) == (2, [])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": "hik2018"}, r"^training: unknown preset 'hik2018'; did you mean 'hik2019'\?"),
        ({"training": {"preset": 3}}, r"^training: unknown preset '3'"),
        ({"training": "hik2019", "strategies": {"naive": {"training": "hik"}}},
         r"^strategies\.naive\.training: unknown preset 'hik'"),
        ({"training": [1]}, r"^training: "),
    ],
)  # fmt: skip
def test_a_wrong_preset_gives_one_line(suite_file: Callable, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        load_suite(str(suite_file(**changes)))
    assert "\n" not in str(error.value)


def test_der2020_is_plain_gradient_descent_in_one_pass() -> None:
    """Mammoth: SGD without momentum or decay, one epoch of batches of 128; the suite's default momentum is 0.9."""
    training = TrainingConfig.model_validate({"preset": "der2020", "lr": 0.2})
    assert (training.optimizer, training.momentum, training.weight_decay) == ("sgd", 0.0, 0.0)
    assert (training.epochs, training.batch_size, training.lr, TrainingConfig().momentum) == (1, 128, 0.2, 0.9)
