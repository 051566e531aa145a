"""Network traces: how many bits per second a network carries at which time.

Traces are read from files (`ppgym.world.readers`) or generated, and split into train, validation and test. The link's
physics (round trips, sharing, efficiency) is in `ppgym.core`.
"""

import dataclasses
import functools
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ppgym.core.state import F8
from ppgym.files import data_root, read_json, suggest
from ppgym.world.generators import PUBLIC, SAMPLE_S, TRACE_SAMPLES, digest_of, generate_rates, stream
from ppgym.world.readers.columns import Columns
from ppgym.world.readers.folders import trace_files
from ppgym.world.readers.formats import TRACE_FORMATS, read_steps
from ppgym.world.readers.steps import MAX_DURATION_S, MAX_RATE_BPS
from ppgym.world.splits import Samples, drives, split_names

NETWORKS = ("low", "medium", "high", "mixed", "5g")
SPLITS = ("train", "validation", "test")
FORMATS = tuple(TRACE_FORMATS)

TRACES = 256  # of each split of a generated network
MAX_NOTES = 5  # about single traces of a folder


@dataclass(frozen=True, eq=False)
class NetworkTrace:
    """A link's rate as a step function of time.

    The link carries `rates_bps[i]` from `edges_s[i]` to `edges_s[i + 1]`. Arrays are copied and read-only.

    Attributes:
        name: Label for records and pictures.
        edges_s: float64 [T + 1], seconds, from 0, strictly increasing.
        rates_bps: float64 [T], bits per second, at least 0 and not all 0.
        notes: What a reader left out or changed, for who prints it.

    Raises:
        ValueError: The arrays break a rule above.
    """

    name: str
    edges_s: F8
    rates_bps: F8
    notes: tuple[str, ...] = ()

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
        if edges_s[-1] > MAX_DURATION_S or rates_bps.max() > MAX_RATE_BPS:
            raise ValueError(
                f"trace {self.name!r}: expected at most {MAX_DURATION_S:g} s and {MAX_RATE_BPS:g} bit/s, "
                f"got {edges_s[-1]:g} s and {rates_bps.max():g} bit/s"
            )
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
    def read(cls, path: str | Path, format: str = "auto", columns: Columns | None = None) -> "NetworkTrace":
        """Read a trace file, packed by gzip or not. Blank lines are ignored, and lines that begin with `#`.

        Args:
            path: The file; its name becomes the trace's.
            format: One of `FORMATS`, or "auto", which goes by the first characters, the header and the columns of the
                file, and raises an error where these leave a doubt:

                * "seconds_mbps" (Pensieve, MMGC 2022; ppgym's own): rows of a stamp and the rate in Mbit/s of the
                  interval that *ends* at it. The first row only marks the start: n rows give n - 1 intervals.
                * "milliseconds_kbps" (Oboe): the same in other units.
                * "mahimahi": a stamp in whole milliseconds for each 1500-byte packet that the link can deliver; counted
                  per 0.5 s, the last count up to the last stamp, where the trace wraps.
                * "six_columns" (Norway HSDPA, Ghent 4G): the last two, bytes received and milliseconds elapsed since
                  the row before, make the trace.
                * "csv": columns by name; a rate holds up to its stamp. The Irish 4G and 5G logs are known by theirs.
                * "sabre": a JSON list of `duration_ms` and `bandwidth_kbps`.
            columns: Which columns of a "csv" file make the trace, and their units.

        Raises:
            FileNotFoundError: No such file.
            ValueError: Not such a trace; names file, line, value and what was expected.
        """
        path = Path(path)
        return cls(path.name, *read_steps(path, format, columns))


class Network(NamedTuple):
    """The traces of one split of a network.

    Attributes:
        traces: At least one.
        notes: What was left out, changed or shared between splits, for who prints it.
    """

    traces: tuple[NetworkTrace, ...]
    notes: tuple[str, ...]


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


def load_traces(network: str | Path, split: str, secret: int = PUBLIC) -> tuple[NetworkTrace, ...]:
    """The traces of one split of a network: those of `load_network`, without its notes."""
    return load_network(network, split, secret).traces


@functools.lru_cache(maxsize=16)
def load_network(network: str | Path, split: str, secret: int = PUBLIC) -> Network:
    """The traces of one split of a network, and what is to be said about them; results are cached.

    Args:
        network: One of `NETWORKS` (generated; the public ones are checked against traces/networks/digests.json), a
            trace file, which serves all three splits, or a folder of trace files. A folder with subfolders `train`,
            `validation` and `test` is taken as it is. Any other is searched with its subfolders and split: files are
            sorted by their path, those that were cut from one drive are kept together (`ppgym.world.splits`), and of
            each block of five drives the splits are train, validation, test, train, train, that is 60/20/20. The split
            is the same on every machine. Where subfolders hold classes, each class has about the same share of each
            split.
        split: One of `SPLITS`.
        secret: What a network of `NETWORKS` is drawn from; a folder's traces are what they are.

    Returns:
        Generated traces, or those of files in the order of their paths, named by their path below the folder.

    Raises:
        FileNotFoundError: No such network, file or folder.
        ValueError: Unknown split, fewer than three drives to split, a file that is not a trace, or generated traces of
            another digest.
    """
    _place(split, SPLITS, "split")
    if network in NETWORKS:
        traces = generate_traces(str(network), split, secret)
        if secret == PUBLIC:
            _check_digest(str(network), split, traces)
        return Network(traces, ())
    root = Path(network)
    if root.is_file():
        trace = NetworkTrace.read(root)
        return Network((trace,), ("one trace, which serves training, validation and test", *trace.notes))
    if not root.is_dir():
        raise FileNotFoundError(
            f"no network, no file and no folder {str(network)!r}; {suggest(str(network), NETWORKS)}"
        )
    given = [name for name in SPLITS if (root / name).is_dir()]
    if len(given) == len(SPLITS):
        traces, notes = read_folder(root / split)
        if not traces:
            raise ValueError(f"{root / split}: expected trace files, got none")
        return Network(traces, (*notes, "splits as its folders are"))
    if given not in ([], ["train"]):  # Norway's and Ghent's traces have a folder of the trains
        raise ValueError(f"{root}: expected folders {', '.join(SPLITS)} or none of them, got {', '.join(given)} alone")
    return _split_folder(root)[split]


@functools.lru_cache(maxsize=4)
def _split_folder(root: Path) -> dict[str, Network]:
    """The traces of a folder by split; those that were cut from one drive are in one split."""
    traces, notes = read_folder(root)
    groups = drives({trace.name: Samples(trace.edges_s, trace.rates_bps) for trace in traces})
    if len(groups) < len(traces):
        notes = (*notes, f"{len(traces)} files of {len(groups)} drives, split by drive")
    names = {split: split_names(str(root), groups, split) for split in SPLITS}
    return {split: Network(tuple(one for one in traces if one.name in names[split]), notes) for split in SPLITS}


def read_folder(root: Path, format: str = "auto", columns: Columns | None = None) -> Network:
    """All traces of a folder and its subfolders, in the order of their paths.

    Args:
        root: The folder.
        format: Of every file; see `NetworkTrace.read`.
        columns: Of every file; see `NetworkTrace.read`.

    Raises:
        ValueError: A file that is not a trace.
    """
    files, notes = trace_files(root)
    found = {name: NetworkTrace.read(path, format, columns) for name, path in files.items()}
    traces = tuple(dataclasses.replace(trace, name=name) for name, trace in found.items())
    said = dict.fromkeys(f"{trace.name}: {note}" for trace in traces for note in trace.notes)
    return Network(traces, (*notes, *list(said)[:MAX_NOTES]))


def describe_traces(network: str | Path, split: str, secret: int = PUBLIC) -> str:
    """A line about the traces of one split, for a run to print.

    Args:
        network: As in `load_network`.
        split: As in `load_network`.
        secret: As in `load_network`.

    Returns:
        Such as "lte: 12 traces (train), mean 4.1 Mbit/s, median 3.9, floor 0.2, 310 s; left out: README".

    Raises:
        FileNotFoundError: As `load_network`.
        ValueError: As `load_network`.
    """
    traces, notes = load_network(network, split, secret)
    figures = rate_figures(traces)
    count = "1 trace" if len(traces) == 1 else f"{len(traces)} traces"
    return "; ".join([f"{network}: {count} ({split}), {figures}", *notes])


class RateFigures(NamedTuple):
    """What a set of traces carries.

    Attributes:
        mean_bps: Mean of the traces' means.
        median_bps: The rate that all traces together have at least half of the time.
        floor_bps: Their lowest rate.
        shortest_s: Seconds of the shortest trace.
        longest_s: Seconds of the longest trace.
    """

    mean_bps: float
    median_bps: float
    floor_bps: float
    shortest_s: float
    longest_s: float

    def __str__(self) -> str:
        """Such as "mean 4.1 Mbit/s, median 3.9, floor 0.2, 310 to 320 s"."""
        mean, median, floor = (f"{bps / 1e6:.3g}" for bps in self[:3])
        shortest, longest = f"{self.shortest_s:.4g}", f"{self.longest_s:.4g}"
        duration = shortest if shortest == longest else f"{shortest} to {longest}"
        return f"mean {mean} Mbit/s, median {median}, floor {floor}, {duration} s"


def rate_figures(traces: Sequence[NetworkTrace]) -> RateFigures:
    """Mean, median and floor of traces.

    Args:
        traces: At least one.
    """
    rates_bps = np.concatenate([trace.rates_bps for trace in traces])
    order = np.argsort(rates_bps)
    elapsed_s = np.cumsum(np.concatenate([np.diff(trace.edges_s) for trace in traces])[order])
    durations_s = [trace.duration_s for trace in traces]
    return RateFigures(
        float(np.mean([trace.mean_bps for trace in traces])),
        float(rates_bps[order][np.searchsorted(elapsed_s, elapsed_s[-1] / 2)]),
        float(rates_bps.min()),
        min(durations_s),
        max(durations_s),
    )
