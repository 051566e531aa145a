"""The option table: pairs of a representation and a compute unit, which depend on the ladder alone.

What an action's index means is in `ppgym.core.actions`.
"""

from typing import NamedTuple

from ppgym.world.devices import DeviceProfile
from ppgym.world.ladders import Representation

PIXEL_UNITS = ("cpu", "vdec")  # where pixels can be decoded, whatever the device
GENERATIVE_UNITS = ("cpu", "gpu", "npu")


class Option(NamedTuple):
    """One way to fetch a chunk: a representation, and the unit that decodes it."""

    name: str  # "h264-750k@vdec"
    representation: int
    codec: str
    is_generative: bool
    unit: str
    decode_s: float  # expected seconds for a second of content; inf where the device cannot
    usable: bool  # legal on this device


def make_options(
    representations: tuple[Representation, ...], profile: DeviceProfile, max_decode_s: float
) -> tuple[Option, ...]:
    """The option table: the same pairs on every device, representation by representation.

    Args:
        representations: The ladder.
        profile: The device.
        max_decode_s: An option that takes longer for a second of content is illegal.

    Returns:
        Pixels on `PIXEL_UNITS` and generative codecs on `GENERATIVE_UNITS`.

    Raises:
        ValueError: The device has no legal pair.
    """
    options = []
    for index, representation in enumerate(representations):
        generative = representation.is_generative
        for unit in GENERATIVE_UNITS if generative else PIXEL_UNITS:
            seconds = profile.seconds(representation, unit)
            name = f"{representation.name}@{unit}"
            usable = seconds <= max_decode_s
            options.append(Option(name, index, representation.codec, generative, unit, seconds, usable))
    if not any(option.usable for option in options):
        raise ValueError(
            f"device {profile.name!r}: expected at least one pair of codec and unit within max_decode_s = "
            f"{max_decode_s:g} s a second of content, of {', '.join(sorted({r.codec for r in representations}))}; its "
            f"pairs are {[(row.codec, row.unit) for row in profile.rows]}"
        )
    return tuple(options)
