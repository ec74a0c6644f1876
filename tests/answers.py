"""How wrong input is answered: in one line with helpful words, by the command line or as an InputError."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lorisbench.common.errors import InputError


def refused(answer: Any, *words: str, after: bool = False) -> str:
    """Check that wrong input is answered with exit code 2 and one line on standard error with these words; the line.

    answer : the command line's, or a function that raises InputError when called. after : lines about earlier work may
    come before.
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
