"""Avalanche's classic benchmarks by name: their images, labels, task labels and test sets as a manifest of pixels."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import io
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from pydantic import Field, field_validator

from lorisbench.benchmarks.classic import fashion_mnist
from lorisbench.benchmarks.classic.split_mnist import find
from lorisbench.benchmarks.own.own_splits import UNDECIDED, OwnData
from lorisbench.common.cache import cache_root, cached_array
from lorisbench.common.component import check_truths
from lorisbench.common.errors import InputError
from lorisbench.common.files import digest_of
from lorisbench.common.registry import nearest
from lorisbench.common.yaml_files import read_yaml
from lorisbench.data.identity import same_rows
from lorisbench.data.images import decode
from lorisbench.data.manifest import COLUMNS, POSITION, TASK, Manifest
from lorisbench.data.subsets import arrange, in_stream_order

VERSION = 1  # of how pixels are taken from Avalanche's data sets
SAMPLES = 256  # images whose pixels go into the name of the cached file
BLOCK = 512
HINTS = Path(__file__).with_name("hints.yaml")


class AvalancheClassic(OwnData, name="avalanche"):
    """A benchmark of avalanche.benchmarks.classic, e.g. {avalanche: RotatedMNIST, n_experiences: 5}.

    `classic` is the function's name and `args` its arguments. Task labels are kept (`return_task_id: true`). Each
    experience is tested on its own test set; where Avalanche has one for all, on the images of its classes, and where
    classes recur, on a share of its training images (`test_share`, `held_out`), as the notes say. Transforms are the
    harness's. `root`: where the data are or are downloaded to; `size`: side in pixels to which images of different
    sizes are brought.
    """

    makes_root: ClassVar[bool] = True
    classic: str
    args: dict[str, Any] = {}
    root: str | None = None
    size: int | None = Field(None, ge=8)

    @field_validator("args")
    @classmethod
    def _check_args(cls, value: dict[str, Any]) -> dict[str, Any]:
        for key in value:
            if key.startswith("dataset_root") or key.endswith("_transform"):
                raise ValueError(
                    f"{key!r} cannot be given: benchmark.root sets the folder, transforms are the harness's"
                )
        return value

    def manifest(self) -> Manifest:
        benchmark = build(self.classic, self.args, Path(self.root) if self.root else None)
        return arrange(read_benchmark(benchmark, self), self.subset())


@cache
def hints() -> dict[str, dict[str, str]]:
    """Where the data of a benchmark come from and where to put them; see hints.yaml."""
    return read_yaml(HINTS)


def build(name: str, args: dict[str, Any], root: Path | None) -> Any:
    """Avalanche's own benchmark, without its transforms.

    Fashion-MNIST is taken from Debian's package if that is installed and there is no other copy.

    Raises
    ------
    InputError : no such benchmark or argument, an argument it refuses, or data that are neither present nor
        downloadable; the message then says what to fetch and where to put it.
    """
    function = _function(name)
    known = inspect.signature(function).parameters
    for key in args:
        if key not in known:
            raise InputError(f"benchmark.{key}: Avalanche's {name} has no such argument{nearest(key, known)}")
    check_truths(function, args, f"benchmark: Avalanche's {name}")
    given = {**args, **{key: None for key in ("train_transform", "eval_transform") if key in known}}
    lacking = [key for key, p in known.items() if p.default is p.empty and key not in given and key != "dataset_root"]
    if lacking:
        raise InputError(f"benchmark.{lacking[0]}: Avalanche's {name} needs this argument")
    root = root or _debian(name)
    if root is not None:
        given |= {key: str(root) for key in known if key.startswith("dataset_root")}
    said = io.StringIO()  # output of downloads, and of each address that failed
    try:
        with contextlib.redirect_stdout(said):
            return function(**given)
    except (TypeError, ValueError, AssertionError, KeyError) as error:
        raise InputError(f"benchmark: Avalanche's {name} refuses its arguments ({_line(error)})") from error
    except Exception as error:  # each data set fails in its own way: URLError, RuntimeError, OSError, BadZipFile, ...
        raise InputError(_unavailable(name, root, error)) from error


def _function(name: str) -> Callable[..., Any]:
    from avalanche.benchmarks import classic

    if name == "OpenLORIS":
        raise InputError("benchmark avalanche: for OpenLORIS use `name: openloris`, which has a test set for each task")
    known = [n for n, f in vars(classic).items() if inspect.isfunction(f) and n[0].isupper()]
    if name not in known:
        raise InputError(f"benchmark avalanche: unknown benchmark {name!r}{nearest(name, known)}")
    return vars(classic)[name]


def _debian(name: str) -> Path | None:
    from avalanche.benchmarks.datasets import default_dataset_location

    if name != "SplitFMNIST" or not fashion_mnist.installed():
        return None
    place = Path(default_dataset_location("fashionmnist")) / "FashionMNIST" / "raw"
    return None if (place / fashion_mnist.FILES[0]).is_file() else fashion_mnist.unpacked()


def _unavailable(name: str, root: Path | None, error: Exception) -> str:
    from avalanche.benchmarks.datasets import default_dataset_location

    hint = hints().get(name)
    problem = f"benchmark avalanche: the data of {name} could not be read or downloaded ({_line(error)})"
    if hint is None:
        return f"{problem}; give benchmark.root, a folder that has them"
    folder = root or Path(default_dataset_location(hint["folder"]))
    if "reader" in hint:
        with contextlib.suppress(InputError):
            place = find(folder)
            return (
                f"{problem}: files of these names are in {place}, but not as torchvision wants them (unpacked, or "
                f"compressed as they are offered, in {folder / hint['place']}); benchmark: {{name: {hint['reader']}, "
                f"root: {place}}} reads them as they are"
            )
    return f"{problem}: fetch {hint['files']} from {hint['source']} and put it in {folder / hint['place']}"


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def read_benchmark(benchmark: Any, settings: AvalancheClassic) -> Manifest:
    """The manifest of an Avalanche benchmark: pixels in the cache folder, one row per image of each experience.

    Raises InputError if its images differ in size and `settings.size` is not given.
    """
    train = [experience.dataset for experience in benchmark.train_stream]
    test = [experience.dataset for experience in benchmark.test_stream]
    tables, notes = [_rows(dataset, i, "train") for i, dataset in enumerate(train)], {"layout": "Avalanche's benchmark"}
    if len(test) == len(train):
        tables += [_rows(dataset, i, "test") for i, dataset in enumerate(test)]
    else:
        tables = _tests(tables, [_rows(dataset, 0, "test") for dataset in test], notes)
    table = pd.concat(tables, ignore_index=True)
    table[POSITION] = np.arange(len(table))
    classes = [str(label) for label in range(int(table.label.max()) + 1)]
    table = table.assign(class_name=table.label.astype(str), factor="", level=0, recording="")
    pixels = _pixels([*train, *test], table, settings)
    table = table[table.experience >= 0].reset_index(drop=True)
    positions = table[POSITION].to_numpy()
    table = in_stream_order(settings.decide(table, notes, positions, lambda: same_rows(pixels)[positions]))
    columns = [*COLUMNS, POSITION, *([TASK] if table[TASK].any() else [])]
    names = [f"experience {i}" for i in range(len(train))]
    return Manifest(
        table[columns], pixels.parent, settings.classic, False, classes, names,
        f"avalanche.benchmarks.classic.{settings.classic}", notes, pixels=pixels,
    )  # fmt: skip


def _rows(dataset: Any, experience: int, split: str) -> pd.DataFrame:
    labels = np.asarray([int(label) for label in dataset.targets], dtype=np.int64)
    return pd.DataFrame(
        {
            "path": [f"{split}/{experience:03d}/{i:06d}" for i in range(len(labels))],
            "label": labels,
            "experience": experience,
            "split": split,
            TASK: np.asarray([int(task) for task in dataset.targets_task_labels], dtype=np.int64),
        }
    )


def _tests(train: list[pd.DataFrame], test: list[pd.DataFrame], notes: dict[str, str]) -> list[pd.DataFrame]:
    """Tests for each experience where Avalanche does not have one test set for each; unused rows get experience -1."""
    owner: dict[int, set[int]] = {}
    for index, rows in enumerate(train):
        for label in rows.label.unique():
            owner.setdefault(int(label), set()).add(index)
    if all(len(experiences) == 1 for experiences in owner.values()):
        only = {label: min(experiences) for label, experiences in owner.items()}
        untrained = sorted({int(label) for rows in test for label in rows.label.unique()} - set(only))
        left_out = f"; left out, as no experience trains them: {', '.join(map(str, untrained))}" if untrained else ""
        notes["tests"] = f"Avalanche's single test set, each class tested in the experience that trains it{left_out}"
        given = [rows.assign(experience=rows.label.map(only).fillna(-1).astype(np.int64)) for rows in test]
        return [*train, *given]
    notes["tests"] = (
        "Avalanche has no test set for each experience: a share of each one's training images is held out instead, and "
        "its own test set is not used"
    )
    return [*(rows.assign(split=UNDECIDED) for rows in train), *(rows.assign(experience=-1) for rows in test)]


def _pixels(datasets: list[Any], table: pd.DataFrame, settings: AvalancheClassic) -> Path:
    """The file of all images, uint8 (images, height, width, 1 or 3), made if the cache lacks it."""
    import avalanche

    lengths = [len(dataset) for dataset in datasets]
    starts = np.cumsum([0, *lengths])
    sample = []
    for place in np.linspace(0, starts[-1] - 1, min(SAMPLES, starts[-1])).astype(int):
        which = int(np.searchsorted(starts, place, side="right")) - 1
        sample.append(to_pixels(datasets[which][int(place - starts[which])][0]))
    shapes = {image.shape for image in sample}
    channels = max(shape[2] for shape in shapes)
    if settings.size is not None:
        shape: tuple[int, ...] = (settings.size, settings.size, 3)
    elif len({shape[:2] for shape in shapes}) > 1:
        raise InputError(
            f"benchmark.size: the images of {settings.classic} differ in size; give a side in pixels to bring them to"
        )
    else:
        shape = (*sample[0].shape[:2], channels)

    def fit(image: np.ndarray) -> np.ndarray:
        if settings.size is not None:
            return decode(image, settings.size)
        if image.shape[2] < channels:
            image = np.repeat(image, channels, axis=2)
        if image.shape != shape:
            raise InputError(f"benchmark.size: the images of {settings.classic} differ in size; give a side in pixels")
        return image

    def blocks() -> Iterator[np.ndarray]:
        for dataset in datasets:
            for start in range(0, len(dataset), BLOCK):
                yield np.stack([fit(to_pixels(dataset[i][0])) for i in range(start, min(start + BLOCK, len(dataset)))])

    seen = hashlib.blake2b(table.label.to_numpy().tobytes(), digest_size=16)
    for image in sample:
        seen.update(image.tobytes())
    key = digest_of(
        {
            "classic": settings.classic, "args": settings.args, "lengths": lengths, "shape": shape,
            "seen": seen.hexdigest(), "avalanche": avalanche.__version__, "version": VERSION,
        }
    )  # fmt: skip
    path = cache_root() / "pixels" / f"{key}.npy"
    cached_array(path, "|u1", (int(starts[-1]), *shape), f"reading {settings.classic}", blocks)
    return path


def to_pixels(image: Any) -> np.ndarray:
    """uint8 (height, width, 1 or 3) from a Pillow image, or a tensor (channels, height, width) in 0..1 or 0..255.

    Raises ValueError for anything else.
    """
    import torch
    from PIL import Image

    if isinstance(image, Image.Image):
        grey = image.mode in ("1", "L")
        array = np.asarray(image.convert("L" if grey else "RGB"))
        return array[:, :, None] if grey else array
    if isinstance(image, torch.Tensor):
        image = image.detach()
        if image.is_floating_point():
            image = (image * 255).round().clamp(0, 255)
        image = image.to(torch.uint8).cpu().permute(1, 2, 0).numpy()
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] not in (1, 3):
        raise ValueError(f"not an image: {type(image).__name__} of shape {array.shape} and type {array.dtype}")
    return array
