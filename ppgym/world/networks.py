"""Network traces: how many bits per second a network carries at which time.

Files of three formats are read; synthetic traces are generated; both are split into train, validation and test. The
link's physics (round trips, sharing, efficiency) is in `ppgym.core`.
"""

import dataclasses
import functools
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppgym.core.state import F8
from ppgym.files import data_root, read_json, suggest
from ppgym.world.generators import PUBLIC, SAMPLE_S, TRACE_SAMPLES, digest_of, generate_rates, stream
from ppgym.world.readers.rows import Row, read_rows

NETWORKS = ("low", "medium", "high", "mixed", "5g")
SPLITS = ("train", "validation", "test")
FORMATS = ("seconds_mbps", "mahimahi", "six_columns")

TRACES = 256  # of each split of a generated network

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

    @property
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


def generate_traces(network: str, split: str, secret: int = PUBLIC) -> tuple[NetworkTrace, ...]:
    """The traces of a split of a generated network.

    Args:
        network: One of `NETWORKS`.
        split: One of `SPLITS`; splits share no stream of random numbers.
        secret: What they are drawn from; see `ppgym.world.generators`.

    Returns:
        `TRACES` traces, named `NETWORK/SPLIT/INDEX`. Trace number INDEX is `generate_rates(network, stream(secret, 0,
        N, S, INDEX))`, with the places N of the network in `NETWORKS` and S of the split in `SPLITS`.

    Raises:
        ValueError: Unknown network or split, or a negative secret.
    """
    key = 0, _place(network, NETWORKS, "network"), _place(split, SPLITS, "split")
    edges_s = np.arange(TRACE_SAMPLES + 1, dtype=np.float64) * SAMPLE_S
    rates = [generate_rates(network, stream(secret, *key, index)) for index in range(TRACES)]
    return tuple(
        NetworkTrace(f"{network}/{split}/{index}", edges_s, bps.astype(np.float64)) for index, bps in enumerate(rates)
    )


def traces_digest(traces: Iterable[NetworkTrace]) -> str:
    """A digest of traces: that of their edges in whole microseconds and their rates in whole bit/s.

    Args:
        traces: Traces of whole bit/s, such as generated ones.

    Returns:
        64 hexadecimal digits.

    Raises:
        ValueError: A rate that is not whole.
    """
    return digest_of(array for trace in traces for array in (np.rint(trace.edges_s * 1e6), trace.rates_bps))


def _check_digest(network: str, split: str, traces: tuple[NetworkTrace, ...]) -> None:
    path = data_root() / "networks" / "digests.json"
    expected, got = read_json(path)[network][split], traces_digest(traces)
    if got != expected:
        raise ValueError(
            f"{path}: the generated traces of network {network!r}, split {split!r} have the digest {got}, expected "
            f"{expected}. If the generator was changed on purpose, run `python traces/make.py` and make all results "
            f"anew; if not, NumPy {np.__version__} computes other numbers on this machine ({platform.platform()}, "
            f"{platform.machine()}): please report it"
        )


def _place(name: str, known: tuple[str, ...], kind: str) -> int:
    if name not in known:
        raise ValueError(f"unknown {kind} {name!r}; {suggest(name, known)}")
    return known.index(name)


@functools.lru_cache(maxsize=16)
def load_traces(network: str | Path, split: str, secret: int = PUBLIC) -> tuple[NetworkTrace, ...]:
    """The traces of one split of a network; results are cached.

    Args:
        network: One of `NETWORKS` (generated; the public ones are checked against traces/networks/digests.json),
            or a folder of trace files, searched with its subfolders.
            Hidden files and `*.md` are skipped; every other file must be a trace. The files are sorted by their path.
            Each block of five is split into train, validation, test, train, train, that is 60/20/20. The split is the
            same on every machine. Where subfolders hold classes, each class has about the same share of each split.
        split: One of `SPLITS`.
        secret: What a network of `NETWORKS` is drawn from; a folder's traces are what they are.

    Returns:
        Generated traces, or those of a folder in the order of their files, named by their path below it.

    Raises:
        FileNotFoundError: No such network or folder.
        ValueError: Unknown split, a folder of fewer than three files, a file that is not a trace, or generated traces
            of another digest.
    """
    _place(split, SPLITS, "split")
    if network in NETWORKS:
        traces = generate_traces(str(network), split, secret)
        if secret == PUBLIC:
            _check_digest(str(network), split, traces)
        return traces
    root = Path(network)
    if not root.is_dir():
        raise FileNotFoundError(f"no network and no folder {str(network)!r}; {suggest(str(network), NETWORKS)}")
    files = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    names = sorted(name for name in files if not name.endswith(".md") and not f"/{name}".count("/."))
    if len(names) < len(SPLITS):
        raise ValueError(f"{root}: expected at least {len(SPLITS)} trace files to split, got {len(names)}")
    offsets = {"train": (0, 3, 4), "validation": (1,), "test": (2,)}[split]
    names = [name for position, name in enumerate(names) if position % 5 in offsets]
    return tuple(dataclasses.replace(NetworkTrace.read(files[name]), name=name) for name in names)
