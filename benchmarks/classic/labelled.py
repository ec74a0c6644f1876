"""Labelled images that are not a stream yet: folders of classes, and Fashion-MNIST's files."""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lorisbench.benchmarks.classic.fashion_mnist import DEBIAN
from lorisbench.benchmarks.factors.cutouts import Source
from lorisbench.benchmarks.left_out import note_left_out
from lorisbench.benchmarks.tree import images_in, visible_subfolders
from lorisbench.common.errors import InputError
from lorisbench.common.files import digest_of_file
from lorisbench.common.registry import nearest
from lorisbench.data.formats import image_suffixes
from lorisbench.data.identity import same_files
from lorisbench.data.manifest import SPLITS
from lorisbench.data.marker import synthetic_name

FASHION = ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
FASHION_LABELS = "372ac19362f2425103e5082d13e71e66"  # hash of the labels of Fashion-MNIST's 60,000 training images
MNIST_COUNTS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]  # MNIST's training images of each digit
PARTS = {"train": "train", "t10k": "test"}  # prefixes of the file names, and the split each holds
KINDS = {"images": ("images-idx3-ubyte", 3), "labels": ("labels-idx1-ubyte", 1)}  # names, and dimensions
MNIST_FILES = "the four files of MNIST"  # what kind of folder several benchmarks read
TEN = 10  # labels of these files are 0 to 9


class Picture(NamedTuple):
    """A labelled image: its unique name, its class and the split it may be used in (any, if empty)."""

    name: str
    class_name: str
    split: str


class Labelled:
    """Labelled images with names of their own.

    Attributes
    ----------
    root, name, source : as in a manifest.
    classes : class names; position is the label.
    pictures : all images; those with the split `train` are also used for validation if there are no images for that
        alone.
    notes : what was dealt with that the user should know, by topic.
    """

    def __init__(self, root: Path, name: str, source: str, classes: list[str], pictures: list[Picture]) -> None:
        self.root, self.name, self.source = root, name, source
        self.classes, self.pictures = classes, pictures
        self.notes: dict[str, str] = {}

    def image(self, index: int) -> Source:
        """What `cutouts.cutout_of` takes. Raises InputError for a damaged file."""
        return os.path.join(self.root, self.pictures[index].name)

    def digest(self, indices: Iterable[int]) -> str:
        """BLAKE2b (128 bit, hex) of the names and bytes of these images. Raises InputError for an unreadable file."""
        chosen = sorted(indices)
        digest = hashlib.blake2b(digest_size=16)
        with ThreadPoolExecutor() as pool:
            files = [os.path.join(self.root, self.pictures[index].name) for index in chosen]
            for index, value in zip(chosen, pool.map(_digest, files, chunksize=16), strict=True):
                digest.update(f"{self.pictures[index].name}\n{value}\n".encode())
        return digest.hexdigest()


class Idx(Labelled):
    """The four files of MNIST or Fashion-MNIST, told apart by their labels, or of any ten classes stored like them."""

    def __init__(self, root: Path) -> None:
        self._files = {
            (part, kind): _find(root, f"{part}-{name}") for part in PARTS for kind, (name, _) in KINDS.items()
        }
        labels = {part: read_idx(self._files[part, "labels"], 1) for part in PARTS}
        for part, values in labels.items():
            if values.size and values.max() >= TEN:
                at = int(np.argmax(values >= TEN))
                raise InputError(f"{self._files[part, 'labels']}: label {values[at]} of image {at} is not in 0..9")
        fashion = hashlib.blake2b(labels["train"].tobytes(), digest_size=16).hexdigest() == FASHION_LABELS
        counted = np.bincount(labels["train"], minlength=TEN).tolist()
        classes = list(FASHION) if fashion else [str(digit) for digit in range(TEN)]
        if fashion:
            name, source = "Fashion-MNIST", "Xiao, Rasul and Vollgraf 2017 (arXiv 1708.07747)"
        elif counted == MNIST_COUNTS:
            name, source = "MNIST", "LeCun, Cortes and Burges, the MNIST database of handwritten digits"
        else:
            name, source = root.resolve().name, "own files in the format of MNIST"
        super().__init__(
            root,
            name,
            source,
            classes,
            [
                Picture(f"{part}-{number:05d}", classes[label], split)
                for part, split in PARTS.items()
                for number, label in enumerate(labels[part].tolist())
            ],
        )

    def image(self, index: int) -> Source:
        return self._pixels[index]

    @property
    def side(self) -> int:
        """Width and height of the images, in pixels. Raises InputError for images that are not square."""
        height, width = self._pixels.shape[1:]
        if height != width:
            raise InputError(f"{self.root}: images of {width} x {height} pixels, where square ones were expected")
        return int(height)

    def digest(self, indices: Iterable[int]) -> str:
        return hashlib.blake2b(
            "".join(map(_digest, map(str, self._files.values()))).encode(), digest_size=16
        ).hexdigest()

    @cached_property
    def _pixels(self) -> np.ndarray:
        """uint8 (images, height, width), in the order of `pictures`."""
        parts = []
        for part in PARTS:
            file = self._files[part, "images"]
            pixels = read_idx(file, 3)
            labels = sum(picture.split == PARTS[part] for picture in self.pictures)
            if len(pixels) != labels or 0 in pixels.shape[1:]:
                raise InputError(
                    f"{file}: {pixels.shape} pixels where {labels} images were expected, one for each label"
                )
            parts.append(pixels)
        if parts[0].shape[1:] != parts[1].shape[1:]:
            raise InputError(f"{self.root}: the training images and the test images differ in size")
        return np.concatenate(parts)


def _find(root: Path, name: str) -> Path:
    for file in (root / f"{name}.gz", root / name):
        if file.is_file():
            return file
    raise InputError(f"{root}: has no {name}.gz (nor {name}), one of the four files of Fashion-MNIST")


def _digest(file: str) -> str:
    try:
        return digest_of_file(file)
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from error


def read_idx(file: Path, dimensions: int) -> np.ndarray:
    """A file of unsigned bytes in the IDX format, plain or in gzip, as a uint8 array of that many dimensions.

    Raises InputError, naming the file, if it is damaged or something else.
    """
    try:
        data = file.read_bytes()
        if file.suffix == ".gz":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{file}: damaged or not readable ({error})") from error
    magic = bytes([0, 0, 8, dimensions])
    if data[:4] != magic:
        raise InputError(f"{file}: begins with {data[:4].hex()} where an IDX file of its kind has {magic.hex()}")
    head = 4 + 4 * dimensions
    if len(data) < head:
        raise InputError(f"{file}: damaged (ends within its header)")
    shape = struct.unpack(f">{dimensions}I", data[4:head])
    if len(data) - head != int(np.prod(shape, dtype=object)):
        raise InputError(f"{file}: damaged (holds {len(data) - head} bytes where its header says {shape})")
    return np.frombuffer(data, np.uint8, offset=head).reshape(shape)


def read_folder(root: Path, chosen: Sequence[str] | None = None) -> Labelled:
    """Folders of images: `<class>/*`, or `{train,test}[,validation]/<class>/*` where both `train` and `test` exist.

    With the names of those `chosen`, other classes may be incomplete, and are left out then. Raises InputError where
    there is no class folder, for a class without images, and for one that is not in every split, as its factors are
    computed for all three.
    """
    there = [split for split in SPLITS if (root / split).is_dir()]
    splits = there if {"train", "test"} <= set(there) else [""]
    classes = visible_subfolders(root / splits[0])
    if not classes:
        raise InputError(f"{root / splits[0]}: holds 0 folders; one per class is needed")
    if chosen is not None:
        complete = [n for n in classes if all(_holds_images(root / split / n) for split in splits)]
        classes = [name for name in classes if name in complete or name in chosen]
    pictures = []
    for split in splits:
        others = visible_subfolders(root / split) if chosen is None else []
        for name in dict.fromkeys([*classes, *others]):
            folder = root / split / name
            if name not in classes or not folder.is_dir():
                where = root / splits[0] if folder.is_dir() else root / split
                near = nearest(name, visible_subfolders(where))
                raise InputError(f"{where}: has no folder for the class {name!r}, as others have{near}")
            files = images_in(folder, True, image_suffixes())
            if not files:
                raise InputError(f"{folder}: holds no images")
            pictures += [Picture((Path(split) / name / file).as_posix(), name, split) for file in files]
    _check_files(root, pictures)
    rendered = synthetic_name(root, (picture.name for picture in pictures))
    source = f"own folder of images{' (synthetic themselves)' if rendered else ''}"
    images = Labelled(root, rendered or root.resolve().name, source, classes, pictures)
    note_left_out(images.notes, root, (picture.name for picture in pictures))
    return images


def _holds_images(folder: Path) -> bool:
    return folder.is_dir() and bool(images_in(folder, False, image_suffixes()))


def _check_files(root: Path, pictures: list[Picture]) -> None:
    """Raise InputError if one file is in two splits, under whatever names."""
    first: dict[int, Picture] = {}
    for number, picture in zip(same_files([str(root / each.name) for each in pictures]), pictures, strict=True):
        other = first.setdefault(int(number), picture)
        if other.split != picture.split:
            raise InputError(f"{root}: {other.name} and {picture.name} are one image, which may not be in two splits")


def read_labelled(root: Path | None, chosen: Sequence[str] | None = None) -> Labelled:
    """The labelled images of a folder (see `read_folder`); without one, Fashion-MNIST from Debian's package.

    Raises InputError if there is nothing of the kind.
    """
    if root is None:
        if not DEBIAN.is_dir():
            raise InputError(
                f"Fashion-MNIST is not at {DEBIAN}: apt-get install dataset-fashion-mnist, or give the folder of its "
                "four files, or of your own class folders (--data-root DIR)"
            )
        return Idx(DEBIAN)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder (class folders or the files of Fashion-MNIST were expected)")
    name = KINDS["images"][0]
    if any((root / f"{part}-{name}{suffix}").is_file() for part in PARTS for suffix in ("", ".gz")):
        return Idx(root)
    return read_folder(root, chosen)
