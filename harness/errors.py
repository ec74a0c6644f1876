"""The one exception that the command line turns into a single line and exit code 2."""


class InputError(Exception):
    """What the user gave (a name, key, file or folder) cannot be used; the message is one line that names it."""
