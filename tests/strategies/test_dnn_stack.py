"""The heads and the router kept as one layer: whatever changes one of its parts is seen by the next forward pass."""

from __future__ import annotations

import copy
import pickle
import random
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.func import functional_call, stack_module_state
from torch.nn.utils import parameters_to_vector, prune, vector_to_parameters

from lorisbench.strategies.dnn.network import BY_ITSELF, Answer, DynamicNetwork

WIDTH, CLASSES, HEADS = 6, 3, 3


def new_head() -> nn.Module:
    return nn.Linear(WIDTH, CLASSES)


def domain(seed: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(24, WIDTH, generator=generator) + 2 * torch.randn(WIDTH, generator=generator)
    return [(x, torch.arange(24) % CLASSES)]


def network(answer: Answer = "prototype") -> DynamicNetwork:
    torch.manual_seed(0)
    model = DynamicNetwork(None, new_head, answer=answer, router_temperature=50.0)
    for head in range(HEADS):
        if head:
            model.add_head()
        model.train_only(head)
        model.record_domain(domain(head))
    return model.eval()


X = torch.randn(8, WIDTH, generator=torch.Generator().manual_seed(9))


@torch.no_grad()
def answer(model: DynamicNetwork, fresh: bool = False) -> torch.Tensor:
    if fresh:
        model._stack = None
    return model(X.to(model.heads[0].weight.dtype))


def step(model: DynamicNetwork) -> None:
    """An optimizer's step on all heads, in evaluation mode."""
    model.requires_grad_(True)
    optimizer = torch.optim.Adam(model.heads.parameters(), lr=0.1)
    model(X).sum().backward()
    with torch.no_grad():
        model(X)  # kept while gradients are waiting
    optimizer.step()


def train(model: DynamicNetwork) -> None:
    model.train()
    step(model)
    model.eval()


def load(model: DynamicNetwork) -> None:
    model.load_state_dict({k: v * 2 if v.is_floating_point() else v for k, v in model.state_dict().items()})


def load_by_reference(model: DynamicNetwork) -> None:
    state = {k: v * 2 if v.is_floating_point() else v for k, v in model.state_dict().items()}
    model.load_state_dict(state, assign=True)


@torch.no_grad()
def edit(model: DynamicNetwork) -> None:
    model.heads[1].weight.mul_(3)


@torch.no_grad()
def edit_bias(model: DynamicNetwork) -> None:
    model.heads[2].bias[0] += 5


@torch.no_grad()
def edit_router(model: DynamicNetwork) -> None:
    model.router.bias[:CLASSES] += 100


@torch.no_grad()
def edit_owner(model: DynamicNetwork) -> None:
    model.router.domain_head[0] = 2


def new_parameter(model: DynamicNetwork) -> None:
    model.heads[0].weight = nn.Parameter(model.heads[0].weight.detach() * 2)


def new_data(model: DynamicNetwork) -> None:
    model.heads[0].weight.data = model.heads[0].weight.detach() * 2  # no version tells this


def from_vector(model: DynamicNetwork) -> None:
    vector_to_parameters(parameters_to_vector(model.heads.parameters()) * 2, model.heads.parameters())


def no_bias(model: DynamicNetwork) -> None:
    model.heads[1].register_parameter("bias", None)


def other_head(model: DynamicNetwork) -> None:
    model.heads[1] = new_head()


def one_more_head(model: DynamicNetwork) -> None:
    model.add_head()
    with torch.no_grad():
        model.router.domain_head[0] = HEADS


def one_more_domain(model: DynamicNetwork) -> None:
    model.train_only(1)
    model.record_domain(domain(7))


def routers_domain(model: DynamicNetwork) -> None:
    model.router.record(domain(7), CLASSES, 0)


def written_data(model: DynamicNetwork) -> None:
    model.heads[0].weight.data.mul_(2)
    model.eval()  # without this nothing tells: so the docstring says


def more_than_linear(model: DynamicNetwork) -> None:
    class Doubled(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(x)

    doubled = Doubled(WIDTH, CLASSES)
    doubled.load_state_dict(model.heads[1].state_dict())
    model.heads[1] = doubled


def pruned(model: DynamicNetwork) -> None:
    prune.l1_unstructured(model.heads[0], "weight", 0.5)


def hooked(model: DynamicNetwork) -> None:
    model.heads[1].register_forward_hook(lambda head, inputs, output: 3 * output)


def patched(model: DynamicNetwork) -> None:
    head = model.heads[1]
    head.forward = lambda x: 2 * nn.Linear.forward(head, x)  # type: ignore[method-assign, assignment, arg-type]


CHANGES = (step, train, load, load_by_reference, edit, edit_bias, edit_router, edit_owner, new_parameter, new_data,
           from_vector, no_bias, other_head, one_more_head, one_more_domain, routers_domain, written_data,
           more_than_linear, pruned, hooked, patched)  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_the_next_answer_knows_of(change: Callable[[DynamicNetwork], None]) -> None:
    model = network()
    before = answer(model)
    assert model._stack is not None, "nothing was kept, so nothing was tested"
    change(model)
    after = answer(model)
    assert not torch.equal(after, before)
    assert torch.equal(after, answer(model, fresh=True))


@pytest.mark.parametrize("which", ["prototype", "confidence"])
@pytest.mark.parametrize("seed", range(12))
def test_any_changes_one_after_the_other_are_known(which: Answer, seed: int) -> None:
    drawing, model = random.Random(seed), network(which)
    for _ in range(8):
        change = drawing.choice([each for each in CHANGES if each is not pruned])  # a pruned head is not copied
        try:
            change(model)
        except (AttributeError, IndexError, RuntimeError):  # there is nothing to change any more
            model.train(model.training)
        for x in drawing.sample([X, X[:1], X[:0]], 2):
            with drawing.choice([torch.no_grad, torch.inference_mode])():
                found, model._stack = model(x), drawing.choice([model._stack, None])
                assert torch.allclose(found, copy.deepcopy(model)(x), atol=1e-4, rtol=1e-4), change.__name__


def test_other_data_never_come_to_the_same_address() -> None:
    """By the address a parameter's new data are known: the memory of the old is not given back until they are."""
    model = network()
    weight, array = model.heads[0].weight, np.ones((CLASSES, WIDTH), np.float32)
    weight.data, memory = torch.from_numpy(array), weakref.ref(array)
    del array
    before = answer(model)
    weight.data = weight.data + torch.arange(WIDTH)
    assert memory() is not None
    assert not torch.equal(answer(model), before) and memory() is None


@pytest.mark.parametrize("which", [*BY_ITSELF, "oracle"])
def test_no_images_have_no_answers(which: Answer) -> None:
    with torch.no_grad():
        assert network(which)(X[:0]).shape == (0, CLASSES)


def test_what_was_made_of_fake_tensors_is_not_kept() -> None:
    model = network()
    with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True) as fake:
        assert model(fake.from_tensor(X)).shape == (len(X), CLASSES)
    assert type(answer(model)) is torch.Tensor and torch.equal(answer(model), answer(network()))


def test_members_of_an_ensemble_are_answered_by_their_own_weights() -> None:
    base, members = network(), [network(), network()]
    edit(members[1])
    tensors: Any = stack_module_state([copy.deepcopy(each) for each in members])
    with torch.no_grad():
        base(X)
        together = torch.vmap(lambda p, b: functional_call(base, (p, b), (X,)))(*tensors)
        assert torch.allclose(together, torch.stack([answer(each) for each in members]), atol=1e-6)
        doubled = functional_call(base, {name: 2 * value for name, value in base.named_parameters()}, (X,))
    assert not torch.equal(doubled, answer(base)) and torch.equal(answer(base), answer(network()))


def test_a_replica_of_data_parallel_answers_alike() -> None:
    """As `torch.nn.parallel.replicate` makes them, which takes several GPUs: tensors are no parameters in a replica."""
    model = network()
    wanted, parts = answer(model), [*model.modules()]
    replicas: dict[nn.Module, Any] = {part: part._replicate_for_data_parallel() for part in parts}  # type: ignore[operator]
    for part, replica in replicas.items():
        replica._modules.update({name: replicas[child] for name, child in part._modules.items() if child is not None})
        for name, parameter in part._parameters.items():
            setattr(replica, name, None if parameter is None else parameter.detach().clone())
    with torch.no_grad():
        assert torch.equal(replicas[model](X), wanted)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_another_type_is_followed(dtype: torch.dtype) -> None:
    model = network()
    answer(model)
    model.to(dtype)
    assert answer(model).dtype == dtype
    assert torch.equal(answer(model), answer(model, fresh=True))
    assert model.float() and answer(model).dtype == torch.float32


@pytest.mark.parametrize(
    ("which", "dtype", "close"),
    [
        *((which, torch.float32, 2e-5) for which in BY_ITSELF),
        *((which, torch.float64, 1e-12) for which in BY_ITSELF),
        ("mean", torch.bfloat16, 0.05),
    ],
)
def test_an_image_alone_gets_the_answer_that_it_gets_among_others(
    which: Answer, dtype: torch.dtype, close: float
) -> None:
    model = network(which).to(dtype)
    x = X.to(dtype)
    with torch.no_grad():
        together, alone = model(x), torch.cat([model(image) for image in x.split(1)])
    assert model._stack is not None or which == "newest"
    assert torch.allclose(together, alone, atol=close, rtol=close)


@pytest.mark.filterwarnings("ignore")  # tracing is deprecated, but there
def test_a_trace_of_one_image_serves_several() -> None:
    model = network("open-bounded")
    with torch.no_grad():
        before = model(X[:1])
        assert model._stack is not None
        traced = torch.jit.trace(model, X[:1])
    assert torch.allclose(traced(X[:1]), before, atol=1e-5)
    assert torch.allclose(traced(X), answer(model), atol=1e-5)


@pytest.mark.parametrize("copied", [copy.deepcopy, copy.copy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_keeps_nothing(copied: Callable[[DynamicNetwork], DynamicNetwork]) -> None:
    model = network()
    edit(model)
    before = answer(model)
    other = copied(model)
    assert other._stack is None and model._stack is not None
    edit(other)  # in a deep copy, now the version that the kept layer of the first was made of
    assert not torch.equal(answer(other), before)
    assert torch.equal(answer(model), answer(model, fresh=True))


def test_it_is_kept_only_where_it_can_be_checked() -> None:
    model = network()
    kept = (answer(model), model._stack)[1]
    assert (answer(model), model._stack)[1] is kept
    model(X)  # with gradients
    assert model._stack is None
    with torch.inference_mode():
        model(X)
        assert model._stack is not None
        inside = network()
        inside(X)
        assert inside._stack is None  # parameters made here have no versions


def test_probabilities_too_small_for_the_type_stay_finite() -> None:
    model = network()
    with torch.no_grad():
        for head in model.heads:
            head.weight.mul_(1000)
    found = answer(model)
    assert found.isfinite().all() and torch.allclose(found.exp().sum(1), torch.ones(len(X)), atol=1e-5)
