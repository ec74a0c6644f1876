"""Naive fine-tuning: the lower reference of every continual-learning table."""

from lorisbench.engine.strategy import Strategy


class Naive(Strategy, name="naive"):
    """Fine-tuning one head on each experience in turn, with nothing against forgetting."""
