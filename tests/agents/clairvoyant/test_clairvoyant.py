"""The bound is above every policy, the clairvoyant near the optimum, and its figures come back from the cache."""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as some
from hypothesis.strategies import DrawFn

from agents import AGENTS, is_ranked, make_agent
from agents.clairvoyant import agent as clairvoyant
from agents.clairvoyant.agent import Clairvoyant, figures
from agents.clairvoyant.annealing import find_schedule, perturb, play, prepare
from agents.clairvoyant.initial_plans import DROPPED, DownloadPlan, initial_plans, round_shares
from ppgym.benchmark.bound.bound import bound, dual, episode_bound, solve
from ppgym.benchmark.bound.relaxation import RESOURCES, count_jobs, relax, watched_chunks
from ppgym.core.dynamics import transition
from ppgym.core.events import new_log
from ppgym.core.qoe import REWARD_TERMS, reward_terms, totals_of
from ppgym.core.state import UNITS, CatalogArrays, Episode, Params, Sim, StateRecord, new_states
from ppgym.env import PromptPreamEnv
from tests.core.kernel import KernelSimulator
from tests.core.naive import NaiveLink
from tests.core.worlds import Pick, plays, worlds
from tests.planning.futures import second_edition

MAX_STEPS = 300
BLANK = new_states(1)[0]
NO_LOG = new_log(0)
STANDARD = (
    *itertools.product(
        ("low", "medium", "high", "mixed"),
        ("snapdragon-8-gen-2", "snapdragon-8-elite", "rtx-4090", "pixels-only"),
        ("typical",),
    ),
    ("high", "snapdragon-8-gen-3", "skimmer"),
    ("5g", "snapdragon-8-elite", "sticky"),
)


def bound_of(world: Sim) -> float:
    return bound(world)


def return_of(world: Sim, state: StateRecord) -> float:
    return reward_terms(world.params, totals_of(BLANK), totals_of(state), np.zeros(len(REWARD_TERMS)))


def best_of_all(world: Sim, most_nodes: int) -> float | None:
    """The optimum by branch and bound over all sequences of legal actions; None where there are too many."""
    sim = KernelSimulator(world)
    chunks = watched_chunks(world)
    most_quality = float((chunks.quality.max(axis=1) * chunks.play_s).sum())
    best, nodes, stack = -math.inf, 0, [sim.state.copy()]
    while stack:
        state = stack.pop()
        now = return_of(world, state)
        if state.terminated or state.truncated:
            best = max(best, now)
        elif now + world.params.weight_quality * (most_quality - state.quality) > best:
            nodes += 1
            if nodes > most_nodes:
                return None
            sim.state = state
            for action in sim.legal_actions():
                after = state.copy()
                transition(world, after, action, NO_LOG)
                stack.append(after)
    return best


def small_world(seed: int) -> Sim:
    """A world of two videos and three chunks, with the weights of the default scenario."""
    rng = np.random.default_rng(seed)
    return Sim(
        Params(
            chunk_s=1.0,
            rtt_s=0.1,
            link_efficiency=1.0,
            wait_s=2.0,
            decoded_buffer_bytes=1e9,
            charge_thinking_s=0.0,
            parallel_downloads=1,
            cancel_on_swipe=False,
            weight_quality=1.0,
            weight_rebuffer=1.85,
            weight_switch=1.0,
            weight_waste=1.0,
            weight_download=0.0,
            weight_abandon=18.5,
            weight_energy=0.0,
            top_quality=1.85,
            reference_bps=1.85e6,
            option_representation=np.array([0, 1, 2], np.int32),
            option_unit=np.array([0, 0, 2], np.int32),
            option_usable=np.ones(3, np.uint8),
            option_decode_s=np.array([0.1, 0.1, 1.5]),
            option_codec=np.array([0, 0, 1], np.int32),
            option_generative=np.array([0, 0, 1], np.uint8),
            option_load_s=np.zeros(3),
            option_w=np.array([1.0, 1.0, 3.0]),
            contention=np.ones((4, 5)),
            throttle=1.0,
            idle_w=1.0,
            radio_base_w=1.2,
            radio_j_per_mbit=0.05,
            radio_tail_w=1.0,
            radio_tail_s=1.0,
        ),
        CatalogArrays(
            n_chunks=np.array([2, 1], np.int32),
            duration_s=np.array([2.0, 1.0]),
            chunk_bytes=np.ascontiguousarray(1e6 * np.sort(rng.uniform(0.02, 0.3, (2, 2, 3)), axis=2)[:, :, [1, 2, 0]]),
            quality=np.broadcast_to([0.75, 1.85, 1.85], (2, 2, 3)).copy(),
            memory_bytes_per_s=np.ones(3),
            retention=np.ones((2, 3)),
        ),
        Episode(
            playlist=np.array([0, 1], np.int32),
            watch_s=np.array([rng.uniform(1.1, 2.0), rng.uniform(0.1, 1.0)]),
            leaves=np.zeros(2, np.uint8),
            patience_s=np.full(2, np.inf),
            jitter=rng.uniform(0.8, 1.2, (2, 2)),
            link_time_s=np.array([0.0, 0.5, 1.0, 1.5, 2.0]),
            link_bits=1e6 * np.concatenate([[0.0], np.cumsum(rng.uniform(0.1, 1.5, 4))]),
            link_offset_s=rng.uniform(0.0, 2.0),
            max_wall_s=12.0,
        ),
    )


def first_legal(world: Sim) -> float:
    """The return of always fetching the first legal chunk by its last option."""
    sim = KernelSimulator(world)
    while not (sim.state.terminated or sim.state.truncated):
        legal = [a for a in sim.legal_actions() if a <= sim.n_options]
        sim.step(legal[-1])
    return return_of(world, sim.state)


@some.composite
def tiny_worlds(draw: DrawFn) -> Sim:
    """Worlds of a few chunks, of which every schedule can be tried."""
    world = draw(worlds())
    videos = draw(some.integers(1, 2))
    watch_s = np.minimum(world.episode.watch_s[:videos], draw(some.sampled_from([0.75, 1.0, 2.0])))
    chunk_s = world.params.chunk_s
    n_chunks = np.minimum(world.catalog.n_chunks, np.int32(math.ceil(watch_s.max() / chunk_s)))
    duration_s = np.minimum(world.catalog.duration_s, n_chunks * chunk_s)
    options = draw(some.integers(1, min(2, len(world.params.option_unit))))
    usable = world.params.option_usable[:options].copy()
    decode_s = np.where(np.isinf(world.params.option_decode_s[:options]), 1.0, world.params.option_decode_s[:options])
    usable[0] = 1
    return Sim(
        world.params._replace(
            wait_s=2.0,
            charge_thinking_s=0.0,
            option_representation=world.params.option_representation[:options],
            option_unit=world.params.option_unit[:options],
            option_usable=usable,
            option_decode_s=decode_s,
            option_codec=world.params.option_codec[:options],
            option_load_s=world.params.option_load_s[:options],
            option_w=world.params.option_w[:options],
        ),
        world.catalog._replace(n_chunks=n_chunks, duration_s=duration_s),
        world.episode._replace(
            playlist=world.episode.playlist[:videos],
            watch_s=np.minimum(watch_s, duration_s[world.episode.playlist[:videos]]),
            leaves=world.episode.leaves[:videos],
            patience_s=world.episode.patience_s[:videos],
            jitter=world.episode.jitter[:videos],
            max_wall_s=min(world.episode.max_wall_s, 12.0),
        ),
    )


@settings(max_examples=40)
@given(world=tiny_worlds())
def test_the_bound_is_above_the_optimum_of_small_worlds(world: Sim) -> None:
    optimum = best_of_all(world, most_nodes=1500)
    assume(optimum is not None)
    assert optimum is not None and bound_of(world) >= optimum


@settings(max_examples=40)
@given(play=plays())
def test_the_bound_is_above_whatever_is_played(play: tuple[Sim, list[Pick]]) -> None:
    world, picks = play
    sim = KernelSimulator(world)
    for number in range(MAX_STEPS):
        if sim.state.terminated or sim.state.truncated:
            most = bound_of(world)
            assert most >= return_of(world, sim.state)
            assert most >= first_legal(world)
            return
        sim.step(picks[number % len(picks)].action(sim.legal_actions()))


@settings(max_examples=40)
@given(world=worlds())
def test_the_schedule_found_is_legal_gives_what_it_promises_and_stays_below_the_bound(world: Sim) -> None:
    solution = solve(world)
    actions, value = find_schedule(world, solution, budget=3000)
    assert bound_of(world) == solution.bound >= value
    sim = KernelSimulator(world)
    for action in actions:
        assert not sim.state.terminated and not sim.state.truncated
        assert not sim.step(int(action))["invalid_action"]
    assert sim.state.terminated or sim.state.truncated
    assert return_of(world, sim.state) == pytest.approx(value, abs=1e-6)


@settings(max_examples=30)
@given(world=worlds())
def test_a_plan_played_on_from_its_change_goes_as_one_played_from_the_start(world: Sim) -> None:
    chunks = watched_chunks(world)
    problem, checkpoints = prepare(world, chunks, max_transfers=1)
    usable = np.flatnonzero(world.params.option_usable).astype(np.int32)
    plan = DownloadPlan(chunks.video.copy(), chunks.chunk.copy(), np.full(len(chunks.video), usable[0], np.int32))
    rng, no_actions = np.random.default_rng(0), np.zeros(0, np.int64)
    for _ in range(20):
        play(problem, plan, checkpoints, 0, -np.inf, True, no_actions)
        changed, _ = perturb(plan, int(rng.integers(len(chunks.video))), np.append(usable, np.int32(DROPPED)), rng)
        value, *_ = play(problem, plan, checkpoints, changed, -np.inf, False, no_actions)
        whole, *_ = play(problem, plan, checkpoints, 0, -np.inf, False, no_actions)
        assert value == pytest.approx(whole, abs=1e-9)


@settings(max_examples=40)
@given(world=worlds())
def test_every_initial_plan_can_be_played(world: Sim) -> None:
    solution = solve(world)
    for plan in initial_plans(world, solution):
        assert (world.params.option_usable[plan.option[plan.option != DROPPED]] == 1).all()


def test_what_the_relaxed_problem_leaves_takes_the_first_usable_option() -> None:
    share = np.array([[0.0, 0.3, 0.7], [0.0, 0.0, 0.0], [0.0, 0.4, 0.6]])
    usable = np.array([[False, True, True]] * 3)
    assert round_shares(share, usable).tolist() == [2, 1, 2]


@pytest.mark.parametrize("seed", range(6))
def test_the_schedule_found_is_the_optimum_of_small_worlds(seed: int) -> None:
    world = small_world(seed)
    params, catalog, episode = world
    impatient = Sim(params._replace(weight_abandon=0.5), catalog, episode._replace(patience_s=np.array([0.7, 0.4])))
    thrifty = Sim(params._replace(weight_energy=0.1, option_load_s=np.array([0.0, 0.0, 0.2])), catalog, episode)
    hot = Sim(params._replace(throttle=3.0), catalog, episode)
    costly = Sim(params._replace(weight_waste=0.0, weight_download=0.5), catalog, episode)
    crowded = Sim(params._replace(contention=np.array([[1, 1, 1.5, 2, 2]] * UNITS)), catalog, episode)
    cut_short = Sim(params, catalog, episode._replace(max_wall_s=2.5))
    for case in (world, impatient, thrifty, hot, costly, crowded, cut_short):
        optimum = best_of_all(case, most_nodes=20_000)
        solution = solve(case)
        _, value = find_schedule(case, solution, budget=50_000)
        assert optimum is not None and solution.bound >= optimum
        assert value == pytest.approx(optimum, abs=1e-9)


def test_the_bound_is_tight_where_nothing_is_scarce() -> None:
    """One chunk, one option: the bound is its value minus the unavoidable start-up, to a cell of stall."""
    world = small_world(0)
    params = world.params._replace(option_usable=np.array([1, 0, 0], np.uint8))
    episode = world.episode._replace(watch_s=np.array([1.0, 1.0]), leaves=np.array([1, 0], np.uint8))
    startup_s = NaiveLink(params, episode).time_to_carry(0.1, float(world.catalog.chunk_bytes[0, 0, 0]))
    startup_s += 0.1 * episode.jitter[0, 0]
    exact = 0.75 - 1.85 * startup_s
    assert exact < bound(Sim(params, world.catalog, episode)) < exact + 1.85 * 0.03


@settings(max_examples=50)
@given(world=worlds(), prices=some.lists(some.floats(0, 3), min_size=1, max_size=7))
def test_any_prices_give_a_bound(world: Sim, prices: list[float]) -> None:
    chunks = watched_chunks(world)
    relaxed = relax(world, chunks)
    count = len(chunks.video)
    price = np.sort(np.resize(prices, (RESOURCES, count)), axis=1)[:, ::-1].copy()
    value = dual(relaxed, price, np.empty_like(price), np.empty(count, np.int32))
    if np.isinf(world.episode.patience_s).all() and world.episode.max_wall_s > 60:
        assert value + 1e-6 >= first_legal(world)


@given(
    shortest_s=some.lists(some.floats(0.01, 3), min_size=1, max_size=6),
    free_s=some.lists(some.floats(0, 10), min_size=1, max_size=6).map(sorted),
)
def test_jobs_are_counted_shortest_first(shortest_s: list[float], free_s: list[float]) -> None:
    jobs = np.empty((len(shortest_s), len(free_s)))
    count_jobs(np.array(shortest_s), np.tile(free_s, (len(shortest_s), 1)), jobs)
    for c, row in enumerate(jobs):
        totals = np.cumsum(sorted(shortest_s[: c + 1]))
        assert row.tolist() == [np.count_nonzero(totals <= seconds) for seconds in free_s]


@given(world=worlds())
def test_room_of_the_link_is_what_it_carries(world: Sim) -> None:
    params = world.params._replace(parallel_downloads=2)
    link = NaiveLink(params, world.episode)
    roomy = world._replace(params=params)
    relaxed = relax(roomy, watched_chunks(roomy))
    tolerance_s = 1e-8 * (len(relaxed.chunks.video) + 1)
    min_decode_s = relaxed.chunks.decode_s[0].min()
    mean_mbps = link.bytes_between(0.0, link.edges[-1]) * 8e-6 / link.edges[-1]
    for cell in (0, len(relaxed.stall_s) // 2, len(relaxed.stall_s) - 2):
        until_s = relaxed.stall_s[cell + 1] - min_decode_s + tolerance_s
        mbit = link.bytes_between(params.rtt_s, until_s) * 8e-6 if until_s > params.rtt_s else 0.0
        assert relaxed.room[0, 0, cell] * mean_mbps == pytest.approx(mbit, abs=1e-6)


@pytest.mark.parametrize("scenario", ["/".join(names) for names in STANDARD])
def test_no_agent_beats_the_bound_on_the_standard_scenarios(scenario: str, tmp_path: Path) -> None:
    env = PromptPreamEnv(scenario, split="validation", n_videos=5)
    for seed in range(2):
        env.reset(seed=seed)
        found = figures(env, budget=200_000, cache=tmp_path)
        assert episode_bound(env) == found.bound >= found.value
        for name in AGENTS:
            if is_ranked(name):
                try:
                    agent = make_agent(name, env, seed=seed, **({"simulations": 16} if name == "mcts" else {}))
                except (FileNotFoundError, ImportError):
                    continue  # it needs what is not here
                value = play_to_end(env, agent, seed)
                assert found.bound >= value, name
                assert found.value >= value - 0.02 * abs(found.bound), name  # up to the search's slack


@pytest.mark.parametrize(
    "kwargs",
    [
        second_edition(),
        {"qoe": {"energy": 0.3}, "patience": [0.5, 3.0]},
        {
            "scenario": "high/pixels-only/sticky",
            "qoe": {"energy": 1.0, "abandon": 2.0},
            "parallel_downloads": 2,
            "patience": [0.2, 1.0],
        },
        {"scenario": "mixed/snapdragon-8-gen-3/skimmer/promptmobile", "qoe": {"energy": 0.1}, "bandwidth_scale": 0.3},
    ],
    ids=["new", "impatient", "two downloads", "starved"],
)
def test_no_agent_beats_the_bound_with_patience_and_a_price_on_energy(kwargs: dict[str, Any]) -> None:
    env = PromptPreamEnv(**kwargs, split="validation", n_videos=5)
    abandoned = 0
    for seed in range(3):
        env.reset(seed=seed)
        most = episode_bound(env)
        for name in ("random", "on_demand", "fixed_preload+prompt", "greedy"):
            assert most >= play_to_end(env, make_agent(name, env, seed=seed), seed), name
            abandoned += int(env._info()["videos_abandoned"])
            assert env._info()["energy_j"] > 0.0
    assert abandoned > 0


def play_to_end(env: PromptPreamEnv, agent: Any, seed: int) -> float:
    observation, info = env.reset(seed=seed)
    total, ended, state = 0.0, False, None
    while not ended:
        action, state = agent.predict(observation, state=state, action_masks=info["action_mask"].astype(bool))
        observation, reward, terminated, truncated, info = env.step(action)
        assert not info["invalid_action"]
        total, ended = total + reward, terminated or truncated
    return total


@pytest.mark.parametrize("parallel_downloads", [1, 3])
def test_the_agent_gets_exactly_what_it_promises(parallel_downloads: int, tmp_path: Path) -> None:
    env = PromptPreamEnv(n_videos=4, parallel_downloads=parallel_downloads, patience=6.0)
    agent = Clairvoyant(env, seed=1, budget=50_000, cache=tmp_path)
    for seed in range(3):
        value = play_to_end(env, agent, seed)
        env.reset(seed=seed)
        assert value == figures(env, budget=50_000, cache=tmp_path).value


def test_the_agent_cannot_begin_in_the_middle_of_an_episode(tmp_path: Path) -> None:
    env = PromptPreamEnv(n_videos=2)
    env.reset(seed=0)
    agent = Clairvoyant(env, budget=1000, cache=tmp_path)
    action, state = agent.predict(None)
    env.step(action)
    with pytest.raises(ValueError, match="None after the episode's start"):
        agent.predict(None, state=None)
    with pytest.raises(ValueError, match="expected actions that remain"):
        agent.predict(None, state=[])
    assert agent.predict(None, state=state)[0] == state[0]


def test_figures_come_back_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = PromptPreamEnv(n_videos=2)
    env.reset(seed=5)
    found = figures(env, budget=1000, cache=tmp_path)
    [path] = tmp_path.iterdir()
    assert json.loads(path.read_text()) == found._asdict()

    def never(*args: Any) -> None:
        raise AssertionError("the figures are in the cache")

    monkeypatch.setattr(clairvoyant, "solve", never)
    assert figures(env, budget=1000, cache=tmp_path) == found
    env.reset(seed=6)  # another episode has another entry
    with pytest.raises(AssertionError, match="in the cache"):
        figures(env, budget=1000, cache=tmp_path)


@pytest.mark.parametrize("text", ["", "{", "{}", '{"bound": 1.0, "value": NaN, "actions": []}', '{"bound": 1.0}'])
def test_a_corrupt_entry_is_set_aside_and_made_anew(text: str, tmp_path: Path) -> None:
    env = PromptPreamEnv(n_videos=1)
    env.reset(seed=3)
    found = figures(env, budget=1000, cache=tmp_path)
    [path] = tmp_path.iterdir()
    path.write_text(text)
    assert figures(env, budget=1000, cache=tmp_path) == found
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".corrupt", ".json"]
    assert path.with_suffix(".corrupt").read_text() == text
