"""The output folder of a suite: what it may hold, and what all runs share."""

from __future__ import annotations

from collections.abc import Container, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from pydantic import BaseModel, ConfigDict

from lorisbench.common.errors import InputError
from lorisbench.common.files import contents, write_json, write_text
from lorisbench.common.fingerprint import changed
from lorisbench.common.reading import as_mapping, read_json, read_table
from lorisbench.common.targets import output_folder
from lorisbench.common.yaml_files import read_yaml, write_yaml
from lorisbench.data.image_table import IMAGES, add_images
from lorisbench.metrics.records import images_by_stream, read_latency
from lorisbench.runs.claims import alone
from lorisbench.runs.directory import FINISHED, RunDirectory
from lorisbench.runs.tables import collected
from lorisbench.suite.config import LatencyConfig, SuiteConfig
from lorisbench.suite.joining import entry_settings, joined, own_together, stream_settings
from lorisbench.suite.parsing import parse
from lorisbench.suite.resolve import Suite, resolve
from lorisbench.suite.run_folders import read_config, run_folders
from lorisbench.suite.schema import SCHEMA, has_schema, schema_of
from lorisbench.suite.spec import RunSpec, stream_of, without_places
from lorisbench.suite.streams import benchmarks_of, changed_on, of_labels

if TYPE_CHECKING:
    from lorisbench.data.manifest import Manifest

CLAIMS = ".claims"  # of what one process does at a time, besides the runs
MANIFEST = "manifest.csv"  # the images of a run that was given them as a table, from Python
REPRODUCTION = ("checks.json", "index.html", "tables")  # what `lorisbench reproduce` writes beside, maybe before
FIXED_KEYS = ("name", "benchmark", "backbone", "head", "training", "evaluation", "device")  # they change numbers


class _Own(BaseModel):
    """What a stream has of its own in a suite.yaml."""

    model_config = ConfigDict(extra="allow", strict=True)
    backbone: dict[str, Any] = {}
    head: dict[str, Any] = {}
    training: dict[str, Any] = {}
    strategies: dict[str, dict[str, Any]] = {}


class _Written(BaseModel):
    """What a suite.yaml must have for a suite to join it."""

    model_config = ConfigDict(extra="allow", strict=True)
    strategies: dict[str, dict[str, Any]]
    seeds: list[int]
    orders: list[int] = [0]
    benchmark: dict[str, Any] = {}
    benchmarks: dict[str, dict[str, Any]] = {}
    streams: dict[str, _Own] = {}
    about: list[str] = []


class Output:
    """The folder a suite writes to."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, run_id: str) -> RunDirectory:
        return RunDirectory(self.root / "runs" / run_id)

    def alone(self, what: str, patience: float = 0.0) -> AbstractContextManager[None]:
        """Hold the folder for a block that no other process may be in. See `claims.alone`."""
        return alone(self.root / CLAIMS / what, f"in the midst of {what} here", patience)

    def check(self, suite: Suite, rerun: Container[str] = ()) -> dict[str, Any]:
        """The suite.yaml to write: this suite merged with what the folder already holds of it.

        More streams, orders, strategies and seeds of the same suite may be added, and the strategies of the labels
        `rerun` may have other settings: what the folder holds of them is then left out of all tables. Raises
        InputError, before anything is written, if the folder holds another suite's results, or files that are not ours.
        """
        output_folder(self.root)
        path = self.root / "suite.yaml"
        if not path.exists():
            ours = {CLAIMS, MANIFEST, *(REPRODUCTION if (self.root / REPRODUCTION[0]).is_file() else ())}
            foreign = [p.name for p in contents(self.root) if p.name not in ours]
            if foreign:
                raise InputError(
                    f"--out {self.root}: holds files ({foreign[0]}, …) but no suite.yaml; give an empty folder"
                )
            return suite.resolved
        written = read_yaml(path)
        if not has_schema(written):
            raise InputError(
                f"--out {self.root}: holds results of another version of lorisbench ({schema_of(written)}, this one "
                f"writes {SCHEMA}); give another folder"
            )
        as_mapping(written, str(path), _Written)
        if not benchmarks_of(written):
            raise InputError(f"{path}: the key 'benchmark' is missing")
        before = _completed(written, suite)
        for key in FIXED_KEYS:
            known_value, value = before.get(key), suite.resolved.get(key)
            if key == "benchmark" and None in (known_value, value):  # several streams, compared below
                continue
            if key == "benchmark":  # data.json says whether the images are the same
                known_value, value = without_places(known_value or {}), without_places(value or {})
            if key == "device" and self._is_same_kind(str(known_value), str(value)):
                continue
            if known_value != value:
                raise InputError(
                    f"--out {self.root}: holds results of another suite ({before.get('name')!r}, different {key!r}: "
                    f"{_difference(known_value, value)}); give another folder"
                )
        known = {label: before["strategies"].get(label, entry) for label, entry in written["strategies"].items()}
        now = {key: written.get(key) for key in ("seeds", "about", "plugins")}
        now["streams"] = own_together(written, before)
        merged = joined({**before, **now, "strategies": known}, suite)
        for name in benchmarks_of(before):
            known_value, value = stream_settings(before, name), stream_settings(merged, name)
            if known_value != value:
                raise InputError(
                    f"--out {self.root}: holds results of stream {name!r} with different settings "
                    f"({_difference(known_value, value)}); give another folder or name"
                )
        self._check_folders(suite, written)
        for label in suite.resolved["strategies"]:
            if label not in known or label in rerun:
                continue
            for name in benchmarks_of(before):
                known_value, value = entry_settings(before, name, label), entry_settings(merged, name, label)
                if known_value != value and not self._is_new(written, suite.resolved, name, label):
                    if {**known_value, "code": None} == {**value, "code": None}:
                        if not self._has_finished(written, name, label):  # left behind when a strategy is mended
                            continue
                        other = ", ".join(changed(known_value.get("code"), value.get("code")))
                        raise InputError(
                            f"--out {self.root}: holds results of strategy {label!r} from other code ({other} changed "
                            f"since); give another folder or label, or replace them with --rerun {label}"
                        )
                    where = f" on stream {name!r}" if len(benchmarks_of(before)) > 1 else ""
                    raise InputError(
                        f"--out {self.root}: holds results of strategy {label!r}{where} with different settings "
                        f"({_difference(known_value, value)}); give another folder or label, or replace them with "
                        f"--rerun {label}"
                    )
        return merged

    def _is_same_kind(self, before: str, now: str) -> bool:
        """Whether two settings of `device` mean devices of one kind: `auto` what its runs had, or what is here."""
        if before == now:
            return True
        kinds = {before.partition(":")[0], now.partition(":")[0]}
        if "auto" in kinds:
            kinds.remove("auto")
            kinds |= self._trained_on() if before == "auto" else {_kind_here()}
        return len(kinds) == 1

    def _trained_on(self) -> set[str]:
        """The kinds of devices that features and heads of the folder's runs were made on."""
        found = [read_json(file) or {} for file in sorted(self.root.glob("runs/*/env.json"))]
        named = [str(env[key]) for env in found for key in ("device", "accelerator") if env.get(key)]
        return {name.partition(":")[0] for name in named}

    def _is_new(self, written: Mapping[str, Any], now: Mapping[str, Any], stream: str, label: str) -> bool:
        """Whether all that the folder has of a strategy is of other streams, so that this one may change its settings.

        Where streams and strategies have joined one after the other, suite.yaml has pairs of them that nobody has run.
        """
        if label in changed_on(written, stream) or label not in changed_on(now, stream):
            return False
        found = run_folders(self.root, written).kept.values()
        if any((stream_of(config), config["label"]) == (stream, label) for config in found):
            return False
        if not (self.root / "results.csv").exists():
            return True
        rows = read_table(self.root / "results.csv", ("stream", "strategy"))
        return not ((rows["stream"] == stream) & (rows["strategy"] == label)).any()

    def _has_finished(self, written: Mapping[str, Any], stream: str, label: str) -> bool:
        """Whether the folder has a finished run of a strategy on a stream."""
        return any(
            (stream_of(config), config["label"]) == (stream, label) and self.run(run_id).status()["status"] in FINISHED
            for run_id, config in run_folders(self.root, written).kept.items()
        )

    def _check_folders(self, suite: Suite, written: Mapping[str, Any]) -> None:
        """Raise InputError if something else is where a run of the suite belongs: it would be overwritten."""
        runs = self.root / "runs"
        if runs.exists() and not runs.is_dir():
            raise InputError(f"{runs}: a file, where the folder of the runs belongs; move it away")
        found = run_folders(self.root, written)
        for spec in suite.runs:
            if (runs / spec.run_id).is_file():
                raise InputError(f"{runs / spec.run_id}: a file, where a run's folder belongs; move it away")
            for others in (found.renamed, found.foreign):
                if spec.run_id in others:
                    raise InputError(f"{others[spec.run_id]}; move it away")

    def check_images(self, stream: str, data: Mapping[str, Any]) -> None:
        """Raise InputError if results of this stream in the folder come from images other than `data` has.

        data : what `Manifest.describe()` says of them.
        """
        known = self._images()
        before = known.get(stream)
        if before is not None and before.get("content_hash") != data["content_hash"]:
            which = f"its results of stream {stream!r}" if len(known) > 1 else "its results"
            raise InputError(
                f"--out {self.root}: {which} were made from other images (content hash "
                f"{str(before.get('content_hash'))[:12]}, now {str(data['content_hash'])[:12]}); give another folder"
            )

    def _images(self) -> dict[str, dict[str, Any]]:
        """What data.json says about the images of each stream that the folder holds."""
        path = self.root / "suite.yaml"
        names = benchmarks_of(read_yaml(path)) if path.exists() else {}
        return images_by_stream(read_json(self.root / "data.json") or {}, names)

    def _experiences(self) -> pd.DataFrame:
        """The rows of experiences.csv, as text, by stream; none if there are none or the file is damaged."""
        try:
            return read_table(self.root / "experiences.csv", ("stream",))
        except InputError:
            return pd.DataFrame({"stream": []}, dtype=str)

    def prepare(self, suite: Suite, resolved: Mapping[str, Any], manifests: Mapping[str, Manifest]) -> None:
        """Write what all runs share, and the settings of each run, as far as they are not there.

        Other processes may be training some of them meanwhile: nothing that they write is touched.

        manifests : the images of each of the suite's streams, in its own order. What the folder says of other streams
        stays as it is.
        """
        names = list(benchmarks_of(resolved))
        images = self._images() | {name: manifest.describe() for name, manifest in manifests.items()}
        kept = self._experiences()
        counted = [
            manifests[name].counts().assign(stream=name) if name in manifests else kept[kept.stream == name]
            for name in names
        ]
        experiences = pd.concat(counted, ignore_index=True)
        experiences.insert(0, "stream", experiences.pop("stream"))
        # A data.json of one stream does not name it: one of several comes before the suite.yaml of several
        several = {"streams": {name: images[name] for name in names if name in images}}
        if len(names) > 1:
            write_json(self.root / "data.json", several)
        write_yaml(self.root / "suite.yaml", resolved)
        if len(names) == 1:
            write_json(self.root / "data.json", images[names[0]])
        write_text(self.root / "experiences.csv", experiences.to_csv(index=False))
        add_images(self.root / IMAGES, {name: manifests[name] for name in names if name in manifests})
        for spec in suite.runs:
            directory = self.run(spec.run_id)
            if not _is_readable(directory):  # its folder's name says which settings are in it
                directory.write_config(spec.config_for(manifests[spec.stream].experiences), sync=False)

    def unfinished(self, suite: Suite, retry_failed: bool = False, rerun: Container[str] = ()) -> list[RunSpec]:
        """The suite's runs that are still to be trained, or to be trained again because their files are damaged.

        A run whose predictions are gone is finished for as long as results.csv and matrix.csv hold its results. Runs
        that failed are left as they are unless `retry_failed`; those of the labels `rerun` are trained in any case. It
        reads every finished run's files, so that whoever needs the answer twice keeps it.
        """
        left = []
        in_tables: set[str] | None = None
        for spec in suite.runs:
            directory = self.run(spec.run_id)
            status = directory.status()["status"]
            ended = (status in FINISHED and not directory.damage(status)) or (status == "failed" and not retry_failed)
            if ended and status == "done" and not directory.has_predictions():
                in_tables = collected(self.root) if in_tables is None else in_tables
                ended = spec.run_id in in_tables
            if not ended or spec.label in rerun:
                left.append(spec)
        return left

    def unmeasured(self, suite: Suite) -> list[RunSpec]:
        """Finished runs whose latency is still to be measured, after all training, when nothing else runs."""
        specs = suite.runs if suite.config.latency.enabled else []
        done = [spec for spec in specs if self.run(spec.run_id).status()["status"] == "done"]
        return [spec for spec in done if not _is_measured(self.run(spec.run_id).path, suite.config.latency)]


def _kind_here() -> str:
    from lorisbench.runs.workbench import device_of

    return device_of("auto").type


def _is_measured(folder: Path, settings: LatencyConfig) -> bool:
    """Whether a run's latency was measured as it is to be: what was measured with other settings is measured again."""
    try:
        found = read_latency(folder / "latency.json")
    except InputError:  # damaged, and made again
        return False
    if found is None or "ms" not in found:
        return found is not None
    calls = {each.get("batch"): each.get("calls") for each in (found, *found.get("batches", []))}
    wanted = {size: settings.calls_of(size) for size in settings.batch}
    return calls == wanted and found.get("threads") == settings.threads


def _is_readable(directory: RunDirectory) -> bool:
    try:
        read_config(directory.path)
    except InputError:
        return False
    return True


def _completed(written: Mapping[str, Any], suite: Suite) -> dict[str, Any]:
    """What a folder's suite.yaml says about the strategies of `suite`, with defaults for settings added since.

    Returned as it is if it can no longer be read.
    """
    known = written["strategies"]
    strategies = {label: known.get(label, settings) for label, settings in suite.resolved["strategies"].items()}
    try:
        # Its plugins are not loaded: those that the strategies need are already among those of `suite`
        values = {"strategies": strategies, "streams": of_labels(written.get("streams"), strategies)}
        completed = resolve(parse(SuiteConfig, {**written, **values, "about": [], "plugins": []})).resolved
    except InputError:
        return dict(written)
    for label in set(known) & set(strategies):  # the code is what it was, whatever it is now
        completed["strategies"][label].pop("code", None)
        completed["strategies"][label] |= {key: known[label][key] for key in ("code",) if key in known[label]}
    return completed


def _difference(before: Any, now: Any) -> str:
    """The first leaf in which two settings differ, for a message."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in [*before, *(k for k in now if k not in before)]:
            if before.get(key) != now.get(key):
                inner = _difference(before.get(key), now.get(key))
                return f"{key}.{inner}" if ": " in inner else f"{key}: {inner}"
    return f"{before!r} in the folder, {now!r} in this suite"
