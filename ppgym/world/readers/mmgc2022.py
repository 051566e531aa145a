"""The files of the MMGC 2022 challenge "Short Video Streaming", and of any folder with the same layout.

    short_video_size/VIDEO/video_size_RUNG   bytes of a video's 1-s chunks at 750, 1200 and 1850 kbit/s, one a line
    user_ret/VIDEO                           rows of `second share`: the share of viewers who watch at least so long
    network_traces/CLASS/N                   rows of `second Mbit/s`: the rate that *ends* at this second

Source of the layout: github.com/AItransCompetition/Short-Video-Streaming-Challenge. ppgym holds none of its data.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ppgym.world.readers.rows import read_rows

RUNGS = 3


class RetentionRow(NamedTuple):
    """One row of a retention table.

    Attributes:
        where: File and line, for messages.
        second: Time in seconds, as the file writes it.
        share: Share of viewers, as the file writes it.
    """

    where: str
    second: str
    share: str


def folder_entries(folder: Path) -> Iterator[Path]:
    """The files and folders in a folder, without hidden ones.

    Raises:
        FileNotFoundError: No such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: no such folder; expected the layout of the MMGC 2022 challenge with the folders "
            "short_video_size, user_ret and network_traces"
        )
    return (entry for entry in folder.iterdir() if not entry.name.startswith("."))


def read_chunk_bytes(folder: Path) -> npt.NDArray[np.int64]:
    """The sizes of a video's chunks.

    Args:
        folder: Folder of the video.

    Returns:
        int64 [rungs, C], bytes.

    Raises:
        FileNotFoundError: A rung's file is missing.
        ValueError: A line that is not a size, or rungs with different numbers of chunks.
    """
    rungs: list[list[int]] = []
    for rung in range(RUNGS):
        path = folder / f"video_size_{rung}"
        rungs.append([])
        for row in read_rows(path):
            text = " ".join(row.cells)
            if len(row.cells) > 1 or (size := row.whole(0, "a whole number of bytes above 0")) == 0:
                raise ValueError(f"{row.where}: expected a whole number of bytes above 0, got {text!r}")
            rungs[-1].append(size)
        if len(rungs[-1]) != len(rungs[0]):
            raise ValueError(f"{path}: expected {len(rungs[0])} chunks as in video_size_0, got {len(rungs[-1])}")
    return np.array(rungs, dtype=np.int64)


def read_retention(path: Path) -> list[RetentionRow]:
    """The rows of a retention table.

    Args:
        path: The file.

    Returns:
        Rows with rising times and shares within [0, 1] that never rise.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not such a table; names file, line, value and what was expected.
    """
    table: list[RetentionRow] = []
    for row in read_rows(path):
        row.expect("second value")
        time_s = row.number(0, "a time in seconds")
        second, share = row.cells
        try:
            value = float(share)
        except ValueError:
            value = math.nan
        if not 0 <= value <= 1:
            raise ValueError(f"{row.where}: expected a probability within [0, 1], got {share!r}")
        if table and time_s <= float(table[-1].second):
            raise ValueError(f"{row.where}: expected a time above {table[-1].second} s, got {second}")
        if table and value > float(table[-1].share):
            raise ValueError(f"{row.where}: expected at most {table[-1].share}, the value before it, got {share}")
        table.append(RetentionRow(row.where, second, share))
    return table


def trace_files(folder: Path) -> list[Path]:
    """The files of a class of network traces, in the order of their numbers.

    Args:
        folder: Folder of the class.

    Returns:
        At least one file.

    Raises:
        FileNotFoundError: No such folder, or an empty one.
        ValueError: A file that is not named by a number.
    """
    files = list(folder_entries(folder))
    for file in files:
        if not file.name.isdecimal():
            raise ValueError(f"{file}: expected trace files named by whole numbers, such as {folder / '0'}")
    if not files:
        raise FileNotFoundError(f"{folder}: expected trace files named 0, 1, ..., got none")
    return sorted(files, key=lambda file: int(file.name))


def read_trace(path: Path) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The rows of a network trace.

    Args:
        path: The file.

    Returns:
        float64 [T] seconds that never fall, and float64 [T] Mbit/s.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not such a trace, or one that carries no byte after its first row.
    """
    stamps_s: list[float] = []
    rates_mbps: list[float] = []
    for row in read_rows(path):
        row.expect("seconds Mbit/s")
        stamp_s = row.number(0, "seconds")
        if stamps_s and stamp_s < stamps_s[-1]:
            raise ValueError(f"{row.where}: expected a time of at least {stamps_s[-1]:g} s, got {row.cells[0]}")
        stamps_s.append(stamp_s)
        rates_mbps.append(row.number(1, "Mbit/s"))
    if not np.any(np.array(rates_mbps[1:]) * np.diff(stamps_s) > 0):
        raise ValueError(f"{path}: expected a trace that carries bytes after its first row, got none that does")
    return np.array(stamps_s), np.array(rates_mbps)
