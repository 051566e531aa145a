"""Paired differences, by hand."""

from typing import Any

import pytest

from agents.studies.tables import compare, signed, unbeaten
from ppgym.world.scenario import DEFAULT_SCENARIO


def sessions(agent: str, returns: list[float], watched_s: list[float]) -> list[dict[str, Any]]:
    return [
        {"scenario": DEFAULT_SCENARIO, "agent": agent, "totals": {"return": total, "drawn_watch_s": drawn_s}}
        for total, drawn_s in zip(returns, watched_s, strict=True)
    ]


def test_a_difference_is_one_of_sums_over_sums() -> None:
    """The mean of the sessions' own ratios would be 25, and the difference -12.5."""
    watched_s = [60.0, 180.0] * 8
    new, old = sessions("new", [5.0, 135.0] * 8, watched_s), sessions("old", [50.0, 75.0] * 8, watched_s)
    found = compare(new, old)
    assert (found["qoe"], found["difference"]) == (35.0, 3.75)
    assert found["ci95"][0] < 0.0 < found["ci95"][1]
    assert compare(new[:15], old[:15])["ci95"] is None


def test_other_sessions_are_refused() -> None:
    with pytest.raises(ValueError, match="new, old: expected the same sessions"):
        compare(sessions("new", [1.0], [60.0]), sessions("old", [1.0], [59.0]))


def test_a_figure_without_an_interval_is_shown_alone() -> None:
    assert signed(1.25, None) == "+1.2"
    assert signed(-1.0, (-2.0, 0.5)) == "-1.0 (-2.0 to +0.5)"


def test_beaten_is_who_is_nowhere_better_and_somewhere_worse_or_later() -> None:
    rows = [(10.0, -5.0, -3.0), (10.0, -5.0, -3.0), (9.0, -5.0, -3.0), (9.0, -4.0, -9.0), (9.0, -4.0, -8.0)]
    assert unbeaten(rows) == [True, False, False, False, True]
