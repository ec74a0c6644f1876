"""The checks of the baselines, one function each: against closed forms, limits or other implementations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from lorisbench.reproduce.verification import Check, largest, smallest
from lorisbench.reproduce.verification.tiny import LINEAR, MLP, SAMPLES, Spy, apart, plugin_of, seen, trained, weights
from lorisbench.strategies.agem import AGEMPlugin
from lorisbench.strategies.ewc import EWCPlugin
from lorisbench.strategies.gem import GEMPlugin
from lorisbench.strategies.mas import MASPlugin
from lorisbench.strategies.si import SIPlugin

WEIGHTS = "largest difference of a weight"
PLAIN = {"momentum": 0.0, "lr": 0.05}
WHOLE = 10 * SAMPLES  # a batch that holds all there is


def without_strength() -> list[Check]:
    """EWC, SI and MAS with lambda 0 and LwF with alpha 0 are naive, bit for bit."""
    naive = trained("naive")
    keys = {"ewc": "ewc_lambda", "si": "si_lambda", "mas": "mas_lambda", "lwf": "alpha"}
    checks = []
    for name, key in keys.items():
        strengths: list[dict[str, Any]] = [{key: 0.0}, {key: 1.0}]
        off, on = (apart(trained(name, **settings), naive) for settings in strengths)
        checks.append(Check(f"{_title(name)} with {key} = 0 equals naive bit for bit", WEIGHTS, off, 0.0, on))
    return checks


def large_strength() -> list[Check]:
    """A large lambda stops the weights: the distance they move in a second experience, relative to naive's."""
    checks = []
    free = _way("naive")
    cases: list[tuple[str, str, float, dict[str, Any]]] = [
        ("ewc", "ewc_lambda", 1000.0, {}),
        ("si", "si_lambda", 60.0, {"xi": 1e-3}),
        ("mas", "mas_lambda", 45.0, {}),
    ]
    for name, key, value, others in cases:
        held, loose = (_way(name, **{key: strength}, **others) / free for strength in (value, 0.0))
        title = f"{_title(name)} with a large lambda stops the weights"
        checks.append(Check(title, "distance in experience 1 / that of naive", held, 0.25, loose))
    return checks


def _way(name: str, **settings: Any) -> float:
    """How far the weights of a linear head move in the second of two experiences."""
    marks: list[torch.Tensor] = []
    spy = Spy(after_training_exp=lambda s: marks.append(weights(s)))
    # learning rate x strength x largest importance stays below 2, so that the springs are stiff and the steps stable
    training = {"lr": 1e-3, "momentum": 0.0, "epochs": 20}
    trained(name, spies=[spy], hidden=LINEAR, experiences=2, training=training, **settings)
    return float((marks[1] - marks[0]).norm())


def importances() -> list[Check]:
    """EWC's and MAS's importances after an experience match those from one backward pass per sample (and class)."""
    cases: list[tuple[str, str, type, dict[str, Any], Callable[..., list[torch.Tensor]]]] = [
        ("EWC's exact Fisher information", "ewc", EWCPlugin, {"fisher": "exact"}, _exact),
        ("EWC's empirical Fisher information", "ewc", EWCPlugin, {"fisher": "empirical"}, _empirical),
        ("MAS's importance", "mas", MASPlugin, {}, _sensitivity),
    ]
    other = {_exact: _empirical, _empirical: _exact, _sensitivity: _exact}
    checks = []
    for title, name, plugin, settings, oracle in cases:
        errors, controls = [], []
        for hidden in (LINEAR, MLP):  # one in closed form, one through per-sample gradients
            engine = trained(name, hidden=hidden, experiences=1, **settings)
            found = torch.cat([value.flatten() for value in plugin_of(engine, plugin).importance.values()])
            errors.append(_off(found, oracle(engine.model)))
            controls.append(_off(found, other[oracle](engine.model)))
        figure = "largest difference from autograd, sample by sample / largest importance"
        checks.append(
            Check(
                f"{title} is that of each sample's own gradient",
                figure,
                largest(errors),
                1e-5,
                smallest(controls),
            )
        )
    return checks


def _off(found: torch.Tensor, expected: list[torch.Tensor]) -> float:
    wanted = torch.cat([value.flatten() for value in expected])
    return float((found - wanted).abs().max() / wanted.abs().max())


def _mean(
    model: nn.Module, of_sample: Callable[[torch.Tensor, torch.Tensor], list[tuple[Any, Any]]], power: int
) -> list[torch.Tensor]:
    """Mean over the samples of sum over (weight, scalar) pairs of weight * |d scalar / d theta|^power."""
    parameters = list(model.parameters())
    sums = [torch.zeros_like(p) for p in parameters]
    x, y = seen(0)
    for i in range(len(x)):
        for weight, value in of_sample(model.eval()(x[i : i + 1])[0], y[i]):
            for total, gradient in zip(sums, torch.autograd.grad(value, parameters, retain_graph=True), strict=True):
                total += weight * gradient.abs() ** power / len(x)
    return sums


def _exact(model: nn.Module) -> list[torch.Tensor]:
    return _mean(model, lambda z, y: [(z.softmax(0)[k].detach(), z.log_softmax(0)[k]) for k in range(len(z))], 2)


def _empirical(model: nn.Module) -> list[torch.Tensor]:
    return _mean(model, lambda z, y: [(1.0, z.log_softmax(0)[y])], 2)


def _sensitivity(model: nn.Module) -> list[torch.Tensor]:
    return _mean(model, lambda z, y: [(1.0, (z * z).sum())], 1)


def path_integral() -> list[Check]:
    """SI's path integrals sum to the decrease of the loss, in the limit of small steps on the full data."""
    fine, coarse = _path_error(5e-4), _path_error(5e-2)
    figure = "|sum / decrease - 1| in experience 1, learning rate 0.0005 (control: 0.05)"
    return [Check("SI's path integrals sum to the decrease of the loss, to first order", figure, fine, 1e-3, coarse)]


def _path_error(lr: float) -> float:
    x, y = seen(1)
    found: dict[str, float] = {}

    def begin(strategy: Any) -> None:
        found["loss"] = cross_entropy(strategy.model(x), y).item()

    def end(strategy: Any) -> None:
        drop = found["loss"] - cross_entropy(strategy.model(x), y).item()
        path = plugin_of(strategy, SIPlugin).path
        found["error"] = abs(sum(value.sum().item() for value in path.values()) / drop - 1)

    spy = Spy(before_training_exp=begin, after_training_epoch=end)
    training = {"lr": lr, "momentum": 0.0, "batch_size": WHOLE, "epochs": 4}
    trained("si", spies=[spy], experiences=2, training=training, si_lambda=0.5)
    return found["error"]


def online_with_one_task() -> list[Check]:
    """Online EWC equals EWC while there is one task to remember; with two they diverge."""
    after: dict[int, float] = {}
    modes: list[dict[str, Any]] = [{"mode": "separate"}, {"mode": "online", "gamma": 1.0}]
    for experiences in (2, 3):
        separate, online = (trained("ewc", experiences=experiences, ewc_lambda=20, **mode) for mode in modes)
        after[experiences] = apart(separate, online)
    title = "Online EWC with one earlier task equals EWC"
    return [Check(title, f"{WEIGHTS} (control: two earlier tasks)", after[2], 0.0, after[3])]


def whole_past() -> list[Check]:
    """Replay of the whole past equals joint training up to the order of the samples, from the same weights."""
    # First a rate so small that replay continues where joint starts afresh; then full batches, which have no order
    training = {"lr": 1e-12, "momentum": 0.0, "epochs": 4, "batch_size": WHOLE, "later": {"lr": 0.1}}
    joint, naive = (trained(name, experiences=2, training=training) for name in ("joint", "naive"))
    replay = trained("replay", experiences=2, training=training, memory="all", replay_batch="epoch")
    title = "Replay with the whole past equals joint training up to order"
    return [Check(title, f"{WEIGHTS}, whole batches", apart(joint, replay), 1e-6, apart(joint, naive))]


def projections() -> list[Check]:
    """After GEM's and A-GEM's projection, no gradient opposes one of its memories, as some did before."""
    checks = []
    kinds: list[tuple[str, type, dict[str, Any]]] = [
        ("gem", GEMPlugin, {"memory": 36}),
        ("agem", AGEMPlugin, {"memory": 36, "reference_batch": 36}),  # the whole memory, so that it can be drawn again
    ]
    for name, kind, settings in kinds:
        before, after = _Opposition(kind, first=True), _Opposition(kind)
        trained(name, spies=[before, after], training={"epochs": 10}, **settings)
        figure = "largest of -cosine(gradient, memory's gradient) (control: before the projection)"
        title = f"{_title(name)}'s projected gradients satisfy their constraints"
        checks.append(Check(title, figure, largest(after.seen), 1e-5, largest(before.seen)))
    return checks


class _Opposition(Spy):
    """Keeps -cosine(gradient, memory's gradient) in `seen`, for each step and memory of a plugin of this kind."""

    def __init__(self, kind: type, first: bool = False) -> None:
        super().__init__(first, before_update=self.look)
        self.kind = kind
        self.seen: list[float] = []

    def look(self, strategy: Any) -> None:
        plugin = plugin_of(strategy, self.kind)
        parameters = list(strategy.model.parameters())
        gradient = torch.cat([p.grad.flatten() for p in parameters])
        for memory in plugin.memories if self.kind is GEMPlugin else [plugin.memory]:
            if len(memory):
                x, y, _ = memory.fields
                parts = torch.autograd.grad(cross_entropy(strategy.model(x), y), parameters)
                reference = torch.cat([part.flatten() for part in parts])
                self.seen.append(-float(torch.cosine_similarity(gradient, reference, dim=0)))


def discriminant_analysis() -> list[Check]:
    """SLDA over a stream equals scikit-learn's linear discriminant analysis of all data at once."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    shrinkage, experiences = 0.1, 3
    engine = trained("slda", experiences=experiences, shrinkage=shrinkage, definition="lda")
    x, y = (torch.cat(parts) for parts in zip(*(seen(e) for e in range(experiences)), strict=True))
    with torch.no_grad():
        ours = engine.model.eval()(x).log_softmax(dim=1).numpy()

    def off(solver_shrinkage: float) -> float:
        theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=solver_shrinkage).fit(
            x.double().numpy(), y.numpy()
        )
        return float(np.abs(ours - theirs.predict_log_proba(x.double().numpy())).max())

    title = 'SLDA equals scikit-learn\'s LinearDiscriminantAnalysis(solver="lsqr") on all data'
    figure = "largest difference of a log-probability, same shrinkage (control: ten times less)"
    return [Check(title, figure, off(shrinkage), 1e-4, off(shrinkage / 10))]


def avalanches_own() -> list[Check]:
    """EWC and LwF in the setting where Avalanche's own compute the same: Fisher of batches, no factor 1/2, no T^2."""
    pairs: list[tuple[str, str, dict[str, Any], str, dict[str, Any]]] = [
        ("EWC", "ewc", {"ewc_lambda": 20, "fisher": "batch"}, "ewc-avalanche", {"ewc_lambda": 10}),
        (
            "Online EWC", "ewc", {"ewc_lambda": 20, "fisher": "batch", "mode": "online", "gamma": 0.6},
            "ewc-avalanche", {"ewc_lambda": 10, "mode": "online", "decay_factor": 0.6},
        ),
        ("LwF", "lwf", {"alpha": 3.0, "temperature": 2.0}, "lwf-avalanche", {"alpha": 12.0, "temperature": 2.0}),
    ]  # fmt: skip
    checks = []
    for per_task in (False, True):
        naive = trained("naive", training=PLAIN, per_task=per_task)
        where = "an output layer for each task" if per_task else "one head"
        for title, name, settings, stock, stock_settings in pairs:
            ours = trained(name, training=PLAIN, per_task=per_task, **settings)
            theirs = trained(stock, training=PLAIN, per_task=per_task, **stock_settings)
            claim = f"{title} in the stock setting, with {where}, equals Avalanche's own"
            figure = f"{WEIGHTS} (control: naive)"
            checks.append(Check(claim, figure, apart(ours, theirs), 1e-5, apart(naive, theirs)))
    return checks


def output_layers() -> list[Check]:
    """With an output layer for each task on given features, learning one task leaves the other tasks' layers alone."""

    def moved(per_task: bool) -> float:
        marks: list[torch.Tensor] = []
        spy = Spy(after_training_exp=lambda s: marks.append(next(s.model.head.parameters()).detach().clone()))
        decaying = {"weight_decay": 0.1, "momentum": 0.5}  # neither may reach a layer that is not in use
        trained("naive", spies=[spy], hidden=LINEAR, experiences=2, training=decaying, per_task=per_task)
        return float((marks[1] - marks[0]).abs().max())

    claim = "An output layer for each task: learning a task leaves those of the others alone"
    return [
        Check(claim, f"{WEIGHTS} of the first task's layer (control: one head for all)", moved(True), 0.0, moved(False))
    ]


def _title(name: str) -> str:
    return {"lwf": "LwF", "agem": "A-GEM"}.get(name, name.upper())


ALL = (
    without_strength, large_strength, importances, path_integral, online_with_one_task, whole_past, projections,
    discriminant_analysis, avalanches_own, output_layers,
)  # fmt: skip
