"""Published numbers: what the files hold agrees with itself, and nothing without a source gets in."""

import configparser
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from answers import refused

from lorisbench.common.errors import InputError
from lorisbench.reproduce import published
from lorisbench.reproduce.claims import measure
from lorisbench.reproduce.plan import plan
from lorisbench.reproduce.published import FOLDER, available, load, read
from lorisbench.suite.resolve import load_suite, run_id_of


def printed(matrix: published.PublishedMatrix) -> np.ndarray:
    """The triangle as fractions, NaN above the diagonal."""
    full = np.full((len(matrix.cells), len(matrix.cells)), np.nan)
    for i, row in enumerate(matrix.cells):
        full[i, : i + 1] = [mean / 100 for mean, _ in row]
    return full


@pytest.mark.parametrize("name", available())
def test_each_number_has_source_reading_and_uncertainty(name: str) -> None:
    paper = load(name)
    for place, origin in paper.origins():
        assert origin.source and origin.how and origin.uncertainty > 0, place
    for table in paper.tables.values():
        for method in table.rows:
            for metric in table.metrics:
                number = table.get(method, metric)
                assert number is None or (number.uncertainty > 0 and -5 < number.value <= 100), (method, metric)


def test_table_1_is_the_slide() -> None:
    table = load("hik2019").tables["table1"]
    values = [table.get(method, "square") for method in table.rows]
    assert [number.value if number else None for number in values] == [93.84, 94.50, 95.75, 96.01, 96.83, None]


@pytest.mark.parametrize(("name", "method"), [("matrix_finetune", "Finetune"), ("matrix_v2", "V2'")])
def test_derived_metrics_are_those_of_the_printed_matrices(name: str, method: str) -> None:
    paper = load("hik2019")
    matrix, derived = paper.matrices[name], paper.tables["derived"]
    (row,) = (row for row in derived.rows if method in row)
    assert derived.how == "derived" and len(derived.metrics) == 7
    for metric in derived.metrics:
        number = derived.get(row, metric)
        assert number is not None
        assert round(100 * measure(printed(matrix), metric), 2) == pytest.approx(number.value, abs=1e-9), metric


@pytest.mark.parametrize(
    ("name", "means", "stds"), [("matrix_finetune", 4169.07, 33.26), ("matrix_v2", 4360.59, 21.35)]
)
def test_no_cell_was_mistyped_since_it_was_read(name: str, means: float, stds: float) -> None:
    cells = [cell for row in load("hik2019").matrices[name].cells for cell in row]
    assert np.sum(cells, axis=0) == pytest.approx([means, stds], abs=1e-6)


def test_printed_averages_lie_within_their_uncertainty_of_the_rows_mean() -> None:
    for matrix in load("hik2019").matrices.values():
        for i, row in enumerate(matrix.cells):
            average = matrix.average(i)
            off = abs(np.mean([mean for mean, _ in row]) - average.value)
            assert off <= average.uncertainty and average.uncertainty > matrix.uncertainty


def test_the_square_is_an_average_of_the_other_cells() -> None:
    """Over-all accuracy (She et al.) is the mean of all cells, so it lies between the means of the two triangles."""
    for table in load("openloris2020").tables.values():
        for method in table.rows:
            seen, future, whole = (table.get(method, key) for key in ("accuracy_seen", "fwt_mean", "square"))
            assert seen and future and whole
            assert future.value - future.uncertainty <= whole.value <= seen.value + seen.uncertainty, method


def test_fractions_become_per_cent_with_their_uncertainty() -> None:
    number = load("openloris2020").tables["sequence"].get("LwF", "accuracy_seen")
    assert number is not None
    assert (number.value, number.uncertainty, number.std) == (pytest.approx(74), pytest.approx(1), None)


@pytest.mark.parametrize("name", available())
def test_methods_are_strategies_of_the_shipped_suite(name: str) -> None:
    paper = load(name)
    suite = plan(name).suite
    assert list(suite.streams) == list(paper.parts)
    assert {label for label in paper.methods.values() if label is not None} == set(suite.config.strategies)


@pytest.mark.parametrize("name", available())
def test_runs_are_those_of_a_suite_for_each_part(name: str) -> None:
    """With what a user sets between a part's own settings and its protocol; ids too, but for the stream's name."""
    paper = load(name)
    set_by_user = [
        "training.lr=0.5",
        *(["benchmark.protocol=sequence"] if all(part.protocol for part in paper.parts.values()) else []),
        f"{min(filter(None, paper.methods.values()))}.training.epochs=2",
    ]
    for user in ([], set_by_user):
        together = plan(name, assignments=user, seeds=[0, 4])
        for part, of in paper.parts.items():
            words = [*of.assignments(), *user, *of.protocol_of("benchmark")]
            alone = load_suite(paper.suite, seeds=[0, 4], assignments=words)
            config = alone.config.model_copy(update={"stream": part})
            wanted = [
                {**run.config, "stream": part, "run_id": run_id_of(config, run.label, run.seed)} for run in alone.runs
            ]
            assert [run.config for run in together.suite.runs if run.stream == part] == wanted


@pytest.fixture
def changed(tmp_path: Path) -> Callable[..., Path]:
    """hik2019.yaml with the mapping at dotted `place` changed by a function."""

    def write(place: str, change: Callable[[Any], Any]) -> Path:
        values = copy.deepcopy(yaml.safe_load((FOLDER / "hik2019.yaml").read_text("utf-8")))
        inner = values
        for key in place.split("."):
            inner = inner[key]
        change(inner)
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        return path

    return write


def refused_file(path: Path, *words: str) -> None:
    refused(lambda: read(path), str(path), *words)


@pytest.mark.parametrize("place", ["tables.table1", "tables.derived", "matrices.matrix_v2"])
@pytest.mark.parametrize("key", ["source", "how", "uncertainty", "unit", "part"])
def test_a_number_without_its_origin_is_refused(changed: Callable[..., Path], place: str, key: str) -> None:
    refused_file(changed(place, lambda table: table.pop(key)), f"{place}.{key}", "missing")


@pytest.mark.parametrize(
    ("place", "key", "value", "words"),
    [
        ("tables.table1", "source", "?", ["tables.table1.source"]),
        ("tables.table1", "source", None, ["tables.table1.source"]),
        ("tables.table1", "how", "from memory", ["tables.table1.how", "from memory"]),
        ("tables.table1", "uncertainty", 0, ["tables.table1.uncertainty"]),
        ("tables.table1", "sorce", "x", ["tables.table1.sorce"]),
        ("tables.table1", "part", "hik", ["tables.table1.part", "'hik2019'"]),
        ("tables.table1.rows", "Finetuned", {"square": 3}, ["'Finetuned'", "did you mean 'Finetune'"]),
        ("tables.table1.rows", "Finetune", {"sqare": 3}, ["'sqare'", "did you mean 'square'"]),
        ("tables.table1.rows.Finetune", "square", float("nan"), ["tables.table1.rows.Finetune.square"]),
        ("matrices.matrix_v2", "cells", [[[1, 1]], [[1, 1]]], ["matrices.matrix_v2", "triangle"]),
        ("matrices.matrix_v2", "averages", [[1, 1]], ["matrices.matrix_v2", "averages"]),
    ],
)
def test_wrong_files_are_refused(
    changed: Callable[..., Path], place: str, key: str, value: object, words: list[str]
) -> None:
    refused_file(changed(place, lambda table: table.update({key: value})), *words)


def test_an_unknown_paper_names_the_nearest() -> None:
    with pytest.raises(InputError, match="unknown paper 'hik2018'; did you mean 'hik2019'"):
        load("hik2018")


def test_the_files_are_installed_with_the_package() -> None:
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).resolve().parents[2] / "setup.cfg")
    assert "lorisbench.reproduce.published" in setup["options"]["packages"].split()
    assert setup["options.package_data"]["lorisbench.reproduce.published"] == "*.yaml"
