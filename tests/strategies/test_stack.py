"""Stacked strategies: the plugins of all in order, what they declare joined, and what cannot be stacked refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from lorisbench.common.registry import STRATEGIES, load_plugin
from lorisbench.reproduce.verification.tiny import trained, weights
from lorisbench.strategies.ewc import EWC
from lorisbench.suite.entries import make_strategy
from lorisbench.suite.resolve import load_suite

REPLAY = {"avalanche": "avalanche.training.plugins:ReplayPlugin", "args": {"mem_size": 6}}
OUTSIDE = '''
from lorisbench import Strategy

class Needy(Strategy, name="needy-part"):
    """Declares."""
    needs_task_labels = True
    state_growth = "experiences"
    def replay_limit(self): return 7
    def remarks(self): return ["told the task"]

class Own(Strategy, name="own-part"):
    """Builds."""
    def build(self, context): return None
'''


@pytest.mark.heavy
def test_the_plugins_of_all_act_in_order(suite_file, cli, tmp_path: Path) -> None:
    strategies = {
        "ewc": {"ewc_lambda": 20},
        "lwf": {"alpha": 2},
        "ewc-alone": {"stack": ["ewc"]},
        "both": {"stack": [{"strategy": "ewc", "ewc_lambda": 20}, {"lwf": {"alpha": 2}}]},
        "nothing": {"strategy": {"stack": [{"ewc": {"ewc_lambda": 0}}, {"lwf": {"alpha": 0}}]}},
        "naive": None,
        "kept": {"stack": [REPLAY, "ewc"], "training": {"epochs": 1}},
    }
    suite = suite_file(strategies=strategies, latency={"enabled": False}, training={"epochs": 4, "batch_size": 2})
    out = tmp_path / "out"
    answer = cli("run", suite, "--out", out, "--set", "ewc-alone.stack.0.ewc_lambda=20")
    assert answer.code == 0, answer.err
    weights = {}
    for folder in (out / "runs").iterdir():
        from safetensors.numpy import load_file

        weights[folder.name.split(".")[1]] = load_file(folder / "checkpoint" / "model.safetensors")["head.weight"]
    assert np.array_equal(weights["ewc-alone"], weights["ewc"])
    assert np.array_equal(weights["nothing"], weights["naive"])
    assert all(not np.allclose(weights["both"], weights[label]) for label in ("ewc", "lwf", "naive"))
    results = pd.read_csv(out / "results.csv").set_index("strategy")
    assert results.replay_samples["kept"] == 6 and results.replay_samples["both"] == 0
    assert results.state_mb["both"] == pytest.approx(results.state_mb["ewc"] + results.state_mb["lwf"])
    entry = yaml.safe_load((out / "suite.yaml").read_text())["strategies"]["both"]
    assert entry["stack"][0] == {"strategy": "ewc", **EWC(ewc_lambda=20).model_dump()}
    assert cli("run", out / "suite.yaml", "--out", out).code == 0, "what was resolved is the same suite"


@pytest.mark.usefixtures("one_thread")
def test_dnn_distils_the_minibatch_whatever_is_passed_between() -> None:
    """der++ passes samples of its memory before the loss is complete; a batch of another size would not fit."""
    memory = {"strategy": "der++", "memory": 9, "replay_batch": 5, "alpha": 0.0, "beta": 0.0}
    never = {"strategy": "dnn", "expand_at": [], "answer": "newest"}
    alone, before, after = (
        weights(trained("stack", stack=parts)) for parts in ([never], [memory, never], [never, memory])
    )
    assert torch.equal(alone, before) and torch.equal(alone, after)


def test_settings_of_an_item_are_part_of_the_run_id(suite_file) -> None:
    def run_id(item: object, *assignments: str) -> str:
        suite = load_suite(str(suite_file(strategies={"both": {"stack": [item, "lwf"]}})), assignments=assignments)
        return suite.runs[0].run_id

    plain, changed = run_id("ewc"), run_id({"strategy": "ewc", "ewc_lambda": 3})
    assert plain != changed
    assert plain == run_id({"ewc": None}) == run_id({"ewc": {"ewc_lambda": 100}})
    assert changed == run_id("ewc", "both.stack.0.ewc_lambda=3") == run_id({"ewc": {}}, "both.stack.0.ewc.ewc_lambda=3")


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The strategies `needy-part` and `own-part`."""
    file = tmp_path_factory.mktemp("plugin") / "outside_of_stack.py"
    file.write_text(OUTSIDE)
    load_plugin(file)


def test_what_the_parts_declare_is_joined(outside: None) -> None:
    def stack(*items: object):
        return make_strategy({"strategy": "stack", "stack": list(items)})

    plain, joined = stack("ewc", "lwf"), stack("ewc", "needy-part", "needy-part", {"dnn": {"answer": "batch"}})
    assert (plain.needs_task_labels, plain.state_growth, plain.replay_limit()) == (False, "constant", 0)
    assert (joined.needs_task_labels, joined.state_growth, joined.replay_limit()) == (True, "experiences", 14)
    assert [remark.partition(":")[0] for remark in joined.remarks()] == ["told the task", "transductive"]
    everything = stack("needy-part", "joint")
    assert (everything.state_growth, everything.replay_limit()) == ("samples", None)


@pytest.mark.parametrize(
    ("stack", "words"),
    [
        (["ewc", "naiv"], ["unknown strategy 'naiv'", "'naive'"]),
        (["ewc", {"lwf": {"alpa": 1}}], ["strategies.both.stack.1.alpa", "'alpha'"]),
        ([{"strategy": "ewc", "ewc_lambda": -1}], ["strategies.both.stack.0.ewc_lambda"]),
        (["dnn", "ewc", "slda"], ["dnn and slda", "wrap"]),
        (["joint", "dnn"], ["joint cannot go with dnn", "heads"]),
        (["frozen", "ewc", "gdumb"], ["gdumb cannot go with frozen", "does not train"]),
        (["slda", "rwalk"], ["rwalk cannot go with slda", "gradients"]),
        (["ewc", {"stack": ["lwf"]}], ["stack in a stack"]),
        (["ewc", "own-part"], ["own-part", "build"]),
        ([], ["strategies.both.stack", "at least 1"]),
        ("ewc", ["strategies.both.stack", "list"]),
        ([3], ["strategies.both.stack.0", "name"]),
        ([{"ewc_lambda": 3}], ["strategies.both.stack.0", "name"]),
        ([{"strategy": "ewc", "training": {"epochs": 1}}], ["strategies.both.stack.0.training"]),
    ],
)
def test_what_cannot_be_stacked_is_refused(
    outside: None, suite_file, cli, tmp_path: Path, stack: object, words: list[str]
) -> None:
    answer = cli("run", suite_file(strategies={"both": {"stack": stack}}), "--out", tmp_path / "out")
    assert answer.code == 2 and len(answer.err.splitlines()) == 1, answer
    assert all(word in answer.err for word in words), answer.err


def test_conflicts_are_with_strategies_there_are() -> None:
    found = {other for name in STRATEGIES.names() for other in STRATEGIES.get(name).conflicts}
    assert found and found <= set(STRATEGIES.names())


@pytest.mark.parametrize("path", ["seeds.0.x", "both.stack.7.alpha", "both.stack.x.alpha", "both.stack.0"])
def test_a_path_to_no_item_is_refused(suite_file, cli, tmp_path: Path, path: str) -> None:
    suite = suite_file(strategies={"both": {"stack": ["ewc"]}})
    answer = cli("run", suite, "--out", tmp_path / "out", "--set", f"{path}=1")
    assert answer.code == 2 and path in answer.err and len(answer.err.splitlines()) == 1, answer
