"""Whether a finished run's model can be had back from its folder, found out when it ends.

Latency, export and whoever comes later build the model anew and load what was learnt. What a strategy keeps beside its
model's state would be missed only then, and in silence: as a dash in a table.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lorisbench.common.errors import InputError, reason_of
from lorisbench.common.registry import apart
from lorisbench.data.stream import Store
from lorisbench.metrics.records import UNRESTORED
from lorisbench.model.checkpoint import write_checkpoint
from lorisbench.model.comparison import lacking, told_apart
from lorisbench.runs.directory import RunDirectory
from lorisbench.runs.workbench import Workbench, rebuilt
from lorisbench.suite.entries import kinds_of
from lorisbench.suite.spec import RunSpec

SAMPLES = 32  # test images that both models answer


def keep_model(bench: Workbench, spec: RunSpec, directory: RunDirectory, strategy: Any, store: Store) -> str:
    """Write a finished run's checkpoint; why its model cannot be had back from it, in one line, or an empty string.

    store : the samples as the run left them. Raises InputError if the disk takes no more.
    """
    model: nn.Module = strategy.model
    try:
        trained = spec.backbone.train
        own = bench.backbone if trained == "first" else None
        write_checkpoint(model, directory.path, frozen=trained != "always", backbone=own)
        if fault := lacking(model):
            return f"{UNRESTORED}: {fault}"
        restored = rebuilt(bench, spec, directory.path, attach=False)
        with apart(kinds_of(spec.strategy)):
            rows = torch.from_numpy(bench.manifest.rows(spec.evaluation.split, 0)[:SAMPLES])
            x = store.inputs(store.x[rows.to(store.x.device)], rows.to(store.task.device)).to(bench.device)
            fault = told_apart(model, restored, x)
    except InputError:
        raise
    except Exception as error:  # whatever a strategy's own code, torch or safetensors raise
        fault = reason_of(error).removeprefix("ValueError: ")
    return f"{UNRESTORED}: {fault}" if fault else ""
