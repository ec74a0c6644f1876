"""The exception that the command line turns into a single line and exit code 2, the one that ends a run on request, and
a one-line form of any other."""


class InputError(Exception):
    """Something the user gave (a name, key, file or folder) cannot be used; the message is one line that names it."""


class Stopped(BaseException):
    """A run was asked to stop and did so between two steps; it goes on from its last checkpoint.

    No Exception: code of a strategy that carries on after any of these must not carry on after this.
    """


def reason_of(error: BaseException) -> str:
    """An error's type and the first line of its message."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
