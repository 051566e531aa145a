"""Network traces of six columns: HSDPA in Norway, and 4G in Ghent.

Rows of two clocks, latitude, longitude, bytes received since the row before and milliseconds elapsed since then. The
last two columns make the trace. The clocks are not looked at: in Norway the second one restarts, in Ghent it comes
first.

Sources of the layout: Riiser et al., "Commute path bandwidth traces from 3G networks", MMSys 2013; van der Hooft et
al., "HTTP/2-based adaptive streaming of HEVC video over 4G/LTE networks", IEEE Communications Letters 20(11), 2016.
"""

from pathlib import Path

from ppgym.world.readers.rows import read_rows
from ppgym.world.readers.steps import Steps, check_duration, steps_from_durations

COLUMNS = "clock clock latitude longitude bytes elapsed-ms"


def read_six_columns(path: Path) -> Steps:
    """Read a trace.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not such a trace; names file, line, value and what was expected.
    """
    durations_s: list[float] = []
    rates_bps: list[float] = []
    for row in read_rows(path):
        row.expect(COLUMNS)
        received_bytes = row.number(4, "bytes")
        elapsed_s = row.number(5, "elapsed milliseconds") / 1e3
        if elapsed_s == 0:
            raise ValueError(f"{row.where}: expected elapsed milliseconds above 0, got {row.cells[5]!r}")
        check_duration(row, elapsed_s)
        durations_s.append(elapsed_s)
        rates_bps.append(received_bytes * 8 / elapsed_s)
    check_duration(row, sum(durations_s))
    return steps_from_durations(durations_s, rates_bps)
