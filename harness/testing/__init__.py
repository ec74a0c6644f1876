"""For the tests that come with a strategy: the checks of `lorisbench check`, and runs on their toy stream.

Plain functions, for pytest or any other runner; nothing here needs pytest, and torch is imported when they are called.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lorisbench.common.errors import InputError
from lorisbench.common.registry import load_plugin

if TYPE_CHECKING:
    import torch

    from lorisbench.conformance.kit import Report
    from lorisbench.conformance.toy import Mode
    from lorisbench.engine.strategy import Strategy

    What = str | Mapping[str, Any] | Strategy | type[Strategy]

__all__ = ["ToyRun", "load_plugin", "strategy_conforms", "toy_run"]


@dataclass(frozen=True, repr=False)
class ToyRun:
    """What a run on the toy stream left.

    strategy : the Avalanche strategy, with its model and plugins, as it is after the last experience. stream : the
        Avalanche benchmark that it is trained on.
    answers : after each experience, the outputs on the test samples of all experiences, in order: float32 (samples,
        classes). labels : the labels of these samples, int64.
    """

    strategy: Any
    stream: Any
    answers: list[torch.Tensor]
    labels: torch.Tensor


def strategy_conforms(what: What, /, **settings: Any) -> Report:
    """Assert that a strategy passes all checks of `lorisbench check`; returns the report. It takes seconds.

    Parameters
    ----------
    what : a strategy's name (built in, of an installed package, or of a file given to `load_plugin`), the dotted name
        of a plugin for Avalanche, an entry as in a suite, or a `Strategy` class or instance. settings : those of the
        strategy that are to differ from what this says, or arguments of the plugin.

    Raises
    ------
    AssertionError : a check failed; its message has a line for each that did, with what was found and where to look.
    InputError : there is no such strategy or setting.
    """
    __tracebackhide__ = True
    from lorisbench.conformance.kit import check

    report = check(_entry(what, settings))
    failed = [row for row in report.rows if row.status == "fail"]
    if failed:
        title = f"{report.settings['strategy']}: {len(failed)} of {len(report.rows)} checks failed"
        raise AssertionError("\n".join([title, *(f"  {row.check}: {row.found}" for row in failed)]))
    return report


def toy_run(
    what: What, /, *, inputs: Mode = "features", experiences: int = 3, seed: int = 0, **settings: Any
) -> ToyRun:
    """Train a strategy on the toy stream of the checks, as a run does; it takes a tenth of a second.

    The classes are the same four in all experiences, and far apart; experiences 0 and 1 are alike, 2 is new.

    Parameters
    ----------
    what, settings : as for `strategy_conforms`. inputs : `features`, or images whose backbone is
        `frozen` or trained (`images`).
    experiences : how many are trained, of four.

    Raises whatever the strategy raises, and InputError if there is no such strategy or setting.
    """
    from lorisbench.common.threads import one_thread
    from lorisbench.conformance.observe import evaluate
    from lorisbench.conformance.toy import EXPERIENCES, Running, Toy, apart

    toy = Toy(_entry(what, settings), inputs, seed)
    with apart(toy), one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Avalanche's, about loggers
        running = Running(toy)
        answers = []
        for index in range(experiences):
            running.learn(index)
            answers.append(evaluate(running))
    tests = [row for index in range(EXPERIENCES) for row in sorted(running.rows("test", index))]
    return ToyRun(running.strategy, running.stream, answers, running.store.y[tests].cpu())


def _entry(what: What, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The entry of a strategy, with settings of its own or, for a plugin of Avalanche, arguments."""
    from lorisbench.conformance.kit import entry_of
    from lorisbench.engine.strategy import entry_from

    entry = entry_of(what) if isinstance(what, str) else entry_from(what)
    if "strategy" not in entry:
        raise InputError(f"{what!r}: an entry must say which strategy it is, as {{'strategy': 'ewc'}} does")
    given = {"args": {**entry["args"], **settings}} if entry["strategy"] == "avalanche" else settings
    if "training" in {**entry, **given}:
        raise InputError(f"{entry['strategy']}: training: the toy stream has its own; leave it out")
    return {**entry, **given}
