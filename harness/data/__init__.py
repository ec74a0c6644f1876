"""The manifest of images, the Avalanche stream made from it, decoded images, and the base class of benchmarks."""
