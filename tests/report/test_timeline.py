"""The timeline of heads: which head answers what is counted, stored, and drawn with births and gaps."""

from __future__ import annotations

import copy
import functools
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from avalanche.core import SupervisedPlugin
from avalanche.training import Naive
from stored_output import data_of
from tiny_stream import stream_of
from torch import nn

from lorisbench.engine.reach import walk
from lorisbench.report import frame, lives, style, timeline, write_report
from lorisbench.runs.directory import RunDirectory
from lorisbench.strategies.dnn.network import DynamicNetwork
from lorisbench.strategies.dnn.strategy import DNNPlugin
from lorisbench.strategies.dnn.watch import AnswerPlugin

pytestmark = pytest.mark.drawn
RULES = ("open-bounded", "open", "prototype", "agreement", "confidence", "mean", "newest")
WIDTH, CLASSES, SAMPLES, DOMAINS = 6, 3, 24, 3

# ---------------------------------------------------------------- counting


class Outputs(SupervisedPlugin):
    """Keeps what each evaluation answered, and the model as it was."""

    def __init__(self):
        super().__init__()
        self.answers, self.models, self.watched = [], [], []

    def before_eval(self, strategy, **kwargs):
        self.answers.append([])
        self.models.append(copy.deepcopy(strategy.model))

    def after_eval_iteration(self, strategy, **kwargs):
        self.answers[-1].append(strategy.mb_output.clone())

    def before_training(self, strategy, **kwargs):
        self.watched.append(strategy.model.watch)


def domains():
    """Overlapping domains, so that each has images that another domain's head answers."""
    generator = torch.Generator().manual_seed(3)
    for domain in range(DOMAINS):
        y = torch.arange(SAMPLES) % CLASSES
        means = torch.randn(CLASSES, WIDTH, generator=generator)
        yield means[y] + 1.2 * torch.randn(SAMPLES, WIDTH, generator=generator) + 0.4 * domain, y


@functools.cache
def train(rule, counted):
    """The strategy, what its evaluations answered, and the plugin that counts, if it is to."""
    stream = stream_of(list(domains()))
    plugins = [AnswerPlugin()] if counted else []
    torch.manual_seed(0)
    model = DynamicNetwork(None, lambda: nn.Linear(WIDTH, CLASSES), answer=rule, router_temperature=2.0)
    outputs = Outputs()
    strategy = Naive(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        train_mb_size=12,
        eval_mb_size=16,  # does not divide the number of samples
        plugins=[DNNPlugin(expand_at=[1, 2]), outputs, *plugins],
        evaluator=None,
    )
    for experience in stream.train_stream:
        strategy.train(experience)
        strategy.eval(stream.test_stream)
    return strategy, outputs, plugins[0] if counted else None


def owners(model, rule, x):
    """By a loop over images: a row of weights over the heads for each."""
    rows = []
    for image in x:
        p = torch.stack([head(image).softmax(0) for head in model.heads])
        weights = torch.zeros(len(p))
        if rule == "mean":
            weights += 1 / len(p)
        elif rule == "newest":
            weights[-1] = 1
        elif rule == "confidence":
            weights[p.amax(1).argmax()] = 1
        elif len(p) == 1:
            weights[0] = 1
        elif rule in ("open-bounded", "open"):  # the densities themselves: tests/test_dnn_open.py
            pairs, _, gate = model.router.read((model.router.weight @ image + model.router.bias)[None])
            if gate > 0:
                by_domain = pairs.view(model.router.domains, CLASSES).logsumexp(1)
                weights[model.router.domain_head[by_domain.argmax()]] = 1
        else:
            scores = (model.router.weight @ image + model.router.bias).view(model.router.domains, CLASSES)
            mass = torch.zeros(len(p))
            for domain, posterior in enumerate((scores.logsumexp(1) / 2).softmax(0)):
                mass[model.router.domain_head[domain]] += posterior
            weights[mass.argmax()] = 1
        rows.append(weights)
    return torch.stack(rows)


@pytest.mark.parametrize("rule", RULES)
def test_shares_are_those_of_the_models_own_outputs(rule):
    _, outputs, plugin = train(rule, True)
    table = pd.DataFrame(plugin.tables["answers"])
    assert table.groupby(["after_experience", "test_experience"]).share.sum().tolist() == pytest.approx([1] * 9)
    mixed = False
    for after, test in np.ndindex(DOMAINS, DOMAINS):
        x = list(domains())[test][0]
        with torch.no_grad():
            expected = owners(outputs.models[after], rule, x).mean(0)
        cell = table[(table.after_experience == after) & (table.test_experience == test)].set_index("head").share
        found = cell.reindex(range(after + 1), fill_value=0)
        assert found.tolist() == pytest.approx(expected.tolist(), abs=1e-6)
        mixed |= (cell > 0).sum() > 1
    assert mixed == (rule != "newest"), "the domains are too easy for a test of shares"


@pytest.mark.parametrize("rule", RULES)
def test_counting_changes_no_answer_and_leaves_no_trace(rule):
    strategy, counted, plugin = train(rule, True)
    _, plain, _ = train(rule, False)
    for with_count, without in zip(counted.answers, plain.answers, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(with_count, without, strict=True))
    assert counted.watched == [None] * DOMAINS and strategy.model.watch is None
    assert not list(walk(plugin, "")), "they would count as state of the method"


def test_another_evaluation_replaces_the_first_and_an_untrained_network_is_not_counted():
    trained, _, _ = train("prototype", False)
    plugin = AnswerPlugin()
    strategy = Naive(
        model=copy.deepcopy(trained.model),
        optimizer=torch.optim.SGD(trained.model.parameters(), lr=0.0),
        plugins=[plugin],
        evaluator=None,
    )
    data = list(domains())
    strategy.eval(stream_of(data[:1]).test_stream)
    assert plugin.tables["answers"] == []
    strategy.train(stream_of(data[:1]).train_stream)
    found = []
    for domain in (0, 2):
        strategy.eval(stream_of([data[domain]]).test_stream)
        rows = plugin.tables["answers"]
        assert sum(row["share"] for row in rows) == pytest.approx(1)
        found.append(max(rows, key=lambda row: row["share"])["head"])
    assert found == [0, 2]


def test_tables_are_written_by_name(tmp_path):
    class Plugin:
        def __init__(self, tables):
            self.tables = tables

    plugins = [Plugin({"a_1": [{"k": 1}], "none": []}), Plugin({"a_1": [{"k": 2, "m": None}]}), Plugin("of its own")]
    directory = RunDirectory(tmp_path)
    directory.write_tables([*plugins, object()])
    assert [path.name for path in tmp_path.iterdir()] == ["a_1.csv"]
    assert (tmp_path / "a_1.csv").read_text() == "k,m\n1,\n2,\n"
    with pytest.raises(ValueError, match=r"a table may not be called '\.\./x'"):
        directory.write_tables([Plugin({"../x": [{"k": 1}]})])
    directory.start({}, {})
    assert not (tmp_path / "a_1.csv").exists(), "what an unfinished attempt left"


# ---------------------------------------------------------------- structure

NAN = float("nan")
DECISIONS = pd.DataFrame(
    [
        {"experience": 0, "verdict": "base", "head": 0, "samples": 50, "known": 0},
        {"experience": 1, "verdict": "expand", "head": 1, "source": 0, "gap_0": 0.29, "samples": 50, "known": 12},
        {"experience": 2, "verdict": "distill", "head": 1, "teacher": 1, "gap_0": 0.5, "gap_1": 0.96, "samples": 50,
         "known": 48},
        {"experience": 3, "verdict": "expand", "head": 2, "source": 1, "gap_0": 0.125, "gap_1": 0.375, "samples": 50,
         "known": 18},
        {"experience": 4, "verdict": "distill", "head": 0, "teacher": 0, "gap_0": 0.92, "gap_1": 0.5, "gap_2": 0.0,
         "samples": 50, "known": 46},
    ]
)  # fmt: skip
ANSWERS = pd.DataFrame(
    [(3, 0, 2, 1.0), (4, 0, 0, 0.71), (4, 0, 1, 0.29), (4, 1, 1, 1.0), (4, 2, 1, 1.0), (4, 3, 2, 1.0), (4, 4, 0, 1.0)],
    columns=["after_experience", "test_experience", "head", "share"],
)
LANES = [
    lives.Lane(0, 0, None, (4,)),
    lives.Lane(1, 1, 0, (2,)),
    lives.Lane(2, 3, 1, ()),
]


def test_lanes_births_gaps_and_shares():
    found = lives.structure(DECISIONS.sample(frac=1, random_state=0), ANSWERS, 5)
    assert found is not None and found.lanes == LANES
    expected = [[NAN, 0.29, 0.5, 0.125, 0.92], [NAN, NAN, 0.96, 0.375, 0.5], [NAN, NAN, NAN, NAN, 0.0]]
    np.testing.assert_array_equal(found.gaps, expected)
    np.testing.assert_array_equal(found.known, [NAN, NAN, 0.96, NAN, 0.92])
    verdicts = ["base", *["distill"] * 4]
    one = lives.structure(DECISIONS.assign(verdict=verdicts, head=0).iloc[::-1], None, 5)
    assert one is not None and one.lanes == [lives.Lane(0, 0, None, (1, 2, 3, 4))]
    assert found.after == 4
    np.testing.assert_array_equal(found.shares, [[0.71, 0, 0, 0, 1], [0.29, 1, 1, 0, 0], [0, 0, 0, 1, 0]])


def test_older_and_damaged_tables():
    old = DECISIONS.drop(columns=["source", "teacher"])
    found = lives.structure(old, None, 5)
    assert found is not None and found.shares is None and found.after is None
    assert [lane.source for lane in found.lanes] == [None] * 3
    taught = lives.structure(old.assign(teacher=[NAN, 0, 1, 1, 0]), None, 5)
    assert taught is not None and taught.lanes == LANES
    assert lives.structure(DECISIONS.drop(columns="verdict"), ANSWERS, 5) is None
    assert lives.structure(DECISIONS.assign(experience=NAN), ANSWERS, 5) is None
    wild = pd.concat([DECISIONS, DECISIONS.iloc[:1].assign(experience=10**9), DECISIONS.iloc[:1].assign(head=10**9)])
    damaged = lives.structure(wild, ANSWERS.assign(head=[9, 9, 9, 9, 9, 9, -2]), 5)
    assert damaged is not None and damaged.lanes == LANES and damaged.shares is None
    part = lives.structure(DECISIONS, ANSWERS[ANSWERS.test_experience > 0], 5)
    assert part is not None and np.isnan(part.shares[:, 0]).all() and part.shares[0, 4] == 1


# ---------------------------------------------------------------- drawing

LABEL = 'dnn <i>&"$x$'
NAMES = ["plain", "dark <script>alert(1)</script>", "half & half", "wet", "last"]


def write_folder(out: Path) -> Path:
    """Two seeds of one strategy with all files, and one of another, without answers, as older versions left it."""
    settings = {"strategy": "dnn", "expand_below": 0.9, "expand_at": None}
    labels = {LABEL: settings, "old": {**settings, "expand_at": [1, 3]}}
    runs = [("r4", LABEL, 4), ("r2", LABEL, 2), ("o", "old", 0)]
    out.mkdir()
    (out / "suite.yaml").write_text(yaml.safe_dump({"name": "heads", "strategies": labels}, sort_keys=False))
    (out / "data.json").write_text(json.dumps({"name": "data"}))
    pd.DataFrame({"experience": range(5), "name": NAMES}).to_csv(out / "experiences.csv", index=False)
    pd.DataFrame(
        [{"run_id": run, "benchmark": "b", "strategy": label, "seed": seed, "status": "done"}
         for run, label, seed in runs]
    ).to_csv(out / "results.csv", index=False)  # fmt: skip
    for run, label, _ in runs:
        folder = out / "runs" / run
        folder.mkdir(parents=True)
        if label == LABEL:
            own = DECISIONS if run == "r2" else DECISIONS.iloc[:1]
            own.to_csv(folder / "decisions.csv", index=False)
            ANSWERS.to_csv(folder / "answers.csv", index=False)
        else:
            DECISIONS.drop(columns=["source", "teacher"]).to_csv(folder / "decisions.csv", index=False)
    return out


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(write_folder(tmp_path_factory.mktemp("timeline") / "out")).parent


def written(report: Path, name: str) -> list[str]:
    return re.findall(r">([^<>]+)</text>", (report / "plots" / f"{name}.svg").read_text())


def test_files_hold_the_lowest_seeds_story(report):
    found = {path.name for path in (report / "plots").iterdir()}
    assert found == {f"timeline_{name}.{kind}" for name in ("dnn_i_x", "old") for kind in style.FILES}
    texts = written(report, "timeline_dnn_i_x")
    assert texts.count("new") == 3 and texts.count("29") == 2  # a gap, and a share
    assert {"71", "96", "92", "wet", "head 2", "copied from"} <= set(texts)
    assert "test images answered after last (%)" in texts


def test_older_outputs_are_drawn_without_shares(report):
    texts = written(report, "timeline_old")
    assert texts.count("new") == 3 and texts.count("29") == 1
    assert "copied from" not in texts and not any("answered" in text for text in texts)


def test_page_tells_it_in_words_and_escapes_names(report):
    page = (report / "index.html").read_text()
    (stream,) = data_of(page)["streams"]
    captions = [plot["caption"] for plot in stream["plots"] if plot["name"].startswith("timeline_")]
    assert "seed 2, the lowest of the finished ones" in captions[0]
    assert sum("best is below 90 %" in caption for caption in captions) == 1
    first = stream["heads"]["strategies"][0]["runs"][0]
    assert first["seed"] == 2 and [lane[:3] for lane in first["lanes"]] == [[0, 0, None], [1, 1, 0], [2, 3, 1]]
    assert page.count("<script>") == 2 and "<i>" not in page
    svg = (report / "plots" / "timeline_dnn_i_x.svg").read_text()
    assert "<script>" not in svg and "&lt;i&gt;" in svg


def test_nothing_is_drawn_without_decisions(tmp_path):
    out = write_folder(tmp_path / "out")
    for path in (out / "runs").rglob("decisions.csv"):
        path.unlink()
    assert timeline.find(frame.read(out)) == []


@pytest.mark.parametrize(("inches", "words"), [(15.0, {"100", "new"}), (7.0, set()), (3.3, set())])
def test_forty_experiences_and_twenty_heads_keep_their_words_apart(report, inches, words):
    """Figures in cells do not touch: the cell is wider than the widest of them, or it has none."""
    rows = [{"experience": 0, "verdict": "base", "head": 0, "samples": 9, "known": 0}]
    for step in range(1, 40):
        heads = min((step + 1) // 2, 20) if step < 39 else 20
        born = step % 2 == 1 and heads < 20
        gaps = {f"gap_{head}": 1.0 for head in range(heads)}
        verdict = {"verdict": "expand", "head": heads, "source": 0} if born else {"verdict": "distill", "head": 0}
        rows.append({"experience": step, "samples": 9, "known": 9, **verdict, **gaps})
    found = lives.structure(pd.DataFrame(rows), None, 40)
    assert found is not None and found.gaps.shape == (20, 40)
    run = timeline.OfRun("dnn", 0, 0, 1, found, "x")
    with style.plain_style():
        axes = timeline.draw(frame.read(report.parent), run, style.theme(["dnn"], ["dnn"], inches)).figure.axes[0]
        column = axes.transData.transform((1, 0))[0] - axes.transData.transform((0, 0))[0]
        boxes = {text.get_text(): text.get_window_extent() for text in axes.texts}
    assert words <= set(boxes) and bool(words) == bool(boxes)
    lane = axes.transData.transform((0, 0))[1] - axes.transData.transform((0, 1))[1]
    for box in boxes.values():
        assert box.width < 2 * timeline.WIDE * column and box.height < lane
