"""What a model has grown in training is there again in a freshly built one, or it is said why it cannot be."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from answers import refused
from torch import nn

from lorisbench.common.errors import InputError
from lorisbench.model.checkpoint import load_checkpoint, load_state, write_checkpoint

WIDTH, CLASSES = 6, 3


def new_head() -> nn.Module:
    return nn.Linear(WIDTH, CLASSES)


class Grows(nn.Module):
    """A model of parts given by name, and what is done with the inputs."""

    def __init__(self, answer: Callable[[Any, torch.Tensor], torch.Tensor], **parts: Any) -> None:
        super().__init__()
        self.answer = answer
        for name, part in parts.items():
            if part is None or type(part) is torch.Tensor:
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.answer(self, x)


def summed(model: Any, x: torch.Tensor) -> torch.Tensor:
    heads = model.heads.values() if isinstance(model.heads, nn.ModuleDict) else model.heads
    return sum((place + 1) * head(x) for place, head in enumerate(heads))  # type: ignore[return-value]


def nearest(model: Any, x: torch.Tensor) -> torch.Tensor:
    return model.head(x) if model.means is None or not len(model.means) else -torch.cdist(x, model.means)


def wide(model: Any, x: torch.Tensor) -> torch.Tensor:
    return model.head(x)[:, : model.head.out_features]


def weighed(model: Any, x: torch.Tensor) -> torch.Tensor:
    return sum(x @ each for each in (model.all.values() if isinstance(model.all, nn.ParameterDict) else model.all))


def more(model: Any) -> None:
    model.heads.append(new_head())
    model.heads.append(new_head())


def named(model: Any) -> None:
    for name in ("desk", "attic", "hall"):  # an order of their own
        model.heads[name] = new_head()


def another(model: Any) -> None:
    model.all.append(nn.Parameter(torch.randn(WIDTH, CLASSES)))


def keyed(model: Any) -> None:
    for key in ("b", "a"):
        model.all[key] = nn.Parameter(torch.randn(WIDTH, CLASSES))


def offset(model: Any, x: torch.Tensor) -> torch.Tensor:
    return model.head(x) + (0 if getattr(model, "shift", None) is None else model.shift)


def deep() -> nn.Module:
    return nn.Sequential(nn.Linear(WIDTH, 4), nn.ReLU(), nn.BatchNorm1d(4), nn.Linear(4, CLASSES))


GROWTHS: dict[str, tuple[Callable[[], nn.Module], Callable[[Any], object]]] = {
    "a buffer gets rows": (
        lambda: Grows(nearest, head=new_head(), means=torch.zeros(0, WIDTH)),
        lambda m: setattr(m, "means", torch.randn(5, WIDTH)),
    ),
    "a buffer was None": (
        lambda: Grows(nearest, head=new_head(), means=None),
        lambda m: setattr(m, "means", torch.randn(5, WIDTH)),
    ),
    "a buffer has another type": (
        lambda: Grows(nearest, head=new_head(), means=torch.zeros(5, WIDTH, dtype=torch.int64)),
        lambda m: setattr(m, "means", torch.randn(5, WIDTH)),
    ),
    "a buffer comes later": (
        lambda: Grows(offset, head=new_head()),
        lambda m: m.register_buffer("shift", torch.randn(CLASSES)),
    ),
    "a parameter comes later": (
        lambda: Grows(offset, head=new_head()),
        lambda m: setattr(m, "shift", nn.Parameter(torch.randn(CLASSES))),
    ),
    "a head gets rows": (
        lambda: Grows(wide, head=new_head()),
        lambda m: setattr(m, "head", nn.Linear(WIDTH, 7)),
    ),
    "a list gets heads": (lambda: Grows(summed, heads=nn.ModuleList([new_head()])), more),
    "a list gets deep heads": (
        lambda: Grows(summed, heads=nn.ModuleList([deep()])),
        lambda m: m.heads.append(copy.deepcopy(deep())),
    ),
    "an empty list gets heads": (lambda: Grows(summed, heads=nn.ModuleList()), more),
    "a list gets more than ten heads": (
        lambda: Grows(summed, heads=nn.ModuleList()),
        lambda m: m.heads.extend(new_head() for _ in range(12)),
    ),
    "a list gets wider heads": (
        lambda: Grows(lambda m, x: torch.cat([h(x) for h in m.heads], dim=1), heads=nn.ModuleList([new_head()])),
        lambda m: m.heads.extend([nn.Linear(WIDTH, 5), nn.Linear(WIDTH, 2)]),
    ),
    "a list loses heads": (
        lambda: Grows(summed, heads=nn.ModuleList(new_head() for _ in range(4))),
        lambda m: m.heads.__delitem__(slice(2, 4)),
    ),
    "a dict gets heads": (lambda: Grows(summed, heads=nn.ModuleDict()), named),
    "a sequence gets layers": (
        lambda: Grows(lambda m, x: m.body(x), body=nn.Sequential(nn.Linear(WIDTH, WIDTH))),
        lambda m: m.body.append(nn.Linear(WIDTH, WIDTH)),
    ),
    "a list of parameters grows": (
        lambda: Grows(weighed, all=nn.ParameterList([torch.randn(WIDTH, CLASSES)])),
        another,
    ),
    "a list of parameters gets shorter": (
        lambda: Grows(weighed, all=nn.ParameterList(torch.randn(WIDTH, CLASSES) for _ in range(3))),
        lambda m: setattr(m, "all", nn.ParameterList([torch.randn(WIDTH, CLASSES)])),
    ),
    "a dict of parameters loses one": (
        lambda: Grows(weighed, all=nn.ParameterDict({key: torch.randn(WIDTH, CLASSES) for key in "abc"})),
        lambda m: m.all.pop("b"),
    ),
    "a lazy layer": (
        lambda: Grows(wide, head=nn.LazyLinear(CLASSES)),
        lambda m: m(torch.zeros(1, WIDTH)),
    ),
    "a dict of parameters grows": (lambda: Grows(weighed, all=nn.ParameterDict()), keyed),
    "a part was None": (
        lambda: Grows(lambda m, x: (m.old or m.head)(x), head=new_head(), old=None),
        lambda m: setattr(m, "old", copy.deepcopy(m.head)),
    ),
    "parts are named one by one": (
        lambda: Grows(lambda m, x: sum(h(x) for h in m.children()), head_0=new_head()),
        lambda m: m.add_module("head_1", new_head()),
    ),
}


@pytest.mark.parametrize("growth", GROWTHS)
def test_what_has_grown_is_there_again(growth: str, tmp_path: Path) -> None:
    build, grow = GROWTHS[growth]
    torch.manual_seed(0)
    model = build()
    grow(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    x = torch.randn(4, WIDTH)
    write_checkpoint(model, tmp_path, frozen=False)
    fresh = load_checkpoint(build(), tmp_path, None, False, new_head)
    assert torch.equal(fresh(x), model.eval()(x))
    assert {n: (t.shape, t.dtype) for n, t in fresh.state_dict().items()} == {
        n: (t.shape, t.dtype) for n, t in model.state_dict().items()
    }


class Says(nn.Module):
    """Keeps what it knows in plain words."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.owners = new_head(), {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x) + sum(self.owners.values())

    def get_extra_state(self) -> Any:
        return self.owners

    def set_extra_state(self, state: Any) -> None:
        self.owners = state


def test_what_a_module_says_of_itself_may_be_plain_data(tmp_path: Path) -> None:
    model, x = Says(), torch.randn(2, WIDTH)
    model.owners = {"desk": 1, "attic": 2}
    write_checkpoint(model, tmp_path, frozen=False)
    assert torch.equal(load_checkpoint(Says(), tmp_path, None, False)(x), model(x))
    model.owners = {1: 2}
    with pytest.raises(TypeError, match="_extra_state is no plain data"):
        write_checkpoint(model, tmp_path, frozen=False)


@pytest.mark.parametrize(
    ("build", "grow", "words"),
    [
        (
            lambda: Grows(summed, heads=nn.ModuleList()),
            lambda m: m.heads.append(deep()),
            ["heads.0 (0.weight (4, 6)", "added in training", "context.new_head()"],
        ),
        (
            lambda: Grows(summed, heads=nn.ModuleList(), one=nn.Linear(2, 2), two=nn.Bilinear(2, 1, 2)),
            lambda m: m.heads.append(nn.Conv1d(1, 1, 1)),
            ["heads.0", "no part like it"],
        ),
        (
            lambda: Grows(summed, heads=nn.ModuleList([nn.Embedding(2, 2), nn.Linear(2, 2, bias=False)])),
            lambda m: m.heads.append(nn.Linear(2, 2, bias=False)),
            ["heads.2", "parts of 2 kinds"],
        ),
        (
            lambda: Grows(summed, mix=nn.Bilinear(2, 1, 2)),
            lambda m: setattr(m, "mix", nn.Bilinear(2, 1, 3)),
            ["mix.weight: a Bilinear that has grown"],
        ),
        (
            lambda: Grows(wide, head=new_head()),
            lambda m: m.head.register_parameter("scale", nn.Parameter(torch.ones(1))),
            ["head.scale: a freshly built Linear has no such tensor"],
        ),
    ],
)
def test_what_cannot_be_made_again_is_named(build: Any, grow: Any, words: list[str]) -> None:
    model = build()
    grow(model)

    def load() -> None:
        try:
            load_state(build(), model.state_dict(), new_head=new_head)
        except ValueError as error:
            raise InputError(str(error)) from error

    refused(load, *words)
