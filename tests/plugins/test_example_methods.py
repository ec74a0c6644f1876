"""The outside methods as an installed package: listed, run, resumed and checked; what a package's own tests may be."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from registries import forgotten
from small_runs import bench, interrupted, run, written

from lorisbench.common.registry import STRATEGIES
from lorisbench.testing import strategy_conforms, toy_run

HERE = Path(__file__).parent
POINTS = tomllib.loads((HERE / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"]["lorisbench.strategies"]

pytestmark = pytest.mark.usefixtures("one_thread", "installed")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The package, built and installed by pip into a folder of its own, which is importable meanwhile."""
    source, site = tmp_path_factory.mktemp("source") / "methods", tmp_path_factory.mktemp("site")
    shutil.copytree(HERE, source, ignore=shutil.ignore_patterns("test_*", "__pycache__"))
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", str(site), str(source)], check=True, capture_output=True)
    with forgotten(), pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        importlib.invalidate_caches()
        yield
        for name in [name for name in sys.modules if name.partition(".")[0] == "example_methods"]:
            del sys.modules[name]


def test_the_package_has_a_method_of_each_kind_and_they_are_listed(cli) -> None:
    listed = cli("ls", "strategies").out
    assert len(POINTS) == 6 and all(f"  {name} " in listed for name in POINTS)
    assert {STRATEGIES.entries()[name].origin for name in POINTS} == {"entry point"}
    assert {STRATEGIES.get(name).__module__ for name in POINTS} == {
        value.partition(":")[0] for value in POINTS.values()
    }


@pytest.mark.parametrize("name", POINTS)
def test_it_remembers(name: str) -> None:
    made = toy_run(name, inputs="images")
    right = (made.answers[-1].argmax(dim=1) == made.labels).float().view(4, -1).mean(dim=1)
    assert right[:2].min() > 0.9, right  # experience 2 is unlike those, and the stiffest learn little of it


@pytest.mark.parametrize("train", [pytest.param("never", marks=pytest.mark.heavy), "first"])
@pytest.mark.parametrize("name", POINTS)
def test_it_goes_on_after_an_interrupt(name: str, train: str, tmp_path: Path) -> None:
    adam = {"training": {"epochs": 2, "batch_size": 8}}
    made = bench({"strategy": name}, **({} if train == "never" else {"backbone": {"train": train}}), **adam)
    run(made, tmp_path / "whole")
    status = interrupted(made, tmp_path / "parts", [2]).status()
    assert written(tmp_path / "parts") == written(tmp_path / "whole") and status["resumed"] == [2]


@pytest.mark.heavy
@pytest.mark.parametrize("name", POINTS)
def test_it_conforms(name: str) -> None:
    strategy_conforms(name)


def test_the_tables_of_a_method_tell_which_head_answered(suite_file, cli, tmp_path: Path) -> None:
    suite = suite_file(strategies=["nearest-cluster"], training={"epochs": 1})
    assert cli("run", suite, "--out", tmp_path / "out").code == 0
    (folder,) = (tmp_path / "out" / "runs").iterdir()
    answers = pd.read_csv(folder / "answers.csv")
    assert len(pd.read_csv(folder / "decisions.csv")) == 9
    assert (answers.groupby(["after_experience", "test_experience"]).share.sum() - 1).abs().max() < 1e-6
    assert 0 < pd.read_csv(tmp_path / "out" / "results.csv").routing_accuracy[0] <= 1


def test_the_penalty_refuses_an_optimizer_without_moments(suite_file, cli, tmp_path: Path) -> None:
    suite = suite_file(strategies=["adam-penalty"], training={"epochs": 1, "optimizer": "sgd"})
    answer = cli("run", suite, "--out", tmp_path / "out")
    assert answer.code == 2 and "adam-penalty" in answer.err and "training.optimizer" in answer.err
