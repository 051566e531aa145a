"""The evolution of the rollout policy: its genes, and that an evaluation plays what the environment plays."""

import numpy as np
import pytest

from agents.studies.rollout_evolution import RANGES, Evaluation, to_genes, to_policy
from ppgym.core.episodes import view_sim
from ppgym.env import PromptPreamEnv
from ppgym.planning.rollout import make_tables, new_estimates, value_actions
from ppgym.planning.rollout_parameters import RolloutParameters, RolloutPolicy
from ppgym.world.scenario import DEFAULT_SCENARIO


def test_genes_and_policies_are_the_same() -> None:
    policy = RolloutPolicy()
    assert list(RANGES) == list(RolloutParameters._fields)
    np.testing.assert_allclose(np.array(to_policy(to_genes(policy))), np.array(policy), atol=1e-12)


def test_an_evaluation_plays_what_the_environment_plays() -> None:
    evaluation = Evaluation(DEFAULT_SCENARIO, "validation", 2)
    evaluation.draw(5)
    env = PromptPreamEnv(DEFAULT_SCENARIO, "validation")
    returns, minutes = 0.0, 0.0
    for seed in (5, 6):
        env.reset(seed=seed)
        ended = False
        while not ended:
            view = env.planning_view()
            values = np.full(len(view.action_mask), -np.inf)
            action = value_actions(
                view_sim(env._sims, 0),
                env._states[0],
                make_tables(env.world.params, env.world.catalog, env.world.distribution),
                RolloutPolicy(),
                0,
                new_estimates(),
                values,
            )
            _, reward, terminated, truncated, _ = env.step(int(action))
            returns += reward
            ended = terminated or truncated
        minutes += env.drawn_watch_s() / 60.0
    assert evaluation.qoe(RolloutPolicy()) == pytest.approx(returns / minutes, rel=1e-9)
