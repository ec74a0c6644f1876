"""Every file of an output cut off, emptied, replaced or made nonsense of: one line that names it, no traceback."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from answers import refused
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from without_plots import without_plots

import lorisbench
from lorisbench.common.errors import InputError
from lorisbench.export.trained import read_run
from lorisbench.metrics.compare import compare_outputs, missing
from lorisbench.report import frame, summary, write_report
from lorisbench.runs.store import Output
from lorisbench.runs.tables import Tables
from lorisbench.suite.resolve import Suite, load_suite

SHARED = ("suite.yaml", "data.json", "experiences.csv", "results.csv", "matrix.csv", "correct.npz", "images.csv.gz")
OF_A_RUN = ("config.yaml", "env.json", "status.json", "journal.jsonl", "predictions.npz", "latency.json")
NUMBER = rb"(?<![\w.-])\d+(?:\.\d+)?"
DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "emptied": lambda data: b"",
    "cut in half": lambda data: data[: len(data) // 2],
    "cut at its end": lambda data: data[:-3],
    "not UTF-8": lambda data: data[:20] + b"\xff\xfe" + data[20:],
    "null bytes": lambda data: data.replace(b"a", b"\0"),
    "a list": lambda data: b"[]",
    "null": lambda data: b"null",
    "a number": lambda data: b"3",
    "a mapping": lambda data: b"{}",
    "brackets": lambda data: b"[" * 50_000,
    "numbers as text": lambda data: re.sub(NUMBER, b'"7"', data),
    "NaN": lambda data: re.sub(NUMBER, b"NaN", data),
    "nulls": lambda data: re.sub(NUMBER, b"null", data),
    "negative": lambda data: re.sub(NUMBER, b"-1", data),
    "zeros": lambda data: re.sub(NUMBER, b"0", data),
    "large": lambda data: re.sub(NUMBER, 30 * b"1", data),
    "lists": lambda data: re.sub(rb": ?[^,\n{\[]+", b": [1]", data),
    "gone": lambda data: None,
}
LATENCY = (
    '{"calls": 2, "batch": 1, "threads": 1, "device": "cpu", "image_size": 32, "ms": [1.0, 2.0], "bare_ms": [1.0, 1.5]}'
)

damages = st.one_of(st.sampled_from(sorted(DAMAGES)), st.just("a folder"), st.binary(max_size=200))
EVERYDAY = settings(max_examples=8, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
THOROUGH = settings(max_examples=150, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture
def whole(finished: Callable[[Path], Path], tmp_path: Path) -> Path:
    """An output of three finished runs without checkpoints, the first with a latency; it is only to be copied."""
    out = finished(tmp_path / "whole")
    for run in (out / "runs").iterdir():
        shutil.rmtree(run / "checkpoint")
    (min((out / "runs").iterdir()) / "latency.json").write_text(LATENCY)
    return out


def damage(file: Path, how: str | bytes) -> None:
    data = file.read_bytes()
    file.unlink()
    if how == "a folder":
        file.mkdir()
        return
    new = how if isinstance(how, bytes) else DAMAGES[how](data)
    if new is not None:
        file.write_bytes(new)


def use(out: Path, suite: Suite) -> None:
    """What `report`, `compare`, `load`, `export` and `run` read of an output."""

    def report() -> None:
        Tables(out).write()
        with without_plots():
            write_report(out)

    def load() -> None:
        results = lorisbench.load(out)
        repr(results), results._repr_html_(), results.summary, results.failed
        for seed in (0, 1):
            for read in (results.matrix, results.predictions):
                with contextlib.suppress(InputError):
                    read("naive", seed)

    def go_on() -> None:
        output = Output(out)
        output.check(suite)
        output.check_images(suite.config.stream, {"content_hash": "0"})
        output.unfinished(suite), output.unmeasured(suite)

    for command in (
        load,
        lambda: (compare_outputs(out, out), missing(out, out)),
        *(lambda run=run: read_run(run) for run in (out / "runs").iterdir()),
        report,
        go_on,
    ):
        try:
            command()
        except InputError as error:
            assert "\n" not in str(error) and len(str(error)) < 1000


def try_all(whole: Path, suite: Suite, work: Path, name: str, how: str | bytes) -> None:
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(whole, work)
    file = work / name if name in SHARED else min((work / "runs").iterdir()) / name
    damage(file, how)
    use(work, suite)


@pytest.fixture
def attempt(whole: Path, suite_file: Callable[..., Path], tmp_path: Path) -> Callable[[str, str | bytes], None]:
    suite = load_suite(str(suite_file(seeds=[0, 1, 2], latency={"calls": 2})))
    return lambda name, how: try_all(whole, suite, tmp_path / "work", name, how)


@EVERYDAY
@given(name=st.sampled_from(SHARED + OF_A_RUN), how=damages)
def test_no_damage_gives_a_traceback(attempt: Callable[..., None], name: str, how: str | bytes) -> None:
    attempt(name, how)


@pytest.mark.heavy
@pytest.mark.parametrize("name", SHARED + OF_A_RUN)
def test_no_damage_to_any_file_gives_a_traceback(attempt: Callable[..., None], name: str) -> None:
    for how in (*DAMAGES, "a folder"):
        attempt(name, how)


@pytest.mark.heavy
@THOROUGH
@given(name=st.sampled_from(SHARED + OF_A_RUN), how=damages)
def test_no_random_damage_gives_a_traceback(attempt: Callable[..., None], name: str, how: str | bytes) -> None:
    attempt(name, how)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("predictions.npz", "cut in half"),
        ("predictions.npz", "a folder"),
        ("journal.jsonl", "a list"),
        ("journal.jsonl", "numbers as text"),
        ("journal.jsonl", "cut at its end"),
        ("journal.jsonl", "gone"),
        ("config.yaml", "cut in half"),
        ("config.yaml", "gone"),
    ],
)
def test_a_damaged_run_is_named_and_the_others_are_reported(
    whole: Path, cli: Callable[..., Any], suite_file: Callable[..., Path], name: str, how: str
) -> None:
    for table in ("results.csv", "matrix.csv"):  # else the lines that were collected before are kept
        (whole / table).unlink()
    first = min((whole / "runs").iterdir())
    damage(first / name, how)
    answer = cli("report", whole)
    assert answer.code == 0 and answer.err.count("\n") == 1, answer.err
    assert f"{first / name}" in answer.err
    stored = frame.read(whole)
    assert summary.summarise(stored)["naive"]["accuracy_last"].n == 2
    assert name in " ".join([*stored.warnings, *stored.runs["reason"]])


def test_a_run_whose_files_are_damaged_is_trained_again(
    finished: Callable[[Path], Path], suite_file: Callable[..., Path], cli: Callable[..., Any], tmp_path: Path
) -> None:
    out, suite = finished(tmp_path / "out"), suite_file(seeds=[0, 1, 2])
    first, second, third = sorted((out / "runs").iterdir())
    before = (first / "predictions.npz").read_bytes()
    damage(first / "predictions.npz", "cut in half")
    damage(second / "status.json", "emptied")
    damage(third / "config.yaml", "emptied")
    answer = cli("run", suite, "--out", out)
    assert answer.code == 0 and "3 runs, 1 already finished" in answer.err, answer.err
    assert (first / "predictions.npz").read_bytes() == before and (third / "config.yaml").stat().st_size
    assert cli("report", out).err == ""


@pytest.mark.parametrize("how", [None, "gone", "cut in half"])
def test_without_predictions_a_run_is_finished_if_the_tables_hold_its_results(
    finished: Callable[[Path], Path], suite_file: Callable[..., Path], cli: Callable[..., Any], tmp_path: Path,
    how: str | None,
) -> None:  # fmt: skip
    out, suite = finished(tmp_path / "out"), suite_file(seeds=[0, 1, 2])
    before = (out / "matrix.csv").read_text()
    gone = max((out / "runs").iterdir()) / "predictions.npz"
    gone.unlink()
    if how is not None:
        damage(out / "matrix.csv", how)
    answer = cli("run", suite, "--out", out)
    trained_again = how is not None
    assert answer.code == 0 and f"3 runs, {2 if trained_again else 3} already finished" in answer.err, answer.err
    assert (out / "matrix.csv").read_text() == before and gone.exists() == trained_again


@pytest.mark.parametrize("name", ["suite.yaml", "data.json"])
def test_a_damaged_file_of_the_whole_output_is_one_line(whole: Path, cli: Callable[..., Any], name: str) -> None:
    (whole / name).write_text("a: [1\nb: {")
    refused(cli("report", whole), str(whole / name))


def test_a_damaged_latency_is_undefined_and_measured_again(whole: Path, suite_file: Callable[..., Path]) -> None:
    first = min((whole / "runs").iterdir())
    (first / "latency.json").write_text('{"ms": ["fast"], "bare_ms": []}')
    table = Tables(whole).write()
    assert "latency.json: ms.0" in table.undefined.iloc[0] and table.accuracy_last.notna().all()
    suite = load_suite(str(suite_file(seeds=[0], latency={"calls": 2})))
    assert [spec.run_id for spec in Output(whole).unmeasured(suite)] == [first.name]
