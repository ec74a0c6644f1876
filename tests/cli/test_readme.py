"""What the READMEs show works: Python runs, commands parse and plan what they say, suites are valid."""

import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
import yaml
from pages import PAGES, ROOT, Block, blocks, code_spans, prose, written_files
from PIL import Image
from safetensors.numpy import load_file
from small_models import small_backbone

import lorisbench
from lorisbench.cli.app import app
from lorisbench.common.errors import InputError
from lorisbench.model import backbones
from lorisbench.suite.benchmarks import make_benchmark
from lorisbench.suite.config import SuiteConfig

PYTHON, SHELL, YAML = blocks("python"), blocks("sh"), blocks("yaml")
SCRIPTS = [block for block in PYTHON if block.file is None]
ELSEWHERE = "an exported model"  # the setup of the script that tests/export/test_export.py runs on photographs
# Commands that blocks show beside ours: they are noted, not executed, and any other is an error
STUBBED = ("lorisbench", "make", "pip", "python", "source", "pre-commit")
USAGE_ERROR = typer.BadParameter.__mro__[1]  # click's, whether Typer brings its own click or takes the installed one


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """`files(page)` -> a folder with the files that the page shows; always the same, so that a plugin loads once."""
    made: dict[Path, Path] = {}

    def of(page: Path) -> Path:
        if page not in made:
            made[page] = written_files(page, tmp_path_factory.mktemp("shown"))
        return made[page]

    return of


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, release: Path) -> None:
    """A backbone of two layers, and a rendered set that is a few small files."""
    monkeypatch.setattr(backbones, "_make", small_backbone)
    monkeypatch.setattr("lorisbench.benchmarks.sim.benchmark.render_set", lambda *args, **settings: release)


@pytest.mark.usefixtures("small", "checked_on_features")
@pytest.mark.parametrize("script", [script for script in SCRIPTS if script.setup != ELSEWHERE], ids=str)
def test_a_script_runs(script: Block, cli, suite_file, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    if script.setup == "a finished quickstart":
        suite = suite_file(strategies=["naive", "ewc"], training={"epochs": 1}, latency={"enabled": False})
        answer = cli("run", suite, "--out", "results/quickstart")
        assert answer.code == 0, answer.err
    real, short = lorisbench.run, {"training": {"epochs": 1}, "latency": {"enabled": False}}

    def brief(*what: Any, seeds: Any, **settings: Any) -> lorisbench.Results:
        return real(*what, seeds=list(seeds)[:1], **short, **settings)

    monkeypatch.setattr(lorisbench, "run", brief)
    exec(compile(script.text, str(script), "exec"), {"__name__": "__main__"})


def test_every_python_block_is_a_script_or_a_file_that_a_test_uses() -> None:
    assert [block.setup for block in SCRIPTS].count(ELSEWHERE) == 1
    assert {block.file for block in PYTHON} == {"hold.py", "my.py", "my_lwf.py", "sessions.py", None}


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.heavy)])
@pytest.mark.parametrize(("page", "file", "name"), [("", "hold.py", "hold"), ("strategies", "my_lwf.py", "my-lwf")])
def test_a_strategy_it_shows_conforms(
    files, cli, request: pytest.FixtureRequest, page: str, file: str, name: str, whole: bool
) -> None:
    if not whole:
        request.getfixturevalue("checked_on_features")
    plugin = files(ROOT / page / "README.md") / file
    assert len(plugin.read_text("utf-8").splitlines()) <= 60
    answer = cli("check", name, "--plugin", plugin)
    assert answer.code == 0, answer.out
    assert name in cli("ls", "strategies", "--plugin", plugin).out


def test_the_metric_it_shows_is_added_to_a_report(files, finished: Callable[[Path], Path], cli, tmp_path: Path) -> None:
    file = files(ROOT / "results" / "README.md") / "my.py"
    out = finished(tmp_path / "out")
    assert cli("report", out, "--metric", f"{file}:flips", report=True).code == 0
    table = (out / "report" / "tables" / "own_metrics.md").read_text("utf-8")
    assert "| naive | 3 | 0." in table and "flips: as my.py returns it." in table


def test_the_lwf_it_shows_equals_the_built_in(files, suite_file: Callable[..., Path], cli, tmp_path: Path) -> None:
    plugin = files(ROOT / "strategies" / "README.md") / "my_lwf.py"
    same = {"alpha": 3.0, "temperature": 2.0}
    suite = suite_file(strategies={"lwf": same, "my-lwf": same, "naive": None}, latency={"enabled": False},
                       training={"epochs": 4, "batch_size": 2, "lr": 0.01})  # fmt: skip
    answer = cli("run", suite, "--plugin", plugin, "--out", tmp_path / "out")
    assert answer.code == 0, answer.err
    stored = {}
    for label in ("lwf", "my-lwf", "naive"):
        (folder,) = (tmp_path / "out" / "runs").glob(f"*.{label}.s0.*")
        stored[label] = load_file(folder / "checkpoint" / "model.safetensors")["head.weight"]
    assert np.allclose(stored["lwf"], stored["my-lwf"], atol=1e-6)
    assert not np.allclose(stored["lwf"], stored["naive"], atol=1e-3)


@pytest.mark.usefixtures("small")
def test_the_reader_it_shows_reads(files, cli, tmp_path: Path) -> None:
    folder = files(ROOT / "benchmarks" / "README.md")
    images = tmp_path / "images"
    images.mkdir()
    for session in ("monday", "tuesday"):
        for colour, name in enumerate(("cup", "jar")):
            for frame in range(10):
                picture = Image.new("RGB", (32, 32), (120 * colour, 10 * frame, 99))
                picture.save(images / f"{session}_{name}_{frame:02d}.png")
    out = tmp_path / "out"
    short = [f"--set={key}" for key in ("latency.enabled=false", "training.epochs=1", "backbone.image_size=32")]
    answer = cli("run", folder / "sessions.yaml", "--data-root", images, "--seeds", 0, "--out", out, *short)
    assert answer.code == 0, answer.err
    lines = (out / "experiences.csv").read_text().splitlines()
    assert lines == [
        "stream,experience,name,factor,level,train,validation,test",
        "sessions,0,monday,,0,14,2,4", "sessions,1,tuesday,,0,14,2,4",
    ]  # fmt: skip
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no image" in cli("run", folder / "sessions.yaml", "--data-root", empty).err


def shown(block: Block, folder: Path) -> Iterator[list[str]]:
    """The commands of a shell block, word by word, as bash reads it; nothing but the stubs can be executed."""
    stubs = "".join(f"{name}() {{ printf '%s\\37' {name} \"$@\"; echo; }}\n" for name in STUBBED)
    done = subprocess.run(
        ["/bin/bash", "--norc", "-euc", stubs + block.text], cwd=folder, env={"PATH": "/nowhere"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and not done.stderr, done.stderr
    for line in done.stdout.splitlines():
        yield line.split("\37")[:-1]


def parse(words: list[str]) -> list[str]:
    """The path of the command, such as ["data", "split"]. Raises click's UsageError for what it does not take."""
    command: Any = typer.main.get_command(app)
    context, path = command.context_class(command), []
    while words and hasattr(command, "resolve_command"):  # a group
        name, command, words = command.resolve_command(context, words)
        path.append(str(name))
    if not hasattr(command, "resolve_command"):
        command.make_context(path[-1], list(words), parent=context)
    return path


def test_parsing_refuses_what_a_command_does_not_take() -> None:
    assert parse(shlex.split("data split folder --disjoint -o file.csv")) == ["data", "split"]
    for line in ("runn quickstart", "run quickstart --strategy=ewc", "data split folder", "run a --workers=-1"):
        with pytest.raises(USAGE_ERROR):
            parse(shlex.split(line))


@pytest.mark.usefixtures("without_data")
@pytest.mark.parametrize("block", SHELL, ids=str)
def test_commands_are_there_and_plan_what_they_say(block: Block, files, release, cli, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(files(block.page))
    for program, *words in shown(block, tmp_path):
        if program != "lorisbench":
            continue
        path = parse(words)
        if path[0] not in ("run", "reproduce"):
            continue
        if "--data-root" in words:
            words[words.index("--data-root") + 1] = str(release)
        answer = cli(*words, "--dry-run", "--out", tmp_path / "planned")  # the last --out counts
        assert answer.code == 0, (words, answer.err)
        assert answer.out.strip(), words


def test_the_commands_of_a_workflow_parse() -> None:
    """What a CI runs, with what the system puts in place of variables."""
    found = []
    for block in blocks("yml"):
        steps = [step for job in yaml.safe_load(block.text)["jobs"].values() for step in job["steps"]]
        for words in (shlex.split(step["run"]) for step in steps if "run" in step):
            if "lorisbench" in words:
                found.append(parse(words[words.index("lorisbench") + 1 :])[0])
    assert found == ["run", "run", "compare"]


def test_the_blocks_show_every_command() -> None:
    commands = {
        tuple(parse(words)) for block in SHELL for program, *words in shown(block, ROOT) if program == STUBBED[0]
    }
    data = ("describe", "verify", "leaks", "split", "unpack", "render")
    plain = ("run", "tune", "report", "export", "ls", "reproduce", "compare", "check", "bench")
    assert {*((name,) for name in plain), *(("data", name) for name in data)} <= commands
    assert {("new", "strategy"), ("cache", "ls"), ("cache", "clear")} <= commands


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name + "/" + page.name)
def test_commands_within_sentences_are_there(page: Path) -> None:
    for span in code_spans(prose(page)):
        if re.match("lorisbench [a-z]", span):
            try:
                assert parse(shlex.split(span)[1:])
            except USAGE_ERROR as error:  # a sentence may be about a command, not about its arguments
                assert type(error).__name__ == "MissingParameter", f"{span}: {error.format_message()}"


@pytest.mark.usefixtures("without_data")
@pytest.mark.parametrize("block", YAML, ids=str)
def test_suites_are_valid(block: Block, files, cli, tmp_path: Path) -> None:
    """A block is a suite, or some keys of one."""
    planned(cli, yaml.safe_load(block.text), files(block.page) / "shown_keys.yaml", tmp_path / "out")


@pytest.mark.usefixtures("without_data")
def test_settings_within_sentences_are_valid(cli, tmp_path: Path) -> None:
    """`benchmark: {manifest: FILE}` and the like, in prose and in tables."""
    found = 0
    for span in {span for page in PAGES for span in code_spans(prose(page))}:
        try:
            keys = yaml.safe_load(span)
        except yaml.YAMLError:
            continue
        if isinstance(keys, dict) and set(keys) <= set(SuiteConfig.model_fields) and None not in keys.values():
            planned(cli, keys, tmp_path / "shown_keys.yaml", tmp_path / "out")
            found += 1
    assert found >= 2


def planned(cli, keys: dict[str, Any], file: Path, out: Path) -> None:
    """A suite with these keys, completed where they are not a whole one, is accepted and has runs."""
    own = {} if "benchmarks" in keys else {"benchmark": {"name": "openloris-sim"}}
    suite = {"name": "shown", **own, "strategies": ["naive"], **keys}
    file.write_text(yaml.safe_dump(suite), encoding="utf-8")
    answer = cli("run", file, "--dry-run", "--out", out)
    assert answer.code == 0 and answer.out, (keys, answer.err)


def test_the_csv_file_it_shows_is_read(tmp_path: Path) -> None:
    (example,) = (block.text for block in blocks("") if block.text.startswith("# root: "))
    for path in re.findall(r"^([a-z]+/\S+?\.png),", example, re.MULTILINE):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / path)
    (tmp_path / "kitchen.csv").write_text(example, encoding="utf-8")
    reader = make_benchmark({"name": "manifest", "file": str(tmp_path / "kitchen.csv"), "root": str(tmp_path)})
    assert len(reader.manifest().table) == 3
    with pytest.raises(InputError, match="'tuesday' has no"):  # three images are too few to train on
        reader.usable()
