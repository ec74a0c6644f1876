"""Imported once by the server that worker processes are forked from, so that none of them has to import torch again.

Signals to all processes of a job (a scheduler's SIGTERM) are for the workers: the server outlives them, and ends with
the process that it serves.
"""

import gc
import signal

from lorisbench.common.console import hide_warnings
from lorisbench.common.processes import stop_signals

hide_warnings()
for _number in stop_signals():
    signal.signal(_number, signal.SIG_IGN)

import timm  # noqa: E402, F401 (for most backbones)

import lorisbench.runs.latency  # noqa: E402
import lorisbench.runs.one_run  # noqa: E402, F401

gc.freeze()  # no worker needs to look through all of this for cycles, or to copy it
