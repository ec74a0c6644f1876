"""YAML: safe and strict with libyaml and without it, and written the same on every machine."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from lorisbench.common import yaml_files
from lorisbench.common.errors import InputError


@pytest.fixture(params=["libyaml", "python"])
def files(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module, as it is where PyYAML has libyaml and where it has not."""
    if request.param == "python":
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    elif not yaml.__with_libyaml__:
        pytest.skip("PyYAML was built without libyaml")
    yield importlib.reload(yaml_files)
    monkeypatch.undo()
    importlib.reload(yaml_files)


def test_the_loader_is_libyamls_where_it_is_there(files: ModuleType, request: pytest.FixtureRequest) -> None:
    assert issubclass(files._Loader, yaml.SafeLoader) == ("python" in request.node.name)


def test_what_is_written_is_read_back(files: ModuleType, tmp_path: Path) -> None:
    value = {"b": [1, 2.5, None, True], "a": {"ü": "τ ± 1", "long": "word " * 40}, "empty": {}, "text": "1e3"}
    files.write_yaml(tmp_path / "a.yaml", value)
    assert files.read_yaml(tmp_path / "a.yaml") == value and list(files.read_yaml(tmp_path / "a.yaml")) == list(value)
    text = (tmp_path / "a.yaml").read_text("utf-8")
    assert "ü: τ ± 1" in text and text == yaml.safe_dump(value, sort_keys=False, allow_unicode=True)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: 1\nb: 2\na: 3\n", ":3: .*'a' is there twice"),
        ("x:\n  - {c: 1, c: 2}\n", ":2: .*'c' is there twice"),
        ("a: [1\nb: 2\n", ":2: not valid YAML"),
        ("a: !!python/object/apply:os.getcwd []\n", ":1: not valid YAML"),
        ("- 1\n", ": a mapping"),
        ("", ": a mapping"),
    ],
)
def test_what_is_no_mapping_or_says_a_key_twice_is_one_line(
    files: ModuleType, tmp_path: Path, text: str, place: str
) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(InputError, match=rf"a\.yaml{place}") as error:
        files.read_yaml(tmp_path / "a.yaml")
    assert "\n" not in str(error.value)


def test_merge_keys_are_no_repetition(files: ModuleType) -> None:
    assert files.from_yaml("a: &a {x: 1}\nb: {<<: *a, y: 2}\n")["b"] == {"x": 1, "y": 2}


WORDS = ["no", "on", "off", "yes", "y", "N", "0123", "12:30", "2024-01-05", "1e3", "=", "0x1F", "1.2.3"]


@pytest.mark.parametrize("word", [*WORDS, "null", "~", "true", "FALSE", "1.0", "1.50", ".inf", "+3", "007", "1_000"])
def test_a_key_is_the_name_that_is_written(files: ModuleType, word: str) -> None:
    assert files.from_yaml(f"{word}: 1\nother: {{{word}: [2]}}\n") == {word: 1, "other": {word: [2]}}


@pytest.mark.parametrize("word", WORDS)
def test_a_word_stays_a_word(files: ModuleType, word: str) -> None:
    value = files.from_yaml(f"names: [{word}, cup]\none: {word}\n")
    assert value == {"names": [word, "cup"], "one": word} == files.from_yaml(files.to_yaml(value))


def test_truth_numbers_and_nothing_are_what_they_were(files: ModuleType) -> None:
    value = files.from_yaml("[true, False, 1, -7, 0.5, 1.0e-3, 1_000, null, ~, .inf, +3]")
    expected = [True, False, 1, -7, 0.5, 0.001, 1000, None, None, float("inf"), 3]
    assert value == expected and [type(item) for item in value] == [type(item) for item in expected]
    assert files.from_yaml("{1: a, -2: b}") == {1: "a", -2: "b"}
    assert files.from_yaml(files.to_yaml({"a": ["1", "no", "1.0", "null", ""]})) == {
        "a": ["1", "no", "1.0", "null", ""]
    }
