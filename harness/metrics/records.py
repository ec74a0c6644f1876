"""The forms of a run's files that metrics are worked out from, checked where they are read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from lorisbench.common.reading import read_json

AS_SEED = "nothing in it depends on the seed"
"""How the reason ends of a run that was copied from one of another seed (`runs.twins`)."""
_COPIED = "as seed "
UNRESTORED = "its model cannot be restored"
"""How the reason of a finished run begins whose model cannot be had back from its folder."""
TABLE_HINTS = "tables.json"  # in the folder of a run: how its tables may be plotted

Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0)]
Times = Annotated[list[Amount], Field(min_length=1)]  # milliseconds


def copied_reason(reason: str, seed: int) -> str:
    """The reason of a run that was copied from one of this seed, which had `reason` itself."""
    return "; ".join(filter(None, (reason, f"{_COPIED}{seed}: {AS_SEED}")))


def own_reason(reason: str) -> str:
    """A run's reason without the words on which run it was copied from, where it had one before them."""
    return reason.partition(f"; {_COPIED}")[0]


class Record(BaseModel):
    """Numbers are numbers, finite, and not text; keys that are not named here may be anything."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class JournalEntry(Record):
    """A line of journal.jsonl: one experience."""

    experience: Count
    train_seconds: Amount
    accuracy: list[Annotated[float, Field(allow_inf_nan=True)] | None] = []  # NaN without test images
    train_images: Count = 0
    train_flops: Count | None = None
    train_samples: Count | None = None
    train_steps: Count | None = None
    feature_flops: Count | None = None
    peak_memory_mb: Amount | None = None
    budget_used: Amount | None = None
    model_mb: Amount | None = None
    state_mb: Amount | None = None
    replay_samples: Amount | None = None
    heads: Amount | None = None


class CallsRecord(Record):
    """Times of each call with batches of one size."""

    ms: Times | None = None
    bare_ms: Times | None = None
    calls: Count = 0
    batch: Count = 0


class LatencyRecord(CallsRecord):
    """latency.json: times with the smallest batches, those with larger ones, or the reason why there are none."""

    error: str = ""
    batches: list[CallsRecord] = []
    parameters: Count | None = None
    macs: Count | None = None
    inference_mb: Amount | None = None
    threads: Count = 0
    device: str = ""
    image_size: Count = 0
    load: Amount | None = None
    cores: Count = 0
    forward_ms_per_image: Annotated[float, Field(gt=0)] | None = None


def read_latency(path: Path) -> dict[str, Any] | None:
    """A run's latency.json; None if there is none. Raises InputError, naming the file and the key, if it is damaged."""
    return read_json(path, LatencyRecord)


def features_in(data: Mapping[str, Any]) -> int:
    """How many features were given for each image, by what data.json says of a stream; 0 where there were images."""
    width = data.get("features")
    return width if isinstance(width, int) and width > 0 else 0


def images_by_stream(data: Mapping[str, Any], names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What data.json says about the images of each stream. `names` of all streams: it does not name an only one."""
    several = data.get("streams")
    if isinstance(several, Mapping):
        return {str(name): dict(content) for name, content in several.items() if isinstance(content, Mapping)}
    known = list(names)
    return {known[0]: dict(data)} if data and len(known) == 1 else {}
