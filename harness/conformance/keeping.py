"""A trained model saved as a run saves it, and restored as latency and export do: whether it answers the same."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lorisbench.common.errors import reason_of
from lorisbench.conformance.toy import EXPERIENCES, SIZE, Running
from lorisbench.engine.assembly import restored_model
from lorisbench.model.checkpoint import write_checkpoint
from lorisbench.model.comparison import alike, answers_of, told_apart

IMAGES = 9


def saved_and_restored(running: Running, folder: Path, attach: bool = True, **how: Any) -> nn.Module:
    """The model of a run that has been trained, from a checkpoint in `folder`; for what is raised see there."""
    spec = running.spec
    write_checkpoint(running.strategy.model, folder, frozen=spec.backbone.train == "never")
    return restored_model(spec, running.pretrained(), *running.sizes(), folder, attach=attach, **how)


def restored_fault(running: Running) -> str:
    """What keeps the model of a trained run from being saved and had back, or an empty string."""
    model = running.strategy.model
    rows = torch.tensor(sorted(set().union(*(running.rows("test", e) for e in range(EXPERIENCES)))))
    x = running.store.x[rows].to(running.toy.device)
    with tempfile.TemporaryDirectory(prefix="lorisbench-check-") as folder:
        try:
            fault = told_apart(model, saved_and_restored(running, Path(folder), attach=False), x)
            if fault or running.toy.mode != "features":
                return fault
            whole = saved_and_restored(running, Path(folder))
        except Exception as error:  # whatever the strategy's own code, torch or safetensors raise
            return reason_of(error).removeprefix("ValueError: ")
    return _images_fault(running, model, whole)


def _images_fault(running: Running, model: nn.Module, whole: nn.Module) -> str:
    """How a model that was trained on features fails once a backbone is in front of it and it is given images."""
    images = torch.randint(0, 256, (IMAGES, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    with torch.no_grad():
        features = running.pretrained().eval()(images)
    try:
        wanted = answers_of(model, features)
    except Exception:  # one that is not called with inputs alone
        return ""
    told = "restored, with the backbone in front of it as latency and export put it there, "
    advice = "; take features by self.features(x) of lorisbench.model.models.Classifier, which takes both"
    try:
        given = answers_of(whole, images)
    except Exception as error:
        return f"{told}it breaks off on images with {reason_of(error)}{advice}"
    return "" if alike(wanted, given) else f"{told}it answers images otherwise than their features{advice}"
