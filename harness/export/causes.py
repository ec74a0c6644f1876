"""Why a model could not be converted: the error beneath the exporter's own, and the part of the model it came from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import fx, nn

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_OTHERS = str(Path(torch.__file__).parent), str(Path(__file__).parent)  # whose code no author of a strategy changes
# what an error says, and what its author can do
_ADVICE = (
    ("data-dependent", "forward() decides by the values of a tensor: compute both ways, and choose by torch.where"),
    ("Found a custom (non-ATen) operator", "an operator of its own has no counterpart in ONNX"),
    ("No ONNX function found", "ONNX has no counterpart of it: work out in training what it gives, and keep that"),
)
FIXED = (
    "it takes batches of {} only: forward() uses the batch size as a number, as torch.arange(len(x)) and a loop over "
    "images do; gather, one_hot and expand(-1) do without"
)


def cause_of(error: BaseException, model: nn.Module) -> str:
    """One line: the innermost error's own first line, the part of the model and the line of its code, as far as known.

    error : what the exporter raised.
    """
    errors = list(_beneath(error))
    text = next((line for each in reversed(errors) if (line := _first_line(each))), type(error).__name__)
    advice = next((f"; {words}" for said, words in _ADVICE if said in text), "")
    return f"{text}{_place(errors, model)}{advice}"


def _beneath(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _first_line(error: BaseException) -> str:
    lines = _COLOURS.sub("", str(error)).strip().splitlines()
    if not lines:
        return type(error).__name__ if type(error) is not Exception else ""
    return f"{type(error).__name__}: {lines[0].strip()}"


def _place(errors: list[BaseException], model: nn.Module) -> str:
    """Where in the model the last of the errors that tells it came from, as ` in heads.1 (Linear), my.py:12`."""
    names = {id(module): name for name, module in model.named_modules()}
    for error in reversed(errors):
        frames = list(_frames(error))
        for frame, _ in reversed(frames):
            node = frame.f_locals.get("node")
            if isinstance(node, fx.Node) and node.meta.get("nn_module_stack"):
                path, kind = list(node.meta["nn_module_stack"].values())[-1]
                name = kind if isinstance(kind, str) else getattr(kind, "__name__", "")
                return f", in {_part(path)} ({name.rpartition('.')[2]}){_line_of(node.meta.get('stack_trace'))}"
        inside = [i for i, (frame, _) in enumerate(frames) if id(frame.f_locals.get("self")) in names]
        if inside:
            module: Any = frames[inside[-1]][0].f_locals["self"]
            own = [(f, line) for f, line in frames[inside[-1] :] if not f.f_code.co_filename.startswith(_OTHERS)]
            where = f", {Path(own[-1][0].f_code.co_filename).name}:{own[-1][1]}" if own else ""
            return f", in {_part(names[id(module)])} ({type(module).__name__}){where}"
    return ""


def _part(path: str) -> str:
    """The name of a part of the run's model, which is itself a part of what is exported."""
    return path.removeprefix("model").lstrip(".") or "the model"


def _frames(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    step = error.__traceback__
    while step is not None:
        yield step.tb_frame, step.tb_lineno
        step = step.tb_next


def _line_of(trace: Any) -> str:
    found = re.findall(r'File "([^"]+)", line (\d+)', str(trace or ""))
    own = [(file, line) for file, line in found if not file.startswith(_OTHERS)]
    return f", {Path(own[-1][0]).name}:{own[-1][1]}" if own else ""
