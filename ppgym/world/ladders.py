"""Ladders: in which representations every video exists, how many bytes they take, and what they are worth.

The published ladder, and the reader of measured ones, which `python -m ppgym.codec ladder` writes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppgym.core.state import CHUNK_S
from ppgym.files import check_keys, check_number, check_text, read_json, suggest

CODECS = ("h264", "hevc", "av1", "prompt")
SCHEMA = "ppgym-ladder/1"

PIXEL_BPS = (750e3, 1200e3, 1850e3)  # the H.264 rungs of the MMGC 2022 challenge
PROMPT_RANKS = (4, 8, 16)

# A prompt of rank r is U (77 tokens x r) and V (r x 1024 wide), 8 bits a value (Promptus, arXiv 2405.20032)
PROMPT_BYTES_PER_RANK = 77 + 1024
# Promptus keeps a prompt every 10 frames of 30 and interpolates: 3 a second, and a closing one where a chunk has to
# decode alone
PROMPTS_PER_S = 3
PROMPTS_PER_CHUNK = 4


@dataclass(frozen=True, kw_only=True)
class Representation:
    """One way in which every chunk of a catalog exists.

    Attributes:
        codec: "h264", "hevc", "av1" (pixels), or "prompt" (token embeddings for a diffusion model).
        bitrate_bps: Nominal bits per second of content.
        quality: Mbit/s of H.264 of equal perceptual quality.
        rank: Rank of the prompt; 0 for pixels.
        width: Pixels.
        height: Pixels.
        fps: Frames per second.

    Raises:
        ValueError: Unknown codec or a number out of range.
    """

    codec: str
    bitrate_bps: float
    quality: float
    rank: int = 0
    width: int = 512
    height: int = 512
    fps: float = 30.0

    def __post_init__(self) -> None:
        """Check the fields."""
        if self.codec not in CODECS:
            raise ValueError(f"unknown codec {self.codec!r}; {suggest(self.codec, CODECS)}")
        for key in ("bitrate_bps", "width", "height", "fps"):
            check_number("representation", key, getattr(self, key), 0.0, above=True)
        check_number("representation", "quality", self.quality, 0.0)
        if (self.rank > 0) != self.is_prompt or self.rank < 0:
            raise ValueError(f"representation: expected a rank above 0 for prompts, 0 for pixels, got {self.rank}")

    @property
    def name(self) -> str:
        """Such as "h264-750k" or "prompt-r8"."""
        return f"prompt-r{self.rank}" if self.is_prompt else f"{self.codec}-{self.bitrate_bps / 1e3:g}k"

    @property
    def is_prompt(self) -> bool:
        """Whether a generative decoder is needed."""
        return self.codec == "prompt"

    @property
    def memory_bytes(self) -> float:
        """A decoded chunk in memory: 8-bit YUV 4:2:0, 1.5 bytes a pixel."""
        return self.width * self.height * 1.5 * self.fps * CHUNK_S


def default_ladder(prompt_quality_scale: float = 1.0) -> tuple[Representation, ...]:
    """H.264 at 750, 1200 and 1850 kbit/s, then prompts of rank 4, 8 and 16.

    The quality of a pixel rung is its bitrate in Mbit/s, as in the MMGC 2022 challenge. A prompt of rank r has
    4 x 1101 r bytes a chunk. Its quality is an *assumption*: chained Promptus spends 3 x 1101 r x 8 bit/s, and Promptus
    reports equal perceptual quality at less than a fourth of H.265's bandwidth (arXiv 2405.20032), which we
    take as 4 x, times 1.5 from HEVC to H.264, capped at the top pixel rung, beyond which nothing was compared:

        quality = prompt_quality_scale * min(4 * 1.5 * 26424 r / 1e6, 1.85)

    that is 0.63, 1.27 and 1.85. That a chunk which decodes alone (four prompts instead of three) is as good as a
    chained one is part of the assumption. The scale multiplies the capped value, so below 1 it always lowers the
    quality of every rank, and above 1 it may exceed the top rung: it is the user's knob on the whole assumption.

    Args:
        prompt_quality_scale: At least 0.

    Returns:
        Six representations, pixels first.

    Raises:
        ValueError: A scale that is negative or not finite.
    """
    check_number("ladder", "prompt_quality_scale", prompt_quality_scale, 0.0)
    pixels = [Representation(codec="h264", bitrate_bps=bps, quality=bps / 1e6) for bps in PIXEL_BPS]
    prompts = []
    for rank in PROMPT_RANKS:
        chained_bps = PROMPTS_PER_S * PROMPT_BYTES_PER_RANK * rank * 8
        prompts.append(
            Representation(
                codec="prompt",
                bitrate_bps=PROMPTS_PER_CHUNK * PROMPT_BYTES_PER_RANK * rank * 8 / CHUNK_S,
                quality=prompt_quality_scale * min(4 * 1.5 * chained_bps / 1e6, pixels[-1].quality),
                rank=rank,
            )
        )
    return (*pixels, *prompts)


LADDER_KEYS = ("provenance", "clip", "generator", "representations", "h264_curve")
RUNG_KEYS = (
    *("codec", "rank", "width", "height", "fps", "bitrate_bps", "chunk_bytes", "psnr_db", "ssim", "lpips"),
    *("encode_s", "decode_s", "h264_equivalent_bps", "flag"),
)


def load_ladder(path: str | Path) -> tuple[Representation, ...]:
    """A measured ladder, in place of the published one (`default_ladder`).

    A representation's quality is the rate at which H.264 reaches its SSIM on the measured clip.

    Args:
        path: JSON file that `python -m ppgym.codec ladder` wrote.

    Returns:
        Its representations: three of pixels by ascending bitrate, then prompts of rank 4, 8 and 16, as in the default
        ladder, so that the option table and the observation keep their shape.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not such a table; names file, row, value and what was expected.
    """
    path = Path(path)
    content = read_json(path)
    check_keys(str(path), content, LADDER_KEYS, SCHEMA)
    check_text(str(path), "provenance", content["provenance"])
    rows = content["representations"]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{path}: key 'representations': expected a list of objects")
    ladder = tuple(_parse_rung(f"{path}, representation {index}", row) for index, row in enumerate(rows))
    pixels = [rung.bitrate_bps for rung in ladder if not rung.is_prompt]
    ranks = tuple(rung.rank for rung in ladder)
    if ranks != (0,) * len(PIXEL_BPS) + PROMPT_RANKS or pixels != sorted(pixels):
        raise ValueError(
            f"{path}: expected {len(PIXEL_BPS)} pixel representations by ascending bitrate and then prompts of rank "
            f"{', '.join(map(str, PROMPT_RANKS))}, got {', '.join(rung.name for rung in ladder)}"
        )
    return ladder


def _parse_rung(where: str, row: dict[str, Any]) -> Representation:
    check_keys(where, row, RUNG_KEYS)
    for key in ("rank", "width", "height"):
        if not isinstance(row[key], int) or isinstance(row[key], bool):
            raise ValueError(f"{where}: key {key!r}: expected a whole number, got {row[key]!r}")
    equivalent_bps = check_number(where, "h264_equivalent_bps", row["h264_equivalent_bps"], 0.0)
    fields = {key: row[key] for key in ("codec", "bitrate_bps", "rank", "width", "height", "fps")}
    try:
        return Representation(**fields, quality=equivalent_bps / 1e6)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
