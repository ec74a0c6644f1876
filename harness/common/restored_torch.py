"""The parts of torch's state that `restored` puts back."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple


class Part(NamedTuple):
    """One part of a process's state: `read()` gives it, `write(value)` puts it back."""

    read: Callable[[], Any]
    write: Callable[[Any], object]


def attribute(module: Any, name: str) -> Part:
    return Part(lambda: getattr(module, name), lambda value: setattr(module, name, value))


_FLAGS = {
    "cudnn": ("enabled", "benchmark", "deterministic", "allow_tf32"),
    "cuda.matmul": (
        "allow_tf32",
        "allow_fp16_reduced_precision_reduction",
        "allow_bf16_reduced_precision_reduction",
    ),
    "mkldnn": ("enabled", "deterministic"),
    "": ("fp32_precision",),
    "mkldnn.matmul": ("fp32_precision",),
    "mkldnn.conv": ("fp32_precision",),
    "cudnn.conv": ("fp32_precision",),
    "cudnn.rnn": ("fp32_precision",),
}
_AUTOCAST = ("cpu", "cuda")


def parts() -> list[Part]:
    """What torch keeps for the whole process, and for this thread."""
    import torch
    from torch import _tensor_str, overrides
    from torch.nn.modules import module as modules
    from torch.optim import optimizer as optimizers

    def nesting() -> int:
        torch.autocast_increment_nesting()
        return int(torch.autocast_decrement_nesting())

    def set_nesting(before: int) -> None:
        if nesting() > before:
            while torch.autocast_decrement_nesting() > before:
                pass
            torch.clear_autocast_cache()

    def set_device(before: Any) -> None:
        if torch.get_default_device() != before:
            torch.set_default_device(None if before == torch.device("cpu") else before)

    def set_modes(before: int) -> None:
        while overrides._len_torch_function_stack() > before:
            overrides._pop_mode()

    def set_print_options(before: dict[str, Any]) -> None:
        for name, value in before.items():
            setattr(_tensor_str.PRINT_OPTS, name, value)

    def deterministic() -> tuple[bool, bool]:
        return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()

    def set_deterministic(before: tuple[bool, bool]) -> None:
        if deterministic() != before:  # otherwise it would import a compiler only to tell it
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])

    found = [
        Part(torch.get_default_dtype, torch.set_default_dtype),
        Part(torch.get_default_device, set_device),
        Part(overrides._len_torch_function_stack, set_modes),
        Part(torch.get_num_threads, torch.set_num_threads),
        Part(deterministic, set_deterministic),
        Part(
            lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
            lambda before: torch.autograd.set_detect_anomaly(*before),
        ),
        Part(lambda: sys.float_info.min / len("ab") == 0.0, torch.set_flush_denormal),
        Part(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
        Part(lambda: dataclasses.asdict(_tensor_str.PRINT_OPTS), set_print_options),
        Part(torch.get_rng_state, torch.set_rng_state),
        Part(torch.multiprocessing.get_sharing_strategy, torch.multiprocessing.set_sharing_strategy),
        Part(nesting, set_nesting),
        Part(torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled),
    ]
    found += [_autocast(torch, device) for device in _AUTOCAST]
    for place, names in _FLAGS.items():
        found += [_flag(torch.backends, place, name) for name in names]
    for owner in (modules, optimizers):
        for name, value in vars(owner).items():
            if name.startswith("_global_"):
                found.append(_mapping(value) if isinstance(value, dict) else attribute(owner, name))
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        found.append(Part(torch.cuda.get_rng_state_all, torch.cuda.set_rng_state_all))
    return found


def _autocast(torch: Any, device: str) -> Part:
    def write(before: tuple[bool, Any]) -> None:
        torch.set_autocast_enabled(device, before[0])
        torch.set_autocast_dtype(device, before[1])

    return Part(lambda: (torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)), write)


def _flag(backends: Any, place: str, name: str) -> Part:
    """A flag of torch.backends. Some of them say the same in an old and a new form: written is what still differs."""
    owner = backends
    for step in filter(None, place.split(".")):
        owner = getattr(owner, step, None)

    def read() -> Any:
        with warnings.catch_warnings(), contextlib.suppress(RuntimeError):
            warnings.simplefilter("ignore")
            return getattr(owner, name, None)
        return None

    def write(before: Any) -> None:
        if before is not None and read() != before:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                setattr(owner, name, before)

    return Part(read, write)


def _mapping(values: dict[Any, Any]) -> Part:
    def write(before: dict[Any, Any]) -> None:
        if list(values) != list(before):
            values.clear()
            values.update(before)

    return Part(values.copy, write)


def as_torch_starts() -> None:
    """For torch that was imported inside the block: the settings under which every number would change."""
    import torch

    torch.set_grad_enabled(True)
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)
    if torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(False)
    torch.autograd.set_detect_anomaly(False)
    torch.set_flush_denormal(False)
    torch.set_float32_matmul_precision("highest")
