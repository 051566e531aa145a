"""Where a learned agent is a stranger: it says so, and refuses where it is lost."""

import warnings
from pathlib import Path

import pytest

from agents.learned.training_range import OutsideTraining, check_range, describe, distances, range_of
from ppgym.world.scenario import DEFAULT_SCENARIO, Scenario

HOME = Scenario.parse(DEFAULT_SCENARIO)
PATH = Path("x/ppo.safetensors")


def test_numbers_are_relative_to_the_ladder() -> None:
    found = describe(HOME)
    assert found["price of a stalled second"] == found["price of a wasted second at B"] == 1.0
    assert found["price of a video left"] == 10.0
    assert found["price of a switch by q"] == 1.0
    assert found["least rate / B"] == pytest.approx(4 * 1101 * 4 * 8 / 1.85e6)
    assert (found["representations"], found["generative representations"]) == (6.0, 3.0)
    double = Scenario.parse(DEFAULT_SCENARIO, qoe={"quality": 2.0, "rebuffer": 3.7})
    assert describe(double)["price of a stalled second"] == 1.0


def test_at_home_nothing_is_said() -> None:
    slow = Scenario.parse(DEFAULT_SCENARIO, rtt_s=0.2)
    trained_on = range_of([HOME, slow])
    assert trained_on["rtt_s"] == [0.08, 0.2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_range(Scenario.parse(DEFAULT_SCENARIO, rtt_s=0.1), trained_on, PATH)


def test_a_stranger_says_what_is_strange() -> None:
    strange = Scenario.parse(DEFAULT_SCENARIO, qoe={"waste": 4.0})
    assert distances(strange, range_of([HOME])) == {"price of a wasted second at B": pytest.approx(4.1 / 1.1)}
    with pytest.warns(
        OutsideTraining, match=r"^ppo\.safetensors: this world is unlike .* at B 4, trained from 1 to 1$"
    ):
        check_range(strange, range_of([HOME]), PATH)


def test_one_who_is_lost_refuses() -> None:
    with pytest.raises(ValueError, match=r"too far from those of its training: price of a stalled second 16\.2"):
        check_range(Scenario.parse(DEFAULT_SCENARIO, qoe={"rebuffer": 30.0}), range_of([HOME]), PATH)
    with pytest.raises(ValueError, match=r"ppo\.safetensors: qoe\.quality: expected more than 0"):
        check_range(Scenario.parse(DEFAULT_SCENARIO, qoe={"quality": 0.0}), range_of([HOME]), PATH)
