"""How fast the simulator is on one core of this machine, beside something that everybody knows.

Two streams of actions are recorded first, each over many different sessions: random legal ones, and those of the greedy
agent. Then the kernel, one environment and the vector environment play them. A busy machine slows everything: so each
figure is timed in turns with a reference (Gymnasium's CartPole, a product of matrices), by the clock on the wall, and
their ratio is judged.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

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
ENVS = 1024  # each with a session of its own
STEPS = 100
SINGLE_ENVS = 64  # of them played by one environment, one after the other
TURNS = 5  # of each figure and its reference; the median counts
CARTPOLE = "CartPole-v1"
CARTPOLE_STEPS = 5000
MATRIX, PRODUCTS = 512, 20

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
PLAIN_IMPORTS = """
import time
start_s = time.perf_counter()
import gymnasium, numba
print(time.perf_counter() - start_s)
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

    actions: I8  # [ENVS, STEPS]
    episodes: I8  # [ENVS] begun


Work = Callable[[], tuple[float, float]]  # does something; returns how much, and the seconds that it took


class Reference(NamedTuple):
    """Something well known that is timed beside a figure."""

    name: str
    work: Work


class Figure(NamedTuple):
    """A measured figure. Where it has a value for each stream, the worse one counts.

    With a reference the target is one for their ratio.
    """

    name: str
    values: tuple[float, ...]
    target: float | None  # None where it is only shown
    at_least: bool  # whether the target is a lower bound
    reference: str = ""
    ratios: tuple[float, ...] = ()  # to the reference, each from turns of both

    @property
    def passed(self) -> bool:
        """Whether the target is reached."""
        if self.target is None:
            return True
        judged = self.ratios or self.values
        return min(judged) >= self.target if self.at_least else max(judged) <= self.target


def resident_bytes() -> int:
    """Memory of this process that is in RAM.

    Raises:
        FileNotFoundError: The system has no /proc.
    """
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def record_streams(make_agent: AgentFactory, agent: str, envs: int = ENVS, steps: int = STEPS) -> Streams:
    """Play an agent in sessions of different seeds, through one episode after the other.

    Args:
        make_agent: Makes an agent by name.
        agent: Its name.
        envs: How many seeds.
        steps: Of each.

    Returns:
        The streams.
    """
    actions, episodes = np.full((envs, steps), WAIT, np.int64), np.ones(envs, np.int64)
    env = PromptPreamEnv()
    for seed in range(envs):
        player = make_agent(agent, env, seed=seed)
        observation, _ = env.reset(seed=seed)
        ended = False
        for step in range(steps):
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
        actions: [seeds, steps] actions.

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


def timed(run: Callable[[], float]) -> tuple[float, float]:
    """What a function returns, and the seconds that it takes by the clock on the wall."""
    started_s = time.perf_counter()
    amount = run()
    return amount, time.perf_counter() - started_s


def kernel_work(streams: Streams) -> Work:
    """Transitions of the compiled kernel alone, resets included; episodes are drawn beforehand."""
    world = PromptPreamEnv().world
    states, episodes = new_states(1), world.new_episodes(int(streams.episodes.sum()))
    places = iter(range(len(episodes.link)))
    for seed, count in enumerate(streams.episodes.tolist()):
        rng = make_rng(seed, world.split)
        for _ in range(count):
            world.draw(rng, episodes, next(places))
    return lambda: timed(lambda: run_kernel(world.sims(episodes), states, streams.actions))


def vector_work(streams: Streams, *, read: bool = False, threads: int = 1) -> Work:
    """Steps of `make_vec`, with observations, masks and info, autoresets included, all environments together.

    Args:
        streams: What to play.
        read: Whether all observations and masks are read between two steps, as a policy would. That is not timed; but
            it leaves less of the environments in the processor's caches.
        threads: That share a step.

    Returns:
        The work; a RuntimeError where an action was not legal, since the streams then are of another world.
    """
    envs = gymnasium.make_vec(ENV_ID, num_envs=len(streams.actions), num_threads=threads)
    columns = np.ascontiguousarray(streams.actions.T)

    def run() -> tuple[float, float]:
        envs.reset(seed=0)
        took_s = 0.0
        for chosen in columns:
            started_s = time.perf_counter()
            observations, *_, infos = envs.step(chosen)
            took_s += time.perf_counter() - started_s
            if read:
                observations.sum(), infos["action_mask"].sum()
            if infos["invalid_action"].any():
                raise RuntimeError("a recorded action is illegal in the vector environment")
        return columns.size, took_s

    return run


def single_work(streams: Streams) -> Work:
    """Steps of one environment from `gymnasium.make`, resets included."""
    env = gymnasium.make(ENV_ID)

    def run() -> float:
        steps = 0
        for seed, actions in enumerate(streams.actions[:SINGLE_ENVS].tolist()):
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

    return lambda: timed(run)


def cartpole() -> Reference:
    """Steps of Gymnasium's CartPole, resets included."""
    env = gymnasium.make(CARTPOLE)

    def run() -> float:
        env.reset(seed=0)
        for step in range(CARTPOLE_STEPS):
            _, _, terminated, truncated, _ = env.step(step % 2)
            if terminated or truncated:
                env.reset()
        return CARTPOLE_STEPS

    return Reference(CARTPOLE, lambda: timed(run))


def cartpole_vector() -> Reference:
    """Steps of Gymnasium's own vectorised CartPole, written in NumPy."""
    envs = gymnasium.make_vec(CARTPOLE, num_envs=ENVS, vectorization_mode="vector_entry_point")
    actions = np.arange(ENVS) % 2

    def run() -> float:
        envs.reset(seed=0)
        for _ in range(STEPS):
            envs.step(actions)
        return ENVS * STEPS

    return Reference(f"{CARTPOLE}, {ENVS} envs", lambda: timed(run))


def matrix_product() -> Reference:
    """Multiplications and additions of a product of matrices."""
    left, right = np.ones((2, MATRIX, MATRIX), np.float32)

    def run() -> float:
        for _ in range(PRODUCTS):
            left @ right
        return float(PRODUCTS * MATRIX**3)

    return Reference(f"multiply-adds, {MATRIX} x {MATRIX}", lambda: timed(run))


def race(name: str, works: Sequence[Work], reference: Reference, target: float | None) -> Figure:
    """Time work and a reference in turns.

    Args:
        name: Of the figure.
        works: One for each stream.
        reference: What they are compared with.
        target: Least ratio of their rates; None where it is only shown.

    Returns:
        The figure: medians over `TURNS` turns, after one that compiles.
    """
    everyone, rates = [*works, reference.work], list[list[float]]()
    for _ in range(1 + TURNS):
        rates.append([amount / took_s for amount, took_s in (work() for work in everyone)])
    turns = np.array(rates[1:])
    medians, ratios = np.median(turns, axis=0), np.median(turns[:, :-1] / turns[:, -1:], axis=0)
    shown = f"{reference.name}: {medians[-1]:,.3g}/s"
    return Figure(name, tuple(medians[:-1].tolist()), target, True, shown, tuple(ratios.tolist()))


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
    """Measure everything on the default scenario; takes about four minutes.

    Args:
        make_agent: Makes an agent by name; knows `STREAMS`.

    Returns:
        The figures.
    """
    with tempfile.TemporaryDirectory() as cache_dir:
        import_s, cold_s = run_python(FIRST_CALL, cache_dir)
        warm = [run_python(FIRST_CALL, cache_dir) for _ in range(TURNS)]
        plain_s = statistics.median(run_python(PLAIN_IMPORTS, cache_dir)[0] for _ in range(TURNS))
        growth_bytes = run_python(GROWTH, cache_dir)[0]
    warm_s = statistics.median(first for _, first in warm)
    process_s = statistics.median(sum(both) for both in warm)
    streams = [record_streams(make_agent, agent) for agent in STREAMS]
    single, vector, product = cartpole(), cartpole_vector(), matrix_product()
    name, first = f"make_vec, {ENVS} sessions, steps/s", streams[0]
    alone = Reference("1 thread", vector_work(first))
    plain = f"gymnasium, numba: {plain_s:.2f} s"
    return [
        race("kernel, transitions/s", [kernel_work(each) for each in streams], product, None),
        race(name, [vector_work(each) for each in streams], vector, None),
        race(f"{name}, read between", [vector_work(each, read=True) for each in streams], vector, None),
        race(f"{name}, 2 threads", [vector_work(first, threads=2)], alone, 1.7),
        race("gymnasium.make, steps/s", [single_work(each) for each in streams], single, 0.9),
        Figure("State, bytes", (STATE_DTYPE.itemsize,), 2304, False),
        Figure(f"MB from 1 to {ENVS} envs", (growth_bytes / 1e6,), 100, False),
        Figure("make, reset and step, cold cache, s", (cold_s,), 60, False),
        Figure("make, reset and step, warm cache, s", (warm_s,), 0.3, False),
        Figure("a process of that, s", (process_s,), 1.8, False, plain, (process_s / plain_s,)),
        Figure("import, s", (import_s,), None, False),
    ]


def print_figures(figures: Sequence[Figure], as_json: bool = False, console: Console | None = None) -> None:
    """Print the figures with their references and targets.

    Args:
        figures: From `measure_simulator`.
        as_json: As a JSON array, for a comparison of two commits.
        console: Where to; standard output where None.
    """
    console = console or Console()
    if as_json:
        print(json.dumps([one._asdict() | {"passed": one.passed} for one in figures], indent=2), file=console.file)
        return
    title = f"Speed, default scenario; load {os.getloadavg()[1]:.1f} on {os.cpu_count()} cores"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("")
    for heading in (*STREAMS, "reference", "ratio", "target", ""):
        table.add_column(heading, justify="right")
    for figure in figures:
        shown = [f"{value:,.2f}" if value < 100 and value != int(value) else f"{value:,.0f}" for value in figure.values]
        shown += [""] * (len(STREAMS) - len(shown))
        worse = (min if figure.at_least else max)(figure.ratios, default=None)
        shown += [figure.reference, "" if worse is None else f"{worse:.3g}"]
        if figure.target is not None:
            sign, verdict = ">=" if figure.at_least else "<=", "pass" if figure.passed else "MISS"
            shown += [f"{sign} {figure.target:,.3g}", verdict]
        table.add_row(figure.name, *shown)
    console.print(table)
