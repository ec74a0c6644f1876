"""CSV manifests as scripts, pandas and spreadsheets write them: read the same, or refused with the line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import trees
from answers import refused

from lorisbench.benchmarks.openloris.layouts import read
from lorisbench.benchmarks.own import csv_manifest
from lorisbench.benchmarks.text_lists import MOST, whole
from lorisbench.data.manifest import Manifest
from lorisbench.data.subsets import Subset
from lorisbench.suite.benchmarks import make_benchmark

NAMES = ["path", "class_name", "experience", "split"]
SPLITS = ("train", "validation", "test")
ROWS = [
    [f"a/{name}/{number}.jpg", name, str(experience), split]
    for experience in (2, 10)
    for name in ("cup", "dog")
    for number, split in enumerate(SPLITS, 3 * experience)
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    for path, *_ in ROWS:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(trees.PICTURES[len(path)])
    return folder


@pytest.fixture
def listed(root: Path, tmp_path: Path) -> Callable[..., Manifest]:
    """The manifest of a list with this content, whose paths are relative to `root`."""

    def read(content: str | bytes) -> Manifest:
        (tmp_path / "list.csv").write_bytes(content.encode() if isinstance(content, str) else content)
        return make_benchmark({"name": "manifest", "file": str(tmp_path / "list.csv"), "root": str(root)}).manifest()

    return read


def text(separator: str = ",", names: list[str] | None = None, rows: list[list[str]] | None = None) -> str:
    return "".join(separator.join(row) + "\n" for row in [names or NAMES, *(rows or ROWS)])


def changed(column: int, value: Callable[[str], str], only: int | None = None) -> list[list[str]]:
    return [[value(v) if i == column and only in (None, at) else v for i, v in enumerate(row)]
            for at, row in enumerate(ROWS)]  # fmt: skip


FRAME = pd.DataFrame(ROWS, columns=NAMES)
SAME = {
    "semicolons": text(";"),
    "tabs": text("\t"),
    "bars": text("|"),
    "BOM": "\ufeff" + text(),
    "CRLF": text().replace("\n", "\r\n"),
    "CR": text().replace("\n", "\r"),
    "UTF-16, as Excel saves Unicode text": text("\t").encode("utf-16"),
    "UTF-16 without a BOM": text(";").encode("utf-16-le"),
    "sep=": "sep=;\n" + text(";"),
    "no last newline": text().rstrip("\n"),
    "headers in other case": text(names=["Path", "Class Name", "EXPERIENCE", " split "]),
    "quoted headers": text(names=['"path"', '"class-name"', '"experience"', '"Split"']),
    "a header in a comment": "# " + text(),
    "blank lines": "\n\n" + text().replace("\n", "\n\n"),
    "rows of separators": text() + ",,,\n , , ,\n",
    "trailing separators": text().replace("\n", ",\n"),
    "trailing separators of the rows": text()[: text().index("\n") + 1] + text(rows=ROWS).split("\n", 1)[1].replace(
        "\n", ",,\n"),
    "comments below": text().replace("\na/dog", "\n# a remark, with, many, commas\na/dog"),
    "a comment filled up by a spreadsheet": "# name: list;;;\n" + text(";"),
    "pandas' index": FRAME.to_csv(),
    "pandas' index read and written again": FRAME.rename_axis("Unnamed: 0").to_csv(),
    "two of pandas' indices": FRAME.reset_index(drop=True).rename_axis("Unnamed: 0.1").to_csv(),
    "pandas' reset_index": FRAME.reset_index().to_csv(index=False),
    "pandas' floats": FRAME.assign(experience=FRAME.experience.astype(float)).to_csv(sep=";"),
    "columns in another order": FRAME[["split", "experience", "path", "class_name"]].to_csv(index=False),
    "quoted fields": FRAME.to_csv(index=False, quoting=1),
    "backslashes": text().replace("/", "\\"),
    "1e1": text(rows=changed(2, lambda e: f"{int(e) / 10:g}e1")),
    "007": text(rows=changed(2, lambda e: f"00{e}")),
    "+3": text(rows=changed(2, lambda e: f"+{e}")),
    " 7 ": text(rows=changed(2, lambda e: f"  {e}\u00a0 ")),
    "10,0": text(";", rows=changed(2, lambda e: f"{e},0")),
    "mixed spellings": text(rows=changed(2, lambda e: f"{e}.00", only=3)),
}  # fmt: skip


@pytest.mark.parametrize("way", SAME)
def test_the_same_list_is_read_the_same(listed: Callable[..., Manifest], way: str) -> None:
    plain, other = listed(text()), listed(SAME[way])
    pd.testing.assert_frame_equal(plain.table, other.table)
    wanted = ["experience 002", "experience 0010"] if way == "007" else ["experience 2", "experience 10"]
    assert list(other.experience_names) == wanted
    assert ("comments" in other.notes) == (way == "comments below")


def test_absolute_paths_below_the_root_and_addresses_of_files(root: Path, listed: Callable[..., Manifest]) -> None:
    for place in (f"{root}/", f"file://{root}/", f"file:///{str(root)[1:].replace('own', '%6Fwn')}/"):
        assert listed(text(rows=changed(0, lambda p, place=place: place + p))).table.equals(listed(text()).table)


@pytest.mark.parametrize("word", ["NA", "None", "nan", "null", "True", "1.0", "no", "N/A", "-", "#N/A", "1e3", "007"])
def test_names_of_classes_stay_what_is_written(listed: Callable[..., Manifest], word: str) -> None:
    assert list(listed(text(rows=changed(1, lambda c: word if c == "dog" else c))).classes) == sorted(["cup", word])


def test_a_field_may_hold_the_separator_and_quotes(listed: Callable[..., Manifest]) -> None:
    rows = FRAME.assign(class_name=FRAME.class_name.replace("dog", 'a "dog"; or, not'))
    for separator in ",;\t|":
        assert list(listed(rows.to_csv(index=False, sep=separator)).classes) == ['a "dog"; or, not', "cup"]


def test_names_among_numbers_make_all_of_them_names(listed: Callable[..., Manifest]) -> None:
    manifest = listed(text(rows=changed(2, lambda e: "late" if e == "2" else e)))
    assert list(manifest.experience_names) == ["late", "10"] and "'late' and '10'" in manifest.notes["experiences"]


def test_what_is_written_keeps_paths_that_look_like_comments(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "own")
    (tmp_path / "own" / "a").rename(tmp_path / "own" / "#a")
    file = tmp_path / "own" / "list.csv"
    file.write_text(text(rows=changed(0, lambda path: f"./#{path}")))
    before = make_benchmark({"name": "manifest", "file": str(file)}).manifest()
    csv_manifest.write(before, file)
    assert make_benchmark({"name": "manifest", "file": str(file)}).manifest().table.equals(before.table)
    assert len(before.table) == len(ROWS)


COLUMNS = "path,class_name,experience,split"
ROW = "a/cup/6.jpg,cup,2,train"


def with_column(name: str, *values: str) -> str:
    return f"{COLUMNS},{name}\n" + "".join(f"{','.join(r)},{v}\n" for r, v in zip(ROWS, values, strict=False))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        *((text(names=[name, *NAMES[1:]]), (":1: the column 'path' is missing; found", f"rename {name!r} to 'path'"))
          for name in ("filename", "File", "image", "image_path", "Image Path", "img", "filepath")),
        (text(names=["path", "class", "experience", "split"]), (":1: the column 'class_name' (or", "rename 'class'")),
        (text(names=["path", "class_name", "session", "split"]), (":1:", "rename 'session' to 'experience'")),
        (text(names=[*NAMES[:3], "subset"]), (":1: unknown column 'subset'; did you mean 'split'?",)),
        (text().split("\n", 1)[1], (":1: the column 'path' is missing; found 'a/cup/6.jpg'",)),
        (text(names=["path", "class_name", "experience", "Path"]), (":1: the column 'path' is there twice",)),
        (f"{COLUMNS}\n{ROW}\na/cup/7.jpg,cup,2\n", (":3: has fewer fields (3) than line 1 has columns (4)",)),
        (f"\n{COLUMNS}\n{ROW}\n\n{ROW},x\n", (":5: has more fields (5) than line 2 has columns (4)",)),
        (f"{COLUMNS},\n{ROW},x\n", (":2: 'x' is in column 5, which line 1 does not name",)),
        (f'{COLUMNS}\n{ROW}\na/cup/7.jpg,"cup,2,test\n{ROW}\n', (":3: not a row of a table (a quoted field",)),
        (text().replace("dog", "d\xf6g", 1).encode("latin-1"), (":5: not UTF-8 text; save it as UTF-8",)),
        (text("\t").encode("utf-16")[:-1], ("not UTF-16 text",)),
        (f"{COLUMNS}\n{ROW}\na\0b,cup,2,train\n", (":3: holds a NUL",)),
        (b"PK\x03\x04rest", ("Excel workbook",)),
        ("# only\n# comments\n", ("no line of column names; at least path and experience and class_name",)),
        *((text(rows=changed(2, lambda e, wrong=wrong: wrong, only=4)), (f":6: the experience {wrong!r}", said))
          for wrong, said in (("NaN", "not a number of 0 or more"), ("inf", "not a number"), ("-1", "not a number"),
                              ("1.5", "and a whole one"), ("1e99", "too large"), ("1e999999999", "too large"),
                              ("99999999999", "too large"), ("None", "not a number"))),
        (text(rows=changed(2, lambda e: "", only=4)), (":6: the experience is empty",)),
        (with_column("task", "0", "", "1"), (":3: the task is empty, and other lines have a number",)),
        (with_column("task", "0", "nan"), (":3: the task 'nan' is not a number",)),
        (with_column("task", "0", "-1"), (":3: the task '-1' is not a number of 0 or more",)),
        (with_column("task", "0", "1.5"), (":3: the task '1.5'",)),
        (with_column("Task", "0", "1e12"), (":3: the task '1e12' is too large",)),
        (with_column("level", "1", "2", ""), (":4: the level is empty",)),
        (with_column("label", "0", "0", ""), (":4: the label is empty",)),
        (with_column("label", "0", "0", "cup"), (":4: the label 'cup'", "names go in the column class_name")),
        (with_column("recording", "1", "2.0", ""), (":4: the recording is empty",)),
        (text(rows=changed(0, lambda p: f"https://x.org/{p}", only=0)), (":2: the path 'https://x.org/", "address")),
        (text(rows=changed(0, lambda p: f"file:///elsewhere/{p}", only=0)), (":2: the path", "leaves the data set's")),
        (text(rows=changed(3, lambda s: "Testing", only=0)), (":2: the split 'Testing' is none of", "'test'")),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_with_its_line(
    listed: Callable[..., Manifest], content: str | bytes, words: tuple[str, ...]
) -> None:
    refused(lambda: listed(content), "list.csv", *words)


def test_numbers_in_any_spelling_and_empty_columns(listed: Callable[..., Manifest]) -> None:
    table = listed(with_column("task", *["1.0", "01", "+1"] * 4)).table
    assert set(table.task) == {1}
    assert "task" not in listed(with_column("task", *[""] * 12)).table
    assert set(listed(with_column("recording", *["7.0", "7", "07"] * 4)).table.recording) == {"7", "07"}
    assert set(listed(with_column("recording", *["r7", "", "07"] * 4)).table.recording) == {"r7", "", "07"}


@pytest.mark.parametrize(
    ("spelt", "number"),
    [("7", 7), ("-7", -7), ("7.", 7), (".0", 0), ("7e0", 7), ("70e-1", 7), ("7.5", None), ("", None), ("٣", None),
     ("1_0", None), ("0x7", None), ("1,000", None), ("7,0", 7), ("1e-400", None), ("1e400", MOST + 1), ("0e400", 0),
     (str(MOST), MOST), ("-1e10", -MOST - 1), ("9999999999", MOST + 1)],
)  # fmt: skip
def test_whole_numbers(spelt: str, number: int | None) -> None:
    assert whole(spelt) == number


def test_lists_of_openloris_are_read_in_their_spellings_too(tmp_path: Path) -> None:
    root = trees.lists(tmp_path / "lists")
    before = read(root, "auto", "factor", "clutter", Subset())
    for file in root.glob("batches_filelists/domain/clutter/*.txt"):
        pairs = [line.rpartition(" ") for line in file.read_text().splitlines()]
        kinds = ("{}\t{}", "{}, {}", "{}   {}.0", "{};{}")
        lines = (kinds[n % 4].format(path, label) for n, (path, _, label) in enumerate(pairs))
        file.write_text("\r\n".join(lines), encoding="utf-16")
    assert read(root, "auto", "factor", "clutter", Subset()).table.equals(before.table)


def test_labels_of_the_challenge_are_read_in_their_spellings_too(tmp_path: Path) -> None:
    root = trees.challenge(tmp_path / "batches", "batch", 9)
    before = read(root, "auto", "challenge", None, Subset())
    for batch in range(1, 10):
        rows = [f"{name}/000.jpg;{number}.0" for number, name in enumerate(trees.OBJECTS)]
        (root / "test" / f"batch{batch}" / "label.csv").write_text("\n".join(["Filename;Label", *rows]))
    assert read(root, "auto", "challenge", None, Subset()).table.equals(before.table)
