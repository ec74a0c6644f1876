"""The conformance kit: what any strategy must do and leave alone, observed on a toy stream."""
