"""The planner and its agent: the same views, the same decisions; budgets, ablations, explanation."""

import math
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from agents import AGENTS, make_agent
from agents.mcts import MCTSAgent, read_parameters
from ppgym.core.actions import WAIT
from ppgym.core.state import HISTORY, LOOKAHEAD
from ppgym.env import PromptPreamEnv
from ppgym.planning import planner
from ppgym.planning.explain import name_action
from ppgym.planning.planner import (
    Planner,
    PlannerParameters,
    advantage_sd,
    expected_gains,
    posterior_advantage,
)
from ppgym.planning.rollout_parameters import FAST_NETWORK_BPS, SLOW_NETWORK_BPS, NetworkParameters, RolloutPolicy
from ppgym.planning.search import SearchParameters, new_root
from ppgym.world.ladders import Ladder
from tests.core.kernel import KernelSimulator
from tests.planning.futures import PATIENT, VDEC, futures_of, second_edition, view_of, world_of
from tests.test_env import other_future, random_legal

SMALL = PlannerParameters(futures=12, root_actions=6)


def situations(count: int, **kwargs: Any) -> Any:
    """Environments at decisions of random play."""
    env, rng = PromptPreamEnv(**kwargs), np.random.default_rng(4)
    _, info = env.reset(seed=4)
    for step in range(6 * count):
        if step % 6 == 0:
            yield env
        _, _, terminated, truncated, info = env.step(random_legal(rng, info["action_mask"]))
        if terminated or truncated:
            _, info = env.reset()


def play(env: PromptPreamEnv, agent: MCTSAgent, seed: int, decisions: int = 10_000) -> list[dict[str, Any]]:
    """Acts from a reset on; by decision the view, the action and what it led to."""
    observation, info = env.reset(seed=seed)
    steps: list[dict[str, Any]] = []
    while len(steps) < decisions:
        view = env.planning_view()
        action, _ = agent.predict(observation)
        assert info["action_mask"][action]
        observation, _, terminated, truncated, info = env.step(action)
        assert not info["invalid_action"]
        steps.append({"view": view, "action": action, "info": info})
        if terminated or truncated:
            break
    return steps


def requested(step: dict[str, Any]) -> tuple[int, int, Any] | None:
    """(slot, chunk, option) of a step's request."""
    view, action = step["view"], step["action"]
    if action == WAIT:
        return None
    place, option = divmod(action - 1, len(view.options))
    slot, lookahead = divmod(place, LOOKAHEAD)
    return slot, int(view.candidates[slot, lookahead]), view.options[option]


# --- the same view, the same decision ---------------------------------------------------------------------------------


def test_the_registry_knows_it() -> None:
    assert "mcts" in AGENTS
    agent = make_agent("mcts", PromptPreamEnv(), seed=0)
    assert isinstance(agent, MCTSAgent)
    assert agent.planner.simulations >= 16


def test_a_decision_is_a_function_of_the_view_whatever_was_planned_before() -> None:
    fresh, used = ([Planner(simulations=48, seed=2, parameters=SMALL) for _ in range(20)] for _ in range(2))
    views = [env.planning_view() for env in situations(20)]
    first = [planner.plan(view) for planner, view in zip(fresh, views, strict=True)]
    for view, plan in reversed(list(zip(views, first, strict=True))):
        again = used[0].plan(view)
        assert again.action == plan.action
        assert np.array_equal(again.simulated, plan.simulated)
        assert np.array_equal(again.advantage, plan.advantage)


def test_another_seed_draws_other_futures() -> None:
    left, right = (Planner(simulations=48, seed=seed, parameters=SMALL) for seed in (0, 1))
    views = [env.planning_view() for env in situations(12)]
    plans = [(left.plan(view).advantage, right.plan(view).advantage) for view in views]
    assert any(not np.array_equal(*advantages) for advantages in plans)


@pytest.mark.parametrize("kwargs", [{}, {"parallel_downloads": 2, "patience": [2.0, 8.0]}])
def test_what_has_not_happened_changes_no_decision(kwargs: dict[str, Any]) -> None:
    """A whole episode, and one that agrees with it up to its middle and differs afterwards."""
    rng = np.random.default_rng(5)
    for seed in range(3):
        env = PromptPreamEnv(**kwargs)
        whole = play(env, MCTSAgent(env, simulations=16), seed)
        actions = [step["action"] for step in whole[: max(len(whole) // 2, 2)]]
        env.reset(seed=seed)
        for action in actions[:-1]:
            env.step(action)
        other = other_future(env, rng)
        agent = MCTSAgent(other, simulations=16)
        for i, action in enumerate(actions):
            assert agent.predict(None)[0] == action, f"decision {i} of seed {seed}"
            other.step(action)


# --- budgets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("simulations", [1, 2, 3, 16, 100])
def test_any_budget_gives_a_legal_action(simulations: int) -> None:
    planner = Planner(simulations=simulations, parameters=SMALL)
    for env in situations(10, parallel_downloads=2):
        view = env.planning_view()
        plan = planner.plan(view)
        assert view.action_mask[plan.action]
        assert plan.simulated.sum() == plan.simulations
        assert plan.simulations <= simulations
        assert plan.advantage[0] in (0.0, -math.inf)


def test_a_budget_of_time_stops_early_at_a_legal_action() -> None:
    planner = Planner(simulations=20_000, time_budget_ms=1e-3, parameters=SMALL)
    for env in situations(5):
        plan = planner.plan(env.planning_view())
        assert env.action_masks()[plan.action]
        assert 0 < plan.simulations < 20_000


def test_a_budget_of_time_is_kept_whatever_the_simulations() -> None:
    """A clock that has run out before the first simulation leaves it at the fewest, not at a share of the budget."""
    env = PromptPreamEnv()
    env.reset(seed=0)
    plan = Planner(simulations=20_000, time_budget_ms=1e-3, parameters=SMALL).plan(env.planning_view())
    assert plan.simulations <= SMALL.batch


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"simulations": 0}, "simulations: expected at least 1, got 0"),
        ({"time_budget_ms": 0.0}, "time_budget_ms: expected more than 0"),
        ({"time_budget_ms": -1.0}, "time_budget_ms: expected more than 0"),
        ({"root_actions": 1}, "root_actions: expected at least 2, got 1"),
        ({"batch": 0}, "batch: expected at least 1, got 0"),
        ({"futures": 0}, "futures: expected at least 1, got 0"),
        ({"indifference": -0.1}, "indifference: expected at least 0.0, got -0.1"),
        ({"advantage_sd": 0.0}, "advantage_sd: expected more than 0, got 0.0"),
        ({"fast_advantage_sd": -1.0}, "fast_advantage_sd: expected more than 0, got -1.0"),
        (
            {"rollout": {"fast_network": {"slow": {"stall_share": -0.1}}}},
            "rollout: fast_network: slow: stall_share: expected at least 0, got -0.1",
        ),
        (
            {"rollout": {"slow_network": {"fast": {"bps_share": 0.0}}}},
            "rollout: slow_network: fast: bps_share: expected more than 0, got 0.0",
        ),
        ({"search": {"horizon_s": 0.0}}, "horizon_s: expected more than 0 and at most longest_s, 40.0, got 0.0"),
        ({"search": {"longest_s": 10.0}}, "horizon_s: expected more than 0 and at most longest_s, 10.0, got 20.0"),
        ({"pruning": ["dominated_units"]}, "unknown rule 'dominated_units'.*dominated_unit"),
    ],
)
def test_what_makes_no_sense_is_refused(parameters: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        MCTSAgent(PromptPreamEnv(), **parameters)


def test_the_advantage_shrinks_what_few_simulations_show() -> None:
    """By hand: the second action is better by 1 and by 2; its prior advantage is -0.5, of spread 1."""
    root = new_root(3, 4)
    root.simulated[:] = 2, 2, 0
    root.returns[:2, :2] = [[5.0, 4.0], [6.0, 6.0]]
    # differences 1 and 2: mean 1.5, squared deviations 0.5, with a pseudo-difference (0.5 + 1) / 2 = 0.75
    weight = 2 / 0.75
    expected = (weight * 1.5 - 0.5) / (weight + 1.0)
    mean, variance = posterior_advantage(root, np.array([0.0, -0.5, -2.0]), 1.0)
    assert mean == pytest.approx([0.0, expected, -2.0])  # the third was never simulated: its prior
    assert variance == pytest.approx([0.0, 1.0 / (weight + 1.0), 1.0])


def test_the_gain_of_knowing_better_is_the_expectation_of_what_is_above_the_best() -> None:
    mean, variance = np.array([0.0, 0.7, 0.5, -3.0]), np.array([0.0, 0.04, 0.21, 1.0])
    gains = expected_gains(mean, variance)
    assert gains[1] == 0.0
    for action in (0, 2, 3):
        difference = NormalDist(mean[action] - 0.7, math.sqrt(variance[action] + 0.04))
        grid = np.linspace(0.0, 8.0, 80_001)
        expected = np.trapezoid([x * difference.pdf(x) for x in grid.tolist()], grid)
        assert gains[action] == pytest.approx(expected, rel=1e-6)
    assert expected_gains(np.zeros(2), np.zeros(2)).tolist() == [0.0, 0.0]


def test_the_better_half_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight actions of known returns: half of them go in each round, the worst ones, and the first one never."""
    worth = 0.02 * np.array([0.0, 0.4, -0.3, 0.1, 0.5, -0.2, 0.3, 0.2])

    def simulate_actions(*given: Any) -> None:
        *_, root, alive, _, count = given
        for k in alive:
            root.returns[k, root.simulated[k] : root.simulated[k] + count] = worth[k]
            root.simulated[k] += count

    monkeypatch.setattr(planner, "simulate_actions", simulate_actions)
    view = next(situations(1))
    searcher = Planner(simulations=480, parameters=PlannerParameters(root_actions=8, indifference=0.0, batch=160))
    plan = searcher.plan(view.planning_view(), np.zeros(len(view.action_masks())))
    assert plan.simulated.tolist() == [20 + 40 + 80, 20 + 40, 20, 20, 20 + 40 + 80, 20, 20 + 40, 20]
    assert plan.action == plan.root_actions[4]


@pytest.mark.parametrize("batch", [1, 2, 10])
def test_no_action_goes_unseen_where_the_budget_allows_it(batch: int) -> None:
    parameters = PlannerParameters(batch=batch, indifference=0.0)
    for env in situations(3):
        plan = Planner(simulations=400, parameters=parameters).plan(env.planning_view())
        assert (plan.simulated >= 1).all()


def test_a_search_ends_where_the_best_action_is_clear() -> None:
    """One that never gains from knowing better ends after a batch; one that always does spends its budget."""
    views = [env.planning_view() for env in situations(12)]
    spent = {}
    for indifference in (0.0, 0.01, 100.0):
        parameters = SMALL._replace(indifference=indifference, batch=64)
        planner = Planner(simulations=384, parameters=parameters)
        spent[indifference] = np.array([planner.plan(view).simulations for view in views])
    assert (spent[100.0] <= 64).all()
    assert (spent[100.0] <= spent[0.01]).all()
    assert (spent[0.01] <= 384).all()
    assert spent[100.0].sum() < spent[0.01].sum() < spent[0.0].sum()
    assert (spent[0.0] > 384 - 16).any()


def test_less_is_expected_of_a_search_the_faster_the_network() -> None:
    env, parameters = PromptPreamEnv(), PlannerParameters(advantage_sd=1.6, fast_advantage_sd=0.4)
    env.reset(seed=0)
    view = env.planning_view()
    middle_bps = (SLOW_NETWORK_BPS * FAST_NETWORK_BPS) ** 0.5
    for bps, expected in ((1e6, 1.6), (middle_bps, 0.8), (5e6, 0.4)):
        state = view.state.copy()
        state.throughput_bps[:] = bps
        state.throughputs = HISTORY
        assert advantage_sd(replace(view, state=state), parameters) == pytest.approx(expected)


# --- what is maximised ------------------------------------------------------------------------------------------------


def test_a_short_session_counts_no_more_than_a_long_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand: two futures are equally likely, and one request helps in each. The other one's stall comes instead.

    The first viewer watches video 0 for 2 s and video 1 for 0.5 s; its first chunk takes 0.5 s to arrive and 0.1 s to
    decode. The second watches video 0 for 5 s; its last chunk takes 0.7 s and 0.1 s. Nothing else is to be won. The
    last chunk saves 1.85 x 0.8 = 1.48 in the second future, the first chunk saves 1.85 x 0.6 = 1.11 in the first. Per
    second watched it is the other way round: 1.48 / 5 = 0.296 and 1.11 / 2.5 = 0.444.
    """
    world = world_of([(0, VDEC, 0.1)], [0.1], [1.0], chunks=(5, 1), watch_s=(5.0, 1.0), weight_waste=0.0)
    world.catalog.chunk_bytes[[0, 1], [4, 0], 0] = 0.6e6 / 8, 0.4e6 / 8
    simulator = KernelSimulator(world)
    for _ in range(4):
        simulator.step(1)  # the next chunk of video 0
    view = view_of(world, simulator.state, PATIENT._replace(leave_p=0.5))
    short = world.episode._replace(watch_s=np.array([2.0, 0.5]), leaves=np.array([0, 1], np.uint8))
    long = world.episode._replace(leaves=np.array([1, 1], np.uint8))
    futures = futures_of(view, world, [short, long])
    monkeypatch.setattr(planner, "sample_futures", lambda *_: futures)

    # The rollout policy requests what playback waits for, and nothing else
    needed_alone = NetworkParameters(*(each._replace(least_value=1e6) for each in RolloutPolicy().slow_network))
    parameters = PlannerParameters(
        search=SearchParameters(horizon_s=10.0),
        rollout=RolloutPolicy(needed_alone, needed_alone),
    )
    plan = Planner(simulations=12, rules=(), parameters=parameters).plan(view, np.zeros(len(view.action_mask)))
    last_chunk, first_chunk = 1, 1 + LOOKAHEAD
    assert sorted(plan.root_actions.tolist()) == [WAIT, last_chunk, first_chunk]
    returns = plan.root.returns[:3, :2]
    by_action = dict(zip(plan.root_actions.tolist(), returns.tolist(), strict=True))
    waiting = [2.5 - 0.5 - 1.85 * 0.6, 5.0 - 0.5 - 1.85 * 0.8]  # half a second of the content has been played
    assert by_action[WAIT] == pytest.approx(waiting)
    assert by_action[last_chunk] == pytest.approx([waiting[0], waiting[1] + 1.48])
    assert by_action[first_chunk] == pytest.approx([waiting[0] + 1.11, waiting[1]])
    assert plan.action == last_chunk


def test_it_beats_greedy_where_viewers_have_patience() -> None:
    """Paired sessions of the validation split; the margin is less than half of what was seen over more of them."""
    gain, minutes = 0.0, 0.0
    for seed in range(12):
        env = PromptPreamEnv("medium/snapdragon-8-elite/typical", split="validation", n_videos=6)
        returns = []
        for agent in (MCTSAgent(env, simulations=48), make_agent("greedy", env)):
            observation, info = env.reset(seed=seed)
            total, ended = 0.0, False
            while not ended:
                action, _ = agent.predict(observation, action_masks=info["action_mask"])
                observation, reward, terminated, truncated, info = env.step(action)
                total, ended = total + reward, terminated or truncated
            returns.append(total)
        gain += returns[0] - returns[1]
        minutes += env.drawn_watch_s() / 60.0
    assert gain / minutes > 1.0


# --- parameters -------------------------------------------------------------------------------------------------------


def test_pruning_can_be_left_out_or_chosen() -> None:
    for env in situations(5):
        view = env.planning_view()
        some = MCTSAgent(env, simulations=16, pruning=["dominated_representation"])
        none = MCTSAgent(env, simulations=16, pruning=False)
        default = MCTSAgent(env, simulations=16)
        for agent in (some, none, default):
            agent.decide(view, view.action_mask)
        names = ["dominated_unit", "dominated_representation"]
        assert list(default.last_plan.removed) == list(Planner(simulations=16).plan(view).removed) == names
        assert list(some.last_plan.removed) == ["dominated_representation"]
        assert none.last_plan.removed == {}


def test_with_prompts_some_are() -> None:
    env = PromptPreamEnv()
    steps = play(env, MCTSAgent(env, simulations=16), 0, 60)
    assert "prompt" in {request[2].codec for step in steps if (request := requested(step))}


def test_what_the_caller_masks_is_not_done() -> None:
    for env in situations(12):
        mask = env.action_masks() * 0
        mask[[WAIT, np.flatnonzero(env.action_masks())[-1]]] = 1
        action, _ = MCTSAgent(env, simulations=16).predict(None, action_masks=mask)
        assert mask[action]


def test_one_parameter_of_the_rollout_policy_can_be_set_from_json() -> None:
    rollout = read_parameters({"rollout": {"fast_network": {"slow": {"defer_s": 2.5}}}}).rollout
    assert rollout.fast_network.slow.defer_s == 2.5
    assert (np.array(rollout) != np.array(PlannerParameters().rollout)).sum() == 1
    with pytest.raises(ValueError, match="slow_network"):
        read_parameters({"rollout": {"slow": {"defer_s": 2.5}}})


def test_the_weights_change_waste_and_stalls_in_planning_alone() -> None:
    env = PromptPreamEnv()
    env.reset(seed=0)
    view = env.planning_view()
    agent = MCTSAgent(env, simulations=1, waste_weight=2.0, stall_weight=3.0)
    agent.decide(view, view.action_mask)
    assert agent.last_plan is not None
    planned = agent.last_plan.view.params
    assert planned.weight_waste == 2.0 * view.params.weight_waste
    assert planned.weight_rebuffer == 3.0 * view.params.weight_rebuffer
    for name in ("waste_weight", "stall_weight"):
        with pytest.raises(ValueError, match=f"{name}: expected at least 0"):
            MCTSAgent(env, **{name: -1.0})


def test_who_minds_waste_wastes_less() -> None:
    env = PromptPreamEnv("medium/snapdragon-8-elite/skimmer", n_videos=6)
    wasted = []  # over a dozen episodes: with so few simulations, single ones come out either way
    for waste_weight in (0.0, 1.0, 8.0):
        agent = MCTSAgent(env, simulations=16, waste_weight=waste_weight)
        wasted.append(sum(play(env, agent, seed)[-1]["info"]["wasted_bytes"] for seed in range(12)))
    assert wasted[0] > wasted[1] > wasted[2]


# --- everywhere -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kwargs",
    [
        {"parallel_downloads": 3, "cancel_on_swipe": True},
        {"patience": [1.0, 4.0]},
        {"patience": "none"},
        second_edition(),
        {"scenario": "low/pixels-only/typical"},
        {"n_videos": 1},
        {"decoded_buffer_bytes": 6e7, "charge_thinking_s": 0.05},
        {"qoe": "mmgc2022", "max_wall_s": 20.0},
    ],
    ids=lambda kwargs: "-".join(kwargs),
)
def test_it_plays_every_world_to_its_end(kwargs: dict[str, Any]) -> None:
    env = PromptPreamEnv(**kwargs)
    steps = play(env, MCTSAgent(env, simulations=16), 3)
    assert steps[-1]["info"]["downloaded_bytes"] > 0


def test_a_device_whose_npu_alone_decodes_and_prompts_alone() -> None:
    for env in situations(5):
        view = env.planning_view()
        on_npu = np.array([o.usable and o.unit == "npu" and o.codec == "prompt" for o in env.options], np.int8)
        mask = np.append([1], view.action_mask[1:].reshape(-1, len(on_npu)) * on_npu).astype(np.int8)
        narrow = replace(view, action_mask=mask, params=view.params._replace(option_usable=on_npu.astype(np.uint8)))
        for rules in (True, False):
            plan = MCTSAgent(env, simulations=16, pruning=rules).planner.plan(narrow)
            assert mask[plan.action]


# --- explanation ------------------------------------------------------------------------------------------------------


def test_it_explains_itself() -> None:
    for env in situations(6):
        agent = MCTSAgent(env, simulations=32)
        action, _ = agent.predict(None)
        found = agent.explain()
        view = env.planning_view()
        assert found.choice == name_action(agent.last_plan, action)
        assert found.choice in [name for name, _, _ in found.considered]
        assert sum(share for _, share, _ in found.considered) == pytest.approx(1.0)
        times = [planned.request_s for planned in found.schedule]
        assert times == sorted(times)
        for planned in found.schedule:
            assert planned.video >= view.state.video
            assert 0.0 < planned.share <= 1.0
            assert planned.request_s >= 0.0
        if action != WAIT:
            slot, chunk, option = requested({"view": view, "action": action})
            first = [p for p in found.schedule if p.request_s == 0.0 and p.share == 1.0]
            assert (int(view.state.video) + slot, chunk, option.unit) in [(p.video, p.chunk, p.unit) for p in first]


def test_a_planned_chunk_arrives_before_it_is_decoded_before_it_plays() -> None:
    for env in situations(6):
        agent = MCTSAgent(env, simulations=16)
        agent.predict(None)
        for planned in agent.explain().schedule:
            times = [planned.request_s, planned.arrival_s, planned.ready_s, planned.play_s]
            seen = [time_s for time_s in times if not math.isnan(time_s)]
            assert seen == sorted(seen)


def test_names_of_actions_by_hand() -> None:
    env = PromptPreamEnv()
    env.reset(seed=0)
    plan = Planner(simulations=2).plan(env.planning_view())
    assert name_action(plan, 0) == "wait"
    assert name_action(plan, 1) == f"video 0 chunk 0 {env.options[0].name}"
    later = 1 + (2 * LOOKAHEAD + 3) * len(env.options) + 4
    assert name_action(plan, later) == f"video 2 chunk 3 {env.options[4].name}"


def test_there_is_nothing_to_explain_before_a_decision() -> None:
    with pytest.raises(RuntimeError, match="call predict first"):
        MCTSAgent(PromptPreamEnv()).explain()


def test_a_ladder_in_another_unit_of_quality_is_planned_for_alike() -> None:
    """Eight times the quality, and weights that follow it: all that is in QoE is eight times as much."""
    plain = Ladder.load("published")
    scaled = tuple(replace(one, quality=8.0 * one.quality) for one in plain.representations)
    envs = [
        PromptPreamEnv(ladder=ladder.to_json(), patience="none")
        for ladder in (plain, replace(plain, representations=scaled))
    ]
    for env in envs:
        env.reset(seed=3)
    planners = [Planner(simulations=96, seed=1) for _ in envs]
    for _ in range(25):
        here, there = (planner.plan(env.planning_view()) for planner, env in zip(planners, envs, strict=True))
        assert here.action == there.action
        np.testing.assert_allclose(there.prior, 8.0 * here.prior, rtol=1e-9)
        assert there.advantage_sd == pytest.approx(8.0 * here.advantage_sd)
        for env in envs:
            env.step(here.action)
