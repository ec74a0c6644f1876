"""Backbones, heads and classifiers; features extracted once; augmented views; the checkpoint of a trained model."""
