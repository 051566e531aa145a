"""Network traces: how many bits per second a network carries at which time.

Files of three formats are read; synthetic traces are generated from a seed; both are split into train, validation and
test. The link's physics (round trips, sharing, efficiency) is in `ppgym.core`.
"""

import dataclasses
import functools
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ppgym.core.state import F8
from ppgym.files import data_root, suggest, write_text
from ppgym.world.readers.rows import Row, read_rows

NETWORKS = ("low", "medium", "high", "mixed", "5g")
SPLITS = ("train", "validation", "test")
FORMATS = ("seconds_mbps", "mahimahi", "six_columns")

SAMPLE_S = 0.5  # interval of generated traces and of packet counts, as in the MMGC 2022 networks
PACKET_BITS = 1500 * 8  # a Mahimahi line is one opportunity to deliver 1500 bytes
_COLUMNS = {2: "seconds_mbps", 1: "mahimahi", 6: "six_columns"}


@dataclass(frozen=True, eq=False)
class NetworkTrace:
    """A link's rate as a step function of time.

    The link carries `rates_bps[i]` from `edges_s[i]` to `edges_s[i + 1]`. Arrays are copied and read-only.

    Attributes:
        name: Label for records and pictures.
        edges_s: float64 [T + 1], seconds, from 0, strictly increasing.
        rates_bps: float64 [T], bits per second, at least 0 and not all 0.

    Raises:
        ValueError: The arrays break a rule above.
    """

    name: str
    edges_s: F8
    rates_bps: F8

    def __post_init__(self) -> None:
        """Copy, freeze and check the arrays."""
        edges_s = np.array(self.edges_s, dtype=np.float64)
        rates_bps = np.array(self.rates_bps, dtype=np.float64)
        if edges_s.ndim != 1 or rates_bps.ndim != 1 or rates_bps.size == 0 or edges_s.size != rates_bps.size + 1:
            raise ValueError(
                f"trace {self.name!r}: expected T >= 1 rates and T + 1 edges, "
                f"got shapes {rates_bps.shape} and {edges_s.shape}"
            )
        if not np.isfinite(edges_s).all() or edges_s[0] != 0 or (np.diff(edges_s) <= 0).any():
            raise ValueError(f"trace {self.name!r}: expected finite edges that start at 0 s and strictly increase")
        if not np.isfinite(rates_bps).all() or (rates_bps < 0).any():
            raise ValueError(f"trace {self.name!r}: expected finite rates of at least 0 bit/s")
        if not rates_bps.any():
            raise ValueError(f"trace {self.name!r}: every rate is 0 bit/s, so nothing would ever arrive")
        for field, array in (("edges_s", edges_s), ("rates_bps", rates_bps)):
            array.flags.writeable = False
            object.__setattr__(self, field, array)

    @property
    def duration_s(self) -> float:
        """Seconds until the trace wraps."""
        return float(self.edges_s[-1])

    @functools.cached_property
    def cumulative_bits(self) -> F8:
        """Bits carried up to each edge, float64 [T + 1], from 0, read-only."""
        bits = np.concatenate(([0.0], np.cumsum(self.rates_bps * np.diff(self.edges_s))))
        bits.flags.writeable = False
        return bits

    @property
    def mean_bps(self) -> float:
        """Bits per second over the whole trace."""
        return float(self.cumulative_bits[-1] / self.duration_s)

    @classmethod
    def read(cls, path: str | Path, format: str = "auto") -> "NetworkTrace":
        """Read a trace file. Blank lines are ignored.

        Args:
            path: Text file; its name becomes the trace's.
            format: One of `FORMATS`, or "auto", which goes by the number of columns of the first line:

                * "seconds_mbps" (2 columns; Pensieve, MMGC 2022): a time stamp in seconds and the rate in
                  Mbit/s of the interval that *ends* at it. The first row only marks the start, so n rows give
                  n - 1 intervals.
                * "mahimahi" (1 column): a stamp in whole milliseconds for each 1500-byte packet that the link
                  can deliver; counted per 0.5 s, the last count up to the last stamp, where the trace wraps.
                * "six_columns" (Norway HSDPA; Ghent 4G has a clock in ms): two clocks, latitude, longitude,
                  bytes received since the last row and milliseconds elapsed since the last row. The last two
                  columns make the trace; the clocks only must not run backwards.

        Raises:
            FileNotFoundError: No such file.
            ValueError: Not such a trace; names file, line, value and what was expected.
        """
        path = Path(path)
        rows = read_rows(path)
        if format == "auto":
            columns = len(rows[0].cells)
            if columns not in _COLUMNS:
                raise ValueError(f"{rows[0].where}: expected 1, 2 or 6 columns, got {columns}")
            format = _COLUMNS[columns]
        if format not in FORMATS:
            raise ValueError(f"unknown trace format {format!r}; {suggest(format, (*FORMATS, 'auto'))}")
        reader = {"seconds_mbps": _seconds_mbps, "mahimahi": _mahimahi, "six_columns": _six_columns}[format]
        edges_s, rates_bps = reader(rows)
        if not any(rates_bps):
            raise ValueError(f"{rows[-1].where}: every rate up to here is 0, expected one above 0")
        return cls(path.name, np.array(edges_s), np.array(rates_bps))

    def write(self, path: str | Path) -> None:
        """Write `seconds Mbit/s` rows, twelve significant digits; the file appears whole or not at all.

        Args:
            path: Text file; missing folders are made.
        """
        mbps = self.rates_bps / 1e6
        rows = zip(self.edges_s.tolist(), [mbps[0], *mbps.tolist()], strict=True)
        write_text(Path(path), "".join(f"{second:.12g} {rate:.12g}\n" for second, rate in rows))


_Steps = tuple[list[float], list[float]]  # edges_s, rates_bps


def _seconds_mbps(rows: list[Row]) -> _Steps:
    edges_s: list[float] = []
    rates_bps: list[float] = []
    start_s = 0.0
    for row in rows:
        row.expect("seconds Mbit/s")
        stamp_s, rate_bps = row.number(0, "seconds"), row.number(1, "Mbit/s") * 1e6
        if not edges_s:
            start_s = stamp_s
        elif stamp_s - start_s <= edges_s[-1]:
            raise ValueError(f"{row.where}: expected a stamp after the line before it, got {row.cells[0]} s")
        else:
            rates_bps.append(rate_bps)
        edges_s.append(stamp_s - start_s)
    if not rates_bps:
        raise ValueError(f"{rows[0].where}: expected two rows or more, since the first only marks the start")
    return edges_s, rates_bps


def _mahimahi(rows: list[Row]) -> _Steps:
    stamps_ms: list[int] = []
    for row in rows:
        row.expect("milliseconds")
        (text,) = row.cells
        if not (text.isascii() and text.isdigit()):
            raise ValueError(f"{row.where}: expected a whole number of milliseconds >= 0, got {text!r}")
        if stamps_ms and int(text) < stamps_ms[-1]:
            raise ValueError(f"{row.where}: expected a stamp of {stamps_ms[-1]} ms or later, got {text}")
        stamps_ms.append(int(text))
    if stamps_ms[-1] == 0:
        raise ValueError(f"{rows[-1].where}: expected a last stamp after 0 ms, where the trace wraps")
    sample_ms = round(SAMPLE_S * 1000)
    edges_ms = np.append(np.arange(0, stamps_ms[-1], sample_ms), stamps_ms[-1])
    packets, _ = np.histogram(stamps_ms, bins=edges_ms)
    return (edges_ms / 1e3).tolist(), (packets * PACKET_BITS / np.diff(edges_ms / 1e3)).tolist()


def _six_columns(rows: list[Row]) -> _Steps:
    edges_s, rates_bps = [0.0], list[float]()
    clocks = [0.0, 0.0]
    for row in rows:
        row.expect("clock clock latitude longitude bytes elapsed-ms")
        before, clocks = clocks, [row.number(0, "a clock"), row.number(1, "a clock")]
        if clocks[0] < before[0] or clocks[1] < before[1]:
            raise ValueError(f"{row.where}: expected clocks that never run back, got {' '.join(row.cells[:2])}")
        received_bytes = row.number(4, "bytes")
        elapsed_s = row.number(5, "elapsed milliseconds") / 1e3
        if elapsed_s == 0:
            raise ValueError(f"{row.where}: expected elapsed milliseconds above 0, got {row.cells[5]!r}")
        edges_s.append(edges_s[-1] + elapsed_s)
        rates_bps.append(received_bytes * 8 / elapsed_s)
    return edges_s, rates_bps


@dataclass(frozen=True)
class _Regimes:
    """A semi-Markov link: regimes are drawn with `shares`, last a uniform dwell, and are noisy within."""

    means_mbps: tuple[float, ...]
    shares: tuple[float, ...]
    dwell_s: tuple[float, float]
    spread: float  # coefficient of variation of a sample within its regime, gamma distributed
    floor_mbps: float
    peak_mbps: float


# Means, floor and peak of low, medium and high are computed from the MMGC 2022 networks (class means 1.20, 1.61, 3.58,
# 0.2 to 12 Mbit/s). Regimes, dwell and spread are chosen so that the slow part of the variance has a similar share and
# decays similarly. 5g is an assumption (mean 60, fades to 1, dwell 2 to 20 s): no figures were at hand.
_REGIMES = {
    "low": _Regimes((0.85, 1.2, 1.55), (1 / 3, 1 / 3, 1 / 3), (5.0, 20.0), 0.37, 0.2, 12.0),
    "medium": _Regimes((1.05, 1.6, 2.18), (1 / 3, 1 / 3, 1 / 3), (5.0, 20.0), 0.38, 0.2, 12.0),
    "high": _Regimes((2.82, 3.57, 4.42), (1 / 3, 1 / 3, 1 / 3), (5.0, 20.0), 0.43, 0.2, 12.0),
    "5g": _Regimes((1.0, 30.0, 60.0, 105.0), (0.1, 0.25, 0.35, 0.3), (2.0, 20.0), 0.25, 1.0, 250.0),
}

# A mixed trace is a sequence of long stretches of the other classes. Each trace draws its own shares of classes from
# a Dirichlet distribution with means (0.6, 0.28, 0.12), which gives 1.59 Mbit/s. So traces differ as those of MMGC 2022
# do, whose means lie between 1.02 and 3.60.
_MIXED_CLASSES = ("low", "medium", "high")
_MIXED_CONCENTRATION = (1.2, 0.56, 0.24)
_MIXED_STRETCH_S = (60.0, 180.0)


def generate_trace(network: str, seed: int, duration_s: float = 600.0) -> NetworkTrace:
    """Draw a synthetic trace of a network class: regime switching, a sample every 0.5 s, whole kbit/s.

    Regimes and their dwell make the slow variation, gamma noise within a regime the fast one. Rates are clipped to the
    class's floor and peak. Class means are 1.20, 1.61, 3.58 and 1.59 (mixed) Mbit/s after the MMGC 2022
    networks, and 60 for 5g, which is an assumption.

    Args:
        network: One of `NETWORKS`.
        seed: At least 0; networks of one seed are independent.
        duration_s: Rounded up to whole samples.

    Returns:
        The trace, named `NETWORK/SEED`; equal for equal arguments.

    Raises:
        ValueError: Unknown network, negative seed or a duration that is not above 0.
    """
    if network not in NETWORKS:
        raise ValueError(f"unknown network {network!r}; {suggest(network, NETWORKS)}")
    if seed < 0:
        raise ValueError(f"expected a seed of at least 0, got {seed}")
    if not 0 < duration_s < math.inf:
        raise ValueError(f"expected a duration above 0 s, got {duration_s}")
    rng = np.random.default_rng([NETWORKS.index(network), seed])
    count = math.ceil(duration_s / SAMPLE_S)
    if network == "mixed":
        shares = rng.dirichlet(_MIXED_CONCENTRATION)
        classes, stretches = _stretches(rng, shares, _MIXED_STRETCH_S, count)
        parts = [_samples(rng, _REGIMES[_MIXED_CLASSES[c]], n) for c, n in zip(classes, stretches, strict=True)]
        rates_mbps: F8 = np.concatenate(parts)[:count]
    else:
        rates_mbps = _samples(rng, _REGIMES[network], count)
    rates_bps: F8 = rates_mbps.round(3) * 1e6
    return NetworkTrace(f"{network}/{seed}", np.arange(count + 1, dtype=np.float64) * SAMPLE_S, rates_bps)


def _stretches(
    rng: np.random.Generator, shares: npt.ArrayLike, dwell_s: tuple[float, float], count: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Kinds drawn with `shares` and their lengths in samples, together at least `count` samples long."""
    draws = math.ceil(count * SAMPLE_S / dwell_s[0])
    weights = np.asarray(shares, dtype=np.float64)
    kinds = rng.choice(weights.size, size=draws, p=weights)
    lengths = np.ceil(rng.uniform(*dwell_s, size=draws) / SAMPLE_S).astype(np.int64)
    needed = int(np.searchsorted(np.cumsum(lengths), count)) + 1
    return kinds[:needed], lengths[:needed]


def _samples(rng: np.random.Generator, regimes: _Regimes, count: int) -> F8:
    """Rates in Mbit/s, float64 [count]."""
    kinds, lengths = _stretches(rng, regimes.shares, regimes.dwell_s, count)
    means_mbps = np.repeat(np.array(regimes.means_mbps)[kinds], lengths)[:count]
    shape = 1 / regimes.spread**2
    rates_mbps = rng.gamma(shape, means_mbps / shape)
    return np.clip(rates_mbps, regimes.floor_mbps, regimes.peak_mbps)


@functools.lru_cache(maxsize=64)
def load_traces(network: str | Path, split: str) -> tuple[NetworkTrace, ...]:
    """The traces of one split of a network; results are cached.

    Args:
        network: One of `NETWORKS` (shipped traces), or a folder of trace files, searched with its subfolders.
            Hidden files and `*.md` are skipped; every other file must be a trace. The files are sorted by their path.
            Each block of five is split into train, validation, test, train, train, that is 60/20/20. The split is the
            same on every machine. Where subfolders hold classes, each class has about the same share of each split.
        split: One of `SPLITS`.

    Returns:
        Traces in the order of their files, named by their path without suffix below the networks' folder or
        by their path below the given one.

    Raises:
        FileNotFoundError: No such network or folder.
        ValueError: Unknown split, a folder of fewer than three files, or a file that is not a trace.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; {suggest(split, SPLITS)}")
    if network in NETWORKS:
        root = data_root() / "networks"
        paths = sorted((root / network / split).glob("*.txt"))
        if not paths:
            raise FileNotFoundError(f"{root / network / split}: expected trace files (*.txt)")
        names = [path.relative_to(root).with_suffix("").as_posix() for path in paths]
    else:
        root = Path(network)
        if not root.is_dir():
            raise FileNotFoundError(f"no network and no folder {str(network)!r}; {suggest(str(network), NETWORKS)}")
        files = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
        names = sorted(name for name in files if not name.endswith(".md") and not f"/{name}".count("/."))
        if len(names) < len(SPLITS):
            raise ValueError(f"{root}: expected at least {len(SPLITS)} trace files to split, got {len(names)}")
        offsets = {"train": (0, 3, 4), "validation": (1,), "test": (2,)}[split]
        names = [name for position, name in enumerate(names) if position % 5 in offsets]
        paths = [files[name] for name in names]
    traces = [NetworkTrace.read(path) for path in paths]
    return tuple(dataclasses.replace(trace, name=name) for trace, name in zip(traces, names, strict=True))
