"""How many sessions tell two agents apart: by hand, and what the command prints."""

import math

import numpy as np
import pytest

from agents.studies.power import find_power, print_power

RNG = np.random.default_rng(3)
MINUTES = RNG.uniform(1.0, 3.0, 400)
CONTROL = 20.0 * MINUTES + RNG.normal(0.0, 8.0, 400)


def test_sessions_by_hand() -> None:
    """Residuals of 6 a session over 2 minutes are 3 QoE: (2.8 x 3 / d)^2 sessions."""
    minutes = np.full(400, 2.0)
    returns = 50.0 * minutes + np.tile([6.0, -6.0], 200)
    power = find_power(returns, RNG.permutation(returns), minutes, 1.0)
    assert power.estimate.value == 50.0
    assert power.sessions == pytest.approx((2.8016 * 3.0) ** 2, abs=1.5)
    assert find_power(returns, returns, minutes, 2.0).sessions == pytest.approx(power.sessions / 4.0, abs=1.0)


def test_a_control_helps_as_far_as_it_tells_how_hard_a_session_is() -> None:
    alike = CONTROL + RNG.normal(0.0, 1.0, 400) + 30.0 * MINUTES
    power = find_power(alike, CONTROL, MINUTES, 1.0)
    assert power.correlation > 0.95
    assert power.sessions_with_control < power.sessions / 10.0
    nothing = find_power(RNG.normal(0.0, 8.0, 400), CONTROL, MINUTES, 1.0)
    assert nothing.sessions_with_control >= 0.95 * nothing.sessions
    assert find_power(np.zeros(400), CONTROL, MINUTES, 1.0).sessions == 0


def test_sessions_of_one_trace_count_as_less() -> None:
    shared, minutes = np.repeat(RNG.normal(0.0, 8.0, 100), 4), np.full(400, 2.0)
    apart = find_power(shared, shared, minutes, 1.0)
    together = find_power(shared, shared, minutes, 1.0, np.repeat(np.arange(100), 4))
    assert together.sessions == pytest.approx(4.0 * apart.sessions, rel=0.05)
    assert together.correlation == pytest.approx(1.0)


def test_that_many_sessions_have_the_power() -> None:
    noise = 10.0
    plan = find_power(RNG.normal(0.0, noise, 4000), np.ones(4000), np.full(4000, 1.0), 2.0)
    count, found = plan.sessions, 0
    for _ in range(400):
        returns = RNG.normal(2.0, noise, count)
        found += returns.mean() > 1.96 * returns.std(ddof=1) / math.sqrt(count)
    assert 0.74 < found / 400 < 0.86


def test_what_it_prints(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    print_power(("random", "on_demand"), scenario="high/pixels-only/skimmer", sessions=16, difference=5.0)
    text = capsys.readouterr().out
    assert "random - on_demand" in text
    assert "sessions for 5" in text
    assert max(len(line) for line in text.splitlines()) <= 80


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *(({"difference": d}, "difference: expected a number above 0") for d in (0.0, math.nan, math.inf)),
        ({"sessions": 15}, "sessions: expected at least 16"),
        ({"agents": ("gredy", "random")}, "did you mean 'greedy'"),
    ],
)
def test_nonsense_is_refused(change: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {"agents": ("random", "on_demand")} | change
    with pytest.raises(ValueError, match=message):
        print_power(**arguments)  # type: ignore[arg-type]
