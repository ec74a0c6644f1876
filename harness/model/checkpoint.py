"""A run's trained model on disk: safetensors, without a pretrained backbone that was never trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lorisbench.common.files import write_bytes
from lorisbench.model.comparison import lacking
from lorisbench.model.fitting import EXTRA, Maker, entries_of, fit, in_order

PLACE = Path("checkpoint") / "model.safetensors"  # below the run directory
ENTRIES = "entries"  # in the file's metadata, as safetensors keeps no order
BACKBONE = "backbone."  # begins the names of its tensors
_JSON = ".json"  # ends the name of what a module says of itself in other words than a tensor


def storable(tensor: torch.Tensor) -> torch.Tensor:
    """A copy on the CPU as safetensors writes one: contiguous, and sharing memory with no other."""
    return tensor.detach().cpu().contiguous().clone()


def write_checkpoint(model: nn.Module, folder: Path, frozen: bool, backbone: nn.Module | None = None) -> None:
    """Write the model's tensors below a run directory; a `frozen` backbone of the model's is not repeated in each run.

    backbone : one that is written in its place, see `load_backbone`.

    Raises InputError if the disk takes no more, and anything else for a state that cannot be written as tensors.
    """
    from safetensors.torch import save

    tensors = {}
    if backbone is not None:
        tensors = {BACKBONE + key: storable(value) for key, value in backbone.state_dict().items()}
    for key, value in model.state_dict().items():
        if frozen and key.startswith(BACKBONE):
            continue
        if key.rpartition(".")[2] == EXTRA and not isinstance(value, torch.Tensor):
            text = json.dumps(value).encode("utf-8")
            if json.loads(text) != value:
                raise TypeError(f"{key} is no plain data: get_extra_state() may give a tensor, or what JSON can hold")
            key, value = key + _JSON, torch.frombuffer(bytearray(text), dtype=torch.uint8)
        tensors[key] = storable(value)
    entries = entries_of(model)
    write_bytes(folder / PLACE, save(tensors, {ENTRIES: json.dumps(entries)} if entries else None))


def load_checkpoint(
    model: nn.Module, folder: Path, backbone: nn.Module | None, frozen: bool, new_head: Maker | None = None,
    apart: bool = False,
) -> nn.Module:  # fmt: skip
    """The model with the tensors of a run directory, in eval mode, and with `backbone`, if given, where it has none.

    apart : whether the tensors of a backbone that are there are left to `load_backbone`.

    A freshly built model may have fewer heads, and buffers of other shapes, see `fitting.fit`; new_head : see there.

    Raises
    ------
    OSError : there is no checkpoint.
    safetensors.SafetensorError : the file is damaged.
    ValueError : its tensors are not those of the model, or the model has no `backbone`.
    """
    from safetensors import safe_open

    with safe_open(folder / PLACE, "pt") as stored:
        names = [key for key in stored.keys() if not (apart and key.startswith(BACKBONE))]  # noqa: SIM118 - no mapping
        tensors = {key: stored.get_tensor(key) for key in names}
        entries = json.loads((stored.metadata() or {}).get(ENTRIES, "{}"))
    said: dict[str, Any] = {
        key.removesuffix(_JSON): json.loads(bytes(tensors.pop(key).tolist())) for key in list(tensors) if _is_said(key)
    }
    load_state(model, in_order(tensors, entries) | said, frozen, new_head)
    if backbone is not None:
        if fault := lacking(model):
            raise ValueError(fault)
        if model.backbone is None:
            model.backbone = backbone
            if model.backbone is None:
                raise ValueError(f"the `backbone` of a {type(model).__name__} is a property: nothing can be put there")
    return model.eval()


def load_backbone(backbone: nn.Module, folder: Path) -> None:
    """Put the tensors of the backbone in a run directory into one of the same kind.

    Raises OSError if there is no checkpoint, safetensors.SafetensorError if it is damaged, and ValueError if its
    backbone is another one.
    """
    from safetensors import safe_open

    with safe_open(folder / PLACE, "pt") as stored:
        names = [key for key in stored.keys() if key.startswith(BACKBONE)]  # noqa: SIM118 - no mapping
        tensors = {key.removeprefix(BACKBONE): stored.get_tensor(key) for key in names}
    try:
        backbone.load_state_dict(tensors)
    except RuntimeError as error:  # of many lines
        raise ValueError(f"the checkpoint does not fit the backbone: {' '.join(str(error).split())}") from error


def load_state(model: nn.Module, state: dict[str, Any], frozen: bool = False, new_head: Maker | None = None) -> None:
    """Put a trained model's state into a freshly built one, which grows as that did; see `load_checkpoint`."""
    fit(model, state, new_head)
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:  # of many lines
        raise ValueError(f"the checkpoint does not fit the model: {' '.join(str(error).split())}") from error
    wrong = [key for key in missing if not (frozen and key.startswith(BACKBONE))] + list(unexpected)
    if wrong:
        raise ValueError(f"the checkpoint does not fit the model: {wrong[0]}")


def _is_said(key: str) -> bool:
    return key.endswith(EXTRA + _JSON)
