"""What a process is like, put back as it was: for code of others, which may change anything and tidy up nothing."""

from __future__ import annotations

import contextlib
import gc
import importlib
import locale
import logging
import multiprocessing
import os
import random
import signal
import socket
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from lorisbench.common import restored_torch
from lorisbench.common.restored_torch import Part, attribute


@contextlib.contextmanager
def restored() -> Iterator[None]:
    """Put this process back as it was when the block ends, however it ends.

    Put back are torch's and numpy's defaults, modes, flags, hooks, threads; all random number generators; the working
    folder, environment, warnings, logging, signal handlers, import path, standard streams, and what else `_PARTS` and
    `restored_torch.parts` list. Inside, gradients are recorded, even if the caller has switched them off. Not undone is
    what code does to objects and modules (a function replaced by another), to files, or for good (a closed stream).

    What only the block imports cannot be read before it: torch then gets the defaults that it starts with.
    """
    with contextlib.ExitStack() as stack:
        parts = [*_PARTS]
        for name, of_library in _LIBRARIES.items():
            if name in sys.modules:
                parts += of_library()
        before = [(part, part.read()) for part in parts]
        torch = sys.modules.get("torch")
        if torch is not None:
            stack.enter_context(torch.inference_mode(False))  # its end puts gradient and inference mode back
        try:
            yield
        finally:
            if torch is not None and torch.is_inference_mode_enabled():
                gc.collect()  # a mode that someone entered and left open ends now, not at some later time
            elif torch is None and "torch" in sys.modules:
                restored_torch.as_torch_starts()
            for part, value in before:
                with contextlib.suppress(Exception):  # what cannot be put back must not hide how the block ended
                    part.write(value)


def listed(values: list[Any]) -> Part:
    """A list that keeps its identity, as other modules hold it too."""
    return Part(values.copy, lambda before: values.__setitem__(slice(None), before))


def _current_folder() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None


def _set_folder(before: str | None) -> None:
    if before is not None:
        os.chdir(before)


def _set_environment(before: dict[str, str]) -> None:
    if before != dict(os.environ):
        for key in os.environ.keys() - before.keys():
            del os.environ[key]
        os.environ.update(before)
        time.tzset()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _set_filters(before: list[Any]) -> None:
    if warnings.filters != before:
        warnings.filters[:] = before  # type: ignore[index]
        with warnings.catch_warnings():  # entering it makes the module look at its filters again
            pass


def _handlers() -> dict[Any, Any]:
    return {number: signal.getsignal(number) for number in signal.valid_signals()}


def _set_handlers(before: dict[Any, Any]) -> None:
    if threading.current_thread() is threading.main_thread():  # only there can they be set
        for number, handler in before.items():
            if handler is not None and signal.getsignal(number) != handler:
                signal.signal(number, handler)


def _loggers() -> dict[str, tuple[Any, ...]]:
    known = {"": logging.root, **logging.root.manager.loggerDict}
    loggers = {name: logger for name, logger in known.items() if isinstance(logger, logging.Logger)}
    return {name: (log.level, log.handlers[:], log.propagate, log.disabled) for name, log in loggers.items()}


def _set_loggers(before: dict[str, tuple[Any, ...]]) -> None:
    for name, state in _loggers().items():
        if state == before.get(name, state):
            continue  # there are hundreds, of which hardly any is ever changed
        level, handlers, propagate, disabled = before[name]
        logger = logging.getLogger(name)
        if logger.level != level:
            logger.setLevel(level)
        logger.handlers[:], logger.propagate, logger.disabled = handlers, propagate, disabled


def _set_start_method(before: str | None) -> None:
    if multiprocessing.get_start_method(allow_none=True) != before:
        multiprocessing.set_start_method(before, force=True)


def _set_locale(before: str) -> None:
    if locale.setlocale(locale.LC_ALL) != before:
        locale.setlocale(locale.LC_ALL, before)


def _set_profile(before: Any) -> None:
    """A profiler in C, such as cProfile, is no function that could be set anew: it is switched on."""
    if sys.getprofile() is not before:
        getattr(before, "enable", lambda: sys.setprofile(before))()


_PARTS = [
    *(attribute(sys, name) for name in ("stdout", "stderr", "stdin", "argv", "excepthook", "displayhook")),
    listed(sys.path),
    Part(sys.getrecursionlimit, sys.setrecursionlimit),
    Part(sys.getswitchinterval, sys.setswitchinterval),
    Part(sys.gettrace, sys.settrace),
    Part(sys.getprofile, _set_profile),
    Part(_current_folder, _set_folder),
    Part(lambda: dict(os.environ), _set_environment),
    Part(_umask, os.umask),
    Part(lambda: list(warnings.filters), _set_filters),
    attribute(warnings, "showwarning"),
    attribute(warnings, "formatwarning"),
    Part(_handlers, _set_handlers),
    Part(_loggers, _set_loggers),
    attribute(logging.root.manager, "disable"),
    Part(logging.getLoggerClass, logging.setLoggerClass),
    Part(lambda: locale.setlocale(locale.LC_ALL), _set_locale),
    Part(gc.isenabled, lambda on: gc.enable() if on else gc.disable()),
    Part(gc.get_threshold, lambda values: gc.set_threshold(*values)),
    Part(random.getstate, random.setstate),
    Part(socket.getdefaulttimeout, socket.setdefaulttimeout),
    attribute(tempfile, "tempdir"),
    Part(lambda: multiprocessing.get_start_method(allow_none=True), _set_start_method),
]
if hasattr(os, "sched_getaffinity"):
    _PARTS.append(Part(lambda: os.sched_getaffinity(0), lambda cores: os.sched_setaffinity(0, cores)))


def _of_numpy() -> list[Part]:
    import numpy as np

    legacy: Any = np.random  # its stubs leave out the functions that exchange the generator

    def set_generator(before: tuple[Any, Any]) -> None:
        generator, state = before
        legacy.set_bit_generator(generator)
        legacy.set_state(state)

    return [
        Part(lambda: (legacy.get_bit_generator(), legacy.get_state(legacy=False)), set_generator),
        Part(np.geterr, lambda values: np.seterr(**values)),
        Part(np.geterrcall, np.seterrcall),
        Part(np.get_printoptions, lambda values: np.set_printoptions(**values)),
    ]


def _of_pillow() -> list[Part]:
    from PIL import Image, ImageFile

    return [attribute(Image, "MAX_IMAGE_PIXELS"), attribute(ImageFile, "LOAD_TRUNCATED_IMAGES")]


def _of_matplotlib() -> list[Part]:
    settings: Any = importlib.import_module("matplotlib").rcParams
    return [Part(lambda: dict(dict.items(settings)), lambda before: dict.update(settings, before))]


_LIBRARIES: dict[str, Callable[[], list[Part]]] = {
    "numpy": _of_numpy,
    "torch": restored_torch.parts,
    "PIL": _of_pillow,
    "matplotlib": _of_matplotlib,
}
