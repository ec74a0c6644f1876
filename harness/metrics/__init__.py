"""Metrics of the accuracy matrix, intervals over seeds, and the comparison of two outputs."""
