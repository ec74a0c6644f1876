"""`lorisbench new`: a strategy or a benchmark to start from, with its test; both work unchanged."""

from __future__ import annotations

import importlib.util
import keyword
import re
from dataclasses import dataclass
from pathlib import Path

from lorisbench.common.errors import InputError
from lorisbench.common.files import write_text
from lorisbench.common.registry import BENCHMARKS, STRATEGIES, Registry
from lorisbench.common.targets import output_folder

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Scaffold:
    """What is written for a name: `kind`.txt and `kind`_test.txt, whose classes may have no name in `taken`."""

    registry: Registry
    taken: tuple[str, ...]

    @property
    def kind(self) -> str:
        return self.registry.kind


STRATEGY = Scaffold(
    STRATEGIES, ("Any", "Context", "NonNegativeFloat", "Path", "Strategy", "SupervisedPlugin", "TensorDataset")
)
BENCHMARK = Scaffold(BENCHMARKS, ("Benchmark", "Field", "Image", "InputError", "Manifest", "Path"))


def write_scaffold(scaffold: Scaffold, name: str, folder: Path) -> list[Path]:
    """Write NAME.py and test_NAME.py into a folder, which is created if missing; returns their paths.

    Raises InputError, with nothing written, for a name that no module or class can have, that another component of
    the kind or an installed package has, or whose files exist already.
    """
    kind = scaffold.kind
    camel = "".join(part.capitalize() for part in name.split("_"))
    if not re.fullmatch("[a-z][a-z0-9_]*", name) or {camel, f"{camel}Plugin"} & {*scaffold.taken, *keyword.kwlist}:
        raise InputError(f"{name!r} cannot name a {kind}: lower-case letters, digits and _, such as my_{kind}")
    if keyword.iskeyword(name):
        raise InputError(f"{name!r} is a Python keyword and cannot name a {kind}")
    if name == "conftest":
        raise InputError(f"'conftest' cannot name a {kind}: pytest reserves conftest.py for itself")
    if name in scaffold.registry.names():
        raise InputError(f"there is already a {kind} {name!r}")
    output_folder(folder)
    files = {folder / f"{name}.py": f"{kind}.txt", folder / f"test_{name}.py": f"{kind}_test.txt"}
    for file in files:
        if file.exists():
            raise InputError(f"{file} exists already; nothing was written")
    if importlib.util.find_spec(name) is not None:
        raise InputError(f"{name!r} is an installed module, which {name}.py could hide; choose another name")
    folder.mkdir(parents=True, exist_ok=True)
    for file, template in files.items():
        text = (TEMPLATES / template).read_text("utf-8")
        write_text(file, text.replace("@NAME@", name).replace("@CLASS@", camel))
    return list(files)
