"""`--dry-run`: what a run refuses in its first seconds is refused, and nothing is rendered, downloaded or written."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from answers import refused

from lorisbench.benchmarks.sim import render
from lorisbench.common.rehearsal import only_noted, or_noted, rehearsal

WRONG = {
    "a missing root": ({"benchmark.root": "/nowhere/at/all"}, ["/nowhere/at/all"]),
    "an unknown backbone": ({"backbone.name": "resnet99"}, ["resnet99"]),
    "a backbone that does not fit": ({"backbone.name": "timm:vit_tiny_patch16_224"}, ["32 x 32"]),
    "no task labels": ({"head.per_task": True}, ["needs task labels"]),
    "an order of other experiences": ({"benchmark.order": [0, 1]}, ["benchmark.order"]),
    "validation trained on": ({"benchmark.val_as_replay": True, "evaluation.split": "validation"}, ["val_as_replay"]),
    "objects that do not exist": ({"benchmark.objects": ["spoon_01"]}, ["spoon_01"]),
    "a device that is not there": ({"device": "cuda:7"}, ["cuda:7"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_a_run_refuses_a_dry_run_refuses_in_the_same_words(
    case: str, suite_file: Callable[..., Path], cli: Callable[..., Any], tmp_path: Path
) -> None:
    changes, words = WRONG[case]
    given = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    command = ["run", suite_file(), *given, "--out", tmp_path / "out"]
    assert refused(cli(*command, "--dry-run"), *words) == refused(cli(*command), *words)


def test_domains_and_classes_of_own_data_are_looked_for(
    suite_file: Callable[..., Path], cli: Callable[..., Any], release: Path, tmp_path: Path
) -> None:
    own = {"name": "folder", "root": str(release / "test" / "clutter"), "domains": ["segment1", "segment99"]}
    refused(cli("run", suite_file(benchmark=own), "--dry-run", "--out", tmp_path / "out"), "segment99")


def test_a_strategy_that_refuses_the_stream_is_named(
    suite_file: Callable[..., Path], cli: Callable[..., Any], tmp_path: Path
) -> None:
    plugin = tmp_path / "picky.py"
    plugin.write_text(
        "from lorisbench import Strategy\nfrom lorisbench.common.errors import InputError\n"
        'class Picky(Strategy, name="picky"):\n    """Picky."""\n'
        "    def plugins(self, context):\n        raise InputError(f'{context.experiences} experiences are too few')\n"
    )
    suite = suite_file(strategies=["naive", "picky"], plugins=[str(plugin)])
    answer = cli("run", suite, "--dry-run", "--out", tmp_path / "out")
    refused(answer, "strategies.picky", "9 experiences are too few")


def test_a_dry_run_writes_nothing_and_lists_the_runs(
    suite_file: Callable[..., Path], cli: Callable[..., Any], tmp_path: Path
) -> None:
    answer = cli("run", suite_file(strategies=["naive", "ewc"]), "--dry-run", "--out", tmp_path / "out")
    assert answer.code == 0 and answer.out.count("pending") == 2 and answer.err.startswith("2 runs: 2 to train\n")
    assert not (tmp_path / "out").exists()


def test_what_would_be_rendered_is_said_and_its_settings_are_checked(
    cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render, "render", None)
    suite = tmp_path / "sim.yaml"
    suite.write_text(
        "name: sim\nbenchmark: {name: openloris-sim, protocol: factor, factor: clutter, objects: 2, frames: 5}\n"
        "backbone: {name: 'timm:test_resnet', weights: none, image_size: 32}\nstrategies: [naive]\ndevice: cpu\n"
    )
    answer = cli("run", suite, "--dry-run", "--out", tmp_path / "out", "--set", "benchmark.render_seed=77")
    assert answer.code == 0 and "360 images of OpenLORIS-Sim would be rendered" in answer.err
    wrong = ["--set", "benchmark.render_seed=77", "--set", "benchmark.order=[1]"]
    refused(cli("run", suite, "--dry-run", "--out", tmp_path / "out", *wrong), "benchmark.order")


def test_a_download_is_noted_if_its_host_is_there_and_an_error_if_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def fetch() -> str:
            socket.create_connection(("127.0.0.1", port), timeout=5)
            return "fetched"

        with rehearsal() as notes:
            assert or_noted(fetch, "the weights") is None
        assert notes == ["the weights would be downloaded from 127.0.0.1"]
        assert or_noted(fetch, "the weights") == "fetched" and not only_noted("anything")
    with rehearsal() as notes, pytest.raises(OSError, match="refused"):
        or_noted(fetch, "the weights")
    assert notes == []
