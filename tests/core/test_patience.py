"""The law of patience: draws and shares against a plain integration, for every form that a scenario may have."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from ppgym.core.patience import patience_of, patience_share
from ppgym.core.state import NEVER_S
from ppgym.world.patience import patience_rows

pytestmark = pytest.mark.kernel

FORMS: dict[str, Any] = {
    "none": "none",
    "constant": 4,
    "uniform": (2.0, 6.0),
    "published": "published",
    "user": ((1.0, 0.9), (3.0, 0.2), (7.0, 0.05)),
    "user, to 0": ((1.0, 1.0), (3.0, 0.25), (5.0, 0.0)),
    "user, some leave at once": ((0.0, 0.8), (2.0, 0.5), (4.0, 0.0)),
    "user, with a jump": ((2.0, 1.0), (2.0, 0.5), (6.0, 0.25)),
    "user, a level end": ((1.0, 0.75), (2.0, 0.5), (3.0, 0.5)),
}
STEPS = 2000

Rows = tuple[tuple[float, float], ...]


def rows_of(form: str) -> Rows:
    return patience_rows(FORMS[form])


def table_of(form: str) -> tuple[np.ndarray, np.ndarray]:
    rows = np.array(rows_of(form), dtype=np.float64).reshape(-1, 2)
    return rows[:, 0].copy(), rows[:, 1].copy()


def integrated_share(rows: Rows, stall_s: float) -> float:
    """The share that bears longer stalls: all of them, and step by step those who leave taken off."""
    alive = 1.0
    if not rows:
        return alive
    pieces = list(itertools.pairwise(rows))
    (from_s, before), (to_s, after) = pieces[-1]
    if to_s > from_s and after > 0:  # the last hazard stays: the same ratio in the same time, again and again
        length_s, ratio = to_s - from_s, after / before
        pieces += [((to_s + n * length_s, 1.0), (to_s + (n + 1) * length_s, ratio)) for n in range(100)]
    for (from_s, before), (to_s, after) in pieces:
        if stall_s < from_s:
            break
        if to_s == from_s:  # all in one instant
            alive *= after / before
            continue
        step_s = (min(stall_s, to_s) - from_s) / STEPS
        everybody = alive / before * (before - after)  # who leaves within this piece
        for _ in range(STEPS):
            if after == 0:
                alive -= everybody * step_s / (to_s - from_s)
            else:  # at a constant hazard
                leaving = math.log(before / after) / (to_s - from_s) * step_s / 2
                alive *= (1 - leaving) / (1 + leaving)
    return alive


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("stall_s", [0.0, 0.5, 1.0, 2.0, 2.5, 3.0, 4.0, 5.0, 6.5, 9.0, 10.0, 25.0])
def test_the_share_that_bears_a_stall_is_an_integral(form: str, stall_s: float) -> None:
    expected = integrated_share(rows_of(form), stall_s)
    assert patience_share(*table_of(form), stall_s) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("form", FORMS)
@given(level=some.floats(0.0, 1.0, exclude_max=True), stall_s=some.floats(0.0, 60.0))
def test_who_draws_a_level_bears_the_stalls_that_a_larger_share_bears(form: str, level: float, stall_s: float) -> None:
    at_s, share = table_of(form)
    bears = patience_share(at_s, share, stall_s)
    patience_s = patience_of(at_s, share, level)
    if abs(bears - level) > 1e-9:
        assert (patience_s > stall_s) == (level < bears)


@pytest.mark.parametrize("form", ["uniform", "published", "user", "user, to 0"])
@given(level=some.floats(1e-6, 1.0, exclude_max=True))
def test_draws_and_shares_are_inverse(form: str, level: float) -> None:
    at_s, share = table_of(form)
    patience_s = patience_of(at_s, share, level)
    assert patience_share(at_s, share, patience_s) == pytest.approx(level, rel=1e-9)
    again_s = patience_of(at_s, share, patience_share(at_s, share, patience_s))
    assert again_s == pytest.approx(patience_s, rel=1e-6)


def test_some_draws_by_hand() -> None:
    assert patience_of(*table_of("none"), 0.3) == NEVER_S
    assert patience_of(*table_of("constant"), 0.3) == 4.0
    assert patience_of(*table_of("uniform"), 0.75) == 3.0  # a quarter leaves in the first quarter
    published = table_of("published")
    assert patience_of(*published, 0.75) == pytest.approx(5.0)
    assert patience_of(*published, 0.52) == pytest.approx(10.0)
    assert patience_of(*published, 0.52 * 0.52 / 0.75) == pytest.approx(15.0)  # again 5 s at the last hazard
    assert patience_of(*published, 1 - 1e-12) == pytest.approx(2.0)
    assert patience_of(*published, 0.0) < 1e5  # finite
    assert patience_of(*table_of("user, some leave at once"), 0.9) == 0.0
    assert patience_of(*table_of("user, a level end"), 0.4) == NEVER_S
