"""A video's chunk sizes as files `video_size_0`, `video_size_1` and so on, lowest rung first: bytes, a number a line.

Six files are Pensieve's (github.com/hongzimao/pensieve, folder sim): chunks of 4 s at 300 to 4300 kbit/s. Three are the
MMGC 2022 challenge's: chunks of 1 s at 750 to 1850 kbit/s. Of other ladders, bitrates and seconds must be given.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from ppgym.world.readers.rows import read_rows
from ppgym.world.readers.video_sizes import MAX_RUNGS, Rung, VideoSizes, sizes_of_rungs

LAYOUTS = {
    6: (4.0, (300e3, 750e3, 1200e3, 1850e3, 2850e3, 4300e3)),  # Pensieve
    3: (1.0, (750e3, 1200e3, 1850e3)),  # MMGC 2022
}
_NAME = re.compile(r"video_size_(\d{1,3})(\.gz)?")


def is_video_folder(folder: Path) -> bool:
    """Whether a folder holds such files."""
    return (folder / "video_size_0").is_file() or (folder / "video_size_0.gz").is_file()


def read_video_sizes(
    folder: Path, bitrates_bps: Sequence[float] | None = None, chunk_s: float | None = None
) -> VideoSizes:
    """Read a video.

    Args:
        folder: Of its files.
        bitrates_bps: Labels of the rungs, as many as there are files; those of the layout by default.
        chunk_s: Seconds of every chunk; those of the layout by default.

    Raises:
        FileNotFoundError: No such folder, or a rung's file is missing.
        ValueError: A line that is not a size, an unknown layout, or rungs that do not fit; names file, line, value and
            what was expected.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    files = {int(match[1]): path for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))}
    if not files or sorted(files) != list(range(len(files))) or len(files) > MAX_RUNGS:
        got = ", ".join(files[rung].name for rung in sorted(files)[:MAX_RUNGS]) or "none"
        raise FileNotFoundError(f"{folder}: expected files video_size_0, video_size_1 and so on, got {got}")
    layout = LAYOUTS.get(len(files), (None, None))
    chunk_s, bitrates_bps = chunk_s or layout[0], bitrates_bps or layout[1]
    if chunk_s is None or bitrates_bps is None:
        raise ValueError(
            f"{folder}: expected 6 files (Pensieve) or 3 (MMGC 2022), got {len(files)}; give bitrates and seconds of a "
            "chunk"
        )
    if len(bitrates_bps) != len(files):
        raise ValueError(f"{folder}: expected a bitrate for each of {len(files)} files, got {len(bitrates_bps)}")
    rungs = []
    for rung, bitrate_bps in enumerate(bitrates_bps):
        sizes = []
        for row in read_rows(files[rung]):
            row.expect("bytes")
            sizes.append(row.whole(0, "a whole number of bytes"))
            if sizes[-1] == 0:
                raise ValueError(f"{row.where}: expected a whole number of bytes above 0, got '0'")
        rungs.append(Rung(str(files[rung]), bitrate_bps, (chunk_s,) * len(sizes), tuple(map(float, sizes))))
    return sizes_of_rungs(folder, folder.resolve().name, rungs)
