"""Benchmarks: functions of a configuration that return a manifest, and the Avalanche stream made from it."""
