"""Small random worlds and action sequences for Hypothesis.

Half of the worlds are made of round numbers, so that many events fall on one instant. The others take thousandths of a
prime, so that two times are either equal or far more than 1e-9 s apart: what lies in between is decided by rounding.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as some
from hypothesis.strategies import DrawFn, SearchStrategy

from ppgym.core.actions import action_count
from ppgym.core.state import MAX_REPRESENTATIONS, MAX_TRANSFERS, UNITS, CatalogArrays, Episode, Params, Sim

PRIME = 997


@dataclass(frozen=True)
class Pick:
    """An action still to be made definite: WAIT, a legal one, or an index as it is."""

    kind: str  # "wait", "first" (of the legal downloads), "any" (legal action) or "raw"
    number: int = 0

    def action(self, legal: list[int]) -> int:
        """The index that this means, given the legal ones."""
        if self.kind == "wait":
            return 0
        if self.kind == "first":
            return legal[min(1 + self.number, len(legal) - 1)]
        if self.kind == "any":
            return legal[self.number % len(legal)]
        return self.number


def picks(n_actions: int) -> SearchStrategy[list[Pick]]:
    """Action sequences; repeat one from its start when it is used up."""
    one = some.one_of(
        some.just(Pick("wait")),
        some.builds(Pick, some.just("first"), some.integers(0, 2)),
        some.builds(Pick, some.just("first"), some.just(0)),
        some.builds(Pick, some.just("any"), some.integers(0, n_actions)),
        some.builds(Pick, some.just("any"), some.integers(0, n_actions)),
        some.builds(Pick, some.just("raw"), some.integers(-3, n_actions + 3)),
    )
    return some.lists(one, min_size=1, max_size=30)


def _spread(values: list[float], shape: tuple[int, ...], strides: tuple[int, ...]) -> np.ndarray:
    """Fills an array with a short pattern: few draws, and arrays that shrink well."""
    index = sum(stride * axis for stride, axis in zip(strides, np.indices(shape), strict=True))
    spread: np.ndarray = np.asarray(values, dtype=np.float64)[np.asarray(index) % len(values)]
    return spread


def retention_curves(durations_s: list[float], ends: list[float]) -> np.ndarray:
    """Curves that fall evenly from 1 to `ends`: at whole seconds and at the duration, then 0."""
    second = np.arange(math.ceil(max(durations_s)) + 1)
    share = [np.minimum(second, duration_s) / duration_s for duration_s in durations_s]
    curves = [1.0 - (1.0 - end) * passed for end, passed in zip(ends, share, strict=True)]
    over = [second >= duration_s + 1 for duration_s in durations_s]
    return np.where(over, 0.0, curves)


@some.composite
def worlds(draw: DrawFn, long_video: bool = False) -> Sim:
    """Random worlds.

    Args:
        draw: Hypothesis's.
        long_video: Whether the first video is longer than the ring of chunks that a state tracks.

    Returns:
        A world.
    """
    rounded = draw(some.booleans())

    def number(low: float, high: float, step: float = 0.25) -> SearchStrategy[float]:
        """Numbers from `low` to `high`: multiples of `step`, or (if the world is not round) of 1 / PRIME."""
        if rounded:
            return some.integers(math.ceil(low / step), math.floor(high / step)).map(lambda n: n * step)
        return some.integers(math.ceil(low * PRIME), math.floor(high * PRIME)).map(lambda n: n / PRIME)

    def pattern(low: float, high: float, step: float = 0.25, most: int = 5) -> list[float]:
        return draw(some.lists(number(low, high, step), min_size=1, max_size=most))

    # Catalog
    n_catalog = draw(some.integers(1, 4))
    n_representations = draw(some.one_of(some.integers(1, 3), some.just(MAX_REPRESENTATIONS)))
    n_chunks = draw(some.lists(some.integers(1, 6), min_size=n_catalog, max_size=n_catalog))
    if long_video:
        n_chunks[0] = draw(some.integers(66, 140))
    chunk_s = draw(some.one_of(some.just(1.0), number(0.5, 3)))
    cut_s = draw(_lists(some.one_of(some.just(0.0), number(0, chunk_s - 0.25)), n_catalog))
    durations_s = [n * chunk_s - cut for n, cut in zip(n_chunks, cut_s, strict=True)]
    shape = (n_catalog, max(n_chunks), n_representations)
    exists = np.arange(shape[1])[None, :, None] < np.asarray(n_chunks)[:, None, None]
    chunk_bytes = 1e6 * _spread(pattern(0.015625, 0.5, 0.015625), shape, (5, 3, 1))
    if long_video:
        chunk_bytes /= 8
    memory = some.lists(some.integers(1, 3), min_size=shape[2], max_size=shape[2])
    catalog = CatalogArrays(
        n_chunks=np.asarray(n_chunks, dtype=np.int32),
        duration_s=np.asarray(durations_s, dtype=np.float64),
        chunk_bytes=np.where(exists, chunk_bytes, 0.0),
        quality=np.where(exists, _spread(pattern(0.25, 3), shape, (3, 2, 1)), 0.0),
        memory_bytes_per_s=1e6 * np.asarray(draw(memory), dtype=np.float64),
        retention=retention_curves(durations_s, draw(_lists(some.sampled_from([1.0, 0.5]), n_catalog))),
    )

    # Episode
    n_videos = 1 if long_video else draw(some.integers(1, 6))
    playlist = [0] if long_video else draw(_lists(some.integers(0, n_catalog - 1), n_videos))
    watch_s = [draw(number(0.25 if rounded else 0.01, durations_s[k])) for k in playlist]
    if long_video:
        watch_s = [durations_s[0]]
    whole = draw(_lists(some.booleans(), n_videos))  # chunks
    for position, index in enumerate(playlist):
        if whole[position]:
            chunks = math.ceil(watch_s[position] / chunk_s)
            watch_s[position] = min(chunks * chunk_s, durations_s[index])
    intervals = draw(some.integers(1, 6))
    seconds = draw(_lists(number(0.25, 6), intervals))
    rates = draw(_lists(some.one_of(some.just(0.0), number(0.25, 4), number(0.25, 4)), intervals))
    if max(rates) == 0:
        rates[-1] = 1.0
    period_s = sum(seconds)
    feed_s = sum(durations_s[k] for k in playlist)
    some_patience = some.one_of(some.just(math.inf), number(4, 16), number(0.25, 4))
    episode = Episode(
        playlist=np.asarray(playlist, dtype=np.int32),
        watch_s=np.asarray(watch_s, dtype=np.float64),
        leaves=np.asarray(draw(_lists(some.sampled_from([0, 0, 0, 0, 1]), n_videos)), dtype=np.uint8),
        patience_s=np.asarray(
            [math.inf] * n_videos if draw(some.booleans()) else draw(_lists(some_patience, n_videos)), dtype=np.float64
        ),
        jitter=_spread([1.0] if draw(some.booleans()) else pattern(0.5, 2), (n_videos, shape[1]), (3, 1)),
        link_time_s=np.concatenate([[0.0], np.cumsum(seconds)]),
        link_bits=np.concatenate([[0.0], 1e6 * np.cumsum(np.multiply(rates, seconds))]),
        link_offset_s=draw(number(0, period_s)) % period_s,
        max_wall_s=draw(some.one_of(some.just(60 + 5 * feed_s), some.just(60 + 5 * feed_s), number(1, 20))),
    )

    # Params
    n_options = draw(some.integers(1, 5 if shape[2] < MAX_REPRESENTATIONS else 2 * MAX_REPRESENTATIONS))
    representation = np.asarray(draw(_lists(some.integers(0, shape[2] - 1), n_options)), dtype=np.int32)
    unit = np.asarray(draw(_lists(some.integers(0, UNITS - 1), n_options)), dtype=np.int32)
    codec = representation % draw(some.integers(1, shape[2]))
    load_s = _spread([0.0] if draw(some.booleans()) else pattern(0, 2), (shape[2], UNITS), (3, 1))
    watts = _spread(pattern(0, 4), (shape[2], UNITS), (1, 2))
    usable = draw(_lists(some.sampled_from([1, 1, 0]), n_options))
    usable[draw(some.integers(0, n_options - 1))] = 1
    decode_s = draw(_lists(number(0.25 if rounded else 0.01, 2), n_options))
    decode_s = [s if use else draw(some.sampled_from([math.inf, s])) for s, use in zip(decode_s, usable, strict=True)]
    weight = number(0, 3)
    params = Params(
        chunk_s=chunk_s,
        rtt_s=draw(number(0, 0.75)),
        link_efficiency=draw(some.sampled_from([1.0, 0.5, 0.95])),
        wait_s=draw(number(0.25, 1)),
        decoded_buffer_bytes=1e6 * draw(some.one_of(some.integers(1, 8), some.just(512))),
        charge_thinking_s=draw(some.one_of(some.just(0.0), number(0.01 if not rounded else 0.25, 1.5))),
        parallel_downloads=draw(some.integers(1, min(4, MAX_TRANSFERS))),
        cancel_on_swipe=draw(some.booleans()),
        weight_quality=draw(weight),
        weight_rebuffer=draw(weight),
        weight_switch=draw(weight),
        weight_waste=draw(weight),
        weight_download=draw(weight),
        weight_abandon=draw(number(0, 20)),
        weight_energy=draw(weight),
        top_quality=draw(number(0.25, 4)),
        reference_bps=1e6 * draw(number(0.25, 4)),
        option_representation=representation,
        option_unit=unit,
        option_usable=np.asarray(usable, dtype=np.uint8),
        option_decode_s=np.asarray(decode_s, dtype=np.float64),
        option_codec=codec.astype(np.int32),
        option_generative=np.asarray(unit != 3, dtype=np.uint8),
        option_load_s=load_s[codec, unit],
        option_w=watts[codec, unit],
        contention=_spread([1.0] if draw(some.booleans()) else pattern(1, 2), (UNITS, UNITS + 1), (2, 1)),
        throttle=draw(number(1.25, 4) if long_video else some.one_of(some.just(1.0), number(1, 4))),
        idle_w=draw(number(0, 2)),
        radio_base_w=draw(number(0, 2)),
        radio_j_per_mbit=draw(number(0, 2)),
        radio_tail_w=draw(number(0, 2)),
        radio_tail_s=draw(number(0, 3)),
    )
    return Sim(params, catalog, episode)


def _lists(elements: SearchStrategy[Any], length: int) -> SearchStrategy[list[Any]]:
    return some.lists(elements, min_size=length, max_size=length)


@some.composite
def plays(draw: DrawFn, long_video: bool = False) -> tuple[Sim, list[Pick]]:
    """A world and what to do in it."""
    world = draw(worlds(long_video=long_video))
    return world, draw(picks(action_count(len(world.params.option_unit))))
