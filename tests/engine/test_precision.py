"""`training.amp` and `training.compile`: what they change, and where they are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from avalanche.core import SupervisedPlugin
from safetensors.torch import load_file
from small_runs import SIZE, TRAINING, bench, interrupted, run, written
from torch import nn

from lorisbench.common.errors import InputError
from lorisbench.runs import checks
from lorisbench.runs.checks import check_precision
from lorisbench.runs.workbench import Workbench, build, store_for

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
BF16 = {"training": {**TRAINING, "amp": "bf16"}}


def images(train: str, **training: Any) -> Workbench:
    backbone = {"name": "pixels", "image_size": SIZE, "train": train}
    return bench("naive", backbone=backbone, training={**TRAINING, **training})


class Types(SupervisedPlugin):  # type: ignore[type-arg]
    """The types of what the head computes, and of the outputs that plugins see."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.computed: list[tuple[bool, torch.dtype]] = []
        self.seen: set[torch.dtype] = set()
        model.head.register_forward_hook(lambda head, given, out: self.computed.append((head.training, out.dtype)))

    def after_forward(self, strategy: Any, **kwargs: Any) -> None:
        self.seen.add(strategy.mb_output.dtype)

    after_eval_forward = after_forward


def test_training_steps_are_in_bfloat16_and_all_else_is_not() -> None:
    made = bench("naive", **BF16)
    store = store_for(made, vars(made)["spec"])
    strategy = build(made, vars(made)["spec"], store)
    strategy.plugins.append(types := Types(strategy.model))
    from lorisbench.data.stream import make_stream

    stream = make_stream(made.manifest, store)
    strategy.train(stream.train_stream[0])
    strategy.eval(stream.test_stream[0])
    assert {kind for training, kind in types.computed if training} == {torch.bfloat16}
    assert {kind for training, kind in types.computed if not training} == {torch.float32}
    assert types.seen == {torch.float32} and strategy.loss.dtype == torch.float32
    assert {p.dtype for p in strategy.model.parameters()} == {torch.float32}


def test_numbers_change_within_rounding_and_runs_go_on(tmp_path: Path) -> None:
    run(bench("lwf", **BF16), tmp_path / "amp")
    run(bench("lwf"), tmp_path / "plain")
    interrupted(bench("lwf", **BF16), tmp_path / "parts", [2])
    assert written(tmp_path / "parts") == written(tmp_path / "amp")
    one, other = (load_file(tmp_path / name / "checkpoint" / "model.safetensors") for name in ("amp", "plain"))
    assert all(torch.allclose(one[key], other[key], atol=0.1) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)
    env = [json.loads((tmp_path / name / "env.json").read_text()) for name in ("amp", "plain")]
    assert [(each["amp"], each["compile"]) for each in env] == [("bf16", False), (None, False)]


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The modules that were to be compiled, which are not."""
    told: list[nn.Module] = []
    monkeypatch.setattr(nn.Module, "compile", lambda self: told.append(self))
    return told


@pytest.mark.parametrize("train", ["first", "always"])
def test_the_backbone_that_is_trained_is_compiled_once(
    train: str, compiled: list[nn.Module], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORISBENCH_CACHE", str(tmp_path / "cache"))
    run(images(train, compile=True), tmp_path / "run")
    assert [type(module) for module in compiled] == [nn.Sequential]
    assert json.loads((tmp_path / "run" / "env.json").read_text())["compile"] is True
    run(images(train), tmp_path / "plain")
    assert len(compiled) == 1


@pytest.mark.heavy
def test_what_is_compiled_trains_alike_and_goes_on(tmp_path: Path) -> None:
    for name, training in (("compiled", {"compile": True}), ("plain", {})):
        run(images("always", **training), tmp_path / name)
    interrupted(images("always", compile=True), tmp_path / "parts", [2])
    one, other, parts = (
        load_file(tmp_path / name / "checkpoint" / "model.safetensors") for name in ("compiled", "plain", "parts")
    )
    assert one.keys() == other.keys() and all(torch.allclose(one[key], other[key], atol=1e-3) for key in one)
    assert all(torch.equal(one[key], parts[key]) for key in one)


def test_what_cannot_be_kept_to_is_refused_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"^strategies\.naive: training\.compile: compiles a backbone that is trained"):
        check_precision(images("never", compile=True).config, CPU)
    monkeypatch.setattr(checks.shutil, "which", lambda name: None)
    with pytest.raises(InputError, match=r"^strategies\.naive: training\.compile: needs a C\+\+ compiler"):
        check_precision(images("always", compile=True).config, CPU)
    check_precision(images("always").config, CPU)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    check_precision(bench("naive", **BF16).config, CPU)
    with pytest.raises(InputError, match=r"^strategies\.naive: training\.amp: this GPU does not compute in bfloat16"):
        check_precision(bench("naive", **BF16).config, torch.device("cuda"))
