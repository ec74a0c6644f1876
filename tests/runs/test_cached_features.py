"""Runs on cached features and on images: equal bit for bit where the arithmetic is, else as near as rounding allows."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from small_models import rounding_of
from torch import nn

from lorisbench.data.stream import Store, make_stream
from lorisbench.model import features
from lorisbench.model.backbones import backbone_of
from lorisbench.model.models import Backbone
from lorisbench.runs.directory import RunDirectory
from lorisbench.runs.one_run import train
from lorisbench.runs.workbench import Workbench, build, prepare
from lorisbench.suite.benchmarks import make_benchmark
from lorisbench.suite.config import BackboneConfig
from lorisbench.suite.resolve import Suite, load_suite


class LookUp(Backbone):
    """In place of a backbone: the features that it gave for each image, found by the image's pixels."""

    def __init__(self, images: torch.Tensor, features: torch.Tensor) -> None:
        super().__init__(nn.Identity(), (0.0,) * 3, (1.0,) * 3, features.shape[1], frozen=True)
        self.rows = {image.numpy().tobytes(): row for image, row in zip(images, features, strict=True)}
        assert len(self.rows) == len(images), "no two images are the same"

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.stack([self.rows[image.numpy().tobytes()] for image in images])


def both(suite_file: Callable[..., Path], **changes: object) -> list[tuple[Suite, Workbench]]:
    """A suite with `backbone.cache` on, then off, on the default backbone, which is a deep one."""
    found = []
    for cache in (True, False):
        backbone = {"name": "efficientnet-lite0", "image_size": 32, "cache": cache}
        suite = load_suite(str(suite_file(backbone=backbone, **changes)))
        found.append((suite, prepare(suite.config, suite.config.benchmark.manifest())))
    return found


def test_cached_features_are_those_of_any_batch_within_rounding(suite_file: Callable[..., Path]) -> None:
    (_, cached), (_, uncached) = both(suite_file)
    backbone, limit = uncached.backbone, rounding_of(uncached.backbone) * cached.x.norm(dim=1)
    with torch.no_grad():
        for size in (1, 4, 50):  # a cache is filled by batches of 64
            for rows in torch.arange(len(cached.x)).split(size)[:12]:
                assert ((backbone(uncached.x[rows]) - cached.x[rows]).norm(dim=1) <= limit[rows]).all(), size
        coarse = backbone(uncached.x[:50] // 2 * 2)
    assert ((coarse - cached.x[:50]).norm(dim=1) > limit[:50]).all(), "the last bit of a pixel is more than rounding"


@pytest.mark.parametrize("label", ["ewc", "lwf", pytest.param("dnn", marks=pytest.mark.heavy)])
def test_what_follows_the_features_is_equal_bit_for_bit(suite_file, tmp_path: Path, label: str) -> None:
    (_, cached), (_, uncached) = benches = both(suite_file, strategies=[label], training={"epochs": 1, "batch_size": 4})
    uncached.backbone = LookUp(uncached.x, cached.x)
    found = []
    for suite, bench in benches:
        (spec,) = suite.runs
        folder = tmp_path / spec.run_id
        train(bench, spec, RunDirectory(folder))
        with np.load(folder / "predictions.npz", allow_pickle=False) as stored:
            found.append((np.array(stored["predicted"]), load_file(folder / "checkpoint" / "model.safetensors")))
    (predicted, weights), (also_predicted, also_weights) = found
    assert predicted.shape == (9, 54) and np.array_equal(predicted, also_predicted)
    assert weights.keys() == also_weights.keys() and len(weights) >= 2
    for key, value in weights.items():
        assert torch.equal(value, also_weights[key]), key


def test_a_step_of_training_makes_no_more_of_rounding_than_it_must(suite_file: Callable[..., Path]) -> None:
    """One step of gradient descent on all images of an experience, where each factor that enlarges an error is known.

    (Over many steps it is not: Adam divides by gradients that may be next to nothing, and EWC's springs overshoot.)
    """
    rate, logits, models = 0.1, [], []
    training = {"epochs": 1, "batch_size": 50, "optimizer": "sgd", "lr": rate}
    benches = both(suite_file, training=training)
    for suite, bench in benches:
        store = Store(bench.x, bench.y)
        strategy = build(bench, suite.runs[0], store)
        before = [p.detach().clone() for p in strategy.model.head.parameters()]
        strategy.train(make_stream(bench.manifest, store).train_stream[0], reset_optimizer_state=True)
        with torch.no_grad():
            logits.append(strategy.model.eval()(bench.x))
        models.append(strategy.model)
    weight, bias = before
    x, y = benches[0][1].x, nn.functional.one_hot(benches[0][1].y, 3)
    rows = torch.from_numpy(benches[0][1].manifest.rows("train", 0))
    norm = x.norm(dim=1)
    off = rounding_of(models[1]) * norm  # of the features and of the head's own sums
    steep = torch.linalg.matrix_norm(weight, 2)
    # a difference of logits is halved, at the least, by the softmax, and the gradient is the mean of (p - y) outer x
    missed = ((x @ weight.T + bias).softmax(1) - y).norm(dim=1)
    gradient_off = (missed * off + steep * off / 2 * (norm + off))[rows].mean()
    bias_off = (steep * off / 2)[rows].mean()
    after = torch.linalg.matrix_norm(models[0].head.weight.detach(), 2)
    limit = after * off + rate * (gradient_off * norm + bias_off)
    apart = (logits[0] - logits[1]).norm(dim=1)
    assert (apart <= limit).all()
    assert (limit < 0.05 * (logits[0] - x @ weight.T - bias).norm(dim=1)).all(), "the step is far more than that"
    first, second = logits[0].topk(2, dim=1).values.T
    clear = first - second > 2 * limit
    assert clear.float().mean() > 0.5
    assert torch.equal(logits[0].argmax(1)[clear], logits[1].argmax(1)[clear])


def test_features_are_shared_by_content(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A subset of the same images, even in another place, has its features already, equal bit for bit."""
    backbone = backbone_of(BackboneConfig(name="resnet18", weights="none"))
    backbone.freeze()
    seen: list[int] = []

    def counted(network: Backbone, blocks: Iterator[np.ndarray], device: torch.device) -> Iterator[np.ndarray]:
        for found in features.extract(network, blocks, device):
            seen.append(len(found))
            yield found

    def extracted(cache: str, root: Path, **settings: object) -> np.ndarray:
        monkeypatch.setenv("LORISBENCH_CACHE", str(tmp_path / cache))
        benchmark = {"name": "openloris", "protocol": "factor", "factor": "clutter", "root": str(root), **settings}
        manifest = make_benchmark(benchmark).manifest()
        return np.array(features.cached(manifest, backbone, 32, torch.device("cpu"), counted))

    copy = tmp_path / "copy"
    shutil.copytree(release, copy)
    whole = extracted("shared", release)
    assert len(seen) > 1 and set(seen) == {features.BATCH}, "the last batch is filled up"
    seen.clear()
    few = {"objects": 2, "fraction": 0.5}
    found = extracted("shared", copy, **few)
    assert not seen and 0 < len(found) < len(whole)
    assert np.array_equal(found, extracted("own", release, **few)) and seen
    seen.clear()
    file = next((copy / "train" / "clutter" / "segment1").rglob("*.jpg"))
    Image.new("RGB", (40, 32), (9, 9, 9)).save(file)
    changed = extracted("shared", copy)
    assert len(seen) == 1 and (changed != whole).any(axis=1).sum() == 1, "one image is another"
