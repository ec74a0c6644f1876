"""Tables to paste: some columns, sorted, in every format; what LaTeX makes of them; bad input."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
import unicodedata
from collections.abc import Callable
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stored_output import Folder, accuracy_matrix

from lorisbench.common.errors import InputError
from lorisbench.metrics.intervals import Interval
from lorisbench.report import choosing, frame, render, summary, tables, tabular
from lorisbench.report.latency import _rank
from lorisbench.report.latex import COLUMN, PAGE
from lorisbench.report.pasting import Wanted, table_text
from lorisbench.report.plain import _columns
from lorisbench.report.texts import latex_text

HOSTILE = [
    "<script>alert(1)</script>", "a_b%&#$", "x^2~{}\\par", "שלום_עולם", "مرحبا", "λ=0.5 é ß Ş", "日本語", "`'\"|*",
    "[1] a name that is longer than any column of a table may be, and then some", "\x1b[31mred\x07 \t\n two lines",
]  # fmt: skip


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four strategies: one keeps images, one has no finished run, one has NaN in its matrix."""
    folder = Folder(tmp_path_factory.mktemp("tables") / "out", experiences=4)
    for seed in range(3):
        folder.run("low", seed, accuracy_matrix(4, seed, 0.5, 0.3))
        folder.run("keeps", seed, accuracy_matrix(4, seed, 0.7, 0.0), replay_samples=200, latency_p50_ms=9.0)
        matrix = accuracy_matrix(4, seed, 0.6, 0.1)
        matrix[-1, 1] = np.nan
        folder.run("holes", seed, matrix)
    folder.run("gone", 0, None, reason="CUDA out of memory")
    return folder.write()


def rows_of(text: str) -> list[list[str]]:
    """The cells of a Markdown table, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]


def test_columns_come_as_they_were_asked_for_and_rows_in_the_order_wanted(out: Path) -> None:
    wanted = Wanted("comparison", "markdown", ["forgetting_max", "accuracy_last"], ["-accuracy_last"])
    text = table_text(out, wanted)
    assert [row[0].partition("<")[0] for row in rows_of(text)] == ["keeps", "low", "holes", "gone"]
    assert text.splitlines()[2] == "| Strategy | Forgetting, points | Last row (%) |"
    assert "latency" not in text.lower() and "Last row: mean accuracy" in text, "notes are those of the columns shown"
    upwards = table_text(out, Wanted("comparison", "markdown", ["accuracy_last"], ["accuracy_last"]))
    assert [row[0].partition("<")[0] for row in rows_of(upwards)] == ["low", "keeps", "holes", "gone"]
    by_name = table_text(out, Wanted("comparison", "markdown", ["accuracy_last"], ["strategy"]))
    assert [row[0].partition("<")[0] for row in rows_of(by_name)] == ["gone", "holes", "keeps", "low"]


def test_footnotes_are_lettered_anew_and_only_those_that_are_needed_stay(out: Path) -> None:
    text = table_text(out, Wanted("comparison", "markdown", ["heads", "accuracy_last"], ["strategy"]))
    marks = re.findall(r"—<sup>(\w)</sup>", text)
    notes = re.findall(r"^- <sup>(\w)</sup>(.*)$", text, re.M)
    assert marks == ["a", "a", "b"] and [mark for mark, _ in notes] == ["a", "b"]
    assert "no finished run (1 failed)" in notes[0][1] and "not measured" in notes[1][1]


def test_all_formats_hold_the_same_figures(out: Path) -> None:
    wanted = ["accuracy_last", "accuracy_seen", "state_mb"]
    texts = {kind: table_text(out, Wanted("comparison", kind, wanted, ["-accuracy_seen"])) for kind in render.FORMATS}
    figures = [row[2].replace("*", "") for row in rows_of(texts["markdown"]) if "—" not in row[2]]
    assert len(figures) == 2 and all(re.fullmatch(r"[\d.]+ ± [\d.]+", figure) for figure in figures)
    for kind in ("terminal", "latex"):
        plain = re.sub(r"\\,\$\\pm\$\\,", " ± ", re.sub(r"\\textbf\{([^}]*)\}", r"\1", texts[kind])).replace("*", "")
        places = [plain.index(figure) for figure in figures]
        assert places == sorted(places), kind
    read = list(csv.DictReader(io.StringIO(texts["csv"])))
    assert list(read[0]) == ["strategy", *(f"{key}_{part}" for key in wanted for part in ("mean", "ci95", "n"))]
    assert [f"{float(row['accuracy_seen_mean']):.1f}" for row in read[:2]] == [
        f"{float(figure.split()[0]):.1f}" for figure in figures
    ]


def test_a_number_of_decimals_replaces_those_of_the_intervals(out: Path) -> None:
    for digits in (0, 3):
        text = table_text(out, Wanted("comparison", "markdown", ["accuracy_last", "heads"], precision=str(digits)))
        cells = next(row for row in rows_of(text) if row[0] == "low")
        pattern = rf"\d+\.\d{{{digits}}}" if digits else r"\d+"
        assert re.fullmatch(rf"\**{pattern}\** ± {pattern}", cells[1]) and cells[2] == "1", "counts stay whole"


@given(st.lists(st.floats(1e-6, 1e4), min_size=1, max_size=9))
def test_the_median_half_width_has_two_significant_digits(halves: list[float]) -> None:
    decimals = tabular.decimals_of([Interval(50.0, half, 3) for half in halves], None)
    shown = f"{np.median(halves):.{decimals}f}"
    digits = len(shown.replace(".", "").lstrip("0"))
    assert digits == 2 or (decimals == 0 and digits > 2) or (decimals == tabular.MOST and digits < 2)


def test_without_an_interval_a_columns_own_decimals_count() -> None:
    one = [Interval(70.123, float("nan"), 1), Interval(60.0, 0.0, 3)]
    assert tabular.decimals_of(one, 2) == 2 and tabular.decimals_of(one, None) == 2
    assert tabular.decimals_of([Interval(7.0, float("nan"), 1)], None) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "comparisn"}, "did you mean 'comparison'"),
        ({"columns": ["acuracy_last"]}, "--columns: the table 'comparison' has no column 'acuracy_last'; did you mean"),
        ({"sort": ["-acuracy_last"]}, "--sort: .* did you mean 'accuracy_last'"),
        ({"format": "latx"}, "did you mean 'latex'"),
        ({"precision": "-1"}, "auto or a number of decimals"),
        ({"stream": "other"}, "holds no stream 'other'"),
    ],
)
def test_unknown_names_are_input_errors_that_name_the_nearest(out: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        table_text(out, Wanted(**{"name": "comparison", **change}))


def test_the_command_prints_one_table_and_writes_nothing(out: Path, cli: Callable[..., Any]) -> None:
    answer = cli(
        "report", out, "--columns", "accuracy_last,forgetting_max", "--sort", "-accuracy_last", "--format", "csv"
    )
    assert answer.code == 0 and answer.out.startswith("strategy,accuracy_last_mean") and not (out / "report").exists()
    assert [line.split(",")[0] for line in answer.out.splitlines()[1:]] == ["keeps", "low", "holes", "gone"]
    wrong = cli("report", out, "--columns", "acuracy_last")
    assert wrong.code == 2 and wrong.out == "" and wrong.err.count("\n") == 1 and "did you mean" in wrong.err
    for width in ("3.3", "1in", "50in", "wide", "-3in"):
        bad = cli("report", out, "--width", width)
        assert bad.code == 2 and bad.err.count("\n") == 1 and "--width" in bad.err, width


def test_a_paper_has_six_columns_and_few_notes(out: Path) -> None:
    text = table_text(out, Wanted("comparison", "latex"))
    assert r"\begin{tabular}{@{}lrrrrrr@{}}" in text and "resizebox" not in text and r"\begin{table}" in text
    shown = text[text.index(r"\bottomrule") :]
    assert shown.count(r"\par") <= 4, shown
    assert "% Last row: mean accuracy" in text, "what a column means is in a comment"
    assert r"\begin{table*}" in table_text(out, Wanted("comparison", "latex", wide=True))
    assert r"\begin{tabular}{@{}lr@{}}" in table_text(out, Wanted("comparison", "latex", ["accuracy_last"]))


def test_a_terminal_has_aligned_columns_also_of_wide_letters_and_none_of_its_signs(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "out")
    for k, label in enumerate(HOSTILE):
        folder.run(label, 0, np.full((3, 3), 0.4 + 0.01 * k))
    text = table_text(folder.write(), Wanted("comparison", "terminal"))
    assert "\x1b" not in text and "\x07" not in text
    lines = text.splitlines()
    rule = next(k for k, line in enumerate(lines) if line.startswith("──"))
    rows = lines[rule + 1 : rule + 1 + len(HOSTILE)]
    assert len({_columns(line) for line in rows}) == 1
    assert any("\u2068שלום_עולם\u2069" in line for line in rows), "letters from right to left move no figure"
    cut = table_text(folder.out, Wanted("comparison", "terminal", ["all"]), letters=100).splitlines()
    own = [line for line in cut if line.startswith(("──", "a_b"))]
    assert max(map(_columns, own)) <= 100 and sum(line.startswith("a_b") for line in own) > 1


def test_markdown_and_csv_of_hostile_names(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "out")
    for k, label in enumerate(HOSTILE):
        folder.run(label, 0, np.full((3, 3), 0.4 + 0.01 * k))
    text = table_text(folder.write(), Wanted("comparison", "markdown"))
    assert len(rows_of(text)) == len(HOSTILE) and "<script" not in text
    assert {len(row) for row in rows_of(text)} == {len(text.splitlines()[3].split("|")) - 2}
    read = list(csv.DictReader(io.StringIO(table_text(folder.out, Wanted("comparison", "csv")))))
    assert [row["strategy"] for row in read] == HOSTILE


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
def test_latex_has_nothing_of_a_name_but_ascii_and_what_pdflatex_skips(text: str) -> None:
    """A letter that pdfLaTeX lacks is only ever in the first argument of the command that it does not look at."""
    made = latex_text(text)
    skipped = re.sub(r"\\lorisname\{(?:[^{}\\]|\\.|\{[^{}]*\})*\}", "", made)
    assert skipped.isascii(), (text, made)
    assert not any(unicodedata.category(letter) == "Cc" for letter in made)
    for sign in "&%$#_":
        assert made.count(sign) == len(re.findall(rf"\\{re.escape(sign)}", made)) + (
            made.count("$") - made.count(r"\$") if sign == "$" else 0
        )


COMPILER = pytest.mark.skipif(
    shutil.which("pdflatex") is None or shutil.which("kpsewhich") is None, reason="Debian's TeX (.ci/tex) is not there"
)


def compiled(folder: Path, text: str, options: str = "") -> str:
    """The log of pdfLaTeX on a paper with these tables; the test fails if it finds an error."""
    (folder / "paper.tex").write_text(
        rf"\documentclass[10pt{options}]{{article}}\usepackage{{booktabs}}\begin{{document}}Text.{text}\end{{document}}",
        encoding="utf-8",
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=120)
    log = (folder / "paper.log").read_text("utf-8", "replace")
    assert done.returncode == 0, log[-1500:]
    return log


@COMPILER
def test_latex_compiles_and_is_no_wider_than_the_page(out: Path, tmp_path: Path) -> None:
    folder = Folder(tmp_path / "many", experiences=20)
    labels = [*HOSTILE, *(f"method-{k}" for k in range(90))]
    for k, label in enumerate(labels):
        folder.run(label, 0, np.full((20, 20), 0.3 + 0.005 * k))
    named = []
    for where in (out, folder.write()):
        stored = frame.read(where)
        named += tables.build(stored, summary.summarise(stored))
    one = "\\clearpage\n".join(render.text(choosing.paper(table), "latex") for table in named)
    log = compiled(tmp_path, one)
    two = "\\clearpage\n".join(render.text(choosing.paper(table), "latex", wide=True) for table in named)
    narrow = render.text(choosing.paper(named[0]), "latex", points=229.0)
    log += compiled(tmp_path, narrow + "\\clearpage " + two, ",twocolumn")
    assert not re.findall(r"Overfull \\hbox \(([\d.]+)pt", log) and "Float too large" not in log
    assert COLUMN < PAGE and "(part 2 of" in one


@pytest.mark.parametrize("count", [1, 5, 6, 30, 100])
def test_the_interval_of_a_median_holds_it_so_often(count: int) -> None:
    """Of `count` independent values, the r-th smallest and the r-th largest hold the median with 95 % at least."""
    rank = _rank(count)
    if rank is None:
        assert 1 - 2 / 2**count < 0.95
        return
    outside = 2 * sum(comb(count, k) for k in range(rank + 1)) / 2**count
    tighter = 2 * sum(comb(count, k) for k in range(rank + 2)) / 2**count
    assert outside <= 0.05 < tighter


def test_runs_that_share_a_measurement_are_not_repetitions_of_it(tmp_path: Path) -> None:
    """The interval is that of the calls, not that of three copies of one figure."""
    import json

    folder = Folder(tmp_path / "out")
    calls = [5.0 + 0.01 * k for k in range(100)]
    content = {"calls": 100, "batch": 1, "threads": 1, "ms": calls, "bare_ms": [5.0] * 100, "load": 1.5, "cores": 2}
    for seed in range(3):
        run = folder.run("shared", seed, np.full((3, 3), 0.5), latency_p50_ms=5.495, latency_ratio=1.099)
        folder.put(run, "latency.json", json.dumps(content | {"measured_on": "run000-0"}))
    text = table_text(folder.write(), Wanted("comparison", "markdown", ["latency_ratio", "latency_p50_ms"]))
    rank = _rank(100)
    assert rank is not None
    half = (calls[-1 - rank] - calls[rank]) / 2
    assert rows_of(text)[0][1:] == [f"1.099 ± {half / 5:.3f}", f"5.495 ± {half:.3f}"] or rows_of(text)[0][1:] == [
        f"{1.099:.3f} ± {half / 5:.3f}", f"{5.495:.2f} ± {half:.2f}"
    ]  # fmt: skip
    assert "the load of the machine before it was measured was 1.50 processes (average of a minute; 2 cores)" in text
    latency = table_text(folder.out, Wanted("latency", "markdown", ["load", "ratio"]))
    assert "| 1.50 of 2 |" in latency


def test_equals_are_the_best_in_the_order_of_the_rows() -> None:
    means = {f"s{k}": 1.0 for k in reversed(range(12))} | {"worse": 0.5}
    kept = dict.fromkeys(means, 0)
    assert tabular.best_of(means, "higher", kept) == [f"s{k}" for k in reversed(range(12))]
    assert tabular.best_of(means, "higher", kept | {"s3": 5}) == [f"s{k}" for k in reversed(range(12))]
    assert tabular.best_of({"kept": 2.0, **means}, "higher", {**kept, "kept": 5})[:2] == ["kept", "s11"]
