"""`run --dry-run`: what would be trained and made, how long it takes and how much disk, without doing any of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

from lorisbench.common.registry import select
from lorisbench.common.timings import memory
from lorisbench.runs.directory import RunDirectory
from lorisbench.runs.estimate import Estimate, Finished, Left, duration, estimate, own_seconds, size_of
from lorisbench.runs.inspection import Inspected, rehearse
from lorisbench.runs.policy import POLICY, Policy
from lorisbench.runs.store import Output
from lorisbench.suite.orders import permutation
from lorisbench.suite.resolve import ResolvedConfig, Suite

if TYPE_CHECKING:
    from lorisbench.common.cache import Cached
    from lorisbench.data.manifest import Manifest
    from lorisbench.suite.spec import RunSpec


SHOWN = 5  # runs named in a line


class Array(NamedTuple):
    """An array in the cache that a stream needs.

    there : whether it is there; None if that depends on images or weights that are not there yet. bytes : its size.
    seconds : for making it, None if that was never measured.
    """

    stream: str
    name: str
    there: bool | None
    bytes: int
    seconds: float | None


@dataclass(frozen=True)
class Plan:
    """What `run` would do.

    Attributes
    ----------
    states : the state of each run by id, in the order of the suite. todo : the runs that would be trained.
    unmeasured : how many finished runs have no latency yet.
    notes : what would be rendered or downloaded. arrays : what the cache holds, or would hold, for this.
    rest : what is known of the time and disk that the runs in `todo` take. again : why those of them that have ended
    before are trained again, by id. scores : bytes of the probabilities that they keep, before compression.
    """

    states: dict[str, str]
    todo: list[RunSpec]
    unmeasured: int
    notes: list[str]
    arrays: list[Array]
    rest: Estimate
    again: dict[str, str] = field(default_factory=dict)
    scores: int = 0

    def lines(self, workers: int) -> list[str]:
        """The plan in sentences, besides the runs themselves and the notes."""
        return [*self._runs(), *map(_array_text, self.arrays), *self._time(workers), *self._disk()]

    def _runs(self) -> list[str]:
        kept = len(self.states) - len(self.todo)
        text = f"{_count(len(self.states), 'run')}: {len(self.todo)} to train"
        if kept:
            waiting = {spec.run_id for spec in self.todo}
            states = [state for run_id, state in self.states.items() if run_id not in waiting]
            text += ", " + ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        if self.unmeasured:
            text += f"; the latency of {_count(self.unmeasured, 'finished run')} to measure"
        lines = [text]
        for why in dict.fromkeys(self.again.values()):
            same = [run_id for run_id, reason in self.again.items() if reason == why]
            lines.append(f"{why}: {', '.join(same[:SHOWN])}" + (f" and {len(same) - SHOWN} more" * (len(same) > SHOWN)))
        return lines

    def _time(self, workers: int) -> list[str]:
        if not self.todo:
            return []
        if not self.rest.known:
            return ["time: not known yet; no run of these strategies has been measured on these images"]
        line = f"time: about {duration(self.rest.seconds)} of training, {self.rest.source}"
        if workers > 1:
            line += f"; about {duration(self.rest.seconds / min(workers, len(self.todo)))} with {workers} workers"
        return [line]

    def _disk(self) -> list[str]:
        cache = sum(array.bytes for array in self.arrays if not array.there)
        if not self.todo and not cache:
            return []
        runs = f"about {_mb(self.rest.bytes)} for {_count(self.rest.sized, 'run')} in the output"
        unsized = len(self.todo) - self.rest.sized
        if unsized:
            unknown = f"not known yet for {_count(unsized, 'run')}"
            runs = f"{runs}, {unknown}" if self.rest.sized else f"{unknown} in the output"
        if self.scores:
            runs += f", of which scores at most {_mb(self.scores)}"
        return [f"disk: {runs}" + (f", {_mb(cache)} in the cache" if cache else "")]


def plan(suite: Suite, output: Output, policy: Policy = POLICY) -> Plan:
    """What `run` would do with an output folder. Raises InputError for whatever `run` refuses before it trains."""
    select("strategy", policy.rerun, list(suite.resolved["strategies"]))
    output.check(suite, policy.rerun)
    statuses = {spec.run_id: output.run(spec.run_id).status() for spec in suite.runs}
    todo = output.unfinished(suite, policy.retry_failed, policy.rerun)
    unmeasured = output.unmeasured(suite)
    images: dict[str, str] = {}
    experiences: dict[str, int] = {}
    arrays: list[Array] = []
    scores: dict[str, int] = {}

    def look(found: Inspected, config: ResolvedConfig) -> None:
        if found.manifest is None:
            return
        experiences[config.stream] = found.manifest.experiences
        scores[config.stream] = _scores(found.manifest, config)
        if found.data is not None:
            images[config.stream] = str(found.data["content_hash"])
        else:  # what is in files that are yet to be made cannot be hashed, and nothing in the cache is named by it
            vars(found.manifest).setdefault("content_hash", "")
        if found.backbone is not None:
            arrays.extend(_arrays(found, config))
            if config.backbone.train == "first":
                arrays.extend(_backbones(found, [spec for spec in todo if spec.stream == config.stream]))

    notes = rehearse(suite, output, {spec.stream for spec in [*todo, *unmeasured]}, look)
    fresh = set(policy.rerun)
    left = [
        Left(
            spec.stream, spec.label, spec.config, images.get(spec.stream, ""), experiences.get(spec.stream),
            0.0 if spec.label in fresh else _spent(output.run(spec.run_id)),
        )
        for spec in todo
    ]  # fmt: skip
    again = {}
    for spec in todo:
        state = statuses[spec.run_id]["status"]
        if spec.label in fresh and state != "pending":
            again[spec.run_id] = "trained again for --rerun"
        elif state == "failed":
            again[spec.run_id] = "failed before, trained again for --retry-failed"
        elif state in ("done", "diverged"):
            again[spec.run_id] = f"{state}, but its files are damaged, so trained again"
    states = {run_id: status["status"] for run_id, status in statuses.items()}
    measured = [spec for spec in unmeasured if spec.run_id not in again]
    rest = estimate(left, _finished(suite, output, states))
    size = sum(scores.get(spec.stream, 0) for spec in todo)
    return Plan(states, todo, len(measured), notes, arrays, rest, again, size)


def _scores(manifest: Manifest, config: ResolvedConfig) -> int:
    """Bytes of the probabilities that a run keeps (`evaluation.scores`): float16 (rows, images, classes)."""
    if not config.evaluation.scores:
        return 0
    tested = int((manifest.table.split == config.evaluation.split).sum())
    rows = manifest.experiences if config.evaluation.rows == "all" else 1  # NaN everywhere else takes next to nothing
    return 2 * rows * tested * len(manifest.classes)


def _finished(suite: Suite, output: Output, states: dict[str, str]) -> list[Finished]:
    found = []
    for spec in suite.runs:
        directory = output.run(spec.run_id)
        if states[spec.run_id] == "done" and not directory.damage("done"):
            seconds = own_seconds(directory.entries())
            found.append(Finished(spec.stream, spec.label, seconds, size_of(directory.path)))
    return found


def _spent(directory: RunDirectory) -> float:
    """Seconds of a run's training that need not be repeated: those up to its checkpoint."""
    status = directory.status()["status"]
    if status not in ("pending", "running") or directory.damage(status):
        return 0.0
    return own_seconds(directory.entries())


def _arrays(found: Inspected, config: ResolvedConfig) -> list[Array]:
    """What a process needs in the cache to train on a stream; of each, whether it is there."""
    from lorisbench.data import images
    from lorisbench.model import features, views
    from lorisbench.model.grey import is_grey
    from lorisbench.runs.workbench import device_of

    manifest, backbone, size = found.manifest, found.backbone, config.backbone.image_size
    assert manifest is not None and backbone is not None
    if manifest.features is not None:
        return []
    drawn = manifest.draw is not None
    seeds = [(manifest.for_seed(s), f", seed {s}") for s in config.seeds] if drawn else [(manifest, "")]
    if config.backbone.same_features:
        device = device_of(config.device)
        entries = {}
        for seeded, of in seeds:
            name = f"features of {config.backbone.name}{of}"
            if not is_grey(seeded, backbone, size):
                entries[name] = features.entry_of(seeded, backbone, size, device)
            for augment in views.wanted(config):
                for order in config.orders:
                    ordered = seeded.in_order(permutation(order, manifest.experiences))
                    viewed = f"{name}, {augment.views} augmented views of {augment.experiences}"
                    entry = views.entry_of(ordered, backbone, size, device, augment)
                    entries.setdefault(viewed if order == 0 else f"{viewed}, order {order}", entry)
    else:
        entries = {f"pixels{of}": images.entry_of(seeded, size) for seeded, of in seeds}
    recall = memory()
    known = found.data is not None and found.weights  # else what they are named by is not
    seen: set[Any] = set()
    told = []
    for name, entry in entries.items():
        if entry.path not in seen:
            seen.add(entry.path)
            told.append(
                Array(config.stream, name, entry.there() if known else None, entry.bytes, _seconds(entry, recall))
            )
    return told


def _backbones(found: Inspected, specs: list[RunSpec]) -> list[Array]:
    """The backbones that runs train on the first experience, each once; of each, whether it is in the cache."""
    from lorisbench.model.models import megabytes
    from lorisbench.runs.trained_backbone import entry_of
    from lorisbench.runs.workbench import device_of

    manifest, backbone = found.manifest, found.backbone
    assert manifest is not None and backbone is not None
    recall = memory()
    known = found.data is not None and found.weights
    told: dict[Any, Array] = {}
    for spec in specs:
        own = manifest.for_seed(spec.seed)
        own = own.in_order(permutation(spec.order, own.experiences))
        path, rate = entry_of(spec, own, backbone, device_of(spec.device))
        times = [each["seconds"] for each in recall(rate) if "seconds" in each]
        size, seconds = round(1e6 * megabytes(backbone)), fmean(times) if times else None
        name = f"backbone, trained for {spec.told} first"
        told.setdefault(path, Array(spec.stream, name, path.is_file() if known else None, size, seconds))
    return list(told.values())


def _seconds(entry: Cached, recall: Any) -> float | None:
    times = [each["seconds"] for each in recall(["a row of an array", entry.rate]) if "seconds" in each]
    return fmean(times) * entry.shape[0] if times else None


def _array_text(array: Array) -> str:
    if array.there:
        state = "in the cache"
    else:
        state = (
            "would be made in the cache" if array.there is False else "would be made in the cache, unless it is there"
        )
        if array.seconds is not None:
            state += f", about {duration(array.seconds)}"
    return f"{array.stream}: {array.name}: {_mb(array.bytes)}, {state}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _mb(size: float) -> str:
    if size >= 1e10:
        return f"{size / 1e9:,.1f} GB"
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 or not size else f"{size / 1e6:.2g} MB"
