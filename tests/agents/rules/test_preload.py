"""Rules by number: which video each requests from, and in which representation."""

import itertools

import numpy as np
import pytest

from agents.rules.bitrate import choose_by_mpc, robust_bps
from agents.rules.forecast import NO_QUALITY, make_forecast, observe, usable_representations
from agents.rules.preload import (
    BITRATE_RULES,
    Douyin,
    FixedPreload,
    NoSave,
    PromptStatic,
    Static,
    preloaded_bytes,
)
from ppgym.core.actions import WAIT
from ppgym.core.state import LOOKAHEAD, NO_ENTRY, SLOTS
from ppgym.env import PromptPreamEnv
from ppgym.mmgc import OFFICIAL_POLICIES, MMGCDataset, MMGCSession, as_solution, play, viewer_seeds
from tests.mmgc.oracle import write_dataset

MBIT = 1e6


def test_robust_estimate_by_hand() -> None:
    assert robust_bps(np.array([]), 7.0) == 7.0
    assert robust_bps(np.array([2.0]), 7.0) == 2.0  # no error yet
    # Estimate 2 of a throughput of 4: error 0.5; harmonic mean of the two 8 / 3
    assert robust_bps(np.array([2.0, 4.0]), 7.0) == pytest.approx(8 / 3 / 1.5)
    # The mean of the last 5; the first error, 9, is the sixth before the end and forgotten
    seen = np.array([10.0, 1.0, *[100 / 55] * 6])
    errors = []
    for i in range(3, 8):
        before = seen[max(i - 5, 0) : i]
        errors.append(abs(len(before) / (1 / before).sum() - seen[i]) / seen[i])
    assert robust_bps(seen, 7.0) == pytest.approx(100 / 55 / (1 + max(errors)))


def test_mpc_equals_a_naive_one() -> None:
    env = PromptPreamEnv("medium/snapdragon-8-elite/typical")
    agent = NoSave(env)
    env.reset(seed=4)
    compared = 0
    for step in range(40):
        view = env.planning_view()
        bps = 1.3 * MBIT
        forecast = make_forecast(view.params, view.catalog, view.state, view.candidates, bps)
        slot = step % 3
        chunk = int(forecast.next_chunk[slot])
        legal = np.zeros(15, np.bool_)
        legal[[1, 3, 5]] = view.action_mask[1 + slot * 60 :][[1, 3, 5]]
        if chunk != NO_ENTRY and legal.all() == legal[0]:
            chunks = min(5, int(view.catalog.n_chunks[slot]) - chunk)
            rewards = {}
            for sequence in itertools.product(range(3), repeat=chunks):
                now_s, free_s, needed_s = 0.0, float(forecast.free_s[3]), float(forecast.needed_s[slot])
                last, reward = forecast.quality[slot], 0.0
                for c, r in enumerate(sequence, chunk):
                    start_s = now_s
                    now_s += view.params.rtt_s + 8 * view.catalog.chunk_bytes[slot, c, r] / bps
                    free_s = max(now_s, free_s) + view.params.option_decode_s[1]
                    stall_s = max(free_s - start_s - max(needed_s - start_s, 0.0), 0.0)
                    needed_s = max(needed_s, free_s) + 1.0
                    quality = view.catalog.quality[slot, c, r]
                    reward += quality - 4.3 * stall_s - (abs(quality - last) if last != NO_QUALITY else 0.0)
                    last = quality
                rewards[sequence] = reward
            situation = observe(view, view.action_mask, agent.representations)._replace(bps=bps)
            situation.legal[slot] = legal
            option = choose_by_mpc(situation, forecast, slot, 4.3)
            assert view.params.option_representation[option] == max(rewards, key=rewards.__getitem__)[0]
            compared += 1
        _, _, terminated, truncated, _ = env.step(agent.predict(None)[0])
        if terminated or truncated:
            env.reset()
    assert compared > 10


def test_douyin_fills_the_current_video_then_the_next_ones() -> None:
    env, enough_bytes = PromptPreamEnv("5g/pixels-only/sticky", leave_p=0.0), 2.5 * 1850e3 / 8
    agent = Douyin(env, ahead_s=3.0, videos=2, preload_bytes=enough_bytes, bitrate="top")
    env.reset(seed=0)
    slots = []
    for step in range(10):
        view = env.planning_view()
        action, _ = agent.predict(None)
        slots.append((action - 1) // (LOOKAHEAD * len(env.options)))
        held = [preloaded_bytes(view, slot, int(view.candidates[slot, 0])) for slot in range(SLOTS)]
        if step < 4:
            assert slots[-1] == 0  # until more than 3 s of the current video are ahead
        else:
            assert slots[-1] == (1 if held[1] < enough_bytes else 2)
        env.step(action)
    assert slots == sorted(slots)
    assert slots[-1] == 2


def test_static_keeps_its_limits() -> None:
    env = PromptPreamEnv("5g/pixels-only/sticky", leave_p=0.0)
    agent = Static(env, current=3, each=2, bitrate="buffer")
    env.reset(seed=0)
    most = np.zeros(SLOTS)
    for _ in range(200):
        action, _ = agent.predict(None)
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            break
        view = env.planning_view()
        forecast = make_forecast(view.params, view.catalog, view.state, view.candidates, MBIT)
        if action != WAIT:
            most = np.maximum(most, forecast.buffered_s)
    assert most[0] <= 4.0  # below the limit, one more chunk was requested
    assert most[1:].max() == 2.0


def test_no_save_takes_turns_by_rounds_of_bytes() -> None:
    env = PromptPreamEnv("5g/pixels-only/sticky", leave_p=0.0, decoded_buffer_bytes=2.0**40)
    agent = NoSave(env, preload_bytes=4e5, bitrate="top")
    env.reset(seed=4)
    rounds_asked = set()
    for _ in range(60):
        view = env.planning_view()
        action, _ = agent.predict(None)
        slot = (action - 1) // (LOOKAHEAD * len(env.options))
        following = view.candidates[:, 0]
        if following[0] != NO_ENTRY:
            assert slot == 0
        elif action != WAIT:
            rounds = {
                s: preloaded_bytes(view, s, int(following[s])) // 4e5 for s in range(1, SLOTS) if following[s] >= 0
            }
            assert slot == min(s for s in rounds if rounds[s] == min(rounds.values()))
            rounds_asked.add(rounds[slot])
        _, _, terminated, truncated, _ = env.step(action)
        assert not terminated
        assert not truncated
    assert len(rounds_asked) > 2


def test_buffer_rule_climbs_the_ladder() -> None:
    env = PromptPreamEnv("5g/pixels-only/sticky")
    agent = FixedPreload(env)
    env.reset(seed=0)
    requested = []
    for _ in range(5):
        action, _ = agent.predict(None)
        requested.append(env.options[(action - 1) % 15].representation)
        env.step(action)
    assert requested[0] == 0
    assert requested[-1] == 2


@pytest.mark.parametrize("bitrate", BITRATE_RULES)
def test_prompts_are_chosen_where_they_cost_no_stall(bitrate: str) -> None:
    """A prompt is smaller than pixels of its quality; each rule takes some, and not where a chunk is due at once."""
    env = PromptPreamEnv("low/snapdragon-8-elite/sticky")
    agent = PromptStatic(env, bitrate=bitrate, current=6, each=1)
    codecs = []
    env.reset(seed=1)
    for _ in range(80):
        action, _ = agent.predict(None)
        if action != WAIT:
            codecs.append(env.options[(action - 1) % 15].codec)
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()
    assert "prompt" in codecs
    if bitrate in ("buffer", "throughput"):
        assert codecs[0] == "h264"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> MMGCDataset:
    rng = np.random.default_rng(2022)
    sizes, curves = [], []
    for chunks in (12, 5, 20, 8, 9, 15, 7):
        base = rng.integers(60_000, 120_000, chunks)
        sizes.append([(base * factor).astype(int).tolist() for factor in (1.0, 1.6, 2.4)])
        shares = np.sort(rng.uniform(0.2, 1.0, chunks))[::-1].round(6)
        curves.append([(0, 1.0), *enumerate(shares.tolist(), start=1), (chunks + 1, 0.0)])
    rates = rng.uniform(0.4, 4.0, 200)
    trace = [(0.5 * row, float(rate)) for row, rate in enumerate(rates)]
    return MMGCDataset.load(write_dataset(tmp_path_factory.mktemp("mmgc"), sizes, curves, {"low": [trace]}))


@pytest.mark.parametrize("seed", range(6))
def test_fixed_preload_is_the_official_one(dataset: MMGCDataset, seed: int) -> None:
    """In the 2022 simulator, where the official policy is at hand, both take the same actions."""
    sessions = [MMGCSession(dataset, "low", 0, viewer_seeds(seed)) for _ in "ab"]
    official = play(OFFICIAL_POLICIES["fixed_preload"](), sessions[0])
    ours = play(as_solution(FixedPreload)(), sessions[1])
    assert [action[2] or action for action in ours] == [action[2] or action for action in official]


def test_what_an_agent_refuses() -> None:
    with pytest.raises(ValueError, match="throughput"):
        Douyin(PromptPreamEnv(), bitrate="troughput")
    prompts = [option for option in PromptPreamEnv().options if option.codec == "prompt"]
    assert usable_representations(prompts, with_prompts=True).tolist() == [False] * 3 + [True] * 3
    with pytest.raises(ValueError, match="pixels"):
        usable_representations(prompts, with_prompts=False)
