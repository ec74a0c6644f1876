"""Classic continual-learning streams: Split MNIST, and any of Avalanche's benchmarks."""
