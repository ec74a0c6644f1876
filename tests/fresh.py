"""As in a Python that has just started: no plugin file has been loaded."""

from __future__ import annotations

import sys

from lorisbench.common import fingerprint
from lorisbench.common.registry import BENCHMARKS, STRATEGIES


def forget_plugins() -> None:
    """Forget what plugin files have registered, and what they were like."""
    for name in [name for name in sys.modules if name.startswith("lorisbench_plugin_")]:
        del sys.modules[name]
    for registry in (STRATEGIES, BENCHMARKS):
        for name, kind in list(registry._loaded.items()):
            if kind.__module__.startswith("lorisbench_plugin_"):
                del registry._loaded[name]
        registry._entries = None
    fingerprint._known.clear()
