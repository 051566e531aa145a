"""Boards from disjoint sessions do not contradict each other: the committed run, and agents that differ by hand."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))

import opposite_signs

RNG = np.random.default_rng(0)


def test_signs_by_hand() -> None:
    noise, minutes = RNG.normal(0.0, 5.0, (3, 256)), np.full(256, 2.0)
    returns = np.array([[100.0], [50.0], [50.0]]) + noise
    assert opposite_signs.significant_signs(returns, minutes).tolist() == [1, 1, 0]
    assert opposite_signs.significant_signs(returns[::-1], minutes).tolist() == [0, -1, -1]
    assert opposite_signs.significant_signs(np.array([noise[0], noise[0]]), minutes).tolist() == [0]


def test_a_contradiction_is_found() -> None:
    """One agent wins in the sessions of one half and loses in those of the other, so that halves often differ."""
    returns = np.zeros((2, 8))
    returns[0] = [9.0, 9.0, 9.0, 9.0, -9.0, -9.0, -9.0, -9.0]
    counts = opposite_signs.contradictions(
        returns + RNG.normal(0.0, 0.1, (2, 8)), np.ones(8), disjoint=True, redraws=200
    )
    assert max(counts) == 1


def test_boards_of_the_committed_run_do_not_contradict_each_other() -> None:
    _, returns, minutes = opposite_signs.read_run()
    for disjoint in (False, True):
        assert sum(opposite_signs.contradictions(returns, minutes, disjoint=disjoint, redraws=20)) == 0
