"""`backbone.train: first`: one training of the backbone for all runs that would train the same, whatever happens."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import small_runs
import torch
from safetensors.torch import load_file, save_file
from small_runs import SIZE, TRAINING, bench, run, written

from lorisbench.common.cache import cache_root
from lorisbench.common.errors import InputError, Stopped
from lorisbench.data.stream import make_stream
from lorisbench.engine.assembly import seed_everything
from lorisbench.engine.evaluation import learn
from lorisbench.runs import trained_backbone
from lorisbench.runs.directory import RunDirectory
from lorisbench.runs.trained_backbone import KIND, entry_of
from lorisbench.runs.workbench import Workbench, build, store_for
from lorisbench.suite.spec import RunSpec

pytestmark = pytest.mark.usefixtures("one_thread")

FIRST = {"name": "pixels", "image_size": SIZE, "train": "first"}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORISBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The runs that trained a backbone, in turn."""
    told: list[str] = []
    real = trained_backbone._trained

    def watched(of: Workbench, spec: RunSpec, *rest: Any) -> bytes:
        told.append(spec.label)
        return real(of, spec, *rest)

    monkeypatch.setattr(trained_backbone, "_trained", watched)
    yield told


def files() -> list[Path]:
    return sorted((cache_root() / KIND).glob("*.safetensors"))


def backbone_of(run_folder: Path) -> dict[str, torch.Tensor]:
    tensors = load_file(run_folder / "checkpoint" / "model.safetensors")
    return {key: value for key, value in tensors.items() if key.startswith("backbone.")}


def place(made: Workbench, **changes: Any) -> str:
    spec: RunSpec = vars(made)["spec"]
    manifest = made.manifest.in_order(changes.pop("order", range(made.manifest.experiences)))
    return entry_of(spec, manifest, made.backbone, made.accelerator).path.name


def test_all_strategies_learn_on_one_backbone_that_was_trained_once(tmp_path: Path, trainings: list[str]) -> None:
    for label in ("naive", "ewc", "l2sp", "ncm", "replay"):
        run(bench(label, backbone=FIRST), tmp_path / label)
    assert trainings == ["naive"] and len(files()) == 1
    kept = [backbone_of(tmp_path / label) for label in ("naive", "ewc", "l2sp", "ncm", "replay")]
    assert kept[0] and all(torch.equal(one[key], kept[0][key]) for one in kept for key in kept[0])


def test_it_is_what_fine_tuning_makes_of_it_in_the_first_experience(tmp_path: Path) -> None:
    run(bench("dnn", backbone=FIRST), tmp_path / "run")
    other = bench("naive", backbone={**FIRST, "train": "always"})
    spec: RunSpec = vars(other)["spec"]
    store = store_for(other, spec)
    strategy = build(other, spec, store)
    before = other.backbone.digest()
    seed_everything(spec.seed, 0)
    learn(strategy, make_stream(other.manifest, store), 0)
    expected = strategy.model.backbone.state_dict()
    found = backbone_of(tmp_path / "run")
    assert strategy.model.backbone.digest() != before
    assert found.keys() == {f"backbone.{key}" for key in expected}
    assert all(torch.equal(found[f"backbone.{key}"], value) for key, value in expected.items())


OTHER: dict[str, dict[str, Any]] = {
    "a rate": {"training": {**TRAINING, "lr": 0.01}},
    "epochs": {"training": {**TRAINING, "epochs": 3}},
    "a batch size": {"training": {**TRAINING, "batch_size": 5}},
    "augmentation": {"training": {**TRAINING, "augment": {"views": 2}}},
    "a budget": {"training": {**TRAINING, "budget": {"iterations": 3}}},
    "a head": {"head": {"hidden": [4]}},
    "a seed": {"seeds": [1]},
}
SAME: dict[str, dict[str, Any]] = {
    "later experiences": {"training": {**TRAINING, "later": {"lr": 0.01, "epochs": 1}}},
    "what is reset": {"training": {**TRAINING, "reset_optimizer": False}},
    "the evaluation": {"evaluation": {"rows": "last"}},
}


@pytest.mark.parametrize("what", OTHER)
def test_another_recipe_is_another_training(what: str) -> None:
    assert place(bench("naive", backbone=FIRST, **OTHER[what])) != place(bench("naive", backbone=FIRST))


@pytest.mark.parametrize("what", SAME)
def test_what_comes_later_makes_no_difference(what: str) -> None:
    assert place(bench("ewc", backbone=FIRST, **SAME[what])) == place(bench("naive", backbone=FIRST))


def test_images_and_the_first_experience_count_and_the_order_of_the_others_does_not() -> None:
    made = bench("naive", backbone=FIRST)
    own = place(made)
    assert place(made, order=[0, 2, 1]) == own
    assert len({own, place(made, order=[1, 0, 2]), place(made, order=[2, 1, 0])}) == 3
    assert place(bench("naive", of=small_runs.manifest(tasks=True), backbone=FIRST)) != own


@pytest.mark.parametrize("damage", ["cut", "other weights", "no file of tensors", "gone"])
def test_what_is_damaged_or_gone_is_made_again(tmp_path: Path, trainings: list[str], damage: str) -> None:
    run(bench("naive", backbone=FIRST), tmp_path / "one")
    (file,) = files()
    whole = file.read_bytes()
    if damage == "gone":
        file.unlink()
    elif damage == "other weights":
        from safetensors import safe_open

        with safe_open(file, "pt") as stored:
            about = stored.metadata()
        save_file({key: value + 1 for key, value in load_file(file).items()}, file, about)
    else:
        file.write_bytes(whole[:-9] if damage == "cut" else b"{}")
    run(bench("ewc", backbone=FIRST), tmp_path / "two")
    assert trainings == ["naive", "ewc"]
    kept = [backbone_of(tmp_path / name) for name in ("one", "two")]
    assert all(torch.equal(kept[0][key], kept[1][key]) for key in kept[0])


def test_a_full_disk_is_told_before_anything_is_trained(
    tmp_path: Path, trainings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=100))
    with pytest.raises(InputError, match=r"backbones: naive .*training the backbone needs .* GB, 0\.00 GB are free"):
        run(bench("naive", backbone=FIRST), tmp_path / "run")
    assert not trainings and not files()


def test_two_that_want_it_at_once_train_it_once(tmp_path: Path, trainings: list[str]) -> None:
    benches = {label: bench(label, backbone=FIRST) for label in ("naive", "ewc")}
    found: dict[str, str] = {}

    def wants(label: str) -> None:
        made = benches[label]
        own, _ = trained_backbone.with_backbone(made, vars(made)["spec"], lambda: False)
        found[label] = own.backbone.digest()

    threads = [threading.Thread(target=wants, args=(label,)) for label in benches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(trainings) == 1 and len(set(found.values())) == 1


def test_a_run_that_is_stopped_meanwhile_goes_on_later(tmp_path: Path, trainings: list[str]) -> None:
    made, whole = bench("naive", backbone=FIRST), tmp_path / "whole"
    asked = iter(range(3))
    with pytest.raises(Stopped):
        run(made, tmp_path / "run", lambda: next(asked, None) is None)
    directory = RunDirectory(tmp_path / "run")
    assert directory.status()["status"] == "pending" and not files() and not directory.entries()
    run(made, tmp_path / "run")
    run(made, whole)
    assert written(tmp_path / "run") == written(whole) and trainings == ["naive", "naive"]


def test_whoever_waits_for_it_can_be_stopped(tmp_path: Path) -> None:
    from filelock import FileLock

    made = bench("naive", backbone=FIRST)
    path = entry_of(vars(made)["spec"], made.manifest, made.backbone, made.accelerator).path
    path.parent.mkdir(parents=True)
    with FileLock(path.with_name(f".{path.name}.lock")), pytest.raises(Stopped):
        run(made, tmp_path / "run", lambda: True)


@pytest.mark.parametrize(("threads", "begun"), [(64, [0]), (1, [0, 1])])
def test_those_that_need_the_same_cores_are_trained_in_turn(
    threads: int, begun: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, other = (bench("naive", backbone=FIRST, seeds=[seed]) for seed in (0, 1))
    real, told = trained_backbone._trained, list[int]()

    def watched(of: Workbench, spec: RunSpec, *rest: Any) -> bytes:
        told.append(spec.seed)
        if of is made:
            with pytest.raises(Stopped):
                trained_backbone.with_backbone(other, vars(other)["spec"], lambda: True)
        return real(of, spec, *rest)

    monkeypatch.setattr(trained_backbone, "_trained", watched)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    trained_backbone.with_backbone(made, vars(made)["spec"], lambda: False)
    assert told == begun and len(files()) == 1
    trained_backbone.with_backbone(other, vars(other)["spec"], lambda: False)
    assert told == [*begun, 1] and len(files()) == 2


def test_each_run_says_what_the_training_would_have_cost_it(tmp_path: Path) -> None:
    for label in ("naive", "joint"):
        run(bench(label, backbone=FIRST), tmp_path / label)
    entries = {label: RunDirectory(tmp_path / label).entries() for label in ("naive", "joint")}
    shared = {label: found[0]["backbone_seconds"] for label, found in entries.items()}
    assert shared["naive"] == shared["joint"] > 0
    for found in entries.values():
        assert found[0]["train_seconds"] > found[0]["backbone_seconds"]
        assert found[0]["train_steps"] > found[1]["train_steps"] - 10 and "backbone_seconds" not in found[1]


def test_a_run_does_not_go_on_upon_another_backbone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, folder = bench("naive", backbone=FIRST), tmp_path / "run"

    def stop() -> bool:
        return len(RunDirectory(folder).lines()) == 1

    with pytest.raises(Stopped):
        run(made, folder, stop)
    (file,) = files()
    other = tmp_path / "other"
    run(bench("naive", backbone=FIRST, seeds=[1]), other)
    (another,) = (each for each in files() if each != file)
    file.write_bytes(another.read_bytes())  # as if it had been trained again where sums come out otherwise
    assert run(made, folder).status()["status"] == "done"
    assert "the backbone was trained again, with other numbers" in capsys.readouterr().err
    kept = backbone_of(folder)
    assert all(torch.equal(kept[key], value) for key, value in backbone_of(other).items())


def test_one_that_diverges_ends_its_runs_and_leaves_no_file(tmp_path: Path) -> None:
    made = bench("naive", backbone=FIRST, training={**TRAINING, "lr": 1e38})
    status = run(made, tmp_path / "run").status()
    assert status["status"] == "diverged" and "not finite" in status["reason"] and not files()


def test_a_frozen_backbone_on_each_batch_gives_the_same_up_to_rounding(tmp_path: Path) -> None:
    found = {}
    for kept in (True, False):
        run(bench("naive", backbone={**FIRST, "cache": kept}), tmp_path / str(kept))
        found[kept] = load_file(tmp_path / str(kept) / "checkpoint" / "model.safetensors")
    assert all(torch.allclose(found[True][key], found[False][key], atol=1e-4) for key in found[True])


def test_augmented_views_are_those_of_the_trained_backbone(tmp_path: Path) -> None:
    training = {**TRAINING, "augment": {"views": 2, "experiences": "all"}}
    for number in range(2):  # the second time from the cache
        run(bench("dnn", backbone=FIRST, training=training), tmp_path / str(number))
    assert written(tmp_path / "0") == written(tmp_path / "1")
