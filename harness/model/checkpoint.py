"""A run's trained model on disk: safetensors, without a pretrained backbone that was never trained."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from lorisbench.common.files import write_bytes

PLACE = Path("checkpoint") / "model.safetensors"  # below the run directory


def write_checkpoint(model: nn.Module, folder: Path, frozen: bool) -> None:
    """Write the model's tensors below a run directory; a `frozen` backbone is not repeated in each run."""
    from safetensors.torch import save

    tensors = {
        key: value.detach().cpu().contiguous().clone()
        for key, value in model.state_dict().items()
        if not (frozen and key.startswith("backbone."))
    }
    write_bytes(folder / PLACE, save(tensors))


def load_checkpoint(model: nn.Module, folder: Path, backbone: nn.Module, frozen: bool) -> nn.Module:
    """The model with the tensors of a run directory, in eval mode, and with `backbone` if it has none.

    Raises
    ------
    OSError : there is no checkpoint.
    safetensors.SafetensorError : the file is damaged.
    ValueError, RuntimeError : its tensors are not those of the model.
    """
    from safetensors.torch import load

    tensors = load((folder / PLACE).read_bytes())
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    wrong = [key for key in missing if not (frozen and key.startswith("backbone."))] + list(unexpected)
    if wrong:
        raise ValueError(f"the checkpoint does not fit the model: {wrong[0]}")
    if getattr(model, "backbone", None) is None:
        model.backbone = backbone
    return model.eval()
