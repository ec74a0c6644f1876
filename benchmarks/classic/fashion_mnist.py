"""Fashion-MNIST from Debian's package `dataset-fashion-mnist`: real images without any download."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

from lorisbench.common.cache import cache_root
from lorisbench.common.errors import InputError
from lorisbench.common.files import atomic

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
FILES = (
    "train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte",
)  # fmt: skip


def installed() -> bool:
    """Whether the package's four files are installed."""
    return all((DEBIAN / f"{name}.gz").is_file() for name in FILES)


def unpacked() -> Path:
    """A folder with the package's files unpacked where torchvision looks for them (`FashionMNIST/raw` in it).

    Made once, in the cache folder. Raises InputError naming a damaged file.
    """
    root = cache_root() / "datasets" / "fashion-mnist"
    for name in FILES:
        target, packed = root / "FashionMNIST" / "raw" / name, DEBIAN / f"{name}.gz"
        if not target.is_file():
            try:
                with gzip.open(packed) as source, atomic(target) as stream:
                    shutil.copyfileobj(source, stream)
            except (OSError, EOFError) as error:
                raise InputError(f"{packed}: cannot be unpacked ({error})") from error
    return root
