"""`lorisbench new strategy NAME`: a strategy to start from and its test, both of which work as they are."""

from __future__ import annotations

import importlib.util
import keyword
import re
from pathlib import Path

from lorisbench.common.errors import InputError
from lorisbench.common.files import write_text
from lorisbench.common.registry import STRATEGIES

TEMPLATES = Path(__file__).parent / "templates"
# names that the templates import
IMPORTED = ("Any", "Context", "NonNegativeFloat", "Path", "Strategy", "SupervisedPlugin", "TensorDataset")


def write_strategy(name: str, folder: Path) -> list[Path]:
    """Write NAME.py and test_NAME.py into a folder, which is made if it is not there; their paths.

    Raises InputError, with nothing written, for a name that cannot be one (of a module and a class), that another
    strategy or an installed package has, or whose files are there.
    """
    kind = "".join(part.capitalize() for part in name.split("_"))
    if not re.fullmatch("[a-z][a-z0-9_]*", name) or {kind, f"{kind}Plugin"} & {*IMPORTED, *keyword.kwlist}:
        raise InputError(f"{name!r} cannot name a strategy: lower-case letters, digits and _, such as my_method")
    if keyword.iskeyword(name):
        raise InputError(f"{name!r} is a word of Python and cannot name a strategy")
    if name == "conftest":
        raise InputError("'conftest' cannot name a strategy: pytest reads conftest.py for itself")
    if name in STRATEGIES.names():
        raise InputError(f"there is a strategy {name!r} already")
    files = {folder / f"{name}.py": "strategy.txt", folder / f"test_{name}.py": "strategy_test.txt"}
    for file in files:
        if file.exists():
            raise InputError(f"{file} is there already; nothing was written")
    if importlib.util.find_spec(name) is not None:
        raise InputError(f"{name!r} is an installed module, which {name}.py could hide; choose another name")
    folder.mkdir(parents=True, exist_ok=True)
    for file, template in files.items():
        text = (TEMPLATES / template).read_text("utf-8")
        write_text(file, text.replace("@NAME@", name).replace("@CLASS@", kind))
    return list(files)
