"""Sound: the first AAC or Opus track of a clip, carried as it is, as a Matroska file of its own.

Nothing is decoded. Sound of another codec is left out.
"""

import io
from pathlib import Path
from typing import Any, Final

import av
import av.error

CODECS: Final = ("aac", "opus")
MAX_SOUND_BYTES: Final = 1 << 26


def read_sound(path: str | Path) -> bytes | None:
    """The sound of a clip.

    Args:
        path: Video file; a folder of frames has no sound.

    Returns:
        A Matroska file of one track; None where the clip has none in AAC or Opus.

    Raises:
        ValueError: No file that FFmpeg reads, or more than `MAX_SOUND_BYTES`; names the path.
    """
    path = Path(path)
    if path.is_dir():
        return None
    memory = io.BytesIO()
    try:
        with av.open(str(path), "r") as container:
            tracks = [stream for stream in container.streams.audio if stream.codec_context.name in CODECS]
            if not tracks:
                return None
            with av.open(memory, "w", format="matroska") as output:
                _copy(container, tracks[0], output, output.add_stream_from_template(tracks[0]))
    except (av.error.FFmpegError, OSError) as error:
        raise ValueError(f"{path}: expected sound that FFmpeg reads: {error}") from error
    if len(memory.getvalue()) > MAX_SOUND_BYTES:
        raise ValueError(f"{path}: expected at most {MAX_SOUND_BYTES} bytes of sound, got {len(memory.getvalue())}")
    return memory.getvalue()


class SoundTrack:
    """The sound that goes into a video file beside its pictures.

    Raises:
        ValueError: It is no such sound.
    """

    def __init__(self, sound: bytes, output: Any) -> None:
        """Add the track; before the first packet of the pictures.

        Args:
            sound: Of `read_sound`.
            output: An open PyAV container.
        """
        try:
            self._input = av.open(io.BytesIO(sound), "r", format="matroska")
            tracks = [stream for stream in self._input.streams.audio if stream.codec_context.name in CODECS]
        except (av.error.FFmpegError, OSError) as error:
            raise ValueError(f"sound: expected a Matroska file: {error}") from error
        if not tracks:
            raise ValueError(f"sound: expected a track in {' or '.join(CODECS)}, got none")
        self._track, self._output = tracks[0], output
        self._target = output.add_stream_from_template(self._track)

    def write(self) -> None:
        """Write the track."""
        _copy(self._input, self._track, self._output, self._target)
        self._input.close()


def _copy(container: Any, track: Any, output: Any, target: Any) -> None:
    for packet in container.demux(track):
        if packet.dts is not None:  # the last packet is an empty one
            packet.stream = target
            output.mux(packet)
