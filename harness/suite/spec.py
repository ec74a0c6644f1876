"""One run of a suite: its typed settings, and how they are written to config.yaml and read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from lorisbench.common.console import say
from lorisbench.common.errors import InputError
from lorisbench.common.fingerprint import changed
from lorisbench.suite.config import BackboneConfig, EvaluationConfig, HeadConfig
from lorisbench.suite.entries import fingerprint_of, make_strategy, settings_of
from lorisbench.suite.orders import permutation
from lorisbench.suite.parsing import parse
from lorisbench.suite.schema import SCHEMA, has_schema, schema_of
from lorisbench.suite.training import TrainingConfig

PLACES = ("root", "file", "run")  # settings of a benchmark that say where its images are, not which they are


@dataclass(frozen=True)
class RunSpec:
    """One run: what is trained, with which settings, in which order of the experiences, under which seed.

    Attributes
    ----------
    strategy : the settings object of the strategy, a `lorisbench.engine.strategy.Strategy`.
    training : how this run trains, including what the strategy's entry sets.
    benchmark : which images, as plain values: `name` and settings, without `PLACES`, so that a run can be read back
        where there are no images.
    stream, order : the stream's name in its suite, and the number of the order of its experiences (`suite.orders`).
    among : how many streams and how many orders its suite has.
    code : the fingerprint of a strategy from outside as it was when the run was planned, see `fingerprint.code_of`.
    """

    run_id: str
    label: str
    seed: int
    strategy: Any
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    device: str = "auto"
    benchmark: Mapping[str, Any] = field(default_factory=dict)
    stream: str = ""
    order: int = 0
    among: tuple[int, int] = field(default=(1, 1), compare=False)
    code: Mapping[str, str] = field(default_factory=dict)

    @property
    def told(self) -> str:
        """How messages name the run: `sequence: ewc order 1 seed 0`, without what all runs of the suite share."""
        streams, orders = self.among
        stream = f"{self.stream}: " if streams > 1 else ""
        order = f" order {self.order}" if orders > 1 else ""
        return f"{stream}{self.label}{order} seed {self.seed}"

    def config_for(self, experiences: int) -> dict[str, Any]:
        """The mapping that config.yaml holds: the settings, and which permutation of so many experiences it is.

        Raises InputError if so many experiences do not have this order.
        """
        return {**self.config, "permutation": permutation(self.order, experiences)}

    @cached_property
    def config(self) -> dict[str, Any]:
        """All settings as plain values, every default filled in, and `code` if it has any from outside."""
        return {
            "schema": SCHEMA,
            "run_id": self.run_id,
            "label": self.label,
            "stream": self.stream,
            "order": self.order,
            "benchmark": dict(self.benchmark),
            "backbone": self.backbone.model_dump(mode="json"),
            "head": self.head.model_dump(mode="json"),
            "training": self.training.model_dump(mode="json"),
            "evaluation": self.evaluation.model_dump(mode="json"),
            "device": self.device,
            "strategy": settings_of(self.strategy),
            "seed": self.seed,
            **({"code": dict(self.code)} if self.code else {}),
        }


def spec_from(config: Mapping[str, Any], file: Path) -> RunSpec:
    """A run from the contents of its config.yaml; plugins that define its strategy must have been loaded.

    Raises InputError, in one line naming `file`, if it is of another schema, a key is missing or wrong, or the strategy
    is not known.
    """
    check_schema(config, file)
    try:
        run_id, label, seed = str(config["run_id"]), str(config["label"]), int(config["seed"])
        order = int(config.get("order", 0))
        parts = {key: config[key] for key in ("backbone", "head", "training", "evaluation", "strategy", "benchmark")}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file}: not the settings of a run ({type(error).__name__})") from error
    for key in ("strategy", "benchmark"):
        if not isinstance(parts[key], Mapping):
            raise InputError(f"{file}: {key}: expected a mapping")
    return RunSpec(
        run_id,
        label,
        seed,
        strategy=make_strategy(parts["strategy"], f"{file}: strategy"),
        backbone=parse(BackboneConfig, parts["backbone"], f"{file}: backbone"),
        head=parse(HeadConfig, parts["head"], f"{file}: head"),
        training=parse(TrainingConfig, parts["training"], f"{file}: training"),
        evaluation=parse(EvaluationConfig, parts["evaluation"], f"{file}: evaluation"),
        device=str(config.get("device", "auto")),
        benchmark=parts["benchmark"],
        stream=stream_of(config),
        order=order,
        code={str(name): str(code) for name, code in _mapping(config.get("code")).items()},
    )


def changed_code(config: Mapping[str, Any], strategy: Any) -> str:
    """The files and packages of a strategy from outside that are not as they were for the run of a config.yaml."""
    return ", ".join(changed(_mapping(config.get("code")), fingerprint_of(strategy)))


def tell_changed_code(config: Mapping[str, Any], spec: RunSpec) -> None:
    """Say so if a finished run's strategy is not what it was: whoever uses its model may want to know."""
    if other := changed_code(config, spec.strategy):
        say(f"{spec.run_id}: {other} changed since it was trained")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def check_schema(config: Mapping[str, Any], file: Path) -> None:
    """Raise InputError for a config.yaml of another schema."""
    if not has_schema(config):
        raise InputError(
            f"{file}: a run of another version of lorisbench ({schema_of(config)}, this one reads {SCHEMA}); run its "
            f"suite again with another --out"
        )


def without_places(benchmark: Mapping[str, Any]) -> dict[str, Any]:
    """A benchmark's settings without those that only say where its images are: moved images are the same."""
    return {
        key: without_places(value) if isinstance(value, Mapping) else value
        for key, value in benchmark.items()
        if key not in PLACES
    }


def stream_of(config: Mapping[str, Any]) -> str:
    """The name of the stream of a run, from its config.yaml; an only stream is named by its benchmark."""
    return str(config.get("stream") or title_of(config["benchmark"]))


def title_of(benchmark: Mapping[str, Any]) -> str:
    """A benchmark's short name in run ids and results.csv, such as `openloris-sim-sequence` or `openloris-clutter`."""
    protocol, factor = benchmark.get("protocol"), benchmark.get("factor")
    part = "-".join(filter(None, (protocol if protocol != "factor" else "", factor))) or benchmark.get("classic")
    labels = benchmark.get("labels")
    of = labels if labels == "category" else ""
    parts = [benchmark["name"], part, of, "disjoint" if benchmark.get("disjoint") else ""]
    return "-".join(str(part) for part in parts if part)
