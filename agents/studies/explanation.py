"""Explains the planner's decisions: one on the terminal, or all of a record for a report."""

import math
from typing import Any

from agents import make_agent
from agents.mcts import MCTSAgent
from agents.settings import Settings
from agents.studies.tables import print_table
from ppgym.benchmark.records import Record
from ppgym.env import PromptPreamEnv
from ppgym.world.scenario import DEFAULT_SCENARIO, Scenario
from ppgym.world.scenario_file import parse_settings

CONSIDERED = 8  # rows shown
PLANNED = 12
DROPPED = -1e9  # a lower gain is that of an action that the search gave up
KEPT_ACTIONS = 5  # of a decision, in a report
KEPT_REQUESTS = 8


def print_explanation(
    scenario: str = DEFAULT_SCENARIO,
    *,
    settings: Settings = (),
    seed: int = 0,
    decision: int = 10,
    simulations: int | None = None,
) -> None:
    """Show what the planner considered at a decision, and which requests it planned after it.

    Args:
        scenario: Name network/device/viewer[/ladder], or a scenario file.
        settings: Fields of the scenario that differ, as KEY=VALUE.
        seed: Of the episode, on the test split.
        decision: Which decision of the episode, from 0.
        simulations: Budget of a decision; the planner's default where None.

    Raises:
        ValueError: The episode ends before that decision.
    """
    env = PromptPreamEnv(Scenario.parse(scenario, **parse_settings(settings)), "test")
    agent = MCTSAgent(env, seed=seed) if simulations is None else MCTSAgent(env, seed=seed, simulations=simulations)
    env.reset(seed=seed)
    for i in range(decision):
        _, _, terminated, truncated, _ = env.step(agent.predict(None)[0])
        if terminated or truncated:
            raise ValueError(f"decision: expected one before the episode's end at decision {i + 1}, got {decision}")
    view = env.planning_view()
    agent.decide(view, view.action_mask)
    explanation = agent.explain()
    print(f"{scenario}, seed {seed}, decision {decision} at {view.time_s:.2f} s: {explanation.choice}")
    print_table(
        "What it looked at",
        ("request", "simulations", "gain, QoE"),
        [
            (name, f"{share:.0%}", f"{gain:+.2f}" if gain > DROPPED else "dropped")
            for name, share, gain in explanation.considered[:CONSIDERED]
        ],
    )
    print_table(
        "What follows: video.chunk, share of futures, seconds from now",
        ("chunk", "as", "in", "request", "arrival", "decoded", "plays"),
        [
            (
                f"{one.video}.{one.chunk}",
                f"{one.representation}@{one.unit}",
                f"{one.share:.0%}",
                *(
                    "later" if math.isnan(time_s) else f"{time_s:.2f}"
                    for time_s in (one.request_s, one.arrival_s, one.ready_s, one.play_s)
                ),
            )
            for one in explanation.schedule[:PLANNED]
        ],
    )


def explain_record(record: Record) -> list[dict[str, Any]]:
    """Play a planner's record again and explain every decision.

    Args:
        record: Of `MCTSAgent` in an open run, with its seed and all of its parameters.

    Returns:
        For each action its `choice` in words, the `considered` actions (name, share of the simulations, expected QoE
        over the rollout policy's choice or None where dropped), and the `schedule` that follows: video, chunk,
        representation@unit, share of the futures that come to it, and seconds from now to its request, arrival, end of
        decode and play (its deadline), None where not known. Empty where decisions depend on the clock, and so
        do not come back.

    Raises:
        ValueError: The planner decides otherwise than recorded.
    """
    if record["params"].get("time_budget_ms") is not None:
        return []
    env = PromptPreamEnv(Scenario.parse(record["scenario"], **record.get("overrides", {})), record["split"])
    agent = make_agent(record["agent"], env, seed=record["agent_seed"], **record["params"])
    if not isinstance(agent, MCTSAgent):
        raise ValueError(f"agent {record['agent']!r}: expected a planner, got {type(agent).__name__}")
    env.reset(seed=record["seed"])
    explained = []
    for number, action in enumerate(record["actions"]):
        view = env.planning_view()
        decided = agent.decide(view, view.action_mask)
        if decided != action:
            raise ValueError(
                f"{record['scenario']}, seed {record['seed']}: the planner decides {decided} at decision {number}, "
                f"recorded is {action}; was it recorded with another version?"
            )
        explained.append(_as_json(agent))
        env.step(action)
    return explained


def _as_json(agent: MCTSAgent) -> dict[str, Any]:
    explanation = agent.explain()
    return {
        "choice": explanation.choice,
        "considered": [
            [name, round(float(share), 3), round(gain, 2) if gain > DROPPED else None]
            for name, share, gain in explanation.considered[:KEPT_ACTIONS]
        ],
        "schedule": [
            [one.video, one.chunk, f"{one.representation}@{one.unit}", round(one.share, 2)]
            + [
                None if math.isnan(time_s) else round(time_s, 2)
                for time_s in (one.request_s, one.arrival_s, one.ready_s, one.play_s)
            ]
            for one in explanation.schedule[:KEPT_REQUESTS]
        ],
    }
