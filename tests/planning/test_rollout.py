"""The rollout policy against a slow oracle of what it says it does; it is legal, and sees what a client sees."""

import math
from typing import Any

import numpy as np
import pytest

from agents.studies.rollout_evolution import to_policy
from ppgym.core.actions import WAIT
from ppgym.core.decoders import throttling
from ppgym.core.episodes import view_sim
from ppgym.core.qoe import MBIT_PER_BYTE
from ppgym.core.state import ABSENT, LOOKAHEAD, NO_ENTRY, RING, SLOTS
from ppgym.env import PromptPreamEnv
from ppgym.planning.rollout import (
    DEFAULT_BPS,
    LEAVING_SPAN_S,
    choose_action,
    estimate_bps,
    make_tables,
    new_estimates,
    stall_price,
    value_actions,
)
from ppgym.planning.rollout_parameters import (
    FAST_BPS,
    FAST_NETWORK_BPS,
    SLOW_BPS,
    SLOW_NETWORK_BPS,
    NetworkParameters,
    RolloutParameters,
    RolloutPolicy,
)
from ppgym.planning_view import writeable_fields
from ppgym.world.ladders import Ladder
from tests.planning.futures import second_edition
from tests.test_env import other_future, random_legal

WORLDS: list[dict[str, Any]] = [
    {},
    {"scenario": "high/rtx-4090/skimmer", "parallel_downloads": 3, "decoded_buffer_bytes": 6e7, "n_videos": 3},
    {"scenario": "medium/pixels-only/sticky", "qoe": "mmgc2022", "patience": "none"},
    second_edition(),
    {"ladder": Ladder.load("published").to_json() | {"reference_mbps": 4.0}, "qoe": {"quality": 3.0, "energy": 0.1}},
]
POLICY = RolloutPolicy(
    slow_network=NetworkParameters(
        slow=RolloutParameters(0.8, 2.0, 0.4, 0.1, 0.4, 1.8, 1.5, 0.1, 0.7, 0.6, 1.2, -0.1, 9.5),
        fast=RolloutParameters(0.9, 1.0, 0.2, 0.02, 0.6, 0.9, 1.2, 0.3, 0.6, 0.7, 1.6, 0.05, 14.0),
    ),
    fast_network=NetworkParameters(
        slow=RolloutParameters(1.0, 1.5, 0.1, 0.12, 0.3, 1.9, 1.7, 0.25, 0.5, 0.2, 2.2, 0.3, 12.0),
        fast=RolloutParameters(0.95, 1.4, 0.05, 0.25, 0.2, 0.5, 1.6, 0.2, 0.3, 0.9, 2.4, -0.2, 16.0),
    ),
)


def values_of(env: PromptPreamEnv, lookahead: int, policy: RolloutPolicy = POLICY) -> tuple[int, np.ndarray]:
    values = np.full(len(env.action_masks()), -np.inf)
    chosen = value_actions(
        view_sim(env._sims, 0),
        env._states[0],
        make_tables(env.world.params, env.world.catalog, env.world.distribution),
        policy,
        lookahead,
        new_estimates(),
        values,
    )
    return chosen, values


class Oracle:
    """The policy's docstrings, one quantity at a time, from the planning view."""

    def __init__(self, env: PromptPreamEnv, policy: RolloutPolicy, lookahead: int) -> None:
        self.view = view = env.planning_view()
        self.state, self.params, self.catalog = view.state, view.params, view.catalog
        tuned = 1.85e6 / self.params.reference_bps  # rates were tuned at B = 1.85 Mbit/s
        bps, network_bps = (
            len(seen) / (1.0 / seen).sum() if len(seen) else DEFAULT_BPS
            for seen in (view.throughput_bps[-5:], view.throughput_bps)
        )
        share = float(np.clip(math.log(tuned * bps / SLOW_BPS) / math.log(FAST_BPS / SLOW_BPS), 0.0, 1.0))
        network = math.log(tuned * network_bps / SLOW_NETWORK_BPS) / math.log(FAST_NETWORK_BPS / SLOW_NETWORK_BPS)
        network = float(np.clip(network, 0.0, 1.0))
        corners = np.array(policy)  # [network, recent rate, parameter]
        self.parameters = RolloutParameters(
            *(np.array([1.0 - network, network]) @ (np.array([1.0 - share, share]) @ corners)).tolist()
        )
        self.bps = bps * self.parameters.bps_share
        self.scale = self.params.weight_quality * self.params.top_quality / 1.85  # prices were tuned at q = 1.85
        self.stall_price = stall_price(view.params, view.distribution)
        self.chunk_s = self.params.chunk_s
        self.here_s = self.state.playhead * self.chunk_s
        if self.state.playing:
            self.here_s += float(self.state.time_s - self.state.playback_since_s)
        self.chunks: dict[int, int] = {}
        for slot in range(SLOTS):
            chunk = int(view.candidates[slot, lookahead])
            if chunk != NO_ENTRY and (slot > 0 or chunk * self.chunk_s - self.here_s < self.parameters.buffer_s):
                self.chunks[slot] = chunk

    def survival(self, slot: int, seconds: float) -> float:
        duration_s = float(self.catalog.duration_s[slot])
        last = math.ceil(duration_s)
        grid_s = np.minimum(np.arange(last + 1), duration_s)
        return float(np.interp(seconds, grid_s, self.catalog.retention[slot, : last + 1]))

    def backlog_s(self, unit: int) -> float:
        running_s = 0.0
        if self.state.job_video[unit] != NO_ENTRY:
            job_s = self.state.job_load_s[unit] + self.state.job_expected_s[unit]
            running_s = self.state.job_start_s[unit] + job_s - self.state.time_s
        return max(running_s, 0.0) + float(self.state.queued_s[unit])

    def transfer_s(self, slot: int, option: int) -> float:
        size = self.catalog.chunk_bytes[slot, self.chunks[slot], self.params.option_representation[option]]
        return float(self.params.rtt_s + 8.0 * size / self.bps)

    def ready_s(self, slot: int, option: int) -> float:
        arrival_s = self.transfer_s(slot, option)
        return max(arrival_s, self.backlog_s(self.params.option_unit[option])) + self.decode_s(slot, option)

    def content_s(self, slot: int) -> float:
        return float(min(self.chunk_s, self.catalog.duration_s[slot] - self.chunks[slot] * self.chunk_s))

    def decode_s(self, slot: int, option: int) -> float:
        params, unit = self.params, int(self.params.option_unit[option])
        factor = throttling(writeable_fields(params), self.state, unit)
        loaded = int(self.state.loaded[unit]) >> int(params.option_codec[option]) & 1
        load_s = 0.0 if loaded else params.option_load_s[option]
        return float(params.option_decode_s[option] * self.content_s(slot) * factor + load_s)

    def soonest_s(self, slot: int) -> float:
        return min(self.ready_s(slot, option) for option in np.flatnonzero(self.params.option_usable))

    def due_s(self, slot: int) -> float:
        begin_s = self.chunks[slot] * self.chunk_s
        return max(begin_s - self.here_s, 0.0) - self.parameters.margin_s if slot == 0 else begin_s

    def played(self, slot: int) -> float:
        watched_s = self.here_s if slot == 0 else 0.0
        comes = (1.0 - self.view.distribution.leave_p) ** slot
        reached = self.survival(slot, self.chunks[slot] * self.chunk_s)
        return comes * min(reached / self.survival(slot, watched_s), 1.0)

    def leaving_rate(self, slot: int) -> float:
        watched_s = self.here_s if slot == 0 else 0.0
        later_s = watched_s + LEAVING_SPAN_S
        stays = later_s < self.catalog.duration_s[slot]
        left = 1.0 - self.survival(slot, later_s) / self.survival(slot, watched_s) if stays else 1.0
        return left / LEAVING_SPAN_S

    def stall_s(self, slot: int, ready_s: float) -> float:
        """P(it is played) times the integral over the lateness of P(the viewer has come to the slot by then)."""
        late_s = ready_s - self.due_s(slot)
        if late_s <= 0.0:
            return 0.0
        rates = math.prod(self.leaving_rate(s) for s in range(slot))
        return self.played(slot) * late_s * min(rates * late_s**slot / math.factorial(slot + 1), 1.0)

    def reference(self, slot: int) -> float:
        """Quality of what plays before: the chunk before if it is under way, else what was begun last."""
        chunk, video = self.chunks[slot], int(self.state.video) + slot
        begin = int(self.state.playhead) if slot == 0 else 0
        place = video % SLOTS, (chunk - 1) % RING
        if chunk > begin and self.state.chunk_status[place] != ABSENT:
            before = self.params.option_representation[self.state.chunk_option[place]]
            return float(self.catalog.quality[slot, chunk - 1, before])
        return float(self.state.begun_quality)

    def value(self, slot: int, option: int) -> float:
        parameters, params, representation = self.parameters, self.params, self.params.option_representation[option]
        chunk, played, transfer_s = self.chunks[slot], self.played(slot), self.transfer_s(slot, option)
        size_mbit = self.catalog.chunk_bytes[slot, chunk, representation] * MBIT_PER_BYTE
        quality = self.catalog.quality[slot, chunk, representation]
        value = self.stall_price * self.stall_s(slot, self.soonest_s(slot) + parameters.defer_s)
        fade = 1.0 + parameters.gain_fade * max(self.due_s(slot), 0.0)
        switch = params.weight_switch * parameters.switch_share * abs(quality - self.reference(slot))
        value += (
            played * parameters.gain_share / fade * (self.content_s(slot) * params.weight_quality * quality - switch)
        )
        value -= (params.weight_waste * parameters.waste_share * (1.0 - played) + params.weight_download) * size_mbit
        value -= (self.scale * parameters.link_price + params.weight_energy * params.radio_base_w) * transfer_s
        value -= params.weight_energy * params.radio_j_per_mbit * size_mbit
        for other in self.chunks:
            if other != slot:
                now, then = self.soonest_s(other), self.soonest_s(other) + transfer_s
                more_s = self.stall_s(other, then) - self.stall_s(other, now)
                value -= self.stall_price * parameters.others_share * more_s
        decode_s = self.decode_s(slot, option)
        value -= (self.scale * parameters.unit_price + params.weight_energy * params.option_w[option]) * decode_s
        own_s = self.stall_s(slot, self.ready_s(slot, option))
        return float(value - self.stall_price * parameters.stall_share * own_s)


def situations(kwargs: dict[str, Any], count: int) -> Any:
    """Environments at decisions of random play."""
    env, rng = PromptPreamEnv(**kwargs), np.random.default_rng(0)
    _, info = env.reset(seed=0)
    for step in range(5 * count):
        if step % 5 == 0:
            yield env
        mask = info["action_mask"].copy()
        mask[0] = rng.random() < 0.05 or mask[1:].sum() == 0
        _, _, terminated, truncated, info = env.step(random_legal(rng, mask))
        if terminated or truncated:
            _, info = env.reset()


@pytest.mark.parametrize("kwargs", WORLDS)
def test_values_are_those_of_the_oracle(kwargs: dict[str, Any]) -> None:
    compared = 0
    for env in situations(kwargs, 60):
        mask = env.action_masks()
        for lookahead in (0, 2):
            chosen, values = values_of(env, lookahead)
            oracle = Oracle(env, POLICY, lookahead)
            starving = not oracle.state.playing and oracle.chunks.get(0) == oracle.state.playhead
            expected = {WAIT: -1e9 if starving else oracle.scale * oracle.chunk_s * oracle.parameters.least_value}
            for slot in range(SLOTS):
                for option in range(len(env.options)):
                    action = 1 + (slot * LOOKAHEAD + lookahead) * len(env.options) + option
                    if mask[action] and slot in oracle.chunks:
                        expected[action] = oracle.value(slot, option)
                        compared += 1
            assert set(np.flatnonzero(values > -np.inf)) == set(expected)
            for action, value in expected.items():
                assert values[action] == pytest.approx(value, abs=1e-9), (action, lookahead)
            assert expected[chosen] == pytest.approx(max(expected.values()), abs=1e-9)
    assert compared > 300


@pytest.mark.parametrize("kwargs", WORLDS)
def test_to_choose_alone_is_to_choose_the_highest_value(kwargs: dict[str, Any]) -> None:
    requests, rng = 0, np.random.default_rng(0)
    for env in situations(kwargs, 300):
        policy = to_policy(rng.random(4 * len(RolloutParameters._fields)))
        sim, estimates = view_sim(env._sims, 0), new_estimates()
        tables = make_tables(env.world.params, env.world.catalog, env.world.distribution)
        chosen = choose_action(sim, env._states[0], tables, policy, estimates)
        expected, values = values_of(env, 0, policy)
        assert chosen == expected
        assert values[chosen] == values.max()
        requests += chosen != WAIT
    assert requests > 10


@pytest.mark.parametrize("kwargs", WORLDS)
def test_it_acts_legally(kwargs: dict[str, Any]) -> None:
    requests = 0
    for env in situations(kwargs, 150):
        chosen, values = values_of(env, 0, RolloutPolicy())
        assert env.action_masks()[chosen]
        assert not (values[~env.action_masks()] > -np.inf).any()
        requests += chosen != WAIT
    assert requests > 10


def test_it_sees_nothing_that_has_not_happened() -> None:
    rng = np.random.default_rng(1)
    for env in situations({"parallel_downloads": 2}, 60):
        chosen, values = values_of(env, 0)
        twin = other_future(env, rng)
        twin._states[0] = env._states[0]
        for name in ("playback_end_s", "transfer_end_s", "job_end_s"):
            twin._states[0][name] = np.nan
        theirs, same = values_of(twin, 0)
        assert theirs == chosen
        assert np.array_equal(same, values)


@pytest.mark.parametrize(
    ("patience", "give_up_per_s"),
    [
        ("none", 0.0),
        ("published", 0.048),
        (4.0, 0.1),
        ([5.0, 15.0], 0.05),
        ([[5, 1], [20, 0.4]], (1 - 0.4 ** (1 / 3)) / 10),
    ],
)
def test_a_stall_costs_its_weight_and_the_chance_to_lose_the_video(patience: Any, give_up_per_s: float) -> None:
    """By hand: the share that has given up after a stall of 10 s, a tenth of it for each second."""
    env = PromptPreamEnv(patience=patience)
    tables = make_tables(env.world.params, env.world.catalog, env.world.distribution)
    assert tables.leave_p == 0.1
    assert tables.stall_price == pytest.approx(1.85 + 18.5 * give_up_per_s)


def test_the_rate_is_the_harmonic_mean_of_the_last() -> None:
    for env in situations({}, 30):
        seen = env.planning_view().throughput_bps
        for samples in (1, 3, 8):
            last = seen[-samples:]
            expected = DEFAULT_BPS if len(last) == 0 else len(last) / (1.0 / last).sum()
            assert estimate_bps(env._states[0], samples) == pytest.approx(expected)


def test_an_option_is_left_out_only_where_another_one_decodes_everything_first() -> None:
    env = PromptPreamEnv("low/snapdragon-8-elite/typical")
    env.reset(seed=0)
    world, names = env.world, env.client.planning_view().representations

    def quickest(decode_s: dict[tuple[str, int], float], catalog: Any = world.catalog) -> set[tuple[str, int]]:
        params = writeable_fields(world.params)
        options = [(names[r], int(u)) for r, u in zip(params.option_representation, params.option_unit, strict=True)]
        for option, seconds in decode_s.items():
            params.option_decode_s[options.index(option)] = seconds
        return {options[i] for i in make_tables(params, catalog, world.distribution).quickest}

    small = {("h264-750k", 0), ("h264-750k", 3), ("prompt-r4", 1), ("prompt-r4", 2)}  # units cpu, vdec, gpu, npu
    assert quickest({}) == small
    assert quickest({("prompt-r4", 2): 1e3}) == small | {("prompt-r8", 2)}  # fewer bytes, but more work
    catalog = writeable_fields(world.catalog)
    last = catalog.n_chunks[-1] - 1
    catalog.chunk_bytes[-1, last, names.index("h264-750k")] = 1e9  # more bytes, in a single chunk
    assert quickest({}, catalog) == small | {("h264-1200k", 0), ("h264-1200k", 3)}
