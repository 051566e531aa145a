"""Ablations of the planner, and biased beliefs: what each agent sees, and what it then does."""

from itertools import pairwise

import numpy as np
import pytest

from agents import make_agent
from agents.studies.ablations import AblatedPlanner
from agents.studies.biased_belief import BiasedBelief
from agents.studies.planner import BIASED_BELIEF, error_name
from ppgym.core.state import NO_ENTRY
from ppgym.env import PromptPreamEnv
from tests.planning.test_planner import play, requested, situations


def test_without_prompts_none_is_asked_for() -> None:
    env = PromptPreamEnv()
    steps = play(env, AblatedPlanner(env, simulations=16, prompts=False), 0, 60)
    kinds = {request[2].codec for step in steps if (request := requested(step))}
    assert kinds
    assert "prompt" not in kinds


def test_one_unit_decodes_each_representation_on_its_fastest() -> None:
    env = PromptPreamEnv("low/snapdragon-8-elite/typical")
    asked = 0
    for step in play(env, AblatedPlanner(env, simulations=16, one_unit=True), 1, 60):
        if request := requested(step):
            rivals = [o.decode_s for o in env.options if o.usable and o.representation == request[2].representation]
            assert request[2].decode_s == min(rivals)
            asked += 1
    assert asked > 5


def test_in_order_asks_for_a_video_after_the_other_and_chunk_after_chunk() -> None:
    env = PromptPreamEnv()
    places = []
    for step in play(env, AblatedPlanner(env, simulations=16, in_order=True), 2, 80):
        if request := requested(step):
            slot, chunk, _ = request
            view = step["view"]
            assert (view.candidates[:slot, 0] == NO_ENTRY).all()  # earlier videos are complete
            assert chunk == view.candidates[slot, 0]
            places.append((int(view.state.video) + slot, chunk))
    assert len(places) > 10
    assert all(early < late for early, late in pairwise(places))


def test_in_order_waits_when_everything_was_asked_for() -> None:
    env = PromptPreamEnv(n_videos=1)
    agent = AblatedPlanner(env, simulations=4, in_order=True)
    assert any((step["view"].candidates == NO_ENTRY).all() for seed in range(3) for step in play(env, agent, seed))


def test_without_a_belief_there_is_one_future() -> None:
    for env in situations(5):
        agent = AblatedPlanner(env, simulations=16, belief=False)
        action, _ = agent.predict(None)
        assert env.action_masks()[action]
        assert len(agent.agent.last_plan.futures.states) == 1


def test_without_a_compute_model_prompts_take_no_time_in_planning() -> None:
    env = PromptPreamEnv()
    env.reset(seed=0)
    agent = AblatedPlanner(env, simulations=16, compute_model=False)
    agent.predict(None)
    planned = agent.agent.last_plan.view
    seconds = zip(planned.params.option_decode_s, env.world.params.option_decode_s, strict=True)
    for option, (planned_s, real_s) in zip(planned.options, seconds, strict=True):
        if option.usable and option.codec == "prompt":
            assert planned_s <= 0.02
            assert planned_s < real_s
        else:
            assert planned_s == real_s


def test_ablations_leave_the_view_alone() -> None:
    env = PromptPreamEnv()
    env.reset(seed=0)
    view = env.planning_view()
    before = view.params.option_usable.copy(), view.params.option_decode_s.copy(), view.action_mask.copy()
    agent = AblatedPlanner(
        env, simulations=16, prompts=False, compute_model=False, one_unit=True, in_order=True, waste_weight=2.0
    )
    agent.decide(view, view.action_mask)
    after = view.params.option_usable, view.params.option_decode_s, view.action_mask
    for left, right in zip(before, after, strict=True):
        assert np.array_equal(left, right)


def test_a_biased_client_reads_what_is_wrong_by_a_factor() -> None:
    env = PromptPreamEnv()
    env.reset(seed=0)
    for _ in range(4):
        env.step(int(np.flatnonzero(env.action_masks())[1]))
    right = env.planning_view()
    wrong = BiasedBelief(env, agent="pdas", retention=1.3, bandwidth=0.7).change(right)
    assert len(right.throughput_bps) > 0
    np.testing.assert_allclose(wrong.throughput_bps, 0.7 * right.throughput_bps)
    np.testing.assert_allclose(wrong.state.throughput_bps, 0.7 * right.state.throughput_bps)
    np.testing.assert_allclose(np.log(wrong.catalog.retention[:, 1:5]), 1.3 * np.log(right.catalog.retention[:, 1:5]))
    assert wrong.time_s == right.time_s
    np.testing.assert_array_equal(env.planning_view().throughput_bps, right.throughput_bps)


@pytest.mark.parametrize("factors", [{"retention": 0.0}, {"bandwidth": -1.0}, {"bandwidth": float("nan")}])
def test_a_factor_is_above_zero(factors: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected a factor above 0"):
        BiasedBelief(PromptPreamEnv(), agent="pdas", **factors)


def test_without_errors_nothing_is_biased() -> None:
    env = PromptPreamEnv()
    observation, _ = env.reset(seed=3)
    right, same = make_agent("pdas", env, seed=0), make_agent(BIASED_BELIEF, env, seed=0, agent="pdas")
    for _ in range(20):
        action, _ = right.predict(observation)
        assert same.predict(observation)[0] == action
        observation, *_ = env.step(int(action))
    assert error_name({}) == "none"
    assert error_name({"bandwidth": 0.7}) == "bandwidth x 0.7"


def test_only_an_agent_that_reads_the_view_can_be_misled() -> None:
    with pytest.raises(ValueError, match="agent 'dqn': expected an agent that decides from the planning view"):
        BiasedBelief(PromptPreamEnv(), agent="dqn")
