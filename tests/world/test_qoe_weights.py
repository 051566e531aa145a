"""Weights relative to the ladder: exact on the default one, by hand on others, presets, and what is refused."""

from typing import Any

import pytest

from ppgym.world.ladders import LADDERS, Ladder
from ppgym.world.qoe_weights import QOE_PRESETS, QoEWeights
from ppgym.world.scenario import Scenario, make_world
from tests.world.test_ladders import content, row

FIRST_EDITION = {
    "quality": 1.0,
    "rebuffer": 1.85,
    "switch": 1.0,
    "waste": 1.0,
    "download": 0.0,
    "abandon": 18.5,
    "energy": 0.0,
}


def test_on_the_default_ladder_the_weights_are_those_of_the_first_edition() -> None:
    assert QoEWeights().on(Ladder.load("published")) == FIRST_EDITION
    params = make_world(Scenario.parse()).params
    assert {name: getattr(params, f"weight_{name}") for name in FIRST_EDITION} == FIRST_EDITION


@pytest.mark.parametrize("name", [name for name in LADDERS if name != "published"])
def test_the_other_shipped_ladders_have_the_same_ruler(name: str) -> None:
    assert QoEWeights().on(Ladder.load(name)) == pytest.approx(FIRST_EDITION)


@pytest.mark.parametrize(
    ("ladder", "rebuffer", "waste", "abandon"),
    [
        (content(row(bitrate_bps=5e6, quality=4.0)), 4.0, 0.8, 40.0),
        (content(row(bitrate_bps=5e6, quality=4.0), reference_mbps=2.0), 4.0, 2.0, 40.0),
        (content(row("g", "generative", bitrate_bps=2e6, quality=0.5)), 0.5, 0.25, 5.0),  # no pixels
        (
            content(row("p", bitrate_bps=5e5, quality=0.3), row("g", "generative", bitrate_bps=2e6, quality=0.5)),
            0.5,
            1.0,
            5.0,
        ),
    ],
)
def test_on_other_ladders_by_hand(ladder: dict[str, Any], rebuffer: float, waste: float, abandon: float) -> None:
    found = QoEWeights().on(Ladder.load(ladder))
    assert (found["rebuffer"], found["waste"], found["abandon"]) == pytest.approx((rebuffer, waste, abandon))
    assert (found["quality"], found["switch"], found["download"], found["energy"]) == (1, 1, 0, 0)


def test_what_is_given_stays() -> None:
    given = {"quality": 2.0, "rebuffer": 3.0, "switch": 0.5, "waste": 0.0, "download": 0.1, "abandon": 0.0}
    found = QoEWeights.of(given | {"energy": 0.7}).on(Ladder.load(content(row(quality=9.0))))
    assert found == given | {"energy": 0.7}


def test_the_weights_of_the_challenge_need_its_unit() -> None:
    vmaf = content(row(quality=95.0), quality_unit="VMAF")
    weights = QoEWeights.of("mmgc2022")
    found = weights.on(Ladder.load("pixels"))
    assert (found["rebuffer"], found["waste"], found["download"]) == (1.85, 0.0, 0.5)
    with pytest.raises(ValueError, match=r"qoe: these weights are for a quality in Mbit/s.*the ladder 'own' has VMAF"):
        weights.on(Ladder.load(vmaf))
    with pytest.raises(ValueError, match="VMAF"):
        make_world(Scenario.parse(ladder=vmaf, qoe="mmgc2022"))
    assert make_world(Scenario.parse(ladder=vmaf)).params.weight_rebuffer == 95.0


@pytest.mark.parametrize("name", QOE_PRESETS)
def test_a_preset_is_what_it_says(name: str) -> None:
    assert QoEWeights.of(name) == QoEWeights(**QOE_PRESETS[name])
