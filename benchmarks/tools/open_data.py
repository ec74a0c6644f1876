"""The images at a path: OpenLORIS-Object in any layout, a folder of domains, a CSV file of them; or their features."""

from __future__ import annotations

from pathlib import Path

from lorisbench.benchmarks.features.benchmark import Features
from lorisbench.benchmarks.features.names import ARRAYS
from lorisbench.benchmarks.openloris.layouts import LAYOUTS, hint, looked_for, read_root
from lorisbench.benchmarks.own.csv_manifest import ManifestFile, read_csv
from lorisbench.benchmarks.own.folder import LOOKED_FOR, Folder, find_domains, find_places, read_folder
from lorisbench.benchmarks.tree import images_in, visible_subfolders
from lorisbench.common.errors import InputError
from lorisbench.common.files import contents
from lorisbench.common.registry import nearest
from lorisbench.data.formats import HEIF, image_suffixes
from lorisbench.data.manifest import Manifest

FOLDER, MANIFEST, FEATURES = "folder", "manifest", "features"  # the layouts of own data, called like their readers
ALL = ("auto", *LAYOUTS, FOLDER, MANIFEST, FEATURES)


def open_data(path: Path, layout: str = "auto") -> Manifest:
    """Everything at a path as a manifest, leniently: gaps become notes, see `layouts.read_root`.

    `auto` takes a folder for OpenLORIS-Object if it has one of its layouts, for features if it has files of arrays
    alone, else for own data in domains; a file is read as features if its name says so, else as a CSV manifest. Raises
    InputError, in one line, if it is none of these or not of the layout that is asked for.
    """
    check_layout(layout)
    if layout == FEATURES or (layout == "auto" and _is_features(path)):
        return Features(file=str(path)).manifest()
    if path.is_file():
        if layout not in ("auto", MANIFEST):
            raise InputError(f"{path}: a file, which has the layout {MANIFEST!r}, not {layout!r}")
        return read_csv(path, ManifestFile(file=str(path)))
    if layout == MANIFEST:
        raise InputError(f"{path}: {'a folder' if path.is_dir() else 'no such file'}; a CSV manifest was expected")
    if layout == FOLDER or (layout == "auto" and _is_own(path)):
        return read_folder(path, Folder(root=str(path)))
    if layout == "auto" and path.is_dir() and not _openloris(path):
        raise InputError(
            f"{path}: not a known kind of data set{hint(path)}; looked for {looked_for()}; own data: {LOOKED_FOR}"
        )
    return read_root(path, layout)


def check_layout(layout: str) -> None:
    """Raise InputError, with the nearest name and all that are known, for a layout that there is not."""
    if layout not in ALL:
        close = nearest(layout, ALL).partition("; available")[0]
        raise InputError(f"unknown layout {layout!r}{close}; available: {', '.join(ALL)}")


def _is_features(path: Path) -> bool:
    """Whether a file is of arrays by its name, or a folder has such files and no folder in it."""
    if path.is_dir():
        return not visible_subfolders(path) and any(file.suffix.lower() == ".npy" for file in contents(path))
    return path.is_file() and path.suffix.lower() in ARRAYS


def _openloris(root: Path) -> bool:
    return any(chosen.available(root) for chosen in LAYOUTS.values())


def _is_own(root: Path) -> bool:
    """Whether a folder has no layout of OpenLORIS-Object but images, readable here or not, in folders of classes."""
    if not root.is_dir() or _openloris(root):
        return False
    places = (place for name, folder in find_domains(root).items() for place in find_places(name, folder))
    return any(images_in(place.folder, False, (*image_suffixes(), *HEIF)) for place in places)
