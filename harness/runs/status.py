"""How a suite stands, from its files alone: its runs by state, who trains them, and how long the rest may take."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lorisbench.common.errors import InputError
from lorisbench.common.reading import read_json, read_table
from lorisbench.metrics.records import images_by_stream
from lorisbench.runs.claims import EXPIRY, Watch, holder_of
from lorisbench.runs.directory import RunDirectory
from lorisbench.runs.estimate import Estimate, Finished, Left, duration, estimate, own_seconds
from lorisbench.suite.run_folders import run_folders, suite_of
from lorisbench.suite.spec import stream_of
from lorisbench.suite.streams import benchmarks_of

ORDER = ("running", "interrupted", "pending", "failed", "diverged", "done")


def overview(out: Path) -> dict[str, Any]:
    """How the suite of an output folder stands.

    Returns
    -------
    suite : its name. states : number of runs by state; besides those of status.json, `interrupted` are those whose
    process is gone. seconds_left : an estimate (`runs.estimate`), None if nothing is known; estimate : from what, in
    words. faults : sentences about folders that hold no run. runs : a mapping each, with

    run_id, stream, order, strategy, seed, state, reason; experience : how many it has been trained on, of `experiences`
    in all; seconds : of training;
    owner, beat_seconds : of a run that is being trained, who does it, and how long ago it gave a sign of life.

    Raises InputError if the folder holds no suite.
    """
    suite = suite_of(out)
    found = run_folders(out, suite)
    experiences = _experiences(out)
    runs = [_run(RunDirectory(out / "runs" / run_id), config, experiences) for run_id, config in found.kept.items()]
    runs.sort(key=lambda run: ORDER.index(run["state"]))
    states = Counter(run["state"] for run in runs)
    rest = _estimate(runs, found.kept, _images(out, suite))
    return {
        "suite": suite.get("name", ""),
        "states": dict(states),
        "seconds_left": _seconds_left(rest, states["running"]),
        "estimate": rest.source if rest.known else "",
        "faults": found.faults,
        "runs": runs,
    }


def _images(out: Path, suite: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What is known of each stream's images; nothing if data.json is damaged."""
    try:
        return images_by_stream(read_json(out / "data.json") or {}, benchmarks_of(suite))
    except InputError:
        return {}


def _experiences(out: Path) -> dict[str, int]:
    """The number of experiences of each stream."""
    try:
        rows = read_table(out / "experiences.csv", ["stream", "experience"])
    except InputError:
        return {}
    return {str(name): int(count) for name, count in rows.groupby("stream").experience.nunique().items()}


def _run(directory: RunDirectory, config: Mapping[str, Any], experiences: Mapping[str, int]) -> dict[str, Any]:
    stream = stream_of(config)
    status = directory.status()
    state, reason = status["status"], status["reason"]
    owner, silence = None, None
    if state in ("pending", "running"):
        holder = holder_of(directory.path)
        if holder is not None and not holder.released:
            silence = max(0.0, time.time() - holder.beat / 1e9)  # for people: by two clocks, which may differ
            if not Watch().is_free(holder) and silence <= EXPIRY:
                state, owner = "running", holder.owner
        if state == "running" and owner is None:
            state, reason = "interrupted", reason or "its process is gone; the next `lorisbench run` goes on with it"
    try:
        entries = directory.entries()
    except InputError as error:
        entries, reason = [], reason or str(error)
    return {
        "run_id": config["run_id"],
        "stream": stream,
        "order": config.get("order", 0),
        "strategy": config["label"],
        "seed": config["seed"],
        "state": state,
        "reason": reason,
        "experience": len(entries),
        "experiences": experiences.get(stream),
        "seconds": round(own_seconds(entries), 3),
        "owner": owner,
        "beat_seconds": None if owner is None or silence is None else round(silence, 1),
    }


def _estimate(
    runs: Sequence[Mapping[str, Any]], configs: Mapping[str, Mapping[str, Any]], images: Mapping[str, Mapping[str, Any]]
) -> Estimate:
    """What the runs that are left take, as far as it is known."""
    finished = [Finished(run["stream"], run["strategy"], run["seconds"]) for run in runs if run["state"] == "done"]
    left = [
        Left(
            run["stream"], run["strategy"], configs[run["run_id"]],
            str(images.get(run["stream"], {}).get("content_hash", "")), run["experiences"], run["seconds"],
        )
        for run in runs
        if run["state"] in ("running", "interrupted", "pending")
    ]  # fmt: skip
    return estimate(left, finished)


def _seconds_left(told: Estimate, running: int) -> float | None:
    if told.left and not told.known:
        return None
    return round(told.seconds / max(1, running), 1)


def as_text(told: Mapping[str, Any]) -> str:
    """An overview as lines of text."""
    states = ", ".join(f"{count} {state}" for state in ORDER if (count := told["states"].get(state)))
    lines = [f"{told['suite']}: {states or 'no runs'}"]
    for run in told["runs"]:
        if run["state"] in ("pending", "done") and not run["reason"]:
            continue
        line = f"  {run['state']:<11} {run['run_id']}"
        if run["state"] in ("running", "interrupted"):
            line += f"  experience {run['experience']}/{run['experiences'] or '?'}"
        if run["owner"]:
            line += f"  by {run['owner']}, last sign of life {run['beat_seconds']:.0f} s ago"
        if run["reason"]:
            line += f"  {run['reason']}"
        lines.append(line)
    lines += [f"  {fault}" for fault in told["faults"]]
    if told["seconds_left"]:
        lines.append(f"  about {duration(told['seconds_left'])} of training left, {told['estimate']}")
    return "\n".join(lines)
