"""Which files of a data set were found good, kept in the cache folder so that a check can go on where it stopped."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from lorisbench.common.cache import cache_root
from lorisbench.common.console import say
from lorisbench.common.errors import InputError
from lorisbench.common.files import digest_of, write_text
from lorisbench.common.pace import Pace

VERSION = 1  # of what the check looks at: a stricter check trusts nothing that an older one found
EVERY_SECONDS = 5.0

Stamp = tuple[int, int]  # size in bytes, time of the last change in ns


class Verified:
    """Files of one folder that were found good, with the stamps they had then.

    Parameters
    ----------
    root : the data set's folder; its absolute name determines the state file's.
    fresh : begin with nothing remembered.

    Attributes
    ----------
    remembered : how often `knows` said yes.
    """

    def __init__(self, root: Path, fresh: bool = False) -> None:
        absolute = os.path.abspath(root)
        self.file = cache_root() / "verified" / f"{digest_of(absolute)}.json"
        self.remembered = 0
        self._head = {"version": VERSION, "root": absolute}
        self._prefix = f"{root}{os.sep}"
        self._good = {} if fresh else self._load()
        self._changed = False
        self._pace = Pace(EVERY_SECONDS)

    def knows(self, file: str, stamp: Stamp) -> bool:
        """Whether the file was found good with this stamp."""
        known = self._good.get(file.removeprefix(self._prefix)) == list(stamp)
        self.remembered += known
        return known

    def add(self, file: str, stamp: Stamp) -> None:
        self._good[file.removeprefix(self._prefix)] = list(stamp)
        self._changed = True

    def save(self, now: bool = True) -> None:
        """Write the state file; with `now=False` only if that was last done a while ago."""
        if not self._changed or not (now or self._pace.due()):
            return
        start = time.monotonic()
        try:
            write_text(self.file, json.dumps({**self._head, "good": self._good}, separators=(",", ":")))
        except (OSError, InputError) as error:  # the check is worth more than its memory
            fault = error if isinstance(error, InputError) else f"{self.file}: cannot be written ({error.strerror})"
            say(f"{fault}; files found good are not remembered")
        self._changed = False
        self._pace.written(start)

    def _load(self) -> dict[str, list[int]]:
        try:
            state = json.loads(self.file.read_bytes())
            good = state.pop("good")
        except (OSError, ValueError, AttributeError, KeyError, TypeError):  # none, or damaged: begin again
            return {}
        return good if state == self._head and isinstance(good, dict) else {}
