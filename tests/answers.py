"""What wrong input is answered with: one line with the words that help, by the command line or as an InputError."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lorisbench.common.errors import InputError


def refused(answer: Any, *words: str, after: bool = False) -> str:
    """The line that wrong input is answered with: exit code 2, nothing else on standard error, these words in it.

    answer : of the command line, or a function, which is called and raises InputError. after : other lines may come
    before, of what was done until then.
    """
    if isinstance(answer, Callable):  # type: ignore[arg-type]
        with pytest.raises(InputError) as error:
            answer()
        text, lines = str(error.value), str(error.value).split("\n")
    else:
        assert answer.code == 2, answer
        text, lines = answer.err, answer.err.strip().splitlines()
        assert lines and lines[-1].startswith("lorisbench: error: "), text
    assert (after or len(lines) == 1) and "Traceback" not in text, text
    for word in words:
        assert word in lines[-1], lines[-1]
    return lines[-1]
