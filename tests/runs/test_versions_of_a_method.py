"""Results of two versions of a strategy's code are never taken for one method's."""

from __future__ import annotations

import functools
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from answers import refused
from registries import forgotten

from lorisbench.common.fingerprint import code_of
from lorisbench.common.registry import STRATEGIES, load_plugin
from lorisbench.common.yaml_files import read_yaml
from lorisbench.report.facts import collect
from lorisbench.report.frame import read

MINE = '''
from avalanche.core import SupervisedPlugin
from helper import FACTOR
from lorisbench import Strategy


class Scale(SupervisedPlugin):
    def before_backward(self, strategy, **kwargs):
        strategy.loss *= FACTOR


class Mine(Strategy, name="mine"):
    """Scales the loss."""

    def plugins(self, context):
        return [Scale()]
'''


TYPED = """
def scale(x):
    return x * FACTOR


class Mine:
    def f(self):
        return scale(1)
"""


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    with forgotten():
        yield


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A plugin file with a module beside it, and one that it does not import."""
    folder = tmp_path / "methods"
    folder.mkdir()
    (folder / "helper.py").write_text("FACTOR = 2.0\n")
    (folder / "notes.py").write_text("a = 1\n")
    (folder / "mine.py").write_text(MINE)
    return folder / "mine.py"


@pytest.fixture
def again(mine: Path, suite_file: Callable[..., Path], cli: Callable, tmp_path: Path) -> Callable:
    """`again(words)`: the same command."""
    suite = suite_file(plugins=[str(mine)], strategies={"naive": None, "mine": None})
    return functools.partial(cli, "run", suite, "--out", tmp_path / "out")


def rows(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "results.csv")


@pytest.mark.parametrize("name", ["mine.py", "helper.py"])
def test_changed_code_is_refused_until_its_runs_are_replaced(
    again: Callable, mine: Path, tmp_path: Path, name: str
) -> None:
    assert again().code == 0
    out = tmp_path / "out"
    before = rows(out).set_index("strategy")
    code = read_yaml(out / "suite.yaml")["strategies"]["mine"]["code"]
    assert list(code) == ["mine.py"] and "code" not in read_yaml(out / "suite.yaml")["strategies"]["naive"]
    assert read_yaml(out / "runs" / before.run_id["mine"] / "config.yaml")["code"] == code
    (mine.parent / "notes.py").write_text("a = 2\n")
    assert again().code == 0 and rows(out).run_id.tolist() == before.run_id.tolist()

    changed = mine.parent / name
    changed.write_text(changed.read_text().replace("2.0", "3.0").replace("*= FACTOR", "*= 1.5 * FACTOR"))
    refused(again(), "'mine'", "other code (mine.py changed since)", "--rerun mine")
    refused(again("--seeds", "1"), "--rerun mine")
    assert rows(out).equals(before.reset_index()[rows(out).columns])
    assert again("--strategies", "naive", "--seeds", "0").code == 0

    answer = again("--rerun", "mine")
    assert answer.code == 0 and "left out" in answer.err, answer.err
    after = rows(out).set_index("strategy")
    assert len(after) == 2 and after.run_id["naive"] == before.run_id["naive"]
    assert after.run_id["mine"] != before.run_id["mine"]
    now = read_yaml(out / "suite.yaml")["strategies"]["mine"]["code"]
    assert now != code and dict(collect(read(out)))["Code from outside"] == f"mine: mine.py {now['mine.py']}"


def test_what_has_not_been_finished_may_be_mended(again: Callable, mine: Path, tmp_path: Path) -> None:
    mine.write_text(MINE.replace("strategy.loss *= FACTOR", "raise ValueError('a bug')"))
    assert again().code == 1
    mine.write_text(MINE)
    assert again().code == 0
    assert rows(tmp_path / "out").status.tolist() == ["done", "done"]


def test_a_run_of_other_code_is_named_where_it_is_used(
    again: Callable, mine: Path, cli: Callable, tmp_path: Path
) -> None:
    assert again("--set", "keep_state=true").code == 0
    (run,) = (tmp_path / "out" / "runs").glob("*.mine.*")
    mine.write_text(f"{MINE}\n\nUNUSED = 1\n")
    answer = cli("latency", tmp_path / "out", "--strategies", "mine", "--plugin", mine, "--calls", 2)
    assert answer.code == 0 and "mine.py changed since it was trained" in answer.err
    folder = tmp_path / "new" / "cup_01"
    folder.mkdir(parents=True)
    refused(cli("learn", run, "--data", folder.parent, "--out", tmp_path / "more"), "mine.py changed since")


def test_a_file_that_is_edited_is_loaded_again(mine: Path) -> None:
    load_plugin(mine)
    kind = STRATEGIES.get("mine")
    before = code_of([kind])
    load_plugin(mine)
    assert STRATEGIES.get("mine") is kind
    (mine.parent / "helper.py").write_text("FACTOR = 1.0\n")
    load_plugin(mine)
    edited = STRATEGIES.get("mine")
    assert edited is not kind and sys.modules[edited.__module__].FACTOR == 1.0
    assert code_of([edited]) != before


def test_a_run_that_would_be_trained_by_a_file_edited_since_fails(
    suite_file: Callable, cli: Callable, tmp_path: Path
) -> None:
    """A second attempt is made in a new process, which loads what the first has left of the file."""
    file = tmp_path / "mine.py"
    edit = f"open({str(file)!r}, 'a').write('# edited'); os.kill(os.getpid(), 9)"
    text = MINE.replace("from helper import FACTOR\n", "import os\nFACTOR = 2\n")
    file.write_text(text.replace("return [Scale()]", f"{edit}\n        return [Scale()]"))
    suite = suite_file(plugins=[str(file)], strategies={"mine": None}, latency={"enabled": False})
    assert cli("run", suite, "--out", tmp_path / "out", "--workers", 1).code == 1
    assert "has changed since this suite was started" in rows(tmp_path / "out").reason[0]


def test_line_ends_and_places_are_no_code(mine: Path, tmp_path: Path) -> None:
    load_plugin(mine)
    first = code_of([STRATEGIES.get("mine")])
    other = tmp_path / "elsewhere"
    shutil.copytree(mine.parent, other)
    (other / "mine.py").write_bytes(MINE.replace("\n", "\r\n").encode())
    with forgotten():
        load_plugin(other / "mine.py")
        assert code_of([STRATEGIES.get("mine")]) == first and len(first["mine.py"]) == 10


def test_a_package_has_its_version_or_a_hash_of_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pydantic

    from lorisbench.strategies.lwf import LwF

    assert code_of([pydantic.BaseModel]) == {"pydantic": pydantic.__version__}
    assert code_of([LwF], {"plugin": "avalanche.training.plugins:ReplayPlugin", "lr": "torch.optim:Adam"}) == {}
    package = tmp_path / "loose_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "method.py").write_text("class Method:\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import loose_package.method  # type: ignore[import-not-found]

    found = code_of([], {"args": [{"object": "loose_package.method:Method"}]})
    assert list(found) == ["loose_package"] and found == code_of([loose_package.method.Method])
    for name in [name for name in sys.modules if name.startswith("loose_package")]:
        monkeypatch.delitem(sys.modules, name)


def test_a_class_typed_in_is_known_by_its_source_and_what_it_uses() -> None:
    def made(factor: float) -> type:
        module = sys.modules["__main__"]
        space: dict = {"__name__": "__main__"}
        exec(TYPED.replace("FACTOR", str(factor)), space)
        vars(module).update(scale=space["scale"])
        return space["Mine"]

    try:
        assert code_of([made(2.0)]) == code_of([made(2.0)]) != code_of([made(3.0)])
        assert list(code_of([made(2.0)])) == ["Mine"]
    finally:
        vars(sys.modules["__main__"]).pop("scale", None)
