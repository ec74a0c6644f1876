"""Copies of samples: found in the forms in which a method may keep them, and in nothing that only resembles them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate, pad
from torch.utils.data import TensorDataset

from lorisbench.common.registry import load_plugin
from lorisbench.conformance.copies import Samples
from lorisbench.conformance.kit import check, entry_of
from lorisbench.conformance.toy import CLASSES, EXPERIENCES, Mode, Running, Toy
from lorisbench.engine.reach import walk
from lorisbench.engine.state import state_bytes
from lorisbench.strategies.lwf import LwFPlugin

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1) * 255
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1) * 255
FIVE = set(range(10, 15))


def inputs_of(mode: Mode) -> torch.Tensor:
    return Running(Toy({"strategy": "naive"}, mode)).store.x


IMAGE_FORMS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "as they are": lambda x: x,
    "divided": lambda x: x / 255,
    "normalised": lambda x: (x - MEAN) / STD,
    "in half precision": lambda x: ((x - MEAN) / STD).half(),
    "in bfloat16": lambda x: (x / 255).bfloat16(),
    "in 8 bits": lambda x: (((x - MEAN) / STD) * 40).round().to(torch.int8),
    "mirrored": lambda x: x.flip(3),
    "turned": lambda x: ((x - MEAN) / STD).rot90(1, (2, 3)),
    "moved": lambda x: pad(x, (2, 2, 2, 2))[:, :, 1:9, 4:12],
    "brighter and inverted": lambda x: 300 - 1.3 * x,
    "channels last": lambda x: x.movedim(1, 3),
    "flat": lambda x: x.flatten(1),
    "in one row": lambda x: x.flatten(),
    "with a label": lambda x: torch.cat([x.flatten(1), torch.arange(5.0)[:, None]], dim=1),
    "noisy": lambda x: x + torch.randn(x.shape, generator=torch.Generator().manual_seed(1)),
}


@pytest.mark.parametrize("form", IMAGE_FORMS)
def test_copies_of_images_are_found(form: str) -> None:
    x = inputs_of("images")
    assert Samples(x).among(IMAGE_FORMS[form](x[10:15].float())) == FIVE


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_copies_of_features_are_found(dtype: torch.dtype) -> None:
    x = inputs_of("features")
    for kept in (x[10:15], 3 - 2 * x[10:15], torch.cat([torch.arange(5.0)[:, None], x[10:15]], dim=1)):
        assert Samples(x).among(kept.to(dtype)) == FIVE


@pytest.mark.parametrize("mode", ["features", "images"])
def test_what_is_made_of_many_samples_is_no_copy(mode: Mode) -> None:
    running = Running(Toy({"strategy": "naive"}, mode))
    x, y = running.store.x.float(), running.store.y
    samples, generator = Samples(running.store.x), torch.Generator().manual_seed(1)
    made = []
    for experience in range(EXPERIENCES):
        rows = torch.tensor(sorted(running.rows("train", experience)))
        for label in range(CLASSES):
            of_class = x[rows[y[rows] == label]]
            made += [of_class[:count].mean(dim=0) for count in (2, 3, 8, len(of_class))]
    assert not samples.among(torch.stack(made))
    flat = x.flatten(1)
    covariance = flat.T @ flat / len(flat)
    for other in (covariance, torch.randn(200, x[0].numel(), generator=generator), torch.ones(7, x[0].numel())):
        assert not samples.among(other)


def test_features_that_are_alike_are_told_apart() -> None:
    """A backbone that was just trained may put samples of a class close together: their mean is no copy."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 1, 16, generator=generator) + 0.02 * torch.randn(4, 20, 16, generator=generator)
    samples = Samples(x.flatten(0, 1))
    assert not samples.among(x.mean(dim=1))
    assert samples.among(x[2, 3:5].half()) == {43, 44}


def test_smaller_images_are_not_taken_for_copies() -> None:
    """What is said of the kit's limits in `lorisbench check --help`: no copy of another size is found."""
    x = inputs_of("images")
    assert not Samples(x).among(interpolate(x[10:15].float(), scale_factor=0.5, mode="area"))


@pytest.mark.usefixtures("checked_on_features")
def test_samples_in_a_variable_of_the_module_are_found(tmp_path) -> None:
    file = tmp_path / "hides.py"
    file.write_text(
        "from avalanche.core import SupervisedPlugin\n"
        "from lorisbench import Strategy\n"
        "from lorisbench.strategies.lwf import LwFPlugin\n"
        "KEPT = []\n"
        "class Hides(SupervisedPlugin):\n"
        "    def after_training_iteration(self, strategy, **kwargs):\n"
        "        if not KEPT: KEPT.append(strategy.mb_x.clone())\n"
        "class InModule(Strategy, name='hides-in-module'):\n"
        "    def plugins(self, context): return [LwFPlugin(1.0, 2.0), Hides()]\n"
    )
    load_plugin(file)
    report = check(entry_of("hides-in-module"))
    assert report.failed == ["past data"]
    assert "KEPT" in next(row.hint for row in report.rows if row.check == "past data")


class Holder:
    """Of no package that the harness knows."""

    def __init__(self, value: object) -> None:
        self.value = value


@pytest.mark.parametrize(
    "wrap",
    [Holder, lambda x: TensorDataset(x), lambda x: lambda: x, lambda x: Holder([{"a": TensorDataset(x)}])],
)
def test_memory_is_counted_wherever_a_plugin_keeps_it(wrap: Callable[[torch.Tensor], object]) -> None:
    running = Running(Toy({"strategy": "naive"}, "features"))
    plugin = LwFPlugin(1.0, 2.0)
    running.strategy.plugins.insert(0, plugin)
    before, _ = state_bytes(running.strategy, running.strategy.model)
    plugin.more = wrap(torch.zeros(100))  # type: ignore[attr-defined]
    after, _ = state_bytes(running.strategy, running.strategy.model)
    assert after - before == 400


def test_arrays_of_any_number_are_reached() -> None:
    held = {"big": np.ones(3, ">f4"), "long": np.ones(2, np.longdouble), "short": np.ones(4, "<i2")}
    found = dict(walk(held, "plugin"))
    assert {path: float(tensor.sum()) for path, tensor in found.items()} == {
        "plugin.big": 3.0, "plugin.long": 2.0, "plugin.short": 4.0,
    }  # fmt: skip
