"""Whether two outputs of one suite hold the same results."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd

TIMES = ("train_seconds", "seconds", "latency", "_ms", "_s", "peak_memory_mb")


def same_results(one: Path, other: Path) -> None:
    """Assert that all files agree, byte by byte, but for what is measured in time and which machine it was."""
    for name in ("matrix.csv", "suite.yaml", "data.json", "experiences.csv"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    left, right = (pd.read_csv(out / "results.csv") for out in (one, other))
    pd.testing.assert_frame_equal(_timeless(left), _timeless(right), check_exact=True)
    names = {folder.name for folder in (one / "runs").iterdir()}
    assert names == {folder.name for folder in (other / "runs").iterdir()}
    for run in names:
        files = [path for path in (one / "runs" / run).rglob("*") if path.is_file()]
        for file in files:
            if file.name in ("env.json", "status.json", "log.txt", "latency.json"):
                continue
            counterpart = other / "runs" / run / file.relative_to(one / "runs" / run)
            assert counterpart.is_file(), counterpart
            if file.name == "journal.jsonl":
                pd.testing.assert_frame_equal(_journal(file), _journal(counterpart), check_exact=True)
            else:
                assert file.read_bytes() == counterpart.read_bytes(), file.name


def _timeless(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[[column for column in frame if not column.endswith(TIMES) and "seconds" not in column]]


def _journal(file: Path) -> pd.DataFrame:
    return _timeless(pd.read_json(io.StringIO(file.read_text()), lines=True))
