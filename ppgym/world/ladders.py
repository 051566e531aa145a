"""Ladders: in which representations every video exists, how many bytes they take, and what they are worth.

A ladder is a JSON file: a shipped one of traces/ladders, one that `python -m ppgym.codec ladder` measured, or a user's.
Which bytes each chunk of a video then has is in `videos.py`; how long decoding takes is in `devices.py`.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Le, Len

from ppgym.core.state import MAX_REPRESENTATIONS
from ppgym.world.schemas import Count, JsonFile, NotNegative, Positive, Text, checked, one_of, shipped_or_path

LADDERS = ("published", "pixels", "promptmobile", "token-placeholder", "diffusion-placeholder")
DEFAULT_LADDER = "published"
QUALITY_UNIT = "Mbit/s of H.264 of equal perceptual quality"

PIXEL, GENERATIVE = KINDS = ("pixel", "generative")

PIXEL_BPS = (750e3, 1200e3, 1850e3)  # the H.264 bitrates of the MMGC 2022 challenge
PROMPT_RANKS = (4, 8, 16)

# A prompt of rank r is U (77 tokens x r) and V (r x 1024 wide), 8 bits a value (Promptus, arXiv 2405.20032)
PROMPT_BYTES_PER_RANK = 77 + 1024
# Promptus keeps a prompt every 10 frames of 30 and interpolates: 3 a second. A chunk that decodes alone needs one more
PROMPTS_PER_S = 3
PROMPTS_PER_CHUNK = 4


@checked
class Measured:
    """What was measured of a representation on some clips.

    Attributes:
        chunk_bytes: Of each chunk, clip after clip.
        chunk_quality: Of each chunk, in the ladder's unit.
        clip_quality: Mean of each clip; how far they differ says how far the ladder's `quality` can be trusted.
        scores: Mean over the chunks by metric, such as `{"vmaf": 71.2, "ssim": 0.91}`.
        encode_s: Median seconds to encode a chunk.
        decode_s: Median seconds to decode a chunk.
        clamped_chunks: Chunks whose quality lies outside what was measured of H.264, and is that of its end.
    """

    chunk_bytes: Annotated[tuple[Positive, ...], Len(1)]
    chunk_quality: Annotated[tuple[NotNegative, ...], Len(1)]
    clip_quality: Annotated[tuple[NotNegative, ...], Len(1)]
    scores: dict[str, float]
    encode_s: NotNegative
    decode_s: NotNegative
    clamped_chunks: Annotated[int, Ge(0)]

    def __hash__(self) -> int:
        """By the chunks: `scores` cannot be hashed."""
        return hash((self.chunk_bytes, self.chunk_quality))

    def __post_init__(self) -> None:
        """Check the lengths."""
        if len(self.chunk_bytes) != len(self.chunk_quality):
            raise ValueError(
                f"chunk_quality: expected one for each of {len(self.chunk_bytes)} chunks, got {len(self.chunk_quality)}"
            )


@checked
class Representation:
    """One way in which every chunk of a video exists.

    Attributes:
        name: Such as "h264-750k"; unique in its ladder.
        codec: Any name, such as "h264" or "prompt"; a device's profile says how fast it decodes this codec.
        kind: "pixel": decoded like video, on `cpu` or `vdec`. "generative": by a neural network, on `cpu`, `gpu` or
            `npu`.
        bitrate_bps: Mean bits per second of content, without sound.
        quality: In the ladder's unit; 0 is as bad as no picture.
        width: Pixels.
        height: Pixels.
        fps: Frames per second.
        source: Where bitrate and quality come from.
        measured: Details of a measurement; None where there was none.

    Raises:
        ValueError: An unknown kind or a number out of range.
    """

    name: Text
    codec: Text
    kind: Annotated[str, one_of(KINDS)]
    bitrate_bps: Positive
    quality: NotNegative
    width: Count = 512
    height: Count = 512
    fps: Positive = 30.0
    source: Text = "the user's own"
    measured: Measured | None = None

    @property
    def is_generative(self) -> bool:
        """Whether a neural network decodes it."""
        return self.kind == GENERATIVE

    @property
    def memory_bytes_per_s(self) -> float:
        """A decoded second in memory: 8-bit YUV 4:2:0, 1.5 bytes a pixel."""
        return self.width * self.height * 1.5 * self.fps


@checked
class Ladder(JsonFile):
    """The representations in which every video exists.

    Attributes:
        name: Label.
        description: For whom reads it.
        provenance: In a sentence, where the numbers come from.
        chunk_s: Content seconds of a chunk; the last one of a video may be shorter.
        quality_unit: Of every quality; the preset `mmgc2022` needs the default one.
        reference_mbps: The rate B by which a wasted Mbit is priced; see `b_mbps`.
        representations: At most 12, pixels and generative codecs in any order.
        measurement: Of a measured ladder, what `python -m ppgym.codec ladder` wrote about it; None of any other.

    Raises:
        ValueError: A name twice, no quality above 0, or a field out of range.
    """

    SCHEMA: ClassVar[str] = "ppgym-ladder/2"

    name: Text
    description: Text = "A ladder of the user."
    provenance: Text = "the user's own"
    chunk_s: Annotated[float, Ge(0.5), Le(10)] = 1.0
    quality_unit: Text = QUALITY_UNIT
    reference_mbps: Positive | None = None
    representations: Annotated[tuple[Representation, ...], Len(1, MAX_REPRESENTATIONS)]
    measurement: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        """Check the rules between representations."""
        names = [one.name for one in self.representations]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise ValueError(
                    f"representations[{index}].name: expected another name than before, got {name!r} again"
                )
        if self.top_quality == 0.0:
            raise ValueError("representations: expected a quality above 0, got only 0")

    def __hash__(self) -> int:
        """By the name: `measurement` cannot be hashed, and ladders of one name are compared."""
        return hash((self.name, self.representations))

    @property
    def top_quality(self) -> float:
        """q: the highest quality, which is the price of a second of stall."""
        return max(one.quality for one in self.representations)

    @property
    def b_mbps(self) -> float:
        """B: `reference_mbps`, else the highest bitrate of pixels, else of all; a wasted Mbit costs q / B."""
        if self.reference_mbps is not None:
            return self.reference_mbps
        pixels = [one for one in self.representations if not one.is_generative]
        return max(one.bitrate_bps for one in pixels or self.representations) / 1e6

    def with_generative_quality(self, scale: float) -> "Ladder":
        """The ladder if its generative codecs were worth more or less.

        Args:
            scale: Factor on their qualities, at least 0.

        Returns:
            The ladder; pixels, q and B stay, for they are those of the file.
        """
        if scale == 1.0:
            return self
        scaled = (
            dataclasses.replace(one, quality=one.quality * scale) if one.is_generative else one
            for one in self.representations
        )
        return dataclasses.replace(self, representations=tuple(scaled))

    @classmethod
    def load(cls, ladder: "str | Path | Ladder | Mapping[str, Any]") -> "Ladder":
        """A shipped ladder by name, or one from a file (format: traces/ladders/README.md).

        Args:
            ladder: One of `LADDERS`, the path of a JSON file, the content of one, or a ladder.

        Raises:
            FileNotFoundError: No such name or file.
            ValueError: Not such a ladder; names file, key, value and what was expected.
        """
        if isinstance(ladder, Ladder):
            return ladder
        if isinstance(ladder, Mapping):
            return cls.from_json(ladder, "ladder")
        return cls.read(shipped_or_path("ladders", ladder, LADDERS))


def published_ladder() -> Ladder:
    """The default ladder: H.264 at 750, 1200 and 1850 kbit/s, then prompts of rank 4, 8 and 16.

    The quality of pixels is their bitrate in Mbit/s, as in the MMGC 2022 challenge. A prompt of rank r has 4 x 1101 r
    bytes a chunk. Its quality is an *assumption*. Chained Promptus spends 3 x 1101 r x 8 bit/s and reports equal
    perceptual quality at less than a fourth of H.265's bandwidth (arXiv 2405.20032). We take this as 4 x, times 1.5
    from HEVC to H.264, capped at the top pixel bitrate, beyond which nothing was compared:

        quality = min(4 * 1.5 * 26424 r / 1e6, 1.85)

    that is 0.63, 1.27 and 1.85. The assumption includes that a chunk that decodes alone (four prompts instead of three)
    is as good as a chained one. A scenario's `generative_quality_scale` multiplies the capped value.

    Returns:
        Six representations, pixels first.
    """
    pixels = [
        Representation(
            name=f"h264-{bps / 1e3:g}k",
            codec="h264",
            kind=PIXEL,
            bitrate_bps=bps,
            quality=bps / 1e6,
            source="published: bitrates and qualities of the MMGC 2022 challenge",
        )
        for bps in PIXEL_BPS
    ]
    prompts = [
        Representation(
            name=f"prompt-r{rank}",
            codec="prompt",
            kind=GENERATIVE,
            bitrate_bps=float(PROMPTS_PER_CHUNK * PROMPT_BYTES_PER_RANK * rank * 8),
            quality=min(4 * 1.5 * (PROMPTS_PER_S * PROMPT_BYTES_PER_RANK * rank * 8) / 1e6, pixels[-1].quality),
            source="assumption: 4 x 1.5 times the chained bitrate of arXiv 2405.20032, capped at the top pixels",
        )
        for rank in PROMPT_RANKS
    ]
    return Ladder(
        name="published",
        description="H.264 of the MMGC 2022 challenge, and prompts of Promptus at an assumed quality.",
        provenance="See ppgym.world.ladders.published_ladder; traces/make.py writes this file.",
        representations=(*pixels, *prompts),
    )
