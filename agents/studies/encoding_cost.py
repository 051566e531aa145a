"""What encoding generative codecs costs, and how many views of a video pay for it.

A prompt is found by gradient inversion, once for each video; each view of it saves bytes that a CDN is paid for.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ppgym.benchmark.records import Record
from ppgym.world.scenario import World

# Of an RTX 4090, for a second of content and a representation. Inferred: 1,500 iterations of 12 passes for each of 3
# keyframes in Promptus's code (arXiv 2405.20032) are 54,000 passes
GPU_HOURS_PER_S = 0.7
BYTES_PER_GB = 1e9


@dataclass(frozen=True)
class EncodingPrices:
    """Prices of encoding and of bytes. Both prices are assumptions: typical list prices, to be replaced.

    Attributes:
        gpu_hours_per_s: Of inversion, for a second of content and a generative representation.
        gpu_hour: Price of an hour of that GPU.
        cdn_gb: Price of a gigabyte delivered, in the same currency.
    """

    gpu_hours_per_s: float = GPU_HOURS_PER_S
    gpu_hour: float = 0.4
    cdn_gb: float = 0.01

    def __post_init__(self) -> None:
        """Check the signs."""
        for name, value in vars(self).items():
            if not 0.0 <= value < float("inf"):
                raise ValueError(f"{name}: expected a finite number from 0 on, got {value}")


PRICES = EncodingPrices()


def encode_cost(world: World, prices: EncodingPrices) -> float:
    """Price of encoding a video of mean length into all generative representations of the ladder.

    Args:
        world: Has the ladder and the videos.
        prices: The prices.

    Returns:
        In the currency of the prices.
    """
    count = sum(one.is_generative for one in world.representations)
    return count * float(world.catalog.duration_s.mean()) * prices.gpu_hours_per_s * prices.gpu_hour


def saved_bytes(with_codecs: Sequence[Record], pixels: Sequence[Record]) -> float:
    """Bytes that generative codecs save for each video that is watched, on the same sessions.

    Args:
        with_codecs: Sessions with them.
        pixels: Sessions without.

    Returns:
        Bytes; below 0 where they are spent instead.
    """

    def per_video(records: Sequence[Record]) -> float:
        bytes_, videos = (sum(one["totals"][key] for one in records) for key in ("downloaded_bytes", "videos_watched"))
        return float(bytes_) / max(float(videos), 1.0)

    return per_video(pixels) - per_video(with_codecs)


def paying_views(cost: float, saved: float, prices: EncodingPrices) -> float | None:
    """Views of a video from which encoding it pays by bytes saved alone.

    Args:
        cost: Of encoding a video.
        saved: Bytes a view.
        prices: The prices.

    Returns:
        Views; None where no number of them does.
    """
    gain = saved / BYTES_PER_GB * prices.cdn_gb
    return cost / gain if gain > 0.0 else None
