"""Why a model cannot be exported is told: the cause, the part of the model, the line; `check --export` tries it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from answers import refused
from torch import nn

from lorisbench import Context, Strategy
from lorisbench.model.models import Classifier

pytest.importorskip("onnx", reason="the extra [onnx] is not installed")
pytest.importorskip("onnxruntime", reason="the extra [onnx] is not installed")

from lorisbench.export.onnx import Deployed, Inputs, compare, converted
from lorisbench.export.trial import trial

WIDTH = 6
FEATURES = Inputs("features", WIDTH)


class Branches(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.sum() > 0:
            return x[:, :3]
        return x[:, 3:]


class Raises(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise KeyError("centres of no domain")


class Solves(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.eigh(x.T @ x)[1][:3, 0].expand(len(x), 3)


class Counts(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([x[i, :3] for i in range(len(x))])


class Routed(nn.Module):
    def __init__(self, router: nn.Module) -> None:
        super().__init__()
        self.head, self.router = nn.Linear(WIDTH, 3), router

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x) + self.router(x)


def deployed(router: nn.Module) -> Deployed:
    return Deployed(Routed(router)).eval().requires_grad_(False)


@pytest.mark.parametrize(
    ("router", "words"),
    [
        (Branches(), ["data-dependent", "in router (Branches), test_causes.py:", "torch.where"]),
        (Raises(), ["KeyError: 'centres of no domain', in router (Raises), test_causes.py:"]),
        pytest.param(Solves(), ["aten._linalg_eigh", "in router (Solves)"], marks=pytest.mark.heavy),
    ],
)
def test_the_cause_and_its_place_are_told(
    router: nn.Module, words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    line = refused(
        lambda: converted("run", deployed(router), FEATURES),
        "run: its model (Routed) cannot be written as an ONNX graph: ", *words,
    )  # fmt: skip
    assert "Failed to export the model" not in line and "\x1b" not in line
    assert capfd.readouterr() == ("", ""), "the exporter's own words are left out"


@pytest.mark.heavy
def test_a_graph_for_batches_of_one_size_says_so() -> None:
    model = deployed(Counts())
    fault = compare(converted("run", model, FEATURES).SerializeToString(), model, FEATURES).fault
    assert "it takes batches of 2 only: forward() uses the batch size as a number" in fault


class Trial(Strategy, name="exported-in-tests"):
    """Answers by a model that can be exported, or cannot."""

    kind: str = "well"

    def wrap(self, model: Any, context: Context) -> nn.Module:
        if self.kind == "declared":
            model.not_exportable = lambda: "it asks an oracle"
        return Deciding(model.backbone, model.head) if self.kind == "badly" else model


class Deciding(Classifier):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.features(x)
        return self.head(features) if features.sum() > -1e9 else self.head(-features)


@pytest.mark.parametrize(
    ("kind", "status", "words"),
    [
        ("well", "pass", "onnxruntime against PyTorch, 43 generated images"),
        pytest.param("badly", "fail", "data-dependent", marks=pytest.mark.heavy),
        ("declared", "not applicable", "it asks an oracle"),
    ],
)
def test_a_check_exports_the_model_if_asked(kind: str, status: str, words: str) -> None:
    row = trial({"strategy": "exported-in-tests", "kind": kind})
    assert (row.check, row.status) == ("exports", status) and words in row.hint, row


def test_the_command_adds_what_came_of_it(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from lorisbench.conformance import kit

    empty = kit.Report({"strategy": "exported-in-tests", "kind": "declared"}, 0.1, [])
    monkeypatch.setattr(kit, "check", lambda entry: empty)
    answer = cli("check", "exported-in-tests", "--export")
    assert answer.code == 0 and answer.out.startswith("exports\tnot applicable\t"), answer
