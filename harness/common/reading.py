"""Files read back: whatever is wrong with one is a line with its path, the line where it is known, and the fault."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorisbench.common.errors import InputError, reason_of

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from pydantic import BaseModel


def read_bytes(path: Path) -> bytes:
    """A file's bytes. Raises InputError, naming it, if it cannot be read."""
    try:
        return path.read_bytes()
    except IsADirectoryError as error:
        raise InputError(f"{path}: a folder, where a file was expected") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def read_text(path: Path) -> str:
    """A file's text in UTF-8, without a byte order mark. Raises InputError, naming file and line, for anything else."""
    return as_text(read_bytes(path), str(path))


def as_text(data: bytes, where: str) -> str:
    """Bytes in UTF-8 as text. Raises InputError, beginning with `where` and the line, for anything else."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(f"{where}:{line}: not UTF-8 text") from error


def parse_json(text: str, where: str) -> Any:
    """The value of a text in JSON. Raises InputError beginning with `where`, a path and perhaps a line."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = f":{error.lineno}" if error.lineno > 1 else ""
        raise InputError(f"{where}{line}: not valid JSON ({error.msg})") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or of brackets
        raise InputError(f"{where}: not valid JSON ({reason_of(error)})") from error


def read_json(path: Path, form: type[BaseModel] | None = None) -> dict[str, Any] | None:
    """A JSON file's mapping; None if there is no such file.

    form : a model that the mapping must fulfil. Raises InputError, naming the file and the key, if it does not.
    """
    if not path.exists():
        return None
    return as_mapping(parse_json(read_text(path), str(path)), str(path), form)


def as_mapping(value: Any, where: str, form: type[BaseModel] | None = None) -> dict[str, Any]:
    """`value` as it is if it is a mapping of `form`; raises InputError beginning with `where` if it is not."""
    if not isinstance(value, dict):
        raise InputError(f"{where}: a mapping of names to values was expected, not {kind_of(value)}")
    if form is not None:
        from pydantic import ValidationError

        try:
            form.model_validate(value)
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            key = ".".join(map(str, fault["loc"]))
            raise InputError(f"{where}: {key}: {fault['msg'].removeprefix('Value error, ')}") from error
    return value


def kind_of(value: Any) -> str:
    """What a value read from a file is, in words."""
    kinds = {list: "a list", dict: "a mapping", str: "text", bool: "true or false", type(None): "nothing"}
    return kinds.get(type(value), "a number" if isinstance(value, int | float) else f"a {type(value).__name__}")


def read_table(path: Path, columns: Sequence[str] = ()) -> pd.DataFrame:
    """A CSV file, all cells as text.

    Raises InputError, naming the file, if it is no table or lacks one of `columns`.
    """
    return parse_table(read_bytes(path), str(path), columns)


def parse_table(data: bytes, path: str, columns: Sequence[str] = (), others: bool = True) -> pd.DataFrame:
    """The bytes of a CSV file as a table, all cells as text. Raises InputError, beginning with `path`, as above.

    others : whether to read the columns besides `columns`, too.
    """
    import io

    import pandas as pd

    text = as_text(data, path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # otherwise an overlong line is cut
            wanted = None if others else lambda name: name in columns
            table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False, index_col=False, usecols=wanted)
    except pd.errors.EmptyDataError as error:
        raise InputError(f"{path}: is empty, where a table in CSV was expected") from error
    except Exception as error:  # pandas' parser has errors of several kinds for what is no table
        raise InputError(f"{path}: not a table in CSV ({reason_of(error)})") from error
    table.columns = table.columns.astype(str)
    if missing := [name for name in columns if name not in table]:
        raise InputError(f"{path}: lacks the column {', '.join(missing)}")
    return table.fillna("")


def plain_columns(path: Path) -> set[str]:
    """The columns of a CSV file that is so plain that `read_table` can read it; none if only reading it would tell.

    Its lines have as many cells as there are columns, none of which is quoted. Much faster than making a table of it.
    Raises InputError, naming the file, if it cannot be read, or is no text.
    """
    text = read_text(path)
    first, *lines = text.removesuffix("\n").split("\n")
    columns = first.split(",")
    named = all(column.strip() for column in columns) and len({*columns}) == len(columns)  # pandas skips a blank line
    unusual = not lines or not named or any(sign in text for sign in '"\r\0')
    return set() if unusual or {line.count(",") for line in lines} != {len(columns) - 1} else set(columns)


def read_arrays(path: Path, names: Sequence[str], optional: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Arrays of a .npz file by name, never unpickled, those in `optional` if they are there; others are not read.

    Raises InputError, naming the file, for anything else.
    """
    import numpy as np

    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as stored:
            return {name: np.asarray(stored[name]) for name in (*names, *(n for n in optional if n in stored))}
    except IsADirectoryError as error:
        raise InputError(f"{path}: a folder, where a file was expected") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or reason_of(error)})") from error
    except KeyError as error:
        raise InputError(f"{path}: lacks an array ({', '.join(names)} were expected)") from error
    except (Exception, MemoryError) as error:  # zip, zlib, numpy's own parser: each has its kinds of errors for damage
        raise InputError(f"{path}: not a readable .npz file ({reason_of(error)})") from error
