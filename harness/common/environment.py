"""Where a number was produced: library versions and the machine."""

from __future__ import annotations

import datetime
import functools
import os
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = ("torch", "torchvision", "avalanche-lib", "timm", "numpy", "pandas", "lorisbench")


def environment(threads: int, device: str, accelerator: str) -> dict[str, Any]:
    """Versions, machine (cores, memory in GB of 10^9 bytes), threads, training and backbone devices, UTC date."""
    return {
        "versions": {"python": platform.python_version(), **versions(PACKAGES)},
        "machine": {
            "cpu": cpu_name(),
            "cores": cores(),
            "memory_gb": round(_memory_bytes() / 1e9, 1),
            "gpu": _gpu_name(accelerator),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "threads": threads,
        "device": device,
        "accelerator": accelerator,
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def versions(packages: Iterable[str]) -> dict[str, str]:
    """The versions of installed packages by name; `unknown` for one that is not installed."""
    return {package: _version(package) for package in packages}


@functools.cache  # reading a package's metadata takes milliseconds
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def cores() -> int | None:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


@functools.cache
def cpu_name() -> str:
    """What the processor calls itself, or its kind."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 0


def _gpu_name(device: str) -> str | None:
    if not device.startswith("cuda"):
        return None
    import torch

    # features may have been extracted on a GPU of another machine
    return torch.cuda.get_device_name(device) if torch.cuda.is_available() else None
