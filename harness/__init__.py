"""LorisBench: suites, engine, store, metrics and reports for continual-learning comparisons."""

__version__ = "0.1.0"
