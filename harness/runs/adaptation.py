"""What adapting to a new domain costs, from images to a usable head, against one pass over its images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lorisbench.metrics.matrix import UndefinedMetricError


def on_features(backbone: Mapping[str, Any]) -> bool:
    """Whether experiences after the first are trained on features, extracted once (`backbone:` of a suite)."""
    return backbone.get("train") == "first" or (backbone.get("train") == "never" and backbone.get("cache") is True)


def adapt_ratio(entries: Sequence[Mapping[str, Any]], latency: Mapping[str, Any], backbone: Mapping[str, Any]) -> float:
    """(sum of training seconds + forward seconds) / forward seconds, over the experiences after the first.

    Training seconds are what an experience took once its features were there: all that the strategy does before
    (DNN: the gap of every head), during and after training (router statistics, importances). Forward seconds are one
    pass of the bare backbone over the images of those experiences, as features are extracted, decoding excluded.
    So 1 is an adaptation that costs nothing beyond the pass that every method needs.

    Parameters
    ----------
    entries : the journal: experience, train_seconds, train_images (new images of that experience).
    latency : latency.json, whose `forward_ms_per_image` was measured on images of the set.
    backbone : the suite's settings.

    Raises
    ------
    UndefinedMetricError : the run does not train on features, has no later experience, or forward passes were not
        measured.
    """
    if not on_features(backbone):
        raise UndefinedMetricError("training is not on features that are extracted once")
    if "error" in latency:
        raise UndefinedMetricError(latency["error"])
    if "forward_ms_per_image" not in latency:
        raise UndefinedMetricError("forward passes over a batch were not measured")
    later = [entry for entry in entries if entry["experience"] > 0]
    images = sum(entry.get("train_images", 0) for entry in later)
    if not images:
        raise UndefinedMetricError("no experience after the first, or its images were not counted")
    forward = latency["forward_ms_per_image"] / 1000 * images
    return float(1 + sum(entry["train_seconds"] for entry in later) / forward)
