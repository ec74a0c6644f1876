"""DNN in bare Avalanche scripts: when heads grow, what trains, what stays, and what the decisions say."""

from __future__ import annotations

import copy
from typing import get_args

import pytest
import tiny_stream
import torch
from avalanche.core import SupervisedPlugin
from avalanche.training import Naive
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tiny_stream import stream_of
from torch import nn

from lorisbench.common.errors import InputError
from lorisbench.common.registry import STRATEGIES
from lorisbench.engine.strategy import Context
from lorisbench.strategies.dnn.network import Answer, DynamicNetwork
from lorisbench.strategies.dnn.strategy import DNN, DNNPlugin, known_distillation
from lorisbench.suite.parsing import parse

WIDTH, CLASSES, SAMPLES = 8, 3, 48


def make_stream(task_aware=False, experiences=3, permute=True):
    """Images (3, 4, 4) whose colour tells the class; each experience permutes the colours (or hardly differs)."""
    generator = torch.Generator().manual_seed(0)
    parts = []
    for experience in range(experiences):
        y = torch.arange(SAMPLES) % CLASSES
        colour = torch.eye(CLASSES).roll(experience if permute else 0, dims=0)[y]
        x = colour[:, :, None, None] + 0.3 * torch.randn(SAMPLES, 3, 4, 4, generator=generator)
        parts.append((x + experience * (0.5 if permute else 0.02), y))
    return stream_of(parts, [0] * experiences if task_aware else None)


def make_network(**kwargs):
    torch.manual_seed(0)
    backbone = nn.Sequential(
        nn.Conv2d(3, WIDTH, 1), nn.BatchNorm2d(WIDTH), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    return DynamicNetwork(backbone, lambda: nn.Linear(WIDTH, CLASSES), **kwargs)


class Record(SupervisedPlugin):
    """Copies the weights after each experience and the teacher's while it is in use."""

    def __init__(self, plugin):
        super().__init__()
        self.plugin, self.states, self.teachers, self.optimized, self.starts = plugin, [], [], [], []

    def before_training_exp(self, strategy, **kwargs):
        held = {id(p) for group in strategy.optimizer.param_groups for p in group["params"]}
        active = strategy.model.heads[strategy.model.active]
        self.optimized.append(all(id(p) in held for p in active.parameters()))
        self.starts.append(active.weight.detach().clone())
        free = [head.weight.requires_grad for head in strategy.model.heads]
        assert free == [index == strategy.model.active for index in range(len(free))]

    def after_update(self, strategy, **kwargs):
        if self.plugin.teacher is not None:
            self.teachers.append(self.plugin.teacher.weight.clone())

    def after_training_exp(self, strategy, **kwargs):
        self.states.append(copy.deepcopy(strategy.model.state_dict()))


def train(plugin, model=None, stream=None, epochs=4):
    model = make_network() if model is None else model
    stream = make_stream() if stream is None else stream
    record = Record(plugin)
    settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, "epochs": epochs}
    strategy = tiny_stream.train([plugin, record], model, stream.train_stream, **settings)
    strategy.eval(stream.test_stream)
    return strategy, record


def part(state, start):
    return {key: value for key, value in state.items() if key.startswith(start)}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("task_aware", [False, True])
@pytest.mark.parametrize("head_init", ["best", "fresh"])
def test_heads_grow_old_ones_stay_and_new_ones_train(task_aware, head_init):
    plugin = DNNPlugin(expand_below=0.9, head_init=head_init)
    strategy, spy = train(plugin, stream=make_stream(task_aware))
    assert [row["verdict"] for row in plugin.decisions] == ["base", "expand", "expand"]
    assert len(strategy.model.heads) == 3
    first, second, third = spy.states
    assert same(part(first, "backbone"), part(third, "backbone"))  # batch-norm statistics as well
    assert same(part(first, "heads.0"), part(third, "heads.0"))
    assert same(part(second, "heads.1"), part(third, "heads.1"))
    assert not torch.equal(second["heads.1.weight"], first["heads.0.weight"])
    assert spy.optimized == [True, True, True]
    assert torch.equal(spy.starts[1], first["heads.0.weight"]) == (head_init == "best")
    assert plugin.decisions[1]["source"] == (0 if head_init == "best" else None)
    gaps = [plugin.decisions[2][f"gap_{head}"] for head in range(2)]
    best = second[f"heads.{gaps.index(max(gaps))}.weight"]
    assert torch.equal(spy.starts[2], best) == (head_init == "best")
    assert strategy.model.router.domain_head.tolist() == [0, 1, 2]
    # its own domain is answered right, which the untouched heads are not able to
    x, y = _tensors(2)
    accuracy = (strategy.model.eval()(x).argmax(1) == y).float().mean()
    assert accuracy > 0.9 > plugin.decisions[2]["gap"]


def _tensors(experience):
    items = list(make_stream().train_stream[experience].dataset)
    return torch.stack([item[0] for item in items]), torch.tensor([item[1] for item in items])


def test_backbone_trains_in_the_first_experience_only():
    model = make_network()
    before = copy.deepcopy(model.state_dict())
    strategy, spy = train(DNNPlugin(expand_at=[]), model)
    assert not torch.equal(before["backbone.0.weight"], spy.states[0]["backbone.0.weight"])
    assert same(part(spy.states[0], "backbone"), part(spy.states[2], "backbone"))
    assert not any(p.requires_grad for p in strategy.model.backbone.parameters())


def test_decisions_tell_the_gap_of_every_head():
    model = make_network()
    stream = make_stream()
    plugin = DNNPlugin(expand_at=[1], distill_head="worst")
    gaps, novelties = {}, []

    class Measure(SupervisedPlugin):
        def before_train_dataset_adaptation(self, strategy, **kwargs):
            x, y = _tensors(strategy.clock.train_exp_counter)
            model.eval()
            with torch.no_grad():
                f = model.features(x)
                right = [float((head(f).argmax(1) == y).float().mean()) for head in model.heads]
                sure = [float(head(f).softmax(1).amax(1).mean()) for head in model.heads]
            model.train()
            gaps[strategy.clock.train_exp_counter] = right
            novelties.append(1 - max(sure, default=0.0))

    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    strategy = Naive(model=model, optimizer=optimizer, train_mb_size=16, plugins=[Measure(), plugin], evaluator=None)
    for experience in stream.train_stream:
        strategy.train(experience)
    base, expand, distill = plugin.decisions
    assert base == {"experience": 0, "samples": SAMPLES, "verdict": "base", "head": 0, "known": 0} | {
        "teacher": None, "source": None, "gap": None, "heads": 1,
        "heads_mb": 4 * (WIDTH + 1) * CLASSES / 1e6, "router_mb": base["router_mb"],
    }  # fmt: skip
    sizes = [(row["heads"], row["heads_mb"] / base["heads_mb"]) for row in plugin.decisions]
    assert sizes == [(1, 1), (2, 2), (2, 2)]
    # a head that is trained on keeps one domain
    assert 0 < base["router_mb"] < expand["router_mb"] == distill["router_mb"] == model.router_bytes() / 1e6
    assert (expand["verdict"], expand["head"], expand["teacher"], expand["source"]) == ("expand", 1, None, 0)
    assert [expand["gap"], expand["gap_0"]] == pytest.approx(gaps[1] * 2)
    assert expand["known"] == round(gaps[1][0] * SAMPLES)
    assert [expand["novelty"], distill["novelty"]] == pytest.approx(novelties[1:])
    worst = gaps[2].index(min(gaps[2]))
    assert (distill["verdict"], distill["head"], distill["teacher"]) == ("distill", worst, worst)
    assert distill["source"] is None
    assert [distill["gap_0"], distill["gap_1"]] == pytest.approx(gaps[2])
    assert distill["gap"] == pytest.approx(max(gaps[2]))
    assert distill["known"] == round(min(gaps[2]) * SAMPLES)


@pytest.mark.parametrize(
    ("settings", "permute", "verdicts"),
    [
        ({"expand_below": 0.0}, True, ["base", "distill", "distill"]),
        ({"expand_below": 0.9}, False, ["base", "distill", "distill"]),
        ({"expand_below": 0.0, "expand_at": [2]}, False, ["base", "distill", "expand"]),
        ({"expand_below": 1.0, "expand_at": []}, True, ["base", "distill", "distill"]),
    ],
)
def test_threshold_and_list_decide(settings, permute, verdicts):
    plugin = DNNPlugin(**settings)
    train(plugin, stream=make_stream(permute=permute))
    assert [row["verdict"] for row in plugin.decisions] == verdicts


@pytest.mark.parametrize("choice", ["best", "worst", "newest"])
def test_distillation_trains_the_chosen_head_only(choice):
    plugin = DNNPlugin(expand_at=[1, 2], distill_head=choice)
    strategy, spy = train(plugin, stream=make_stream(experiences=4))
    row = plugin.decisions[3]
    gaps = [row[f"gap_{head}"] for head in range(3)]
    assert row["head"] == {"best": gaps.index(max(gaps)), "worst": gaps.index(min(gaps)), "newest": 2}[choice]
    for head in range(3):
        unchanged = same(part(spy.states[2], f"heads.{head}"), part(spy.states[3], f"heads.{head}"))
        assert unchanged == (head != row["head"])
    assert all(torch.equal(teacher, spy.teachers[0]) for teacher in spy.teachers)
    assert torch.equal(spy.teachers[0], spy.states[2][f"heads.{row['head']}.weight"])
    assert strategy.model.router.domain_head.tolist() == [0, 1, 2]
    assert strategy.model.router.counts.sum(1).tolist() == [SAMPLES * (1 + (head == row["head"])) for head in range(3)]


def test_distillation_acts_and_holds_the_head():
    moved = {}
    for weight in (0.0, 1.0, 10.0):
        _, spy = train(DNNPlugin(expand_at=[], distill_weight=weight), stream=make_stream(permute=False))
        before, after = (spy.states[i]["heads.0.weight"] for i in (0, 2))
        moved[weight] = float((after - before).norm())
    assert moved[0.0] > moved[1.0] > moved[10.0] > 0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 7), st.floats(0.5, 5))
def test_known_distillation_equals_a_loop_over_known_samples(seed, batch, temperature):
    torch.manual_seed(seed)
    student = torch.randn(batch, CLASSES).double().requires_grad_()
    teacher, labels = torch.randn(batch, CLASSES).double(), torch.randint(CLASSES, (batch,))
    terms = []
    for s, t, label in zip(student, teacher, labels, strict=True):
        if t.argmax() == label:
            p, q = (t / temperature).softmax(0), (s / temperature).softmax(0)
            terms.append(temperature**2 * (p * (p / q).log()).sum())
    expected = torch.stack([*terms, torch.zeros(())]).sum().item() / max(1, len(terms))
    found = known_distillation(student, teacher, labels, temperature)
    assert found.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    found.backward()
    unknown = teacher.argmax(1) != labels
    assert student.grad[unknown].abs().sum() == 0


def test_no_statistics_are_kept_where_the_answer_needs_none():
    strategy, _ = train(DNNPlugin(), make_network(answer="confidence"))
    assert strategy.model.router_bytes() == 0


def test_oracle_is_told_the_head_of_each_trained_experience_only():
    seen = {}

    class Told(SupervisedPlugin):
        def before_eval_forward(self, strategy, **kwargs):
            seen.setdefault(strategy.experience.current_experience, set()).add(strategy.model.told)

    plugin, model, stream = DNNPlugin(expand_at=[1]), make_network(answer="oracle"), make_stream()
    strategy = Naive(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        train_mb_size=16,
        eval_mb_size=16,
        plugins=[plugin, Told()],
        evaluator=None,
    )
    for experience in stream.train_stream[:2]:
        strategy.train(experience)
    strategy.eval(stream.test_stream)
    assert seen == {0: {0}, 1: {1}, 2: {None}}
    strategy.train(stream.train_stream[2])
    strategy.eval(stream.test_stream)
    assert plugin.decisions[2]["verdict"] == "distill"
    assert seen[2] == {None, plugin.decisions[2]["head"]}
    assert model.told is None


def test_answers_that_know_more_say_so():
    remarks = {answer: DNN(answer=answer).remarks() for answer in get_args(Answer)}
    assert {answer for answer, found in remarks.items() if found} == {"batch", "oracle"}
    assert "transductive" in remarks["batch"][0] and "upper bound" in remarks["oracle"][0]


def test_other_models_are_refused_with_a_clear_message():
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, CLASSES))
    with pytest.raises(TypeError, match=r"needs a .*DynamicNetwork, not a Sequential"):
        train(DNNPlugin(), model)


def test_strategy_wraps_the_runs_model_and_passes_its_settings():
    model = nn.Module()
    model.backbone, model.head = None, nn.Linear(WIDTH, CLASSES)
    new_head = lambda: nn.Linear(WIDTH, CLASSES)  # noqa: E731
    context = Context(model, new_head, CLASSES, WIDTH, 3, torch.device("cpu"), 0, lambda *parts: parts, dict)
    config = STRATEGIES.get("dnn")(expand_at=[1], answer="mean", distill_weight=3.0, shrinkage=0.2)
    wrapped, (plugin, _) = config.build(context)
    assert wrapped.heads[0] is model.head  # so its first experience is fine-tuning's
    assert (wrapped.answer, wrapped.router.shrinkage) == ("mean", 0.2)
    assert (plugin.expand_at, plugin.distill_weight) == ([1], 3.0)
    assert config.plugins(context)[0] is not plugin


@pytest.mark.parametrize(
    "bad",
    [
        {"expand_below": 1.5},
        {"expand_below": -0.1},
        {"expand_at": [0]},
        {"expand_at": [1, 1]},
        {"expand_at": "always"},
        {"head_init": "random"},
        {"distill_head": "oldest"},
        {"distill_weight": -1},
        {"temperature": 0},
        {"answer": "loudest"},
        {"shrinkage": 0},
        {"shrinkage": "auto"},
        {"router_temperature": 0},
    ],
)
def test_bad_settings_are_refused_by_name(bad):
    with pytest.raises(ValidationError, match=next(iter(bad))):
        DNN(**bad)


def test_never_expands_by_that_word():
    config = DNN(expand_at="never", expand_below=1.0)
    assert config.expand_at == [] and config == DNN(expand_at=[], expand_below=1.0)
    with pytest.raises(InputError, match=r"dnn\.expand_at: a list of experiences .* or never \(got 'nevr'\)") as error:
        parse(DNN, {"expand_at": "nevr"}, "dnn")
    assert "\n" not in str(error.value)


def test_plugin_refuses_unknown_words():
    with pytest.raises(ValueError, match="'oldest' is none of best, worst, newest"):
        DNNPlugin(distill_head="oldest")
