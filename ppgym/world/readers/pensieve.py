"""Network traces of Pensieve ("cooked"), and of the MMGC 2022 challenge: rows of `seconds Mbit/s`.

A row's rate holds over the interval that ends at its stamp. Sources of the layout: github.com/hongzimao/pensieve,
folder sim/cooked_traces, and github.com/AItransCompetition/Short-Video-Streaming-Challenge.
It is ppgym's own format too.
"""

from pathlib import Path

from ppgym.world.readers.rows import Row, read_rows
from ppgym.world.readers.steps import Sample, Steps, steps_from_samples

COLUMNS = "seconds Mbit/s"


def read_seconds_mbps(path: Path) -> Steps:
    """Read a trace.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not such a trace; names file, line, value and what was expected.
    """

    def sample(row: Row) -> Sample:
        row.expect(COLUMNS)
        return Sample(row, row.number(0, "seconds"), row.number(1, "Mbit/s") * 1e6)

    return steps_from_samples(map(sample, read_rows(path)))
