"""Ladders: in which representations every video exists, how many bytes they take, and what they are worth.

The published ladder, and the reader of measured ones, which `python -m ppgym.codec ladder` writes.
"""

import math
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, ClassVar

from annotated_types import Ge

from ppgym.core.state import CHUNK_S
from ppgym.world.schemas import Count, JsonFile, NotNegative, Positive, Text, checked, one_of

CODECS = ("h264", "hevc", "av1", "prompt")

PIXEL_BPS = (750e3, 1200e3, 1850e3)  # the H.264 bitrates of the MMGC 2022 challenge
PROMPT_RANKS = (4, 8, 16)

# A prompt of rank r is U (77 tokens x r) and V (r x 1024 wide), 8 bits a value (Promptus, arXiv 2405.20032)
PROMPT_BYTES_PER_RANK = 77 + 1024
# Promptus keeps a prompt every 10 frames of 30 and interpolates: 3 a second. A chunk that decodes alone needs one more
PROMPTS_PER_S = 3
PROMPTS_PER_CHUNK = 4


@checked
class Format:
    """How every chunk is coded.

    Attributes:
        codec: "h264", "hevc", "av1" (pixels), or "prompt" (token embeddings for a diffusion model).
        bitrate_bps: Nominal bits per second of content.
        rank: Rank of the prompt; 0 for pixels.
        width: Pixels.
        height: Pixels.
        fps: Frames per second.

    Raises:
        ValueError: Unknown codec or a number out of range.
    """

    codec: Annotated[str, one_of(CODECS)]
    bitrate_bps: Positive
    rank: Annotated[int, Ge(0)]
    width: Count
    height: Count
    fps: Positive

    def __post_init__(self) -> None:
        """Check the rule between codec and rank."""
        if (self.rank > 0) != (self.codec == "prompt"):
            raise ValueError(f"rank: expected a rank above 0 for prompts, 0 for pixels, got {self.rank}")


@checked
class Representation(Format):
    """One way in which every chunk of a video exists.

    Attributes:
        quality: Mbit/s of H.264 of equal perceptual quality.

    Raises:
        ValueError: As `Format`.
    """

    quality: NotNegative
    rank: Annotated[int, Ge(0)] = 0
    width: Count = 512
    height: Count = 512
    fps: Positive = 30.0

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
    """The published ladder: H.264 at 750, 1200 and 1850 kbit/s, then prompts of rank 4, 8 and 16.

    The quality of pixels is their bitrate in Mbit/s, as in the MMGC 2022 challenge. A prompt of rank r has 4 x 1101 r
    bytes a chunk. Its quality is an *assumption*. Chained Promptus spends 3 x 1101 r x 8 bit/s and reports equal
    perceptual quality at less than a fourth of H.265's bandwidth (arXiv 2405.20032). We take this as 4 x, times 1.5
    from HEVC to H.264, capped at the top pixel bitrate, beyond which nothing was compared:

        quality = prompt_quality_scale * min(4 * 1.5 * 26424 r / 1e6, 1.85)

    that is 0.63, 1.27 and 1.85. The assumption includes that a chunk that decodes alone (four prompts instead of three)
    is as good as a chained one. The scale is the user's parameter of the whole assumption. It multiplies the capped
    value: below 1 it lowers the quality of every rank, above 1 the quality may exceed that of the top pixels.

    Args:
        prompt_quality_scale: At least 0.

    Returns:
        Six representations, pixels first.

    Raises:
        ValueError: A scale that is negative or not finite.
    """
    if not 0 <= prompt_quality_scale < math.inf:
        raise ValueError(f"prompt_quality_scale: expected a number of at least 0, got {prompt_quality_scale!r}")
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


@checked
class MeasuredRepresentation(Format):
    """A row of a measured ladder.

    Attributes:
        chunk_bytes: Of each chunk of the clip.
        psnr_db: Of the decoded clip.
        ssim: Of the decoded clip.
        lpips: Of the decoded clip; None where it was not measured.
        encode_s: Median seconds to encode a chunk.
        decode_s: Median seconds to decode a chunk.
        h264_equivalent_bps: The bitrate at which H.264 reaches the same SSIM.
        flag: How the equivalent was found.
    """

    chunk_bytes: tuple[Positive, ...]
    psnr_db: float
    ssim: float
    lpips: float | None
    encode_s: NotNegative
    decode_s: NotNegative
    h264_equivalent_bps: NotNegative
    flag: Text


@checked
class MeasuredLadder(JsonFile):
    """The file that `python -m ppgym.codec ladder` writes.

    Attributes:
        provenance: Command, software and date of the measurement.
        clip: Name, frames and SHA-256 of the clip.
        generator: Name and identity of the generator that decodes the prompts.
        representations: Pixels by ascending bitrate, then prompts of rank 4, 8 and 16.
        h264_curve: Rate and distortion of H.264 on the clip.
    """

    SCHEMA: ClassVar[str] = "ppgym-ladder/1"

    provenance: Text
    clip: dict[str, Any]
    generator: dict[str, Any]
    representations: tuple[MeasuredRepresentation, ...]
    h264_curve: tuple[dict[str, Any], ...]

    def __post_init__(self) -> None:
        """Check the order of the representations."""
        ranks = tuple(row.rank for row in self.representations)
        pixels_bps = [row.bitrate_bps for row in self.representations if row.rank == 0]
        if ranks != (0,) * len(PIXEL_BPS) + PROMPT_RANKS or pixels_bps != sorted(pixels_bps):
            got = ", ".join(f"{row.codec} at {row.bitrate_bps:g} bit/s" for row in self.representations)
            raise ValueError(
                f"representations: expected {len(PIXEL_BPS)} of pixels by ascending bitrate and then prompts of rank "
                f"{', '.join(map(str, PROMPT_RANKS))}, got {got}"
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
    names = [field.name for field in fields(Format)]
    return tuple(
        Representation(quality=row.h264_equivalent_bps / 1e6, **{name: getattr(row, name) for name in names})
        for row in MeasuredLadder.read(path).representations
    )
