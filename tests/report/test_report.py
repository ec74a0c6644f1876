"""The report as a reader meets it: the files that `write_report` leaves."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from stored_output import Folder, accuracy_matrix, data_of

from lorisbench.common.errors import InputError
from lorisbench.report import write_report


def realistic(out: Path, experiences: int = 12, seeds: int = 3, strategies: int = 5) -> Folder:
    """Five strategies, or the first of them, as a full suite would leave them."""
    folder = Folder(out, experiences)
    for seed in range(seeds):
        for k, (label, final, forgets, ms, extra) in enumerate(
            [
                ("dnn", 0.74, 0.08, 6.1, {"heads": 4, "state_mb": 2.1}),
                ("naive", 0.62, 0.45, 5.5, {}),
                ("ewc", 0.64, 0.38, 5.5, {"state_mb": 3.4}),
                ("lwf", 0.70, 0.22, 5.6, {"state_mb": 1.7}),
                ("joint", 0.79, 0.0, 5.5, {"replay_samples": 10560}),
            ][:strategies]
        ):
            rng = np.random.default_rng(1000 * seed + k)
            matrix = accuracy_matrix(experiences, 100 * seed + k, final, forgets)
            run = folder.run(
                label, seed, matrix, strategy=label, latency_p50_ms=ms + rng.normal(0, 0.05),
                latency_p95_ms=ms * 1.2, latency_ratio=ms / 5, train_seconds=60 + 20 * k + rng.normal(0, 2), **extra,
            )  # fmt: skip
            if label == "dnn":
                heads, rows = 1, []
                for step in range(experiences):
                    gaps = {f"gap_{h}": float(rng.uniform(0.3, 0.95)) for h in range(heads)} if step else {}
                    expand = step in (3, 6, 9)
                    head = heads if expand else (0 if not step else int(rng.integers(heads)))
                    verdict = "base" if step == 0 else "expand" if expand else "distill"
                    teacher: int | str = "" if step == 0 else int(rng.integers(heads)) if expand else head
                    heads += expand
                    rows.append(
                        {"experience": step, "verdict": verdict, "head": head, "teacher": teacher}
                        | {f"gap_{h}": "" for h in range(4)} | gaps
                        | {"known": 0 if not step else int(rng.integers(300, 900)), "samples": 960}
                    )  # fmt: skip
                folder.decide(run, rows)
    return folder


def row_of(out: Path, table: str, label: str) -> dict[str, str]:
    with (out / "report" / "tables" / f"{table}.csv").open() as stream:
        return next(row for row in csv.DictReader(stream) if row["strategy"] == label)


def markdown_row(out: Path, table: str, label: str) -> list[str]:
    text = (out / "report" / "tables" / f"{table}.md").read_text()
    line = next(line for line in text.splitlines() if re.match(rf"\| {re.escape(label)}(<sup>|\s)", line))
    return [cell.strip() for cell in line.strip("|").split(" | ")]


def page_of(out: Path) -> str:
    return write_report(out).read_text()


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory, render_only: Callable[..., None]) -> Path:
    """A full suite's folder with its report, for tests that only look; one plot of each kind is rendered."""
    out = realistic(tmp_path_factory.mktemp("full") / "out").write()
    with pytest.MonkeyPatch.context() as patch:
        render_only(patch, ("matrix_dnn", "ranking", "curves", "forgetting", "pareto", "timeline_dnn"))
        assert write_report(out) == out / "report" / "index.html"
    return out


def test_every_promised_file_is_there(full: Path) -> None:
    report = full / "report"
    tables = (
        "comparison",
        "standing",
        "tests",
        "further_metrics",
        "accuracy_last_per_experience",
        "forgetting_per_experience",
        "runs",
        "latency",
    )
    assert {path.name for path in (report / "tables").iterdir()} == {
        f"{name}.{ending}" for name in tables for ending in ("md", "tex", "csv")
    }
    plots = {f"matrix_{label}" for label in ("dnn", "naive", "ewc", "lwf", "joint")}
    plots |= {
        "matrices",
        "ranking",
        "curves",
        "forgetting",
        "pareto",
        "ranks",
        "factors",
        "improvement",
        "timeline_dnn",
    }
    assert {path.name for path in (report / "plots").iterdir()} == {
        f"{name}.{ending}" for name in plots for ending in ("png", "svg", "pdf", "csv")
    }
    assert {path.name for path in report.iterdir()} == {"index.html", "tables", "plots"}, "temporary files are left"


def test_page_is_one_file_and_its_links_lead_somewhere(full: Path) -> None:
    page = (full / "report" / "index.html").read_text()
    words = re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)
    for target in re.findall(r'(?:src|href)="([^"]+)"', words):
        assert target.startswith("#") or (full / "report" / target).is_file(), target
    assert "@import" not in page and not re.search(r"<script[^>]* src|<link", page)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1]
    assert policy.startswith("default-src 'none'; ") and policy.count("sha256-") == 2
    for place in ("Synthetic data", 'id="findings"', 'id="comparison"', 'id="runs"', "What was run", "How to cite"):
        assert place in words
        words = words[words.index(place) :]
    assert len(page) < 1.2e6


def test_comparison_holds_means_and_intervals_in_per_cent(full: Path) -> None:
    results = pd.read_csv(full / "results.csv")
    scores = results[results["strategy"] == "lwf"]["accuracy_last"] * 100
    row = row_of(full, "comparison", "lwf")
    assert float(row["accuracy_last_mean"]) == pytest.approx(scores.mean())
    assert float(row["accuracy_last_ci95"]) == pytest.approx(4.302653 * scores.std() / np.sqrt(3), rel=1e-5)
    assert row["accuracy_last_n"] == "3"
    assert float(row["train_seconds_mean"]) == pytest.approx(
        results[results["strategy"] == "lwf"]["train_seconds"].mean()
    )
    everyone = results.groupby("strategy")["accuracy_last"].std() * 100 * 4.302653 / np.sqrt(3)
    assert 1 <= everyone.median() < 10, "two digits of the median half-width are one decimal"
    shown = f"{scores.mean():.1f} ± {4.302653 * scores.std() / np.sqrt(3):.1f}"
    assert markdown_row(full, "comparison", "lwf")[2].replace("<u>", "").replace("</u>", "") == shown


def test_tables_per_experience_agree_with_the_matrix(full: Path) -> None:
    results, cells = pd.read_csv(full / "results.csv"), pd.read_csv(full / "matrix.csv")
    runs = results[results["strategy"] == "ewc"]["run_id"]
    column = cells[cells["run_id"].isin(runs) & (cells["test_experience"] == 4)]
    last = column[column["after_experience"] == 11].set_index("run_id")["accuracy"]
    earlier = column[column["after_experience"].between(4, 10)].groupby("run_id")["accuracy"].max()
    row = row_of(full, "accuracy_last_per_experience", "ewc")
    assert float(row["occlusion 2_mean"]) == pytest.approx(100 * last.mean())
    lost = row_of(full, "forgetting_per_experience", "ewc")
    assert float(lost["occlusion 2_mean"]) == pytest.approx(100 * (earlier - last).mean())
    assert "clutter 3_mean" in row and "clutter 3_mean" not in lost


def test_definitions_stand_under_the_tables(full: Path) -> None:
    for ending, pattern in (("md", "R\\[T−1, j\\]"), ("tex", "R[T$-$1, j]")):
        for table in ("comparison", "accuracy_last_per_experience", "forgetting_per_experience"):
            assert pattern in (full / "report" / "tables" / f"{table}.{ending}").read_text()


def test_report_imports_neither_torch_nor_avalanche(tmp_path: Path) -> None:
    out = realistic(tmp_path / "out", experiences=2, seeds=1, strategies=2).write()
    code = (
        "import sys; from pathlib import Path; import lorisbench.report; "
        "assert not {'pandas', 'matplotlib', 'jinja2'} & set(sys.modules), 'imports are not late'; "
        f"lorisbench.report.write_report(Path({str(out)!r})); "
        "assert not {'torch', 'avalanche', 'matplotlib.pyplot'} & set(sys.modules)"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


@pytest.mark.heavy
@pytest.mark.drawn
def test_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    contents = []
    for name in ("first", "second"):
        out = realistic(tmp_path / name, experiences=2, seeds=2).write()
        write_report(out)
        files = sorted(path for path in (out / "report").rglob("*") if path.is_file())
        contents.append({str(path.relative_to(out)): path.read_bytes() for path in files})
    assert contents[0] == contents[1]


def test_svg_keeps_text_as_text(full: Path) -> None:
    svg = (full / "report" / "plots" / "curves.svg").read_text()
    assert ">illumination 1</text>" in svg and "<dc:date>" not in svg


def test_a_plot_says_in_words_what_it_shows(full: Path) -> None:
    """To readers of the file who do not see it."""
    plots = full / "report" / "plots"
    svg, pdf = (plots / "pareto.svg").read_text("utf-8"), (plots / "pareto.pdf").read_bytes()
    assert re.search(r"<dc:description>Scatter plots; dnn [0-9.]+ %", svg) and b"/Subject (Scatter plots; dnn" in pdf


def test_best_is_bold_with_ties_and_the_best_without_replay(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "out")
    for label, score, values in (
        ("a", 0.7, {"latency_p50_ms": 4.25, "train_seconds": 10.5}),
        ("b", 0.7, {"latency_p50_ms": 5.0, "train_seconds": 10.5}),
        ("c", 0.6, {"latency_p50_ms": 6.0}),
        ("joint", 0.9, {"latency_p50_ms": 7.0, "replay_samples": 1920}),
    ):
        folder.run(label, 0, np.full((3, 3), score), **values)
    write_report(folder.write())
    shown = {label: markdown_row(folder.out, "comparison", label) for label in ("a", "b", "c", "joint")}
    assert [shown[label][2] for label in shown] == ["**70.00**", "**70.00**", "<u>60.00</u>", "**90.00**"]
    assert [shown[label][10] for label in shown] == ["**4.25**", "5.00", "6.00", "7.00"]
    assert [shown[label][12] for label in shown] == ["**10.50**", "**10.50**", "61.25", "61.25"]
    # Nothing is forgotten by any of them: what all share is nobody's merit.
    assert shown["a"][7] == "0.00"
    assert shown["joint"][0] == "joint<sup>†</sup>"
    text = (folder.out / "report" / "tables" / "comparison.md").read_text()
    assert "<sup>†</sup>joint keeps 1\N{NARROW NO-BREAK SPACE}920 images of earlier experiences." in text


def test_what_training_took_has_a_table_with_the_budget_of_each(tmp_path: Path) -> None:
    training = {"epochs": 5, "budget": {"iterations": 1200, "samples": None, "flops": None}}
    folder = Folder(tmp_path / "out", training=training)
    for label, flops, used in (("a", 3e9, 1.0), ("b", 5e9, 0.4), ("off", 7e9, None)):
        reason = {} if used else {"undefined": "budget_used: no budget was set (training.budget)"}
        folder.run(label, 0, np.full((3, 3), 0.7), train_flops=flops, train_samples=9, budget_used=used, **reason)
    folder.suite["strategies"]["off"]["training"] = {"epochs": 5, "budget": None}
    write_report(folder.write())
    shown = {label: markdown_row(folder.out, "compute", label) for label in ("a", "b", "off")}
    assert [shown[label][3] for label in shown] == ["**3**", "5", "7"]
    assert [shown[label][-1].partition("<")[0] for label in shown] == ["100.0", "40.0", "—"]
    text = (folder.out / "report" / "tables" / "compute.md").read_text()
    assert "Budget of each experience, a, b: 1\N{NARROW NO-BREAK SPACE}200 iterations." in text
    assert "Budget of each experience, off: none, but epochs." in text and "no budget was set" in text


@pytest.mark.parametrize(("train", "budget", "told"), [("first", 9, 2), ("first", None, 1), ("never", 9, 0)])
def test_what_training_took_says_that_it_includes_a_backbone_trained_first(
    tmp_path: Path, train: str, budget: int | None, told: int
) -> None:
    folder = Folder(tmp_path / "out", training={"budget": budget and {"iterations": budget}})
    folder.suite["backbone"]["train"] = train
    folder.run("a", 0, np.full((3, 3), 0.7), train_flops=3e9, budget_used=1.0)
    write_report(folder.write(), plots=["curves"])
    text = (folder.out / "report" / "tables" / "compute.md").read_text()
    assert ("include what it took to train the backbone first" in text) + ("Budgets count it apart" in text) == told


def test_results_of_before_have_no_table_of_what_training_took(full: Path) -> None:
    assert not (full / "report" / "tables" / "compute.md").exists()


def test_a_remark_is_a_footnote_and_keeps_a_strategy_out_of_the_best(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "out")
    for label, final in (("told", 0.79), ("fair", 0.6), ("poor", 0.5)):
        for seed in (0, 1):
            folder.run(label, seed, accuracy_matrix(3, seed, final, 0.1), "naive" if label == "poor" else "dnn")
    folder.suite["about"] = ["told", "fair"]
    folder.suite["strategies"]["told"]["remarks"] = ["an upper bound: it is told the task"]
    write_report(folder.write())
    table = (tmp_path / "out" / "report" / "tables" / "comparison.md").read_text()
    rows = {line.split(" |")[0].strip("| "): line for line in table.splitlines() if line.startswith("|")}
    (letter,) = re.findall(r"- <sup>(\w)</sup>an upper bound: it is told the task\.", table)
    told = rows[f"told<sup>{letter}</sup>"]
    last = {name.partition("<")[0]: line.split("|")[3] for name, line in rows.items()}
    assert "**" not in told.partition("|")[2].split("|")[2]
    assert "**" not in last["told"] and "**" in last["fair"]
    page = (tmp_path / "out" / "report" / "index.html").read_text()
    assert "fair has the highest accuracy" in page
    tests = pd.read_csv(tmp_path / "out" / "report" / "tables" / "tests.csv")
    assert tests[["first", "second"]].to_numpy().tolist() == [["fair", "told"], ["fair", "poor"]]


def test_those_that_it_is_about_are_tested_against_all_others_and_not_against_each_other(tmp_path: Path) -> None:
    for about, told in (
        (["second", "first"], [["first", "other"], ["second", "other"]]),
        ([], [["second", "other"], ["second", "first"]]),  # the best, if it is about none
        (["gone"], [["second", "other"], ["second", "first"]]),
    ):
        folder = Folder(tmp_path / "out", about=about)
        for k, label in enumerate(("first", "other", "second")):
            for seed in range(2):
                folder.run(label, seed, np.full((3, 3), 0.3 + 0.1 * k))
        write_report(folder.write())
        tests = pd.read_csv(folder.out / "report" / "tables" / "tests.csv")
        assert tests[["first", "second"]].to_numpy().tolist() == told


def test_one_seed_decides_nothing(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "out", about="dnn")
    folder.run("dnn", 0, np.full((3, 3), 0.9), strategy="dnn")
    folder.run("naive", 0, np.full((3, 3), 0.4))
    page = page_of(folder.write())
    assert "A strategy has one seed only: nothing can be concluded of other seeds" in page and "is above" not in page
    assert not pd.read_csv(folder.out / "report" / "tables" / "tests.csv").apart.any()
    assert row_of(folder.out, "comparison", "dnn")["accuracy_last_ci95"] == ""
    assert "±" not in "".join(markdown_row(folder.out, "comparison", "dnn"))


def test_headline_names_the_best_and_the_best_without_replay(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "out")
    folder.run("lwf", 0, np.full((3, 3), 0.7))
    folder.run("naive", 0, np.full((3, 3), 0.4))
    folder.run("joint", 0, np.full((3, 3), 0.95), replay_samples=1920)
    assert (
        "joint† has the highest accuracy on the last row, 95.00\u00a0%; of those that keep no images of earlier "
        "experiences lwf, 70.00\u00a0%." in page_of(folder.write())
    )


def test_banners_follow_data_and_split(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "out", evaluation={"split": "validation"})
    folder.run("naive", 0, np.full((3, 3), 0.4))
    page = page_of(folder.write())
    assert "Synthetic data (OpenLORIS-Sim), not OpenLORIS" in page and "Validation split" in page
    folder.data = {"name": "OpenLORIS-Object", "synthetic": False}
    folder.suite["evaluation"] = {"split": "test"}
    page = page_of(folder.write())
    assert "Synthetic data" not in page and "Validation split" not in page


def test_failed_runs_come_first_with_their_reason_and_count_for_nothing(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "out")
    folder.run("naive", 0, np.full((3, 3), 0.4))
    folder.run("naive", 1, np.full((3, 3), 0.9), status="diverged", reason="loss was nan\nat step 7")
    folder.run("ewc", 0, None, reason="RuntimeError: out of memory")
    page = page_of(folder.write())
    rows = list(csv.DictReader((folder.out / "report" / "tables" / "runs.csv").open()))
    assert [row["status"] for row in rows] == ["failed", "diverged", "done"]
    assert "2 runs failed or diverged;" in page and "loss was nan\nat step 7" in data_of(page)["streams"][0]["texts"]
    assert float(row_of(folder.out, "comparison", "naive")["accuracy_last_mean"]) == pytest.approx(40)
    assert markdown_row(folder.out, "comparison", "naive")[1] == "1 of 2"
    assert markdown_row(folder.out, "comparison", "ewc")[2].startswith("—<sup>")
    assert "no finished run (1 failed)." in (folder.out / "report" / "tables" / "comparison.md").read_text()


@pytest.mark.parametrize("status", ["failed", "pending"])
def test_no_finished_run_still_gives_a_page(tmp_path: Path, status: str) -> None:
    folder = Folder(tmp_path / "out")
    folder.run("dnn", 0, None, strategy="dnn", status=status, reason="boom")
    page = page_of(folder.write())
    assert "No finished run has an accuracy on the last row" in page and "boom" in page
    assert not data_of(page)["streams"][0]["of"]


def test_undefined_metric_is_a_dash_with_its_reason(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "out", experiences=1)
    folder.run("naive", 0, np.array([[0.8]]), undefined="bwt_mean: one experience; no past; fwt_mean: no future")
    page = page_of(folder.write())
    row = markdown_row(folder.out, "comparison", "naive")
    assert row[5] == "—<sup>a</sup>" and row[6] == "—<sup>b</sup>"
    assert row_of(folder.out, "comparison", "naive")["bwt_mean_mean"] == ""
    text = (folder.out / "report" / "tables" / "comparison.md").read_text()
    assert "<sup>a</sup>one experience; no past." in text and "<sup>b</sup>no future." in text
    latex = (folder.out / "report" / "tables" / "comparison.tex").read_text()
    assert "Last row" in latex and "---" not in latex, "a paper shows no column without a value"
    assert "Forgetting is undefined for every strategy" in page and "Curves need" in page


def test_metric_missing_in_some_seeds_says_so(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "out")
    for seed in range(3):
        folder.run("naive", seed, np.full((3, 3), 0.4), **({"latency_p50_ms": ""} if seed else {}))
    write_report(folder.write())
    assert markdown_row(folder.out, "comparison", "naive")[10] == "5.50<sup>b</sup>"
    assert "1 of 3 finished runs have a value." in (folder.out / "report/tables/comparison.md").read_text()


def test_the_table_of_latency_shows_both_sizes_of_batches_with_the_spread_of_the_ratio(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    new, _, none = (folder.run(label, 0, np.full((3, 3), 0.4)) for label in ("new", "old", "none"))
    large = {"batch": 32, "calls": 2, "ms": [16.0, 16.0], "bare_ms": [8.0, 16.0]}
    found = {
        "calls": 4, "batch": 1, "ms": [2.0, 2.0, 3.0, 4.0], "bare_ms": [2.0, 1.0, 2.0, 2.0], "batches": [large],
        "parameters": 3_500_000, "macs": 390_000_000, "inference_mb": 20.5, "architecture": "a",
    }  # fmt: skip
    folder.put(new, "latency.json", json.dumps(found))
    (tmp_path / "runs" / none / "latency.json").unlink()
    tables = {table["name"]: table for table in data_of(page_of(folder.write()))["streams"][0]["tables"]}
    assert tables["latency"]["caption"] == "What a prediction takes"
    shown = pd.read_csv(tmp_path / "report/tables/latency.csv").set_index("strategy")
    assert shown.index.tolist() == ["new", "old"], "nothing was timed of the third"
    assert shown.loc["new", ["p50_ms", "ratio", "ratio_q1", "ratio_q3"]].tolist() == [2.5, 1.25, 1.375, 2.0]
    assert shown.loc["new", ["large_batch", "large_p50_ms", "throughput"]].tolist() == [32, 16, 2000]
    assert shown.loc["new", ["parameters", "macs", "model_mb"]].tolist() == [3_500_000, 390_000_000, 13.6]
    assert shown.loc["old", ["p50_ms", "ratio"]].tolist() == [5.5, 1.1] and np.isnan(shown.loc["old", "throughput"])
    text = (tmp_path / "report/tables/latency.md").read_text("utf-8")
    assert "| 1.250 (1.375 to 2.000) |" in text and "| 3.50 | 390.00 |" in text
    assert "4 of the smallest batches, 2 of the largest" in text
    old = next(line for line in text.splitlines() if line.startswith("| old"))
    assert "— |" not in old, "each dash has its reason"
    assert "no batch of more than one image was timed" in text and "did not count what a prediction takes" in text


def test_missing_costs_leave_their_plot_out_and_remove_an_old_one(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "out")
    folder.run("naive", 0, np.full((3, 3), 0.4))
    assert "No finished run has a latency" not in page_of(folder.write())
    assert len(list((folder.out / "report/plots").glob("pareto.*"))) == 4
    folder.rows[0] |= {"latency_ratio": ""}
    assert "No latency was measured." in page_of(folder.write()), "memory is left"
    folder.rows[0] |= {"model_mb": ""}
    assert "No finished run has a latency or a size" in page_of(folder.write())
    assert not list((folder.out / "report/plots").glob("pareto.*"))


HOSTILE = ["<script>alert(1)</script>", "a_b%&", "../../up", "_hidden", "$x^2$", "x|y`*z*", "nan", "[1] ~ \\par"]


@pytest.mark.drawn("curves")
def test_names_are_text_everywhere(tmp_path: Path) -> None:
    """A strategy's label is the user's: it is shown as written, and is neither markup nor a path."""
    folder = Folder(tmp_path / "out", description="<b>bold</b>")
    for k, label in enumerate(HOSTILE):
        folder.run(label, 0, np.full((3, 3), 0.4 + 0.01 * k), reason="<img src=x>")
    page = page_of(folder.write())
    assert page.count("<script") == 3 and "<img src=x>" not in page and "<b>bold" not in page
    assert data_of(page)["streams"][0]["labels"] == HOSTILE
    latex = (folder.out / "report/tables/comparison.tex").read_text()
    latex = re.sub(r"\\underline\{([\d.]+)\}", r"\1", latex)
    assert r"{}a\_b\%\& & 41.00 &" in latex and r"\$x\textasciicircum{}2\$" in latex
    assert r"{}[1] \textasciitilde{} \textbackslash{}par & \textbf{47.00} &" in latex
    markdown = (folder.out / "report/tables/comparison.md").read_text()
    assert "<script" not in markdown and r"| x\|y\`\*z\* | 1 |" in markdown
    assert row_of(folder.out, "comparison", "nan")["seeds_done"] == "1"
    curves = (folder.out / "report/plots/curves.svg").read_text()
    for shown in ("_hidden  43.0", "$x^2$  44.0", "nan  46.0", "&lt;script&gt;a…/script&gt;  40.0"):
        assert f">{shown}</text>" in curves
    assert len(list((folder.out / "report/plots").glob("matrix_*.png"))) == len(HOSTILE)
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_labels_that_make_the_same_file_name_keep_their_own_plots(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "out", experiences=2)
    for label in ("a b", "a_b", "A/b"):
        folder.run(label, 0, np.full((2, 2), 0.5))
    write_report(folder.write())
    assert len({path.name.lower() for path in (folder.out / "report/plots").glob("matrix_*.svg")}) == 3


@pytest.mark.heavy
@pytest.mark.drawn("curves")
def test_many_strategies_with_long_names(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "out", experiences=2)
    labels = [f"a strategy with a name that is rather too long for any plot, variant {k}" for k in range(30)]
    for k, label in enumerate(labels):
        folder.run(label, 0, np.full((2, 2), 0.3 + 0.0005 * k))
    page = page_of(folder.write())
    assert all(label in page for label in labels)
    curves = (folder.out / "report/plots/curves.svg").read_text()
    heights = [float(y) for y in re.findall(r' y="([\d.]+)"[^>]*>a strateg…[^<]*riant \d+  [\d.]+</text>', curves)]
    assert len(heights) == 8, "the others are grey, and have no name"
    assert np.diff(sorted(heights)).min() > 8, "names of lines overlap"


@pytest.mark.drawn("timeline_dnn")
def test_decisions_are_drawn_from_the_lowest_seed(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "out", experiences=2)
    for seed in (4, 2):
        run = folder.run("dnn", seed, np.full((2, 2), 0.5), strategy="dnn")
        folder.decide(
            run,
            [
                {"experience": 0, "verdict": "base", "head": 0, "teacher": "", "gap_0": "", "known": 0, "samples": 9},
                {"experience": 1, "verdict": "expand", "head": 1, "teacher": 0, "gap_0": 0.1 * seed, "known": 3,
                 "samples": 9},
            ],
        )  # fmt: skip
    page = page_of(folder.write())
    run = data_of(page)["streams"][0]["heads"]["strategies"][0]["runs"][0]
    assert (run["seed"], run["lanes"], run["gaps"][0][1]) == (2, [[0, 0, None, []], [1, 1, 0, []]], 0.2)
    assert ">20</text>" in (folder.out / "report/plots/timeline_dnn.svg").read_text()


def test_column_of_a_later_version_is_computed_from_the_matrix(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "out")
    folder.run("naive", 0, np.array([[0.9, 0.1, 0.1], [0.5, 0.9, 0.1], [0.4, 0.5, 0.9]]))
    for row in folder.rows:
        del row["plasticity"]
    write_report(folder.write())
    assert float(row_of(folder.out, "comparison", "naive")["plasticity_mean"]) == pytest.approx(90)


def test_facts_say_what_is_not_stored(tmp_path: Path) -> None:
    """Only results.csv is needed; the rest is said to be missing, not guessed."""
    folder = Folder(tmp_path / "out")
    folder.run("naive", 0, np.full((3, 3), 0.4))
    folder.write()
    for name in ("suite.yaml", "data.json", "experiences.csv", "matrix.csv"):
        (folder.out / name).unlink()
    page = page_of(folder.out)
    assert "not stored" in page and "where the images come from is not known" in page
    assert "untuned, as far as the suite says" in page
    assert float(row_of(folder.out, "comparison", "naive")["accuracy_last_mean"]) == pytest.approx(40)


def test_facts_box(full: Path) -> None:
    page = (full / "report" / "index.html").read_text()
    assert "/some/where" not in page, "where the data lay is of no use to others"
    for fact in (
        "tf_efficientnet_lite0",
        "never (frozen)",
        "b2:0123abcd",
        "Some CPU",
        "torch 2.14.1",
        "2026-11-23",
        "optimizer adam, lr 0.003<",
    ):
        assert fact in page


def test_runs_of_several_machines_are_pointed_out(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "out")
    folder.run("naive", 0, np.full((3, 3), 0.4))
    run = folder.run("naive", 1, np.full((3, 3), 0.4))
    folder.put(run, "env.json", json.dumps({"machine": {"cpu": "Another"}, "versions": {"python": "3.11.7"}}))
    page = page_of(folder.write())
    assert "made on 2 machines: do not compare their times" in page


def test_no_results_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no results\.csv; run `lorisbench run SUITE --out .*` first"):
        write_report(tmp_path)
    (tmp_path / "results.csv").write_text("run_id,strategy,seed,status\n")
    with pytest.raises(InputError, match="holds no runs"):
        write_report(tmp_path)
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("results.csv", "run_id,seed\na,0\n", "lacks the column strategy, status"),
        ("suite.yaml", "strategies: [", r"suite\.yaml:2: not valid YAML"),
        ("suite.yaml", "- a\n", "a mapping of names to values was expected, not a list"),
        ("suite.yaml", "!!python/object/apply:os.getcwd []\n", r"suite\.yaml:1: not valid YAML"),
        ("data.json", "{", r"data\.json: not valid JSON"),
        ("matrix.csv", "run_id,accuracy\na,0.5\n", "lacks the column after_experience"),
        ("matrix.csv", "run_id,after_experience,test_experience,accuracy\na,9,0,1\n", "outside the 3 experiences"),
    ],
)
def test_unreadable_files_are_input_errors(tmp_path: Path, name: str, text: str, message: str) -> None:
    folder = Folder(tmp_path / "out")
    folder.run("naive", 0, np.full((3, 3), 0.4))
    folder.write()
    (folder.out / name).write_text(text)
    with pytest.raises(InputError, match=message):
        write_report(folder.out)


def test_mixed_benchmarks_are_refused(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "out")
    folder.run("naive", 0, np.full((3, 3), 0.4))
    folder.run("naive", 1, np.full((3, 3), 0.4), benchmark="other")
    with pytest.raises(InputError, match="mixes the benchmarks openloris-sim, other"):
        write_report(folder.write())
