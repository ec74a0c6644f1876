"""LorisBench: suites, engine, store, metrics and reports for continual-learning comparisons."""

from typing import TYPE_CHECKING, Any

from lorisbench.common.lazy import exports

if TYPE_CHECKING:
    from lorisbench.data.benchmark import Benchmark
    from lorisbench.engine.strategy import Context, Strategy

    __version__: str

__all__ = ["Benchmark", "Context", "Strategy"]
_get, __dir__ = exports(
    __name__,
    {
        "Benchmark": "lorisbench.data.benchmark",
        "Context": "lorisbench.engine.strategy",
        "Strategy": "lorisbench.engine.strategy",
    },
)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("lorisbench")
    return _get(name)
