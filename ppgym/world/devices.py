"""Device profiles: how long a device's compute units take to decode one chunk, and where each figure comes from.

Tables and their files only. `scenario.py` decides which pairs of representation and unit are legal options. Queues and
contention act in `ppgym.core`. `ppgym.codec` measures a machine; `this_machine.py` knows where its profile lies.
"""

import dataclasses
import math
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Len, MinLen

from ppgym.core.state import F8, UNIT_NAMES, UNITS
from ppgym.files import suggest
from ppgym.world.ladders import Representation
from ppgym.world.schemas import Count, JsonFile, NotNegative, Positive, Text, checked, one_of, shipped_or_path
from ppgym.world.this_machine import find_profile

DEVICES = (
    "snapdragon-8-gen-2",
    "snapdragon-8-gen-3",
    "snapdragon-8-elite",
    "rtx-4090",
    "h200",
    "pixels-only",
    "epyc-2-core",
    "epyc-2-core-256px",
)
AUTO = "auto"  # this machine, as `python -m ppgym.codec profile` measured it last
PROVENANCES = ("measured", "published", "derived", "assumption")

Provenance = Annotated[str, one_of(PROVENANCES)]
# [U][U + 1] factor on a unit's seconds by the number of busy units, itself included
Contention = Annotated[tuple[Annotated[tuple[Positive, ...], Len(UNITS + 1, UNITS + 1)], ...], Len(UNITS, UNITS)]
NO_CONTENTION: dict[str, Any] = {  # of a profile
    "contention": ((1.0,) * (UNITS + 1),) * UNITS,
    "contention_provenance": "assumption",
    "contention_source": "No slowdown between busy units: no figures are published.",
}


@checked
class Power:
    """A power and where its figure comes from.

    Attributes:
        w: Watts.
        provenance: One of `PROVENANCES`.
        source: Address, or device, software, date and command of a measurement, or the reason of an assumption.
    """

    w: NotNegative
    provenance: Provenance
    source: Text


@checked
class Radio:
    """What the radio draws.

    Attributes:
        base_w: Watts from a request to the end of the last open transfer.
        w_per_mbps: Watts more for each Mbit/s that flows.
        tail_w: Watts afterwards ...
        tail_s: ... for so many seconds, or until the next request.
        provenance: One of `PROVENANCES`.
        source: As for `Power`.
    """

    base_w: NotNegative
    w_per_mbps: NotNegative
    tail_w: NotNegative
    tail_s: NotNegative
    provenance: Provenance
    source: Text


@checked
class DecodeRow:
    """Decode time of one codec on one compute unit.

    Attributes:
        codec: Of a ladder's representations; every bitrate of it takes the same time.
        unit: One of `ppgym.core.state.UNIT_NAMES`.
        seconds: To decode a second of content at the reference below, above 0.
        provenance: "measured", "published", "derived" or "assumption".
        source: Address, or device, software, date and command of a measurement, or the reason of an assumption.
        formula: How `seconds` follows from the source's figure.
        width: Reference width in pixels.
        height: Reference height in pixels.
        fps: Reference frames per second.
        flops: FLOPs of a frame of P pixels are flops[0] + flops[1] P + flops[2] P**2: convolutions grow with the
            pixels, attention between pixels grows with their square, and what reads only the prompt is constant. Only
            ratios count. By default the FLOPs are proportional to the pixels.
        load_s: Seconds more for the codec's first job on the unit: its decoder is loaded.
        power: Of the unit while it decodes, in addition to the device's `idle`; None where no figure is known.

    Raises:
        ValueError: A field is out of range or unknown; names it and what was expected.
    """

    codec: Text
    unit: Annotated[str, one_of(UNIT_NAMES)]
    seconds: Positive
    provenance: Provenance
    source: Text
    formula: Text
    width: Count = 512
    height: Count = 512
    fps: Positive = 30.0
    flops: tuple[NotNegative, NotNegative, NotNegative] = (0.0, 1.0, 0.0)
    load_s: NotNegative = 0.0
    power: Power | None = None

    def __post_init__(self) -> None:
        """Check the rule between the coefficients."""
        if sum(self.flops) == 0:
            raise ValueError("flops: expected a coefficient above 0, got only 0")

    def seconds_at(self, width: int, height: int, fps: float) -> float:
        """Seconds to decode a second of content of another format.

        A rule, not a measurement: time is proportional to FLOPs. This is exact in fps. Small pictures of a large model
        take longer than the rule says, since reading the weights takes as long as for large pictures.

        Args:
            width: In pixels.
            height: In pixels.
            fps: Frames per second.

        Returns:
            Seconds, above 0.
        """
        return self.seconds * self._flops(width, height, fps) / self._flops(self.width, self.height, self.fps)

    def _flops(self, width: int, height: int, fps: float) -> float:
        """FLOPs of one second."""
        constant, per_pixel, per_pixel_squared = self.flops
        pixels = width * height
        return fps * (constant + per_pixel * pixels + per_pixel_squared * pixels**2)


@checked
class DeviceProfile(JsonFile):
    """What a client's hardware can decode, and how fast.

    Attributes:
        name: Label.
        description: For whom reads a table of results.
        provenance: In a sentence, where the rows come from.
        rows: At least one; a pair of codec and unit at most once. A pair without a row cannot be decoded.
        jitter_sigma: Standard deviation of the logarithm of a job's factor on its seconds.
        jitter_provenance: One of `PROVENANCES`.
        jitter_source: As a row's source.
        contention: `[U][U + 1]`, factor on a unit's seconds by the number of busy units, itself included.
        contention_provenance: One of `PROVENANCES`.
        contention_source: As a row's source.
        idle: The device's power whatever it decodes; None where no figure is known.
        radio: The radio's; None where no figure is known.
        measurement: Of a measured profile, what `ppgym.codec.profiler` wrote about the measurement: machine, software,
            command, date, and each stage's median, spread and memory; None of any other.

    Raises:
        ValueError: A field is out of range or unknown, or no unit is usable; names it and what was expected.
    """

    SCHEMA: ClassVar[str] = "ppgym-device/1"

    name: Text
    description: Text
    provenance: Text
    rows: Annotated[tuple[DecodeRow, ...], MinLen(1)]
    jitter_sigma: NotNegative
    jitter_provenance: Provenance
    jitter_source: Text
    contention: Contention
    contention_provenance: Provenance
    contention_source: Text
    idle: Power | None = None
    radio: Radio | None = None
    measurement: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        """Check the rule between the rows."""
        pairs = [(row.codec, row.unit) for row in self.rows]
        for index, (codec, unit) in enumerate(pairs):
            if (codec, unit) in pairs[:index]:
                raise ValueError(f"rows[{index}]: expected {codec!r} on {unit!r} once, got it again")

    @property
    def units(self) -> tuple[str, ...]:
        """The compute units that can decode something, in the order of `UNIT_NAMES`."""
        usable = {row.unit for row in self.rows}
        return tuple(unit for unit in UNIT_NAMES if unit in usable)

    def row(self, codec: str, unit: str) -> DecodeRow | None:
        """The row of a pair.

        Args:
            codec: Of a representation.
            unit: One of `ppgym.core.state.UNIT_NAMES`.

        Returns:
            The row; None where the device lacks the pair.

        Raises:
            ValueError: Unknown unit.
        """
        if unit not in UNIT_NAMES:
            raise ValueError(f"unknown compute unit {unit!r}; {suggest(unit, UNIT_NAMES)}")
        return next((row for row in self.rows if (row.codec, row.unit) == (codec, unit)), None)

    def seconds(self, representation: Representation, unit: str) -> float:
        """Expected seconds to decode a second of content on an otherwise idle device.

        At another resolution or frame rate than a row's, what `DecodeRow.seconds_at` derives.

        Args:
            representation: Its bitrate does not matter.
            unit: One of `ppgym.core.state.UNIT_NAMES`.

        Returns:
            Seconds, above 0; inf where the device lacks the pair.

        Raises:
            ValueError: Unknown unit.
        """
        row = self.row(representation.codec, unit)
        return row.seconds_at(representation.width, representation.height, representation.fps) if row else math.inf

    def at(self, width: int, height: int, fps: float) -> "DeviceProfile":
        """The profile with every row at one resolution and frame rate.

        Args:
            width: In pixels.
            height: In pixels.
            fps: Frames per second.

        Returns:
            Rows of that format as they are, the others by `DecodeRow.seconds_at` and called derived.
        """
        return dataclasses.replace(self, rows=tuple(_row_at(row, width, height, fps) for row in self.rows))

    def with_codecs_faster(self, codecs: Collection[str], factor: float) -> "DeviceProfile":
        """The profile of a device that differs in how fast it decodes some codecs, on each of its units.

        Args:
            codecs: Their names.
            factor: Above 0; 1 leaves the profile as it is.

        Returns:
            Their rows with seconds divided by the factor and called an assumption, the others as they are.
        """
        rows = tuple(_faster(row, factor) if row.codec in codecs else row for row in self.rows)
        return self if factor == 1.0 else dataclasses.replace(self, rows=rows)

    @property
    def without_power(self) -> tuple[str, ...]:
        """What counts 0 joules for want of a figure: "idle", "radio", or a pair such as "prompt@gpu"."""
        missing = [name for name in ("idle", "radio") if getattr(self, name) is None]
        return (*missing, *(f"{row.codec}@{row.unit}" for row in self.rows if row.power is None))

    def contention_array(self) -> F8:
        """`contention` as float64 [U, U + 1]."""
        return np.array(self.contention, dtype=np.float64)

    @classmethod
    def load(cls, name_or_path: str | Path) -> "DeviceProfile":
        """A shipped profile by name, this machine's, or one from a file.

        Args:
            name_or_path: One of `DEVICES`, "auto" for this machine as it was measured last (nothing is measured now),
                or the path of a JSON file (`from_json`).

        Raises:
            FileNotFoundError: No such name or file, or this machine was not measured.
            ValueError: Not such a file; names file, key, value and what was expected.
        """
        path = find_profile() if name_or_path == AUTO else shipped_or_path("devices", name_or_path, (*DEVICES, AUTO))
        return cls.read(path)


def _faster(row: DecodeRow, factor: float) -> DecodeRow:
    formula = f"{row.formula}; / {factor:g}, a device of another speed"
    return dataclasses.replace(row, seconds=row.seconds / factor, provenance="assumption", formula=formula)


def _row_at(row: DecodeRow, width: int, height: int, fps: float) -> DecodeRow:
    if (row.width, row.height, row.fps) == (width, height, fps):
        return row
    rule = "frames and pixels" if row.flops == (0.0, 1.0, 0.0) else "FLOPs"
    return dataclasses.replace(
        row,
        seconds=row.seconds_at(width, height, fps),
        provenance="derived",
        formula=f"{row.formula}; from {row.width} x {row.height} at {row.fps:g} fps by {rule}",
        width=width,
        height=height,
        fps=fps,
    )
