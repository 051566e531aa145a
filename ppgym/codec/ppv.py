"""Files of prompts (`.ppv`): chunks with random access. The page *Container* of the documentation has the format."""

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import overload

import numpy as np

from ppgym.codec.bitstream import CRC_BYTES, PromptChunk, check_magic, crc
from ppgym.codec.sound import MAX_SOUND_BYTES
from ppgym.files import write_bytes

FILE_MAGIC = b"PPV"
VERSION = 1
SOUND_VERSION = 2  # of files that hold sound
MAX_CHUNKS = 1 << 20
FILE_START = struct.Struct("<3sBI")  # magic, version, number of chunks


class PpvFile(Sequence[PromptChunk]):
    """A file of chunks: opening it reads the index alone, indexing it one chunk.

    Attributes:
        path: Of the file.
        sound: A Matroska file of one track (`sound.py`); None where there is none.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Damaged, truncated, followed by other bytes, of another version or no such file; names the file
            and, when it is read, the chunk.
    """

    def __init__(self, path: str | Path) -> None:
        """Read the index.

        Args:
            path: Of the file.
        """
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"{self.path}: no such file")
        size = self.path.stat().st_size
        with self.path.open("rb") as file:
            start = file.read(FILE_START.size)
            version = check_magic(str(self.path), start, FILE_MAGIC, (VERSION, SOUND_VERSION))
            count = FILE_START.unpack(start)[2] if len(start) == FILE_START.size else 0
            entries = count + (version == SOUND_VERSION)  # the last one is the sound, with a CRC-32 of its own
            first = FILE_START.size + 4 * entries + CRC_BYTES
            if not 1 <= count <= MAX_CHUNKS or first > size:
                raise ValueError(
                    f"{self.path}: expected an index of 1 to {MAX_CHUNKS} chunks, got {count} in {size} bytes"
                )
            index = file.read(4 * entries)
            if file.read(CRC_BYTES) != crc(start + index):
                raise ValueError(f"{self.path}: damaged: the CRC-32 of its index does not match")
        self._offsets = np.cumsum([first, *np.frombuffer(index, dtype="<u4").tolist()]).tolist()
        if self._offsets[-1] != size:
            raise ValueError(f"{self.path}: expected {self._offsets[-1]} bytes by its index, got {size}")
        self.sound = self._read_sound(self._offsets.pop(-2)) if version == SOUND_VERSION else None

    def _read_sound(self, start: int) -> bytes:
        size = self._offsets[-1] - start
        self._offsets[-1] = start
        if not CRC_BYTES < size <= MAX_SOUND_BYTES + CRC_BYTES:
            raise ValueError(f"{self.path}: expected 1 to {MAX_SOUND_BYTES} bytes of sound, got {size - CRC_BYTES}")
        with self.path.open("rb") as file:
            file.seek(start)
            data = file.read(size)
        if crc(data[:-CRC_BYTES]) != data[-CRC_BYTES:]:
            raise ValueError(f"{self.path}: damaged: the CRC-32 of its sound does not match")
        return data[:-CRC_BYTES]

    def __len__(self) -> int:
        """Chunks."""
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, index: int) -> PromptChunk: ...

    @overload
    def __getitem__(self, index: slice) -> list[PromptChunk]: ...

    def __getitem__(self, index: int | slice) -> PromptChunk | list[PromptChunk]:
        """Read a chunk, or a list of them."""
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        k = range(len(self))[index]
        with self.path.open("rb") as file:
            file.seek(self._offsets[k])
            data = file.read(self._offsets[k + 1] - self._offsets[k])
        try:
            return PromptChunk.from_bytes(data)
        except ValueError as error:
            raise ValueError(f"{self.path}, chunk {k}: {error}") from error


def write_ppv(path: str | Path, chunks: Iterable[PromptChunk], sound: bytes | None = None) -> None:
    """Write a file of chunks as a whole: a reader sees the old file or the new one, never a part.

    Args:
        path: Of the file.
        chunks: At least one, for one generator, of one resolution and frame rate.
        sound: A Matroska file of one track (`sound.py`).

    Raises:
        ValueError: No chunks, or chunks that differ in one of these.
    """
    path = Path(path)
    chunks = list(chunks)
    if not 1 <= len(chunks) <= MAX_CHUNKS:
        raise ValueError(f"{path}: expected 1 to {MAX_CHUNKS} chunks, got {len(chunks)}")
    for name in ("generator", "height_px", "width_px", "fps"):
        found = {getattr(chunk, name) for chunk in chunks}
        if len(found) > 1:
            raise ValueError(f"{path}: expected chunks of one {name}, got {sorted(found)}")
    coded = [chunk.to_bytes() for chunk in chunks]
    start = FILE_START.pack(FILE_MAGIC, VERSION if sound is None else SOUND_VERSION, len(coded))
    if sound is not None:
        coded.append(sound + crc(sound))
    head = start + b"".join(struct.pack("<I", len(data)) for data in coded)
    write_bytes(path, b"".join([head, crc(head), *coded]))
