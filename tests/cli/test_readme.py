"""The README holds what it promises: its strategy runs, its commands exist, its picture is there."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from lorisbench.common.errors import InputError
from lorisbench.suite.resolve import make_benchmark, written_out

README = Path(__file__).resolve().parents[2] / "README.md"


@pytest.fixture(scope="module")
def text() -> str:
    return README.read_text("utf-8")


@pytest.fixture
def example(text: str, tmp_path: Path) -> Path:
    """The one Python file that the README shows, as a plugin file."""
    (code,) = re.findall(r"```python\n(# my_lwf\.py.*?)```", text, re.DOTALL)
    path = tmp_path / "my_lwf.py"
    path.write_text(code, encoding="utf-8")
    return path


def test_the_example_has_at_most_60_lines(example: Path) -> None:
    assert len(example.read_text("utf-8").splitlines()) <= 60


def test_the_example_runs_and_equals_the_built_in(
    example: Path, suite_file: Callable[..., Path], cli, tmp_path: Path
) -> None:
    same = {"alpha": 3.0, "temperature": 2.0}
    suite = suite_file(strategies={"lwf": same, "my-lwf": same, "naive": None}, latency={"enabled": False},
                       training={"epochs": 10, "batch_size": 2, "lr": 0.01})  # fmt: skip
    answer = cli("run", suite, "--plugin", example, "--out", tmp_path / "out")
    assert answer.code == 0, answer.err
    stored = {}
    for label in ("lwf", "my-lwf", "naive"):
        (folder,) = (tmp_path / "out" / "runs").glob(f"*.{label}.s0.*")
        from safetensors.numpy import load_file

        stored[label] = load_file(folder / "checkpoint" / "model.safetensors")["head.weight"]
    assert np.allclose(stored["lwf"], stored["my-lwf"], atol=1e-6)
    assert not np.allclose(stored["lwf"], stored["naive"], atol=1e-3)
    assert "my-lwf" in cli("ls", "strategies", "--plugin", example).out


def test_every_command_it_shows_is_one(text: str, cli) -> None:
    shown = set(re.findall(r"lorisbench ([a-z]+)", text))
    assert {"run", "report", "ls"} <= shown
    for command in shown:
        assert cli(command, "--help").code == 0, command


def test_every_data_command_it_shows_is_one(text: str, cli) -> None:
    shown = set(re.findall(r"lorisbench data ([a-z]+)", text))
    assert {"describe", "verify", "leaks", "split", "unpack"} <= shown
    for command in shown:
        assert cli("data", command, "--help").code == 0, command


def test_every_benchmark_it_shows_is_one(text: str) -> None:
    shown = [yaml.safe_load(line) for line in re.findall(r"`?(benchmark: \{.*?\})[`\n]", text)]
    assert len(shown) >= 4
    for entry in shown:
        make_benchmark(written_out(entry["benchmark"]))  # typed, so that a misspelt key is an error


def test_its_csv_file_is_read(text: str, tmp_path: Path) -> None:
    (example,) = re.findall(r"```\n(# root: .*?)```", text, re.DOTALL)
    paths = re.findall(r"^([a-z]+/\S+?\.png),", example, re.MULTILINE)
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / path)
    (tmp_path / "kitchen.csv").write_text(example, encoding="utf-8")
    with pytest.raises(InputError, match="'monday' has no validation images"):  # three images are too few to train on
        make_benchmark({"name": "manifest", "file": str(tmp_path / "kitchen.csv"), "root": str(tmp_path)}).manifest()


def test_links_and_pictures_exist(text: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("http"):
            assert (README.parent / target).exists(), target
