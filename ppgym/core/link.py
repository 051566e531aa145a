"""The link as an integral: bits carried up to a time, and the time by which bits are carried.

A trace is given by its edges and the bits carried up to each edge, and repeats for ever. Prefix sums make both
directions a bisection: no walk over samples. Nothing here knows of open transfers.
"""

from ppgym.core.jit import kernel
from ppgym.core.state import F8

# A transfer that is this close to its last bit has arrived: rounding must not make it wait out an outage.
LAST_BIT = 1e-6


@kernel
def interval_at(times: F8, place_s: float) -> int:
    """The interval that holds a place of the trace.

    Args:
        times: Edges of the intervals in seconds, [T + 1], from 0.
        place_s: Seconds into the trace, in [0, times[-1]].

    Returns:
        Index i with times[i] <= place_s < times[i + 1] (the last interval at the very end).
    """
    last = times.shape[0] - 2
    guess = min(int(place_s / times[last + 1] * (last + 1)), last)  # exact on a uniform grid
    if times[guess] <= place_s < times[guess + 1]:
        return guess
    low, high = 0, last
    while low < high:
        middle = (low + high + 1) >> 1
        if times[middle] <= place_s:
            low = middle
        else:
            high = middle - 1
    return low


@kernel
def laps_before(period_s: float, place_s: float) -> float:
    """Whole laps of a trace that lie before a place; a place on the seam begins a lap.

    Args:
        period_s: Length of the trace in seconds.
        place_s: Seconds since the trace's start, >= 0.

    Returns:
        Laps, a whole number, with 0 <= place_s - laps * period_s < period_s.
    """
    laps = float(int(place_s / period_s))
    rest = place_s - laps * period_s
    if rest < 0.0:
        return laps - 1.0
    if rest >= period_s:
        return laps + 1.0
    return laps


@kernel
def bits_at(times: F8, bits: F8, place_s: float) -> float:
    """Bits that the trace carries from its start up to a place, laps included.

    Args:
        times: Edges in seconds, [T + 1].
        bits: Bits carried up to each edge, [T + 1].
        place_s: Seconds since the trace's start, >= 0; past the end the trace repeats.

    Returns:
        Bits.
    """
    period = times[-1]
    lap = laps_before(period, place_s)
    rest = place_s - lap * period
    i = interval_at(times, rest)
    rate = (bits[i + 1] - bits[i]) / (times[i + 1] - times[i])
    return lap * bits[-1] + bits[i] + (rest - times[i]) * rate


@kernel
def place_after(times: F8, bits: F8, place_s: float, amount_bits: float) -> float:
    """The first place by which the trace has carried an amount more.

    Args:
        times: Edges in seconds, [T + 1].
        bits: Bits carried up to each edge, [T + 1].
        place_s: Seconds since the trace's start, >= 0.
        amount_bits: Bits to carry from there, > 0.

    Returns:
        Seconds since the trace's start, laps included.
    """
    period = times[-1]
    lap = laps_before(period, place_s)
    rest = place_s - lap * period
    i = interval_at(times, rest)
    rate = (bits[i + 1] - bits[i]) / (times[i + 1] - times[i])
    target = bits[i] + (rest - times[i]) * rate + amount_bits - LAST_BIT
    low = i
    if target > bits[-1]:
        extra = float(int((target - bits[-1]) / bits[-1])) + 1.0
        lap += extra
        target -= extra * bits[-1]
        if target <= 0.0:  # rounding put it on the seam between laps
            lap -= 1.0
            target += bits[-1]
        low = 0

    # the first edge `high` with bits[high] >= target: gallop from the start, then bisect
    stride = 1
    high = low + 1
    while high < times.shape[0] - 1 and bits[high] < target:
        low = high
        stride += stride
        high = min(high + stride, times.shape[0] - 1)
    while high - low > 1:
        middle = (low + high) >> 1
        if bits[middle] < target:
            low = middle
        else:
            high = middle
    span = bits[high] - bits[low]
    share = (target + LAST_BIT - bits[low]) / span if span > 0.0 else 0.0
    return lap * period + times[low] + min(share, 1.0) * (times[high] - times[low])


@kernel
def mean_throughput(throughputs: F8, count: int, samples: int, default: float) -> float:
    """Harmonic mean of the last throughputs, which is the mean rate of transfers of equal size.

    Args:
        throughputs: [N] of completed transfers, above 0; number k of them is at k % N.
        count: Number of completed transfers.
        samples: How many of the last to average, at most.
        default: Returned before the first transfer has ended.

    Returns:
        The mean, in the unit of the throughputs.
    """
    size = throughputs.shape[0]
    used = min(samples, min(int(count), size))
    if used == 0:
        return default
    total: float = 0.0
    for back in range(used):
        total += 1.0 / throughputs[(count - 1 - back) % size]
    return used / total
