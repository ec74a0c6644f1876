"""The command line in processes of their own that start in a moment: forked from a server that has imported torch."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

from lorisbench.runs.workers import main_hidden, warm_up


class Command:
    """`lorisbench WORDS...` in a process; what it prints goes to a file."""

    def __init__(self, log: Path, *words: object) -> None:
        self.log = log
        context: Any = multiprocessing.get_context("forkserver")
        warm_up()
        given = [str(word) for word in words], str(log), dict(os.environ), forkserver._forkserver._forkserver_address
        self.process = context.Process(target=_command, args=given, daemon=False)
        with main_hidden():
            self.process.start()

    def send(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.process.is_alive():
            os.kill(self.process.pid, number)

    def ended(self, seconds: float = 120) -> int:
        """Its exit code; a negative one is the signal that killed it."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.process.kill()
            raise AssertionError(f"still there after {seconds} s: {self.said()}")
        return self.process.exitcode

    def said(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""


def elsewhere(folder: Path, number: int = 0) -> Path:
    """The claim of a process on another machine."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"claim-{number:06d}"
    told = {"owner": "node7:41", "released": False, "place": "another boot/pid:[1]", "processes": [[41, "9"]]}
    file.write_text(json.dumps(told))
    return file


def until(condition: Any, seconds: float = 60) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("waited in vain")
        time.sleep(0.02)


def _command(words: list[str], log: str, environment: dict[str, str], server: str) -> None:
    # Its workers, too, are forked from the server that it comes from: one of its own would import torch again
    forkserver._forkserver._forkserver_address = server  # type: ignore[attr-defined]
    forkserver.ensure_running = forkserver._forkserver.ensure_running = lambda: None  # type: ignore[attr-defined]
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(environment)
    file = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout = os.fdopen(1, "w", buffering=1)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    sys.argv = ["lorisbench", *words]
    from lorisbench import report as reports
    from lorisbench.cli.app import main

    reports.write_report = lambda out, metrics=None: out / "report" / "index.html"  # drawing takes longer than training
    main()
