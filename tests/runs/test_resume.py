"""A run that was interrupted goes on at its last experience, with the same numbers bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from built_in import BUILT_IN
from small_runs import SIZE, TRAINING, WIDTH, bench, interrupted, manifest, run, written

from lorisbench.common.errors import InputError
from lorisbench.model.grey import GreyPixels
from lorisbench.runs.directory import RunDirectory
from lorisbench.runs.workbench import Workbench

pytestmark = pytest.mark.usefixtures("one_thread")

SMALLER: dict[str, dict[str, Any]] = {
    "dgr": {"generator_epochs": 2, "hidden": 8, "latent": 2}, "ranpac": {"projection": 30}, "gem": {"memory": 30},
    "agem": {"memory": 20}, "replay": {"memory": 20}, "der++": {"memory": 20}, "gdumb": {"memory": 20},
    "latent-replay": {"memory": 20},
}  # fmt: skip
PIXELS = {"name": "pixels", "image_size": SIZE}
SINGLE = [name for name in BUILT_IN if name not in ("avalanche", "stack")]
OTHERS: dict[str, Any] = {
    "stack": {"stack": ["ewc", {"strategy": "replay", "memory": 20, "selection": "class-balanced"}]},
    "dnn grows": {"strategy": "dnn", "expand_below": 1.0, "answer": "agreement"},
    "dnn fresh heads": {"strategy": "dnn", "expand_at": [1], "head_init": "fresh", "answer": "oracle"},
    "dnn distils": {"strategy": "dnn", "expand_at": "never", "answer": "confidence"},
    "ewc online": {"strategy": "ewc", "mode": "online", "gamma": 0.9},
    "l2sp initial": {"strategy": "l2sp", "anchor": "initial"},
    "replay epoch": {"strategy": "replay", "memory": "all", "replay_batch": "epoch"},
    "early stopping": {
        "avalanche": "avalanche.training.plugins:EarlyStoppingPlugin",
        "args": {"patience": 1, "val_stream_name": "validation_stream"},
    },
    "avalanche replay": {"avalanche": "avalanche.training.plugins:ReplayPlugin", "args": {"mem_size": 20}},
}  # fmt: skip


def entry(name: str) -> dict[str, Any]:
    return OTHERS[name] if name in OTHERS else {"strategy": name, **SMALLER.get(name, {})}


def check(folder: Path, name: str, **settings: Any) -> None:
    """Compare a run that is stopped in these experiences with one that is not."""
    of, experiences = settings.pop("of", None), settings.pop("experiences", [2])
    made = bench(entry(name), of, **settings)
    run(made, folder / "whole")
    status = interrupted(made, folder / "parts", experiences).status()
    assert written(folder / "parts") == written(folder / "whole")
    assert status["resumed"] == experiences


# The check of each built-in strategy resumes it too (tests/conformance): here those whose state is of another kind
OFTEN = ("dgr", "gdumb", "lwf", "replay", "slda", "stack", "dnn grows", "ewc online", "early stopping")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in OFTEN else pytest.mark.heavy) for n in (*SINGLE, *OTHERS)]
)
def test_every_strategy_goes_on_bit_for_bit(name: str, tmp_path: Path) -> None:
    check(tmp_path, name)


IMAGES: dict[str, Any] = {
    "always": {"backbone": {**PIXELS, "train": "always"}},
    "first": {"backbone": {**PIXELS, "train": "first"}},
    "uncached": {"backbone": {**PIXELS, "cache": False}},
    "augmented": {
        "backbone": {**PIXELS, "train": "first"},
        "training": {**TRAINING, "augment": {"views": 2, "experiences": "all"}},
    },
}
KEPT: dict[str, Any] = {"training": {**TRAINING, "optimizer": "adam", "reset_optimizer": False}}
PATHS: dict[str, Any] = {
    **IMAGES,
    "per task": {"head": {"per_task": True}, "of": manifest(tasks=True)},
    "growing": {"head": {"grow": True}, "of": manifest(classes_arrive=True)},
    "validation as replay": {"of": manifest(val_as_replay=True)},
    "adam": {"training": {**TRAINING, "optimizer": "adam", "milestones": [1]}, "head": {"hidden": [6]}},
    "optimizer kept": KEPT,
}
EVERY_DAY = {
    "always": ["lwf", "dnn grows"], "first": ["replay"], "uncached": ["lwf-avalanche"], "augmented": ["joint"],
    "per task": ["lwf"], "growing": ["ewc"], "validation as replay": ["gdumb"], "adam": ["si-avalanche"],
    "optimizer kept": ["stack"],
}  # fmt: skip


@pytest.mark.parametrize(("path", "name"), [(path, name) for path, names in EVERY_DAY.items() for name in names])
def test_every_path_goes_on_bit_for_bit(path: str, name: str, tmp_path: Path) -> None:
    check(tmp_path, name, **PATHS[path])


@pytest.mark.parametrize(("name", "is_other"), [("naive", True), ("avalanche replay", True), ("joint", False)])
def test_an_optimizer_that_is_kept_changes_what_comes_after_the_first_experience(
    name: str, is_other: bool, tmp_path: Path
) -> None:
    """Not of joint training, which starts from scratch with each."""
    models = []
    for reset in (True, False):
        training = {**KEPT["training"], "reset_optimizer": reset}
        found = written(run(bench(entry(name), training=training), tmp_path / str(reset)).path)
        models.append({key: value for key, value in found.items() if key.startswith("model")})
    assert (models[0] != models[1]) == is_other


@pytest.mark.heavy
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", [*SINGLE, *OTHERS])
def test_every_strategy_on_every_path(path: str, name: str, tmp_path: Path) -> None:
    try:
        check(tmp_path, name, **PATHS[path], experiences=[1, 2])
    except InputError as error:
        assert "per_task" in str(error) or "grow" in str(error)  # a method that has no such heads


def test_a_run_on_bytes_goes_on_with_the_same_numbers(tmp_path: Path) -> None:
    def made() -> Workbench:
        whole = bench("replay")
        stored = (whole.x * 30 + 128).clamp(0, 255).to(torch.uint8)
        moves = torch.stack([torch.arange(WIDTH).flip(0), torch.arange(-1, WIDTH - 1)])
        which = torch.tensor(whole.manifest.table.experience.to_numpy() % 2)
        x: Any = GreyPixels(stored, torch.arange(len(stored)), torch.arange(256.0) / 255, moves, which)
        whole.x = x
        return whole

    again = interrupted(made(), tmp_path / "again")
    assert again.status()["resumed"] == [1, 2]
    assert written(run(made(), tmp_path / "plain").path) == written(again.path)


@pytest.mark.parametrize(
    "error, told",
    [(InputError("/d/x: disk full"), "broken off: /d/x: disk full;"), (KeyboardInterrupt(), "interrupted;")],
)
def test_the_status_says_why_a_run_will_go_on_later(error: BaseException, told: str, tmp_path: Path) -> None:
    def stop() -> bool:
        raise error

    with pytest.raises(type(error)):
        run(bench({"strategy": "naive"}), tmp_path / "run", stop)
    status = RunDirectory(tmp_path / "run").status()
    assert status["status"] == "pending" and str(status["reason"]).startswith(told)
