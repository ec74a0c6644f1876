"""`lorisbench reproduce`: statuses by their rule, tables of every ground, and the command from end to end."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import trees
from hypothesis import given
from hypothesis import strategies as st

from lorisbench.report import render
from lorisbench.report.stored import Stored
from lorisbench.report.tabular import Table
from lorisbench.reproduce.claims import Ground, Measured, claim, ground_of, over_seeds, tolerance
from lorisbench.reproduce.page import text
from lorisbench.reproduce.published import Number, Published, load
from lorisbench.reproduce.tables import build

REAL = Ground("OpenLORIS-Object", False, [])
SIM = Ground("OpenLORIS-Sim", True, [])
OTHER = Ground("OpenLORIS-Object", False, ["69 objects, not 51"])
QUICK = (
    "--set", "training.epochs=1", "--set", "training.later.epochs=1", "--set", "backbone.image_size=32",
    "--set", "latency.calls=2", "--set", "latency.warmup=0",
)  # fmt: skip
LABELS = ("no-expand", "expand@1", "no-expand+lr", "expand@1+lr", "v2-worst-expand@1+3")
NO_ROUTER = tuple(word for label in LABELS for word in ("--set", f"{label}.answer=newest"))  # a second less a run


# ---- the rule


@pytest.mark.parametrize(
    ("published", "measured", "ground", "implemented", "status"),
    [
        (Number(95.75, None, 0.01), Measured(95.76, np.nan, 1), REAL, True, "reproduced"),
        (Number(95.75, None, 0.01), Measured(95.77, np.nan, 1), REAL, True, "differs"),
        (Number(95.75, 0.5, 0.01), Measured(96.76, np.nan, 1), REAL, True, "reproduced"),
        (Number(95.75, 0.5, 0.01), Measured(96.77, np.nan, 1), REAL, True, "differs"),
        (Number(95.0, None, 0.01), Measured(95.9, 0.9, 4), REAL, True, "reproduced"),
        (Number(95.0, None, 0.01), Measured(95.92, 0.9, 4), REAL, True, "differs"),
        (Number(95.0, None, 0.01), Measured(93.9, 0.9, 4), REAL, True, "differs"),
        (Number(95.0, None, 0.01), Measured(95.0, 0.1, 3), SIM, True, "not run on OpenLORIS"),
        (Number(95.0, None, 0.01), Measured(95.0, 0.1, 3), OTHER, True, "not comparable"),
        (Number(95.0, None, 0.01), Measured(np.nan, np.nan, 0), REAL, True, "not measured"),
        (None, Measured(95.0, 0.1, 3), REAL, True, "published value unknown"),
        (None, Measured(95.0, 0.1, 3), SIM, True, "published value unknown"),
        (Number(95.0, None, 0.01), Measured(np.nan, np.nan, 0), REAL, False, "not implemented"),
        (Number(95.0, None, 0.01), Measured(np.nan, np.nan, 0), SIM, False, "not implemented"),
    ],
)
def test_each_status_has_its_case(
    published: Number | None, measured: Measured, ground: Ground, implemented: bool, status: str
) -> None:
    assert claim(published, measured, ground, implemented).status == status


numbers = st.builds(
    Number, st.floats(0, 100), st.none() | st.floats(0, 5), st.floats(0.005, 2)
)  # per cent, its std, its uncertainty
values = st.lists(st.floats(0, 1), max_size=5)


@given(number=numbers, seeds=values)
def test_reproduced_is_within_the_tolerance_and_differs_is_not(number: Number, seeds: list[float]) -> None:
    found = claim(number, over_seeds(seeds), REAL)
    if not seeds:
        assert found.status == "not measured" and np.isnan(found.difference)
        return
    error = np.std([100 * v for v in seeds], ddof=1) / np.sqrt(len(seeds)) if len(seeds) > 1 else 0
    wanted = number.uncertainty + 2 * (number.std or 0) + 2 * error
    assert tolerance(number, found.measured) == pytest.approx(wanted)
    off = abs(100 * np.mean(seeds) - number.value)
    if abs(off - wanted) > 1e-6:
        assert found.status == ("reproduced" if off < wanted else "differs")


@given(number=numbers | st.none(), seeds=values, implemented=st.booleans(), faults=st.lists(st.text(), max_size=1))
def test_nothing_synthetic_or_incomparable_is_compared(
    number: Number | None, seeds: list[float], implemented: bool, faults: list[str]
) -> None:
    for ground in (Ground("any", True, faults), Ground("any", False, ["a fault", *faults])):
        found = claim(number, over_seeds(seeds), ground, implemented)
        assert found.status not in ("reproduced", "differs")
        assert np.isnan(found.difference) and np.isnan(found.tolerance)


# ---- tables of runs that never were, on each ground


def whole(paper: Published, name: str) -> np.ndarray:
    """A printed matrix as fractions, its unknown future filled with 0.5."""
    cells = paper.matrices[name].cells
    full = np.full((len(cells), len(cells)), 0.5)
    for i, row in enumerate(cells):
        full[i, : i + 1] = [mean / 100 for mean, _ in row]
    return full


def folder(matrices: dict[str, list[np.ndarray]], protocol: str = "challenge", **changes: Any) -> Stored:
    """What a part's output folder would hold after runs with these matrices, a seed each."""
    rows = [
        (f"{label}-{seed}", label, seed, "done", "") for label, stack in matrices.items() for seed in range(len(stack))
    ]
    tasks = len(next(iter(matrices.values()))[0])
    fields: dict[str, Any] = {
        "out": Path("/nowhere"),
        "suite": {
            "benchmark": {"name": "openloris", "protocol": protocol},
            "strategies": {label: {} for label in matrices},
        },
        "data": {"name": "OpenLORIS-Object", "synthetic": False, "classes": [str(k) for k in range(51)]},
        "runs": pd.DataFrame(rows, columns=["run_id", "strategy", "seed", "status", "reason"]),
        "experiences": pd.DataFrame(),
        "names": [f"batch {k + 1}" for k in range(tasks)],
        "matrices": {f"{label}-{seed}": m for label, stack in matrices.items() for seed, m in enumerate(stack)},
        "environments": {},
        "latencies": {},
        "warnings": [],
    }
    return Stored(**(fields | changes))


def published_runs(**changes: Any) -> Stored:
    """Fine-tuning and V2' as printed, one seed, and the other variants at their published square all over."""
    paper = load("hik2019")
    runs = {"finetune": [whole(paper, "matrix_finetune")], "v2-worst-expand@1+3": [whole(paper, "matrix_v2")]}
    for label, square in (("no-expand", 0.945), ("expand@1", 0.9575), ("no-expand+lr", 0.9601), ("expand@1+lr", 0.9)):
        runs[label] = [np.full((9, 9), square)]
    return folder(runs, **changes)


def made(stored: Stored) -> dict[str, Table]:
    return {table.name: table for table in build(load("hik2019"), {"hik2019": stored})}


def everything(table: Table) -> str:
    return render.markdown(table) + render.latex(table) + render.csv(table) + text(table)


def test_the_published_matrix_is_reproduced_by_itself() -> None:
    tables = made(published_runs())
    assert list(tables) == ["table1", "derived", "matrix_finetune", "matrix_v2", "order"]
    for name in ("matrix_finetune", "matrix_v2"):
        cells = tables[name].values
        future = cells.test.map(lambda test: test if isinstance(test, int) else -1) > cells.after
        assert len(cells) == 90 and set(cells.status[future]) == {"published value unknown"}
        assert set(cells.status[~future]) == {"reproduced"}
        assert cells.measured[future].eq(50).all(), "the future is measured, though nobody published it"
    assert set(tables["derived"].values.status) == {"reproduced"}
    squares = tables["table1"].values.set_index("method").status
    assert squares["DynamicNN (expand@1)"] == "reproduced"
    assert squares["DynamicNN (expand@1) + LR trick"] == "differs"
    assert squares.filter(like="V2'").tolist() == ["published value unknown"]
    assert "Tolerance: uncertainty" in render.markdown(tables["table1"])


def test_one_cell_that_is_off_differs_alone() -> None:
    stored = published_runs()
    stored.matrices["finetune-0"][3, 1] += 0.03
    cells = made(stored)["matrix_finetune"].values
    off = cells[cells.status == "differs"]
    assert [(row.after, row.test) for row in off.itertuples()] == [(3, 1)]
    assert off.difference.item() == pytest.approx(3)
    assert off.tolerance.item() == pytest.approx(0.005 + 2 * 1.04)


def test_synthetic_tables_say_so_everywhere_and_claim_nothing() -> None:
    data = {"name": "OpenLORIS-Sim", "synthetic": True, "classes": ["a"] * 51}
    for table in made(published_runs(data=data)).values():
        for shown in (render.markdown(table), render.latex(table), render.csv(table), text(table)):
            assert "ynthetic" in shown and "not OpenLORIS" in shown, table.name
            assert "reproduced" not in shown.lower() and "differs" not in shown, table.name
        assert table.values.data.eq("OpenLORIS-Sim (synthetic, not OpenLORIS)").all()
        if "difference" in table.values:
            assert table.values.difference.isna().all()


def test_data_that_do_not_say_they_are_real_count_as_synthetic() -> None:
    assert ground_of(published_runs(data={}), load("hik2019").parts["hik2019"]).synthetic


@pytest.mark.parametrize(
    ("suite", "said"),
    [
        ({"benchmark": {"name": "folder", "protocol": "challenge"}}, "the benchmark is folder"),
        ({"benchmark": {"name": "openloris", "protocol": "sequence"}}, "protocol sequence, not challenge"),
        ({"benchmark": {"name": "openloris", "protocol": "challenge", "fraction": 0.1}}, "only 0.1 of the images"),
        ({"benchmark": {"name": "openloris", "protocol": "challenge", "order": {"seed": 1}}}, "another order"),
        ({"benchmark": {"name": "openloris", "protocol": "challenge", "val_as_replay": True}}, "trained on"),
        (
            {"benchmark": {"name": "openloris", "protocol": "challenge"}, "evaluation": {"split": "validation"}},
            "measured on validation images",
        ),
    ],
)
def test_another_stream_is_not_comparable_and_says_why(suite: dict[str, Any], said: str) -> None:
    for table in made(published_runs(suite={**suite, "strategies": {}})).values():
        assert "Not comparable: " in table.caption and said in table.caption
        assert "reproduced" not in everything(table)


def test_the_finals_twelve_tasks_are_not_the_nine_batches() -> None:
    stored = folder(
        {"finetune": [np.full((12, 12), 0.9)]},
        data={"name": "OpenLORIS-Object", "synthetic": False, "classes": ["a"] * 69},
    )
    table = made(stored)["matrix_finetune"]
    assert "challenge protocol with 12 tasks, not the 9 batches of the paper; 69 objects, not 51" in table.caption
    assert set(table.values.status) == {"not comparable", "published value unknown"}
    assert "measured matrix is 12 × 12" in render.markdown(table)


def test_runs_that_are_not_there_are_not_measured() -> None:
    stored = folder({"no-expand": [np.full((9, 9), 0.945)]})
    tables = made(stored)
    assert set(tables["matrix_finetune"].values.status) == {"not measured", "published value unknown"}
    assert tables["table1"].values.set_index("method").status["Finetune"] == "not measured"
    assert "undefined" in render.markdown(tables["order"]), "one method has no order"


def test_the_order_is_ranked_and_its_steps_are_held_against_the_seeds() -> None:
    squares = {"finetune": (0.50, 0.52), "no-expand": (0.60, 0.62), "expand@1": (0.61, 0.60),
               "no-expand+lr": (0.80, 0.80), "expand@1+lr": (0.70, 0.71)}  # fmt: skip
    stored = folder({label: [np.full((9, 9), value) for value in pair] for label, pair in squares.items()})
    table = made(stored)["order"]
    rows = table.values
    assert rows.method.tolist() == list(load("hik2019").methods)[:5], "from the lowest published square up"
    assert rows.published_rank.tolist() == [5, 4, 3, 2, 1]
    assert rows.measured_rank.tolist() == [5, 3, 4, 1, 2]
    assert rows.kendall_tau.unique() == pytest.approx([0.6])  # two of ten pairs the other way
    assert rows.step_verdict.tolist() == [
        "", "same way, beyond the spread", "within the spread", "same way, beyond the spread",
        "other way, beyond the spread",
    ]  # fmt: skip
    assert rows.measured_step.tolist()[1:] == pytest.approx([10, -0.5, 19.5, -9.5])
    assert "Kendall's tau of published and measured order 0.60, 5 methods" in render.markdown(table)
    one = folder({label: [np.full((9, 9), pair[0])] for label, pair in squares.items()})
    assert "spread unknown" in made(one)["order"].values.step_verdict[1]


def test_latex_sets_every_character() -> None:
    for ground in ({}, {"data": {}}):
        for table in made(published_runs(**ground)).values():
            assert render.latex(table).isascii(), set(filter(lambda c: not c.isascii(), render.latex(table)))


# ---- the command


@pytest.fixture(scope="module")
def batches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trees.challenge(tmp_path_factory.mktemp("batches") / "tree", "batch", 9)


def test_hik2019_from_end_to_end_and_again(cli: Callable[..., Any], batches: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("reproduce", "hik2019", "--data-root", batches, "--out", out, "--seeds", "0", *QUICK, *NO_ROUTER)
    first = cli(*words)
    assert first.code == 0, first.err
    assert "6 runs" in first.err
    cells = pd.read_csv(out / "tables" / "matrix_v2.csv")
    assert set(cells.status) == {"not comparable", "published value unknown"} and cells.measured.notna().all()
    for ending in ("md", "tex", "csv"):
        assert {path.stem for path in (out / "tables").glob(f"*.{ending}")} == {
            "table1", "derived", "matrix_finetune", "matrix_v2", "order"
        }  # fmt: skip
    assert "3 objects, not 51" in (out / "tables" / "table1.md").read_text("utf-8")
    page = (out / "index.html").read_text("utf-8")
    assert "3 objects, not 51" in page and "training.epochs: 1 (suite: 130)" in page and "runs: 6 done" in page
    for caption in ("Table 1: square performance", "Accuracy matrix of Finetune", "Accuracy matrix of DynamicNN V2'"):
        assert caption in first.out
    results = pd.read_csv(out / "results.csv").set_index("strategy")
    assert set(results.stream) == {"hik2019"}
    shown = pd.read_csv(out / "tables" / "table1.csv").set_index("method")
    assert shown.measured["Finetune"] == pytest.approx(100 * results.square["finetune"])
    assert (
        results.heads["v2-worst-expand@1+3"] == 3 and results.heads["expand@1"] == 2 and results.heads["no-expand"] == 1
    )

    before = {path: path.stat().st_mtime_ns for path in out.rglob("predictions.npz")}
    again = cli(*words)
    assert again.code == 0 and "6 already finished" in again.err and again.out == first.out
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("predictions.npz")}


@pytest.mark.heavy
def test_openloris2020_shows_what_is_not_implemented_and_what_failed(
    cli: Callable[..., Any], release: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ("reproduce", "openloris2020", "--data-root", release, "--out", out, "--seeds", "0", "--parts", "clutter")
    broken = ("--set", "naive.training.optimizer=sgd", "--set", "naive.training.lr=1.0e+38")
    answer = cli(*words, "--set", "training.epochs=1", "--set", "backbone.image_size=32", *broken)
    assert answer.code == 1 and "diverged" in answer.err, answer.err
    cells = pd.read_csv(out / "tables" / "clutter.csv")
    absent = cells[cells.status == "not implemented"]
    assert set(absent.method) == {"DGR + feedback"}
    assert len(cells) == 36 and absent.measured.isna().all() and absent.published.notna().all()
    assert set(cells.status) == {"not implemented", "not comparable"}
    assert set(cells.metric) == {"accuracy_seen", "bwt_mean", "fwt_mean", "square"}
    assert set(cells.method) - set(cells.method[cells.measured.notna()]) == {"Naive", "DGR + feedback"}, (
        "the run that diverged has no value"
    )
    assert not (out / "tables" / "sequence.csv").exists()
    page = (out / "index.html").read_text("utf-8")
    assert re.search(r"illumination, nine tasks: not run", page) and "Not implemented here: DGR + feedback" in page
    assert "1 diverged" in page


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["hik2018"], "did you mean 'hik2019'"),
        (["openloris2020", "--parts", "cluter"], "did you mean 'clutter'"),
        (["hik2019", "--set", "training.epoch=3"], "'epochs'"),
        (["hik2019", "--seeds", "a"], "--seeds"),
        (["hik2019", "--data-root", "/nonexistent/place"], "/nonexistent/place"),
    ],
)
def test_wrong_words_are_one_line(cli: Callable[..., Any], tmp_path: Path, words: list[str], said: str) -> None:
    answer = cli("reproduce", *words, "--out", tmp_path / "out")
    assert answer.code == 2 and said in answer.err and len(answer.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_tree_without_one_of_the_parts_is_refused_before_training(cli: Callable[..., Any], tmp_path: Path) -> None:
    final = trees.challenge(tmp_path / "final")
    words = ("reproduce", "openloris2020", "--data-root", final, "--out", tmp_path / "out")
    answer = cli(*words, "--parts", "sequence,pixel")
    assert answer.code == 2 and "'factor'" in answer.err and not (tmp_path / "out").exists()


@pytest.mark.heavy
def test_dry_run_lists_every_part_and_writes_nothing(cli: Callable[..., Any], tmp_path: Path) -> None:
    answer = cli("reproduce", "openloris2020", "--out", tmp_path / "out", "--dry-run")
    lines = answer.out.splitlines()
    assert answer.code == 0 and len(lines) == 5 * 8 * 3 and not (tmp_path / "out").exists()
    assert lines[0].startswith("illumination.naive.s0.") and lines[-1].endswith("\tpending")
