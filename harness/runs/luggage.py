"""What a machine that has nothing but lorisbench is given of a suite: settings, code, images or features, backbone.

The arrays travel as the files of the cache that they lie in, and are put into the cache there, so that the machine
finds what it would otherwise make.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lorisbench.common.beside import modules_in
from lorisbench.common.cache import cache_root, received
from lorisbench.common.environment import versions
from lorisbench.common.errors import InputError
from lorisbench.common.files import write_bytes
from lorisbench.common.registry import carried
from lorisbench.runs.workers import Given, by_value

if TYPE_CHECKING:
    from lorisbench.model.models import Backbone
    from lorisbench.runs.workbench import Workbench
    from lorisbench.suite.config import BackboneConfig
    from lorisbench.suite.resolve import ResolvedConfig

SAME = ("lorisbench", "torch")  # packages whose versions must be those of the machine that has the output
PART = 2**27  # bytes of a cache file that travel at a time
LARGEST = 2**24  # bytes: files beside a plugin, and packages of one's own, that are larger stay where they are


@dataclass(frozen=True)
class Code:
    """A suite, and what of its code is not installed.

    Attributes
    ----------
    suite : as JSON. out : the name of the output. logs : see `crews.train_claimed`. versions : of `SAME`.
    plugins : folder and name of each plugin file of the suite. folders : the files of these folders by name.
    modules : files of other modules that are not installed, by name below a folder of `sys.path`.
    kinds : see `workers.Given`.
    """

    suite: str
    out: str
    logs: tuple[str, ...]
    versions: dict[str, str]
    plugins: tuple[tuple[int, str], ...]
    folders: tuple[dict[str, bytes], ...]
    modules: dict[str, bytes]
    kinds: bytes


@dataclass(frozen=True)
class Material:
    """What the runs of a stream share.

    Attributes
    ----------
    manifest : its fields and content hash, pickled; given features by their path below the cache folder.
    backbone : its weights (safetensors) and digest.
    extracted_on : the kind of device that features were extracted on.
    arrays : the files of the cache: name below it, bytes, and what `put` made of each part.
    """

    manifest: bytes
    backbone: tuple[bytes, str]
    extracted_on: str
    arrays: tuple[tuple[str, int, tuple[Any, ...]], ...]


def code_of(resolved: Mapping[str, Any], out: Path, logs: Sequence[str]) -> Code:
    files = [Path(file) for file in resolved["plugins"]]
    folders = list(dict.fromkeys(file.parent for file in files))
    return Code(
        suite=json.dumps(dict(resolved)),
        out=out.name,
        logs=tuple(logs),
        versions=versions(SAME),
        plugins=tuple((folders.index(file.parent), file.name) for file in files),
        folders=tuple(_beside(folder, [file for file in files if file.parent == folder]) for folder in folders),
        modules=_own_modules(),
        kinds=by_value(carried(resolved)),
    )


def material_of(bench: Workbench, put: Callable[[np.ndarray], Any] | None) -> Material:
    """put : keeps bytes, uint8 (n,), where other machines get them from; None if these have this one's cache."""
    from lorisbench.runs.workbench import cache_files

    manifest = bench.manifest
    told = {field.name: getattr(manifest, field.name) for field in fields(manifest)}
    if manifest.features is not None:
        told["features"] = manifest.features.relative_to(cache_root())
    return Material(
        pickle.dumps((told, manifest.content_hash)),
        weights_of(bench.backbone),
        bench.accelerator.type,
        tuple(_in_parts(file, put) for file in cache_files(bench)) if put else (),
    )


def weights_of(backbone: Backbone) -> tuple[bytes, str]:
    """The weights of a backbone (safetensors), and its digest."""
    from safetensors.torch import save

    from lorisbench.model.checkpoint import storable

    tensors = {name: storable(tensor) for name, tensor in backbone.state_dict().items()}
    return save(tensors), backbone.digest()


def with_weights(settings: BackboneConfig, weights: bytes, digest: str, width: int = 0) -> Backbone:
    """The backbone of these settings with what `weights_of` gave; `width` as for `backbone_of`.

    Raises InputError if it is another network here.
    """
    from safetensors.torch import load

    from lorisbench.model.backbones import backbone_of

    backbone = backbone_of(settings.model_copy(update={"weights": "none"}), width=width)
    try:
        backbone.load_state_dict(load(weights))
    except RuntimeError:
        pass
    else:
        if backbone.digest() == digest:
            return backbone
    raise InputError(f"backbone {settings.name!r} is another network there than where the output is")


def _in_parts(file: Path, put: Callable[[np.ndarray], Any]) -> tuple[str, int, tuple[Any, ...]]:
    stored = np.memmap(file, dtype=np.uint8, mode="r")
    parts = (np.asarray(stored[start : start + PART]) for start in range(0, len(stored), PART))
    return file.relative_to(cache_root()).as_posix(), len(stored), tuple(put(part) for part in parts)


def unpack_code(code: Code, scratch: Path, threads: int) -> Given:
    """Put a suite's code into a new folder of this machine; what its workers are given.

    Raises InputError if this machine has other versions.
    """
    for package, here in versions(SAME).items():
        wanted = code.versions[package]
        if here.partition("+")[0] != wanted.partition("+")[0]:  # the same for GPUs or for CPUs only
            raise InputError(f"{package} {here} is installed there, and {wanted} where the output is")
    for number, files in enumerate(code.folders):
        _write(scratch / f"plugins-{number}", files)
    _write(scratch / "modules", code.modules)
    suite = json.loads(code.suite)
    suite["plugins"] = [str(scratch / f"plugins-{number}" / name) for number, name in code.plugins]
    return Given(
        resolved=json.dumps(suite),
        out=scratch / "out" / code.out,
        logs=code.logs,
        kinds=code.kinds,
        import_path=[*sys.path, str(scratch / "modules")],  # last: what is installed here comes first
        environment=dict(os.environ),
        folder=str(scratch),
        threads=threads,
        make=Unpacked(scratch),
        scratch=str(scratch),
    )


def unpack_material(material: Material, stream: str, scratch: Path, get: Callable[[Any], np.ndarray]) -> None:
    """Put what the runs of a stream share into a folder and the cache of this machine, unless it is there.

    get : the array of bytes that `put` kept. Raises InputError if the disk has too little space.
    """
    folder = scratch / _folder_of(stream)
    if folder.exists():
        return
    for name, size, parts in material.arrays:
        received(name, size, lambda parts=parts: (get(part).tobytes() for part in parts))  # type: ignore[misc]
    weights, digest = material.backbone
    write_bytes(folder / "backbone.safetensors", weights)
    write_bytes(folder / "stream", pickle.dumps((material.manifest, digest, material.extracted_on)))


@dataclass(frozen=True)
class Unpacked:
    """Makes what the runs of a stream share from what `unpack_material` has put into a folder."""

    scratch: Path

    def __call__(self, config: ResolvedConfig) -> Workbench:
        import torch

        from lorisbench.data.manifest import Manifest
        from lorisbench.runs.workbench import prepare

        folder = self.scratch / _folder_of(config.stream)
        pickled, digest, extracted_on = pickle.loads((folder / "stream").read_bytes())
        told, content_hash = pickle.loads(pickled)
        if told["features"] is not None:
            told["features"] = cache_root() / told["features"]
        manifest = Manifest(**told)
        vars(manifest)["content_hash"] = content_hash  # of images that are not here
        backbone = with_weights(config.backbone, (folder / "backbone.safetensors").read_bytes(), digest, manifest.width)
        bench = prepare(config, manifest, backbone, torch.device(extracted_on))
        bench.anew = lambda: self(config)
        return bench


def _folder_of(stream: str) -> str:
    return f"stream-{hashlib.blake2b(stream.encode('utf-8'), digest_size=8).hexdigest()}"


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def _beside(folder: Path, plugins: Iterable[Path]) -> dict[str, bytes]:
    """The plugin files of a folder, the files beside them, and the packages among its folders."""
    places = [path for path in sorted(folder.iterdir()) if path.is_file() or path.name in modules_in(folder)]
    found = {}
    for place in places:
        files = {file.relative_to(folder).as_posix(): file for file in _files(place)}
        if place in plugins or sum(file.stat().st_size for file in files.values()) <= LARGEST:
            found.update({name: file.read_bytes() for name, file in files.items()})
    return found


def _files(place: Path) -> Iterator[Path]:
    """A file, or those below a folder, but for what is hidden or compiled."""
    if place.is_file():
        yield from [] if place.name.startswith(".") else [place]
        return
    for path in sorted(place.rglob("*")):
        inner = path.relative_to(place).parts
        if path.is_file() and not any(part.startswith(".") or part == "__pycache__" for part in inner):
            yield path


def _own_modules() -> dict[str, bytes]:
    """The files of imported modules that are neither Python's, nor installed, nor beside a plugin; of packages, all."""
    paths = sysconfig.get_paths()
    installed = [Path(paths[name]).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    found: dict[str, bytes] = {}
    whole: set[Path] = set()
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not file or name == "__main__" or name.partition(".")[0] in ("lorisbench", "__mp_main__"):
            continue
        path = Path(file).resolve()
        inside = any(part in ("site-packages", "dist-packages") for part in path.parts)
        if inside or path.suffix != ".py" or not path.is_file() or any(place in path.parents for place in installed):
            continue
        if any(parent in whole for parent in path.parents):
            continue
        target = name.replace(".", "/")
        if path.name != "__init__.py":
            found[f"{target}.py"] = path.read_bytes()
            continue
        files = [each for each in _files(path.parent) if each.suffix == ".py"]
        if sum(each.stat().st_size for each in files) <= LARGEST:
            whole.add(path.parent)
            found.update({f"{target}/{each.relative_to(path.parent).as_posix()}": each.read_bytes() for each in files})
    return {name: content for name, content in found.items() if not name.startswith("lorisbench_plugin_")}
