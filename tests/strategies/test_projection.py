"""GEM's and A-GEM's projections against an independent solver, their conditions, and what steps they lead to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import nn
from torch.nn.functional import cross_entropy

from lorisbench.strategies.agem import averaged_projection
from lorisbench.strategies.gem import project
from lorisbench.strategies.parts.flat_gradients import flat, memory_gradient, write
from lorisbench.strategies.parts.gradients import trainable


def vectors(seed, rows, width):
    generator = torch.Generator().manual_seed(seed)
    # lengths that differ by orders of magnitude, as gradients do
    scale = 10 ** (4 * torch.rand(rows, 1, generator=generator) - 2)
    return torch.randn(width, generator=generator).double(), (
        scale * torch.randn(rows, width, generator=generator)
    ).double()


def nearest(g, rows):
    """The same projection as a primal problem, by sequential quadratic programming."""
    rows = rows / rows.norm(dim=1, keepdim=True)
    answer = minimize(
        lambda z: 0.5 * ((z - g.numpy()) ** 2).sum(),
        np.zeros(len(g)),
        jac=lambda z: z - g.numpy(),
        constraints={"type": "ineq", "fun": lambda z: rows.numpy() @ z, "jac": lambda z: rows.numpy()},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert answer.success
    return torch.from_numpy(answer.x)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(3, 8))
def test_gem_projects_as_an_independent_solver_does(seed, rows, width):
    g, references = vectors(seed, rows, width)
    assert torch.allclose(project(g, references), nearest(g, references), atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(2, 30), st.sampled_from([0.0, 0.5]))
def test_gem_meets_every_constraint_also_where_rows_repeat(seed, rows, width, strength):
    g, references = vectors(seed, rows, width)
    references = torch.cat([references, references[:1], 2 * references[-1:]])
    found = project(g.float(), references.float(), strength).double()
    dots = references / references.norm(dim=1, keepdim=True) @ found
    assert (dots >= -1e-4 * (1 + found.norm())).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5))
def test_gem_with_strength_has_its_dual_variables_at_or_above_it(seed, rows):
    """Karush-Kuhn-Tucker conditions of the dual with v >= strength; v is found again by least squares."""
    g, references = vectors(seed, rows, 20)
    found, strength = project(g, references, 0.5), 0.5
    if torch.equal(found, g):
        assert (references @ g >= 0).all()
        return
    v = torch.linalg.lstsq(references.T, found - g).solution
    assert torch.allclose(references.T @ v, found - g, atol=1e-6)
    assert (v >= strength - 1e-6).all()
    slack = references @ found
    assert (slack >= -1e-5 * references.norm(dim=1)).all()
    assert (((v - strength).abs() < 1e-5) | (slack.abs() < 1e-5 * references.norm(dim=1) * (1 + g.norm()))).all()


def test_gradients_that_nothing_opposes_stay_as_they_are():
    g = torch.tensor([1.0, 2.0, 3.0])
    references = torch.tensor([[1.0, 0.0, 0.0], [-2.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    assert project(g, references, 0.5) is g
    assert torch.equal(averaged_projection(g, references[0]), g)
    assert torch.equal(averaged_projection(g, references[2]), g)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 8))
def test_agem_is_gem_with_one_memory(seed, width):
    g, references = vectors(seed, 1, width)
    assert torch.allclose(averaged_projection(g, references[0]), nearest(g, references), atol=1e-6)
    assert torch.allclose(averaged_projection(g, references[0]), project(g, references), atol=1e-9)


@pytest.mark.parametrize("training", [True, False])
def test_a_memorys_gradient_is_that_of_the_model_in_evaluation_and_touches_nothing(training):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3), nn.Linear(3, 3)).train(training)
    model[1](torch.randn(50, 5) * 3 + 1)
    model[0].weight.requires_grad_(False)
    x, y = torch.randn(7, 4), torch.randint(3, (7,))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    parameters = list(trainable(model).values())
    found = memory_gradient(model, parameters, x, y)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert [m.training for m in model] == [training] * 4 and all(p.grad is None for p in parameters)
    cross_entropy(model.eval()(x), y).backward()
    assert torch.allclose(found, flat(parameters, [p.grad for p in parameters]), atol=1e-7)
    assert len(found) == sum(p.numel() for p in parameters) and model[0].weight.grad is None


def test_write_and_flat_are_inverse():
    parameters = [nn.Parameter(torch.randn(2, 3)), nn.Parameter(torch.randn(4))]
    value = torch.arange(10.0)
    write(parameters, value)
    assert torch.equal(flat(parameters, [p.grad for p in parameters]), value)
    assert parameters[0].grad.shape == (2, 3)
    assert torch.equal(flat(parameters, [None, torch.ones(4)]), torch.cat([torch.zeros(6), torch.ones(4)]))
