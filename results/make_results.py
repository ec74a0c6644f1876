"""Run the commands of results/reference.yaml, then write results/reference/ and the tables in the READMEs.

    make results                              # all of them, which takes days
    make results SUITES="quickstart bench"    # some
    make results MNIST=/data/mnist GPU=cuda   # with MNIST's files and a GPU; what needs one not given is left out

Finished runs are kept, so that the same command goes on where it was interrupted. What a command fails to make is left
as it was, and the others go on; the exit code is then 1.
"""

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from make_reference import HERE, write_reference

from lorisbench.common.errors import InputError
from lorisbench.common.registry import nearest
from lorisbench.common.yaml_files import read_yaml

COMMANDS = HERE / "reference.yaml"
NEEDS = {"mnist": "a folder of MNIST's four files", "gpu": "a GPU, such as cuda"}  # what {key} in a command stands for
Run = Callable[[Sequence[str]], int]


def commands(file: Path = COMMANDS) -> dict[str, list[list[str]]]:
    """The commands by the folder that they make, word by word, with --out where they do not say it themselves."""
    found = {}
    for name, lines in read_yaml(file).items():
        words = [shlex.split(line) for line in lines]
        found[name] = [each if "--out" in each else [*each, "--out", f"results/{name}"] for each in words]
    return found


def make_results(
    wanted: Sequence[str], given: Mapping[str, str], run: Run, known: Mapping[str, list[list[str]]] | None = None,
    write: Callable[[Path], object] = write_reference,
) -> list[str]:  # fmt: skip
    """Run the commands of some folders (all if none is named), and write each folder that its commands have made.

    given : of `NEEDS`, what there is. run : executes a command's words, and returns its exit code. write :
    is given the output, results/NAME. Returns a sentence for each that was not made. Raises InputError for an unknown
    name before anything is run.
    """
    known = commands() if known is None else known
    for name in wanted:
        if name not in known:
            raise InputError(f"unknown results {name!r}{nearest(name, known)}")
    faults = []
    for name in wanted or known:
        fault = _make(name, known[name], given, run)
        if fault:
            faults.append(f"{name}: {fault}")
        else:
            write(HERE / name)
    return faults


def _make(name: str, lines: Sequence[Sequence[str]], given: Mapping[str, str], run: Run) -> str:
    """Run the commands of one folder; why it was not made, or an empty text."""
    for words in lines:
        try:
            filled = [word.format_map(given) for word in words]
        except KeyError as missing:
            (key,) = missing.args
            return f"left out: it needs {NEEDS[key]} (make results {key.upper()}=…)"
        code = run(filled)
        if code:
            return f"{shlex.join(filled)} ended with exit code {code}"
    return ""


def execute(words: Sequence[str]) -> int:
    """Run a command line in a process of its own, from the root of the repository."""
    print(f"$ {shlex.join(words)}", flush=True)
    program = [sys.executable, "-m", "lorisbench"] if words[0] == "lorisbench" else [words[0]]
    return subprocess.run([*program, *words[1:]], cwd=HERE.parent, check=False).returncode


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("suites", nargs="*", metavar="NAME", help="folders of results/reference/; all if omitted")
    for key, what in NEEDS.items():
        parser.add_argument(f"--{key}", default=os.environ.get(key.upper(), ""), help=what)
    arguments = parser.parse_args()
    given = {key: value for key in NEEDS if (value := getattr(arguments, key))}
    try:
        faults = make_results(arguments.suites, given, execute)
    except InputError as error:
        parser.error(str(error))
    for fault in faults:
        print(fault, file=sys.stderr)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
