"""Functions of a user's own, named on the command line as FILE.py:FUNCTION."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lorisbench.common.errors import InputError, reason_of
from lorisbench.common.registry import nearest


def load_function(named: str, option: str) -> Callable[..., Any]:
    """The function that `FILE.py:FUNCTION` names. Raises InputError, beginning with the option, if there is none."""
    path, _, function = named.rpartition(":")
    file = Path(path)
    if not path or not function.isidentifier() or file.suffix != ".py":
        raise InputError(f"{option} {named}: expected FILE.py:FUNCTION, such as my.py:flips")
    if not file.is_file():
        raise InputError(f"{option} {named}: {file}: no such file")
    name = f"lorisbench_own_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file.resolve())
    if spec is None or spec.loader is None:
        raise InputError(f"{option} {named}: {file}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look for the module that they are in
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise InputError(f"{option} {named}: {file} cannot be imported: {reason_of(error)}") from error
    found = getattr(module, function, None)
    if not callable(found):
        there = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise InputError(f"{option} {named}: {file} has no function {function!r}{nearest(function, there)}")
    return found  # type: ignore[no-any-return]
