"""Strategies that a test adds, and that no later test is to know."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

import pytest

from lorisbench.common.registry import STRATEGIES


@contextlib.contextmanager
def forgotten() -> Iterator[None]:
    """What is registered meanwhile is forgotten, and what was loaded from files before is loaded anew; built-ins, whose
    modules are imported once, are kept."""
    for name, entry in STRATEGIES.entries().items():
        if entry.origin == "built-in":
            STRATEGIES.get(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(STRATEGIES, "_loaded", dict(STRATEGIES._loaded))
        patch.setattr(STRATEGIES, "_entries", None)
        for name in [name for name in sys.modules if name.startswith("lorisbench_plugin_")]:
            patch.delitem(sys.modules, name)
        yield
