"""Memory that was freed is kept for what is taken next, until it is given back."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

PAGES = 64 * 2**20 // os.sysconf("SC_PAGE_SIZE")

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc's allocator")


def faults(given_back: bool = False, **environment: str) -> int:
    """How many pages the system clears when 64 MB are taken once more, in a process of its own."""
    script = f"""
import resource
import numpy as np
from lorisbench.common.allocator import give_back, keep_freed
keep_freed()
taken = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(2):
    before = taken()
    np.ones(64 * 2**17)
    found = taken() - before
    {given_back} and give_back()
print(found)
"""
    known = {name: value for name, value in os.environ.items() if "MALLOC" not in name and name != "GLIBC_TUNABLES"}
    # NumPy asks for huge pages otherwise, of which a fault clears 512
    env = {**known, "NUMPY_MADVISE_HUGEPAGE": "0", **environment}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_freed_memory_is_kept_until_it_is_given_back() -> None:
    assert faults() < PAGES / 10
    assert faults(given_back=True) > PAGES / 2


@pytest.mark.parametrize(
    "environment", [{"MALLOC_MMAP_THRESHOLD_": "65536"}, {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=65536"}]
)
def test_what_the_environment_says_of_memory_stays(environment: dict[str, str]) -> None:
    assert faults(**environment) > PAGES / 2
