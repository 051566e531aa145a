"""Each pruning rule on hand-made views, and against exhaustive search of small worlds."""

import math

import numpy as np
import pytest

from ppgym.benchmark.bound.relaxation import watched_chunks
from ppgym.core.actions import WAIT
from ppgym.core.dynamics import transition
from ppgym.core.qoe import REWARD_TERMS, reward_terms, totals_of
from ppgym.core.state import LOOKAHEAD, Sim, StateRecord, new_states
from ppgym.env import PromptPreamEnv
from ppgym.planning.pruning import RULES, prune
from tests.agents.clairvoyant.test_clairvoyant import best_of_all
from tests.core.kernel import KernelSimulator
from tests.planning.futures import CPU, NPU, VDEC, second_edition, view_of, world_of

BLANK = totals_of(new_states(1)[0])


def gone(rule: str, world: Sim, actions: tuple[int, ...] = ()) -> list[tuple[int, int, int]]:
    """What a rule removes, as (slot, look-ahead, option), after some actions."""
    sim = KernelSimulator(world)
    for action in actions:
        sim.step(action)
    view = view_of(world, sim.state)
    mask, removed = prune(view, [rule])
    found = np.flatnonzero(mask != view.action_mask)
    assert removed == {rule: len(found)}
    assert not mask[found].any()
    place, option = np.divmod(found - 1, len(world.params.option_unit))
    slot, lookahead = np.divmod(place, LOOKAHEAD)
    return list(zip(slot.tolist(), lookahead.tolist(), option.tolist(), strict=True))


def places(world: Sim, option: int) -> list[tuple[int, int, int]]:
    return [(slot, k, option) for slot, n in enumerate(world.catalog.n_chunks) for k in range(min(n, LOOKAHEAD))]


def fetch(world: Sim, slot: int, lookahead: int, option: int) -> int:
    return 1 + (slot * LOOKAHEAD + lookahead) * len(world.params.option_unit) + option


# --- by hand ----------------------------------------------------------------------------------------------------------

PIXELS_ON_BOTH = [(0, CPU, 0.05), (0, VDEC, 0.02), (1, CPU, 0.9), (1, NPU, 0.3)]
"""Pixels decode faster on vdec; a prompt on cpu or npu, too long for a round trip."""


def test_the_faster_of_two_idle_units_dominates_where_it_is_done_within_a_round_trip() -> None:
    world = world_of(PIXELS_ON_BOTH, [0.5, 0.2], [1.0, 0.8])
    assert gone("dominated_unit", world) == places(world, 0)  # pixels on cpu; prompts outlast the round trip
    slow = world_of([(0, CPU, 0.3), (0, VDEC, 0.2)], [0.5, 0.2], [1.0, 0.8])
    assert gone("dominated_unit", slow) == []
    equal = world_of([(0, VDEC, 0.05), (0, CPU, 0.05)], [0.5, 0.2], [1.0, 0.8])
    assert gone("dominated_unit", equal) == places(equal, 0)  # the first unit stays


def test_a_unit_that_may_be_busy_at_the_arrival_dominates_nothing() -> None:
    """Expected to be free when the chunk arrives is not enough: the link may be faster than expected."""
    options = [(0, CPU, 0.02), (0, VDEC, 0.05), (1, CPU, 0.3)]
    world = world_of(options, [0.5, 0.2], [1.0, 0.8])
    assert gone("dominated_unit", world) == places(world, 1)
    assert gone("dominated_unit", world, (fetch(world, 0, 0, 2),)) == []


@pytest.mark.parametrize(
    "changed",
    [
        {"parallel_downloads": 2},
        {"weight_energy": 0.1},
        {"throttle": 1.5},
        {"option_load_s": np.array([0.0, 0.0, 0.1])},
        {"contention": np.where(np.arange(5) > 1, 1.5, 1.0) * np.ones((4, 1))},
    ],
)
@pytest.mark.parametrize("rule", ["dominated_unit", "dominated_representation"])
def test_where_others_may_notice_nothing_is_dominated(rule: str, changed: dict) -> None:
    world = world_of([(0, CPU, 0.05), (0, VDEC, 0.02), (1, VDEC, 0.02)], [0.5, 0.2], [1.0, 1.0], **changed)
    assert gone(rule, world) == []


def test_fewer_bytes_of_the_same_look_dominate() -> None:
    options = [(0, VDEC, 0.05), (1, VDEC, 0.04)]
    world = world_of(options, [0.5, 0.4], [1.0, 1.0])
    assert gone("dominated_representation", world) == places(world, 0)
    assert gone("dominated_representation", world_of(options, [0.5, 0.4], [1.0, 1.1])) == []  # may cost two switches
    assert gone("dominated_representation", world_of(options, [0.5, 0.5], [1.0, 1.0])) == []
    slower = world_of([(0, VDEC, 0.04), (1, VDEC, 0.05)], [0.5, 0.4], [1.0, 1.0])
    assert gone("dominated_representation", slower) == []  # on a fast link the bytes do not make up for it
    larger = world_of(options, [0.5, 0.4], [1.0, 1.0])
    larger = larger._replace(catalog=larger.catalog._replace(memory_bytes_per_s=np.array([1.0, 2.0])))
    assert gone("dominated_representation", larger) == []


def test_rules_apply_one_after_the_other_and_say_what_they_removed() -> None:
    """Of three requests for a chunk the rule of units leaves two, and that of representations one of these."""
    world = world_of([(0, CPU, 0.05), (0, VDEC, 0.04), (1, VDEC, 0.03)], [0.5, 0.4], [1.0, 1.0])
    view = view_of(world, KernelSimulator(world).state)
    mask, removed = prune(view)
    count = len(places(world, 0))
    assert list(removed.items()) == [("dominated_unit", count), ("dominated_representation", count)]
    assert np.flatnonzero(mask).tolist() == [WAIT, *sorted(fetch(world, *place) for place in places(world, 2))]
    kept, nothing = prune(view, ())
    assert kept.tolist() == view.action_mask.tolist()
    assert nothing == {}


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"scenario": "high/rtx-4090/skimmer", "parallel_downloads": 3},
        {"decoded_buffer_bytes": 6e7},
        second_edition(),
    ],
)
def test_who_starves_can_always_ask_for_the_chunk(kwargs: dict) -> None:
    rng, starving = np.random.default_rng(0), 0
    env = PromptPreamEnv(**kwargs)
    _, info = env.reset(seed=0)
    for _ in range(400):
        view = env.planning_view()
        if not view.state.playing and view.candidates[0, 0] == view.state.playhead:
            assert prune(view)[0][1 : 1 + len(view.options)].any()
            starving += 1
        legal = np.flatnonzero(info["action_mask"])
        _, _, terminated, truncated, info = env.step(int(rng.choice(legal[len(legal) // 2 :])))
        if terminated or truncated:
            _, info = env.reset()
    assert starving > 20


# --- against exhaustive search ----------------------------------------------------------------------------------------


def return_of(world: Sim, state: StateRecord) -> float:
    return reward_terms(world.params, BLANK, totals_of(state), np.zeros(len(REWARD_TERMS)))


def optimum(world: Sim, rules: tuple[str, ...] = (), most: int | None = None) -> tuple[float, int]:
    """The best return over all sequences of the actions that the rules leave, and how many states it took.

    Of the requests of a state the first `most` are tried.

    It skips states whose return cannot exceed the best one, even if all that will be watched plays at top quality.
    """
    chunks = watched_chunks(world)
    most_quality = float((chunks.quality.max(axis=1) * chunks.play_s).sum())
    best, nodes, stack = -math.inf, 0, [KernelSimulator(world).state.copy()]
    while stack:
        state = stack.pop()
        now = return_of(world, state)
        if state.terminated or state.truncated:
            best = max(best, now)
            continue
        if now + world.params.weight_quality * (most_quality - state.quality) <= best:
            continue
        nodes += 1
        requests = np.flatnonzero(prune(view_of(world, state), rules)[0][1:]) + 1
        for action in [WAIT, *requests[:most][::-1].tolist()]:
            after = state.copy()
            transition(world, after, action)
            stack.append(after)
    return best, nodes


def random_world(seed: int) -> Sim:
    """One or two videos of two to four chunks; pixels and prompts that may share the cpu, a link that changes."""
    rng = np.random.default_rng(seed)
    pool = [(0, CPU), (0, VDEC), (1, VDEC), (1, CPU), (2, CPU), (2, NPU)]
    chosen = sorted(rng.choice(6, size=rng.integers(2, 5), replace=False)) if seed % 2 else [0, 1, 4]
    options = []
    for representation, unit in (pool[i] for i in chosen):
        swift = representation < 2 or rng.random() < 0.2
        decode_s = rng.choice([0.02, 0.05, 0.08, 0.1]) if swift else rng.uniform(0.05, 1.0)
        options.append((representation, unit, decode_s))
    chunks = [(2,), (3,), (1, 1), (2, 1), (1, 2), (4,), (2, 2)][rng.integers(7)]
    same_look = rng.choice([1.0, 1.5])
    world = world_of(
        options,
        [*rng.uniform(0.2, 1.5, 2), rng.uniform(0.02, 0.3)],
        [1.0, same_look, rng.choice([1.0, 0.8])],
        chunks=chunks,
        watch_s=tuple(n - rng.choice([0.0, 0.4]) for n in chunks),
        mbps=tuple(rng.uniform(0.2, [4.0, 12.0][seed // 2 % 2], 3)),
        decoded_buffer_bytes=rng.choice([1e9, 2.0]),
        wait_s=rng.choice([0.5, 2.0]),
    )
    chunk_bytes = world.catalog.chunk_bytes * rng.uniform(0.5, 1.5, world.catalog.chunk_bytes.shape)
    return world._replace(catalog=world.catalog._replace(chunk_bytes=chunk_bytes))


FASTER_THAN_EXPECTED = (167, 175, 263, 470)
"""Worlds where it matters that a chunk may arrive sooner than the throughputs seen make one expect."""


@pytest.mark.parametrize("rules", [*[(rule,) for rule in RULES], RULES], ids="+".join)
def test_the_rules_keep_the_optimum_of_small_worlds(rules: tuple[str, ...]) -> None:
    all_nodes = left_nodes = 0
    for seed in (*range(40), *FASTER_THAN_EXPECTED):
        world = random_world(seed)
        if best_of_all(world, most_nodes=300) is None:
            continue
        best, nodes = optimum(world)
        kept, fewer = optimum(world, rules)
        assert kept == pytest.approx(best, abs=1e-9), f"seed {seed}"
        all_nodes, left_nodes = all_nodes + nodes, left_nodes + fewer
    assert left_nodes < all_nodes


def test_a_rule_that_costs_something_is_found_out() -> None:
    """The search above would notice: to refuse all requests but the first loses."""
    losses = [optimum(world)[0] - optimum(world, most=1)[0] for world in map(random_world, range(1, 8, 2))]
    assert min(losses) > -1e-9
    assert max(losses) > 0.1
