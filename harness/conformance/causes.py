"""The likely cause of an error that a strategy was ended by: what changed for it there, told in its author's words."""

from __future__ import annotations

import re
from collections.abc import Collection

from lorisbench.conformance.observe import Observation

FEATURES = (
    "likely cause: with backbone.train: first, inputs turn from images to features after experience 0, (batch, "
    "feature_dim); what is kept of images before does not fit them, and model.features(x) takes both"
)
_SHAPES = re.compile(r"shape|size|dimension|expected .*D|unflatten|mat1|channels|must match|stack|cat\b", re.I)
# what an error says, and what its author may have overlooked
_SAID = (
    (
        r"has no attribute '(backbone|features|head)'",
        "likely cause: the model that wrap() returns lacks it: derive it from lorisbench.model.models.Classifier, "
        "which has backbone, features and head",
    ),
    (
        r"'NoneType' object (is not callable|has no attribute)",
        "likely cause: with cached features model.backbone is None, and inputs are features already: model.features(x) "
        "takes both",
    ),
    (
        r"unsigned char|\bByte\b|uint8|not implemented for 'Byte'",
        "likely cause: inputs are uint8 images, which the model normalises itself: give them to the model, or to "
        "model.features, and not to a layer",
    ),
    (
        r"same device|on cuda|device type|cuda:\d and cpu|cpu and cuda",
        "likely cause: a tensor was made on the CPU: make it on context.device, or register it as a buffer",
    ),
    (
        r"more than 1 value per channel|one sample|single sample",
        "likely cause: the last batch, or a memory, has a single sample: normalise or divide by its statistics only "
        "where there are more",
    ),
    (
        r"does not require grad|doesn't require grad",
        "likely cause: nothing that the loss depends on has gradients: all of it is frozen, or computed without them",
    ),
    (
        r"backward through the graph a second time",
        "likely cause: a tensor of an earlier step is in the loss: detach() what is kept",
    ),
    (
        r"modified by an inplace operation",
        "likely cause: weights are changed in place before backward(): change them in after_update",
    ),
)


def likely_cause(seen: Observation, completed: Collection[str]) -> str:
    """What probably made a run break off, or an empty string.

    completed : the modes in which the strategy came to its end.
    """
    later = len(seen.losses) > 1 or (len(seen.answers) == 0 and len(seen.losses) == 1 and seen.settled)
    if seen.toy.mode == "first" and later and (_SHAPES.search(seen.error) or "images" in completed):
        return FEATURES
    return next((advice for pattern, advice in _SAID if re.search(pattern, seen.error)), "")
