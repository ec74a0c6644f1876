"""The likely cause of an error that a strategy was ended by: what changed for it there, told in its author's words."""

from __future__ import annotations

import re

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


def likely_cause(error: str) -> str:
    """What probably made a run break off with this error, or an empty string."""
    return next((advice for pattern, advice in _SAID if re.search(pattern, error)), "")
