"""EWC and LwF against Avalanche's own, in the settings where both compute the same; and Avalanche's own by name."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from avalanche.training.plugins import EWCPlugin as StockEWC
from avalanche.training.plugins import LwFPlugin as StockLwF
from pydantic import ValidationError
from small_models import FEATURES
from tiny_stream import mlp, train, weights

from lorisbench.strategies.ewc import EWC, EWCPlugin
from lorisbench.strategies.lwf import LwFPlugin
from lorisbench.strategies.stock import EWCAvalanche, LwFAvalanche, SIAvalanche

SETTINGS = {"lr": 0.05, "momentum": 0.0, "experiences": 3}


def trained(plugins, batch_size=16):
    return weights(train(plugins, batch_size=batch_size, **SETTINGS))


def test_empirical_ewc_is_avalanches_with_batches_of_one():
    """There the gradient of a batch is a sample's; its penalty lacks the factor 1/2."""
    ours = trained([EWCPlugin(2.0, "empirical")], 1)
    assert torch.allclose(ours, trained([StockEWC(1.0)], 1), atol=1e-5)
    assert not torch.allclose(ours, trained([], 1), atol=1e-3)


@pytest.mark.parametrize("batch_size", [7, 16])
def test_ewc_with_the_fisher_of_batches_is_avalanches_with_half_the_lambda(batch_size):
    """7 and 16 leave a smaller last batch, which both count as one."""
    ours = trained(EWC(ewc_lambda=20, fisher="batch").plugins(None), batch_size)
    assert torch.allclose(ours, trained(EWCAvalanche(ewc_lambda=10).plugins(None), batch_size), atol=1e-5)
    assert not torch.allclose(ours, trained([], batch_size), atol=1e-3)
    assert not torch.allclose(ours, trained([EWCPlugin(20.0, "empirical")], batch_size), atol=1e-3)


def test_online_ewc_is_avalanches():
    ours = trained(EWC(ewc_lambda=20, fisher="batch", mode="online", gamma=0.6).plugins(None))
    stock = EWCAvalanche(ewc_lambda=10, mode="online", decay_factor=0.6)
    assert torch.allclose(ours, trained(stock.plugins(None)), atol=1e-5)
    assert not torch.allclose(ours, trained(EWC(ewc_lambda=20, fisher="batch").plugins(None)), atol=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_lwf_is_avalanches_without_the_square_of_the_temperature(temperature):
    """The model has no layer that behaves otherwise in training mode, where Avalanche leaves its teacher."""
    ours = trained([LwFPlugin(3.0, temperature)])
    stock = trained(LwFAvalanche(alpha=3.0 * temperature**2, temperature=temperature).plugins(None))
    assert torch.allclose(ours, stock, atol=1e-5)
    assert not torch.allclose(ours, trained([]), atol=1e-3)


def test_the_faults_that_the_remarks_name_are_there():
    """Should a later Avalanche be without one of them, its remark must go."""
    naive = trained([])
    assert torch.equal(trained(SIAvalanche(si_lambda=1e4).plugins(None)), naive)

    totals = []
    for batch_size in (4, 24):
        plugin = EWCAvalanche(ewc_lambda=0).plugins(None)[0]
        train([plugin], experiences=1, batch_size=batch_size, lr=1e-9)
        totals.append(sum(float(value.data.sum()) for value in plugin.importances[0].values()))
    assert totals[0] > 1.5 * totals[1]

    plugin = LwFAvalanche().plugins(None)[0]
    train([plugin], mlp(norm=True), experiences=1)
    assert plugin.lwf.prev_model.training
    assert all(kind().remarks() for kind in (EWCAvalanche, LwFAvalanche, SIAvalanche))


def test_the_plugins_are_avalanches_with_the_settings_given():
    ewc = EWCAvalanche(ewc_lambda=3, mode="online", decay_factor=0.5).plugins(None)[0]
    assert type(ewc) is StockEWC and (ewc.ewc_lambda, ewc.mode, ewc.decay_factor) == (3, "online", 0.5)
    lwf = LwFAvalanche(alpha=3, temperature=5).plugins(None)[0]
    assert type(lwf) is StockLwF and (lwf.lwf.alpha, lwf.lwf.temperature) == (3, 5)
    si = SIAvalanche(si_lambda=3, eps=0.1).plugins(None)[0]
    assert (si.si_lambda, si.eps) == ([3], 0.1)


@pytest.mark.parametrize("bad", [{"mode": "online"}, {"decay_factor": 0.5}])
def test_a_decay_factor_goes_with_online_alone(bad):
    with pytest.raises(ValidationError, match="decay_factor"):
        EWCAvalanche(**bad)


def test_they_run_in_the_harness_and_are_footnoted(suite_file, cli, tmp_path):
    names = ["naive", "ewc-avalanche", "lwf-avalanche", "si-avalanche"]
    suite = suite_file(strategies=names, training={"epochs": 1, "batch_size": 4}, latency={"enabled": False})
    answer = cli("run", suite, "--out", tmp_path / "out")
    assert answer.code == 0, answer.err
    results = pd.read_csv(tmp_path / "out" / "results.csv").set_index("strategy")
    assert (results.status == "done").all()
    assert results.loc["si-avalanche", "accuracy_last"] == results.loc["naive", "accuracy_last"]
    head = (FEATURES * 3 + 3) * 4 / 1e6
    assert results.loc["lwf-avalanche", "state_mb"] == pytest.approx(head)
    assert results.loc["ewc-avalanche", "state_mb"] == pytest.approx(2 * 9 * head)  # two for each experience
