"""The registry of agents, and the rules: what they fetch, that they stay legal, and that none sees the future."""

import dataclasses
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from agents import AGENTS, REGISTRY, agent_class, make_agent
from agents.base import FIRST_BPS, RandomLegal, expected_bps
from agents.rules.forecast import decode_times, forecast_decoding
from agents.rules.preload import OnDemand
from ppgym.benchmark.run import run_benchmark
from ppgym.core.actions import WAIT
from ppgym.core.state import LOOKAHEAD, NO_ENTRY
from ppgym.env import PromptPreamEnv
from ppgym.planning_view import writeable_fields
from tests.planning.futures import second_edition
from tests.test_env import other_future

NAMES = ["random", "on_demand", "next_one", "fixed_preload", "greedy"]
PIXEL_RULES = ["on_demand", "next_one", "fixed_preload"]
SCENARIOS: list[dict[str, Any]] = [
    {},
    {"scenario": "low/pixels-only/skimmer", "parallel_downloads": 2, "cancel_on_swipe": True},
    {"scenario": "5g/rtx-4090/sticky", "decoded_buffer_bytes": 6e7, "n_videos": 6},
    {"scenario": "mixed/snapdragon-8-gen-2/typical", "charge_thinking_s": 0.1, "patience": 8.0},
    {"scenario": "medium/snapdragon-8-gen-3/typical", "qoe": {"rebuffer": 0.0, "download": 3.0, "energy": 0.1}},
    second_edition(),
]


def play(env: PromptPreamEnv, name: str, seed: int) -> list[int]:
    """One episode; asserts that every action is legal."""
    agent = make_agent(name, env, seed=seed)
    observation, info = env.reset(seed=seed)
    actions, ended = [], False
    while not ended:
        action, _ = agent.predict(observation, action_masks=info["action_mask"].astype(bool))
        assert info["action_mask"][action]
        observation, _, terminated, truncated, info = env.step(action)
        assert not info["invalid_action"]
        actions.append(int(action))
        ended = terminated or truncated
    return actions


def slot_and_option(env: PromptPreamEnv, action: int) -> tuple[int, int]:
    place, option = divmod(action - 1, len(env.options))
    return place // LOOKAHEAD, option


def test_unknown_agents_are_refused_with_the_nearest_name() -> None:
    with pytest.raises(ValueError, match="did you mean 'greedy'"):
        agent_class("gredy")
    with pytest.raises(ValueError, match="cannot import 'nowhere'"):
        agent_class("nowhere:Agent")
    with pytest.raises(ValueError, match="no class 'Nobody'"):
        agent_class("agents.base:Nobody")
    with pytest.raises(ValueError, match="method 'predict'"):
        agent_class("agents.rules.greedy:GreedyParameters")


def test_an_agent_may_be_an_import_path() -> None:
    assert agent_class("agents.rules.preload:OnDemand") is OnDemand
    assert set(NAMES) <= set(AGENTS)


def test_the_registry_needs_no_deep_learning_library() -> None:
    program = (
        "import sys, agents; [agents.agent_class(n) for n in ('random', 'greedy')]; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("kwargs", SCENARIOS)
@pytest.mark.parametrize("name", NAMES)
def test_episodes_end_and_every_action_is_legal(name: str, kwargs: dict[str, Any]) -> None:
    env = PromptPreamEnv(split="validation", **kwargs)
    for seed in range(2):
        actions = play(env, name, seed)
        info = env._info()
        assert len(actions) > 5
        assert not env._states[0].truncated
        assert info["played_s"] > 0.0
        if info["videos_abandoned"] == 0:
            assert info["played_s"] == pytest.approx(env.drawn_watch_s())


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_actions(name: str) -> None:
    env = PromptPreamEnv(split="validation", scenario="mixed/snapdragon-8-elite/typical")
    assert play(env, name, 3) == play(PromptPreamEnv(split="validation", scenario=env.world.scenario), name, 3)


def test_random_draws_from_its_seed_and_from_the_legal_actions_alone() -> None:
    env = PromptPreamEnv()
    env.reset(seed=0)
    draws = [[agent.predict(None)[0] for _ in range(200)] for agent in (RandomLegal(env, seed=s) for s in (1, 1, 2))]
    assert draws[0] == draws[1] != draws[2]
    assert set(draws[0]) <= set(np.flatnonzero(env.action_masks()).tolist())
    mask = np.zeros(env.action_space.n, bool)
    mask[[3, 7]] = True
    agent = RandomLegal(env, seed=0)
    assert {agent.predict(None, action_masks=mask)[0] for _ in range(50)} == {3, 7}


@pytest.mark.parametrize("name", ["on_demand", "next_one", "fixed_preload", "greedy"])
@pytest.mark.parametrize("downloads", [1, 2])
def test_no_agent_sees_the_future(name: str, downloads: int) -> None:
    """Episodes that agree so far and differ later are met with the same actions so far."""
    rng = np.random.default_rng(downloads)
    for seed in range(6):
        env = PromptPreamEnv(parallel_downloads=downloads)
        agent = make_agent(name, env, seed=seed)
        env.reset(seed=seed)
        actions = [agent.predict(None)[0]]
        for _ in range(int(rng.integers(5, 80))):
            before = env.get_state()
            _, _, terminated, truncated, _ = env.step(actions[-1])
            if terminated or truncated:
                env.set_state(before)
                break
            actions.append(agent.predict(None)[0])
        other = other_future(env, rng)
        agent = make_agent(name, other, seed=seed)
        for action in actions[:-1]:
            assert agent.predict(None)[0] == action
            other.step(action)
        assert agent.predict(None)[0] == actions[-1]


def test_throughput_is_the_harmonic_mean_of_the_last_five() -> None:
    env = PromptPreamEnv()
    env.reset(seed=0)
    assert expected_bps(env.planning_view()) == FIRST_BPS
    agent = make_agent("next_one", env)
    for _ in range(20):
        env.step(agent.predict(None)[0])
    seen = env.planning_view().throughput_bps
    assert len(seen) > 5
    assert expected_bps(env.planning_view()) == pytest.approx(5.0 / sum(1.0 / x for x in seen[-5:]))


def fetched(name: str, steps: int, **kwargs: Any) -> list[tuple[int, int, str, int]]:
    """What an agent requests: (feed position, slot, option, first missing chunk of the current video)."""
    env = PromptPreamEnv(split="validation", **kwargs)
    agent = make_agent(name, env)
    requests = []
    for seed in range(3):
        env.reset(seed=seed)
        for _ in range(steps):
            action = int(agent.predict(None)[0])
            if action != WAIT:
                slot, option = slot_and_option(env, action)
                view = env.planning_view()
                requests.append((int(view.state.video), slot, env.options[option].name, int(view.candidates[0, 0])))
            if env.step(action)[2]:
                break
    return requests


@pytest.mark.parametrize("name", PIXEL_RULES)
def test_pixel_rules_fetch_pixels_for_the_fixed_function_decoder(name: str) -> None:
    names = {option for _, _, option, _ in fetched(name, 60)}
    assert all(option.startswith("h264") for option in names)
    assert any(option.endswith("@vdec") for option in names)


def test_on_demand_never_preloads() -> None:
    assert {slot for _, slot, _, _ in fetched("on_demand", 100)} == {0}


def test_next_one_takes_the_top_rate_of_the_current_video_and_then_of_the_next() -> None:
    requests = fetched("next_one", 100, scenario="high/snapdragon-8-elite/typical")
    assert {option.split("@")[0] for _, _, option, _ in requests} == {"h264-1850k"}
    assert {slot for _, slot, _, _ in requests} == {0, 1}
    assert all(missing == NO_ENTRY for _, slot, _, missing in requests if slot == 1)


def test_fixed_preload_completes_the_current_video_first() -> None:
    requests = fetched("fixed_preload", 100, scenario="high/snapdragon-8-elite/sticky")
    assert max(slot for _, slot, _, _ in requests) == 4
    assert all(missing == NO_ENTRY for _, slot, _, missing in requests if slot > 0)
    assert {option.split("@")[0] for _, _, option, _ in requests} == {"h264-750k", "h264-1200k", "h264-1850k"}


def test_greedy_requests_what_a_stalled_viewer_waits_for_even_if_nothing_pays() -> None:
    env = PromptPreamEnv(qoe={"quality": 0.0, "rebuffer": 0.0, "download": 10.0})
    env.reset(seed=0)
    action = make_agent("greedy", env).predict(None)[0]
    assert action != WAIT


def starved() -> PromptPreamEnv:
    """A viewer who waits for the first chunk on a slow link, where NPU and GPU of the phone decode in time."""
    env = PromptPreamEnv("low/snapdragon-8-elite/typical/promptmobile")
    env.reset(seed=0)
    state = env._states[0]
    state.throughputs = len(state.throughput_bps)
    state.throughput_bps[:] = 0.15e6
    return env


def chosen(name: str, env: PromptPreamEnv, **changed: Any) -> str:
    """The option that a rule takes for what a stalled viewer waits for, with some of the constants changed."""
    rule = make_agent(name, env)
    view = env.planning_view()
    view = dataclasses.replace(view, params=view.params._replace(**changed))
    action = int(rule.decide(view, view.action_mask))  # type: ignore[attr-defined]
    return env.options[slot_and_option(env, action)[1]].name


@pytest.mark.parametrize("name", ["greedy", "pdas+prompt", "dashlet+prompt"])
def test_rules_count_the_seconds_in_which_a_decoder_is_loaded(name: str) -> None:
    """By the time that the NPU's decoder is loaded, another unit has long decoded the chunk."""
    env = starved()
    slow = [option.unit == "npu" for option in env.options]
    usual = chosen(name, env)
    assert usual == "promptmobile-280k@npu"
    assert chosen(name, env, option_load_s=np.where(slow, 30.0, 0.0)) == "promptmobile-280k@gpu"


def test_one_job_loads_the_decoder_for_those_behind_it() -> None:
    """Three chunks on their way to one decoder that takes 5 s to load."""
    env = PromptPreamEnv("low/snapdragon-8-elite/typical/promptmobile", parallel_downloads=4)
    env.reset(seed=0)
    npu = next(i for i, option in enumerate(env.options) if option.name == "promptmobile-280k@npu")
    for _ in range(3):
        env.step(1 + npu)
    view = env.planning_view()
    assert view.state.transfers == 3
    params = writeable_fields(view.params._replace(option_load_s=np.full(len(env.options), 5.0)))
    ready_s, free_s = forecast_decoding(params, writeable_fields(view.catalog), view.state, 1e12)
    decode_s = params.option_decode_s[npu]
    arrival_s = params.rtt_s - view.state.time_s
    np.testing.assert_allclose(ready_s[0, :3], arrival_s + 5.0 + decode_s * np.arange(1, 4), rtol=1e-6)
    assert free_s[params.option_unit[npu]] == pytest.approx(ready_s[0, 2])
    times = decode_times(params, writeable_fields(view.catalog), view.state, 1, 0, 3)
    np.testing.assert_allclose(times[:, npu], [5.0 + decode_s, decode_s, decode_s], rtol=1e-9)


@pytest.mark.parametrize("name", ["greedy", "pdas+prompt", "dashlet+prompt"])
def test_rules_count_the_throttling_of_a_unit_that_was_busy(name: str) -> None:
    env = starved()
    state = env._states[0]
    state.time_s = 60.0
    state.playback_since_s = 60.0
    state.busy_s[2] = 60.0  # the NPU, all the time
    assert chosen(name, env) == "promptmobile-280k@npu"
    assert chosen(name, env, throttle=50.0) == "promptmobile-280k@gpu"


def test_greedy_takes_the_unit_whose_joules_are_cheap() -> None:
    env = starved()
    watts = np.array([1e3 if option.unit == "npu" else 0.0 for option in env.options])
    assert chosen("greedy", env, option_w=watts) == "promptmobile-280k@npu"
    assert chosen("greedy", env, option_w=watts, weight_energy=1.0) == "promptmobile-280k@gpu"


@pytest.mark.parametrize("name", ["greedy", "pdas+prompt"])
def test_rules_leave_alone_what_costs_more_joules_than_it_is_worth(name: str) -> None:
    env = starved()
    watts = np.array([1e3 if option.is_generative else 0.0 for option in env.options])
    assert chosen(name, env, option_w=watts).startswith("promptmobile")
    assert chosen(name, env, option_w=watts, weight_energy=1.0).startswith("h264")


def test_greedy_beats_the_rules_that_know_pixels_alone() -> None:
    """Paired episodes of the validation split; the margin is more than half of what was seen over 128 episodes.

    Of pixels alone it beats those that do not preload the whole feed.
    """
    rows = run_benchmark(
        REGISTRY,
        NAMES[1:],
        ["low/snapdragon-8-elite/typical", "low/pixels-only/typical"],
        sessions=32,
        split="validation",
    ).rows
    qoe = {(row.scenario, row.agent): row.qoe for row in rows}
    for rule in PIXEL_RULES:
        assert qoe["low/snapdragon-8-elite/typical", "greedy"] > qoe["low/snapdragon-8-elite/typical", rule] + 10.0
    for rule in ("on_demand", "next_one"):
        assert qoe["low/pixels-only/typical", "greedy"] > qoe["low/pixels-only/typical", rule]
