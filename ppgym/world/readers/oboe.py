"""Network traces of Oboe: rows of `milliseconds kbit/s`.

A row's rate holds over the interval that ends at its stamp. Source of the layout: github.com/USC-NSL/Oboe, folder
traces.
"""

from pathlib import Path

from ppgym.world.readers.rows import Row, read_rows
from ppgym.world.readers.steps import Sample, Steps, steps_from_samples

COLUMNS = "milliseconds kbit/s"


def read_milliseconds_kbps(path: Path) -> Steps:
    """Read a trace.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not such a trace; names file, line, value and what was expected.
    """

    def sample(row: Row) -> Sample:
        row.expect(COLUMNS)
        return Sample(row, row.number(0, "milliseconds"), row.number(1, "kbit/s") * 1e3)

    return steps_from_samples(map(sample, read_rows(path)), units_per_s=1e3)
