"""The shipped suites: YAML files in this folder; the first comment line of each is its summary."""

from pathlib import Path

from lorisbench.common.files import contents

FOLDER = Path(__file__).resolve().parent


def shipped() -> dict[str, str]:
    """Name and one-line summary of each shipped suite, sorted by name."""
    found = {}
    for path in contents(FOLDER):
        if path.suffix != ".yaml":
            continue
        with open(path, encoding="utf-8") as lines:
            found[path.stem] = next(lines, "").removeprefix("#").strip()
    return found
