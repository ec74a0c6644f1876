"""What Avalanche's loggers write: `eval_results.csv` of CSVLogger, and the text of TextLogger and InteractiveLogger."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from lorisbench.common.errors import InputError
from lorisbench.common.reading import parse_table
from lorisbench.gather.foreign import Foreign, matrix_of, text_of, unmeasured_future

COLUMNS = ("eval_exp", "training_exp", "eval_accuracy")
Cells = dict[tuple[int, int], float]
_START = re.compile(r"-- Starting training on experience (\d+)\b.* from \S+ stream --")
_ACCURACY = re.compile(r"\s*Top1_Acc_Exp/eval_phase/(\w+)/Task\d+/Exp(\d+) = (\S+)\s*")
_PHASE = re.compile(r"-- >> (Start|End) of training phase << --")


def read_avalanche(path: Path) -> Foreign:
    """The accuracies of the test stream after each experience, of a file of either kind.

    An evaluation before any training is passed over, and so are those within training (`eval_every`). Raises
    InputError, naming the file, for what is neither, for accuracies that were not monitored, and for two evaluations at
    the same time that differ: of which stream each is, the CSV file does not say.
    """
    text = text_of(path)
    first = next((line for line in text.splitlines() if line.strip()), "")
    if first.startswith("eval_exp,"):
        cells, trained, notes = _of_csv(text, path)
    elif "experience" in text:
        cells, trained, notes = _of_text(text, path)
    else:
        known = "training_results.csv tells of no test" if first.startswith("training_exp,") else first[:60]
        raise InputError(f"{path}: neither eval_results.csv of Avalanche's CSVLogger nor a text log ({known!r})")
    size = 1 + max((tested for _, tested in cells), default=-1)
    if cells and max(trained) >= size:
        raise InputError(
            f"{path}: trains on {max(trained) + 1} experiences and tests on {size}: each needs a test of its own"
        )
    matrix = matrix_of(cells, size, path)
    if unmeasured_future(matrix):
        notes.append("experiences still to come were not tested")
    return Foreign(matrix, notes=notes)


def _put(cells: Cells, key: tuple[int, int], value: float, path: Path) -> None:
    if key in cells and cells[key] != value:
        raise InputError(
            f"{path}: experience {key[1]} is tested twice after experience {key[0]}, as {cells[key]:g} and {value:g}: "
            "which of them counts is not known"
        )
    cells[key] = value


def _number(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{what}: {text[:40]!r} is not a number") from None


def _of_csv(text: str, path: Path) -> tuple[Cells, set[int], list[str]]:
    table = parse_table(text.encode(), str(path), COLUMNS)
    cells: Cells = {}
    trained, before = set(), 0
    for place, (tested, after, accuracy) in enumerate(zip(*(table[name] for name in COLUMNS), strict=True), 2):
        if after in ("None", ""):
            before += 1
            continue
        if not (tested.isdecimal() and after.isdecimal()):
            raise InputError(f"{path}:{place}: numbers of experiences were expected, not {tested!r} and {after!r}")
        trained.add(int(after))
        _put(cells, (int(after), int(tested)), _number(accuracy, f"{path}:{place}"), path)
    if cells and not any(cells.values()):
        raise InputError(f"{path}: all accuracies are 0: CSVLogger writes that if no accuracy_metrics(experience=True)")
    return cells, trained, _passed_over(before)


def _passed_over(before: int) -> list[str]:
    return [f"{before} test{'s' * (before != 1)} before any training passed over"] if before else []


def _of_text(text: str, path: Path) -> tuple[Cells, set[int], list[str]]:
    by_stream: dict[str, Cells] = {}
    numbered = _START.search(text) is not None  # InteractiveLogger numbers none of them
    after, training, before = -1, False, 0
    trained = set()
    for place, line in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        if found := _PHASE.search(line):
            training = found[1] == "Start"
            if not training and not numbered:
                after += 1
                trained.add(after)
        elif found := _START.search(line):
            after = int(found[1])
            trained.add(after)
        elif found := _ACCURACY.fullmatch(line):
            stream, tested, value = found[1], int(found[2]), _number(found[3], f"{path}:{place}")
            if training:
                continue
            if after < 0:
                before += 1
                continue
            _put(by_stream.setdefault(stream, {}), (after, tested), value, path)
    if not by_stream:
        raise InputError(
            f"{path}: holds no line like 'Top1_Acc_Exp/eval_phase/test_stream/Task000/Exp000 = 0.5' after training: "
            "the EvaluationPlugin needs accuracy_metrics(experience=True)"
        )
    counted = [] if numbered else ["the experiences trained on are not numbered in the log, and were counted"]
    return _the_tests(by_stream, path), trained, [*_passed_over(before), *counted]


def _the_tests(by_stream: dict[str, Cells], path: Path) -> Cells:
    """The cells of the test stream, or of the only other one that is no training stream."""
    if "test_stream" in by_stream:
        return by_stream["test_stream"]
    others = [stream for stream in by_stream if stream != "train_stream"]
    if len(others) != 1:
        raise InputError(f"{path}: has accuracies of {_listed(by_stream)}, but none of test_stream")
    return by_stream[others[0]]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
