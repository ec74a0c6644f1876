"""Modules whose buffers have the shapes that a loaded state gives them."""

from __future__ import annotations

from typing import Any

from torch import nn


class SizedByState(nn.Module):
    """A module that is built before it is known how much it will keep: its buffers take their shapes from a state."""

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for name, own in list(self._buffers.items()):
            stored = state_dict.get(prefix + name)
            if stored is not None and own is not None and stored.shape != own.shape:
                setattr(self, name, own.new_zeros(stored.shape))
        super()._load_from_state_dict(state_dict, prefix, *args)
