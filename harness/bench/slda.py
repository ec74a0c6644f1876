"""`lorisbench bench slda`: streaming LDA over features in whole batches, against Avalanche's, sample by sample."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from lorisbench.bench.measured import Ratio
from lorisbench.bench.synthetic import one_experience
from lorisbench.bench.timing import in_turn, timed
from lorisbench.common.threads import one_thread
from lorisbench.data.stream import Store
from lorisbench.engine.engine import Engine, make_optimizer
from lorisbench.model.models import Classifier
from lorisbench.strategies.parts.closed_form import ClosedFormPlugin
from lorisbench.strategies.slda import StreamingLDA
from lorisbench.suite.training import TrainingConfig

WIDTH, CLASSES = 1280, 40  # features of efficientnet-lite0, categories of OpenLORIS-Object
SHRINKAGE = 1e-4


def measure(samples: int = 10_000, subset: int = 200, rounds: int = 7) -> Iterator[Ratio]:
    """Training on `samples` features by the harness, on `subset` of them by Avalanche, alternated on one thread.

    Both start from nothing and end with a classifier. Avalanche's time per sample does not depend on how many there
    are, so a subset suffices; its matrix inverse, once per minibatch, needed only to predict while training, is left
    out of the second figure. Raises RuntimeError if the two classifiers differ.
    """
    store = _store(samples)
    experience, few = one_experience(store, samples), one_experience(_head_of(store, subset), subset)
    _compare(store, subset)
    with one_thread():
        taken = in_turn(
            {
                "ours": timed(lambda: _ours(store).train(experience)),
                "theirs": timed(lambda: _theirs().train(few)),
                "loop": timed(lambda: _one_by_one(store, subset)),
            },
            rounds,
        )
    ours = [seconds / samples for seconds in taken["ours"]]
    to = f"to ours in batches ({samples:,} features of {WIDTH}, {CLASSES} classes)"
    for name, what in (
        ("theirs", f"a sample of Avalanche's StreamingLDA, {subset} of them in one minibatch, {to}"),
        ("loop", f"a sample of its updates alone, without loading, predicting and the inverse for it, {to}"),
    ):
        yield Ratio.of(what, [seconds / subset for seconds in taken[name]], ours)


def _store(samples: int) -> Store:
    """Features of classes that overlap; two samples more than are trained on, as a stream needs two other splits."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(CLASSES, (samples + 2,), generator=generator)
    means = torch.randn(CLASSES, WIDTH, generator=generator)
    return Store((means[labels] + torch.randn(samples + 2, WIDTH, generator=generator)).relu(), labels)


def _head_of(store: Store, samples: int) -> Store:
    return Store(store.x[: samples + 2], store.y[: samples + 2])


def _ours(store: Store) -> Engine:
    model, training = Classifier(None, nn.Linear(WIDTH, CLASSES)), TrainingConfig()
    plugin = ClosedFormPlugin(StreamingLDA(CLASSES, SHRINKAGE, "paper"))
    return Engine(
        model=model, optimizer=make_optimizer(model, training), plugins=[plugin], store=store, training=training,
        device=torch.device("cpu"), seed=0,
    )  # fmt: skip


def _theirs() -> Any:
    from avalanche.training.supervised.deep_slda import StreamingLDA as Theirs

    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        return Theirs(
            slda_model=nn.Identity(), criterion=nn.CrossEntropyLoss(), input_size=WIDTH, num_classes=CLASSES,
            shrinkage_param=SHRINKAGE, train_mb_size=2**20, evaluator=None,
        )  # fmt: skip


def _one_by_one(store: Store, subset: int) -> None:
    theirs = _theirs()
    for x, y in zip(store.x[:subset], store.y[:subset], strict=True):
        theirs.fit(x[None], y[None])


def _compare(store: Store, subset: int) -> None:
    """Raise RuntimeError unless both get the same covariance and means from the same samples."""
    ours, theirs = StreamingLDA(CLASSES, SHRINKAGE, "paper"), _theirs()
    ours.update(store.x[:subset].double(), store.y[:subset])
    for x, y in zip(store.x[:subset], store.y[:subset], strict=True):
        theirs.fit(x[None], y[None])
    for one, other in ((ours.covariance(), theirs.Sigma), (ours.means.means, theirs.muK)):
        if not torch.allclose(one.float(), other, rtol=1e-3, atol=1e-4):
            raise RuntimeError("the statistics differ from Avalanche's")
