"""The runs below OUT/runs: which folders hold a run of this output, and why each other one is left out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from lorisbench.common.errors import InputError
from lorisbench.common.files import contents
from lorisbench.common.reading import as_mapping
from lorisbench.common.yaml_files import read_yaml
from lorisbench.suite.entries import OWN_KEYS
from lorisbench.suite.spec import stream_of, without_places
from lorisbench.suite.streams import benchmarks_of, entry_on, own_settings
from lorisbench.suite.training import merged

SETTINGS = ("schema", "evaluation")  # the same for all runs of an output


class _Stored(BaseModel):
    """What a run's config.yaml has in every version."""

    model_config = ConfigDict(extra="allow", strict=True)
    run_id: str
    label: str
    seed: int
    benchmark: dict[str, Any]
    backbone: dict[str, Any] = {}
    stream: str = ""
    order: int = Field(0, ge=0)


class RunFolders(NamedTuple):
    """The folders below OUT/runs by name.

    kept : those of this output's runs, with what their config.yaml says. The others with a sentence each: renamed :
    copies and renamed folders, foreign : runs of other suites, damaged : those whose config.yaml is missing or damaged.
    """

    kept: dict[str, dict[str, Any]]
    renamed: dict[str, str]
    foreign: dict[str, str]
    damaged: dict[str, str]

    @property
    def faults(self) -> list[str]:
        """A sentence for each folder that is left out."""
        return [*self.renamed.values(), *self.foreign.values(), *self.damaged.values()]


def suite_of(out: Path) -> dict[str, Any]:
    """The content of OUT/suite.yaml. Raises InputError if there is none, or if it is damaged."""
    file = out / "suite.yaml"
    if not file.is_file():
        raise InputError(f"{out}: no suite.yaml; give the output folder of `lorisbench run`")
    return read_yaml(file)


def run_folders(out: Path, suite: Mapping[str, Any]) -> RunFolders:
    """What lies below OUT/runs; `suite` is the content of OUT/suite.yaml.

    A folder is a run's only if it is called what its config.yaml says, so that a copy or a renamed folder never counts
    as another run, and only if its settings are the suite's. Files, and what file managers leave behind, are passed
    over. Raises InputError if OUT/runs cannot be listed.
    """
    found = RunFolders({}, {}, {}, {})
    wanted: dict[tuple[str, str], dict[str, Any]] = {}
    for folder in contents(out / "runs"):
        if not folder.is_dir():
            continue
        try:
            config = read_config(folder)
        except InputError as error:
            found.damaged[folder.name] = f"{folder} is not read: {error}"
            continue
        if config["run_id"] != folder.name:
            found.renamed[folder.name] = (
                f"{folder} is left out: it holds the run {config['run_id']} (a copy, or a renamed folder)"
            )
        elif other := _other_settings(config, suite, wanted):
            found.foreign[folder.name] = f"{folder} is left out: a run of another suite ({other})"
        else:
            found.kept[folder.name] = config
    return found


def read_config(folder: Path) -> dict[str, Any]:
    """The config.yaml of a run's folder. Raises InputError, naming the file, if it does not say which run this is."""
    file = folder / "config.yaml"
    config = as_mapping(read_yaml(file, alike=True), str(file), _Stored)
    if not isinstance(config["benchmark"].get("name"), str):
        raise InputError(f"{file}: benchmark.name: the name of a benchmark was expected")
    return config


def _other_settings(
    config: Mapping[str, Any], suite: Mapping[str, Any], wanted: dict[tuple[str, str], dict[str, Any]]
) -> str:
    """The first setting in which a run differs from its output's suite, or an empty string.

    Only keys that both have are compared: a version that adds a setting writes it to suite.yaml, not to finished runs.
    wanted : by stream and label, the settings of runs that were looked at before; that of this run is added.
    """
    stream, label = stream_of(config), config["label"]
    if (stream, label) not in wanted:
        benchmarks = benchmarks_of(suite)
        if benchmarks and stream not in benchmarks:
            return f"stream: {stream!r}, here {', '.join(map(repr, benchmarks))}"
        wanted[stream, label] = _wanted(suite, benchmarks.get(stream), stream, label)
    pairs = ((key, config.get(key), theirs) for key, theirs in wanted[stream, label].items())
    return next(
        (told for key, ours, theirs in pairs if ours is not None and (told := _differing(key, ours, theirs))), ""
    )


def _wanted(suite: Mapping[str, Any], benchmark: Mapping[str, Any] | None, stream: str, label: str) -> dict[str, Any]:
    """The settings that runs of a strategy on a stream have, as far as their suite says them."""
    own, entry = own_settings(suite, stream), entry_on(suite, stream, label)
    found = {key: suite.get(key) for key in SETTINGS}
    found["benchmark"] = None if benchmark is None else without_places(benchmark)
    found |= {key: own.get(key) for key in ("backbone", "head")}
    if entry:
        training = entry.get("training")
        found["training"] = merged(own.get("training", {}), training if isinstance(training, Mapping) else {})
        found["strategy"] = {key: value for key, value in entry.items() if key == "strategy" or key not in OWN_KEYS}
        found["code"] = entry.get("code")
    return {key: value for key, value in found.items() if value is not None}


def _differing(key: str, ours: Any, theirs: Any) -> str:
    if ours == theirs:
        return ""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        shared = (f for name in ours if name in theirs and (f := _differing(f"{key}.{name}", ours[name], theirs[name])))
        return next(shared, "")
    return f"{key}: {ours!r}, here {theirs!r}"
