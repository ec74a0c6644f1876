"""Augmentation: what a view is, who sees one and who never does, and that the numbers are repeatable."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from avalanche.core import SupervisedPlugin
from small_models import SMALL, rounding_of

from lorisbench.common.errors import InputError
from lorisbench.data import images
from lorisbench.data.stream import Store, make_stream
from lorisbench.engine.loader import TensorLoader
from lorisbench.model import views
from lorisbench.model.augment import augment, draws
from lorisbench.model.backbones import make_backbone
from lorisbench.runs.crews import prepared
from lorisbench.runs.directory import RunDirectory
from lorisbench.runs.one_run import train
from lorisbench.runs.workbench import build, prepare, views_of
from lorisbench.suite.resolve import load_suite
from lorisbench.suite.training import AugmentConfig

NOTHING = {"crop": 1, "flip": False, "brightness": 0, "contrast": 0, "saturation": 0}
HALF = [0.5] * 8  # a draw that changes no colour, with the crop in the middle


def noise(images: int = 6, size: int = 16) -> torch.Tensor:
    return torch.randint(0, 256, (images, 3, size, size), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def drawn(**columns: float) -> torch.Tensor:
    names = ("area", "aspect", "left", "top", "flip", "brightness", "contrast", "saturation")
    return torch.tensor([[columns.get(name, 0.5) for name in names]], dtype=torch.float64)


# What a view is


def test_settings_that_change_nothing_give_the_image_itself() -> None:
    x, settings = noise(), AugmentConfig(**NOTHING)
    for view in draws(settings, len(x)).unbind(dim=1):
        assert torch.equal(augment(x, view, settings), x)


def test_a_mirrored_image_is_the_image_mirrored() -> None:
    x, settings = noise(1), AugmentConfig(**{**NOTHING, "flip": True})
    assert torch.equal(augment(x, drawn(flip=0.4), settings), x)
    assert torch.equal(augment(x, drawn(flip=0.6), settings), x.flip(3))


def test_a_crop_is_that_part_of_the_image_scaled() -> None:
    ramp = (8 * torch.arange(16)).to(torch.uint8).expand(1, 3, 16, 16)  # brighter to the right
    settings = AugmentConfig(**{**NOTHING, "crop": 0.25})
    left = augment(ramp, drawn(area=0, left=0), settings)[0, 0, 0].float()  # the left half
    right = augment(ramp, drawn(area=0, left=1), settings)[0, 0, 0].float()
    # the centre of output pixel i is at (i + 0.5) / 2 of the ramp, whose pixels have theirs at k + 0.5
    place = (torch.arange(16) + 0.5) / 2 - 0.5
    assert torch.allclose(left, 8 * place.clamp(min=0), atol=0.51)
    assert torch.allclose(right, 8 * (place + 8).clamp(max=15), atol=0.51)
    top = augment(ramp.mT, drawn(area=0, top=0), settings)[0, 0, :, 0].float()
    assert torch.equal(top, left)


def test_a_crop_keeps_its_share_and_its_aspect_and_stays_inside() -> None:
    size, settings = 64, AugmentConfig(**{**NOTHING, "crop": 0.3})
    table = draws(settings, 200)[:, 0]
    # where each output pixel comes from, read off two ramps
    across = (4 * torch.arange(size)).to(torch.uint8).expand(200, 1, size, size)
    seen = augment(torch.cat([across, across.mT, across], dim=1), table, settings).float() / 4
    width = (seen[:, 0, 0, -2] - seen[:, 0, 0, 1]) / (size - 3)
    height = (seen[:, 1, -2, 0] - seen[:, 1, 1, 0]) / (size - 3)
    expected = 0.3 + 0.7 * table[:, 0].float()
    assert torch.allclose(width * height, expected, atol=0.03)
    assert (width / height).max() < 1.37 and (height / width).max() < 1.37 and (width / height).std() > 0.05
    assert max(width.max(), height.max()) <= 1.01


def test_colours_follow_the_formulas() -> None:
    x = noise(1).float()
    whole = x.to(torch.uint8)
    grey = 0.299 * x[:, :1] + 0.587 * x[:, 1:2] + 0.114 * x[:, 2:]
    for name, middle in (("brightness", 0.0), ("contrast", grey.mean()), ("saturation", grey)):
        for u, factor in ((0.0, 0.6), (0.75, 1.2)):
            found = augment(whole, drawn(**{name: u}), AugmentConfig(**{**NOTHING, name: 0.4}))
            expected = (middle + factor * (x - middle)).clamp(0, 255)
            assert (found.float() - expected).abs().max() <= 0.6, name


def test_a_view_depends_on_image_number_and_seed_alone() -> None:
    settings = AugmentConfig(views=3)
    table = draws(settings, 6)
    assert torch.equal(table, draws(settings, 6)) and table.shape == (6, 3, 8)
    assert torch.equal(table[:4, :2], draws(AugmentConfig(views=2), 4))
    assert len({tuple(line.tolist()) for line in table.flatten(0, 1)}) == 18
    assert not torch.isin(table, draws(AugmentConfig(views=3, seed=1), 6)).any()
    x = noise()
    together = augment(x, table[:, 0], settings)
    alone = torch.cat([augment(x[i : i + 1], table[i : i + 1, 0], settings) for i in range(6)])
    assert torch.equal(together, alone) and not torch.equal(together, x)


# Who sees one


def images_store(count: int = 3, rows: int = 4) -> tuple[Store, torch.Tensor]:
    store = Store(noise(), torch.arange(6))
    store.views = views.ImageViews(AugmentConfig(views=count), 6, np.arange(rows))
    versions = torch.stack([store.x, *store.views.all_of(store.x, torch.arange(6))])  # views of all, for comparison
    return store, versions


def passes(store: Store, count: int, generator: torch.Generator | None) -> list[tuple[int, torch.Tensor]]:
    loader = TensorLoader(store, torch.arange(6), 4, torch.device("cpu"), torch.Generator().manual_seed(0), generator)
    return [(int(y), x) for _ in range(count) for xs, ys, _ in loader for x, y in zip(xs, ys, strict=True)]


def test_an_epoch_draws_one_of_the_versions_each_as_likely_as_the_original() -> None:
    store, versions = images_store()
    seen = np.zeros((6, 4), dtype=int)
    before = store.x.clone()
    for row, x in passes(store, 60, torch.Generator().manual_seed(1)):
        (which,) = [v for v in range(4) if torch.equal(x, versions[v, row])]
        seen[row, which] += 1
    assert torch.equal(store.x, before), "the originals were written over"
    assert (seen.sum(axis=1) == 60).all() and (seen[4:, 1:] == 0).all(), "an image without views got one"
    assert seen[:4].min() >= 5 and seen[:4].max() <= 27  # 15 expected of each, standard deviation 3.4


def test_the_order_of_samples_is_that_without_augmentation() -> None:
    store, _ = images_store()
    plain, augmented = passes(store, 3, None), passes(store, 3, torch.Generator())
    assert [row for row, _ in plain] == [row for row, _ in augmented]
    assert all(torch.equal(x, store.x[row]) for row, x in plain)


@pytest.mark.parametrize("decoded", [False, True])
def test_views_of_features_are_the_features_of_views(suite_file: Callable, decoded: bool) -> None:
    suite = load_suite(str(suite_file(backbone=SMALL)))
    manifest = suite.config.benchmark.manifest()
    backbone = make_backbone("timm:test_resnet", "none", 32, seed=1 + decoded)
    backbone.freeze()
    x = torch.from_numpy(images.cached(manifest, 32)).permute(0, 3, 1, 2)
    at = manifest, backbone, 32, torch.device("cpu"), AugmentConfig(views=2)
    of_features = views.cached(*at, pixels=x if decoded else None)
    with_views = torch.from_numpy(manifest.rows("train", 0))
    rows, chosen = torch.cat([with_views[:4], torch.tensor([len(x) - 1])]), torch.tensor([1, 0, 2, 2, 1])
    with torch.no_grad():
        expected = backbone(views.image_views(manifest, at[-1]).pick(x[rows], rows, chosen))
        found = of_features.pick(backbone(x[rows]), rows, chosen)
        originals = backbone(x[rows])
    assert torch.allclose(found, expected, atol=1e-5)
    changed = (found - originals).abs().amax(dim=1) > 1e-4
    assert changed.tolist() == [True, False, True, True, False]


class Watcher(SupervisedPlugin):  # type: ignore[type-arg]
    """Notes which minibatches hold anything but samples of the store, and reads each data set whole."""

    def __init__(self, originals: torch.Tensor) -> None:
        super().__init__()
        self.lines = originals.flatten(1)
        self.trained: list[list[bool]] = []
        self.evaluated: list[bool] = []

    def foreign(self, x: torch.Tensor) -> bool:
        x = x.flatten(1)
        return not all((self.lines == line).all(dim=1).any() for line in x)

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        self.trained.append([])
        data = strategy.experience.dataset
        assert not any(self.foreign(x) for x, _ in strategy.batches(data))
        assert not self.foreign(torch.stack([data[i][0] for i in range(len(data))]))

    def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        self.trained[-1].append(self.foreign(strategy.mb_x))

    def before_eval_iteration(self, strategy: Any, **kwargs: Any) -> None:
        self.evaluated.append(self.foreign(strategy.mb_x))


def settings_of(**augmentation: Any) -> dict[str, Any]:
    return {"epochs": 2, "batch_size": 6, "augment": {"views": 2, **augmentation}}


@pytest.mark.parametrize(("label", "experiences"), [("naive", "first"), ("joint", "first"), ("dnn", "all")])
def test_only_minibatches_in_training_are_augmented(suite_file: Callable, experiences: str, label: str) -> None:
    suite = load_suite(str(suite_file(training=settings_of(experiences=experiences), strategies=[label])))
    bench = prepare(suite.config, suite.config.benchmark.manifest())
    store = Store(bench.x, bench.y)
    store.views = views_of(bench, suite.runs[0])
    strategy = build(bench, suite.runs[0], store)
    watcher = Watcher(bench.x)
    strategy.plugins.append(watcher)
    stream = make_stream(bench.manifest, store)
    for experience in stream.train_stream[:2]:
        strategy.train(experience, reset_optimizer_state=True)
        strategy.eval([*list(stream.test_stream)[:2], stream.train_stream[0]])  # training images are originals too
    assert len(watcher.evaluated) == 6 and not any(watcher.evaluated)
    first, *later = watcher.trained
    assert any(first)
    assert all(any(batches) == (experiences == "all") for batches in later)


# Repeatable


def heads(out: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return {
        folder.name.split(".")[1]: load_file(folder / "checkpoint" / "model.safetensors")["head.weight"]
        for folder in (out / "runs").iterdir()
    }


def test_a_worker_gets_the_same_numbers_in_any_order(suite_file: Callable, tmp_path: Path) -> None:
    """What a worker process does with a suite is done here: test_run starts real ones."""
    training = {**settings_of(experiences="all", seed=5), "epochs": 1}
    suite = load_suite(str(suite_file(training=training, strategies=["naive", "lwf"])))
    manifest = suite.config.benchmark.manifest()
    bench = prepare(suite.config, manifest)
    for spec in suite.runs:
        train(bench, spec, RunDirectory(tmp_path / "one" / "runs" / spec.run_id))
    bench_of, specs = prepared(json.dumps(suite.resolved))
    for run_id, spec in reversed(specs.items()):
        torch.rand(7)
        train(bench_of(spec.stream), spec, RunDirectory(tmp_path / "two" / "runs" / run_id))
    one, two = heads(tmp_path / "one"), heads(tmp_path / "two")
    assert all(np.array_equal(one[label], two[label]) for label in ("naive", "lwf"))


def test_cached_and_uncached_views_give_the_same_numbers(suite_file: Callable) -> None:
    # plain descent: Adam would divide what rounding leaves by gradients that are next to nothing
    descent = {"batch_size": 6, "optimizer": "sgd", "lr": 0.1, "momentum": 0.0}
    found, longest = {}, torch.tensor(0.0)
    for name, cache, training in (
        ("cached", True, settings_of()), ("uncached", False, settings_of()), ("plain", True, {"epochs": 2}),
    ):  # fmt: skip
        suite = load_suite(str(suite_file(training=training | descent, backbone={**SMALL, "cache": cache})))
        bench = prepare(suite.config, suite.config.benchmark.manifest())
        store = Store(bench.x, bench.y)
        store.views = views_of(bench, suite.runs[0])
        strategy = build(bench, suite.runs[0], store)
        for experience in make_stream(bench.manifest, store).train_stream[:2]:
            strategy.train(experience, reset_optimizer_state=True)
        found[name] = strategy.model.head.weight.detach()
        longest = torch.maximum(longest, bench.x.norm(dim=1).max()) if bench.on_features else longest
    # a gradient is a mean of (p - y) outer x, off by what x is times the length of p - y, below 1.5, and by what p is,
    # which is less; each of two experiences takes a step in each of two epochs
    limit = 4 * 0.1 * 3 * rounding_of(bench.backbone) * longest
    assert (found["cached"] - found["uncached"]).norm() <= limit
    assert (found["cached"] - found["plain"]).norm() > 10 * limit


def test_views_are_extracted_once_for_each_augmentation(suite_file: Callable, monkeypatch) -> None:
    strategies = {"a": {"strategy": "naive"}, "b": {"strategy": "naive", "training": {"augment": {"crop": 0.9}}},
                  "c": {"strategy": "naive", "training": {"augment": None}}}  # fmt: skip
    suite = load_suite(str(suite_file(training=settings_of(seed=7, saturation=0.1), strategies=strategies)))
    assert [a.crop for a in views.wanted(suite.config)] == [0.5, 0.9]
    manifest = suite.config.benchmark.manifest()
    bench = prepare(suite.config, manifest)
    monkeypatch.setattr(views, "extract", None)  # from here on the cache must do
    prepare(suite.config, manifest)
    files = [views.entry_of(manifest, bench.backbone, 32, bench.device, a).path for a in views.wanted(suite.config)]
    assert len(set(files)) == 2 and all(file.is_file() for file in files)
    first = make_stream(manifest, Store(bench.x, bench.y)).train_stream[0]
    assert np.load(files[0]).shape == (len(first.dataset), 2, bench.backbone.feature_dim)


# Settings


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"views": 0}, r"training\.augment\.views: .*greater than or equal to 1"),
        ({"crop": 0}, r"training\.augment\.crop: .*greater than 0"),
        ({"crop": 1.5}, r"training\.augment\.crop: "),
        ({"contrast": -1}, r"training\.augment\.contrast: "),
        ({"experiences": "last"}, r"training\.augment\.experiences: .*'first' or 'all'"),
        ({"brigthness": 0.1}, r"unknown key 'training\.augment\.brigthness'; did you mean 'brightness'"),
    ],
)
def test_wrong_settings_give_one_line(suite_file: Callable, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        load_suite(str(suite_file(training={"augment": wrong})))
    assert "\n" not in str(error.value)


def test_no_augmentation_leaves_the_run_id(suite_file: Callable) -> None:
    plain, off, on = (
        load_suite(str(suite_file(training=training))) for training in ({}, {"augment": None}, {"augment": {}})
    )
    assert plain.runs[0].run_id == off.runs[0].run_id != on.runs[0].run_id
    assert off.resolved["training"]["augment"] is None and off.runs[0].config["training"]["augment"] is None
    assert on.resolved["training"]["augment"] == AugmentConfig().model_dump()
