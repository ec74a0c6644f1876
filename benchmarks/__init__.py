"""Benchmarks: functions of a configuration that return a manifest, and the Avalanche stream made from it."""

MARKER = "openloris-sim.json"  # in the root of a rendered set: whatever way the folder is opened, it stays synthetic
