"""Where a number was produced: library versions and the machine."""

from __future__ import annotations

import datetime
import functools
import os
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "torchvision", "avalanche-lib", "timm", "numpy", "pandas", "lorisbench")


def environment(threads: int, device: str, accelerator: str) -> dict[str, Any]:
    """Versions, machine (cores, memory in GB of 10^9 bytes), threads, training and backbone devices, UTC date.

    `commit` : of the checkout that lorisbench runs from; there is none where it was installed as a package.
    """
    return {
        "versions": {"python": platform.python_version(), **versions(PACKAGES)},
        **({"commit": commit} if (commit := _commit()) else {}),
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


@functools.cache
def _commit() -> str:
    """The commit of lorisbench's own checkout, with a plus sign if files have changed since; empty without one."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists() or not (root / "setup.cfg").is_file():
        return ""
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


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
