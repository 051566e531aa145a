"""The planner's explanation of one decision, on the terminal."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from agents.mcts import MCTSAgent
from ppgym.env import PromptPreamEnv

CONSIDERED = 8  # rows shown
PLANNED = 12


def print_explanation(scenario: str, *, seed: int, decision: int, simulations: int | None) -> None:
    """Play the planner to a decision and print its explanation.

    Args:
        scenario: Name network/device/viewer.
        seed: Of the episode, on the test split.
        decision: Which decision, from 0.
        simulations: Budget of a decision; the default where None.

    Raises:
        ValueError: The episode ends before that decision.
    """
    env = PromptPreamEnv(scenario, "test")
    agent = MCTSAgent(env, seed=seed) if simulations is None else MCTSAgent(env, seed=seed, simulations=simulations)
    env.reset(seed=seed)
    for i in range(decision + 1):
        view = env.planning_view()
        action = agent.decide(view, view.action_mask)
        if i == decision:
            break
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            raise ValueError(f"decision: expected one before the episode's end at decision {i + 1}, got {decision}")
    explanation = agent.explain()
    console = Console()
    console.print(f"{scenario}, seed {seed}, decision {decision} at {view.time_s:.2f} s: {explanation.choice}")
    table = Table(box=SIMPLE_HEAD, title="What it looked at")
    for column in ("request", "simulations", "gain, QoE"):
        table.add_column(column, justify="left" if column == "request" else "right")
    for name, share, gain in explanation.considered[:CONSIDERED]:
        table.add_row(name, f"{share:.0%}", f"{gain:+.2f}" if gain > -1e9 else "dropped")
    console.print(table)
    table = Table(box=SIMPLE_HEAD, title="What follows: video.chunk, share of futures, seconds from now")
    for column in ("chunk", "as", "in", "request", "arrival", "decoded", "plays"):
        table.add_column(column, justify="left" if column == "as" else "right")
    for one in explanation.schedule[:PLANNED]:
        times = (f"{time_s:.2f}" for time_s in (one.request_s, one.arrival_s, one.ready_s, one.play_s))
        where = f"{one.representation}@{one.unit}"
        table.add_row(f"{one.video}.{one.chunk}", where, f"{one.share:.0%}", *times)
    console.print(table)
