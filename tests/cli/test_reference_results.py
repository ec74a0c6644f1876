"""Reference results: the commands that make them, what `make results` does, and `lorisbench ls results`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from answers import refused
from pages import ROOT

Cli = Callable[..., Any]
REFERENCE = ROOT / "results" / "reference"
COMMANDS = yaml.safe_load((ROOT / "results" / "reference.yaml").read_text("utf-8"))


WITHOUT_RUNS = ("bench", "bench-gpu", "reproduce-plugins")


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """make_results, writing into a results/ of its own with one page."""
    monkeypatch.syspath_prepend(ROOT / "results")
    import make_reference
    import make_results

    here = tmp_path / "results"
    (here / "reference").mkdir(parents=True)
    page = tmp_path / "README.md"
    page.write_text("before\n\n<!-- reference tiny -->\n<!-- end tiny -->\n\nafter\n")
    monkeypatch.setattr(make_reference, "HERE", here)
    monkeypatch.setattr(make_reference, "PAGES", (page,))
    monkeypatch.setattr(make_results, "HERE", here)
    return make_results


def test_each_folder_of_references_has_its_commands() -> None:
    assert set(COMMANDS) == {folder.name for folder in REFERENCE.iterdir()}


@pytest.mark.usefixtures("without_data")
@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in WITHOUT_RUNS])
def test_its_commands_plan_runs(name: str, scripts: Any, release: Path, cli: Cli, tmp_path: Path) -> None:
    for program, *words in scripts.commands()[name]:
        assert program == "lorisbench" and words[words.index("--out") + 1] == f"results/{name}"
        words = [word.format(mnist=release) for word in words]
        answer = cli(*words, "--dry-run", "--out", tmp_path / "planned")  # the last --out counts
        assert answer.code == 0 and answer.out.strip(), answer.err


def test_a_suite_is_run_copied_and_written_into_the_pages(
    scripts: Any, suite_file: Callable[..., Path], cli: Cli, tmp_path: Path
) -> None:
    out = tmp_path / "results" / "tiny"
    suite = suite_file(name="tiny", seeds=[0, 1])
    known = {"tiny": [["lorisbench", "run", str(suite), "--out", str(out)]], "other": [["lorisbench", "no"]]}
    run: list[Sequence[str]] = []

    def execute(words: Sequence[str]) -> int:
        run.append(words)
        return int(cli(*words[1:], report=True).code)

    assert scripts.make_results(["tiny"], {}, execute, known) == [] and len(run) == 1
    copied = tmp_path / "results" / "reference" / "tiny"
    assert (copied / "results.csv").read_bytes() == (out / "results.csv").read_bytes()
    text = (tmp_path / "README.md").read_text("utf-8")
    assert (
        "Results of `tiny`" in text and "| naive | " in text and text.startswith("before") and text.endswith("after\n")
    )
    assert scripts.make_results([], {}, execute, known) == ["other: lorisbench no ended with exit code 2"]
    assert copied.is_dir() and not (tmp_path / "results" / "reference" / "other").exists()


def test_what_needs_a_folder_that_is_not_given_is_left_out(scripts: Any, tmp_path: Path) -> None:
    run: list[Sequence[str]] = []
    written: list[Path] = []
    known = {"a": [["lorisbench", "--data-root", "{mnist}"]], "b": [["lorisbench", "x"], ["lorisbench", "y"]]}

    def execute(words: Sequence[str]) -> int:
        run.append(words)
        return 0

    faults = scripts.make_results([], {}, execute, known, written.append)
    assert faults == ["a: left out: it needs a folder of MNIST's four files (make results MNIST=…)"]
    assert run == [["lorisbench", "x"], ["lorisbench", "y"]] and [path.name for path in written] == ["b"]
    assert scripts.make_results(["a"], {"mnist": "/data"}, execute, known, written.append) == []
    assert run[-1] == ["lorisbench", "--data-root", "/data"]
    refused(lambda: scripts.make_results(["c"], {}, execute, known), "unknown results 'c'")


def test_references_are_listed(cli: Cli) -> None:
    listed = {entry["name"]: entry for entry in json.loads(cli("ls", "results", "--json").out)}
    assert set(listed) == set(COMMANDS)
    for name, entry in listed.items():
        assert entry["command"] == COMMANDS[name] and not entry["faults"], name
        assert entry["machine"] and entry["date"] and entry["versions"]["lorisbench"], name
        assert entry["best"] or name in WITHOUT_RUNS, name
    text = cli("ls", "results").out
    assert f"best: {listed['quickstart']['best']['openloris-sim-sequence']['strategy']}, " in text
    assert "lorisbench run quickstart\n" in text
    refused(cli("ls", "result"), "did you mean 'results'")


def test_those_of_the_present_folder_come_first_and_damage_is_named(cli: Cli, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    mine, broken = (tmp_path / "results" / "reference" / name for name in ("mine", "broken"))
    for folder in (mine, broken):
        folder.mkdir(parents=True)
    (mine / "results.csv").write_text(
        "strategy,seed,status,accuracy_last,benchmark\n"
        "a,0,done,0.5,x\na,1,done,0.7,x\nb,0,done,0.6,x\nb,1,failed,0.9,x\nc,0,done,,x\nc,1,done,nan,x\n"
    )
    (mine / "env.json").write_text('{"machine": {"cpu": "Mine", "cores": 4}, "date": "2026-01-02 03:04 UTC"}')
    (broken / "env.json").write_text("{")
    (broken / "results.csv").write_text("a,b\n1,2\n")
    lines = cli("ls", "results").out.splitlines()
    assert lines[2].split(maxsplit=1) == [
        "mine", "best: a and b, 60.00 % on the last row; Mine, 4 cores; 2026-01-02; command unknown",
    ]  # fmt: skip
    assert "env.json: not valid JSON" in lines[1] and "not a table of runs" in lines[1]
