"""`lorisbench import` and `report --beside`: results from elsewhere, marked, with the same metrics."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from answers import refused
from stored_output import Folder, accuracy_matrix

from lorisbench.metrics.table import compute
from lorisbench.report import write_report
from lorisbench.report.frame import read

Cli = Callable[..., Any]
LOWER = np.array([[0.9, np.nan, np.nan], [0.7, 0.8, np.nan], [0.5, 0.6, 0.7]])


def ours(out: Path) -> Path:
    folder = Folder(out)
    for seed in range(2):
        folder.run("naive", seed, accuracy_matrix(3, seed, 0.7, 0.3))
        folder.run("lwf", seed, accuracy_matrix(3, 9 + seed, 0.8, 0.2), strategy="lwf")
    folder.write()
    shutil.rmtree(out / "runs")  # tables are all that is left
    return out


def matrix_file(path: Path, matrix: np.ndarray = LOWER) -> Path:
    pd.DataFrame(matrix).to_csv(path, header=False, index=False)
    return path


def mammoth_file(path: Path, seeds: tuple[int | None, ...] = (0, 1), model: str | None = "lwf") -> Path:
    cells = {f"accuracy_{j + 1}_task{i + 1}": 100 * LOWER[i, j] for i in range(3) for j in range(i + 1)}
    path.write_text("\n".join(str({"model": model, "seed": seed, **cells}) for seed in seeds))
    return path


def row_of(out: Path, label: str) -> dict[str, Any]:
    runs = read(out).runs
    return dict(runs[runs.strategy == label].iloc[0])


def test_a_matrix_beside_ours_has_the_same_metrics_and_is_marked(cli: Cli, tmp_path: Path) -> None:
    out = ours(tmp_path / "out")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    file = matrix_file(tmp_path / "theirs.csv", LOWER)
    answer = cli("report", out, "--beside", f"lwf={file}", report=True)
    assert answer.code == 0 and "beside: lwf from theirs.csv (read as fractions)" in answer.out
    assert before == {path: path.read_bytes() for path in before}, "nothing of ours changes"
    row, (values, reasons) = row_of(out, "lwf (elsewhere)"), compute(LOWER)
    for name, value in values.items():
        assert row[name] == pytest.approx(value, nan_ok=True), name
    assert {"square", "fwt_mean"} == set(reasons)
    assert all(f"{name}: {why}" in row["undefined"] for name, why in reasons.items())
    table = (out / "report" / "tables" / "comparison.md").read_text("utf-8")
    assert "| lwf (elsewhere)<sup>" in table and "from elsewhere (theirs.csv), not run here" in table
    assert "a result from elsewhere, which does not tell it" in table
    curves = (out / "report" / "plots" / "curves.svg").is_file()
    assert "lwf (elsewhere)" in (out / "report" / "index.html").read_text("utf-8") and curves
    assert cli("report", out).code == 0 and row_of(out, "lwf (elsewhere)"), "it stays for the next report"


def test_it_can_be_replaced_and_taken_away(cli: Cli, tmp_path: Path) -> None:
    out = ours(tmp_path / "out")
    for last in (0.7, 0.4):
        changed = np.where(np.isnan(LOWER), np.nan, np.minimum(LOWER, last))
        assert cli("report", out, "--beside", f"x={matrix_file(tmp_path / 'm.csv', changed)}").code == 0
        assert row_of(out, "x (elsewhere)")["plasticity"] == pytest.approx(last)
    assert cli("report", out, "--beside", "x=").code == 0
    assert set(read(out).runs.strategy) == {"naive", "lwf"}
    refused(cli("report", out, "--beside", "x="), "--beside x=", "no result of this name")


def test_rows_and_columns_may_be_exchanged(cli: Cli, tmp_path: Path) -> None:
    out, file = ours(tmp_path / "out"), matrix_file(tmp_path / "m.csv", np.nan_to_num(LOWER.T))
    refused(cli("report", out, "--beside", f"x={file}"), "--transpose")
    assert cli("report", out, "--beside", f"x={file}", "--transpose").code == 0
    assert np.allclose(read(out).matrices["beside/x"], LOWER, equal_nan=True)


def test_logs_can_be_shown_beside_ours(cli: Cli, tmp_path: Path) -> None:
    out = ours(tmp_path / "out")
    log = mammoth_file(tmp_path / "logs.pyd", (0,))
    assert cli("report", out, "--beside", f"x={log}").code == 0
    assert np.allclose(read(out).matrices["beside/x"], LOWER, equal_nan=True)
    refused(cli("report", out, "--beside", f"x={log}", "--transpose"), "logs.pyd", "--transpose is for matrices")
    refused(cli("report", out, "--beside", f"x={mammoth_file(log)}"), "logs.pyd", "2 runs", "lorisbench import")


def test_what_does_not_fit_beside_ours_is_refused(cli: Cli, tmp_path: Path) -> None:
    out, other = ours(tmp_path / "out"), ours(tmp_path / "other")
    file = matrix_file(tmp_path / "m.csv")
    small = matrix_file(tmp_path / "small.csv", LOWER[:2, :2])
    refused(cli("report", out, "--beside", f"x={small}"), "x: small.csv has 2 experiences", "has 3")
    refused(cli("report", out, "--beside", str(file)), "NAME=FILE")
    refused(cli("report", out, "--beside", f"x={tmp_path / 'none.csv'}"), "none.csv", "cannot be read")
    refused(cli("report", out, "--beside", f"x={file}", "--stream", "openloris"), "'openloris-sim'")
    refused(cli("report", out, "--transpose"), "--transpose", "--beside")
    refused(cli("report", out, other, "--beside", f"x={file}"), "--out")
    assert not (out / "beside.json").exists()
    answer = cli("report", out, other, "--out", tmp_path / "c", "--beside", f"x={file}")
    assert answer.code == 0 and row_of(tmp_path / "c", "x (elsewhere)")["accuracy_last"] == pytest.approx(0.6)


def test_it_is_of_one_stream(cli: Cli, tmp_path: Path) -> None:
    one, two = ours(tmp_path / "one"), ours(tmp_path / "two")
    (two / "data.json").write_text((two / "data.json").read_text().replace("b2:0123abcd", "another"))
    out = tmp_path / "out"
    file = matrix_file(tmp_path / "m.csv")
    named = cli("report", one, two, "--out", out, "--beside", f"x={file}")
    refused(named, "openloris-sim, openloris-sim (B)", "--stream", after=True)
    assert cli("report", out, "--beside", f"x={file}", "--stream", "openloris-sim (B)").code == 0
    assert "x (elsewhere)" in set(read(out, "openloris-sim (B)").runs.strategy)
    assert "x (elsewhere)" not in set(read(out, "openloris-sim").runs.strategy)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", ["not valid JSON"]),
        ('{"beside": {"x": {"stream": "s", "source": "f", "matrix": [[1.5]]}}}', ["beside.x.matrix"]),
        ('{"beside": {"x": {"stream": "s", "matrix": [[0.5]]}}}', ["beside.x.source"]),
        ('{"beside": {"x": {"stream": "s", "source": "f", "matrix": [[0.5, 0.5], [0.5]]}}}', ["as many cells"]),
    ],
)
def test_a_damaged_file_of_them_is_named(content: str, words: list[str], cli: Cli, tmp_path: Path) -> None:
    out = ours(tmp_path / "out")
    (out / "beside.json").write_text(content)
    refused(cli("report", out, report=True), "beside.json", *words, after=True)


def test_one_that_fits_no_longer_is_left_out_and_named(tmp_path: Path) -> None:
    out = ours(tmp_path / "out")
    each = {"stream": "openloris-sim", "source": "m.csv", "matrix": [[0.5]]}
    fits = {**each, "matrix": [[0.5] * 3] * 3}
    (out / "beside.json").write_text(json.dumps({"beside": {"x": each, "y": fits}}))
    told = " ".join(read(out).warnings)
    assert "x is left out: its matrix is not one of 3 x 3." in told and "y is left out" not in told


def test_an_import_is_an_output(cli: Cli, tmp_path: Path) -> None:
    answer = cli("import", "mammoth", mammoth_file(tmp_path / "logs.pyd"), "--out", tmp_path / "theirs")
    assert answer.code == 0 and "lwf, seed 1: 3 experiences, last row 60.00 %" in answer.out
    stored = read(tmp_path / "theirs")
    assert stored.runs.status.tolist() == ["done"] * 2 and stored.runs.seed.tolist() == [0, 1]
    assert all(np.allclose(matrix, LOWER, equal_nan=True) for matrix in stored.matrices.values())
    assert len(stored.matrices) == 2 and stored.runs.accuracy_last.tolist() == pytest.approx([0.6, 0.6])
    assert "results from elsewhere, which were imported" in stored.warnings[0]
    assert "from elsewhere (mammoth, logs.pyd)" in stored.remarks("lwf")[0]
    for name, load in (("data.json", json.loads), ("suite.yaml", yaml.safe_load)):
        source = load((tmp_path / "theirs" / name).read_text())["imported"]
        assert source["format"] == "mammoth" and len(source["files"]["logs.pyd"]) == 32
    assert "which were imported" in write_report(tmp_path / "theirs").read_text("utf-8")
    refused(cli("run", "quickstart", "--out", tmp_path / "theirs"), "--out")


def test_results_of_one_stream_are_compared_with_ours(cli: Cli, tmp_path: Path) -> None:
    out, theirs = ours(tmp_path / "out"), tmp_path / "theirs"
    assert cli("import", "mammoth", mammoth_file(tmp_path / "logs.pyd"), "--out", theirs, "--like", out).code == 0
    answer = cli("compare", out, theirs, "--fail-on", "accuracy_last < -5pp")
    mean = np.mean([accuracy_matrix(3, 9 + seed, 0.8, 0.2)[-1].mean() for seed in range(2)])
    assert answer.code == 1 and f"lwf: accuracy_last B - A = {100 * (0.6 - mean):+.2f} pp" in answer.err
    assert "machine" not in answer.err, "it tells no times"
    assert f"{theirs} holds results from elsewhere" in answer.err
    assert cli("report", out, theirs, "--out", tmp_path / "c").code == 0
    assert set(read(tmp_path / "c").runs.strategy) == {"naive", "lwf", "lwf (elsewhere)"}
    told = " ".join(read(tmp_path / "c").warnings)
    assert "lwf (elsewhere) is not from here: B (theirs) was imported." in told and "Machines differ" not in told
    apart = tmp_path / "apart"
    assert cli("import", "mammoth", mammoth_file(tmp_path / "logs.pyd"), "--out", apart).code == 0
    refused(cli("compare", out, apart), "different images or benchmarks (elsewhere, openloris-sim)")


@pytest.mark.parametrize(("kind", "name"), [("matrix", "m.csv"), ("facil", "acc_tag.txt")])
def test_runs_of_several_files_have_seeds(kind: str, name: str, cli: Cli, tmp_path: Path) -> None:
    files = [matrix_file(tmp_path / f"{seed}-{name}") for seed in range(3)]
    for seeds, expected in ((), [0, 1, 2]), (("--seeds", "5,3,1"), [5, 3, 1]):
        answer = cli("import", kind, *files, "--name", "lwf", "--out", tmp_path / "theirs", *seeds)
        assert answer.code == 0, answer.err
        assert pd.read_csv(tmp_path / "theirs" / "results.csv").seed.tolist() == expected


def test_what_cannot_be_imported_is_refused_before_anything_is_written(cli: Cli, tmp_path: Path) -> None:
    out, theirs = ours(tmp_path / "out"), tmp_path / "theirs"
    file, log = matrix_file(tmp_path / "m.csv"), tmp_path / "logs.pyd"
    small = matrix_file(tmp_path / "small.csv", LOWER[:2, :2])

    def importing(*words: Any) -> Any:
        return cli("import", *words, "--out", theirs)

    refused(importing("mamoth", log), "'mamoth'", "did you mean 'mammoth'")
    refused(importing("matrix", file), "m.csv", "--name")
    refused(importing("matrix", file, small, "--name", "x"), "2, 3 experiences")
    refused(importing("matrix", file, file, "--name", "x", "--seeds", "1"), "--seeds", "2 runs")
    refused(importing("matrix", file, file, "--name", "x", "--seeds", "1,1"), "x", "seed 1")
    refused(importing("mammoth", mammoth_file(log, (4, 4))), "lwf", "seed 4", "--seeds")
    refused(importing("mammoth", mammoth_file(log, model=None)), "logs.pyd", "--name")
    refused(importing("matrix", small, "--name", "x", "--like", out), "3 experiences", "imported 2")
    refused(importing("matrix", file, "--name", "x", "--like", out, "--stream", "no"), "--stream no")
    refused(importing("matrix", file, "--name", "x", "--stream", "no"), "--like")
    refused(importing("matrix", file, "--name", "x", "--like", tmp_path / "none"), "none")
    assert not theirs.exists()
    refused(cli("import", "matrix", file, "--name", "x", "--out", out), "--out", "something else")


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "a & b_c 50 %", "../up", "\u05e9\u05dc\u05d5\u05dd", "x" * 200]
)
def test_any_name_will_do(name: str, cli: Cli, tmp_path: Path) -> None:
    out, file = ours(tmp_path / "out"), matrix_file(tmp_path / "m.csv")
    assert cli("report", out, "--beside", f"{name}={file}", report=True).code == 0
    assert "<script>alert" not in (out / "report" / "index.html").read_text("utf-8")
    assert cli("import", "matrix", file, "--name", name, "--out", tmp_path / "theirs").code == 0
    assert set(read(tmp_path / "theirs").runs.strategy) == {name}
    assert cli("report", out, tmp_path / "theirs", "--out", tmp_path / "c").code == 0
    assert (tmp_path / "c" / "results.csv").is_file() and not (tmp_path / "up").exists()
