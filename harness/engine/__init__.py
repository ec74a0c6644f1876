"""The training loop, the base class of strategies, and what a run's Avalanche strategy is assembled from."""
