"""The environment: Gymnasium's contract, information, seeding, snapshots and the law that nobody peeks."""

import copy
import dataclasses
import pickle
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_sb3

import ppgym
from ppgym.core.episodes import Episodes
from ppgym.core.state import NO_ENTRY
from ppgym.core.step import INFO_COLUMNS
from ppgym.env import PromptPreamEnv
from ppgym.planning_view import PlanningView
from tests.planning.futures import second_edition

SCENARIOS = [
    {},
    {"scenario": "high/rtx-4090/skimmer", "parallel_downloads": 3, "cancel_on_swipe": True},
    {"scenario": "medium/pixels-only/sticky", "patience": [1.0, 6.0]},
    {"scenario": "5g/snapdragon-8-gen-2/typical", "charge_thinking_s": 0.05, "decoded_buffer_bytes": 6e7},
    {"scenario": "mixed/snapdragon-8-gen-3/typical", "qoe": "mmgc2022", "max_wall_s": 40.0},
    second_edition(),
]
REWARDS = ["reward_quality", "reward_rebuffer", "reward_switch", "reward_waste", "reward_energy"]


def random_legal(rng: np.random.Generator, mask: np.ndarray) -> int:
    return int(rng.choice(np.flatnonzero(mask)))


def play(env: gymnasium.Env, seed: int, steps: int, episode_seed: int | None = None) -> list[Any]:
    """Random legal actions; returns everything that came back."""
    rng = np.random.default_rng(seed)
    observation, info = env.reset(seed=episode_seed)
    seen: list[Any] = [(observation, info)]
    for _ in range(steps):
        observation, reward, terminated, truncated, info = env.step(random_legal(rng, info["action_mask"]))
        seen.append((observation, reward, terminated, truncated, info))
        if terminated or truncated:
            observation, info = env.reset()
            seen.append((observation, info))
    return seen


def assert_same(left: Any, right: Any) -> None:
    """Bitwise equality of nested results."""
    if isinstance(left, dict):
        assert left.keys() == right.keys()
        for key in left:
            assert_same(left[key], right[key])
    elif isinstance(left, list | tuple):
        assert len(left) == len(right)
        for a, b in zip(left, right, strict=True):
            assert_same(a, b)
    elif isinstance(left, np.ndarray | np.record):
        assert left.dtype == right.dtype
        assert left.tobytes() == right.tobytes()
    else:
        assert type(left) is type(right)
        assert left == right


def test_the_environment_is_registered_once_and_made_by_name() -> None:
    assert "PromptPream-v0" in gymnasium.registry
    env = gymnasium.make("PromptPream-v0").unwrapped
    assert isinstance(env, PromptPreamEnv)
    assert env.world.scenario.name == "low/snapdragon-8-elite/typical"
    assert env.action_space.n == 301
    assert len(env.options) == 15
    assert ppgym.__version__ == "0.1.0"


@pytest.mark.parametrize("render_mode", [None, "ansi", "rgb_array"])
def test_gymnasiums_checker_passes(render_mode: str | None) -> None:
    check_env(gymnasium.make("PromptPream-v0", render_mode=render_mode).unwrapped)


@pytest.mark.parametrize("kwargs", SCENARIOS)
def test_stable_baselines_checker_passes(kwargs: dict[str, Any]) -> None:
    check_env_sb3(gymnasium.make("PromptPream-v0", **kwargs).unwrapped)


@pytest.mark.parametrize("kwargs", SCENARIOS)
def test_observations_info_and_rewards_keep_their_contract(kwargs: dict[str, Any]) -> None:
    env = gymnasium.make("PromptPream-v0", **kwargs)
    ends = 0
    for entry in play(env, seed=1, steps=2500, episode_seed=3):
        observation, info = entry[0], entry[-1]
        assert observation in env.observation_space
        assert observation.dtype == np.float32
        assert list(info) == [*INFO_COLUMNS, "action_mask"]
        assert info["action_mask"].dtype == np.int8
        assert info["action_mask"].shape == (env.action_space.n,)
        assert info["action_mask"][0] == 1
        assert type(info["videos_watched"]) is int
        assert type(info["invalid_action"]) is bool
        assert not info["invalid_action"]
        if len(entry) == 5:
            _, reward, terminated, truncated, _ = entry
            assert type(reward) is float
            assert reward == pytest.approx(sum(info[key] for key in REWARDS), abs=1e-9)
            assert info["played_s"] + info["rebuffer_s"] == pytest.approx(info["time_s"])
            assert not (terminated and truncated)
            assert info["videos_abandoned"] <= info["videos_watched"]
            assert info["energy_j"] >= 0.0
            ends += terminated or truncated
    assert ends > 0


def test_splits_share_no_video_trace_or_stream_of_seeds() -> None:
    worlds = [PromptPreamEnv(split=split).world for split in ("train", "validation", "test")]
    for i, left in enumerate(worlds):
        for right in worlds[i + 1 :]:
            rows = {row.tobytes() for row in left.catalog.chunk_bytes[:, :3, :3]}
            assert not rows & {row.tobytes() for row in right.catalog.chunk_bytes[:, :3, :3]}
            spans = {
                left.links.bits[a:b].tobytes() for a, b in zip(left.links.first, left.links.first[1:], strict=False)
            }
            assert not spans & {
                right.links.bits[a:b].tobytes() for a, b in zip(right.links.first, right.links.first[1:], strict=False)
            }
    draws = [PromptPreamEnv(split=split) for split in ("train", "test")]
    for env in draws:
        env.reset(seed=5)
    assert draws[0].np_random.random() != draws[1].np_random.random()


def test_a_seed_gives_the_same_episodes_and_none_goes_on() -> None:
    left, right = gymnasium.make("PromptPream-v0"), gymnasium.make("PromptPream-v0")
    assert_same(play(left, 7, 400, episode_seed=11), play(right, 7, 400, episode_seed=11))
    assert_same(play(left, 8, 200), play(right, 8, 200))
    first, _ = left.reset(seed=1)
    second, _ = left.reset(seed=2)
    assert not np.array_equal(first, second)
    again, _ = left.reset(seed=1)
    assert np.array_equal(first, again)


def test_an_illegal_action_waits_and_says_so() -> None:
    env, twin = gymnasium.make("PromptPream-v0"), gymnasium.make("PromptPream-v0")
    _, info = env.reset(seed=0)
    illegal = int(np.flatnonzero(info["action_mask"] == 0)[0])
    for index in (illegal, -1, 301, 10**9):
        env.reset(seed=0)
        twin.reset(seed=0)
        acted, waited = env.step(index), twin.step(0)
        assert acted[-1]["invalid_action"] is True
        assert waited[-1]["invalid_action"] is False
        acted[-1]["invalid_action"] = False
        assert_same(acted, waited)


def test_stepping_before_reset_or_after_the_end_is_an_error() -> None:
    env = PromptPreamEnv(max_wall_s=1.0)
    with pytest.raises(gymnasium.error.ResetNeeded, match="reset"):
        env.step(0)
    env.reset(seed=0)
    truncated = False
    while not truncated:
        _, _, terminated, truncated, info = env.step(0)
        assert not terminated
    assert info["time_s"] == 1.0
    assert info["action_mask"].sum() == 1
    with pytest.raises(gymnasium.error.ResetNeeded, match="reset"):
        env.step(0)


def test_patience_ends_a_starved_session_at_its_price() -> None:
    env = PromptPreamEnv(patience=2.0, leave_p=1.0)
    env.reset(seed=0)
    total = 0.0
    terminated = False
    while not terminated:
        _, reward, terminated, _, info = env.step(0)
        total += reward
    assert info["time_s"] == 2.0
    assert total == pytest.approx(-1.85 * 2.0 - 18.5)
    assert info["videos_watched"] == 1


def test_rendering_shows_the_lanes() -> None:
    env = gymnasium.make("PromptPream-v0", render_mode="ansi")
    play(env, 0, 30, episode_seed=0)
    text = env.render()
    for lane in ("link", "gpu", "npu", "vdec", "screen"):
        assert lane in text
    env = gymnasium.make("PromptPream-v0", render_mode="rgb_array")
    play(env, 0, 30, episode_seed=0)
    picture = env.render()
    assert picture.dtype == np.uint8
    assert picture.shape == (540, 960, 3)
    with pytest.raises(ValueError, match="render_mode"):
        PromptPreamEnv(render_mode="human")


@pytest.mark.parametrize("kwargs", SCENARIOS)
def test_snapshots_fork_and_come_back_exactly(kwargs: dict[str, Any]) -> None:
    env, other = PromptPreamEnv(**kwargs), PromptPreamEnv(**kwargs)
    rng = np.random.default_rng(4)
    _, info = env.reset(seed=9)
    for _ in range(12):
        for _ in range(int(rng.integers(1, 40))):
            _, _, terminated, truncated, info = env.step(random_legal(rng, info["action_mask"]))
            if terminated or truncated:
                _, info = env.reset()
        snapshot = pickle.loads(pickle.dumps(env.get_state()))
        branch = np.random.default_rng(5)

        def branch_out(world: PromptPreamEnv, rng: np.random.Generator) -> list[Any]:
            seen: list[Any] = []
            for _ in range(25):
                step = world.step(random_legal(rng, world.action_masks()))
                seen.append((step, world.planning_view().state.tobytes()))
                if step[2] or step[3]:
                    seen.append(world.reset())
            return seen

        first = branch_out(env, copy.deepcopy(branch))
        env.set_state(snapshot)
        other.set_state(snapshot)
        assert_same(branch_out(env, copy.deepcopy(branch)), first)
        assert_same(branch_out(other, copy.deepcopy(branch)), first)
        env.set_state(snapshot)
        info = {"action_mask": env.action_masks()}


def test_a_snapshot_of_another_scenario_is_refused() -> None:
    env, other = PromptPreamEnv(), PromptPreamEnv(rtt_s=0.1)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="snapshot"):
        other.set_state(env.get_state())


def test_a_pickled_environment_goes_on_as_the_original() -> None:
    env = gymnasium.make("PromptPream-v0", parallel_downloads=2)
    play(env, 1, 50, episode_seed=2)
    twin = pickle.loads(pickle.dumps(env))
    assert_same(play(env, 3, 100), play(twin, 3, 100))


@pytest.mark.parametrize("render_mode", [None, "ansi"])
def test_a_deep_copy_goes_on_as_the_original_and_leaves_it_alone(render_mode: str | None) -> None:
    env = PromptPreamEnv(render_mode=render_mode)
    play(env, 1, 50, episode_seed=2)
    before = env.get_state()
    twin = copy.deepcopy(env)
    first = play(twin, 3, 100)
    assert env.get_state().checksum == before.checksum
    assert_same(play(env, 3, 100), first)


def test_seeding_leaves_a_generator_of_the_user_alone() -> None:
    env, mine = PromptPreamEnv(), np.random.default_rng(7)
    env.np_random = mine
    drawn = env.reset()
    state = mine.bit_generator.state
    seeded = env.reset(seed=3)
    assert mine.bit_generator.state == state and env.np_random is not mine
    assert_same([seeded], [PromptPreamEnv().reset(seed=3)])
    env.np_random = np.random.default_rng(7)
    assert_same([env.reset()], [drawn])


def flatten(view: PlanningView) -> list[bytes]:
    """All that a view holds, as bytes, so that NaN equals NaN."""
    fields: list[bytes] = []
    for field in dataclasses.fields(view):
        value = getattr(view, field.name)
        parts = value if isinstance(value, tuple) else (value,)
        fields += [
            part.tobytes() if isinstance(part, np.ndarray | np.record) else repr(part).encode() for part in parts
        ]
    return fields


def test_a_view_hides_what_has_not_happened() -> None:
    env = PromptPreamEnv(parallel_downloads=2)
    _, info = env.reset(seed=0)
    rng = np.random.default_rng(0)
    jobs = transfers = 0
    for _ in range(300):
        _, _, terminated, truncated, info = env.step(random_legal(rng, info["action_mask"]))
        if terminated or truncated:
            _, info = env.reset()
        view = env.planning_view()
        state = view.state
        assert np.isnan(state.playback_end_s) or state.terminated
        assert np.isnan(state.transfer_end_s[: state.transfers]).all()
        assert np.isnan(state.job_end_s[state.job_video != NO_ENTRY]).all()
        jobs += int((state.job_video != NO_ENTRY).sum())
        transfers += int(state.transfers)
    assert jobs > 100
    assert transfers > 100
    with pytest.raises(dataclasses.FrozenInstanceError):
        view.videos_left = 3  # type: ignore[misc]


def other_future(env: PromptPreamEnv, rng: np.random.Generator) -> PromptPreamEnv:
    """An environment whose episode agrees with what has happened in `env` and differs in all that has not."""
    state, episodes, world = env._states[0], env._episodes, env.world
    now_s, video = float(state.time_s), int(state.video)
    watch_s, leaves, jitter = episodes.watch_s.copy(), episodes.leaves.copy(), episodes.jitter.copy()
    chunks = world.catalog.n_chunks[episodes.playlist[0]]

    position_s = state.playhead * world.params.chunk_s
    position_s += now_s - float(state.playback_since_s) if state.playing else 0.0
    durations_s = world.catalog.duration_s[episodes.playlist[0]]
    later = np.arange(len(chunks)) > video
    watch_s[0, later] = np.maximum(rng.random(later.sum()) * durations_s[later], 0.01)
    if position_s + 0.01 < durations_s[video]:
        watch_s[0, video] = position_s + 0.01 + rng.random() * (durations_s[video] - position_s - 0.01)
    patience_s = episodes.patience_s.copy()
    patience_s[0, video] = float(state.longest_stall_s) + rng.uniform(0.01, 9.0)
    patience_s[0, later] = rng.uniform(0.01, 9.0, later.sum())
    leaves[0, video:] = rng.random(len(chunks) - video) < 0.5

    # chunks decoded already keep their factor; a running job may only have one that it has not outlasted
    for v in range(video, len(chunks)):
        fresh = rng.uniform(0.5, 2.0, jitter.shape[2])
        status = {int(c): 0 for c in range(jitter.shape[2])}
        if v - video < 5:
            first = int(state.playhead) if v == video else 0
            for c in range(first, min(int(chunks[v]), first + 64)):
                status[c] = int(state.chunk_status[v % 5, c % 64])
            for c in range(first):
                status[c] = 5
        for c, life in status.items():
            if life <= 2:
                jitter[0, v, c] = fresh[c]
    for unit in np.flatnonzero(state.job_video != NO_ENTRY):
        served_s = now_s - float(state.job_start_s[unit]) - float(state.job_load_s[unit])
        factor = max(served_s, 0.0) / float(state.job_expected_s[unit]) + 0.01 + rng.random()
        jitter[0, int(state.job_video[unit]), int(state.job_chunk[unit])] = factor

    # the same trace up to now, unrolled, and another one from now on; no open transfer may have ended before
    link = int(episodes.link[0])
    first, end = int(world.links.first[link]), int(world.links.first[link + 1])
    times, bits = world.links.time_s[first:end], world.links.bits[first:end]
    rates, offset_s = np.diff(bits) / np.diff(times), float(episodes.link_offset_s[0])
    laps = int((offset_s + now_s) // times[-1]) + 1
    edges = np.concatenate([times[:-1] + lap * times[-1] for lap in range(laps)] + [[laps * times[-1]]])
    unrolled = np.tile(rates, laps)
    cut = int(np.searchsorted(edges, offset_s + now_s, side="right"))
    edges = np.concatenate([edges[:cut], [offset_s + now_s, offset_s + now_s + 50.0]])
    unrolled = np.concatenate([unrolled[:cut], [rng.uniform(0.2e6, 8e6)]])
    spans = np.diff(edges)
    keep = spans > 1e-12
    edges = np.concatenate([edges[:1], edges[1:][keep]])
    unrolled, spans = unrolled[keep], spans[keep]
    links = world.links._replace(
        time_s=edges,
        bits=np.concatenate([[0.0], np.cumsum(unrolled * spans)]),
        first=np.array([0, len(edges)], np.int32),
    )

    other = PromptPreamEnv(world.scenario)
    other.world = dataclasses.replace(world, links=links)
    other.reset(seed=0)
    other._episodes = Episodes(
        playlist=episodes.playlist.copy(),
        watch_s=watch_s,
        leaves=leaves,
        patience_s=patience_s,
        jitter=jitter,
        link=np.zeros(1, np.int32),
        link_offset_s=episodes.link_offset_s.copy(),
        max_wall_s=episodes.max_wall_s.copy(),
    )
    other._bind(other.world.sims(other._episodes))
    other._move(2, 0)
    return other


@pytest.mark.parametrize(
    "kwargs", [{}, {"parallel_downloads": 3}, second_edition()], ids=["one download", "three", "second edition"]
)
def test_nobody_sees_the_future(kwargs: dict[str, Any]) -> None:
    """Episodes that agree so far and differ later look the same, to the bit, at every decision so far."""
    rng = np.random.default_rng(kwargs.get("parallel_downloads", 1))
    compared = 0
    for seed in range(18):
        env = PromptPreamEnv(**kwargs)
        observation, info = env.reset(seed=seed)
        actions: list[int] = []
        seen = [(observation, info, flatten(env.planning_view()))]
        for _ in range(int(rng.integers(5, 120))):
            action = random_legal(rng, info["action_mask"])
            before = env.get_state()
            observation, _, terminated, truncated, info = env.step(action)
            if terminated or truncated:
                env.set_state(before)
                break
            actions.append(action)
            seen.append((observation, info, flatten(env.planning_view())))
        other = other_future(env, rng)
        results = [(other._results.observation[0].copy(), other._info(), flatten(other.planning_view()))]
        for action in actions:
            observation, _, terminated, truncated, info = other.step(action)
            assert not terminated
            assert not truncated
            results.append((observation, info, flatten(other.planning_view())))
        for ours, theirs in zip(seen, results, strict=True):
            np.testing.assert_allclose(theirs[0], ours[0], rtol=0, atol=1e-6)
            for key in ours[1]:
                np.testing.assert_allclose(theirs[1][key], ours[1][key], rtol=1e-9, atol=1e-9)
            compared += 1
        state, other_state = env._states[0], other._states[0]
        assert (state.job_end_s != other_state.job_end_s).sum() >= (state.job_video != NO_ENTRY).sum()
    assert compared > 300
