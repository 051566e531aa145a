"""Network traces of Mahimahi: one line for each packet of 1500 bytes that the link can deliver.

A line is a stamp in whole milliseconds; the trace wraps at the last one. Source of the layout:
github.com/ravinet/mahimahi, folder traces, where NAME.up and NAME.down are the two directions of one link.
"""

from pathlib import Path

import numpy as np

from ppgym.world.readers.rows import read_rows
from ppgym.world.readers.steps import Steps, check_duration

PACKET_BITS = 1500 * 8
SAMPLE_MS = 500


def read_mahimahi(path: Path) -> Steps:
    """Read a trace, counting packets per half second; the last count ends at the last stamp.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not such a trace; names file, line, value and what was expected.
    """
    stamps_ms: list[int] = []
    for row in read_rows(path):
        row.expect("milliseconds")
        stamp_ms = row.whole(0, "a whole number of milliseconds >= 0")
        if stamps_ms and stamp_ms < stamps_ms[-1]:
            raise ValueError(f"{row.where}: expected a stamp of {stamps_ms[-1]} ms or later, got {stamp_ms}")
        check_duration(row, stamp_ms / 1e3)
        stamps_ms.append(stamp_ms)
    if stamps_ms[-1] == 0:
        raise ValueError(f"{row.where}: expected a last stamp after 0 ms, where the trace wraps")
    edges_ms = np.append(np.arange(0, stamps_ms[-1], SAMPLE_MS), stamps_ms[-1])
    packets, _ = np.histogram(stamps_ms, bins=edges_ms)
    return Steps(edges_ms / 1e3, packets * PACKET_BITS / np.diff(edges_ms / 1e3))
