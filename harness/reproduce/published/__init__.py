"""Published results as data: a YAML file for each paper, and the reader, which accepts no number without its source."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, FiniteFloat, PositiveFloat, PositiveInt, field_validator, model_validator

from lorisbench.common.errors import InputError
from lorisbench.common.files import contents
from lorisbench.common.registry import nearest
from lorisbench.common.yaml_files import read_yaml
from lorisbench.metrics.table import of_matrices
from lorisbench.suite.config import StreamConfig
from lorisbench.suite.parsing import Settings, parse

FOLDER = Path(__file__).resolve().parent
MEASURES = tuple(metric.name for metric in of_matrices())

Text = Annotated[str, Field(min_length=8)]  # a source or a caption: "?" and "n/a" do not count as one
Value = FiniteFloat | tuple[FiniteFloat, Annotated[FiniteFloat, Field(ge=0)]]
How = Literal["read in the source", "measured off a figure", "derived", "quoted by a later paper"]


@dataclass(frozen=True)
class Number:
    """A published value in per cent, its standard deviation (None if not given) and how far the reading may be off."""

    value: float
    std: float | None
    uncertainty: float


class Part(Settings):
    """One stream the paper trained on: the protocol, and how many experiences and classes it had.

    `benchmark` is the harness's reader of it, and `data` is the data set's name in a manifest, if that is not
    OpenLORIS-Object. `protocol` is empty if the reader has none. `features`: how many of each image the authors
    published, where these stand for the images and nothing else can be compared. `settings` are the suite's settings
    that this stream changes, by dotted key; they are of the kinds that a stream may have of its own.
    """

    title: str
    benchmark: str = "openloris"
    data: str = ""
    protocol: Literal["sequence", "factor", "challenge", "classes", "domain", "class", "task", ""] = ""
    factor: str | None = None
    experiences: PositiveInt
    classes: PositiveInt
    features: PositiveInt | None = None
    settings: dict[str, Any] = {}

    @field_validator("settings")
    @classmethod
    def _of_a_stream(cls, value: dict[str, Any]) -> dict[str, Any]:
        known = ("benchmark", *StreamConfig.model_fields)
        for key in value:
            if key.partition(".")[0] not in known:
                raise ValueError(f"{key}: no setting that a stream may have of its own, below {', '.join(known)}")
        return value

    def assignments(self) -> list[str]:
        """The suite's settings that this part changes, in the form of `--set`."""
        return [f"{key}={json.dumps(value)}" for key, value in self.settings.items()]

    def protocol_of(self, benchmark: str) -> list[str]:
        """The part's protocol in the form of `--set`, below the key of its benchmark.

        It comes after what a user sets: under another protocol there would be nothing to compare.
        """
        return [
            *([f"{benchmark}.protocol={self.protocol}"] if self.protocol else []),
            *([f"{benchmark}.factor={self.factor}"] if self.factor else []),
        ]


class Origin(Settings):
    """Where numbers come from, how they were read, and how far that may be off, in the numbers' unit."""

    part: str
    caption: Text
    source: Text
    how: How
    uncertainty: PositiveFloat
    uncertainty_note: str = ""
    unit: Literal["percent", "fraction"]

    @property
    def scale(self) -> float:
        """The factor that turns the unit into per cent."""
        return 1.0 if self.unit == "percent" else 100.0

    def number(self, value: float, std: float | None = None, uncertainty: float | None = None) -> Number:
        off = self.uncertainty if uncertainty is None else uncertainty
        return Number(value * self.scale, None if std is None else std * self.scale, off * self.scale)


class PublishedTable(Origin):
    """Rows of metrics by method: a value, [value, standard deviation], or null if the value was not published.

    `remarks`: by method, why what is measured here differs from that; shown only where it does.
    """

    rows: dict[str, dict[str, Value | None]] = Field(min_length=1)
    remarks: dict[str, Text] = {}

    @field_validator("rows")
    @classmethod
    def _known_metrics(cls, value: dict[str, dict[str, Value | None]]) -> dict[str, dict[str, Value | None]]:
        for row in value.values():
            for metric in row:
                if metric not in MEASURES:
                    raise ValueError(f"unknown metric {metric!r}{nearest(metric, MEASURES)}")
        return value

    @model_validator(mode="after")
    def _remarks_on_rows(self) -> PublishedTable:
        for method in self.remarks:
            if method not in self.rows:
                raise ValueError(f"remarks: unknown method {method!r}{nearest(method, self.rows)}")
        return self

    def get(self, method: str, metric: str) -> Number | None:
        value = self.rows.get(method, {}).get(metric)
        if value is None:
            return None
        return self.number(*value) if isinstance(value, tuple) else self.number(value)

    @property
    def metrics(self) -> list[str]:
        """All metrics in its rows, in order of first appearance."""
        return list(dict.fromkeys(metric for row in self.rows.values() for metric in row))


class PublishedMatrix(Origin):
    """The printed triangle (row = after experience, column = tested on experience) as [mean, std], and row averages."""

    method: str
    cells: list[list[tuple[FiniteFloat, FiniteFloat]]] = Field(min_length=1)
    averages: list[tuple[FiniteFloat, FiniteFloat]]
    averages_uncertainty: PositiveFloat
    averages_note: str

    @model_validator(mode="after")
    def _triangle(self) -> PublishedMatrix:
        if [len(row) for row in self.cells] != list(range(1, len(self.cells) + 1)):
            raise ValueError("cells: a lower triangle was expected, row i with i + 1 pairs")
        if len(self.averages) != len(self.cells):
            raise ValueError("averages: one per row was expected")
        return self

    def get(self, after: int, test: int) -> Number | None:
        """A cell; None above the diagonal: nobody printed the accuracy on experiences still to come."""
        return self.number(*self.cells[after][test]) if test <= after else None

    def average(self, after: int) -> Number:
        return self.number(*self.averages[after], self.averages_uncertainty)


class AsPublished(Settings):
    """How the suite is trained as the authors trained, as far as that is known, where it is not by itself.

    `settings`: what that changes in the suite, by dotted key. `differences`: how its setup then differs from theirs.
    """

    settings: dict[str, Any] = Field(min_length=1)
    differences: Text

    def assignments(self) -> list[str]:
        """The settings in the form of `--set`."""
        return [f"{key}={json.dumps(value)}" for key, value in self.settings.items()]


class Published(Settings):
    """What one paper published, and which shipped suite and strategies stand for its methods.

    `methods`: name as printed -> label in the suite, None if the method is not implemented. `order_by`: the
    metric that methods are ranked by. `differences`: how our setup differs from the authors'. `as_published`: what
    brings it nearer to theirs, at some cost. `checks`: whether the checks of `lorisbench.reproduce.verification`, which
    hold on any data, go with them.
    """

    title: Text
    suite: str
    checks: bool = False
    differences: Text
    as_published: AsPublished | None = None
    parts: dict[str, Part] = Field(min_length=1)
    methods: dict[str, str | None] = Field(min_length=1)
    order_by: str
    tables: dict[str, PublishedTable]
    matrices: dict[str, PublishedMatrix] = {}

    @model_validator(mode="after")
    def _names_agree(self) -> Published:
        for name, origin in self.origins():
            if origin.part not in self.parts:
                raise ValueError(f"{name}.part: unknown part {origin.part!r}{nearest(origin.part, self.parts)}")
            methods = origin.rows if isinstance(origin, PublishedTable) else [origin.method]  # type: ignore[attr-defined]
            for method in methods:
                if method not in self.methods:
                    raise ValueError(f"{name}: unknown method {method!r}{nearest(method, self.methods)}")
        return self

    def origins(self) -> Iterator[tuple[str, Origin]]:
        """All tables and matrices by their dotted names."""
        yield from ((f"tables.{name}", table) for name, table in self.tables.items())
        yield from ((f"matrices.{name}", matrix) for name, matrix in self.matrices.items())

    def unimplemented(self) -> list[str]:
        return [method for method, label in self.methods.items() if label is None]


def available() -> list[str]:
    """Names of the papers whose results are available."""
    return [path.stem for path in contents(FOLDER) if path.suffix == ".yaml"]


def load(name: str) -> Published:
    """The published results of a paper. Raises InputError for an unknown name, naming the nearest."""
    if name not in available():
        raise InputError(f"unknown paper {name!r}{nearest(name, available())}")
    return read(FOLDER / f"{name}.yaml")


def read(path: Path) -> Published:
    """A file of published results.

    Raises InputError in one line, with file and key, for whatever is wrong: above all for a table or matrix that does
    not state its source, how it was read and how far that may be off.
    """
    values: dict[str, Any] = read_yaml(path)
    try:
        return parse(Published, values)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
