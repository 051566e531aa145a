"""Which format a file has: by its first characters, its header, and how many columns it has.

Nothing is guessed. Where a file may be two things, an error says how to name the one that it is.
"""

import re
import statistics
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path

from ppgym.files import suggest
from ppgym.world.readers import hsdpa, kuai, mahimahi, oboe, pensieve, retention, sabre, swipes
from ppgym.world.readers.columns import Columns, read_columns
from ppgym.world.readers.rows import DELIMITERS, Row, read_table
from ppgym.world.readers.steps import MAX_RATE_BPS, Steps
from ppgym.world.readers.text import plain_number, read_beginning, read_json_value, read_lines, read_text

TRACE_FORMATS = {
    "seconds_mbps": "two columns, seconds and Mbit/s (Pensieve, MMGC 2022)",
    "milliseconds_kbps": "two columns, milliseconds and kbit/s (Oboe)",
    "mahimahi": "one column, milliseconds of packets (Mahimahi)",
    "six_columns": "six columns (Norway HSDPA, Ghent 4G)",
    "csv": "columns by name (CSV; Irish 4G and 5G logs)",
    "sabre": "JSON list of durations and rates (sabre)",
}
OTHER_FORMATS = {
    "retention": "retention table, rows of second and share",
    "swipes": "swipe density, probability mass for each second",
    "viewer_log": "log of views (KuaiRand, KuaiRec)",
    "video_sizes": "chunk sizes of a video (Pensieve, MMGC 2022)",
    "dash": "DASH manifest",
    "hls": "HLS playlist",
    "json": "JSON",
    "yaml": "YAML",
}

LOOKED_AT = 1000  # rows, for a decision
_HEADINGS = {pensieve.COLUMNS.lower(): "seconds_mbps", oboe.COLUMNS.lower(): "milliseconds_kbps"}
_COLUMNS = {1: "mahimahi", 6: "six_columns"}
_SIZES_NAME = re.compile(r"video_size_\d+")


def read_steps(path: Path, format: str = "auto", columns: Columns | None = None) -> Steps:
    """Read a network trace of any format.

    Args:
        path: The file, packed by gzip or not.
        format: One of `TRACE_FORMATS`, or "auto".
        columns: Which columns of a file of format "csv" make the trace.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not such a trace; names file, line, value and what was expected.
    """
    if format != "auto" and format not in TRACE_FORMATS:
        raise ValueError(f"unknown trace format {format!r}; {suggest(format, (*TRACE_FORMATS, 'auto'))}")
    if columns is not None and format == "auto":
        format = "csv"
    if format == "auto":
        format = trace_format_of(path)
    readers = {
        "seconds_mbps": pensieve.read_seconds_mbps,
        "milliseconds_kbps": oboe.read_milliseconds_kbps,
        "mahimahi": mahimahi.read_mahimahi,
        "six_columns": hsdpa.read_six_columns,
        "sabre": sabre.read_sabre,
    }
    steps = read_columns(path, columns) if format == "csv" else readers[format](path)
    if not steps.rates_bps.any():
        raise ValueError(f"{path}: every rate is 0, expected one above 0")
    if steps.rates_bps.max() > MAX_RATE_BPS:
        raise ValueError(f"{path}: expected rates of at most {MAX_RATE_BPS:g} bit/s, got {steps.rates_bps.max():g}")
    return steps


def trace_format_of(path: Path) -> str:
    """The format of a network trace.

    Raises:
        FileNotFoundError: No such file.
        ValueError: It looks like something else, or like two formats.
    """
    if (found := _by_first_character(path)) is None:
        rows = first_rows(path)
        found = _two_columns(path, rows) if len(rows[0].cells) == 2 else _by_rows(path, rows)
    if found not in TRACE_FORMATS:
        known = "; ".join(TRACE_FORMATS.values())
        raise ValueError(f"{path}: looks like {OTHER_FORMATS.get(found, found)}; known formats of traces are: {known}")
    return found


def format_of(path: Path) -> str:
    """The format of any file.

    Returns:
        A key of `TRACE_FORMATS` or `OTHER_FORMATS`, or words that say what the file looks like.

    Raises:
        FileNotFoundError: No such file.
        ValueError: The file is empty, not UTF-8 text, or looks like traces of two formats.
    """
    if (found := _by_first_character(path)) is not None:
        return found
    rows = first_rows(path)
    if len(rows[0].cells) > 2 or plain_number(rows[0].cells[-1]) is None:
        return _by_rows(path, rows)
    if swipes.is_density(rows):
        return "swipes"
    if len(rows[0].cells) == 1:
        return _by_rows(path, rows)
    return "retention" if retention.is_retention(rows) else _two_columns(path, rows)


def _by_first_character(path: Path) -> str | None:
    """What the beginning of a file says; None for rows of columns."""
    if path.suffix in (".yml", ".yaml"):
        return "yaml"
    first = read_beginning(path)
    if first.startswith("#EXTM3U"):
        return "hls"
    if first.startswith("<"):
        return "dash" if "<MPD" in read_text(path) else "XML"
    if first.startswith(("{", "[")):
        return "sabre" if sabre.is_sabre(read_json_value(path)) else "json"
    if found := _HEADINGS.get(first.partition("\n")[0].lstrip("#").strip().lower()):
        return found
    if _SIZES_NAME.fullmatch(path.name.removesuffix(".gz")):
        return "video_sizes"
    return None


def first_rows(path: Path) -> list[Row]:
    """The first rows of a file, without comments, cut at white space.

    Raises:
        FileNotFoundError: No such file.
        ValueError: The file is empty or not UTF-8 text.
    """
    kept = (Row(path, number, line.split()) for number, line in read_lines(path))
    rows = list(islice((row for row in kept if row.cells and not row.cells[0].startswith("#")), LOOKED_AT))
    if not rows:
        raise ValueError(f"{path}: the file is empty")
    return rows


def _by_rows(path: Path, rows: list[Row]) -> str:
    cells = rows[0].cells
    if any(plain_number(cell) is not None for cell in cells):
        return _COLUMNS.get(len(cells), f"rows of {len(cells)} columns")
    if any(delimiter in " ".join(cells) for delimiter in DELIMITERS) or "\t" in _line(path, rows[0].line):
        if all(plain_number(cell) is not None for cell in re.split("[,;]", "".join(cells))):
            return "CSV without a header that names its columns"
        return "viewer_log" if kuai.is_log(read_table(path).names) else "csv"
    return "text"


def _line(path: Path, wanted: int) -> str:
    return next(line for number, line in read_lines(path) if number == wanted)


def _two_columns(path: Path, rows: list[Row]) -> str:
    """Seconds and Mbit/s, or milliseconds and kbit/s."""
    if plain_number(rows[0].cells[0]) is None and plain_number(rows[0].cells[1]) is None:
        return _by_rows(path, rows)
    step, rate = _step_and_rate(pairs := list(_numbers(rows)))
    if found := units_of(pairs):
        return found
    raise ValueError(
        f"{path}: two columns with steps of {step:g} and rates of {rate:g} may be {pensieve.COLUMNS} or "
        f"{oboe.COLUMNS}; name the format (seconds_mbps or milliseconds_kbps), or write '# {pensieve.COLUMNS}' or "
        f"'# {oboe.COLUMNS}' as the first line"
    )


def units_of(pairs: Sequence[tuple[float, float]]) -> str | None:
    """The format of rows of two numbers, by steps and rates that leave no doubt.

    Args:
        pairs: The rows, or the first `LOOKED_AT` of them.

    Returns:
        "seconds_mbps" or "milliseconds_kbps"; None where there is a doubt.
    """
    step, rate = _step_and_rate(pairs)
    # As milliseconds these would be samples faster than any log, or rates below 10 kbit/s
    if (step <= 10 and rate < 1000) or (step <= 60 and rate < 10):
        return "seconds_mbps"
    # As seconds these would be samples of a minute of more than 1 Gbit/s, or of eight minutes of more than 50 Mbit/s
    if (step >= 50 and rate >= 1000) or (step >= 500 and rate >= 50):
        return "milliseconds_kbps"
    return None


def _step_and_rate(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The median step of the first numbers, and the median of the second ones."""
    steps = (after - before for (before, _), (after, _) in pairwise(pairs))
    return _median(steps), _median(rate for _, rate in pairs[1:])


def _numbers(rows: list[Row]) -> Iterator[tuple[float, float]]:
    """The rows up to the first one that is not two numbers, which the reader will name."""
    for row in rows:
        values = [plain_number(cell) for cell in row.cells]
        if len(values) != 2 or values[0] is None or values[1] is None:
            return
        yield values[0], values[1]


def _median(values: Iterable[float]) -> float:
    """The median of those above 0; 0 where there is none."""
    return statistics.median([value for value in values if value > 0] or [0.0])
