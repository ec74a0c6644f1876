"""LorisBench: suites, engine, store, metrics and reports for continual-learning comparisons."""

from typing import TYPE_CHECKING, Any

from lorisbench.common.lazy import exports

if TYPE_CHECKING:
    from lorisbench.api.results import Results, load
    from lorisbench.api.running import run
    from lorisbench.api.streams import stream
    from lorisbench.common.errors import InputError
    from lorisbench.data.benchmark import Benchmark
    from lorisbench.data.manifest import Manifest
    from lorisbench.engine.strategy import Context, Strategy

    __version__: str

__all__ = ["Benchmark", "Context", "InputError", "Manifest", "Results", "Strategy", "load", "run", "stream"]
_get, __dir__ = exports(
    __name__,
    {
        "Benchmark": "lorisbench.data.benchmark",
        "Context": "lorisbench.engine.strategy",
        "InputError": "lorisbench.common.errors",
        "Manifest": "lorisbench.data.manifest",
        "Results": "lorisbench.api.results",
        "Strategy": "lorisbench.engine.strategy",
        "load": "lorisbench.api.results",
        "run": "lorisbench.api.running",
        "stream": "lorisbench.api.streams",
    },
)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("lorisbench")
    return _get(name)
