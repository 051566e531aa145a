"""How fast the simulator is on one core of this machine, against its targets.

Two streams of actions are recorded first: random legal ones, and those of the greedy agent. Then the kernel, one
environment and the vector environment play them.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from ppgym.benchmark.episodes import ENV_ID, AgentFactory
from ppgym.core.actions import WAIT
from ppgym.core.dynamics import reset_state, transition
from ppgym.core.episodes import Sims, take_sim
from ppgym.core.jit import noinline
from ppgym.core.state import I8, STATE_DTYPE, new_states
from ppgym.env import PromptPreamEnv
from ppgym.world.scenario import make_rng

STREAMS = ("random", "greedy")  # agents whose actions are recorded
EPISODE_STREAMS = 32  # seeds, each with its own feeds, links and viewers
ENVS = 1024
STREAM_STEPS = 1000
VECTOR_STEPS = 300
SINGLE_STREAMS = 16
PASSES = 3  # the fastest counts, since other work on the machine only slows them

FIRST_CALL = f"""
import time
start_s = time.perf_counter()
import gymnasium, ppgym.env
imported_s = time.perf_counter()
env = gymnasium.make("{ENV_ID}")
env.reset(seed=0)
env.step(0)
print(imported_s - start_s, time.perf_counter() - imported_s)
"""
GROWTH = f"""
import gymnasium, ppgym.benchmark.speed
def run(count):
    envs = gymnasium.make_vec("{ENV_ID}", num_envs=count)
    envs.reset(seed=0)
    for _ in range(10):
        envs.step([0] * count)
    return envs
one = run(1)
before_bytes = ppgym.benchmark.speed.resident_bytes()
many = run({ENVS})
print(ppgym.benchmark.speed.resident_bytes() - before_bytes)
"""


class Streams(NamedTuple):
    """Recorded actions; row s belongs to seed s.

    One unused action follows each end of an episode, since a vector environment resets itself at the step after it.
    """

    actions: I8  # [EPISODE_STREAMS, STREAM_STEPS]
    episodes: I8  # [EPISODE_STREAMS] begun


class Figure(NamedTuple):
    """A measured figure. Where it has a value for each stream, the worse value counts."""

    name: str
    values: tuple[float, ...]
    target: float
    at_least: bool  # whether the target is a lower bound

    @property
    def passed(self) -> bool:
        """Whether the target is reached."""
        return min(self.values) >= self.target if self.at_least else max(self.values) <= self.target


def resident_bytes() -> int:
    """Memory of this process that is in RAM.

    Raises:
        FileNotFoundError: The system has no /proc.
    """
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def record_streams(make_agent: AgentFactory, agent: str) -> Streams:
    """Play an agent in several environments, through one episode after the other.

    Args:
        make_agent: Makes an agent by name.
        agent: Its name.

    Returns:
        The streams.
    """
    actions = np.full((EPISODE_STREAMS, STREAM_STEPS), WAIT, np.int64)
    episodes = np.ones(EPISODE_STREAMS, np.int64)
    env = PromptPreamEnv()
    for seed in range(EPISODE_STREAMS):
        player = make_agent(agent, env, seed=seed)
        observation, _ = env.reset(seed=seed)
        ended = False
        for step in range(STREAM_STEPS):
            if ended:
                observation, _ = env.reset()
                ended = False
                episodes[seed] += 1
            else:
                actions[seed, step], _ = player.predict(observation)
                observation, _, terminated, truncated, _ = env.step(actions[seed, step])
                ended = terminated or truncated
    return Streams(actions, episodes)


@noinline
def run_kernel(sims: Sims, states: np.ndarray, actions: I8) -> int:
    """Step through streams, resets included.

    Args:
        sims: What is constant, and the draws of all streams, in order.
        states: Room for one state.
        actions: [EPISODE_STREAMS, STREAM_STEPS] actions.

    Returns:
        Transitions made.
    """
    state = states[0]
    transitions, draw = 0, 0
    for row in range(actions.shape[0]):
        sim = take_sim(sims, draw)
        reset_state(sim, state, None)
        for step in range(actions.shape[1]):
            if state.terminated or state.truncated:
                draw += 1
                sim = take_sim(sims, draw)
                reset_state(sim, state, None)
            else:
                transition(sim, state, actions[row, step], None)
                transitions += 1
        draw += 1
    return transitions


def kernel_rate(streams: Streams) -> float:
    """Transitions per second of the compiled kernel alone, resets included; episodes are drawn beforehand.

    Args:
        streams: What to play.

    Returns:
        Transitions per second.
    """
    world = PromptPreamEnv().world
    states, episodes = new_states(1), world.new_episodes(int(streams.episodes.sum()))
    places = iter(range(len(episodes.link)))
    for seed, count in enumerate(streams.episodes.tolist()):
        rng = make_rng(seed, world.split)
        for _ in range(count):
            world.draw(rng, episodes, next(places))
    return rate(lambda: run_kernel(world.sims(episodes), states, streams.actions))


def vector_rate(streams: Streams) -> float:
    """Steps per second of `make_vec`, with observations, masks and info, autoresets included.

    Args:
        streams: What to play.

    Returns:
        Steps per second, all environments together.

    Raises:
        RuntimeError: An action was not legal: the streams are of another world.
    """
    envs: Any = gymnasium.make_vec(ENV_ID, num_envs=ENVS)  # its base class knows no sequence of seeds
    seeds = [i % EPISODE_STREAMS for i in range(ENVS)]
    actions = np.ascontiguousarray(streams.actions[seeds, :VECTOR_STEPS].T)

    def run() -> int:
        for chosen in actions:
            infos = envs.step(chosen)[4]
            if infos["invalid_action"].any():
                raise RuntimeError("a recorded action is illegal in the vector environment")
        return actions.size

    return rate(run, lambda: envs.reset(seed=seeds))


def single_rate(streams: Streams) -> float:
    """Steps per second of one environment from `gymnasium.make`, resets included.

    Args:
        streams: What to play.

    Returns:
        Steps per second.
    """
    env = gymnasium.make(ENV_ID)

    def run() -> int:
        steps = 0
        for seed, actions in enumerate(streams.actions[:SINGLE_STREAMS].tolist()):
            env.reset(seed=seed)
            ended = False
            for action in actions:
                if ended:
                    env.reset()
                    ended = False
                else:
                    _, _, terminated, truncated, _ = env.step(action)
                    ended = terminated or truncated
                    steps += 1
        return steps

    return rate(run)


def rate(run: Callable[[], int], prepare: Callable[[], object] = lambda: None) -> float:
    """Work per second of the fastest of `PASSES` passes, after one that compiles.

    Seconds are CPU time of this process, so that other processes on the machine do not count.

    Args:
        run: Does the work, and returns its amount.
        prepare: Called before each pass, not timed.

    Returns:
        Work per second.
    """
    best = 0.0
    for _ in range(1 + PASSES):
        prepare()
        started_s = time.process_time()
        done = run()
        best = max(best, done / (time.process_time() - started_s))
    return best


def run_python(program: str, cache_dir: str | None = None) -> list[float]:
    """Run a program in a process of its own.

    Args:
        program: Prints numbers.
        cache_dir: Numba's cache; the usual one where None.

    Returns:
        The numbers.
    """
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([root, *sys.path[1:]])}
    if cache_dir is not None:
        environment["NUMBA_CACHE_DIR"] = cache_dir
    command = [sys.executable, "-c", program]
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    return [float(number) for number in output.split()]


def measure_simulator(make_agent: AgentFactory) -> list[Figure]:
    """Measure everything on the default scenario; takes about two minutes.

    Args:
        make_agent: Makes an agent by name; knows `STREAMS`.

    Returns:
        The figures.
    """
    with tempfile.TemporaryDirectory() as cache_dir:
        import_s, cold_s = run_python(FIRST_CALL, cache_dir)
        _, warm_s = run_python(FIRST_CALL, cache_dir)
        growth_bytes = run_python(GROWTH, cache_dir)[0]
    streams = [record_streams(make_agent, agent) for agent in STREAMS]
    return [
        Figure("kernel, transitions/s", tuple(kernel_rate(each) for each in streams), 1.5e6, True),
        Figure(f"make_vec, {ENVS} envs, steps/s", tuple(vector_rate(each) for each in streams), 5e5, True),
        Figure("gymnasium.make, steps/s", tuple(single_rate(each) for each in streams), 4e4, True),
        Figure("State, bytes", (STATE_DTYPE.itemsize,), 2048, False),
        Figure(f"MB from 1 to {ENVS} envs", (growth_bytes / 1e6,), 100, False),
        Figure("first call, cold cache, s", (cold_s,), 60, False),
        Figure("first call, warm cache, s", (warm_s,), 3, False),
        Figure("import, s", (import_s,), np.inf, False),
    ]


def print_figures(figures: list[Figure], console: Console | None = None) -> None:
    """Print the figures with their targets.

    Args:
        figures: From `measure_simulator`.
        console: Where to; standard output where None.
    """
    table = Table(title="Speed on one core, default scenario", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("")
    for heading in (*STREAMS, "target", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    for figure in figures:
        shown = [f"{value:,.2f}" if value < 100 and value != int(value) else f"{value:,.0f}" for value in figure.values]
        shown += [""] * (len(STREAMS) - len(shown))
        goal = [f"{'>=' if figure.at_least else '<='} {figure.target:,.0f}", "pass" if figure.passed else "MISS"]
        table.add_row(figure.name, *shown, *(goal if np.isfinite(figure.target) else ["", ""]))
    (console or Console()).print(table)
