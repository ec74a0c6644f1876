"""Training on a machine of a cluster: a worker process in a folder of its own, watched by a Ray task that tells of it.

The run does not train in Ray's own process: what ends the worker is told as it is on the machine that has the output,
with its signal and the tail of its log, and a worker serves one run after another.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorisbench.common.errors import InputError
from lorisbench.common.processes import lives
from lorisbench.runs.claims import Watch, claim
from lorisbench.runs.crews import Died, Ended, Event, Progress, Refused, Said
from lorisbench.runs.luggage import Code, Material, unpack_code, unpack_material
from lorisbench.runs.parcels import Outpost, Parcel
from lorisbench.runs.workers import Local

LOOK = 1.0  # seconds between two looks for a new checkpoint
PATIENCE = 10.0  # seconds for which it is waited for a worker that is killed
PREFIX = "lorisbench-node-"


@dataclass(frozen=True)
class Order:
    """A run to be trained.

    Attributes
    ----------
    code, material : references to `Code` and `Material`, in lists so that Ray gets them only where they are missing.
    stream : the name of the run's stream. files : what there is of the run. out : the output where they come from.
    threads : that it may compute with.
    """

    run_id: str
    stream: str
    code: list[Any]
    material: list[Any]
    files: Mapping[str, bytes]
    out: str
    threads: int


@dataclass
class _Post:
    """This process's worker, and the folder that it works in."""

    key: tuple[Any, ...]
    scratch: Path
    out: Path
    crew: Local


_posts: list[_Post] = []  # at most one


@dataclass(frozen=True)
class Placed:
    """On which machine of the cluster a run is trained, by Ray's id of it."""

    machine: str


def train_there(order: Order) -> Iterator[Placed | Event | Parcel]:
    """Train a run on this machine; yields where that is, what its crew tells, and what has changed in its folder.

    That is when the run begins, at each experience, and before the last of what is told: how it ended.
    """
    import ray

    yield Placed(ray.get_runtime_context().get_node_id())
    run_id = order.run_id
    try:
        post = _post_of(order)
    except InputError as error:
        yield Refused(run_id, f"{error}{_where()}")
        return
    outpost = Outpost(post.out, run_id, order.files)
    over = True
    try:
        held = claim(post.out / "runs" / run_id, Watch())
        assert held is not None  # nobody else knows of this folder
        post.crew.begin(run_id, held)
        over = False
        done = -1
        while True:
            moved = False
            for event in post.crew.events(LOOK):
                if isinstance(event, Ended | Died | Refused):
                    over = True
                    yield outpost.changes()
                    yield _told(event, post, order)
                    return
                if isinstance(event, Progress):
                    moved |= event.done != done
                    done = event.done
                yield _told(event, post, order)
            if moved or outpost.has_checkpoint():
                yield outpost.changes()
    finally:
        if not over:  # cancelled
            post.crew.kill(run_id)
            until = time.monotonic() + PATIENCE
            while not any(isinstance(e, Ended | Died) for e in post.crew.events(LOOK)) and time.monotonic() < until:
                pass
        outpost.clear()


def _told(event: Event, post: _Post, order: Order) -> Event:
    """What a worker tells, as it is told where the output is."""
    here = str(post.out)
    if isinstance(event, Said):
        return Said(event.line.replace(here, order.out))
    if isinstance(event, Refused):
        return Refused(event.run_id, f"{event.reason.replace(here, order.out)}{_where()}")
    return event


def _post_of(order: Order) -> _Post:
    import ray

    # Which GPUs a task may use, Ray says in the environment
    key = (order.code[0], order.threads, os.environ.get("CUDA_VISIBLE_DEVICES"))
    if not _posts or _posts[0].key != key:
        _leave()
        _sweep()
        code: Code = ray.get(order.code[0])
        scratch = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-{order.code[0].hex()}-"))
        try:
            given = unpack_code(code, scratch, order.threads)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
        given.out.mkdir(parents=True)
        _posts.append(_Post(key, scratch, given.out, Local(given, size=1)))
    (post,) = _posts
    material: Material = ray.get(order.material[0])
    unpack_material(material, order.stream, post.scratch, ray.get)
    return post


def leave_there(code: str) -> None:
    """Remove what a suite, by the id of its `Code`, has left on this machine: Ray gives its processes no time to."""
    if _posts and _posts[0].key[0].hex() == code:
        _leave()
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-{code}-*"):
        shutil.rmtree(folder, ignore_errors=True)


def _leave() -> None:
    for post in _posts:
        post.crew.close()
        shutil.rmtree(post.scratch, ignore_errors=True)
    _posts.clear()


def _sweep() -> None:
    """Remove the folders of processes of this machine that were killed before they could do so."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        found = re.match(rf"{PREFIX}(\d+)-", folder.name)
        if found and not lives(int(found[1])):
            shutil.rmtree(folder, ignore_errors=True)


def _where() -> str:
    import ray

    return f" (on {ray.util.get_node_ip_address()})"
