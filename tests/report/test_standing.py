"""What a report concludes of stored answers: who is best, what cannot be told apart, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from stored_output import Folder, answered, data_of

from lorisbench.metrics.correct import CORRECT
from lorisbench.report import frame, write_report
from lorisbench.report.findings import headlines
from lorisbench.report.standing import standing
from lorisbench.report.summary import summarise


def told(out: Path) -> list[str]:
    stored = frame.read(out)
    return headlines(stored, summarise(stored))


def test_what_is_far_off_is_told_apart_and_what_is_near_is_not(tmp_path: Path) -> None:
    out = answered(tmp_path / "out", {"low": (0.4,) * 3, "best": (0.8,) * 3, "near": (0.79,) * 3}, about=["near"])
    found = standing(frame.read(out))
    assert found.best == "best" and found.alike == {"near"} and found.groups == [["best", "near"]]
    assert list(found.over) == ["seeds", "test recordings"]
    assert [(t.first, t.second, t.apart) for t in found.tests] == [("near", "best", False), ("near", "low", True)]
    away = found.tests[1]
    assert away.p_holm == pytest.approx(2 * away.difference.p, abs=0.05) and away.permutation == 0.25
    assert away.mcnemar is not None and away.mcnemar.gained > 100 > away.mcnemar.lost
    low, high = away.difference.together
    assert 30 < low < away.difference.mean < high < 50
    sentences = told(out)
    assert sentences[0].startswith("best has the highest accuracy on the last row, ")
    assert "it cannot be told from near (over seeds and test recordings together, corrected for 2" in sentences[0]
    assert sentences[1].startswith("near, ") and "is above low and cannot be told from best." in sentences[1]


def test_p_values_are_corrected_for_all_tests_of_a_strategy(tmp_path: Path) -> None:
    out = answered(tmp_path / "out", {"a": (0.8,) * 3, "b": (0.79,) * 3, "c": (0.76,) * 3, "d": (0.73,) * 3}, seeds=5)
    tests = standing(frame.read(out)).tests
    p = sorted(test.difference.p for test in tests)
    assert 0.0001 < p[0] < 0.5, "a case in which the correction shows"
    assert min(test.p_holm for test in tests) == pytest.approx(min(1, 3 * p[0]))


def test_the_best_is_bold_and_what_cannot_be_told_from_it_underlined(tmp_path: Path) -> None:
    out = answered(tmp_path / "out", {"low": (0.4,) * 3, "best": (0.8,) * 3, "near": (0.79,) * 3})
    write_report(out)
    for ending, bold, under in (("md", "**", "<u>"), ("tex", "\\textbf{", "\\underline{")):
        lines = (out / "report" / "tables" / f"standing.{ending}").read_text().splitlines()
        means = {name: next(line for line in lines if f"{name} " in line and ("|" in line or "&" in line))
                 for name in ("low", "best", "near")}  # fmt: skip
        assert bold in means["best"] and under in means["near"]
        assert bold not in means["low"] and under not in means["low"]
    (stream,) = data_of((out / "report" / "index.html").read_text())["streams"]
    assert stream["near"]["comparison"]["near"] and "low" not in stream["near"]["comparison"]
    assert list(stream["standing"]["estimates"]) == ["best", "near", "low"]
    assert stream["standing"]["groups"] == [["best", "near"]]
    assert (out / "report" / "plots" / "ranking.svg").is_file()


def test_frames_of_one_recording_are_not_independent(tmp_path: Path) -> None:
    """By recording the interval is wider than by image, as frames of one are alike."""
    widths = []
    for recordings in (True, False):
        out = answered(tmp_path / str(recordings), {"a": (0.7,) * 3, "b": (0.6,) * 3}, recordings=recordings)
        found = standing(frame.read(out))
        widths.append(np.ptp(found.estimates["a"].by_source["recordings"]))
        assert found.over[-1] == ("test recordings" if recordings else "test images")
        assert recordings != any("No recordings" in caveat for caveat in found.caveats)
    assert widths[0] > 1.3 * widths[1]


def test_seeds_that_draw_the_stream_say_so(tmp_path: Path) -> None:
    stored = frame.read(answered(tmp_path / "out", {"a": (0.9,) * 3, "b": (0.2,) * 3}))
    found = standing(replace(stored, data={**stored.data, "drawn": "from each run's seed"}))
    assert found.over[0] == "seeds (which draw the stream, too)"


def test_where_a_strategy_loses_is_named(tmp_path: Path) -> None:
    out = answered(tmp_path / "out", {"ours": (0.8, 0.8, 0.3), "theirs": (0.75, 0.7, 0.8)}, seeds=5, about=["ours"])
    lost = next(sentence for sentence in told(out) if "loses most" in sentence)
    assert lost.startswith("By experience, ours loses most on illumination 3: −") and "points to theirs (−" in lost
    assert len(told(out)) <= 5


def test_all_that_a_report_is_about_are_found_in_it_also_the_last(tmp_path: Path) -> None:
    chances = {"good": (0.9,) * 3, "mid": (0.6,) * 3, "bad": (0.3,) * 3}
    sentences = told(answered(tmp_path / "out", chances, about=["bad", "good"]))
    assert sentences[0].startswith("good has the highest accuracy")
    assert sentences[-1].startswith("bad, ") and "is below mid." in sentences[-1] and len(sentences) <= 5
    labels = [f"s{k}" for k in range(8)]
    many = {label: (0.9 - 0.1 * k,) * 3 for k, label in enumerate(labels)}
    every = answered(tmp_path / "every", many, about=labels[:7])
    assert len(told(every)) == 5


def test_equals_share_the_first_place_and_one_alone_has_none(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "out")
    for label in ("one", "other"):
        folder.run(label, 0, np.full((3, 3), 0.7), train_seconds=4 if label == "one" else 2)
    sentences = told(folder.write())
    assert sentences[0].startswith("one has the highest accuracy on the last row, 70.00\u00a0%, as has other. ")
    assert "4.0\u00a0s of training (2.0 times that of other, the least)" in sentences[-1]
    folder.rows[0]["train_seconds"] = 1
    assert "1.0\u00a0s of training, no more than any other" in told(folder.write())[-1]
    alone = Folder(tmp_path / "alone")
    alone.run("one", 0, np.full((3, 3), 0.7))
    assert told(alone.write())[0] == "one is the only strategy, 70.00\u00a0% on the last row."


def test_nothing_is_claimed_of_one_seed_or_without_answers(tmp_path: Path) -> None:
    chances = {"a": (0.9,) * 3, "b": (0.2,) * 3}
    one = answered(tmp_path / "one", chances, seeds=1)
    unknown = answered(tmp_path / "unknown", chances)
    (unknown / CORRECT).unlink()
    for out, why in ((one, "one seed only"), (unknown, "no difference is claimed")):
        found = standing(frame.read(out))
        assert not any(test.apart for test in found.tests) and found.alike == {"b"}
        assert any(why in caveat for caveat in found.caveats)
        assert why in told(out)[0] and "above" not in " ".join(told(out))


def test_few_pairs_are_said_to_be_too_few_for_an_exact_test(tmp_path: Path) -> None:
    for seeds, too_few in ((3, True), (6, False)):
        found = standing(frame.read(answered(tmp_path / str(seeds), {"a": (0.9,) * 3, "b": (0.2,) * 3}, seeds=seeds)))
        assert any("needs 6 pairs" in caveat for caveat in found.caveats) == too_few
        assert found.tests[0].permutation == (0.25 if too_few else 0.03125)


def test_a_damaged_file_of_answers_is_as_none(tmp_path: Path) -> None:
    out = answered(tmp_path / "out", {"a": (0.9,) * 3, "b": (0.2,) * 3})
    (out / CORRECT).write_bytes(b"no archive")
    assert not any(test.apart for test in standing(frame.read(out)).tests)


def test_ranks_over_streams_have_friedmans_test_and_the_critical_difference(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "out", benchmarks={f"s{k}": {"name": "openloris-sim"} for k in range(4)})
    del folder.suite["benchmark"]
    streams = []
    for k in range(4):
        for label, score in (("a", 0.9 - 0.01 * k), ("b", 0.8), ("c", 0.5 if k else 0.85)):
            folder.run(label, 0, np.full((3, 3), score))
            streams.append(f"s{k}")
    out = folder.write()
    results = pd.read_csv(out / "results.csv").assign(stream=streams, order=0)
    results.to_csv(out / "results.csv", index=False)
    matrix = pd.read_csv(out / "matrix.csv").merge(results[["run_id", "stream"]])
    matrix.to_csv(out / "matrix.csv", index=False)
    experiences = pd.read_csv(out / "experiences.csv")
    pd.concat([experiences.assign(stream=f"s{k}") for k in range(4)]).to_csv(out / "experiences.csv", index=False)
    write_report(out)
    text = (out / "report" / "tables" / "ranks.md").read_text()
    assert "| a | **1.00** |" in text and "| b | <u>2.25</u> |" in text and "| c | 2.75 |" in text
    # ranks 1, 2.25, 2.75 of k = 3 over N = 4: 12 · 4 / (3 · 4) · (1 + 0.0625 + 0.5625); CD = 2.343 √(12 / 24)
    assert "chi-squared = 6.50, p = 0.0388" in text and "mean ranks: 1.66 over 4 streams" in text
    assert (out / "report" / "plots" / "critical_difference.svg").is_file()
    together = data_of((out / "report" / "index.html").read_text())["together"]
    assert together["near"] == ["b"] and "chi-squared = 6.50" in together["notes"][0]
    assert [plot["name"] for plot in together["plots"]] == ["critical_difference"]
