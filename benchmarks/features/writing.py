"""A manifest and the features of its images as a file that the benchmark `features` reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lorisbench.common.files import atomic, check_space, existing_folder
from lorisbench.data.manifest import TASK, Manifest


def write(file: Path, manifest: Manifest, features: np.ndarray, about: Mapping[str, Any]) -> None:
    """Write a .npz file, not compressed, with all that a run needs to know of the images but the images themselves.

    The file is complete or not there. Raises InputError if the disk has too little space for it or does not take it.

    Parameters
    ----------
    features : float32 (images, width), in table order; may be memory-mapped.
    about : what else is to be known of them: JSON-able values; `name`, `source` and `synthetic` are read back.
    """
    table = manifest.table
    arrays = {
        "features": features,
        "labels": table.label.to_numpy(dtype=np.int64),
        "experience": table.experience.to_numpy(dtype=np.int64),
        "split": _encoded(table.split),
        "recording": _encoded(table.recording),
        "factor": _encoded(table.factor),
        "level": table.level.to_numpy(dtype=np.int64),
        **({TASK: manifest.task_labels()} if TASK in table.columns else {}),
        "path": _encoded(table.path),
        "class_names": _encoded(manifest.classes),
        "experience_names": _encoded(manifest.experience_names),
        "about": np.array([json.dumps(dict(about))]),
    }
    check_space(existing_folder(file.parent), sum(array.nbytes for array in arrays.values()), "writing features")
    with atomic(file) as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]


def _encoded(texts: Iterable[Any]) -> np.ndarray:
    """Texts as bytes (UTF-8), which takes a quarter of what NumPy's own texts take."""
    return np.array([str(text).encode("utf-8") for text in texts], dtype=bytes)
