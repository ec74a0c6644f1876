"""A budget for each experience (`training.budget`): all strategies use it up, whatever a step of theirs costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from avalanche.core import SupervisedPlugin
from avalanche.models.packnet import PackNetPlugin
from pydantic import ValidationError
from small_runs import CLASSES, TRAINING, WIDTH, bench, interrupted, run, written

from lorisbench.common.errors import InputError
from lorisbench.metrics.costs import RunRecord
from lorisbench.metrics.table import compute_costs
from lorisbench.strategies.naive import Naive
from lorisbench.suite.training import TrainingConfig

pytestmark = pytest.mark.usefixtures("one_thread")

STEP = 4 * WIDTH * CLASSES * 8  # operations of a step of naive on 8 samples
METHODS: dict[str, Any] = {
    "naive": "naive", "joint": "joint", "der": {"strategy": "der", "memory": 20, "replay_batch": 8},
    "replay": {"strategy": "replay", "memory": 20, "replay_batch": 8}, "gdumb": {"strategy": "gdumb", "memory": 20},
    "ewc": {"strategy": "ewc", "ewc_lambda": 1}, "dnn": "dnn", "gem": {"strategy": "gem", "memory": 30},
}  # fmt: skip


def trained(name: str, folder: Path, budget: dict[str, int], **training: Any) -> list[dict[str, Any]]:
    made = bench(METHODS.get(name, name), training={**TRAINING, "budget": budget, **training})
    return run(made, folder).entries()


@pytest.mark.parametrize("name", METHODS)
def test_every_strategy_takes_as_many_steps(name: str, tmp_path: Path) -> None:
    for steps, epochs in ((2, 5), (13, 1)):  # less than an epoch, and more than `epochs` would be
        entries = trained(name, tmp_path / str(steps), {"iterations": steps}, epochs=epochs)
        assert [(entry["train_steps"], entry["budget_used"]) for entry in entries] == [(steps, 1.0)] * 3


@pytest.mark.parametrize("name", METHODS)
def test_every_strategy_sees_as_many_samples_replayed_ones_included(name: str, tmp_path: Path) -> None:
    entries = trained(name, tmp_path, {"samples": 200})
    largest = 8 + 1 + 20 if name == "gem" else 8 + 1 + 8
    for entry in entries:
        assert 200 - largest < entry["train_samples"] <= 200 and entry["budget_used"] == entry["train_samples"] / 200
    steps = [entry["train_steps"] for entry in entries]
    if name in ("replay", "gem"):
        assert steps[1] < steps[0] - 5  # half of what it sees is from its memory


@pytest.mark.parametrize("name", METHODS)
def test_operations_add_up_to_the_same(name: str, tmp_path: Path) -> None:
    total = 150 * STEP
    entries = trained(name, tmp_path, {"flops": total})
    used = [entry["budget_used"] for entry in entries]
    assert used == pytest.approx([entry["train_flops"] / total for entry in entries])
    # what an experience spends after its last step is taken off the next one's
    assert sum(used[:2]) + min(1.0, used[2]) == pytest.approx(3, abs=0.15 if name == "dnn" else 0.06)
    if name == "ewc":
        assert used[0] > 1.005 and max(used[1:]) <= 1.0  # importances cost as much as three steps


def test_the_first_step_is_always_taken(tmp_path: Path) -> None:
    for number, budget in enumerate(({"samples": 3}, {"flops": 5})):
        entries = trained("naive", tmp_path / str(number), budget)
        assert all(entry["train_steps"] == 1 and entry["budget_used"] > 1 for entry in entries)


def test_a_step_on_a_minibatch_of_a_new_size_has_to_fit_in_too(tmp_path: Path) -> None:
    entries = trained("der++", tmp_path, {"samples": 203})  # minibatches of 8, 8, 9, and twice 32 from memory
    assert [entry["train_samples"] for entry in entries] == [203, 144, 144]
    assert [entry["budget_used"] for entry in entries] == pytest.approx([1, 144 / 203, 144 / 203])


def test_samples_are_exact_while_a_memory_fills_up(tmp_path: Path) -> None:
    entries = run(bench("der", training=TRAINING), tmp_path).entries()
    replayed = [sum(min(32, seen) for seen in (0, 8, 16, 25, 33, 41)), 6 * 32, 6 * 32]
    assert [entry["train_samples"] for entry in entries] == [50 + each for each in replayed]
    assert [entry["train_flops"] for entry in entries] == [STEP // 8 * (50 + each) for each in replayed]


class Rates(SupervisedPlugin):
    """Notes the rate of each step, and how many epochs there are after each of them."""

    def __init__(self) -> None:
        super().__init__()
        self.rates: list[list[float]] = []
        self.epochs: list[int] = []

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        self.rates.append([])

    def before_update(self, strategy: Any, **kwargs: Any) -> None:
        self.rates[-1].append(strategy.optimizer.param_groups[0]["lr"])

    def after_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        self.epochs.append(strategy.train_epochs)


def test_milestones_come_at_their_share_of_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = Rates()
    monkeypatch.setattr(Naive, "plugins", lambda self, context: [rates])
    later = {"epochs": 4, "milestones": [1]}
    trained("naive", tmp_path, {"iterations": 8}, epochs=2, lr=1.0, milestones=[1, 2], later=later)
    assert rates.rates == [[1.0] * 4 + [0.1] * 4, *[[1.0] * 2 + [0.1] * 6] * 2]
    assert rates.epochs == [3] * 9  # three steps each: the third epoch is cut short


def test_a_warm_up_counts_epochs_and_is_refused_beside_a_budget() -> None:
    for warmup in ({"warmup": 1}, {"later": {"warmup": 1}}):
        with pytest.raises(ValidationError, match="warmup is counted in epochs"):
            TrainingConfig.model_validate({"budget": {"iterations": 8}, **warmup})
    TrainingConfig.model_validate({"budget": {"iterations": 8}, "warmup": 0})


def test_a_run_that_was_interrupted_has_the_same_budget(tmp_path: Path) -> None:
    made = bench("ewc", training={**TRAINING, "budget": {"flops": 10 * STEP}})
    run(made, tmp_path / "whole")
    interrupted(made, tmp_path / "parts")
    assert written(tmp_path / "parts") == written(tmp_path / "whole")


def test_results_have_the_mean_and_say_why_there_is_none(tmp_path: Path) -> None:
    costs, _ = compute_costs(RunRecord(trained("frozen", tmp_path / "a", {"iterations": 6}), {}, {}))
    assert costs["budget_used"] == pytest.approx(1 / 3, abs=1e-6) and costs["train_steps"] == 6
    _, undefined = compute_costs(RunRecord(run(bench("naive"), tmp_path / "b").entries(), {}, {}))
    assert undefined["budget_used"] == "no budget was set (training.budget)"
    old = {"experience": 0, "train_seconds": 1.0}
    values, undefined = compute_costs(RunRecord([old], {}, {}))
    assert "train_flops" not in values and "did not record it" in undefined["train_flops"]
    assert "train_samples" not in {*values, *undefined}  # for the same reason
    _, undefined = compute_costs(RunRecord([{**old, "peak_memory_mb": None}], {}, {}))
    assert "does not tell" in undefined["peak_memory_mb"]


@pytest.mark.parametrize(
    ("training", "told"),
    [
        ({"budget": {"iteration": 5}}, "unknown key 'training.budget.iteration'; did you mean 'iterations'"),
        ({"budget": {"iterations": 0}}, "training.budget.iterations: Input should be greater than or equal to 1"),
        ({"budget": {"samples": -3}}, "training.budget.samples"),
        ({"budget": {"flops": 1.5}}, "training.budget.flops"),
        ({"budget": {"flops": "many"}}, "training.budget.flops"),
        ({"budget": {"flops": "1.5e0"}}, "training.budget.flops: .* unable to parse"),
        ({"budget": {"flops": "1e400"}}, "training.budget.flops: .* unable to parse"),
        ({"budget": {"samples": True}}, "samples: expected a whole number from 1, not true"),
        ({"budget": {"samples": 5, "flops": 5}}, "training.budget: one of .* was expected, not samples and flops"),
        ({"budget": {}}, "training.budget: one of iterations, samples and flops was expected, and none is given"),
        ({"budget": 100}, "training.budget: expected one of iterations, samples and flops with a number"),
        ({"budget": {"samples": 5}, "online": True}, "training: online is one pass over each experience, and a budget"),
        ({"later": {"budget": {"samples": 5}}}, "unknown key 'training.later.budget'"),
        ({"bugdet": {"samples": 5}}, "unknown key 'training.bugdet'; did you mean 'budget'"),
    ],
)
def test_what_is_no_budget_is_one_line(training: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told) as fault:
        bench("naive", training={**TRAINING, "epochs": 1, **training})
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize("entry", ["ncm", "slda", "ranpac", "klda", "fecam", "simplecil", {"stack": ["slda", "naive"]}])
def test_what_has_no_steps_is_refused_unless_it_is_let_off(entry: Any) -> None:
    budget = {**TRAINING, "budget": {"iterations": 5}}
    with pytest.raises(InputError, match=r"cannot use up a budget .*closed form; .*budget: null"):
        bench(entry, training=budget)
    own = {"strategy": entry} if isinstance(entry, str) else entry
    assert vars(bench({**own, "training": {"budget": None}}, training=budget))["spec"].training.budget is None


def test_a_strategy_has_a_budget_of_its_own_of_another_kind() -> None:
    own = {"strategy": "naive", "training": {"budget": {"samples": 50}}}
    spec = vars(bench(own, training={**TRAINING, "budget": {"iterations": 5}}))["spec"]
    assert spec.training.budget.given == ("samples", 50)


@pytest.mark.parametrize("flops", [2e12, "2e12", "2.0e+12", "2_000_000_000_000"])  # texts, as YAML takes some for these
def test_a_large_number_may_be_written_as_a_power_of_ten(flops: Any) -> None:
    assert TrainingConfig.model_validate({"budget": {"flops": flops}}).budget.given == ("flops", 2 * 10**12)  # type: ignore[union-attr]


def test_the_id_of_a_run_knows_of_a_budget_only_if_there_is_one() -> None:
    plain, none, five = (
        vars(bench("naive", training={**TRAINING, **more}))["spec"].run_id
        for more in ({}, {"budget": None}, {"budget": {"iterations": 5}})
    )
    assert plain == none != five


def test_who_cannot_be_held_to_a_budget_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from avalanche.training.supervised import ER_ACE

    budget = {**TRAINING, "budget": {"iterations": 5}}
    with monkeypatch.context() as patch:
        patch.setattr(Naive, "build", lambda self, context: ER_ACE(**context.arguments(context.model), mem_size=9))
        with pytest.raises(InputError, match=r"training.budget cannot be kept to by ER_ACE"):
            run(bench("naive", training=budget), tmp_path / "own loop")
        entries = run(bench("naive"), tmp_path / "without").entries()
        assert [entry["train_steps"] for entry in entries] == [8] * 3
        assert all(entry["train_flops"] > 0 and entry["train_samples"] >= 50 for entry in entries)
    monkeypatch.setattr(Naive, "plugins", lambda self, context: [PackNetPlugin(1)])
    with pytest.raises(InputError, match="PackNetPlugin cannot work here"):
        run(bench("naive", training=budget), tmp_path / "packnet")
