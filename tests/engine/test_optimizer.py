"""The optimizer of a run: the fast form of Adam takes the very steps of the plain one."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from lorisbench.engine.engine import make_optimizer
from lorisbench.suite.training import TrainingConfig


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_all_parameters_at_once_move_as_one_by_one(name: str, kind: type[torch.optim.Adam], decay: float) -> None:
    def trained(fast: bool) -> torch.Tensor:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(9, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, 3))
        settings = TrainingConfig.model_validate({"optimizer": name, "lr": 0.01, "weight_decay": decay})
        plain = kind(model.parameters(), lr=0.01, weight_decay=decay, foreach=False)
        optimizer = make_optimizer(model, settings) if fast else plain
        for _ in range(20):
            optimizer.zero_grad()
            cross_entropy(model(torch.randn(8, 9)), torch.randint(3, (8,))).backward()
            optimizer.step()
        return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])

    assert torch.equal(trained(True), trained(False))
