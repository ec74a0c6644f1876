"""Files read back."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from lorisbench.common.reading import plain_columns, read_table

LINES = st.lists(st.lists(st.text("ab \"\r\0é#'1", max_size=3), min_size=1, max_size=3).map(",".join), max_size=4)


@example(lines=[" ", "1"], end="")
@given(lines=LINES, end=st.sampled_from(["", "\n"]))
def test_what_is_called_a_plain_table_can_be_read_and_has_these_columns(lines: list[str], end: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "table.csv"
        file.write_text("\n".join(lines) + end, "utf-8", newline="")
        if columns := plain_columns(file):
            assert set(read_table(file).columns) == columns


def test_most_tables_are_plain(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    for text, columns in (
        ("a,b\n1,2\n,\n", {"a", "b"}),
        ("a,b\n1,2", {"a", "b"}),
        ("a,b\n", set()),
        ("a,b\n1\n", set()),
    ):
        file.write_text(text)
        assert plain_columns(file) == columns, text
