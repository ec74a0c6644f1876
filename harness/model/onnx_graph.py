"""A PyTorch module as an ONNX graph, and such a graph in onnxruntime; both need the packages of the extra `onnx`."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lorisbench.common.errors import InputError, reason_of
from lorisbench.model.folding import CLOSE, apart

if TYPE_CHECKING:
    import onnx

RUNTIME = "backbone.runtime: onnxruntime"
PACKAGES = ("onnx", "onnxruntime", "onnxscript")  # of the extra


def need_packages(what: str) -> None:
    """Raise InputError, saying what needs it, if a package of the extra is missing."""
    for package in PACKAGES:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise InputError(f"{what} needs the package {package}: pip install 'lorisbench[onnx]'") from error


def has_packages() -> bool:
    """Whether all packages of the extra are installed."""
    try:
        need_packages("")
    except InputError:
        return False
    return True


def graph_of(module: nn.Module, example: torch.Tensor, takes: str, gives: str) -> onnx.ModelProto:
    """`module` as an ONNX model with all weights inside, for batches of any size.

    example : a batch of two or more. takes, gives : what its input and its output are called.

    Raises whatever torch's exporter raises where it fails.
    """
    level = logging.root.manager.disable
    # The exporter's passes warn, and print graphs that they fail on
    quiet = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
    with warnings.catch_warnings(), torch.no_grad(), quiet[0], quiet[1]:
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            program: Any = torch.onnx.export(
                module, (example,), dynamo=True, dynamic_shapes=({0: torch.export.Dim("batch")},),
                input_names=[takes], output_names=[gives], verbose=False,
            )  # fmt: skip
        finally:
            logging.disable(level)
    proto: onnx.ModelProto = program.model_proto
    for part in (proto.graph, *proto.functions):
        _strip(part)
    return proto


def _strip(part: Any) -> None:
    """Remove the exporter's notes, including stack traces with this machine's paths, from a graph or function."""
    values = [value for field in ("input", "output") for value in getattr(part, field) if not isinstance(value, str)]
    named = [*values, *part.value_info, *getattr(part, "initializer", ()), *part.node, part]
    for item in named:
        item.ClearField("doc_string")
        item.ClearField("metadata_props")
    for node in part.node:
        for attribute in node.attribute:
            for inner in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                _strip(inner)


def opened(graph: bytes, threads: int = 0) -> Any:
    """A graph in onnxruntime, on the CPU, with so many threads, or as many as onnxruntime likes (0).

    They do not spin while they wait, which would take the cores from PyTorch's.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what it says of errors is in those that it raises
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


class GraphNetwork(nn.Module):
    """A network as a graph in onnxruntime, on the CPU, with as many threads as torch has now.

    forward: float32 (batch, channels, height, width) -> what the network gives of it, float32 (batch, width).

    Parameters
    ----------
    network : in evaluation mode. example : a batch of two or more.

    Raises what torch's exporter raises of a network that it cannot write as a graph.
    """

    def __init__(self, network: nn.Module, example: torch.Tensor) -> None:
        super().__init__()
        graph = graph_of(network, example, "images", "features")
        self.session = opened(graph.SerializeToString(), torch.get_num_threads())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        (features,) = self.session.run(["features"], {"images": x.contiguous().numpy()})
        return torch.from_numpy(features)


def in_onnxruntime(network: nn.Module, x: torch.Tensor) -> nn.Module:
    """A network in evaluation mode as a `GraphNetwork`, tried on `x`, a batch of two inputs or more.

    Raises InputError if a package is missing, if the network cannot be written as a graph, or if its outputs differ by
    more than `folding.CLOSE` from those in PyTorch.
    """
    need_packages(RUNTIME)
    try:
        other = GraphNetwork(network, x).eval()
        difference = apart(network, other, x)
    except Exception as error:  # the exporter's and onnxruntime's have no common base class
        raise InputError(f"{RUNTIME} cannot run this backbone: {reason_of(error)}") from error
    if not difference <= CLOSE:
        raise InputError(
            f"{RUNTIME} gives other features than PyTorch: they differ by {difference:.2g} of the largest, "
            f"more than {CLOSE:g}"
        )
    return other
