"""`lorisbench ls results`: the reference results of a checkout, read without pandas, for an immediate answer."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorisbench.common.errors import InputError
from lorisbench.common.files import contents
from lorisbench.common.reading import parse_json, read_text
from lorisbench.common.yaml_files import read_yaml

FOLDER = Path("results") / "reference"
CHECKOUT = Path(__file__).resolve().parents[2]
ROUNDING = 1e-9  # of means of the same values in another sequence
COMMANDS = "reference.yaml"  # beside the folder, by name


def references() -> list[dict[str, Any]]:
    """Each folder of results/reference/, here or in the checkout that is installed.

    name, command (those that make it), date, machine, versions, and by stream the best strategy with its mean accuracy
    on the last row (a fraction); empty where the folder does not tell. A file that cannot be read is named in `faults`.
    Raises InputError if there is no such folder.
    """
    folder = next((place for place in (Path.cwd() / FOLDER, CHECKOUT / FOLDER) if place.is_dir()), None)
    if folder is None:
        raise InputError(f"no folder {FOLDER} here: reference results are in the repository, not in the package")
    made_by = folder.parent / COMMANDS
    commands = read_yaml(made_by) if made_by.is_file() else {}
    return [_described(each, commands.get(each.name)) for each in contents(folder) if each.is_dir()]


def _described(folder: Path, command: Any) -> dict[str, Any]:
    faults: list[str] = []
    environment: Mapping[str, Any] = {}
    best: dict[str, dict[str, Any]] = {}
    for file in sorted([*folder.glob("env.json"), *folder.glob("*/env.json"), *folder.glob("*.json")]):
        try:
            found = parse_json(read_text(file), str(file))
        except InputError as error:
            faults.append(str(error))
            continue
        if isinstance(found, dict) and isinstance(found.get("machine"), dict):
            environment = found
            break
    for file in sorted([*folder.glob("results.csv"), *folder.glob("*/results.csv")]):
        try:
            best |= _best(file)
        except (InputError, csv.Error, KeyError) as error:
            faults.append(f"{file}: not a table of runs" if isinstance(error, KeyError) else str(error))
    machine = environment.get("machine", {})
    parts = (machine.get("cpu"), f"{machine['cores']} cores" if machine.get("cores") else "", machine.get("gpu"))
    return {
        "name": folder.name,
        "best": best,
        "date": str(environment.get("date", ""))[:10],
        "machine": ", ".join(filter(None, parts)),
        "versions": environment.get("versions", {}),
        "command": [str(line) for line in command] if isinstance(command, list) else [],
        "faults": faults,
    }


def _best(file: Path) -> dict[str, dict[str, Any]]:
    """By stream, the strategy with the highest mean accuracy on the last row of its finished runs."""
    values: dict[str, dict[str, list[float]]] = {}
    for row in csv.DictReader(read_text(file).splitlines()):
        if row["status"] != "done" or not row["accuracy_last"]:
            continue
        try:
            value = float(row["accuracy_last"])
        except ValueError:
            continue
        if math.isfinite(value):
            values.setdefault(row.get("stream") or row["benchmark"], {}).setdefault(row["strategy"], []).append(value)
    found = {}
    for stream, by_strategy in values.items():
        means = {strategy: sum(each) / len(each) for strategy, each in by_strategy.items()}
        highest = max(means.values())
        tied = [strategy for strategy, mean in means.items() if mean > highest - ROUNDING]
        found[stream] = {"strategy": " and ".join(tied), "accuracy_last": highest}
    return found


def sentence(entry: Mapping[str, Any]) -> str:
    """The text beside a folder's name."""
    best = entry["best"]
    told = []
    if len(best) == 1:
        (only,) = best.values()
        told.append(f"best: {only['strategy']}, {100 * only['accuracy_last']:.2f} % on the last row")
    elif best:
        each = (f"{stream} {one['strategy']} {100 * one['accuracy_last']:.2f} %" for stream, one in best.items())
        told.append(f"best of {len(best)} streams: {', '.join(each)}")
    told += [text for text in (entry["machine"], entry["date"]) if text]
    told += entry["command"] or ["command unknown"]
    return "; ".join([*told, *entry["faults"]])
