"""Runs that differ in their seed alone, of a strategy in which nothing depends on it: one is trained for all."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence

from lorisbench.common.files import atomic
from lorisbench.data.manifest import Manifest
from lorisbench.metrics.records import copied_reason
from lorisbench.runs.claims import is_claim
from lorisbench.runs.directory import RunDirectory
from lorisbench.runs.resume import PLACE
from lorisbench.suite.resolve import Suite
from lorisbench.suite.spec import RunSpec

OWN = ("config.yaml", "status.json", "latency.json", "log.txt", str(PLACE))  # files that are not another run's


def twins(suite: Suite, todo: Sequence[RunSpec], manifests: Mapping[str, Manifest]) -> dict[str, RunSpec]:
    """For each run in `todo` that is another one over again, by its id: the run that stands for it.

    That is one that need not be trained any more, if there is one, else the first that is to be trained.
    """
    waiting = {spec.run_id for spec in todo}
    first: dict[tuple[str, str, int], RunSpec] = {}
    for spec in sorted(suite.runs, key=lambda spec: spec.run_id in waiting):
        if is_same_for_all_seeds(spec, manifests.get(spec.stream)):
            first.setdefault((spec.stream, spec.label, spec.order), spec)
    pairs = {spec.run_id: first.get((spec.stream, spec.label, spec.order)) for spec in todo}
    return {run_id: other for run_id, other in pairs.items() if other is not None and other.run_id != run_id}


def is_same_for_all_seeds(spec: RunSpec, manifest: Manifest | None) -> bool:
    """Whether a run gives the same under every seed: its strategy says so, and no seed draws what it is given."""
    drawn = manifest is None or manifest.draw is not None
    return spec.strategy.deterministic and spec.backbone.same_features and spec.training.augment is None and not drawn


def copy_run(source: RunDirectory, seed: int, target: RunDirectory) -> None:
    """Make a run's folder what it would be had it been trained: as that of the finished run of another seed.

    seed : of that run, which the status names. Latency is measured anew, once for each architecture.
    """
    status = source.status()
    for left in ("latency.json", PLACE):  # by an attempt at the run itself
        (target.path / left).unlink(missing_ok=True)
    for file in sorted(source.path.rglob("*")):
        name = file.relative_to(source.path)
        if file.is_file() and str(name) not in OWN and not is_claim(file.name):
            with atomic(target.path / name, sync=False) as stream, open(file, "rb") as content:
                shutil.copyfileobj(content, stream)
    target.set_status(status["status"], copied_reason(status["reason"], seed), copied_from=source.path.name)
