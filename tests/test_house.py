"""The house: rooms stand on floors and import downwards only, and the package brings one import name into a machine."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {"harness": "lorisbench", "strategies": "lorisbench.strategies", "benchmarks": "lorisbench.benchmarks"}


def floors() -> dict[str, int]:
    """Room -> floor, as harness/README.md lists them."""
    (block,) = re.findall(
        r"```(?:text)?\n\s*floors\b[^\n]*\n(.*?)```", (ROOT / "harness" / "README.md").read_text(), re.DOTALL
    )
    return {
        room: int(floor) for line in block.strip().splitlines() for floor, *rooms in [line.split()] for room in rooms
    }


def modules() -> dict[str, Path]:
    """Every module of the package by its import name."""
    found = {}
    for folder, package in FOLDERS.items():
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join((package, *parts)).removesuffix(".__init__")] = path
    return found


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """What a file imports anywhere in it, also inside functions, by full name, with the line."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import says not which room it leads to"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def room_of(name: str, rooms: dict[str, int]) -> str | None:
    """The room of a module of the project, `lorisbench` itself for the door; None for the modules of others."""
    top, *below = name.split(".")
    if top != "lorisbench":
        return None
    return below[0] if below and below[0] in rooms else top


def test_every_room_has_a_floor() -> None:
    rooms = floors()
    folders = {path.name for path in (ROOT / "harness").iterdir() if (path / "__init__.py").is_file()}
    assert folders | {"strategies", "benchmarks"} == set(rooms)
    assert {path.name for path in (ROOT / "harness").glob("*.py")} == {"__init__.py", "__main__.py"}


def test_no_room_imports_from_its_own_floor_or_a_higher_one() -> None:
    rooms = floors()
    wrong = []
    for name, path in modules().items():
        room = room_of(name, rooms)
        for imported, line in imports(path):
            other = room_of(imported, rooms)
            if room == "lorisbench" or other is None or other == room:
                continue  # the door may lead anywhere: it imports nothing before it is asked
            if other == "lorisbench" or rooms[other] >= rooms[str(room)]:
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {room} imports {imported}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.heavy
def test_the_old_names_are_imported_nowhere() -> None:
    files = [*modules().values(), *(ROOT / "tests").rglob("*.py"), *(ROOT / "results").glob("*.py")]
    wrong = [f"{path}:{line}" for path in files for name, line in imports(path) if name.split(".")[0] in FOLDERS]
    assert not wrong


@pytest.fixture
def crowded(tmp_path: Path) -> Path:
    """A folder with packages of its own that are called as the project's folders are; importing one is an error."""
    for name in (*FOLDERS, "tests", "results"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('a folder of the user, not of the project')")
    return tmp_path


@pytest.mark.heavy  # tests/api has a script with workers in such a folder
def test_suites_plugins_and_workers_run_beside_folders_of_the_same_names(crowded: Path, suite_file) -> None:
    plugin = crowded / "mine.py"
    plugin.write_text(
        textwrap.dedent("""
        from lorisbench import Context, Strategy

        class Mine(Strategy, name="mine"):
            '''Fine-tuning.'''
            def plugins(self, context: Context):
                return []
        """)
    )
    suite = suite_file(strategies=["naive", "mine"], training={"epochs": 1})
    words = ["run", str(suite), "--plugin", "mine.py", "--workers", "2", "--out", "out"]
    done = subprocess.run([sys.executable, "-m", "lorisbench", *words], cwd=crowded, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    states = [yaml.safe_load(path.read_text())["status"] for path in (crowded / "out" / "runs").glob("*/status.json")]
    assert states == ["done", "done"]


@pytest.mark.heavy
def test_a_wheel_brings_one_name_and_all_files(tmp_path: Path) -> None:
    source = tmp_path / "source"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True
    )
    if listed.returncode:  # no checkout: the folders as they are
        names = [
            str(path.relative_to(ROOT)) for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()
        ]
        names += ["setup.cfg", "pyproject.toml", "README.md", "LICENSE"]
    else:
        names = [name for name in os.fsdecode(listed.stdout).split("\0") if name and (ROOT / name).is_file()]
    for name in names:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        str(source),
    ]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    assert {name.split("/")[0] for name in inside if ".dist-info/" not in name} == {"lorisbench"}
    for name in names:
        folder, _, below = name.partition("/")
        if folder in FOLDERS and not name.endswith(("README.md",)):
            packed = f"{FOLDERS[folder].replace('.', '/')}/{below}"
            assert packed in inside, f"{name} is not in the wheel: see packages and package_data in setup.cfg"
