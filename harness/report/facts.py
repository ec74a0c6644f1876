"""The facts box: what was run, on which data, with which settings and machine."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from lorisbench.common.errors import InputError
from lorisbench.common.reading import read_json
from lorisbench.metrics.records import features_in
from lorisbench.report.stored import Stored
from lorisbench.report.summary import number

Facts = list[tuple[str, str]]
INCREMENTS = {
    "data": "new data of the same classes with each experience",
    "classes": "new classes with each experience, none of which comes back",
    "both": "new classes with the experiences, beside new data of those before",
}


def collect(stored: Stored) -> Facts:
    """Pairs of a name and a text; whatever is not stored is reported as such, never guessed."""
    suite = stored.suite
    benchmark, backbone, training = (_section(suite, key) for key in ("benchmark", "backbone", "training"))
    environments = _environments(stored)
    return [
        ("Benchmark", _joined(benchmark.get("name"), _rest(benchmark, "name", "protocol", "factor", "root"))),
        (
            "Protocol",
            _joined(" ".join(filter(None, (benchmark.get("protocol"), benchmark.get("factor")))), _sizes(stored)),
        ),
        *([("Increments", told)] if (told := INCREMENTS.get(increments(stored), "")) else []),
        ("Data", _data(stored)),
        ("Reading notes", _rest(_section(stored.data, "notes")) or "none"),
        ("Evaluated on", _split(stored)),
        *_backbone(backbone, features_in(stored.data)),
        ("Head", _head(_section(suite, "head"), increments(stored))),
        ("Training", _rest(training) or "not stored"),
        *([("Code from outside", code)] if (code := _code(stored)) else []),
        ("Hyper-parameters", str(suite.get("tuning") or "untuned, as far as the suite says")),
        *([("Of this stream alone", own)] if (own := of_stream(stored)) else []),
        *([("Orders of the experiences", ", ".join(map(str, stored.orders)))] if stored.orders != [0] else []),
        ("Seeds", ", ".join(map(str, _seeds(stored))) or "not stored"),
        ("Versions", _each(_rest(_section(each, "versions")) for each in environments)),
        ("Commit", _each(str(each.get("commit") or "") for each in environments)),
        ("Machine", _each(_machine(each) for each in environments)),
        ("Date", _dates(environments)),
    ]


def _environments(stored: Stored) -> list[dict[str, Any]]:
    """Those of the runs; of a folder that holds results without runs, as published ones do, its own."""
    if stored.environments:
        return list(stored.environments.values())
    try:
        own = read_json(stored.out / "env.json") if (stored.out / "env.json").is_file() else None
    except InputError:
        own = None
    return [own] if own else []


def _each(texts: Iterable[str]) -> str:
    """Different texts, each once."""
    return "; or ".join(dict.fromkeys(text for text in texts if text)) or "not stored"


def _code(stored: Stored) -> str:
    """For each strategy from outside, which version of its files or packages was run."""
    told = {label: _rest(_section(settings, "code")) for label, settings in stored.settings.items()}
    return "; ".join(f"{label}: {code}" for label, code in told.items() if code)


def of_stream(stored: Stored) -> str:
    """The settings that a stream has of its own, where others have the suite's; empty if it has none."""
    streams = _section(stored.suite, "streams")
    return _rest(next(iter(streams.values()))) if streams else ""


def is_synthetic(stored: Stored) -> bool:
    """Whether the images were generated rather than photographed, according to data.json."""
    return bool(stored.data.get("synthetic"))


def split(stored: Stored) -> str:
    """The split that the accuracies come from: "test", "validation", or "" if it is not stored."""
    return str(_section(stored.suite, "evaluation").get("split") or "")


def _protocol(benchmark: dict[str, Any]) -> str:
    return " ".join(str(benchmark[key]) for key in ("protocol", "factor") if benchmark.get(key))


def _backbone(backbone: dict[str, Any], width: int) -> Facts:
    if width:
        return [("Backbone", f"none: {width} features of each image were given; no image was seen")]
    told = _joined(backbone.get("name"), _rest(backbone, "name", "train", *_idle(backbone)))
    return [("Backbone", told), ("Backbone training", _mode(backbone.get("train")))]


def _idle(backbone: dict[str, Any]) -> tuple[str, ...]:
    """Settings that have no effect with this backbone: pixels have no weights."""
    return ("weights",) if backbone.get("name") == "pixels" else ()


def _section(content: dict[str, Any], key: str) -> dict[str, Any]:
    found = content.get(key)
    return found if isinstance(found, dict) else {}


def _rest(section: dict[str, Any], *without: str) -> str:
    """Settings as text; empty ones carry no information and are left out."""
    texts = {key: _value(value) for key, value in section.items() if key not in without}
    return ", ".join(f"{key} {text}" for key, text in texts.items() if text)


def _value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        inner = _rest(value)
        return f"({inner})" if inner else ""
    if isinstance(value, list):
        return " ".join(_value(inner) for inner in value)
    return str(value)


def _joined(first: Any, rest: str) -> str:
    return "; ".join(part for part in (str(first or ""), rest) if part) or "not stored"


def _sizes(stored: Stored) -> str:
    count = len(stored.names)
    parts = [f"{count} experience{'s' * (count != 1)}"]
    for name in ("train", "validation", "test"):
        if name in stored.experiences:
            total = int(stored.experiences[name].sum())
            parts.append(f"{number(total, 0)} {name} images")
    return ", ".join(parts)


def _data(stored: Stored) -> str:
    data = stored.data
    if not data:
        return "not stored"
    parts = [str(data.get("name", "unnamed"))]
    if is_synthetic(stored):
        parts.append("synthetic")
    if isinstance(data.get("images"), int):
        parts.append(f"{number(data['images'], 0)} images")
    if isinstance(data.get("classes"), list):
        parts.append(f"{len(data['classes'])} classes")
    if data.get("source"):
        parts.append(f"source: {data['source']}")
    if data.get("content_hash"):
        parts.append(f"content hash {data['content_hash']}")
    return ", ".join(parts)


def _split(stored: Stored) -> str:
    name = split(stored)
    if name == "validation":
        return "validation split: these figures chose settings and are not test results"
    return f"{name} split" if name else "not stored"


def _mode(train: Any) -> str:
    modes = {
        "never": "never (frozen)",
        "first": "first (trained in experience 0, then frozen)",
        "always": "always (trained in every experience)",
    }
    return modes.get(str(train), str(train)) if train is not None else "not stored"


def per_task(stored: Stored) -> bool:
    """Whether there was an output layer for each task label, so that test images came with their task labels."""
    return bool(_section(stored.suite, "head").get("per_task"))


def increments(stored: Stored) -> str:
    """What arrives with the experiences, as `Manifest.increments` says; empty if it is not stored."""
    return str(stored.data.get("increments") or "")


def _head(head: dict[str, Any], arrives: str) -> str:
    hidden = head.get("hidden")
    if hidden is None:
        return "not stored"
    shape = f"hidden layers {_value(hidden)}" if hidden else "linear"
    if head.get("per_task"):
        return f"{shape}; an output layer for each task label, given at test time too"
    if head.get("grow"):
        return f"{shape}; outputs of classes that no experience has shown so far are masked, in training and in testing"
    if arrives in ("classes", "both"):
        return f"{shape}; outputs of all classes take part from the start, in training and in testing: none is masked"
    return shape


def _seeds(stored: Stored) -> list[Any]:
    listed = stored.suite.get("seeds")
    if isinstance(listed, list):
        return listed
    return sorted({int(seed) for seed in stored.runs["seed"].dropna()})


def _machine(environment: dict[str, Any]) -> str:
    machine = _section(environment, "machine")
    if not machine:
        return ""
    parts = [str(machine.get("cpu") or "processor unknown")]
    if machine.get("cores"):
        parts.append(f"{machine['cores']} cores")
    if machine.get("memory_gb"):
        parts.append(f"{machine['memory_gb']} GB memory")
    parts.append(str(machine.get("gpu") or "no GPU"))
    if machine.get("system"):
        parts.append(str(machine["system"]))
    if environment.get("threads"):
        parts.append(f"{environment['threads']} thread(s) a run")
    return ", ".join(parts)


def _dates(environments: Iterable[dict[str, Any]]) -> str:
    dates = pd.Series([str(env["date"])[:10] for env in environments if env.get("date")], dtype=str)
    if dates.empty:
        return "not stored"
    first, last = dates.min(), dates.max()
    return first if first == last else f"{first} to {last}"
