"""Network traces in files of separated values with a header: any columns by name, and the Irish 4G and 5G logs.

A row's rate holds over the interval that ends at its stamp. Stamps are numbers of a unit, or dates: ISO 8601, or
`2019.11.28_07.27.58` as G-NetTrack writes them.

Sources of the Irish logs' layout, `Timestamp,...,DL_bitrate` in kbit/s: Raca et al., "Beyond throughput: a 4G LTE
dataset with channel and context metrics", MMSys 2018, and "Beyond throughput, the next generation: a 5G dataset",
MMSys 2020.
"""

import statistics
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from ppgym.files import suggest
from ppgym.world.readers.rows import Row, read_table
from ppgym.world.readers.steps import Sample, Steps, steps_from_samples
from ppgym.world.readers.text import MAX_LINES, plain_number

RATE_UNITS = {
    "bit/s": 1.0,
    "kbit/s": 1e3,
    "Mbit/s": 1e6,
    "Gbit/s": 1e9,
    "bytes/s": 8.0,
    "kbytes/s": 8e3,
    "Mbytes/s": 8e6,
}
TIME_UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6}  # of which a second has so many

LONGEST_STEP_S = 10.0  # that numbers without a unit may have to be seconds
GNETTRACK = "%Y.%m.%d_%H.%M.%S"


class Columns(NamedTuple):
    """Which columns of a file make the trace.

    Attributes:
        time: Name of the column of stamps.
        rate: Name of the column of rates.
        rate_unit: One of `RATE_UNITS`.
        time_unit: One of `TIME_UNITS`; None for dates, and for numbers that can only be seconds.
    """

    time: str
    rate: str
    rate_unit: str
    time_unit: str | None = None


IRISH = Columns("Timestamp", "DL_bitrate", "kbit/s")


def is_irish(names: list[str]) -> bool:
    """Whether a header is that of the Irish logs."""
    return IRISH.time in names and IRISH.rate in names


def read_columns(path: Path, columns: Columns | None = None) -> Steps:
    """Read a trace.

    Args:
        path: The file.
        columns: Which; those of the Irish logs where they are not given.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not such a trace, an unknown column or unit, or stamps whose unit must be named.
    """
    table = read_table(path)
    if columns is None:
        if not is_irish(table.names):
            raise ValueError(
                f"{path}: which columns make the trace? Name time column, rate column and rate unit "
                f"({', '.join(RATE_UNITS)}); columns: {', '.join(table.names)[:500]}"
            )
        columns = IRISH
    for unit, known in ((columns.rate_unit, RATE_UNITS), (columns.time_unit or "s", TIME_UNITS)):
        if unit not in known:
            raise ValueError(f"unknown unit {unit!r}; {suggest(unit, known)}")
    time, rate = table.column(columns.time), table.column(columns.rate)
    bps = RATE_UNITS[columns.rate_unit]
    samples: list[Sample] = []
    has_numbers: bool | None = None  # as stamps, or dates
    for row in table.rows:
        is_number = plain_number(row.cells[time]) is not None
        stamp = row.number(time, "a stamp") if is_number else _seconds_of_date(row, row.cells[time])
        if has_numbers not in (None, is_number):
            raise ValueError(f"{row.where}: expected a stamp like those before it, got {row.cells[time][:50]!r}")
        has_numbers = is_number
        samples.append(Sample(row._replace(cells=[]), stamp, row.number(rate, columns.rate_unit) * bps))
        if len(samples) > MAX_LINES:
            raise ValueError(f"{path}: expected at most {MAX_LINES:,} lines, got more")
    if not samples:
        raise ValueError(f"{path}: expected rows after the header, got none")
    if has_numbers and columns.time_unit is None:
        _check_seconds(path, columns.time, samples)
    return steps_from_samples(samples, TIME_UNITS[columns.time_unit or "s"] if has_numbers else 1.0)


def _check_seconds(path: Path, name: str, samples: list[Sample]) -> None:
    """Refuse numbers without a unit that may be something else than seconds."""
    step_s = statistics.median(after.stamp - before.stamp for before, after in pairwise(samples)) if samples[1:] else 0
    if step_s > LONGEST_STEP_S:
        raise ValueError(
            f"{path}: column {name!r} rises by {step_s:g} from row to row; name its unit ({', '.join(TIME_UNITS)})"
        )


def _seconds_of_date(row: Row, text: str) -> float:
    try:
        if not text.isascii():
            raise ValueError
        date = datetime.strptime(text, GNETTRACK) if "_" in text else datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{row.where}: expected a stamp, a number or a date such as 2019-11-28T07:27:58, got {text[:50]!r}"
        ) from None
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
