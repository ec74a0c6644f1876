"""What differs between outputs that are shown together, in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lorisbench.common.alike import by_value, listed
from lorisbench.gather.naming import Naming
from lorisbench.gather.sources import Source

LONGEST = 60  # characters of how settings were chosen; suite.yaml has all of them


def differences(sources: Sequence[Source], naming: Naming) -> list[str]:
    """Sentences, the gravest first: streams and strategies, machines, versions, suites, seeds and orders."""
    told = [f"Together from {', '.join(map(str, sources))}"]
    told += naming.said
    ours = [each for each in sources if not each.imported]
    machines = by_value({each.letter: _machines(each) for each in ours})
    if len(machines) > 1:
        told.append(f"Machines differ: {listed(machines)}. Times and latencies are those of the first one alone")
    told += _versions(ours)
    for what, values in (
        ("Schema numbers", {each.letter: str(each.suite.get("schema", "none")) for each in ours}),
        ("Streams", {each.letter: ", ".join(naming.streams[each.letter].values()) for each in sources}),
        ("Settings were chosen in ways that differ", {each.letter: _tuning(each) for each in ours}),
        ("Seeds", {each.letter: _numbers(each.runs["seed"]) for each in sources}),
        ("Orders", {each.letter: _numbers(each.runs["order"]) for each in sources}),
        ("Dates", {each.letter: _dates(each) for each in sources}),
    ):
        found = by_value({letter: value for letter, value in values.items() if value})
        if len(found) > 1:
            told.append(f"{what}: {listed(found)}")
    return [f"{sentence}." for sentence in told]


def _machines(source: Source) -> str:
    return " and ".join(sorted({str(machine or "not stored") for machine in source.machines.values()}))


def _versions(sources: Sequence[Source]) -> list[str]:
    """A sentence on the packages of which outputs have other versions."""
    by_source = {each.letter: _packages(each.environments.values()) for each in sources}
    packages = dict.fromkeys(name for found in by_source.values() for name in found)
    told = []
    for package in packages:
        values = by_value({letter: found[package] for letter, found in by_source.items() if package in found})
        if len(values) > 1:
            told.append(f"{package} {listed(values)}")
    unknown = [letter for letter, found in by_source.items() if not found]
    if unknown and len(unknown) < len(sources):
        told.append(f"not stored of {', '.join(unknown)}")
    return [f"Versions differ: {' / '.join(told)}"] if told else []


def _packages(environments: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    found: dict[str, dict[str, None]] = {}
    for env in environments:
        versions = env.get("versions")
        for name, version in versions.items() if isinstance(versions, Mapping) else ():
            found.setdefault(str(name), {})[str(version)] = None
    return {name: " and ".join(values) for name, values in found.items()}


def _tuning(source: Source) -> str:
    text = " ".join(str(source.suite.get("tuning") or "untuned, as far as the suite says").split()).rstrip(".")
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _numbers(values: Any) -> str:
    found = sorted({int(value) for value in values.dropna()})
    if len(found) > 2 and found == list(range(found[0], found[-1] + 1)):
        return f"{found[0]} to {found[-1]}"
    return ", ".join(map(str, found))


def _dates(source: Source) -> str:
    days = sorted({str(env["date"])[:10] for env in source.environments.values() if env.get("date")})
    return " to ".join(dict.fromkeys((days[0], days[-1]))) if days else ""
