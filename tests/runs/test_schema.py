"""The schema number: what reads a folder of another version, and what refuses it and says what to do."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from answers import refused
from small_models import SMALL

from lorisbench.report import write_report
from lorisbench.suite.schema import SCHEMA


@pytest.fixture
def folder(suite_file, cli, tmp_path: Path) -> Path:
    """The output of a suite of one run."""
    assert cli("run", suite_file(training={"epochs": 1}), "--out", tmp_path / "out").code == 0
    return tmp_path / "out"


def renumber(file: Path, number: int | None) -> None:
    """Give a file another schema number, or none."""
    values = {key: value for key, value in yaml.safe_load(file.read_text("utf-8")).items() if key != "schema"}
    file.write_text(yaml.safe_dump({**({} if number is None else {"schema": number}), **values}, sort_keys=False))


def test_a_folder_of_another_number_is_read_but_not_written_to(folder: Path, suite_file, cli, tmp_path: Path) -> None:
    suite = suite_file(training={"epochs": 1})
    (run,) = (folder / "runs").iterdir()
    for file in (folder / "suite.yaml", run / "config.yaml"):
        assert file.read_text().startswith(f"schema: {SCHEMA}\n")
    shutil.copytree(folder, tmp_path / "new")
    results = (folder / "results.csv").read_text()
    for number, words in ((None, "no schema number"), (SCHEMA + 1, f"schema number {SCHEMA + 1}")):
        renumber(folder / "suite.yaml", number)
        renumber(run / "config.yaml", number)
        for more in ([], ["--dry-run"], ["--strategies", "naive"]):
            refused(cli("run", suite, "--out", folder, *more), words, f"--out {folder}", "another folder")
        refused(cli("export", run), words, "config.yaml", "again with another --out")
        assert cli("report", folder).code == 0 and write_report(folder).is_file()
        assert cli("compare", folder, tmp_path / "new", "--fail-on", "accuracy_last < 0").code == 0
        assert (folder / "results.csv").read_text() == results


def test_a_suite_of_another_number_is_refused_and_one_without_is_of_this(suite_file, cli, tmp_path: Path) -> None:
    suite = suite_file()
    assert cli("run", suite, "--out", tmp_path / "out", "--dry-run").code == 0
    renumber(suite, SCHEMA)
    assert cli("run", suite, "--out", tmp_path / "out", "--dry-run").code == 0
    renumber(suite, SCHEMA - 1)
    answer = cli("run", suite, "--out", tmp_path / "out", "--dry-run")
    refused(answer, str(suite), f"schema number {SCHEMA - 1}", "remove the line `schema`")


def test_a_folder_goes_on_where_settings_have_been_added_since(folder: Path, suite_file, cli) -> None:
    values = yaml.safe_load((folder / "suite.yaml").read_text())
    del values["backbone"]["norm"], values["latency"]["threads"], values["strategies"]["naive"]["training"]["augment"]
    (folder / "suite.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    same = suite_file(training={"epochs": 1}, strategies=["naive", "frozen"])
    answer = cli("run", same, "--out", folder)
    assert answer.code == 0 and "2 runs, 1 already finished" in answer.err + answer.out, answer
    assert yaml.safe_load((folder / "suite.yaml").read_text())["backbone"]["norm"] == "batch"
    del values["backbone"]["norm_groups"]
    (folder / "suite.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    other = suite_file(training={"epochs": 1}, backbone={**SMALL, "norm": "group"})
    refused(cli("run", other, "--out", folder), "backbone", "'batch' in the folder, 'group' in this suite")
