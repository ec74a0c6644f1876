"""Whether stream, backbone and settings of a suite suit each other; what does not is one line before any training."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import numpy as np
import torch

from lorisbench.common.errors import InputError
from lorisbench.engine.batches import check_batches_of_one
from lorisbench.model.onnx_graph import RUNTIME, need_packages
from lorisbench.suite.orders import permutation
from lorisbench.suite.resolve import ResolvedConfig

if TYPE_CHECKING:
    from lorisbench.data.manifest import Manifest
    from lorisbench.model.models import Backbone

COMPILERS = ("g++", "clang++", "c++")  # which torch.compile may use, besides what CXX names
LARGEST_TASK = 255  # images carry their task label in a uint8 channel


def check_stream(config: ResolvedConfig, manifest: Manifest) -> None:
    """Raise InputError if the stream lacks one of the orders, or task labels or classes to come that are needed, or if
    it cannot be tested after each experience."""
    for order in config.orders:
        permutation(order, manifest.experiences)
    if manifest.parts is not None and config.evaluation.rows != "last":
        raise InputError("benchmark continued: it is tested after its last experience only; set evaluation.rows: last")
    _check_task_labels(config, manifest.task_labels())
    _check_growth(config, manifest)


def check_batch_sizes(config: ResolvedConfig, backbone: Backbone) -> None:
    """Raise InputError if batches of one sample, of whatever strategy, cannot train the backbone."""
    if config.backbone.train != "never":
        smallest = min(entry.training.batch_size for entry in config.strategies.values())
        check_batches_of_one(backbone, config.backbone.image_size, smallest)


def check_runtime(config: ResolvedConfig, device: torch.device) -> None:
    """Raise InputError if features cannot be extracted by `backbone.runtime` on this device."""
    if config.backbone.runtime == "torch":
        return
    if device.type != "cpu":
        raise InputError(f"{RUNTIME} extracts features on a CPU, and this stream has them from a GPU: add device: cpu")
    need_packages(RUNTIME)


def check_precision(config: ResolvedConfig, device: torch.device) -> None:
    """Raise InputError if `training.amp` or `training.compile` of a strategy cannot be kept to on this device."""
    for label, entry in config.strategies.items():
        place = f"strategies.{label}: training"
        if entry.training.amp is not None and device.type == "cuda" and not torch.cuda.is_bf16_supported():
            raise InputError(f"{place}.amp: this GPU does not compute in bfloat16")
        if not entry.training.compile:
            continue
        if config.backbone.train == "never":
            raise InputError(f"{place}.compile: compiles a backbone that is trained, and backbone.train is never")
        if not any(shutil.which(name) for name in (os.environ.get("CXX"), *COMPILERS) if name):
            raise InputError(f"{place}.compile: needs a C++ compiler, and there is none of {', '.join(COMPILERS)} here")


def check_features(x: torch.Tensor, rows: np.ndarray, what: str, config: ResolvedConfig, manifest: Manifest) -> None:
    """Raise InputError, naming the first image, if features (images, ...) of the images at `rows` are not finite."""
    bad = not_finite_rows(x)
    if len(bad):
        raise InputError(
            f"backbone {config.backbone.name!r}: the features of {len(bad)} of {len(x)} {what}images are not finite, "
            f"the first {manifest.table.path[rows[int(bad[0])]]}; nothing can be trained on them"
        )


def not_finite_rows(x: torch.Tensor, part: int = 4096) -> torch.Tensor:
    """The rows, int64, of x (rows, features) that hold NaN or an infinity; looked at `part` rows at a time."""
    # A sum over the row is finite unless one of its parts is not, or it overflows: only then is each part looked at
    suspect = torch.cat([~rows.sum(dim=1).isfinite() for rows in x.split(part)]).nonzero()[:, 0]
    return suspect[~x[suspect].isfinite().all(dim=1)]


def _check_growth(config: ResolvedConfig, manifest: Manifest) -> None:
    """Raise InputError if outputs are to grow with the classes (`head.grow`) and all are there from the start.

    In every order, that is: in some, an experience with all classes may happen to come first.
    """
    if not config.head.grow:
        return
    table = manifest.table
    firsts = {permutation(order, manifest.experiences)[0] for order in config.orders}
    if all(set(table.label) <= set(table.label[manifest.rows("train", first)]) for first in firsts):
        raise InputError(
            "head.grow: needs classes that arrive in later experiences; the first one here has all of them"
        )


def _check_task_labels(config: ResolvedConfig, labels: np.ndarray) -> None:
    """Raise InputError if the head or a strategy needs task labels and the stream's, int64 (images,), are unfit."""
    if len(np.unique(labels)) < 2:
        if config.head.per_task:
            raise InputError("head.per_task: needs task labels; this stream has only one")
        for label, entry in config.strategies.items():
            if entry.strategy.needs_task_labels:
                name = entry.strategy.name
                raise InputError(f"strategies.{label}: {name} needs task labels; this stream has only one")
    if config.head.per_task and not 0 <= labels.min() <= labels.max() <= LARGEST_TASK:
        found = f"{labels.min()} to {labels.max()}"
        raise InputError(f"head.per_task: expected task labels from 0 to {LARGEST_TASK}, not {found}")
