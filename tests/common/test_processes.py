"""The pool of worker processes: what they get, what they see, and from where it can be used.

That a killed worker, Ctrl-C and a killed parent end well is tested where it matters: with `verify` and the renderer.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

# No `if __name__ == "__main__"`: run again in each worker, it would start workers of its own
SCRIPT = """
import json
import os
import sys

from lorisbench.common.processes import map_unordered

print("begun")


class Length:
    def __init__(self, value):
        self.value = value


class Scale:
    pickled = 0

    def __init__(self, factor):
        self.factor = factor

    def __getstate__(self):
        Scale.pickled += 1
        return self.__dict__

    def __call__(self, length):
        return Length(self.factor * length.value)


class Broken(Scale):
    def __setstate__(self, state):
        raise ValueError("an odd state")


def tasks():
    for value in range(50):
        read.append(value)
        yield Length(value)


def environment(_):
    return {name: value for name, value in os.environ.items() if "THREADS" in name}, len(os.sched_getaffinity(0))


read, ahead, found = [], 0, {}
for task, answer in map_unordered(Scale(3), tasks(), 2):
    found[task.value] = answer.value
    ahead = max(ahead, len(read) - len(found))
try:
    list(map_unordered(Broken(3), [Length(1)], 2))
except ValueError as error:
    reason = str(error)
((_, there),) = map_unordered(environment, [0], 2)
here = environment(0)
with open(sys.argv[1], "w") as stream:
    json.dump({"found": found, "ahead": ahead, "pickled": Scale.pickled, "reason": reason,
               "environments": [here, there]}, stream)
"""


def test_a_plain_script_works_with_what_it_defines(tmp_path: Path) -> None:
    script, result = tmp_path / "script.py", tmp_path / "result.json"
    script.write_text(SCRIPT)
    environment = {name: value for name, value in os.environ.items() if "THREADS" not in name}
    ended = subprocess.run(
        [sys.executable, script, result], capture_output=True, text=True, env=environment, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "begun\n" and ended.stderr == ""
    told = json.loads(result.read_text())
    assert told["found"] == {str(value): 3 * value for value in range(50)}
    assert told["ahead"] <= 8, "tasks are read no further ahead of the answers"
    assert told["pickled"] == 2, "the work goes once to all processes, not with each task; the second is the broken one"
    assert told["reason"] == "an odd state", "what cannot be unpickled is no killed worker"
    here, there = told["environments"]
    assert here == there, "a limit of threads that only workers have would change what they compute"


def test_an_interrupt_counts_that_a_callback_of_garbage_collection_swallows() -> None:
    code = (
        "import os, signal, time, weakref\n"
        "from lorisbench.common.processes import keep_interrupts\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "keep_interrupts()\n"
        "class Kept: pass\n"
        "kept = Kept()\n"
        "seen = weakref.ref(kept, lambda _: os.kill(os.getpid(), signal.SIGINT))\n"
        "try:\n"
        "    del kept\n"
        "    for _ in range(300): time.sleep(0.1)\n"
        "except KeyboardInterrupt: print('interrupted')\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert told.stdout == "interrupted\n" and "KeyboardInterrupt" not in told.stderr, told.stderr
