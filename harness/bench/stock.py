"""`lorisbench bench stock`: a small comparison as a suite, and as scripts of Avalanche that its documentation teaches.

Both start from image files and end with the matrix of accuracies. The suite extracts the features of the frozen
backbone once, the scripts pass through it in every epoch; the rest of the mathematics is the same.
"""

from __future__ import annotations

import contextlib
import copy
import os
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from avalanche.core import SupervisedPlugin
from torch.utils.data import DataLoader

from lorisbench.bench import stock_scripts as stock
from lorisbench.bench.measured import Finding, Ratio
from lorisbench.bench.timing import in_turn, own_cache, timed
from lorisbench.common.threads import one_thread
from lorisbench.data.manifest import Manifest
from lorisbench.engine.assembly import seed_everything
from lorisbench.engine.engine import seed_of
from lorisbench.model.backbones import backbone_of
from lorisbench.model.models import Backbone, make_head
from lorisbench.runs.launch import launch
from lorisbench.suite.config import SuiteConfig
from lorisbench.suite.parsing import parse
from lorisbench.suite.resolve import Suite, load_suite, resolve

OF = "quickstart"  # the suite whose images and backbone are taken
EXPERIENCES = (0, 3, 6)  # of it, in which illumination, occlusion and pixels change
IMAGES = {"train": 32, "test": 16}  # of each
TOLERANCE = 0.2  # points
SEED = 0


def measure(pairs: int = 7, of: str = OF) -> Iterator[Finding]:
    """Three runs, naive, EWC and LwF, end to end, on one thread, in CPU seconds; nothing is extrapolated.

    First with the batches of the suite given to the scripts, so that both compute the same: raises RuntimeError unless
    all accuracies agree within 0.2 points. Then as they are, timed.
    """
    with tempfile.TemporaryDirectory() as name, one_thread():
        folder = Path(name)
        suite = _suite(folder, of)
        (config,) = suite.streams.values()
        manifest, backbone = config.benchmark.usable("test"), backbone_of(config.backbone)
        filled = folder / "cache"
        ours = _by_suite(suite, filled)
        same = _by_scripts(manifest, backbone, same_order=True)
        apart = max(float(np.abs(ours[method] - same[method]).max()) for method in ours)
        if 100 * apart > TOLERANCE:
            raise RuntimeError(f"the suite and the scripts differ by {100 * apart:.2f} points on the same batches")

        def cold() -> None:
            with tempfile.TemporaryDirectory(dir=folder) as empty:
                _by_suite(suite, Path(empty))

        taken = in_turn(
            {
                "scripts": timed(partial(_by_scripts, manifest, backbone), time.process_time),
                "cold": timed(cold, time.process_time),
                "warm": timed(partial(_by_suite, suite, filled), time.process_time),
            },
            pairs,
        )
        plain = _by_scripts(manifest, backbone)
    images = {split: len(EXPERIENCES) * count for split, count in IMAGES.items()}
    what = f"naive, ewc and lwf on {images['train']} and {images['test']} images, {stock.EPOCHS} epochs, "
    yield Ratio.of(f"{what}features extracted, to stock scripts", taken["cold"], taken["scripts"])
    yield Ratio.of(f"{what}features in the cache, to stock scripts", taken["warm"], taken["scripts"])
    for told, matrices in (("on the same batches", same), ("with batches drawn by Avalanche", plain)):
        means = ", ".join(
            f"{method} {100 * ours[method][-1].mean():.2f} and {100 * matrices[method][-1].mean():.2f}"
            for method in ours
        )
        widest = max(float(np.abs(ours[method] - matrices[method]).max()) for method in ours)
        yield (
            f"accuracies of the last row, suite and scripts {told}: {means} (%); the matrices differ by at most "
            f"{100 * widest:.2f} points"
        )


def _suite(folder: Path, of: str) -> Suite:
    """A suite of the first images of each class in some experiences of another suite's stream."""
    other = load_suite(of).config
    whole = other.benchmark.usable("test")
    parts = [
        whole.table.iloc[_spread(whole, whole.rows(split, experience), count)].assign(experience=number)
        for number, experience in enumerate(EXPERIENCES)
        for split, count in IMAGES.items()
    ]
    listed = pd.concat(parts)[["path", "class_name", "experience", "split"]]
    listed.to_csv(folder / "images.csv", index=False)
    settings: dict[str, Any] = {
        "name": "bench",
        "benchmark": {"manifest": str(folder / "images.csv"), "root": str(whole.root)},
        "backbone": other.backbone.model_dump(),
        "training": {
            "epochs": stock.EPOCHS, "batch_size": stock.TRAIN_BATCH, "optimizer": "adam", "lr": stock.RATE,
            "reset_optimizer": False,
        },
        "strategies": {  # which compute what Avalanche's do, see lorisbench.strategies.stock
            "naive": {},
            "ewc": {"ewc_lambda": 2 * stock.LAMBDA, "fisher": "batch"},
            "lwf": {"alpha": stock.ALPHA / stock.TEMPERATURE**2, "temperature": stock.TEMPERATURE},
        },
        "seeds": [SEED],
        "latency": {"enabled": False},
        "device": "cpu",
    }  # fmt: skip
    return resolve(parse(SuiteConfig, settings), base=folder)


def _spread(manifest: Manifest, rows: np.ndarray, count: int) -> np.ndarray:
    """So many of the rows, of all classes alike."""
    labels = manifest.table.label.to_numpy()[rows]
    place = pd.Series(labels).groupby(labels).cumcount().to_numpy()  # of each among those of its class
    return np.sort(rows[np.lexsort((labels, place))][:count])


def _by_suite(suite: Suite, cache: Path) -> dict[str, np.ndarray]:
    """The matrix of accuracies of each strategy."""
    with tempfile.TemporaryDirectory() as out, own_cache(cache):
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
            launch(suite, Path(out), workers=0)
        cells = pd.read_csv(Path(out) / "matrix.csv")
    places = {spec.run_id: spec.label for spec in suite.runs}
    found = {}
    for run_id, of_run in cells.groupby("run_id"):
        square = of_run.pivot(index="after_experience", columns="test_experience", values="accuracy")
        found[places[str(run_id)]] = square.to_numpy()
    return {label: found[label] for label in stock.METHODS}


def _by_scripts(manifest: Manifest, backbone: Backbone, same_order: bool = False) -> dict[str, np.ndarray]:
    files, labels = manifest.files(), manifest.table.label.to_list()

    def listed(split: str) -> stock.Files:
        rows = [manifest.rows(split, experience) for experience in range(manifest.experiences)]
        return [[(Path(files[row]), labels[row]) for row in each] for each in rows]

    mean, std = (value.flatten() / 255 for value in (backbone.mean, backbone.std))
    found = {}
    for method in stock.METHODS:
        benchmark = stock.make_benchmark(listed("train"), listed("test"), mean.tolist(), std.tolist())
        seed_everything(SEED, "model")
        head = make_head(backbone.feature_dim, len(manifest.classes), ())
        model = stock.FrozenBackbone(copy.deepcopy(backbone.network), head)
        plugins = [_SameOrder()] if same_order else []
        found[method] = np.array(stock.run(method, benchmark, model, plugins))
    return found


class _SameOrder(SupervisedPlugin[Any]):
    """Gives a script of Avalanche the batches that the engine would draw."""

    def before_training_exp(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        self.generator = torch.Generator().manual_seed(seed_of(SEED, strategy.clock.train_exp_counter, "order"))

    def before_training_epoch(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        dataset = strategy.adapted_dataset
        batches = torch.randperm(len(dataset), generator=self.generator).split(strategy.train_mb_size)
        strategy.dataloader = DataLoader(
            dataset, batch_sampler=[rows.tolist() for rows in batches], collate_fn=dataset.collate_fn
        )  # fmt: skip
