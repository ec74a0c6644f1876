"""`lorisbench tune`: choose settings on validation splits of the first experiences, equally many trials per strategy.

Each strategy has its own Optuna study, kept in OUT/studies: trial 0 has the suite's own values (if they are in the
range), later ones are drawn by the TPE sampler, seeded by the trial's number, so that an interrupted study continues as
if it had never stopped. A trial is a run below OUT/trials; one that has finished is never trained again.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lorisbench.common.console import hide_warnings, say
from lorisbench.common.errors import InputError
from lorisbench.common.files import contents, digest_of, write_json, write_text
from lorisbench.common.processes import map_unordered
from lorisbench.common.reading import read_json
from lorisbench.common.registry import load_plugin, nearest, select
from lorisbench.common.restored import restored
from lorisbench.common.targets import output_folder
from lorisbench.common.yaml_files import write_yaml
from lorisbench.runs.directory import FINISHED, RunDirectory
from lorisbench.runs.store import CLAIMS, Output
from lorisbench.suite.config import SuiteConfig
from lorisbench.suite.entries import make_strategy
from lorisbench.suite.parsing import parse
from lorisbench.suite.resolve import ResolvedConfig, Suite, resolve
from lorisbench.suite.streams import changed_on, entry_on, own_of

if TYPE_CHECKING:
    import optuna

    from lorisbench.runs.workbench import Workbench

METRIC = "accuracy_last"


@dataclass(frozen=True)
class Plan:
    """What is tuned: a resolved suite, `trials` for each of `labels`, on the first `experiences`, with `seed`."""

    suite: dict[str, Any]
    labels: tuple[str, ...]
    trials: int
    experiences: int
    seed: int
    out: Path


@restored()
def tune(
    suite: Suite,
    trials: int,
    experiences: int,
    seed: int,
    out: Path,
    workers: int = 1,
    strategies: Sequence[str] = (),
    stream: str = "",
) -> Path:
    """Tune those strategies of a suite that declare what to tune; returns the path of the suite with the best values.

    With `strategies`, labels of the suite, only these are tuned; the others stay in it unchanged. `stream` is the one
    on which they are tuned, in its own order of the experiences; the suite that is written keeps all of its streams.
    Writes OUT/tuned.yaml and OUT/trials.csv. A later call may add trials to the same studies.

    Raises InputError if the suite has several streams and none is named, no strategy can be tuned, one declares an
    invalid search space, OUT holds trials of something else, Optuna is not installed, or none of a strategy's trials
    has finished.
    """
    out = out.absolute()
    _check_installed()
    output_folder(out)
    config = _on(suite, stream)
    spaces = {label: entry.strategy.tuned for label, entry in config.strategies.items()}
    wanted = select("strategy", strategies, list(spaces)) if strategies else list(spaces)
    labels = tuple(label for label in wanted if spaces[label])
    if not labels:
        raise InputError(f"{', '.join(wanted)}: no strategy among these declares what to tune (`tuned` in its class)")
    for label in labels:
        _check_space(label, config.strategies[label].strategy)
        if idle := _idle(label, config.strategies[label].strategy, experiences):
            say(f"--experiences {experiences}: {idle}")
    plan = Plan(_alone(suite.resolved, config.stream), labels, trials, experiences, seed, out)
    with Output(out).alone("tuning"):
        _check_folder(plan)
        with contextlib.closing(
            map_unordered(functools.partial(study, plan), labels, min(workers, len(labels)))
        ) as ended:
            found = dict(ended)
        frame = pd.DataFrame([{"strategy": label, **row} for label in labels for row in found[label]])
        write_text(out / "trials.csv", frame.to_csv(index=False))
        tuned = dict(suite.resolved)
        best = {label: _best(label, found[label], spaces[label]) for label in labels}
        tuned |= _with_values(suite.resolved, config.stream, best)
        told = [_idle(label, config.strategies[label].strategy, experiences) for label in labels]
        where = [f"On the stream {config.stream}."] if len(suite.streams) > 1 else []
        tuned["tuning"] = " ".join([_text(plan, frame, best, spaces), *where, *(f"{each}." for each in told if each)])
        write_yaml(out / "tuned.yaml", tuned, width=110)
    return out / "tuned.yaml"


def _on(suite: Suite, stream: str) -> ResolvedConfig:
    """The settings of the stream that is tuned on. Raises InputError if it is unknown, or one of several not named."""
    if stream:
        return suite.streams[select("stream", [stream], list(suite.streams))[0]]
    if len(suite.streams) > 1:
        raise InputError(
            f"the suite has the streams {', '.join(suite.streams)}: name the one to tune on by --stream NAME"
        )
    return suite.config


def _alone(resolved: Mapping[str, Any], stream: str) -> dict[str, Any]:
    """A resolved suite with one of its streams only, whose settings of strategies are the suite's."""
    kept = {
        key: {stream: resolved[key][stream]} for key in ("benchmarks", "streams") if stream in resolved.get(key, {})
    }
    rest = {key: value for key, value in resolved.items() if key not in ("benchmarks", "streams")}
    rest["strategies"] = {label: entry_on(resolved, stream, label) for label in resolved["strategies"]}
    if "streams" in kept:
        own = {key: value for key, value in kept["streams"][stream].items() if key != "strategies"}
        kept = {**kept, "streams": {stream: own}}
    return {**rest, **{key: value for key, value in kept.items() if value != {stream: {}}}}


def _with_values(resolved: Mapping[str, Any], stream: str, best: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """`strategies` and, if there are any, `streams` of a resolved suite, with the best values by label.

    A value that the stream has of its own is replaced there, any other in the entry that all streams share.
    """
    own = own_of(resolved, stream)
    here = {label: dict(changes) for label, changes in changed_on(resolved, stream).items()}
    entries = {label: dict(entry) for label, entry in resolved["strategies"].items()}
    for label, values in best.items():
        for key, value in values.items():
            (here[label] if key in here.get(label, {}) else entries[label])[key] = value
    if not here:
        return {"strategies": entries}
    return {"strategies": entries, "streams": {**resolved["streams"], stream: {**own, "strategies": here}}}


def _check_installed() -> None:
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise InputError("tune needs the package optuna: pip install 'lorisbench[tune]'") from error


def _check_space(label: str, strategy: Any) -> None:
    """Raise InputError for an invalid search space (see `engine.strategy.Range`) or one with values refused."""
    for key, (kind, *where) in strategy.tuned.items():
        what = f"{label}: {strategy.name} tunes {key}"
        if key not in type(strategy).model_fields:
            raise InputError(f"{label}: {strategy.name} tunes {key!r}{nearest(key, type(strategy).model_fields)}")
        if (kind, len(where)) not in (("log", 2), ("linear", 2), ("choice", 1)):
            raise InputError(f"{what} by {kind!r}: expected log, linear or choice")
        if kind == "choice":
            values = list(where[0])
            if not values or not all(isinstance(value, (bool, int, float, str, type(None))) for value in values):
                raise InputError(f"{what} by {values}: expected one or more numbers, words or true/false/null")
        else:
            first, last = where
            if not first < last or (kind == "log" and first <= 0):
                raise InputError(f"{what} from {first} to {last}{' by log' if kind == 'log' else ''}: an invalid range")
            values = [first, first + (last - first) / math.pi, last]  # one of them is not an integer
        for value in values:
            try:
                parse(type(strategy), {**strategy.model_dump(mode="json"), key: value}, label)
            except InputError as error:
                raise InputError(f"{what}, which may not be {value}: {error}") from error


def _idle(label: str, strategy: Any, experiences: int) -> str:
    """That what is tuned cannot act in so few experiences, so that all trials are alike; empty if it can."""
    if experiences >= strategy.tuned_from:
        return ""
    return (
        f"{' and '.join(strategy.tuned)} of {label} cannot act in fewer than {strategy.tuned_from} experiences, so all "
        f"its trials are alike and the first is taken; --experiences {strategy.tuned_from} is the least that chooses"
    )


def _check_folder(plan: Plan) -> None:
    """Raise InputError unless OUT is new, holds no trials, or holds those of the same suite, experiences and seed."""
    known = {
        "strategies",
        "seeds",
        "tuning",
        "description",
        "name",
        "latency",
        "plugins",
        "about",
        "orders",
    }  # may differ
    suite = {key: value for key, value in plan.suite.items() if key not in known}
    mark = {"suite": digest_of(suite), "experiences": plan.experiences, "seed": plan.seed}
    file = plan.out / "tune.json"
    there = read_json(file)
    if there is None and any(path.name != CLAIMS for path in contents(plan.out)):
        raise InputError(f"{plan.out}: holds other files but no trials; choose another --out")
    if there is not None and there != mark and (plan.out / "trials").is_dir():
        changed = " and ".join(key for key in mark if there.get(key) != mark[key])
        raise InputError(f"{plan.out}: holds trials that differ in {changed}; choose another --out")
    write_json(file, mark)


def study(plan: Plan, label: str) -> list[dict[str, Any]]:
    """All trials of one strategy, as rows of trials.csv; those not finished yet are trained now."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    hide_warnings()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for plugin in plan.suite["plugins"]:
        load_plugin(plugin)
    settings = plan.suite["strategies"][label]
    space = make_strategy(settings).tuned
    name = f"{label}-{digest_of({'settings': settings, 'space': space})[:10]}"  # a study of its own for these
    (plan.out / "studies").mkdir(exist_ok=True)
    storage = JournalStorage(JournalFileBackend(str(plan.out / "studies" / f"{name}.journal")))
    made = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
    for stopped in made.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        made.tell(stopped.number, state=optuna.trial.TrialState.FAIL)
    bench = None
    for number in range(len(_finished(made)), plan.trials):
        made.sampler = _sampler(plan, label, number)
        waiting = made.get_trials(states=(optuna.trial.TrialState.WAITING,))
        if number == 0 and not waiting and all(_within(settings[key], *kind) for key, kind in space.items()):
            made.enqueue_trial({key: settings[key] for key in space})
        trial = made.ask()
        values = {key: _suggest(trial, key, *kind) for key, kind in space.items()}
        bench = bench or _workbench(plan)
        row = _run(plan, label, bench, values)
        trial.set_user_attr("row", row)
        made.tell(trial, row[METRIC] if row["status"] == "done" else 0.0)
        say(f"{label}, trial {number + 1} of {plan.trials}: {_told(values)}: {_result(row)}")
    trials = _finished(made)[: plan.trials]
    return [{"trial": number, **ended.user_attrs["row"]} for number, ended in enumerate(trials)]


def _finished(made: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    import optuna

    return list(made.get_trials(states=(optuna.trial.TrialState.COMPLETE,)))


def _sampler(plan: Plan, label: str, number: int) -> optuna.samplers.BaseSampler:
    import optuna

    from lorisbench.engine.engine import seed_of

    return optuna.samplers.TPESampler(seed=seed_of("tune", plan.seed, label, number) % 2**32)


def _within(value: Any, kind: str, *where: Any) -> bool:
    if kind == "choice":
        return value in where[0]
    return isinstance(value, (int, float)) and where[0] <= value <= where[1]


def _suggest(trial: optuna.Trial, key: str, kind: str, *where: Any) -> Any:
    if kind == "choice":
        return trial.suggest_categorical(key, *where)
    return trial.suggest_float(key, *where, log=kind == "log")


def _workbench(plan: Plan) -> Workbench:
    from lorisbench.data.subsets import first_experiences
    from lorisbench.runs.checks import check_stream
    from lorisbench.runs.workbench import prepare

    config = resolve(parse(SuiteConfig, {**plan.suite, "evaluation": {"split": "validation"}})).config
    manifest = config.benchmark.usable(config.evaluation.split)
    check_stream(config, manifest)  # the whole one: its first experiences may share one task label
    return prepare(config, first_experiences(manifest, plan.experiences))


def _run(plan: Plan, label: str, bench: Workbench, values: Mapping[str, Any]) -> dict[str, Any]:
    """Train a strategy with these values unless that is done already; its row: status, accuracy, seconds and values."""
    from lorisbench.runs.one_run import train

    changes = {"evaluation": {"split": "validation"}, "orders": [0], "seeds": [plan.seed], "about": []}
    entry = {**plan.suite["strategies"][label], **values}
    (spec,) = resolve(parse(SuiteConfig, {**plan.suite, **changes, "strategies": {label: entry}})).runs
    directory = RunDirectory(plan.out / "trials" / spec.run_id)
    if directory.status()["status"] not in FINISHED:
        train(bench, spec, directory)
    status, entries = directory.status(), directory.entries()
    done = status["status"] == "done"
    return {
        "status": status["status"],
        "reason": status.get("reason", ""),
        METRIC: float(np.mean(entries[-1]["accuracy"])) if done else None,
        "train_seconds": sum(entry["train_seconds"] for entry in entries),
        **values,
    }


def _best(label: str, rows: Sequence[Mapping[str, Any]], space: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the best trial, the first among equals. Raises InputError if none has finished."""
    done = [row for row in rows if row["status"] == "done"]
    if not done:
        reason = rows[0]["reason"] if rows else "no trial was made"
        raise InputError(f"{label}: none of its {len(rows)} trials has finished; {reason}")
    best = max(done, key=lambda row: row[METRIC])
    return {key: best[key] for key in space}


def _text(plan: Plan, frame: pd.DataFrame, best: Mapping[str, Any], spaces: Mapping[str, Any]) -> str:
    """The text of `tuning:` in the tuned suite."""
    import optuna

    searched = "; ".join(
        f"{label}: {', '.join(_range(key, *kind) for key, kind in spaces[label].items())}, "
        f"chosen {_told(values)}, {frame[frame.strategy == label].train_seconds.sum():.0f} s of training"
        for label, values in best.items()
    )
    left = [f"{label} ({'not asked for' if space else 'nothing to tune'})" for label, space in spaces.items()
            if label not in best]  # fmt: skip
    rest = f" Not tuned: {', '.join(left)}." if left else ""
    return (
        f"By `lorisbench tune`: {plan.trials} trials for each strategy, the first with its previous values if they are "
        f"in the range, the others drawn by Optuna {optuna.__version__} (TPE); the highest mean {METRIC} on the "
        f"validation splits of the first {plan.experiences} experiences, trained on these alone with seed {plan.seed}. "
        f"{searched}.{rest}"
    )


def _range(key: str, kind: str, *where: Any) -> str:
    if kind == "choice":
        return f"{key} one of {', '.join(map(str, *where))}"
    return f"{key} {where[0]:g} to {where[1]:g}" + (" (logarithmic)" if kind == "log" else "")


def _result(row: Mapping[str, Any]) -> str:
    return f"{100 * row[METRIC]:.1f} %" if row["status"] == "done" else f"{row['status']}, {row['reason']}"


def _told(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in values.items())
