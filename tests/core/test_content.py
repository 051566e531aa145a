"""Content seconds: chunks with a short last one, and retention curves over a duration that need not be whole."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from ppgym.core.content import content_s, survival, watch_time_s
from tests.core.test_hand_worked_cases import make_sim

pytestmark = pytest.mark.kernel


@some.composite
def curves(draw: some.DrawFn) -> tuple[np.ndarray, float]:
    """A falling curve at whole seconds and at the duration, with zeros behind it, and the duration."""
    duration_s = draw(some.one_of(some.integers(1, 12).map(float), some.floats(0.05, 12.0)))
    rows = math.ceil(duration_s) + 1
    falls = draw(some.lists(some.sampled_from([0.0, 0.1, 0.25, 1.0]), min_size=rows - 1, max_size=rows - 1))
    last = draw(some.sampled_from([0.0, 0.3]))
    left = 1.0 - np.cumsum([0.0, *falls]) / max(sum(falls), 1.0) * (1.0 - last)
    return np.concatenate([left, np.zeros(draw(some.integers(0, 3)))]), duration_s


@given(curves(), some.floats(0.0, 15.0))
def test_retention_is_linear_between_whole_seconds_and_the_duration(
    curve: tuple[np.ndarray, float], seconds: float
) -> None:
    share, duration_s = curve
    at_s = [*range(math.ceil(duration_s)), duration_s]
    expected = np.interp(seconds, at_s, share[: len(at_s)])
    assert survival(share, duration_s, seconds) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(curves(), some.floats(0.0, 1.0, exclude_max=True), some.floats(0.0, 1.0))
def test_who_draws_a_level_watches_what_a_larger_share_watches(
    curve: tuple[np.ndarray, float], level: float, place: float
) -> None:
    share, duration_s = curve
    watch_s, seconds = watch_time_s(share, duration_s, level), place * duration_s
    assert 0.0 <= watch_s <= duration_s
    alive = survival(share, duration_s, seconds)
    if abs(alive - level) > 1e-9:
        assert watch_s >= seconds if level < alive else watch_s <= seconds


@given(some.floats(0.05, 60.0), some.floats(0.5, 10.0))
def test_the_chunks_of_a_video_are_its_duration(duration_s: float, chunk_s: float) -> None:
    sim = make_sim([duration_s], chunk_s=chunk_s)
    seconds = [content_s(sim.params, sim.catalog, 0, chunk) for chunk in range(sim.catalog.n_chunks[0])]
    assert sum(seconds) == pytest.approx(duration_s)
    assert seconds[:-1] == [chunk_s] * (len(seconds) - 1)
    assert 0.0 < seconds[-1] <= chunk_s
