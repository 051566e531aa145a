"""Imitation of another agent: its decisions, their returns, and a policy fitted to them."""

from typing import Any

import numpy as np
import pytest

from agents import make_agent
from agents.learned.masks import without_idling
from agents.learned.padding import Padding
from agents.learned.sb3_policies import decide
from agents.training.imitation import STEPS, demonstrate, demonstrate_student, imitate
from agents.training.vec_env import make_vec_env
from ppgym.env import PromptPreamEnv
from ppgym.world.scenario import Scenario
from tests.agents.learned.test_policies import R, make_policy
from tests.agents.training.tiny import SHORT


@pytest.fixture
def env() -> PromptPreamEnv:
    return PromptPreamEnv(**SHORT)


def test_imitation_learns_the_agent(env: PromptPreamEnv) -> None:
    how: dict[str, Any] = {"seed": 0, "discount_per_s": 0.99, "exploration_share": 0.1}
    shown = demonstrate([(make_agent("on_demand", env), env)], 600, representations=R, **how)
    assert len(shown.actions) >= 600
    assert shown.masks[np.arange(len(shown.actions)), shown.actions].all()
    policy = make_policy()

    def agreement() -> float:
        chosen = decide(policy, shown.observations, shown.masks)
        return float((chosen == shown.actions).mean())

    before = agreement()
    imitate(policy, shown, epochs=40, batch_size=64, learning_rate=1e-2, reward_scale=0.1, seed=0)
    assert agreement() > max(0.6, before)


def test_demonstrated_returns_discount_by_elapsed_seconds(env: PromptPreamEnv) -> None:
    agent = make_agent("on_demand", env)
    shown = demonstrate([(agent, env)], 1, representations=R, seed=4, discount_per_s=0.9)
    observation, _ = env.reset(seed=4)
    total, clock_s, ended = 0.0, 0.0, False
    while not ended:
        action, _ = agent.predict(observation)
        observation, reward, terminated, truncated, info = env.step(action)
        total += 0.9**clock_s * reward
        clock_s += info["elapsed_s"]
        ended = terminated or truncated
    assert shown.returns[0] == pytest.approx(total, rel=1e-4)


def first_allowed(observations: np.ndarray, masks: np.ndarray) -> np.ndarray:
    return masks.argmax(axis=1)


@pytest.mark.parametrize("actor", [None, first_allowed])
def test_the_student_side_by_side_shows_what_it_would_do_alone(actor: Any) -> None:
    scenario = Scenario.parse("low/snapdragon-8-elite/typical", **SHORT)
    learner = make_vec_env([scenario], [1], "train", R)
    shown = demonstrate_student(learner, seed=5, discount_per_s=0.9, exploration_share=0.0, actor=actor)
    assert len(shown.actions) < STEPS  # the last episode had no end
    env = PromptPreamEnv(scenario, "train")
    agent, layout, padding = make_agent("student", env), env.world.features.layout, Padding(env.options, R)
    observation, _ = env.reset(seed=5)
    rows = iter(range(len(shown.actions)))
    for _ in range(2):  # episodes
        rewards, discounts, places = [], [], []
        terminated = truncated = False
        while not (terminated or truncated):
            places.append(next(rows))
            mask = without_idling(observation[None], env.action_masks()[None], layout)[0]
            padded = padding.masks(mask[None])
            np.testing.assert_array_equal(shown.observations[places[-1]], padding.observations(observation[None])[0])
            np.testing.assert_array_equal(shown.masks[places[-1]], padded[0])
            action, _ = agent.predict(observation, action_masks=mask)
            assert shown.actions[places[-1]] == padding.from_world(action)
            taken = action if actor is None else padding.to_world(actor(observation, padded))[0]
            observation, reward, terminated, truncated, info = env.step(taken)
            rewards.append(reward)
            discounts.append(0.9 ** info["elapsed_s"])
        total = 0.0
        for reward, discount in zip(reversed(rewards), reversed(discounts), strict=True):
            total = reward + discount * total
        assert shown.returns[places[0]] == pytest.approx(total, rel=1e-3)
        observation, _ = env.reset()
