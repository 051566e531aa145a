"""What each part of the planner is worth: hand-worked sessions. A run of it is in `test_paper_claims.py`."""

import pytest

from agents.studies.ablation_table import ablate
from ppgym.benchmark.records import Record
from ppgym.world.scenario import DEFAULT_SCENARIO


def played(returns: list[float]) -> list[Record]:
    """Sessions of a minute each."""
    where = {"scenario": DEFAULT_SCENARIO, "agent": "mcts"}
    return [where | {"totals": {"return": value, "drawn_watch_s": 60.0}} for value in returns]


PLANNER = played([10.0, 20.0] * 8)
WORSE, BETTER, UNEVEN = (played(returns * 8) for returns in ([8.0, 19.0], [11.0, 22.0], [8.0, 23.0]))


def test_a_part_holds_that_the_planner_is_worse_without() -> None:
    rows = ablate(PLANNER, {"no a": WORSE, "no b": BETTER})
    assert [row["holds"] for row in rows] == ["holds", "does not hold"]
    assert [row["difference"] for row in rows] == pytest.approx([-1.5, 1.5])


def test_what_cannot_be_told_does_not_hold() -> None:
    (uneven,) = ablate(PLANNER, {"one unit": UNEVEN})
    assert uneven["ci95"][0] < 0.0 < uneven["ci95"][1] and uneven["holds"] == "does not hold"
    (few,) = ablate(PLANNER[:2], {"no prompts": WORSE[:2]})
    assert (few["difference"], few["ci95"], few["holds"]) == (-1.5, None, "does not hold")
