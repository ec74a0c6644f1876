"""Several outputs as sources of one: what each holds, and which of its streams and strategies are others' too."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from lorisbench.common.errors import InputError
from lorisbench.common.reading import read_json, read_table
from lorisbench.common.yaml_files import read_yaml
from lorisbench.metrics.elsewhere import IMPORTED, marked
from lorisbench.metrics.machines import Machine, environment_of, machine_of
from lorisbench.metrics.records import images_by_stream
from lorisbench.metrics.results import read_results
from lorisbench.suite.entries import OWN_KEYS
from lorisbench.suite.run_folders import run_folders
from lorisbench.suite.streams import entry_on, own_settings
from lorisbench.suite.training import merged

Settings = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """An output.

    letter : A for the first. runs, cells, experiences, latency : results.csv (rows that count), matrix.csv,
    experiences.csv and latency.csv, all but `runs` as text; empty where there is no such file. data : what data.json
    says of each stream. environments : env.json by run. left_out : a sentence for each row and folder that is not
    counted.
    """

    letter: str
    out: Path
    suite: Settings
    runs: pd.DataFrame
    cells: pd.DataFrame
    experiences: pd.DataFrame
    latency: pd.DataFrame
    data: dict[str, Settings]
    environments: dict[str, Settings]
    left_out: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.letter} ({self.out.resolve().name})"

    @property
    def streams(self) -> list[str]:
        return list(dict.fromkeys(self.runs["stream"]))

    @property
    def labels(self) -> list[str]:
        """Strategies in the suite's order, then any that occur only in the results."""
        strategies = self.suite.get("strategies")
        named = [str(label) for label in strategies] if isinstance(strategies, dict) else []
        with_runs = dict.fromkeys(self.runs["strategy"])
        return [*(label for label in named if label in with_runs), *(each for each in with_runs if each not in named)]

    @property
    def imported(self) -> bool:
        return IMPORTED in self.suite

    @cached_property
    def machines(self) -> dict[str, Machine | None]:
        """The machine of each run; None where it is not stored."""
        return {run: machine_of(self.environments.get(run)) for run in self.runs["run_id"]}

    @cached_property
    def known_machines(self) -> frozenset[Machine]:
        """Those of all runs."""
        return frozenset(machine for machine in self.machines.values() if machine is not None)

    def entry(self, stream: str, label: str) -> Settings:
        """A strategy's settings on a stream, `remarks` left out; empty if they are not stored."""
        entry = entry_on(self.suite, stream, label)
        return {key: value for key, value in entry.items() if key != "remarks"}

    def around(self, stream: str, label: str) -> Settings:
        """Backbone, head and training of a strategy's runs on a stream."""
        own = own_settings(self.suite, stream)
        training = self.entry(stream, label).get("training")
        if isinstance(training, Mapping):
            own["training"] = merged(own.get("training", {}), training)
        return own

    def method(self, stream: str, label: str) -> Settings:
        """The settings of the method alone, with the fingerprint of its code."""
        kept = {"strategy", "code"}
        return {key: value for key, value in self.entry(stream, label).items() if key in kept or key not in OWN_KEYS}


def read_source(letter: str, out: Path) -> Source:
    """Read an output. Raises InputError if it has no finished or failed run, or a file of it is damaged."""
    runs, left = read_results(out)
    if runs.empty:
        raise InputError(f"{out / 'results.csv'} holds no runs")
    file = out / "suite.yaml"
    suite = read_yaml(file) if file.is_file() else {}
    folders = run_folders(out, suite)
    foreign = runs["run_id"].isin({*folders.foreign})
    known = set(runs["run_id"])
    left += [*folders.renamed.values(), *folders.foreign.values()]
    left += [told for run, told in folders.damaged.items() if run not in known and (out / "runs" / run).is_dir()]
    runs = runs[~foreign].reset_index(drop=True)
    if runs.empty:
        raise InputError(f"{out}: no run of it counts: {left[-1]}")
    environments = {run: environment_of(out, run) for run in runs["run_id"]}
    return Source(
        letter=letter,
        out=out,
        suite=suite,
        runs=runs,
        cells=_table(out / "matrix.csv", runs),
        experiences=_table(out / "experiences.csv", runs),
        latency=_table(out / "latency.csv", runs),
        data=images_by_stream(read_json(out / "data.json") or {}, dict.fromkeys(runs["stream"])),
        environments={run: told for run, told in environments.items() if told},
        left_out=left,
    )


def _table(path: Path, runs: pd.DataFrame) -> pd.DataFrame:
    """A CSV file of an output as text, with a column `stream`, which older versions did not write for an only one."""
    if not path.exists():
        return pd.DataFrame()
    found = read_table(path)
    return found if "stream" in found else found.assign(stream=str(runs["stream"].iloc[0]))


def same_stream(a: Source, b: Source, stream: str) -> str:
    """Why a stream of this name in A and B is not one and the same; empty if it is."""
    hashes = [each.data.get(stream, {}).get("content_hash") for each in (a, b)]
    if None in hashes or "" in hashes:
        return "what its images are is not stored"
    if hashes[0] != hashes[1]:
        return "other images, by their content hash"
    benchmarks = [set(each.runs[each.runs["stream"] == stream].get("benchmark", [])) for each in (a, b)]
    if benchmarks[0] != benchmarks[1]:
        return f"another benchmark ({', '.join(sorted(map(str, benchmarks[1])))})"
    splits = [(each.suite.get("evaluation") or {}).get("split") for each in (a, b)]
    if None not in splits and splits[0] != splits[1]:
        return f"evaluated on the {splits[1]} split"
    sizes = [_experiences(each, stream) for each in (a, b)]
    return "" if sizes[0] == sizes[1] else "other experiences"


def _experiences(source: Source, stream: str) -> list[tuple[str, ...]]:
    table = source.experiences
    if table.empty:
        return []
    mine = table[table["stream"] == stream]
    return list(mine.reindex(columns=["experience", "name"]).itertuples(index=False, name=None))


def other_settings(a: Source, b: Source, streams: Sequence[tuple[str, str]], label: str) -> str:
    """How the settings of a strategy differ between two sources, in words; empty if they do not.

    Only settings that both know are compared: a version that adds one writes it to new outputs alone.

    streams : pairs of streams of A and B, those that are one and the same. Without any, the method's settings count.
    """
    for one, two in streams or [(a.streams[0], b.streams[0])]:
        parts = ["method", "around"] if streams else ["method"]
        for part in parts:
            mine, theirs = (getattr(each, part)(stream, label) for each, stream in ((a, one), (b, two)))
            if bool(mine) != bool(theirs):
                return "settings are stored of one of them alone"
            mine, theirs = _flat(mine), _flat(theirs)
            changed = [key for key in mine if key in theirs and mine[key] != theirs[key]]
            if changed:
                more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
                told = (f"{key} {_value(theirs[key])} in place of {_value(mine[key])}" for key in changed[:3])
                return ", ".join(told) + more
    return ""


def _flat(settings: Mapping[str, Any], start: str = "") -> Settings:
    found: Settings = {}
    for key, value in settings.items():
        found |= _flat(value, f"{start}{key}.") if isinstance(value, Mapping) else {f"{start}{key}": value}
    return found


def _value(value: Any) -> str:
    text = "nothing" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:39]}…"


def name_of(label: str, source: Source, taken: set[str]) -> str:
    """The label of a strategy that is not the one which has its name already."""
    if source.imported:
        first = marked(label)
        return first if first not in taken else marked(label, source.letter)
    return f"{label} ({source.letter})"
