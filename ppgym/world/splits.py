"""Which traces of a folder go into training, validation and test, so that none shares a drive with another split.

Trace sets are often cut out of long drives as windows that overlap. Such files share runs of equal samples; their names
often share a stem and count up an offset (`drive7_360_0`, `drive7_480_0`). Files of one drive stay together.
"""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ppgym.core.state import F8
from ppgym.world.readers.folders import listed

PLACES = {"train": (0, 3, 4), "validation": (1,), "test": (2,)}  # in each block of five drives

RUN = 30  # equal samples in a row that two files share only if one was cut out of the other's drive
FEWEST_RATES = 8  # different ones that such a run has; a square wave is nobody's drive
OFFSET_STEP = 10  # from which on numbers in names are offsets of windows

_WINDOW = re.compile(r"(?P<stem>.*[a-zA-Z].*?)[_-](?P<first>\d{1,7})[_-](?P<second>\d{1,7})")
_KEYS = np.random.Generator(np.random.PCG64(633)).integers(2**63, size=(2, RUN), dtype=np.int64).astype(np.uint64) | 1


class Samples(NamedTuple):
    """What of a trace shows that it shares a drive with another one.

    Attributes:
        edges_s: float64 [T + 1].
        rates_bps: float64 [T].
    """

    edges_s: F8
    rates_bps: F8


def drives(traces: Mapping[str, Samples]) -> list[list[str]]:
    """Group traces by the drive that they were cut from.

    Args:
        traces: By their files' paths below the folder.

    Returns:
        Groups in the order of their first names, the names of each in order.
    """
    names = sorted(traces)
    parent = {name: name for name in names}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for one, other in _sharing(names, [traces[name] for name in names]) + _of_one_stem(names):
        first, second = sorted((root(one), root(other)))
        parent[second] = first
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(root(name), []).append(name)
    return list(groups.values())


def split_names(where: str, groups: Sequence[Sequence[str]], split: str) -> set[str]:
    """The traces of a split: of each block of five drives the first, fourth and fifth are for training.

    Args:
        where: The folder, for messages.
        groups: As `drives` returns them.
        split: "train", "validation" or "test".

    Raises:
        ValueError: Fewer than three drives.
    """
    if len(groups) < len(PLACES):
        advice = "give folders train/, validation/ and test/ in it, or a single file that serves all three"
        shared = [listed(list(group)) for group in groups if len(group) > 1]
        if not shared:
            raise ValueError(
                f"{where}: expected at least {len(PLACES)} trace files to split, got {len(groups)}; {advice}"
            )
        raise ValueError(
            f"{where}: expected traces of at least {len(PLACES)} drives to split, got {len(groups)}. These files share "
            f"samples or a name: {'; '.join(shared)}. To split them all the same, {advice}"
        )
    return {name for place, group in enumerate(groups) if place % 5 in PLACES[split] for name in group}


def _of_one_stem(names: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of names that count up the offset of a window in one drive."""
    stems: dict[str, list[tuple[int, int, str]]] = {}
    for name in names:
        file = PurePosixPath(name)
        stem_name = file.name.partition(".")[0]
        if match := _WINDOW.fullmatch(stem_name):
            key = f"{file.parent}/{match['stem']}"
            stems.setdefault(key, []).append((int(match["first"]), int(match["second"]), name))
    pairs = []
    for windows in stems.values():
        firsts, seconds, found = zip(*windows, strict=True)
        if _are_offsets(firsts) or _are_offsets(seconds):
            pairs += [(found[0], other) for other in found[1:]]
    return pairs


def _are_offsets(numbers: Sequence[int]) -> bool:
    return len(set(numbers)) > 1 and math.gcd(*numbers) >= OFFSET_STEP


def _sharing(names: Sequence[str], traces: Sequence[Samples]) -> list[tuple[str, str]]:
    """Pairs of traces that share a run of samples, or are equal."""
    pairs = []
    whole: dict[bytes, str] = {}
    hashes, owners, starts = [], [], []
    for place, (name, trace) in enumerate(zip(names, traces, strict=True)):
        samples = _hashed(trace)
        if (twin := whole.setdefault(samples.tobytes(), name)) != name:
            pairs.append((twin, name))
        elif len(samples) >= RUN:
            runs = np.lib.stride_tricks.sliding_window_view(samples, RUN)
            hashes.append(runs @ _KEYS[0])
            owners.append(np.full(len(runs), place))
            starts.append(np.arange(len(runs)))
    if not hashes:
        return pairs
    found, owner, start = np.concatenate(hashes), np.concatenate(owners), np.concatenate(starts)
    order = np.argsort(found, kind="stable")
    found, owner, start = found[order], owner[order], start[order]
    equal = np.flatnonzero((found[1:] == found[:-1]) & (owner[1:] != owner[:-1]))
    both = owner[equal] * len(names) + owner[equal + 1]
    for pair in np.unique(both):
        one, other = divmod(int(pair), len(names))
        runs = np.lib.stride_tricks.sliding_window_view(traces[one].rates_bps, RUN)[start[equal[both == pair]]]
        if (np.diff(np.sort(runs, axis=1), axis=1) > 0).sum(axis=1).max() >= FEWEST_RATES - 1:
            pairs.append((names[one], names[other]))
    return pairs


def _hashed(trace: Samples) -> npt.NDArray[np.uint64]:
    """A number for each sample: equal ones of interval and rate, but for rounding, have equal numbers."""
    interval_us = np.rint(np.diff(trace.edges_s) * 1e6).astype(np.int64).astype(np.uint64)
    rate = trace.rates_bps.astype(np.float32).view(np.uint32).astype(np.uint64)
    mixed = interval_us * _KEYS[1, 0] + rate * _KEYS[1, 1]
    return np.asarray(mixed ^ (mixed >> np.uint64(29)))
