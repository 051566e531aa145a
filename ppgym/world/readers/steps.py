"""What every reader of network traces returns: a rate that changes in steps."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from ppgym.core.state import F8
from ppgym.world.readers.rows import Row

MAX_DURATION_S = 1e6  # of a trace: eleven days
MAX_RATE_BPS = 1e15


class Steps(NamedTuple):
    """A link's rate as a step function of time.

    Attributes:
        edges_s: float64 [T + 1], seconds, from 0, strictly increasing.
        rates_bps: float64 [T], bits per second between the edges.
        notes: What a reader left out or changed, for who prints it.
    """

    edges_s: F8
    rates_bps: F8
    notes: tuple[str, ...] = ()


class Sample(NamedTuple):
    """A rate that was measured.

    Attributes:
        row: Where.
        stamp: When the interval ends over which it holds, in any unit.
        rate_bps: Bits per second.
    """

    row: Row
    stamp: float
    rate_bps: float


def steps_from_samples(samples: Iterable[Sample], units_per_s: float = 1.0) -> Steps:
    """A rate that holds over the interval that *ends* at its stamp, so that the first stamp only marks the start.

    Several samples of one stamp are averaged, and a note says so: logs of 1 Hz have them.

    Args:
        samples: In the order of their stamps.
        units_per_s: How many units of the stamps a second has.

    Raises:
        ValueError: A stamp before the one of the line before it, only one stamp, or a trace that is too long.
    """
    stamps: list[float] = []
    groups: list[list[float]] = []
    last = None
    for row, stamp, rate_bps in samples:
        if last is not None and stamp < stamps[-1]:
            raise ValueError(
                f"{row.where}: expected a stamp after the line before it, got one that lies "
                f"{(stamps[-1] - stamp) / units_per_s:g} s before it"
            )
        if last is not None and stamp == stamps[-1]:
            groups[-1].append(rate_bps)
        else:
            check_duration(row, (stamp - (stamps[0] if stamps else stamp)) / units_per_s)
            stamps.append(stamp)
            groups.append([rate_bps])
        last = row
    if len(stamps) < 2:
        where = last.where if last is not None else "trace"
        raise ValueError(f"{where}: expected two stamps or more, since the first only marks the start")
    edges_s = (np.array(stamps) - stamps[0]) / units_per_s
    several = sum(len(group) > 1 for group in groups)
    notes = (f"{several} of {len(groups)} stamps have several samples, which are averaged",) if several else ()
    return Steps(edges_s, np.array([sum(group) / len(group) for group in groups[1:]]), notes)


def steps_from_durations(durations_s: list[float], rates_bps: list[float], notes: tuple[str, ...] = ()) -> Steps:
    """Rates that hold one after the other, each for its own time.

    Args:
        durations_s: Seconds above 0.
        rates_bps: As many rates.
        notes: As in `Steps`.
    """
    return Steps(np.concatenate(([0.0], np.cumsum(durations_s))), np.array(rates_bps), notes)


def check_duration(row: Row, duration_s: float) -> None:
    """Refuse a trace that is too long to be one.

    Args:
        row: The row up to which it lasts.
        duration_s: How long it lasts.

    Raises:
        ValueError: It is too long.
    """
    if duration_s > MAX_DURATION_S:
        raise ValueError(
            f"{row.where}: expected a trace of at most {MAX_DURATION_S:,.0f} s, got {duration_s:g} s; are the stamps "
            "in another unit?"
        )
