"""Where the data files lie, how files are read, checked and compared, and how they are written whole or not at all.

What a file *means* is decided by the module that owns its format, not here.
"""

import contextlib
import difflib
import gzip
import json
import math
import os
import re
import reprlib
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

MAX_BYTES = 64 * 2**20  # of a file that is read whole
MAX_LINE_BYTES = 8 * 2**20  # of a line of JSON
MAX_LINES_BYTES = 2**30  # of a file of lines of JSON, unpacked
MAX_DEPTH = 50  # of nesting
MAX_DIGITS = 300  # of a whole number, so that a float holds it

TOLERANCE = 1e-9  # relative, and absolute below 1: another version of NumPy may add up in another order


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


def read_text(path: Path, max_bytes: int = MAX_BYTES) -> str:
    """A text file's content.

    Args:
        path: The file.
        max_bytes: That it may have.

    Raises:
        FileNotFoundError: No such file.
        ValueError: The file is empty, too large or not UTF-8 text.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if (size := path.stat().st_size) > max_bytes:
        raise ValueError(f"{path}: expected at most {max_bytes} bytes, got {size}")
    with path.open("rb") as file:
        data = file.read(max_bytes)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 text, got the byte {error.object[error.start]:#04x}") from error
    if not text.strip():
        raise ValueError(f"{path}: the file is empty")
    return text


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file as a whole: a reader sees the old content or the new one, never a part.

    Args:
        path: The file; its folder is made where it is missing.

    Yields:
        The path to write to, `.NAME.PID` beside `path`. That file takes the place of `path` at the end, or is deleted
        where an error is raised; a process that is killed at once leaves it behind.

    Raises:
        OSError: It cannot be written; names the file.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OSError(error.errno, f"cannot be written: {error.strerror or error}", str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def check_free(folder: Path, names: Iterable[str]) -> None:
    """Refuse to write over files. Nothing is written here.

    Args:
        folder: Where they would be written; it may be missing.
        names: Of the files.

    Raises:
        ValueError: It is no folder, or holds one of them.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder}: expected a folder")
    for name in names:
        if (folder / name).exists():
            raise ValueError(f"{folder / name}: is here already; choose another folder, or delete it")


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes as `replacing` does."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write a text as `replacing` does, in UTF-8."""
    write_bytes(path, text.encode())


def write_between(path: Path, begin: str, end: str, text: str) -> None:
    """Write what a command makes into a page, in place of what stands between two marks.

    Args:
        path: Of the page.
        begin: First mark, with its end of line.
        end: Second mark, with its end of line.
        text: What shall stand between them.

    Raises:
        FileNotFoundError: No such file.
        ValueError: A mark is missing, or there twice.
    """
    page = read_text(path)
    if page.count(begin) != 1 or page.count(end) != 1:
        raise ValueError(f"{path}: expected the lines {begin.strip()!r} and {end.strip()!r} once each")
    before, rest = page.split(begin)
    write_text(path, before + begin + text + end + rest.split(end)[1])


def write_json(path: Path, content: Any) -> None:
    """Write JSON, indented for people, as `replacing` does."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """A file's JSON object.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not JSON, or not an object.
    """
    content = parse_json(read_text(path), str(path))
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(content).__name__}")
    return content


def parse_json(text: str, where: str, line: int = 1) -> Any:
    """What a JSON text says.

    Args:
        text: The text.
        where: Its file, for the message.
        line: Number of its first line.

    Raises:
        ValueError: Not JSON, nested deeper than `MAX_DEPTH`, a whole number of more than `MAX_DIGITS` digits, or an
            object has a key twice, of which others would read the one or the other.
    """
    if text.count("[") + text.count("{") > MAX_DEPTH and (number := _deep_line(text)) is not None:
        raise ValueError(
            f"{where}, line {line + number}: expected JSON that can be read: at most {MAX_DEPTH} levels of nesting"
        )
    parse_int = _checked_int if _LONG_NUMBER.search(text) else int
    try:
        return json.loads(text, object_pairs_hook=_distinct, parse_int=parse_int)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}, line {line + error.lineno - 1}: expected JSON: {error.msg}") from error
    except OverflowError as error:
        number = line + text.count("\n", 0, text.index(str(error)))
        raise ValueError(
            f"{where}, line {number}: expected JSON that can be read: whole numbers of at most {MAX_DIGITS} digits"
        ) from None
    except KeyError:
        key, place = _doubled_key(text)
        number = line + text.count("\n", 0, place)
        raise ValueError(f"{where}, line {number}: key {key!r} stands twice in one object; expected it once") from None


_LONG_NUMBER = re.compile(rf"\d{{{MAX_DIGITS + 1}}}")  # or a part of a text: then each number is checked
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[\]{}\n]')


def _checked_int(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise OverflowError(digits)
    return int(digits)


def _deep_line(text: str) -> int | None:
    """The number of the line, from 0, in which a text is nested too deep; None where it is not."""
    depth = lines = 0
    for token in _TOKEN.finditer(text):
        first = token[0][0]
        depth += (first in "[{") - (first in "]}")
        lines += first == "\n"
        if depth > MAX_DEPTH:
            return lines
    return None


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # The same words of many objects are held once
    found = {sys.intern(key): sys.intern(value) if type(value) is str else value for key, value in pairs}
    if len(found) < len(pairs):
        raise KeyError
    return found


def _doubled_key(text: str) -> tuple[str, int]:
    """The first key that its object has already, and its place in the text."""
    objects: list[set[str]] = []
    for token in re.finditer(r'"(?:[^"\\]|\\.)*"(\s*:)?|[{}]', text):
        if token[0] == "{":
            objects.append(set())
        elif token[0] == "}":
            objects.pop()
        elif token[1] is not None:
            key = json.loads(token[0].removesuffix(token[1]))
            if key in objects[-1]:
                return key, token.start()
            objects[-1].add(key)
    raise AssertionError("expected a key that stands twice in one object")


def write_json_lines(path: Path, objects: Iterable[Mapping[str, Any]], packed: bool = False) -> None:
    """Write one JSON object a line; the same objects give the same bytes.

    Args:
        path: ``.../NAME.jsonl``.
        objects: The objects.
        packed: Whether to write ``NAME.jsonl.gz`` instead. The other of the two files is deleted.
    """
    data = "".join(f"{json.dumps(one)}\n" for one in objects).encode()
    packed_path = path.with_name(f"{path.name}.gz")
    if packed:
        write_bytes(packed_path, gzip.compress(data, mtime=0))
        path.unlink(missing_ok=True)
    else:
        write_bytes(path, data)
        packed_path.unlink(missing_ok=True)


def read_json_lines(path: Path, required: Iterable[str] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
    """The JSON objects of a file that holds one a line.

    Args:
        path: ``.../NAME.jsonl``; ``NAME.jsonl.gz`` beside it is read where it is the only one of the two.
        required: Keys that every object has.

    Yields:
        Where an object is, as ``FILE, line N``, and the object.

    Raises:
        FileNotFoundError: Neither file exists.
        ValueError: Both exist, a file that cannot be unpacked or is too large, a line that is too long or no JSON
            object, or a key is missing.
    """
    names = path.name, f"{path.name}.gz"
    found = [each for each in map(path.with_name, names) if each.is_file()]
    if not found:
        raise FileNotFoundError(f"{path.parent}: expected a file {' or '.join(names)} in this folder")
    if len(found) > 1:
        raise ValueError(f"{path.parent}: holds both {' and '.join(names)}; expected one of them")
    for number, line in enumerate(_lines(found[0]), 1):
        where = f"{found[0]}, line {number}"
        try:
            text = line.decode().rstrip()
        except UnicodeDecodeError as error:
            raise ValueError(f"{where}: expected UTF-8 text, got the byte {line[error.start]:#04x}") from error
        content = parse_json(text, str(found[0]), number)
        if not isinstance(content, dict):
            raise ValueError(f"{where}: expected a JSON object, got {type(content).__name__}")
        for key in required:
            if key not in content:
                raise ValueError(f"{where}: expected a record with a key {key!r}")
        yield where, content


def _lines(path: Path) -> Iterator[bytes]:
    """The lines of a file, unpacked, no more of them than `MAX_LINES_BYTES`."""
    opener: Any = gzip.open if path.suffix == ".gz" else open
    number = size = 0
    try:
        with opener(path, "rb") as file:
            while line := file.readline(MAX_LINE_BYTES + 1):
                number, size = number + 1, size + len(line)
                if len(line) > MAX_LINE_BYTES:
                    raise ValueError(f"{path}, line {number}: expected at most {MAX_LINE_BYTES:,} bytes, got more")
                if size > MAX_LINES_BYTES:
                    raise ValueError(f"{path}: expected at most {MAX_LINES_BYTES:,} bytes when unpacked, got more")
                yield line
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}, line {number + 1}: expected a file that gzip can unpack: {error}") from error


def agree(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same, numbers up to `TOLERANCE`."""
    return next(differences(one, other), None) is None


def differences(stated: Any, made: Any, place: str = "") -> Iterator[str]:
    """Where two JSON values differ: missing and surplus keys and entries, and values; numbers up to `TOLERANCE`.

    Args:
        stated: What a file says.
        made: What it should say.
        place: Of both, for the message.

    Yields:
        Lines such as "rows[2].qoe: 50.0, expected 36.3".
    """
    if isinstance(stated, dict) and isinstance(made, dict):
        dot = "." if place else ""
        for key in made.keys() - stated.keys():
            yield f"{place}{dot}{key}: missing"
        for key, value in stated.items():
            if key in made:
                yield from differences(value, made[key], f"{place}{dot}{key}")
            else:
                yield f"{place}{dot}{key}: surplus"
    elif isinstance(stated, list) and isinstance(made, list):
        if len(stated) != len(made):
            yield f"{place}: {len(stated)} entries, expected {len(made)}"
        for number, pair in enumerate(zip(stated, made, strict=False)):
            yield from differences(*pair, f"{place}[{number}]")
    elif type(stated) in (int, float) and type(made) in (int, float):
        if not math.isclose(stated, made, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            yield f"{place}: {stated!r}, expected {made!r}"
    elif type(stated) is not type(made) or stated != made:
        yield f"{place}: {reprlib.repr(stated)}, expected {reprlib.repr(made)}"


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
