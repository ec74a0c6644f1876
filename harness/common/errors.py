"""The exception that the command line turns into a single line and exit code 2, the one that ends a run on request, and
a one-line form of any other."""

import traceback
from pathlib import Path


class InputError(Exception):
    """Something the user gave (a name, key, file or folder) cannot be used; the message is one line that names it."""


class Stopped(BaseException):
    """A run was asked to stop and did so between two steps; it goes on from its last checkpoint.

    No Exception: code of a strategy that carries on after any of these must not carry on after this.
    """


def reason_of(error: BaseException) -> str:
    """An error's type, the first line of its message, and the last line of a user's own code that it passed through.

    That is code neither of this package nor of Python or an installed one: of a plugin file, a script or a notebook.
    """
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}{_own_line(error)}"


def _own_line(error: BaseException) -> str:
    import sysconfig

    paths = sysconfig.get_paths()
    others = tuple(paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        file = frame.f_code.co_filename
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        if package != "lorisbench" and not file.startswith((*others, "<frozen ")):
            place = f" ({Path(file).name}, line {line})"
    return place
