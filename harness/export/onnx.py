"""A finished run's model as one ONNX graph: uint8 images in (or the features that were given in place of them), class
probabilities out, checked against PyTorch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from lorisbench.common.errors import InputError, reason_of
from lorisbench.common.files import write_bytes
from lorisbench.common.registry import nearest
from lorisbench.common.restored import restored
from lorisbench.common.targets import output_file
from lorisbench.data.images import PREPROCESSING
from lorisbench.engine.divergence import faulty_weights, not_finite, share_text
from lorisbench.export.causes import FIXED, cause_of
from lorisbench.export.trained import TrainedRun, read_run, restore_run
from lorisbench.model.onnx_graph import graph_of, need_packages, opened

if TYPE_CHECKING:
    import onnx

FORMATS = ("onnx",)
BATCHES = (1, 2, 7, 33)
LARGEST_DIFFERENCE = 1e-3
EQUAL_SHARE = 0.999
_UNWRITTEN = "its model ({}) cannot be written as an ONNX graph"


class Deployed(nn.Module):
    """forward: what the model takes -> probabilities float32 (batch, classes); rows sum to 1."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        # Gives probabilities from logits, and also from log-probabilities, which some models return
        return self.model(inputs).float().softmax(dim=1)


@dataclass(frozen=True)
class Inputs:
    """What a graph takes: images of a size in pixels, or features of that number (`name` says which)."""

    name: Literal["images", "features"]
    size: int

    def samples(self, count: int) -> torch.Tensor:
        """The same ones each time: `sample_images`, or normal deviates, float32 (count, size)."""
        if self.name == "images":
            return sample_images(count, self.size)
        return torch.randn(count, self.size, generator=torch.Generator().manual_seed(0))


def inputs_of(run: TrainedRun) -> Inputs:
    return Inputs("features", run.width) if run.width else Inputs("images", run.spec.backbone.image_size)


@dataclass(frozen=True)
class Comparison:
    """The graph in onnxruntime compared with the model in PyTorch.

    Attributes
    ----------
    images : how many were compared, in batches of BATCHES. of : what they are.
    largest : the largest absolute difference in a probability; NaN if one side gave NaN.
    equal : share of the images, in 0..1, for which both predict the same class.
    fault : why onnxruntime did not run the graph; empty if it did.
    """

    images: int
    largest: float
    equal: float
    fault: str = ""
    of: str = "images"

    @property
    def passed(self) -> bool:
        return not self.fault and self.largest <= LARGEST_DIFFERENCE and self.equal >= EQUAL_SHARE

    def __str__(self) -> str:
        if self.fault:
            return f"onnxruntime does not run the graph: {self.fault}"
        return (
            f"onnxruntime against PyTorch, {self.images} generated {self.of} in batches of "
            f"{', '.join(map(str, BATCHES))}: largest difference in a probability {self.largest:.2g}, "
            f"{100 * self.equal:.2f} % equal predictions"
        )


@dataclass(frozen=True)
class Export:
    """The result of an export; the file exists only if the comparison passed."""

    comparison: Comparison
    file: Path
    size: int


@restored()
def export_run(folder: Path, kind: str, out: Path | None, plugins: Sequence[Path] = ()) -> Export:
    """Write a run's model to `out` (default: model.onnx in its folder), unless its answers differ from PyTorch's.

    Raises
    ------
    InputError : the format is unknown, a package of the extra is missing, the run cannot be used (`read_run`,
        `restore_run`) or its model cannot be exported.
    """
    if kind not in FORMATS:
        raise InputError(f"unknown format {kind!r}{nearest(kind, FORMATS)}")
    need_packages("export")
    run = read_run(folder, plugins)
    file = output_file(out or folder / "model.onnx", (f".{kind}",))
    deployed, inputs, data = exported(run)
    comparison = compare(data, deployed, inputs)
    if comparison.passed:
        write_bytes(file, data)
    return Export(comparison, file, len(data))


def exported(run: TrainedRun) -> tuple[Deployed, Inputs, bytes]:
    """A run's model as it is deployed, what it takes, and the bytes of its graph. Raises InputError as `export_run`."""
    name = run.spec.run_id
    model = restore_run(run)
    check_exportable(name, model)
    inputs = inputs_of(run)
    check_finite(name, model, inputs)
    deployed = Deployed(model).eval().requires_grad_(False)
    graph = converted(name, deployed, inputs)
    try:
        describe(graph, run)
        return deployed, inputs, graph.SerializeToString()
    except Exception as error:  # from the checker, or protobuf (2 GB)
        raise InputError(f"{name}: {_UNWRITTEN.format(type(model).__name__)}: {reason_of(error)}") from error


def converted(name: str, deployed: Deployed, inputs: Inputs) -> onnx.ModelProto:
    """What `graph_of` gives. Raises InputError, with the cause and the part of the model concerned, if it fails."""
    try:
        return graph_of(deployed, inputs.samples(2), inputs.name, "probabilities")
    except Exception as error:  # from an outside strategy's model, or the exporter's passes
        fault = cause_of(error, deployed)
        raise InputError(f"{name}: {_UNWRITTEN.format(type(deployed.model).__name__)}: {fault}") from error


def check_exportable(name: str, model: nn.Module) -> None:
    """Raise InputError if the model has a method `not_exportable` that gives a reason why it cannot be exported."""
    ask = getattr(model, "not_exportable", None)
    reason = ask() if ask else None
    if reason:
        raise InputError(f"{name}: {reason}")


def check_finite(name: str, model: nn.Module, inputs: Inputs) -> None:
    """Raise InputError if weights of the model, or its outputs for generated inputs, are not finite."""
    with torch.inference_mode():
        bad = not_finite(torch.cat([model(x) for x in inputs.samples(sum(BATCHES)).split(BATCHES)]))
    fault = share_text(bad) if bad.any() else faulty_weights(model)
    if fault:
        raise InputError(f"{name}: its model has diverged and is not exported: {fault}")


def describe(graph: onnx.ModelProto, run: TrainedRun) -> None:
    """Write into the graph's metadata what a user of the file must know; all values are text, `classes` is JSON."""
    import onnx

    about = {
        "run_id": run.spec.run_id,
        "benchmark": run.benchmark,
        "synthetic": "true" if run.synthetic else "false",
        "classes": json.dumps(run.classes, ensure_ascii=False),
        **(
            {"features": str(run.width)}
            if run.width
            else {"image_size": str(run.spec.backbone.image_size), "preprocessing": PREPROCESSING}
        ),
        "lorisbench": version("lorisbench"),
    }
    onnx.helper.set_model_props(graph, about)
    onnx.checker.check_model(graph)


def compare(graph: bytes, deployed: nn.Module, inputs: Inputs) -> Comparison:
    """Run the graph in onnxruntime and `deployed` in PyTorch on the same inputs, in batches of each of BATCHES."""
    import numpy as np

    batches = inputs.samples(sum(BATCHES)).split(BATCHES)
    try:
        session = opened(graph)
        given = np.concatenate([session.run(["probabilities"], {inputs.name: x.numpy()})[0] for x in batches])
    except Exception as error:  # onnxruntime's exceptions have no common base class
        fault = " ".join(str(error).split())[:300]
        return Comparison(0, float("nan"), 0.0, f"{fault}{_fixed_batch(graph)}")
    with torch.inference_mode():
        wanted = torch.cat([deployed(x) for x in batches]).numpy()
    if given.shape != wanted.shape:
        return Comparison(0, float("nan"), 0.0, f"its output has the shape {given.shape}, not {wanted.shape}")
    equal = float((given.argmax(axis=1) == wanted.argmax(axis=1)).mean())
    return Comparison(len(wanted), float(np.abs(given - wanted).max()), equal, of=inputs.name)


def _fixed_batch(graph: bytes) -> str:
    """What is to be said of a graph that takes batches of one size only."""
    import onnx

    dimensions = onnx.load_model_from_string(graph).graph.input[0].type.tensor_type.shape.dim
    return f"; {FIXED.format(dimensions[0].dim_value)}" if dimensions and dimensions[0].dim_value else ""


def sample_images(count: int, size: int) -> torch.Tensor:
    """The same images each time, uint8 (count, 3, size, size): random colours on grids from coarse to fine.

    One colour, smooth gradients and noise in turn: if all were noise, they would look the same to a backbone.
    """
    generator = torch.Generator().manual_seed(0)
    drawn = []
    for index in range(count):
        cells = min(size, 2 ** (index % 8))
        grid = 255 * torch.rand(1, 3, cells, cells, generator=generator)
        drawn.append(nn.functional.interpolate(grid, size=(size, size), mode="bilinear").round().to(torch.uint8))
    return torch.cat(drawn)
