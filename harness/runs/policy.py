"""How a suite is run, as one asks for it; apart from what runs it, which imports torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Policy:
    """How runs are treated: what becomes of those that take too long or end badly, and who is told of them.

    Attributes
    ----------
    time_limit : seconds that one attempt at a run may take; None for no limit.
    retries : further attempts at a run whose process was killed, or that ran out of memory. They are made at the end,
        when this process trains nothing else.
    retry_failed : whether runs that failed before are trained again.
    rerun : labels whose runs are trained from the beginning, even if they are finished; of these the settings may have
        changed, and what was trained with others is left out then.
    logs : which tools the progress of runs is logged for, names of `loggers.LOGGERS`.
    """

    time_limit: float | None = None
    retries: int = 1
    retry_failed: bool = False
    rerun: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()


POLICY = Policy()
