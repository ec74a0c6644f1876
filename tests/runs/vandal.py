"""A strategy that changes everything it can reach in its process and puts nothing back; a file for `--plugin`."""

from __future__ import annotations

import gc
import locale
import logging
import os
import random
import signal
import socket
import sys
import tempfile
import warnings
from typing import Any, Literal

import numpy as np
import torch
from avalanche.core import SupervisedPlugin
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_pre_hook

from lorisbench.engine.strategy import Context, Strategy

LEFT_OPEN: list[Any] = []


def vandalise() -> None:
    """Change the process. What would keep this very run from ending comes last, or is left out."""
    os.chdir("/")
    os.environ["OMP_NUM_THREADS"] = "7"
    os.environ["LORISBENCH_CACHE"] = "/nowhere/at/all"
    os.environ.pop("PATH", None)
    os.umask(0o077)
    random.seed(5)
    np.random.set_bit_generator(np.random.PCG64(5))
    np.seterr(all="raise")
    np.set_printoptions(precision=1)
    torch.manual_seed(5)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_num_threads(3)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.enabled = False
    torch.set_float32_matmul_precision("medium")
    torch.set_flush_denormal(True)
    torch.autograd.set_detect_anomaly(True, check_nan=False)
    torch.set_printoptions(precision=1, sci_mode=True)
    register_module_forward_hook(lambda module, inputs, output: output * 0)
    register_module_forward_pre_hook(lambda module, inputs: None)
    register_optimizer_step_pre_hook(lambda *given: None)
    for mode in (torch.autocast("cpu", dtype=torch.bfloat16), torch.device("meta"), torch.inference_mode()):
        mode.__enter__()
        LEFT_OPEN.append(mode)
    torch.set_grad_enabled(False)
    warnings.simplefilter("error")
    warnings.showwarning = lambda *given, **named: None
    logging.getLogger().setLevel(1)
    logging.getLogger().addHandler(logging.NullHandler())
    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    locale.setlocale(locale.LC_ALL, "C")
    socket.setdefaulttimeout(0.001)
    tempfile.tempdir = "/nowhere/at/all"
    gc.disable()
    sys.path.insert(0, "/nowhere/at/all")
    sys.argv = ["nothing"]
    sys.setrecursionlimit(900)
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    sys.excepthook = lambda *given: None


class Vandal(SupervisedPlugin):
    def __init__(self, end: str) -> None:
        super().__init__()
        self.end = end

    def after_eval(self, strategy: Any, **kwargs: Any) -> None:
        if strategy.clock.train_exp_counter < 9:
            return
        strategy.store.x.fill_(3)
        strategy.store.y.zero_()
        vandalise()
        if self.end == "failed":
            raise RuntimeError("on purpose")
        if self.end == "left":
            raise SystemExit(3)

    def after_eval_forward(self, strategy: Any, **kwargs: Any) -> None:
        if self.end == "diverged" and strategy.clock.train_exp_counter == 9:
            strategy.mb_output = strategy.mb_output * float("nan")


class Vandalises(Strategy, name="vandal"):
    """Learns as fine-tuning does and then leaves a mess behind."""

    end: Literal["done", "failed", "left", "diverged"] = "done"

    def plugins(self, context: Context) -> list[Any]:
        return [Vandal(self.end)]
