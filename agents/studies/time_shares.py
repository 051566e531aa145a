"""Where the time goes: a step of the vector environment, a decision of the planner, a step of training, a session.

Each is played under Python's profiler, which names the functions, compiled ones included. It slows what is interpreted,
so that the shares of compiled code are rather too small. What is inside of the compiled step is not seen: its
transitions are timed alone.
"""

import cProfile
import datetime
import inspect
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from agents import REGISTRY, make_agent
from agents.mcts import MCTSAgent
from agents.studies.planner_speed import play
from ppgym.benchmark.episodes import ENV_ID, Job, play_episode
from ppgym.benchmark.speed import ENVS, STEPS, kernel_work, record_streams
from ppgym.core.bound import Bound
from ppgym.env import PromptPreamEnv
from ppgym.files import write_between
from ppgym.planning.belief import sample_futures
from ppgym.planning.pruning import prune
from ppgym.planning_view import ViewMaker
from ppgym.vector_env import PromptPreamVectorEnv
from ppgym.world.scenario import DEFAULT_SCENARIO, World
from ppgym.world.this_machine import this_machine

DECISIONS = 200  # of the planner
SESSIONS = 8  # of each agent
EVALUATED = ("mcts", "ppo", "greedy")
ROLLOUTS = 2  # of PPO, after one that warms up
COMMAND = "python evaluate.py speed --where --readme docs/simulator.md"
BEGIN, END = f"<!-- made by: {COMMAND} -->\n", "<!-- end of what was made -->\n"

Parts = Mapping[str, Sequence[Callable[..., Any]]]  # functions by what they do; none calls another


class Shares(NamedTuple):
    """What takes the time of some work."""

    work: str
    microseconds: float  # of one
    shares: dict[str, float]  # by part; they sum to 1


def profile(work: str, run: Callable[[], float], parts: Parts, rest: str) -> Shares:
    """Run something, and find the share of the time that each part takes.

    Args:
        work: Its name.
        run: Does it; returns how many times.
        parts: The functions of each part.
        rest: Name of what no part accounts for.

    Returns:
        The shares.
    """
    profiler = cProfile.Profile()
    count = profiler.runcall(run)
    entries = profiler.getstats()
    whole_s = max(entry.totaltime for entry in entries)
    shares = {}
    for name, functions in parts.items():
        codes = [inspect.unwrap(function).__code__ for function in functions]
        shares[name] = sum(entry.totaltime for entry in entries if entry.code in codes) / whole_s
    return Shares(work, 1e6 * whole_s / count, shares | {rest: 1.0 - sum(shares.values())})


def vector_step(envs: int = ENVS, steps: int = STEPS) -> Shares:
    """A step of an environment of `make_vec`, autoresets included.

    Args:
        envs: How many, each with a session of its own and random legal actions.
        steps: Of each.
    """
    streams = record_streams(make_agent, "random", envs, steps)
    transitions, alone_s = min((kernel_work(streams)() for _ in range(3)), key=lambda timed: timed[1])
    vector = gymnasium.make_vec(ENV_ID, num_envs=envs)
    vector.reset(seed=0)

    def run() -> float:
        for chosen in np.ascontiguousarray(streams.actions.T):
            vector.step(chosen)
        return envs * steps

    parts: Parts = {"new episodes": [World.draw], "compiled": [PromptPreamVectorEnv._move]}
    found = profile(f"step of make_vec, {envs:,} sessions", run, parts, "copies and infos")
    transition = min(1e6 * alone_s / transitions / found.microseconds, found.shares["compiled"])
    shown = {"transition": transition, "observation, mask, totals": found.shares.pop("compiled") - transition}
    return found._replace(shares=shown | found.shares)


def planner_decision(decisions: int = DECISIONS) -> Shares:
    """A decision of the planner at its default budget.

    Args:
        decisions: How many.
    """
    agent, env = MCTSAgent(PromptPreamEnv(), seed=0), PromptPreamEnv()
    list(play(agent, env, 3))  # compiles
    parts: Parts = {
        "search": [Bound.__call__],  # the compiled parts; those of the environment's step are nothing beside them
        "futures": [sample_futures],
        "pruning": [prune],
        "view": [ViewMaker.make],
    }
    return profile("decision of mcts", lambda: len(list(play(agent, env, decisions))), parts, "the rest")


def training_step(rollouts: int = ROLLOUTS, hyperparams: Path | None = None) -> Shares:
    """A step of PPO's training in the worlds that it is trained in, on one core and without evaluations.

    Args:
        rollouts: How many, each with its update.
        hyperparams: YAML file; the shipped one where None.
    """
    from sb3_contrib import MaskablePPO  # with torch, for this part alone

    from agents.training.config import begin_run
    from agents.training.run import make_model
    from agents.training.vec_env import SB3VecEnv
    from agents.training.worlds import most_representations, world_groups

    with tempfile.TemporaryDirectory() as folder:
        config = begin_run("ppo", DEFAULT_SCENARIO, {}, 0, None, hyperparams, Path(folder)).config
    drawn = config["hyperparams"]["worlds"] is not None
    config["representations"] = most_representations(world_groups(config), drawn)
    model = make_model(config, "cpu")
    each: int = config["hyperparams"]["n_steps"] * model.n_envs
    model.learn(each)

    def run() -> float:
        model.learn(rollouts * each, reset_num_timesteps=False)
        return rollouts * each

    parts: Parts = {"update": [MaskablePPO.train], "environments": [SB3VecEnv.step_wait]}
    return profile("step of PPO's training, one core", run, parts, "policy and buffers of the rollouts")


def evaluated_session(agent: str, sessions: int = SESSIONS) -> Shares:
    """A session of an evaluation, in one process.

    Args:
        agent: Name of the agent.
        sessions: How many.
    """
    jobs = [Job(DEFAULT_SCENARIO, {}, "test", agent, {}, number) for number in range(1 + sessions)]
    play_episode(REGISTRY, jobs[0])  # compiles

    def run() -> float:
        for job in jobs[1:]:
            play_episode(REGISTRY, job)
        return sessions

    parts: Parts = {
        "environment": [PromptPreamEnv.reset, PromptPreamEnv.step],
        "making the agent": [REGISTRY.make, REGISTRY.params],
        "check of the world": [World.changed],
    }
    found = profile(f"session of {agent} in an evaluation", run, parts, "decisions")
    return found._replace(shares={"decisions": found.shares.pop("decisions"), **found.shares})


def measure_shares() -> list[Shares]:
    """Measure everything on the default scenario; takes about two minutes."""
    return [vector_step(), planner_decision(), training_step(), *map(evaluated_session, EVALUATED)]


def rows_of(measured: Sequence[Shares]) -> list[list[str]]:
    """The table: work, its time, and its parts."""
    rows = []
    for work, microseconds, shares in measured:
        took = f"{microseconds:,.2f} µs" if microseconds < 1000 else f"{microseconds / 1000:,.1f} ms"
        rows.append([work, took, ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares.items())])
    return rows


def print_shares(measured: Sequence[Shares], as_json: bool = False, console: Console | None = None) -> None:
    """Print where the time goes.

    Args:
        measured: From `measure_shares`.
        as_json: As a JSON array.
        console: Where to; standard output where None.
    """
    console = console or Console()
    if as_json:
        print(json.dumps([one._asdict() for one in measured], indent=2), file=console.file)
        return
    table = Table("", "time", "where it goes", title=_circumstances(), title_justify="left", box=SIMPLE_HEAD)
    for row in rows_of(measured):
        table.add_row(*row)
    console.print(table)


def write_page(path: Path, measured: Sequence[Shares]) -> None:
    """Write the table into a page, in place of the one between its marks.

    Args:
        path: Of the page.
        measured: From `measure_shares`.

    Raises:
        ValueError: The marks are missing.
    """
    rows = [["", "time", "where it goes"], ["---"] * 3, *rows_of(measured)]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    write_between(path, BEGIN, END, "\n".join([*lines, "", f"Measured by `{COMMAND}`: {_circumstances()}.", ""]))


def _circumstances() -> str:
    machine = this_machine()
    return f"{datetime.date.today()}, {machine.cpu}, load {os.getloadavg()[0]:.1f} on {machine.cores} cores"
