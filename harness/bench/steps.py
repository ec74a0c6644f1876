"""`lorisbench bench steps`: training steps and evaluations on features beside loops written by hand.

The loops do the same mathematics with the same batches and optimizer, and nothing else. Times are of one thread, in CPU
seconds, or with a GPU, where features and models then lie, seconds until that is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from avalanche.training import Naive
from torch import nn
from torch.nn import functional as F

from lorisbench.bench.measured import Finding, Ratio, in_blocks, paired
from lorisbench.bench.synthetic import CPU, WIDTH, engine_of, samples, stream_of
from lorisbench.bench.timing import clock_of, in_turn, timed
from lorisbench.common.threads import one_thread
from lorisbench.data.stream import Store, rows_of
from lorisbench.engine.engine import Engine, make_optimizer
from lorisbench.engine.meter import Meter
from lorisbench.engine.own_plugins import HarnessPlugin, Recorder
from lorisbench.strategies.dnn.network import DynamicNetwork
from lorisbench.strategies.dnn.strategy import DNNPlugin
from lorisbench.strategies.ewc import EWCPlugin
from lorisbench.strategies.lwf import LwFPlugin
from lorisbench.strategies.parts.memory import Memory
from lorisbench.strategies.replay import ReplayPlugin
from lorisbench.suite.training import TrainingConfig

STEPS = 50  # of an epoch, which takes some 15 ms: more pairs than elsewhere
PAIRS = 21
LIMIT = 1.2
IN_BLOCK = 4000  # images

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Of a batch, inputs (batch, WIDTH) and labels int64 (batch,): a scalar."""


def measure(device: torch.device = CPU, pairs: int = PAIRS, steps: int = STEPS) -> Iterator[Finding]:
    """Steps of naive training at each size, steps of the other methods, rows of the accuracy matrix."""
    with one_thread():
        for batch in (32, 256):
            for classes in (16, 121):
                for optimizer in ("adam", "sgd"):
                    yield training("naive", batch, classes, optimizer, device, pairs, steps)
        for method in ("ewc", "lwf", "replay", "dnn"):
            for batch in (32, 256):
                yield training(method, batch, 16, "adam", device, pairs, steps)
        yield avalanche(device, pairs, steps)
        for images in (4000, 600, 96):
            yield evaluation(images, device, pairs)


class EpochTime(HarnessPlugin):
    """Seconds of the last epoch, the callbacks of all plugins before and after it included (`watched`)."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self.clock, self.start, self.seconds = clock, 0.0, 0.0

    def before_training_epoch(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        self.start = self.clock()


class EpochEnd(HarnessPlugin):
    """The last of the plugins, which stops the clock of the first."""

    def __init__(self, watch: EpochTime) -> None:
        super().__init__()
        self.watch = watch

    def after_training_epoch(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        self.watch.seconds = self.watch.clock() - self.watch.start


def watched(engine: Engine, clock: Callable[[], float]) -> EpochTime:
    """A watch over an engine, which has plugins of its own before and after those that it was given."""
    watch = EpochTime(clock)
    engine.plugins[:] = [watch, *engine.plugins, EpochEnd(watch)]
    return watch


def training(
    method: str, batch: int, classes: int, optimizer: str, device: torch.device, pairs: int, steps: int
) -> Ratio:
    """An epoch of the second experience by a strategy's plugin in the engine and by hand."""
    count = batch * steps
    clock = clock_of(device)
    store, experience = samples(count, classes, WIDTH, device)
    settings = TrainingConfig.model_validate({"epochs": 1, "batch_size": batch, "optimizer": optimizer})
    model, plugin = _parts(method, classes)
    engine = engine_of(model, [*plugin, Recorder()], store, settings)
    watch = watched(engine, clock)

    def by_engine() -> float:
        with Meter(engine):  # as every run does
            engine.train(experience)
        return watch.seconds

    by_engine()
    head = nn.Linear(WIDTH, classes).to(device)
    loss = _by_hand(method, head, store)
    stepping = make_optimizer(head, settings)

    def by_hand() -> None:
        for rows in torch.randperm(count, device=device).split(batch):
            stepping.zero_grad()
            loss(store.x[rows], store.y[rows]).backward()
            stepping.step()

    taken = in_turn({"engine": by_engine, "hand": timed(by_hand, clock)}, pairs)
    what = f"a step of {method}, batch {batch}, {WIDTH} features, {classes} classes, {optimizer}, to a loop by hand"
    ours, other = ([seconds / steps for seconds in each] for each in taken.values())
    return Ratio.of(what, ours, other, LIMIT)


MEMORY = 200
STRENGTH, ALPHA, TEMPERATURE = 100.0, 1.0, 2.0


def _parts(method: str, classes: int) -> tuple[nn.Module, list[Any]]:
    """The model, and the plugins of the method."""
    head = nn.Linear(WIDTH, classes)
    if method == "dnn":
        network = DynamicNetwork(None, lambda: nn.Linear(WIDTH, classes), head, answer="confidence")
        return network, [DNNPlugin(expand_at=[], distill_weight=ALPHA, temperature=TEMPERATURE)]
    plugins: dict[str, list[Any]] = {
        "naive": [],
        "ewc": [EWCPlugin(STRENGTH)],
        "lwf": [LwFPlugin(ALPHA, TEMPERATURE)],
        "replay": [ReplayPlugin(Memory(MEMORY), 32)],
    }
    return head, plugins[method]


def _by_hand(method: str, head: nn.Module, store: Store) -> Loss:
    """The loss of the second experience, as one would write it in a script."""
    teacher = nn.Linear(WIDTH, int(store.y.max()) + 1).to(store.x.device).requires_grad_(False)
    weights = list(head.parameters())
    held = [(torch.rand_like(weight), weight.detach().clone()) for weight in weights]
    kept_x, kept_y = store.x[:MEMORY].clone(), store.y[:MEMORY].clone()

    def divergence(student: torch.Tensor, target: torch.Tensor, reduction: str) -> torch.Tensor:
        ours, theirs = (F.log_softmax(z / TEMPERATURE, dim=1) for z in (student, target))
        return TEMPERATURE**2 * F.kl_div(ours, theirs, reduction=reduction, log_target=True)

    def naive(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(head(x), y)

    def ewc(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        springs = [(fisher * (w - at).square()).sum() for w, (fisher, at) in zip(weights, held, strict=True)]
        return naive(x, y) + 0.5 * STRENGTH * (springs[0] + springs[1])

    def lwf(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        logits = head(x)
        return F.cross_entropy(logits, y) + ALPHA * divergence(logits, teacher(x), "batchmean")

    def replay(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        drawn = torch.randperm(MEMORY, device=kept_x.device)[:32]
        return naive(torch.cat([x, kept_x[drawn]]), torch.cat([y, kept_y[drawn]]))

    def dnn(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        logits, target = head(x), teacher(x)
        known = (target.argmax(dim=1) == y).float()
        each = divergence(logits, target, "none").sum(dim=1)
        return F.cross_entropy(logits, y) + ALPHA * (known * each).sum() / known.sum().clamp(min=1)

    return {"naive": naive, "ewc": ewc, "lwf": lwf, "replay": replay, "dnn": dnn}[method]


def avalanche(device: torch.device, pairs: int, steps: int, batch: int = 32, classes: int = 16) -> Ratio:
    """An epoch by Avalanche's own strategy, loaders included, and by the engine."""
    count = batch * steps
    store, experience = samples(count, classes, WIDTH)  # on the CPU: its loaders pin what they give to a GPU
    settings = TrainingConfig(epochs=1, batch_size=batch)
    ours, theirs = nn.Linear(WIDTH, classes), nn.Linear(WIDTH, classes)
    engine = engine_of(ours, [Recorder()], store, settings, device)
    stock = Naive(
        model=theirs, optimizer=torch.optim.Adam(theirs.parameters()), train_mb_size=batch, train_epochs=1,
        eval_mb_size=256, evaluator=None, device=device,
    )  # fmt: skip
    what = f"an epoch of Avalanche's own loop, batch {batch}, {WIDTH} features, {classes} classes, to the engine's"
    return paired(
        what, partial(stock.train, experience), partial(engine.train, experience), None, pairs, clock_of(device)
    )


def evaluation(images: int, device: torch.device, pairs: int, experiences: int = 12, classes: int = 16) -> Ratio:
    """A row of the accuracy matrix, answers included, and the head's product over the same features at once.

    Blocks of calls alternate that have some 4000 images of each experience: one of the smallest rows takes less than a
    millisecond.
    """
    calls = max(1, IN_BLOCK // images)
    counts = {"train": 1, "validation": 1, "test": images}
    store, stream = stream_of(counts, experiences, classes, WIDTH, device)
    tests = list(stream.streams["test"])
    settings, head, recorder = TrainingConfig(), nn.Linear(WIDTH, classes).to(device), Recorder()
    engine = engine_of(head, [recorder], store, settings)
    x = store.x[torch.cat([rows_of(test.dataset) for test in tests]).to(device)]  # type: ignore[misc]

    def row() -> torch.Tensor:
        engine.eval(tests)
        return recorder.predictions()  # on the CPU

    @torch.no_grad()
    def product() -> torch.Tensor:
        return head(x).argmax(dim=1).cpu()

    if not torch.equal(row(), product().int()):
        raise RuntimeError("the evaluation and the product give other answers")
    what = f"a row of the matrix, {experiences} x {images} test images, {WIDTH} features, to one matrix product"
    return in_blocks(what, row, product, calls, LIMIT, pairs, clock_of(device))
