"""correct.npz: the last row of all runs' predictions, an image a bit, whatever order the experiences came in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lorisbench.common.errors import InputError
from lorisbench.metrics import correct
from lorisbench.metrics.correct import CORRECT, Correct, of_answers
from lorisbench.metrics.predictions import NOT_TESTED, Stored

LABEL, EXPERIENCE, IMAGE = np.array([3, 4, 5, 6, 7]), np.array([0, 0, 1, 1, 1]), np.array([9, 8, 2, 1, 0])


def test_images_are_sorted_by_their_own_experience_and_number() -> None:
    """Of order 1, 0 the first test set is experience 1."""
    answers = Stored(np.array([[0] * 5, [3, 0, 5, 6, 0]]), LABEL, EXPERIENCE, IMAGE)
    found = of_answers(answers, [1, 0])
    assert found is not None
    assert found.experience.tolist() == [0, 0, 0, 1, 1] and found.image.tolist() == [0, 1, 2, 8, 9]
    assert found.right.tolist() == [False, True, True, False, True]


def test_without_a_last_row_there_is_nothing() -> None:
    for predicted in (np.zeros((1, 5), int), np.array([[0] * 5, [NOT_TESTED] * 5])):
        assert of_answers(Stored(predicted, LABEL, EXPERIENCE), [0, 1]) is None


def test_a_file_gives_back_what_was_written_and_leaves_out_other_images(tmp_path: Path) -> None:
    image, experience = np.arange(11, dtype=np.int32), np.zeros(11, dtype=np.int32)
    a, b = (Correct(image, experience, np.random.default_rng(k).uniform(size=11) < 0.5) for k in range(2))
    other = Correct(image + 1, experience, a.right)
    streams = {"one": {"a": a, "b": b, "c": other}, "ü/2": {"c": other}}
    correct.write(tmp_path / CORRECT, streams)
    found = correct.read(tmp_path / CORRECT)
    assert {name: list(runs) for name, runs in found.items()} == {"one": ["a", "b"], "ü/2": ["c"]}
    assert found["one"]["b"].right.tolist() == b.right.tolist() and found["ü/2"]["c"].is_of(other)
    assert correct.read(tmp_path / "none.npz") == {}


def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    file = tmp_path / CORRECT
    np.savez(file, streams=["s"], runs0=["a"], image0=np.arange(9, dtype="i4"), experience0=np.zeros(9, dtype="i4"),
             right0=np.zeros((1, 1), dtype=np.uint8))  # fmt: skip
    with pytest.raises(InputError, match=r"correct\.npz: its arrays do not fit"):
        correct.read(file)
    file.write_bytes(b"PK")
    with pytest.raises(InputError, match=r"correct\.npz"):
        correct.read(file)
