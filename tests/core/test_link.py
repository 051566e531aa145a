"""The link's prefix sums against a walk over its samples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppgym.core.link import bits_at, interval_at, laps_before, mean_throughput, place_after

pytestmark = pytest.mark.kernel


@st.composite
def links(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Edges and cumulative bits; uneven grids and outages included."""
    spans = draw(st.lists(st.sampled_from([0.25, 0.5, 1.0, 3.0]) | st.floats(0.01, 5.0), min_size=1, max_size=12))
    rates = draw(st.lists(st.sampled_from([0.0, 1e6]) | st.floats(1e3, 1e8), min_size=len(spans), max_size=len(spans)))
    rates[draw(st.integers(0, len(rates) - 1))] = 1e6
    times = np.concatenate([[0.0], np.cumsum(spans)])
    return times, np.concatenate([[0.0], np.cumsum(np.array(spans) * rates)])


def walk_bits(times: np.ndarray, bits: np.ndarray, place_s: float) -> float:
    carried, at_s = 0.0, 0.0
    while True:
        for i in range(len(times) - 1):
            span = times[i + 1] - times[i]
            rate = (bits[i + 1] - bits[i]) / span
            if at_s + span >= place_s:
                return carried + (place_s - at_s) * rate
            carried, at_s = carried + span * rate, at_s + span


@given(links(), st.floats(0.0, 60.0))
def test_bits_equal_a_walk(link: tuple[np.ndarray, np.ndarray], place_s: float) -> None:
    times, bits = link
    assert bits_at(times, bits, place_s) == pytest.approx(walk_bits(times, bits, place_s), rel=1e-9, abs=1e-3)


@given(links(), st.floats(0.0, 60.0), st.floats(1.0, 1e8))
def test_the_place_after_an_amount_is_the_first_that_carries_it(
    link: tuple[np.ndarray, np.ndarray], place_s: float, amount_bits: float
) -> None:
    times, bits = link
    end_s = place_after(times, bits, place_s, amount_bits)
    assert end_s >= place_s
    carried = bits_at(times, bits, end_s) - bits_at(times, bits, place_s)
    assert carried == pytest.approx(amount_bits, rel=1e-7, abs=1e-2)
    just_before_s = max(end_s - 1e-6, place_s)
    assert bits_at(times, bits, just_before_s) - bits_at(times, bits, place_s) <= amount_bits + 1e-2


def test_an_amount_that_ends_where_an_outage_begins_does_not_wait_it_out() -> None:
    times, bits = np.array([0.0, 1.0, 6.0, 7.0]), np.array([0.0, 1e6, 1e6, 2e6])
    assert place_after(times, bits, 0.0, 1e6) == pytest.approx(1.0)
    assert place_after(times, bits, 0.5, 0.5e6) == pytest.approx(1.0)
    assert place_after(times, bits, 3.0, 1.0) == pytest.approx(6.000001)
    assert place_after(times, bits, 6.5, 0.5e6) == pytest.approx(7.0)
    assert place_after(times, bits, 6.5, 2.5e6) == pytest.approx(14.0)


def test_the_trace_repeats_from_its_seam() -> None:
    times, bits = np.array([0.0, 2.0]), np.array([0.0, 4e6])
    assert laps_before(2.0, 4.0) == 2.0
    assert bits_at(times, bits, 5.0) == pytest.approx(10e6)
    assert place_after(times, bits, 1.0, 8e6) == pytest.approx(5.0)


@given(links(), st.floats(0.0, 1.0))
def test_the_interval_holds_the_place(link: tuple[np.ndarray, np.ndarray], share: float) -> None:
    times, _ = link
    place_s = share * times[-1]
    i = interval_at(times, place_s)
    assert times[i] <= place_s
    assert place_s < times[i + 1] or i == len(times) - 2


def test_the_mean_throughput_is_the_harmonic_mean_of_the_last() -> None:
    assert mean_throughput(np.zeros(4), 0, 3, 1e6) == 1e6
    assert mean_throughput(np.zeros(0), 0, 3, 1e6) == 1e6
    assert mean_throughput(np.array([3.0, 6.0]), 2, 5, 1e6) == pytest.approx(4.0)
    assert mean_throughput(np.array([3.0, 6.0]), 2, 1, 1e6) == 6.0
    ring = np.array([5.0, 2.0, 3.0, 4.0])  # of five throughputs, the last is in place 0
    assert mean_throughput(ring, 5, 3, 1e6) == pytest.approx(3.0 / (1 / 5.0 + 1 / 4.0 + 1 / 3.0))
