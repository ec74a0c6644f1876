"""Matrices of accuracies from text files: every way in which they are written, and what is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from answers import refused
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lorisbench.gather.matrix_files import read_matrix

NAN = np.nan
FULL = np.array([[0.9, 0.2, 0.1], [0.7, 0.8, 0.3], [0.5, 0.6, 0.7]])
LOWER = np.where(np.tri(3) > 0, FULL, NAN)


def file_of(tmp_path: Path, text: str) -> Path:
    (tmp_path / "m.csv").write_text(text, encoding="utf-8")
    return tmp_path / "m.csv"


@pytest.mark.parametrize(
    ("text", "matrix"),
    [
        ("0.9,0.2,0.1\n0.7,0.8,0.3\n0.5,0.6,0.7\n", FULL),
        ("90,20,10\n70,80,30\n50,60,70\n", FULL),
        ("90.0 %,20 %,10 %\n70 %,80 %,30 %\n50 %,60 %,70 %\n", FULL),
        ("0.9 0.2 0.1\n\n0.7 0.8 0.3\n  0.5  0.6  0.7  \n", FULL),
        ("# accuracy\n0.9\t0.2\t0.1\n0.7\t0.8\t0.3\n0.5\t0.6\t0.7\n", FULL),
        ("0,9;0,2;0,1\n0,7;0,8;0,3\n0,5;0,6;0,7\n", FULL),
        ("a,b,c\n.9,.2,.1\n7e-1,.8,.3\n.5,.6,.7", FULL),
        (",a,b,c\nafter a,.9,.2,.1\nafter b,.7,.8,.3\nafter c,.5,.6,.7", FULL),
        (",0,1,2\n0,.9,.2,.1\n1,.7,.8,.3\n2,.5,.6,.7", FULL),
        ('"","a","b","c"\n"x",.9,.2,.1\n"y",.7,.8,.3\n"z",.5,.6,.7', FULL),
        ("0.9,0.2,0.1,\n0.7,0.8,0.3,\n0.5,0.6,0.7,\n", FULL),
        ("0.9,,\n0.7,0.8,\n0.5,0.6,0.7\n", LOWER),
        ("0.9\n0.7,0.8\n0.5,0.6,0.7\n", LOWER),
        ("0.9 - -\n0.7 0.8 —\n0.5 0.6 0.7\n", LOWER),
        ("0.9,0,0\n0.7,0.8,0\n0.5,0.6,0.7\n", LOWER),
        ("90.000000\t0.000000\t0.000000\n70\t80\t0\n50\t60\t70\n", LOWER),
        ("0.9,0,0\n0.7,0.8,0\n0,0,0\n", np.where(np.arange(3)[:, None] < 2, LOWER, NAN)),
        ("0.9,0,0\n0,0,0\n0,0,0\n", np.where(np.arange(3)[:, None] < 1, LOWER, NAN)),
        ("0.5\n", np.array([[0.5]])),
        ("50\n", np.array([[0.5]])),
        ("0.5 %,1%\n0.25%,0.75%\n", np.array([[0.005, 0.01], [0.0025, 0.0075]])),
        ("\ufeff0.5,0\n0,0.25\n", np.array([[0.5, NAN], [0, 0.25]])),
    ],
)  # fmt: skip
def test_it_is_read_however_it_is_written(text: str, matrix: np.ndarray, tmp_path: Path) -> None:
    read = read_matrix(file_of(tmp_path, text)).matrix
    assert np.allclose(read, matrix, equal_nan=True, atol=1e-12), read


def test_how_it_was_understood_is_said(tmp_path: Path) -> None:
    notes = read_matrix(file_of(tmp_path, "90,0,0\n70,80,0\n0,0,0\n")).notes
    assert notes == [
        "all cells above the diagonal are 0 and were taken as not measured",
        "row 3 is 0 throughout and was taken as not measured",
        "read as per cent",
    ]
    assert read_matrix(file_of(tmp_path, "0.9,0.1\n0.2,0.5\n")).notes == ["read as fractions"]


def test_a_zero_beside_accuracies_is_one(tmp_path: Path) -> None:
    """Classes that no experience has shown yet are answered with accuracy 0, and that is measured."""
    assert np.array_equal(read_matrix(file_of(tmp_path, "0.9,0.1,0\n0.2,0.8,0\n0,0,0.7\n")).matrix[0], [0.9, 0.1, 0])


def test_rows_may_be_what_was_tested(tmp_path: Path) -> None:
    file = file_of(tmp_path, "\n".join(",".join(map(str, row)) for row in FULL.T))
    assert np.allclose(read_matrix(file, transpose=True).matrix, FULL)
    assert "rows and columns exchanged (--transpose)" in read_matrix(file, transpose=True).notes
    lower = file_of(tmp_path, "0.9,0.7,0.5\n0,0.8,0.6\n0,0,0.7\n")
    assert np.allclose(read_matrix(lower, transpose=True).matrix, LOWER, equal_nan=True)
    refused(lambda: read_matrix(lower), "above its diagonal alone", "--transpose")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["is empty"]),
        ("# nothing\n", ["is empty"]),
        ("a,b\n", ["no accuracy"]),
        ("0.1,0.2\n", ["m.csv:1", "2 cells", "1 rows"]),
        ("0.1,0.2\n0.3,0.4\n0.5,0.6\n", ["m.csv:3", "2 cells", "3 rows"]),
        ("0.1\n0.3\n", ["m.csv:2", "1 cells"]),
        ("0.1,nan\n0.3,0.4\n", ["m.csv:1", "column 2", "nan is no accuracy"]),
        ("0.1,0.2\n0.3,inf\n", ["m.csv:2", "column 2", "inf"]),
        ("0.1,0.2\n-0.3,0.4\n", ["m.csv:2", "column 1", "-0.3", "not negative"]),
        ("10,20\n30,100.5\n", ["m.csv:2", "column 2", "100.5", "more than 100"]),
        ("0.1,0.2\n0.3,x4\n", ["m.csv:2", "column 2", "'x4' is not a number"]),
        ("0.1,0.2\n0.3,1e400\n", ["m.csv:2", "column 2", "inf"]),
        (",\n,\n", ["no accuracy"]),
        ("0,0\n0,0\n", ["no accuracy"]),
        ("\n".join(["0.5"] * 1002), ["more than 1000 rows"]),
    ],
)
def test_what_is_none_is_refused_in_one_line(text: str, words: list[str], tmp_path: Path) -> None:
    refused(lambda: read_matrix(file_of(tmp_path, text)), "m.csv", *words)


def test_a_file_that_is_no_text_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(b"\x93NUMPY\x01\x00v\x00")
    refused(lambda: read_matrix(tmp_path / "m.csv"), "m.csv:1", "not UTF-8")
    refused(lambda: read_matrix(tmp_path / "none.csv"), "none.csv", "cannot be read")
    refused(lambda: read_matrix(tmp_path), "folder")


ACCURACIES = st.integers(2, 6).flatmap(
    lambda size: arrays(float, (size, size), elements=st.floats(0.02, 1, allow_subnormal=False))
)


@given(ACCURACIES, st.booleans(), st.sampled_from([",", ";", "\t", " "]), st.booleans())
def test_what_numpy_and_pandas_write_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, matrix: np.ndarray, percent: bool, mark: str, with_names: bool
) -> None:
    file = tmp_path_factory.mktemp("matrix") / "m.csv"
    written = matrix * 100 if percent else matrix
    if with_names and mark != " ":
        names = [f"task {number}" for number in range(len(matrix))]
        pd.DataFrame(written, names, names).to_csv(file, sep=mark)
    else:
        np.savetxt(file, written, delimiter=mark, fmt="%.17g")
    assert np.allclose(read_matrix(file).matrix, matrix, atol=1e-12)
