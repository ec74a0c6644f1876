"""What a wrong command is answered with, for the tests of the command line."""

from __future__ import annotations

from typing import Any


def refused(answer: Any, *words: str) -> None:
    """The answer of wrong input: exit code 2, one line on standard error that holds the words, no traceback."""
    assert answer.code == 2, answer
    lines = answer.err.strip().splitlines()
    assert len(lines) == 1 and "Traceback" not in answer.err, answer.err
    for word in words:
        assert word in lines[0], lines[0]
