"""`lorisbench new benchmark`: the reader that is written works, its test too, and nothing is overwritten."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from answers import refused


def run_its_test(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_shelf.py"]
    environment = {**os.environ, "PYTEST_ADDOPTS": ""}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)


@pytest.mark.heavy
def test_a_new_benchmark_passes_its_test_and_fails_it_when_broken(cli, tmp_path: Path) -> None:
    answer = cli("new", "benchmark", "shelf", "--out", tmp_path)
    assert answer.code == 0, answer.err
    assert answer.out.split() == [str(tmp_path / "shelf.py"), str(tmp_path / "test_shelf.py")]
    assert "shelf" in cli("ls", "benchmarks", "--plugin", tmp_path / "shelf.py").out
    passed = run_its_test(tmp_path)
    assert passed.returncode == 0 and "3 passed" in passed.stdout, passed.stdout + passed.stderr
    reader = tmp_path / "shelf.py"
    reader.write_text(reader.read_text().replace('1: "test", 2: "validation"', '1: "validation", 2: "validation"'))
    broken = run_its_test(tmp_path)
    assert broken.returncode == 1 and "2 failed" in broken.stdout, "an experience without test images"


@pytest.mark.parametrize("name", ["openloris", "My", "my-data", "class", "conftest", "manifest", "torch", "../up", ""])
def test_names_that_cannot_be_are_refused(cli, tmp_path: Path, name: str) -> None:
    refused(cli("new", "benchmark", name, "--out", tmp_path / "new"), repr(name))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("file", ["mine.py", "test_mine.py"])
def test_nothing_is_overwritten(cli, tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_text("years of work")
    refused(cli("new", "benchmark", "mine", "--out", tmp_path), str(tmp_path / file))
    assert [path.name for path in tmp_path.iterdir()] == [file]
