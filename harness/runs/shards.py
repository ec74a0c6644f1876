"""Features of a large set, extracted by all machines of a Ray cluster at once: each gets batches of decoded images.

The batches are those of one machine, and so is the number of threads that a batch is computed with, so that the
features are the same, bit for bit, on processors of one kind.
"""

from __future__ import annotations

import functools
import itertools
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from lorisbench.common.console import hide_warnings, say
from lorisbench.common.errors import InputError
from lorisbench.runs.luggage import weights_of, with_weights

if TYPE_CHECKING:
    import torch

    from lorisbench.model.features import Extract
    from lorisbench.model.models import Backbone
    from lorisbench.suite.config import BackboneConfig

LEAST = 8  # batches: for fewer, the machines would take longer to load the backbone
AT_A_TIME = 4  # batches that a machine gets together
AHEAD = 2  # tasks that are sent for each that can run


def sharded(settings: BackboneConfig) -> Extract:
    """`features.extract` for a backbone of these settings, on all machines if there are several, and enough images.

    With a GPU on this machine, all stays here.
    """

    def extract(backbone: Backbone, blocks: Iterator[np.ndarray], device: torch.device) -> Iterator[np.ndarray]:
        import ray

        from lorisbench.model import features

        first = list(itertools.islice(blocks, LEAST))
        every = itertools.chain(first, blocks)
        cores = [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]
        cores = [count for count in cores if count >= 1]
        if len(cores) < 2 or device.type != "cpu" or len(first) < LEAST:
            yield from features.extract(backbone, every, device)
            return
        try:
            yield from _everywhere(settings, backbone, every, cores)
        except ray.exceptions.RayError as error:
            reason = " ".join(str(getattr(error, "cause", None) or error).split())[-500:]
            raise InputError(f"features cannot be extracted on the Ray cluster ({reason})") from error

    return extract


def _everywhere(
    settings: BackboneConfig, backbone: Backbone, blocks: Iterator[np.ndarray], cores: list[float]
) -> Iterator[np.ndarray]:
    """cores : of each machine."""
    import ray
    import torch

    threads = torch.get_num_threads()
    share = min(threads, *map(int, cores))
    task = ray.remote(extract_there).options(
        num_cpus=share, max_retries=3, scheduling_strategy="SPREAD", name="lorisbench features"
    )
    say(f"extracting features on {len(cores)} machines")
    weights = ray.put(weights_of(backbone))
    under_way: deque[Any] = deque()
    most = AHEAD * sum(int(count // share) for count in cores)
    while group := list(itertools.islice(blocks, AT_A_TIME)):
        under_way.append(task.remote([weights], settings, threads, group))
        if len(under_way) >= most:
            yield from ray.get(under_way.popleft())
    while under_way:
        yield from ray.get(under_way.popleft())


def extract_there(
    weights: list[Any], settings: BackboneConfig, threads: int, blocks: list[np.ndarray]
) -> list[np.ndarray]:
    """Features of some batches, on this machine. weights : a reference to what `weights_of` gives."""
    import torch

    from lorisbench.model import features

    hide_warnings()
    torch.set_num_threads(threads)
    backbone = _backbone(weights[0], settings.model_dump_json())
    writable = (block.copy() for block in blocks)  # torch asks for it
    return list(features.extract(backbone, writable, torch.device("cpu")))


@functools.lru_cache(maxsize=1)
def _backbone(weights: Any, settings: str) -> Backbone:
    import ray

    from lorisbench.suite.config import BackboneConfig

    return with_weights(BackboneConfig.model_validate_json(settings), *ray.get(weights))
