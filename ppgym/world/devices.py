"""Device profiles: how long a device's compute units take to decode one chunk, and where each figure comes from.

Tables and their files only. Which pairs of representation and unit are legal options is decided in `scenario.py`;
queues and contention act in `ppgym.core`; measuring a machine is the work of `ppgym.codec`; where this machine's own
profile lies says `ppgym.world.this_machine`.
"""

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ppgym.core.state import UNIT_NAMES, UNITS
from ppgym.files import check_keys, check_number, check_text, data_root, read_json, suggest, write_text
from ppgym.world.ladders import CODECS, Representation
from ppgym.world.this_machine import find_profile

F8 = npt.NDArray[np.float64]

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
SCHEMA = "ppgym-device/1"
PROVENANCES = ("measured", "published", "derived", "assumption")

_NO_CONTENTION = ((1.0,) * (UNITS + 1),) * UNITS


@dataclass(frozen=True, kw_only=True)
class DecodeRow:
    """Decode time of one codec on one compute unit.

    Attributes:
        codec: One of `ppgym.world.ladders.CODECS`; every bitrate and every rank of it takes the same time.
        unit: One of `ppgym.core.state.UNIT_NAMES`.
        seconds: To decode one chunk of 1 s at the reference below, above 0.
        provenance: "measured", "published", "derived" or "assumption".
        source: Address, or device, software, date and command of a measurement, or the reason of an assumption.
        formula: How `seconds` follows from the source's figure.
        width: Reference width in pixels.
        height: Reference height in pixels.
        fps: Reference frames per second.
        flops: FLOPs of a frame of P pixels are flops[0] + flops[1] P + flops[2] P**2: convolutions grow with the
            pixels, attention between pixels with their square, what reads the prompt alone not at all. Only ratios
            count; by default a frame costs as its pixels.

    Raises:
        ValueError: A field is out of range or unknown; names it and what was expected.
    """

    codec: str
    unit: str
    seconds: float
    provenance: str
    source: str
    formula: str
    width: int = 512
    height: int = 512
    fps: float = 30.0
    flops: tuple[float, float, float] = (0.0, 1.0, 0.0)

    def __post_init__(self) -> None:
        """Check the fields."""
        where = f"row {self.codec!r} on {self.unit!r}"
        for key, known in (("codec", CODECS), ("unit", UNIT_NAMES), ("provenance", PROVENANCES)):
            value = getattr(self, key)
            if value not in known:
                raise ValueError(f"{where}: key {key!r}: got {value!r}; {suggest(str(value), known)}")
        for key in ("source", "formula"):
            check_text(where, key, getattr(self, key))
        for key in ("seconds", "width", "height", "fps"):
            check_number(where, key, getattr(self, key), 0.0, above=True)
        if not isinstance(self.flops, tuple) or len(self.flops) != 3:
            raise ValueError(f"{where}: key 'flops': expected three coefficients, got {self.flops!r}")
        for coefficient in self.flops:
            check_number(where, "flops", coefficient, 0.0)
        check_number(where, "flops", sum(self.flops), 0.0, above=True)

    def seconds_at(self, width: int, height: int, fps: float) -> float:
        """Seconds to decode one chunk of 1 s of another format.

        A rule, not a measurement: time is taken as proportional to FLOPs. That is exact in fps; small pictures of a
        large model take longer than it says, for reading the weights costs as much for them as for large ones.

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


@dataclass(frozen=True, kw_only=True)
class DeviceProfile:
    """What a client's hardware can decode, and how fast.

    Attributes:
        name: Label.
        description: For whom reads a table of results.
        provenance: In a sentence, where the rows come from.
        rows: At least one; a pair of codec and unit at most once. A pair without a row cannot be decoded.
        jitter_sigma: Standard deviation of the logarithm of a job's factor on its seconds.
        jitter_provenance: One of `PROVENANCES`.
        jitter_source: As a row's source.
        contention: [U][U + 1] factor on a unit's seconds by the number of busy units, itself included.
        contention_provenance: One of `PROVENANCES`.
        contention_source: As a row's source.
        measurement: Of a measured profile, what `ppgym.codec.profiler` wrote about the measurement: machine, software,
            command, date, and each stage's median, spread and memory; None of any other.

    Raises:
        ValueError: A field is out of range or unknown, or no unit is usable; names it and what was expected.
    """

    name: str
    description: str
    provenance: str
    rows: tuple[DecodeRow, ...]
    jitter_sigma: float
    jitter_provenance: str
    jitter_source: str
    contention: tuple[tuple[float, ...], ...] = _NO_CONTENTION
    contention_provenance: str = "assumption"
    contention_source: str = "No slowdown between busy units: no figures are published."
    measurement: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        where = f"device {self.name!r}"
        for key in ("name", "description", "provenance", "jitter_source", "contention_source"):
            check_text(where, key, getattr(self, key))
        for key in ("jitter_provenance", "contention_provenance"):
            value = getattr(self, key)
            if value not in PROVENANCES:
                raise ValueError(f"{where}: key {key!r}: got {value!r}; {suggest(str(value), PROVENANCES)}")
        check_number(where, "jitter_sigma", self.jitter_sigma, 0.0)
        if not self.rows:
            raise ValueError(f"{where}: key 'rows': expected at least one usable pair of codec and unit, got none")
        pairs = [(row.codec, row.unit) for row in self.rows]
        for pair in pairs:
            if pairs.count(pair) > 1:
                raise ValueError(f"{where}: key 'rows': expected {pair[0]!r} on {pair[1]!r} once, got it again")
        if len(self.contention) != UNITS or any(len(factors) != UNITS + 1 for factors in self.contention):
            raise ValueError(
                f"{where}: key 'contention': expected {UNITS} rows ({', '.join(UNIT_NAMES)}) of {UNITS + 1} factors"
            )
        for factors in self.contention:
            for factor in factors:
                check_number(where, "contention", factor, 0.0, above=True)
        if self.measurement is not None and not isinstance(self.measurement, dict):
            raise ValueError(f"{where}: key 'measurement': expected an object or null, got {self.measurement!r}")

    @property
    def units(self) -> tuple[str, ...]:
        """The compute units that can decode something, in the order of `UNIT_NAMES`."""
        usable = {row.unit for row in self.rows}
        return tuple(unit for unit in UNIT_NAMES if unit in usable)

    def seconds(self, representation: Representation, unit: str) -> float:
        """Expected seconds to decode one chunk of 1 s on an otherwise idle device.

        At another resolution or frame rate than a row's, what `DecodeRow.seconds_at` derives.

        Args:
            representation: Bitrate and rank do not matter.
            unit: One of `ppgym.core.state.UNIT_NAMES`.

        Returns:
            Seconds, above 0; inf where the device lacks the pair.

        Raises:
            ValueError: Unknown unit.
        """
        if unit not in UNIT_NAMES:
            raise ValueError(f"unknown compute unit {unit!r}; {suggest(unit, UNIT_NAMES)}")
        for row in self.rows:
            if (row.codec, row.unit) == (representation.codec, unit):
                return row.seconds_at(representation.width, representation.height, representation.fps)
        return math.inf

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

    def with_prompts_faster(self, factor: float) -> "DeviceProfile":
        """The profile of a device that differs in how fast it decodes prompts, on each of its units.

        Args:
            factor: Above 0; 1 leaves the profile as it is.

        Returns:
            Rows of prompts with their seconds divided by the factor and called an assumption, the others as they are.
        """
        if factor == 1.0:
            return self
        return dataclasses.replace(
            self,
            rows=tuple(
                dataclasses.replace(
                    row,
                    seconds=row.seconds / factor,
                    provenance="assumption",
                    formula=f"{row.formula}; / {factor:g}, a device of another speed",
                )
                if row.codec == "prompt"
                else row
                for row in self.rows
            ),
        )

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
        if name_or_path == AUTO:
            path = find_profile()
        elif name_or_path in DEVICES:
            path = data_root() / "devices" / f"{name_or_path}.json"
        else:
            path = Path(name_or_path)
        if not path.is_file():
            known = suggest(str(name_or_path), (*DEVICES, AUTO))
            raise FileNotFoundError(f"no device and no file {str(name_or_path)!r}; {known}")
        content = read_json(path)
        try:
            return cls.from_json(content)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "DeviceProfile":
        """The profile that a JSON object describes; every key is required, none may be added.

        Args:
            content: As `to_json` makes it: `schema`, then the attributes of `DeviceProfile`, `rows` as objects with the
                attributes of `DecodeRow`.

        Raises:
            ValueError: Another schema, a missing or unknown key, or a value out of range.
        """
        check_keys("device", content, (field.name for field in dataclasses.fields(cls)), SCHEMA)
        fields = {key: value for key, value in content.items() if key != "schema"}
        for key in ("rows", "contention"):
            if not isinstance(fields[key], list):
                raise ValueError(f"device: key {key!r}: expected a list, got {fields[key]!r}")
        rows = []
        for position, row in enumerate(fields["rows"]):
            if not isinstance(row, dict):
                raise ValueError(f"device: rows[{position}]: expected an object, got {row!r}")
            check_keys(f"device: rows[{position}]", row, (field.name for field in dataclasses.fields(DecodeRow)))
            if not isinstance(row["flops"], list):
                raise ValueError(f"device: rows[{position}]: key 'flops': expected a list, got {row['flops']!r}")
            rows.append(DecodeRow(**row | {"flops": tuple(row["flops"])}))
        for position, factors in enumerate(fields["contention"]):
            if not isinstance(factors, list):
                raise ValueError(f"device: contention[{position}]: expected a list, got {factors!r}")
        return cls(**fields | {"rows": tuple(rows), "contention": tuple(map(tuple, fields["contention"]))})

    def to_json(self) -> dict[str, Any]:
        """The profile as a JSON object, which `from_json` reads."""
        rows = [dataclasses.asdict(row) | {"flops": list(row.flops)} for row in self.rows]
        lists = {"rows": rows, "contention": list(map(list, self.contention))}
        return {"schema": SCHEMA} | dataclasses.asdict(self) | lists

    def write(self, path: str | Path) -> None:
        """Write `to_json` to a file, which appears whole or not at all.

        Args:
            path: JSON file; missing folders are made.
        """
        write_text(Path(path), json.dumps(self.to_json(), indent=2) + "\n")


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
