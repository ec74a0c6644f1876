"""The streams of a suite: their names, and what each has of its own, as suite.yaml and data.json hold them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lorisbench.common.errors import InputError
from lorisbench.common.registry import BENCHMARKS, nearest
from lorisbench.suite.spec import title_of
from lorisbench.suite.training import merged

OWN = ("backbone", "head", "training")  # settings of the suite that a stream may have of its own


def check_known(given: Iterable[str], names: Iterable[str]) -> None:
    """Raise InputError for the first of the keys of `streams` that is no stream's name."""
    names = list(names)
    for name in given:
        if name not in names:
            raise InputError(f"streams: no stream is called {name!r}{nearest(name, names)}; known: {', '.join(names)}")


def written_out(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a benchmark with its shorthands written out.

    `{manifest: file.csv, ...}` is `{name: manifest, file: file.csv, ...}`;
    `{avalanche: RotatedMNIST, n_experiences: 5}` is `{name: avalanche, classic: RotatedMNIST, args: {n_experiences:
    5}}`, where settings of the benchmark itself stay beside `args`.
    """
    settings = dict(settings)
    if "name" in settings or not {"manifest", "avalanche"} & set(settings):
        return settings
    if "manifest" in settings:
        return {"name": "manifest", "file": str(settings.pop("manifest")), **settings}
    fields: Any = BENCHMARKS.get("avalanche")
    own = {key: settings.pop(key) for key in list(settings) if key in fields.model_fields}
    classic, args = settings.pop("avalanche"), own.pop("args", {})
    args = {**settings, **args} if isinstance(args, Mapping) else args  # anything else is refused where it is read
    return {"name": "avalanche", "classic": classic, **own, "args": args}


def benchmarks_of(suite: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The benchmark of each stream, written out, in the plain values of a suite; what is none in any form is left out.

    An only stream that `benchmark` gives is named by it (`title_of`).
    """
    several, one = suite.get("benchmarks"), suite.get("benchmark")
    if isinstance(several, Mapping) and several:
        return {str(name): written_out(each) for name, each in several.items() if isinstance(each, Mapping)}
    written = written_out(one) if isinstance(one, Mapping) else {}
    return {title_of(written): written} if written.get("name") else {}


def own_settings(suite: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The settings `OWN` of one stream in the plain values of a resolved suite, those that the suite has."""
    streams = suite.get("streams")
    own = streams.get(name) if isinstance(streams, Mapping) else None
    own = own if isinstance(own, Mapping) else {}
    settings = {}
    for key in OWN:
        shared, changes = suite.get(key), own.get(key)
        if isinstance(shared, Mapping):
            settings[key] = merged(shared, changes if isinstance(changes, Mapping) else {})
    return settings
