"""The text of other people's files: packed or not, with a byte order mark or not, and never more of it than expected.

A file that is larger than its bound is refused before it is read, a packed one as soon as it has grown past it.
"""

import codecs
import contextlib
import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from ppgym.files import parse_json

MAX_BYTES = 64 * 2**20  # of a file, packed or not
MAX_JSON_BYTES = 8 * 2**20  # which is up to fifty times as large in memory
MAX_LOG_BYTES = 4 * 2**30  # of a log, which is read line by line
MAX_LINES = 5_000_000
BEGINNING_BYTES = 4096
MAX_LINE_CHARACTERS = 100_000
MAX_DIGITS = 40  # of a number

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_PACKED = b"\x1f\x8b"


def read_text(path: Path, max_bytes: int = MAX_BYTES) -> str:
    """A text file's content, unpacked where it is packed by gzip, without its byte order mark.

    Args:
        path: The file.
        max_bytes: That it may have, packed or not.

    Raises:
        FileNotFoundError: No such file.
        ValueError: The file is empty, too large, not UTF-8 text, or cannot be unpacked.
    """
    with _opened(path, max_bytes) as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ValueError(f"{path}: expected at most {_size(max_bytes)} when unpacked, got more")
    text = _decoded(path, data)
    if not text.strip():
        raise ValueError(f"{path}: the file is empty")
    return text


def read_beginning(path: Path) -> str:
    """The first characters of a file, without white space before them.

    Args:
        path: The file; see `read_text`.

    Raises:
        FileNotFoundError: No such file.
        ValueError: As `read_text`.
    """
    with _opened(path, MAX_LOG_BYTES) as file:
        data = file.read(BEGINNING_BYTES)
    if not data:
        raise ValueError(f"{path}: the file is empty")
    try:
        return codecs.getincrementaldecoder("utf-8-sig")().decode(data).lstrip()
    except UnicodeDecodeError as error:
        raise _not_text(path, error) from error


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a log, one at a time, with their numbers from 1.

    Args:
        path: The file; see `read_text`.

    Raises:
        FileNotFoundError: No such file.
        ValueError: As `read_text`, or a line is too long.
    """
    size = number = 0
    with _opened(path, MAX_LOG_BYTES) as file:
        while line := file.readline(MAX_LINE_CHARACTERS + 1):
            size, number = size + len(line), number + 1
            if len(line) > MAX_LINE_CHARACTERS:
                raise ValueError(
                    f"{path}, line {number}: expected at most {MAX_LINE_CHARACTERS:,} characters, got more"
                )
            if size > MAX_LOG_BYTES:
                raise ValueError(f"{path}: expected at most {_size(MAX_LOG_BYTES)} when unpacked, got more")
            yield number, _decoded(path, line)
    if not number:
        raise ValueError(f"{path}: the file is empty")


@contextlib.contextmanager
def _opened(path: Path, max_bytes: int) -> Iterator[IO[bytes]]:
    """A file's bytes, unpacked."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    size = path.stat().st_size
    if size > max_bytes:
        raise ValueError(f"{path}: expected at most {_size(max_bytes)}, got {_size(size)}")
    with path.open("rb") as raw:
        packed = raw.read(len(_PACKED)) == _PACKED
        raw.seek(0)
        try:
            yield cast(IO[bytes], gzip.open(raw) if packed else raw)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path}: expected a file that gzip can unpack: {error}") from error


def _size(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB" if size >= 2**20 else f"{size / 2**10:,.0f} KiB"


def _decoded(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _not_text(path, error) from error


def _not_text(path: Path, error: UnicodeDecodeError) -> ValueError:
    return ValueError(f"{path}: expected UTF-8 text, got the byte {error.object[error.start]:#04x}")


def read_json_value(path: Path) -> Any:
    """A file's JSON value of any type.

    Args:
        path: The file; see `read_text`.

    Raises:
        FileNotFoundError: No such file.
        ValueError: As `read_text`, or not JSON.
    """
    return parse_json(read_text(path, MAX_JSON_BYTES), str(path))


def plain_number(text: str) -> float | None:
    """The number that a text writes in plain ASCII digits; None where it writes none."""
    return float(text) if len(text) <= MAX_DIGITS and _NUMBER.fullmatch(text) else None


def plain_digits_hint(text: str) -> str:
    """Text for the end of an error message about a number that Python would take and nobody else."""
    try:
        float(text)
    except ValueError:
        return ""
    odd = "_" in text or not text.isascii() or len(text) > MAX_DIGITS
    return f"; write it in at most {MAX_DIGITS} plain digits, such as 1000 or 1.5e3" if odd else ""
