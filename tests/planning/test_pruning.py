"""Each pruning rule on hand-made views; the safe ones against exhaustive search of small worlds."""

import math
from dataclasses import replace

import numpy as np
import pytest

from ppgym.benchmark.bound.relaxation import watched_chunks
from ppgym.core.actions import WAIT
from ppgym.core.content import content_s, position_s, survival_at
from ppgym.core.decoders import expected_decode_s, load_left_s, throttling
from ppgym.core.dynamics import transition
from ppgym.core.qoe import REWARD_TERMS, reward_terms, totals_of
from ppgym.core.state import LOOKAHEAD, Sim, StateRecord, new_states
from ppgym.env import PromptPreamEnv
from ppgym.planning.pruning import RULES, Requests, Rule, expect_requests, prune, survival
from ppgym.planning.rollout import RECENT, estimate_bps
from ppgym.planning_view import PlanningView, writeable_fields
from ppgym.world.viewers import ViewerProfile
from tests.agents.clairvoyant.test_clairvoyant import best_of_all
from tests.core.kernel import KernelSimulator
from tests.planning.futures import CPU, NPU, PATIENT, VDEC, second_edition, view_of, world_of

RULE = {rule.name: rule for rule in RULES}
SAFE = [rule for rule in RULES if rule.safe]
BLANK = totals_of(new_states(1)[0])


def gone(rule: str, world: Sim, actions: tuple[int, ...] = (), bps: float = 1e6) -> list[tuple[int, int, int]]:
    """What a rule removes, as (slot, look-ahead, option), after some actions."""
    sim = KernelSimulator(world)
    for action in actions:
        sim.step(action)
    return removed_of(rule, view_of(world, sim.state), bps)


def removed_of(rule: str, view: PlanningView, bps: float) -> list[tuple[int, int, int]]:
    requests = expect_requests(view, bps)
    flags = RULE[rule].find(view, requests)
    return [(int(requests.slot[i]), int(requests.lookahead[i]), int(requests.option[i])) for i in np.flatnonzero(flags)]


def places(world: Sim, option: int) -> list[tuple[int, int, int]]:
    return [(slot, k, option) for slot, n in enumerate(world.catalog.n_chunks) for k in range(min(n, LOOKAHEAD))]


def fetch(world: Sim, slot: int, lookahead: int, option: int) -> int:
    return 1 + (slot * LOOKAHEAD + lookahead) * len(world.params.option_unit) + option


# --- by hand ----------------------------------------------------------------------------------------------------------

PIXELS_ON_BOTH = [(0, CPU, 0.05), (0, VDEC, 0.02), (1, CPU, 0.9), (1, NPU, 0.3)]
"""Pixels decode faster on vdec; a prompt on cpu or npu, too long for a round trip."""


def with_retention(view: PlanningView, slot: int, curve: list[float]) -> PlanningView:
    """A view whose slot has another retention curve."""
    retention = view.catalog.retention.copy()
    retention[slot, : len(curve)] = curve
    return replace(view, catalog=view.catalog._replace(retention=retention))


def test_requests_are_what_a_client_expects() -> None:
    world = world_of(PIXELS_ON_BOTH, [0.5, 0.2], [1.0, 0.8], chunks=(3, 2))
    view = view_of(world, KernelSimulator(world).state)
    view = with_retention(view, 1, [1.0, 0.5, 0.2])
    view = replace(view, distribution=PATIENT._replace(leave_p=0.25))
    requests = expect_requests(view, bps=1e6)
    rows = [tuple(row) for row in np.stack([requests.slot, requests.lookahead, requests.option], axis=1).tolist()]
    assert rows == sorted(places(world, 0) + places(world, 1) + places(world, 2) + places(world, 3))
    pixels, prompt = rows.index((0, 2, 1)), rows.index((1, 1, 2))
    assert requests.action[pixels] == fetch(world, 0, 2, 1)
    assert requests.arrival_s[pixels] == pytest.approx(0.6)
    assert requests.ready_s[pixels] == pytest.approx(0.62)
    assert requests.due_s[pixels] == 2.0
    assert requests.played[pixels] == 1.0
    assert not requests.is_generative[pixels]
    assert requests.arrival_s[prompt] == pytest.approx(0.3)
    assert requests.ready_s[prompt] == pytest.approx(1.2)
    assert requests.due_s[prompt] == 1.0  # from the viewer's coming on
    assert requests.played[prompt] == pytest.approx(0.75 * 0.5)
    assert requests.is_generative[prompt]
    assert requests.size_bytes[prompt] == pytest.approx(0.2e6 / 8)
    assert requests.quality[prompt] == 0.8


def test_a_unit_with_work_makes_a_request_wait() -> None:
    world = world_of(PIXELS_ON_BOTH, [0.5, 0.2], [1.0, 0.8])
    sim = KernelSimulator(world)
    sim.step(fetch(world, 0, 0, 2))  # the prompt arrives at 0.3, cpu works until 1.2
    requests = expect_requests(view_of(world, sim.state), bps=1e6)
    on_cpu = requests.unit == CPU
    assert requests.free_s[on_cpu] == pytest.approx(0.9)
    assert requests.ready_s[on_cpu & ~requests.is_generative] == pytest.approx(0.95)
    assert not requests.free_s[~on_cpu].any()


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


def test_a_prompt_goes_that_is_late_where_pixels_are_sooner() -> None:
    world = world_of([(0, VDEC, 0.05), (1, NPU, 1.5)], [0.5, 0.2], [1.0, 1.0], chunks=(4, 2), watch_s=(4.0, 2.0))
    # ready after 0.1 + 0.2 + 1.5 = 1.8 s, so late for chunks 0 and 1 of the current video; others come in time
    assert gone("late_prompt", world) == [(0, 0, 1), (0, 1, 1)]
    # at a tenth of the rate it is ready after 3.6 s, pixels after 5.15 s: nothing is sooner
    assert gone("late_prompt", world, bps=0.1e6) == []
    alone = world_of([(1, NPU, 1.5)], [0.5, 0.2], [1.0, 1.0])
    assert gone("late_prompt", alone) == []


def test_what_will_hardly_be_played_goes() -> None:
    world = world_of([(0, VDEC, 0.05)], [0.5, 0.2], [1.0, 1.0], chunks=(4, 4), watch_s=(4.0, 4.0))
    view = view_of(world, KernelSimulator(world).state)
    for slot in (0, 1):
        view = with_retention(view, slot, [1.0, 0.06, 0.049, 0.04, 0.0])
    assert removed_of("negligible_stall", view, 1e6) == [(1, 2, 0), (1, 3, 0)]  # the current video's stay
    view = PlanningView(**{**vars(view), "distribution": PATIENT._replace(leave_p=0.2)})  # 0.8 x 0.06 is less as well
    assert removed_of("negligible_stall", view, 1e6) == [(1, 1, 0), (1, 2, 0), (1, 3, 0)]


def test_pixels_of_a_video_are_asked_for_in_order_but_not_prompts() -> None:
    world = world_of([(0, VDEC, 0.05), (1, NPU, 0.5)], [0.5, 0.2], [1.0, 0.8])
    assert gone("canonical_order", world) == [(0, 1, 0), (0, 2, 0), (1, 1, 0)]
    only_prompts = world._replace(params=world.params._replace(option_usable=np.array([0, 1], np.uint8)))
    assert gone("canonical_order", only_prompts) == []


def test_an_earlier_chunk_without_pixels_holds_back_no_later_one() -> None:
    """What an earlier rule removed cannot come first."""
    world = world_of([(0, VDEC, 0.05), (1, NPU, 0.5)], [0.5, 0.2], [1.0, 0.8])
    view = view_of(world, KernelSimulator(world).state)
    requests = expect_requests(view, 1e6)
    kept = ~((requests.slot == 0) & (requests.lookahead == 0) & ~requests.is_generative)
    requests = Requests(*[column[kept] for column in requests])
    flags = RULE["canonical_order"].find(view, requests)
    order = [tuple(row) for row in np.stack([requests.slot, requests.lookahead, requests.option])[:, flags].T.tolist()]
    assert order == [(0, 2, 0), (1, 1, 0)]


def test_rules_apply_one_after_the_other_and_say_what_they_removed() -> None:
    world = world_of(PIXELS_ON_BOTH, [0.5, 0.2], [1.0, 0.8])
    view = view_of(world, KernelSimulator(world).state)
    everything = expect_requests(view, 1e6)
    requests, removed = prune(view, RULES, 1e6)
    assert list(removed) == [rule.name for rule in RULES]
    assert len(everything.action) - sum(removed.values()) == len(requests.action)
    assert removed["dominated_unit"] == 5
    assert removed["canonical_order"] == 3  # on vdec alone: those on cpu are gone
    assert prune(view, (), 1e6)[0].action.tolist() == everything.action.tolist()


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
            requests, _ = prune(view, RULES, float(rng.uniform(0.05e6, 10e6)))
            assert ((requests.slot == 0) & (requests.lookahead == 0)).any()
            starving += 1
        legal = np.flatnonzero(info["action_mask"])
        _, _, terminated, truncated, info = env.step(int(rng.choice(legal[len(legal) // 2 :])))
        if terminated or truncated:
            _, info = env.reset()
    assert starving > 20


@pytest.mark.parametrize("kwargs", [{}, second_edition()], ids=["default", "new"])
def test_what_is_expected_of_many_is_what_the_kernel_expects_of_one(kwargs: dict) -> None:
    env = PromptPreamEnv(**kwargs)
    _, info = env.reset(seed=0)
    rng, loaded, warm = np.random.default_rng(0), 0, 0
    for step in range(500):
        if step % 5 == 0:
            view = env.planning_view()
            params, catalog, requests = env.world.params, writeable_fields(view.catalog), expect_requests(view, 1e6)
            for i in rng.permutation(len(requests.action))[:20]:
                slot, option = int(requests.slot[i]), int(requests.option[i])
                chunk = int(view.candidates[slot, requests.lookahead[i]])
                seconds = content_s(params, catalog, slot, chunk)
                expected = expected_decode_s(params, env._states[0], option, seconds)
                assert requests.decode_s[i] == pytest.approx(expected, rel=1e-12)
                loaded += load_left_s(params, env._states[0], option) == 0.0
                warm += throttling(params, env._states[0], int(requests.unit[i])) > 1.01
                reached = survival_at(catalog, slot, chunk * params.chunk_s)
                watched_s = position_s(params.chunk_s, env._states[0]) if slot == 0 else 0.0
                alive = survival_at(catalog, slot, watched_s)
                comes = (1.0 - view.distribution.leave_p) ** slot
                assert requests.played[i] == pytest.approx(comes * min(reached / alive, 1.0), rel=1e-9)
        _, _, terminated, truncated, info = env.step(int(rng.choice(np.flatnonzero(info["action_mask"]))))
        if terminated or truncated:
            _, info = env.reset()
    assert loaded > 50
    assert warm > 50 or not kwargs


@pytest.mark.parametrize("duration_s", [0.4, 1.0, 4.6, 7.0])
def test_survival_of_many_is_that_of_one_at_any_second(duration_s: float) -> None:
    world = world_of(PIXELS_ON_BOTH, [0.5, 0.2], [1.0, 0.8], chunks=(7, 2))
    curve = ViewerProfile.load("typical").curve(duration_s).survival
    retention = np.zeros((2, 8))
    retention[:] = np.append(curve, np.zeros(8 - len(curve)))
    catalog = world.catalog._replace(retention=retention, duration_s=np.full(2, duration_s))
    view = replace(view_of(world, KernelSimulator(world).state), catalog=catalog)
    seconds = np.append(np.linspace(0, duration_s, 71), [duration_s + 1, 6.0])
    found = survival(view, np.zeros(len(seconds), np.intp), seconds)
    np.testing.assert_allclose(found, [survival_at(catalog, 0, second) for second in seconds], rtol=1e-12)


# --- against exhaustive search ----------------------------------------------------------------------------------------


def return_of(world: Sim, state: StateRecord) -> float:
    return reward_terms(world.params, BLANK, totals_of(state), np.zeros(len(REWARD_TERMS)))


def optimum(world: Sim, rules: tuple[Rule, ...] = ()) -> tuple[float, int]:
    """The best return over all sequences of the actions that the rules leave, and how many states it took.

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
        requests, _ = prune(view_of(world, state), rules, float(estimate_bps(state, RECENT)))
        for action in [WAIT, *requests.action[::-1].tolist()]:
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


@pytest.mark.parametrize("rules", [*[(rule,) for rule in SAFE], tuple(SAFE)], ids=lambda rules: rules[-1].name)
def test_safe_rules_keep_the_optimum_of_small_worlds(rules: tuple[Rule, ...]) -> None:
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


def test_an_unsafe_rule_is_found_out() -> None:
    """The search above would notice: to refuse all requests but the first loses."""
    lazy = Rule("first", False, lambda view, requests: np.arange(len(requests.action)) > 0)
    losses = [optimum(world)[0] - optimum(world, (lazy,))[0] for world in map(random_world, range(1, 8, 2))]
    assert min(losses) > -1e-9
    assert max(losses) > 0.1
