"""Where the data files lie, and how text files are read and written whole or not at all.

Helpers shared by the readers of traces, curves, catalogs and device profiles; what a file *means* is
decided by the module that owns its format, not here.
"""

import difflib
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def data_root() -> Path:
    """The folder of the shipped data.

    Returns:
        `ppgym/_data` in an installed wheel, the top-level `traces` in a clone.
    """
    package = Path(__file__).parent
    installed = package / "_data"
    return installed if installed.is_dir() else package.parent / "traces"


def suggest(name: str, known: Iterable[str]) -> str:
    """Text for the end of an error message about an unknown name.

    Args:
        name: What was asked for.
        known: What exists.

    Returns:
        `"did you mean 'low'? known: high, low"`, without the question where nothing is near.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    question = f"did you mean {near[0]!r}? " if near else ""
    return f"{question}known: {', '.join(names)}"


def read_text(path: Path) -> str:
    """A text file's content.

    Raises:
        FileNotFoundError: No such file.
        ValueError: The file is empty or not UTF-8 text.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 text, got the byte {error.object[error.start]:#04x}") from error
    if not text.strip():
        raise ValueError(f"{path}: the file is empty")
    return text


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file as a whole: a reader sees the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text as `write_bytes` does, in UTF-8."""
    write_bytes(path, text.encode())


def read_json(path: Path) -> dict[str, Any]:
    """A file's JSON object.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not JSON, or not an object.
    """
    text = read_text(path)
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {error.lineno}: expected JSON: {error.msg}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(content).__name__}")
    return content


def check_keys(where: str, content: Mapping[str, Any], expected: Iterable[str], schema: str | None = None) -> None:
    """Refuse an object of another schema, or with missing or unknown keys.

    Args:
        where: File (and row) for the message.
        content: Object.
        expected: Its keys besides `schema`, all of them required.
        schema: Required value of its key `schema`, such as `"ppgym-device/1"`; None where it has no such key.

    Raises:
        ValueError: Another schema, or a key is missing or unknown.
    """
    if schema is not None and content.get("schema") != schema:
        raise ValueError(f"{where}: key 'schema': expected {schema!r}, got {content.get('schema')!r}")
    names = [*expected] if schema is None else ["schema", *expected]
    for key in names:
        if key not in content:
            raise ValueError(f"{where}: key {key!r} is missing; expected {', '.join(names)}")
    for key in content:
        if key not in names:
            raise ValueError(f"{where}: unknown key {key!r}; {suggest(key, names)}")


def check_number(where: str, key: str, value: Any, low: float, high: float = math.inf, above: bool = False) -> float:
    """A finite number within bounds.

    Args:
        where: File (and row) for the message.
        key: Name of the value.
        value: What was found.
        low: Smallest value allowed.
        high: Largest value allowed.
        above: Whether `low` itself is refused.

    Returns:
        The number.

    Raises:
        ValueError: Not a number, not finite or out of bounds.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not low <= value <= high or (above and value == low):
        bounds = f"{'above' if above else 'at least'} {low:g}"
        if high < math.inf:
            bounds += f" and at most {high:g}"
        raise ValueError(f"{where}: key {key!r}: expected a number {bounds}, got {value!r}")
    return float(value)


def check_text(where: str, key: str, value: Any) -> str:
    """A text that says something.

    Raises:
        ValueError: Not a string, or blank.
    """
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{where}: key {key!r}: expected a text, got {value!r}")
    return value
