"""How fast the planner is on this machine, against its targets, in CPU seconds."""

import time
from collections.abc import Iterator

import numpy as np

from agents.mcts import MCTSAgent
from ppgym.benchmark.speed import Figure, run_python
from ppgym.core.dynamics import transition
from ppgym.core.episodes import view_sim
from ppgym.env import PromptPreamEnv
from ppgym.planning.planner import Plan
from ppgym.planning.rollout import choose_action, new_estimates

DECISIONS = 20  # of a simulation, to which the rate is scaled
PLAYED = 200  # decisions that are timed
COUNTED = 8  # simulations whose decisions are counted

GROWTH = """
import ppgym.benchmark.speed
from agents.mcts import MCTSAgent
from ppgym.env import PromptPreamEnv
env = PromptPreamEnv()
observation, _ = env.reset(seed=0)
env.planning_view()
before_bytes = ppgym.benchmark.speed.resident_bytes()
agent = MCTSAgent(env, seed=0)
for _ in range(20):
    observation, *_ = env.step(agent.predict(observation)[0])
print(ppgym.benchmark.speed.resident_bytes() - before_bytes)
"""


def play(agent: MCTSAgent, env: PromptPreamEnv, decisions: int) -> Iterator[tuple[float, Plan]]:
    """Play the planner through one episode after the other.

    Args:
        agent: The planner.
        env: Its environment.
        decisions: How many.

    Yields:
        CPU seconds of each decision, and its plan.
    """
    env.reset(seed=0)
    for _ in range(decisions):
        view = env.planning_view()
        started_s = time.process_time()
        action = agent.decide(view, view.action_mask)
        took_s = time.process_time() - started_s
        assert agent.last_plan is not None
        yield took_s, agent.last_plan
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()


def decisions_per_simulation(plan: Plan) -> float:
    """Count the decisions of a simulation in some of a plan's futures.

    Args:
        plan: The plan.

    Returns:
        The mean.
    """
    futures, task, decisions, now = plan.futures, plan.task, 0, plan.view.state
    end_s, end_played_s = now.time_s + task.parameters.longest_s, now.played_s + task.parameters.horizon_s
    estimates = new_estimates()
    for future in range(COUNTED):
        sim = view_sim(futures.sims, future)
        state, action = futures.states[future : future + 1].copy()[0], plan.action
        while not state.terminated and state.time_s < end_s and state.played_s < end_played_s:
            transition(sim, state, action)
            decisions += 1
            action = choose_action(sim, state, task.tables, task.rollout, estimates)
    return decisions / COUNTED


def measure_planner() -> list[Figure]:
    """Measure the planner on the default scenario.

    Returns:
        The figures.
    """
    env = PromptPreamEnv()
    default, fewer = MCTSAgent(env, seed=0), MCTSAgent(env, seed=0, simulations=256)
    many = MCTSAgent(env, seed=0, simulations=2048)
    list(play(default, env, 5))  # compiles
    by_default_s = [took_s for took_s, _ in play(default, env, PLAYED)]
    at_256_s = [took_s for took_s, _ in play(fewer, env, PLAYED)]
    played = list(play(many, env, 20))
    spent = sum(plan.simulations for _, plan in played)
    decisions = decisions_per_simulation(played[-1][1])
    rate = spent / sum(took_s for took_s, _ in played) * decisions / DECISIONS
    growth_bytes = run_python(GROWTH)[0]
    return [
        Figure(f"planner, simulations/s of {DECISIONS} decisions", (rate,), 3e4, True),
        Figure("planner, ms a decision, median", (1e3 * float(np.median(by_default_s)),), 8, False),
        Figure("planner, ms at 256 simulations, p99", (1e3 * float(np.percentile(at_256_s, 99)),), 20, False),
        Figure("planner, MB", (growth_bytes / 1e6,), 200, False),
    ]
