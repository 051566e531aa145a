"""Worlds of a training run: drawn ones are valid, and their groups share what is trained."""

from typing import Any

import numpy as np
import pytest

from agents.training.worlds import WorldName, draw_world, share_out, world_groups
from ppgym.core.state import MAX_REPRESENTATIONS
from ppgym.world.ladders import Ladder
from ppgym.world.scenario import DEFAULT_SCENARIO

CONFIG: dict[str, Any] = {"scenario": DEFAULT_SCENARIO, "overrides": {"rtt_s": 0.1}, "seed": 0}


def groups_of(worlds: dict[str, Any] | None) -> list[list[WorldName]]:
    return world_groups(CONFIG | {"hyperparams": {"worlds": worlds}})


def test_drawn_worlds_differ_in_all_that_an_agent_shall_bear() -> None:
    rng = np.random.default_rng(0)
    scenarios = [draw_world(rng).parse() for _ in range(150)]
    ladders = [Ladder.load(scenario.ladder) for scenario in scenarios]
    lengths = [len(ladder.representations) for ladder in ladders]
    assert min(lengths) == 1
    assert 10 <= max(lengths) <= MAX_REPRESENTATIONS
    assert {ladder.chunk_s for ladder in ladders} == {0.5, 1.0, 2.0, 4.0}
    assert len({ladder.top_quality for ladder in ladders}) > 50
    assert len({scenario.device for scenario in scenarios}) > 4
    assert len({scenario.viewer for scenario in scenarios}) == 3
    kinds = {one.is_generative for ladder in ladders for one in ladder.representations}
    assert kinds == {True, False}
    for ladder in (ladder for ladder in ladders if ladder.name == "drawn"):
        rates = [one.bitrate_bps for one in ladder.representations if not one.is_generative]
        assert rates == sorted(rates)
    assert any(scenario.qoe.energy > 0.0 for scenario in scenarios)


def test_a_draw_is_the_seeds_alone() -> None:
    first, again = (groups_of({"suite": "quick", "drawn": 3}) for _ in range(2))
    assert first == again
    own, suite, drawn = first
    assert own == [WorldName(DEFAULT_SCENARIO, {"rtt_s": 0.1})]
    assert len(suite) == 4  # with overrides the run's own is another world than the suite's
    assert len(drawn) == 3
    assert groups_of(None) == [own]


def test_groups_share_alike() -> None:
    groups = groups_of({"suite": "quick", "drawn": 8})
    scenarios, counts = share_out(groups, 96)
    assert counts == [32] + [8] * 4 + [4] * 8
    assert [scenario.name for scenario in scenarios] == [world.parse().name for group in groups for world in group]
    assert share_out(groups, 3)[1] == [1] * 13


@pytest.mark.parametrize("worlds", [{"suite": "nothing", "drawn": 1}])
def test_an_unknown_suite_is_refused(worlds: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="unknown suite 'nothing'"):
        groups_of(worlds)
