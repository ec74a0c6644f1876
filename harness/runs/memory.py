"""The most memory that a piece of work takes: of the GPU, or of this process."""

from __future__ import annotations

from pathlib import Path

import torch

from lorisbench.common.allocator import give_back

_RESET = Path("/proc/self/clear_refs")  # a 5 written here lets Linux forget the peak so far
_STATUS = Path("/proc/self/status")


class PeakMemory:
    """From its making on, the most memory that was in use at a time.

    On a GPU what torch has allocated there. On a CPU what of the process was resident, as Linux counts it: the
    libraries, which take some 10^8 bytes, and the features or images that all runs share, as far as they were touched,
    are in it. What the allocator has kept of earlier work is given back first, where glibc can do that.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._known = True
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            return
        give_back()
        try:
            _RESET.write_text("5", encoding="ascii")
        except OSError:  # not Linux, or not allowed: the peak would be that of all the process has ever done
            self._known = False

    def megabytes(self) -> float | None:
        """In 10^6 bytes; None where the system does not tell."""
        if not self._known:
            return None
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) / 1e6
        for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
        return None
