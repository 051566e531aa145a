"""Dashlet: its PMFs against NumPy and Monte Carlo, and its decisions against a naive reading of the equations."""

from typing import Any

import numpy as np
import pytest

from agents.base import expected_bps
from agents.rules.dashlet import (
    Dashlet,
    DashletParameters,
    PromptDashlet,
    StallForecast,
    arrival_times,
    convolve,
    expected_stall_s,
    watch_seconds,
)
from agents.rules.forecast import conditional_survival, make_forecast, mean_lateness_s, observe
from ppgym.core.actions import WAIT
from ppgym.core.state import LOOKAHEAD, NO_ENTRY, SLOTS
from ppgym.env import PromptPreamEnv
from ppgym.planning.belief import sample_watch_s
from ppgym.planning_view import PlanningView
from ppgym.world.viewers import RetentionCurve

CURVE = np.array([1.0, 0.8, 0.4, 0.4, 0.0])  # three chunks; 40 % watch all of it


def test_watch_seconds_by_hand() -> None:
    """From the start: 0.2 leave at 0.5 s and 0.4 at 1.5 s, each shared by two seconds, and 0.4 at 3 s."""
    pmf = watch_seconds(CURVE, 3, 0.0, 6)
    np.testing.assert_allclose(pmf, [0.1, 0.1 + 0.2, 0.2, 0.4, 0.0, 0.0])
    # At 1.5 s 0.6 still watch: 0.2 leave in half a second, at 0.25 s from now, and 0.4 in 1.5 s
    pmf = watch_seconds(CURVE, 3, 1.5, 6)
    np.testing.assert_allclose(pmf, [0.75 / 3, 0.25 / 3 + 1 / 3, 1 / 3, 0.0, 0.0, 0.0])


def test_convolution_equals_numpys() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.random(30), rng.random(30)
    np.testing.assert_allclose(convolve(left, right), np.convolve(left, right)[:30])


def test_lateness_by_hand() -> None:
    np.testing.assert_allclose(mean_lateness_s(np.array([[0.0, 0.5, 0.25, 0.0]]), 1.0), [[0.0, 0.0, 0.5, 1.25, 2.0]])


def test_expected_stalls_equal_monte_carlo() -> None:
    env = PromptPreamEnv()
    env.reset(seed=3)
    view = env.planning_view()
    position_s, stay_p, draws = 2.3, 0.9, 40_000
    curves = [RetentionCurve(view.catalog.retention[s, : n + 1]) for s, n in enumerate(view.catalog.n_chunks) if n > 0]
    rng = np.random.default_rng(1)
    forecast = make_forecast(view.params, view.catalog, view.state, view.candidates, 1e6)
    forecast.playing_chunk[0] = 2
    heads = arrival_times(view.catalog, position_s, stay_p, 60)
    survival = conditional_survival(view.params, view.catalog, forecast)
    stalls = StallForecast(survival, mean_lateness_s(heads, 1.0), position_s, 1.0)

    arrival_s = np.zeros(draws)
    for slot, curve in enumerate(curves):
        watched_s = position_s if slot == 0 else 0.0
        watch_s = sample_watch_s(curve.survival, curve.duration_s, watched_s, rng.random(draws))
        for chunk in (0, 2, 5) if slot else (4, 7):
            if chunk >= curve.duration_s:
                continue
            for absent_s in (1.0, 4.5, 10.0, 25.0):
                starts_s = arrival_s + chunk - watched_s
                expected_s = np.where(watch_s >= chunk, np.maximum(absent_s - starts_s, 0.0), 0.0)
                if slot == 0:  # the paper's condition is the chunk that plays, not the moment within it
                    expected_s = expected_s * curve.at(position_s) / curve.at(2.0)
                error = 4 * expected_s.std() / np.sqrt(draws) + 0.02 * absent_s**0.5
                assert expected_stall_s(stalls, slot, chunk, absent_s) == pytest.approx(expected_s.mean(), abs=error)
        stays = rng.random(draws) < stay_p
        arrival_s = np.where(stays, arrival_s + watch_s - watched_s, np.inf)


def naive_decision(view: PlanningView, agent: Dashlet) -> tuple[int, int]:
    """Slot and representation by the equations of the paper, pixels alone; (-1, -1) for waiting."""
    parameters: DashletParameters = agent.parameters
    bps = expected_bps(view)
    catalog, state = view.catalog, view.state
    forecast = make_forecast(view.params, catalog, state, view.candidates, bps)
    seconds = 120
    heads = [np.eye(1, seconds)[0]]
    for slot in range(1, SLOTS):
        watched_s = forecast.position_s if slot == 1 else 0.0
        watch = watch_seconds(catalog.retention[slot - 1], catalog.n_chunks[slot - 1], watched_s, seconds)
        heads.append((1 - view.distribution.leave_p) * np.convolve(heads[-1], watch)[:seconds])

    late_s = [[sum((h - t) * head[t] for t in range(h)) for h in range(60)] for head in heads]

    def stall_s(slot: int, chunk: int, absent_s: float) -> float:
        begin = int(forecast.playing_chunk[slot])
        p = catalog.retention[slot, chunk] / catalog.retention[slot, begin] if chunk > begin else 1.0
        lead_s = max(chunk - (forecast.position_s if slot == 0 else 0.0), 0.0)
        return float(p * np.interp(absent_s - lead_s, range(60), late_s[slot]))

    following = {s: int(forecast.next_chunk[s]) for s in range(SLOTS) if forecast.next_chunk[s] != NO_ENTRY}
    candidates = [
        (s, c)
        for s, first in following.items()
        for c in range(first, catalog.n_chunks[s])
        if stall_s(s, c, parameters.horizon_s) > parameters.least_stall_s
    ]
    if not candidates:
        return -1, -1
    near_s = max(int(2 * parameters.horizon_s / len(candidates)) + 1, parameters.near_s)
    slot = max(following, key=lambda s: stall_s(s, following[s], near_s))
    chunk = following[slot]
    if stall_s(slot, chunk, near_s) <= parameters.idle_stall_s:
        return -1, -1
    target = parameters.horizon_s * bps / len(candidates)
    if stall_s(slot, chunk, parameters.danger_s) > parameters.least_stall_s:
        target /= 2
    rate = max((r for r in range(3) if 8 * catalog.chunk_bytes[slot, chunk, r] <= target), default=0)
    if chunk > forecast.playing_chunk[slot] and rate < 2:
        option = state.chunk_option[(state.video + slot) % SLOTS, (chunk - 1) % 64]
        rate = int(view.params.option_representation[option])
    return slot, rate


@pytest.mark.parametrize(
    ("network", "params"), [("low", {}), ("high", {"near_s": 4.0, "idle_stall_s": 0.2}), ("medium", {"horizon_s": 8.0})]
)
def test_decisions_equal_the_naive_ones(network: str, params: dict[str, Any]) -> None:
    env = PromptPreamEnv(f"{network}/snapdragon-8-elite/typical")
    agent = Dashlet(env, **params)
    env.reset(seed=2)
    waits = 0
    for _ in range(40):
        view = env.planning_view()
        action, _ = agent.predict(None)
        slot, rate = naive_decision(view, agent)
        if slot < 0:
            assert action == WAIT
        else:
            place, option = divmod(action - 1, len(env.options))
            assert place == slot * LOOKAHEAD
            assert env.options[option].representation == rate
        waits += action == WAIT
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()
    assert waits < 40


def test_a_prompt_must_be_decoded_in_time() -> None:
    """Where a chunk is due at once a prompt of 2 s of decoding is too late; for one due late it is not."""
    env = PromptPreamEnv("low/snapdragon-8-elite/sticky")
    agent = PromptDashlet(env)
    env.reset(seed=0)
    action, _ = agent.predict(None)
    assert env.options[(action - 1) % len(env.options)].codec == "h264"
    codecs = set()
    for _ in range(200):
        action, _ = agent.predict(None)
        if action != WAIT:
            codecs.add(env.options[(action - 1) % len(env.options)].codec)
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()
    assert codecs == {"h264", "prompt"}
    assert observe(env.planning_view(), np.ones(301), agent.representations).legal.all()


def test_a_horizon_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="horizon_s"):
        Dashlet(PromptPreamEnv(), horizon_s=0.0)
