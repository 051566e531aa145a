"""What reaches the kernel through the environments: settings, actions and snapshots of any kind."""

import dataclasses
import datetime
import math
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec

from ppgym.core.patience import LEAST_SHARE
from ppgym.core.state import STATE_DTYPE
from ppgym.env import PromptPreamEnv, Snapshot
from ppgym.vector_env import PromptPreamVectorEnv
from ppgym.world.ladders import Ladder
from ppgym.world.scenario import Scenario
from ppgym.world.videos import Catalog, CatalogFile, Video
from ppgym.world.viewers import ViewerProfile

pytestmark = pytest.mark.kernel

LONG = "a" * 5000
WRONG: list[Any] = [
    *(None, True, "x", "\0", LONG, b"x", "/dev/null"),
    *(-1, 10**400, 1.5, math.nan, math.inf, 1e308, 5e-324, np.float64(2.0)),
    *([], [1], (1, 2), [[True] * 5] * 4, {}, {"a": 1}, {1: 2}, set(), object(), datetime.datetime.min),
]
ACTIONS: list[Any] = [3.7, -0.5, 3.0, "3", None, True, np.bool_(True), 1j, np.datetime64("2026-01-01"), [1], b"1"]


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Scenario)])
def test_a_wrong_field_is_refused_by_name_or_makes_a_world(field: str) -> None:
    for value in WRONG:
        try:
            env = PromptPreamEnv(**{field: value})
        except (ValueError, FileNotFoundError) as error:
            known = field, field.removesuffix("s"), repr(value)[:20].strip("'\"")  # "no video and no file 'x'"
            assert any(word in str(error) for word in known), (value, error)
            assert len(str(error)) < 3000
        else:
            play(env, 10)


@pytest.mark.parametrize("argument", ["scenario", "split", "render_mode", "num_envs", "autoreset_mode"])
def test_a_wrong_argument_is_refused_by_name(argument: str) -> None:
    for make in (PromptPreamEnv, PromptPreamVectorEnv):
        for value in WRONG:
            try:
                made = make(**{argument: value})
            except (ValueError, FileNotFoundError) as error:
                assert argument in str(error).lower() or "unknown key" in str(error), (value, error)
            else:
                made.reset(seed=0)


EXTREMES: list[dict[str, Any]] = [
    {"qoe": {name: value}}
    for name in ("quality", "rebuffer", "switch", "waste", "download", "abandon", "energy")
    for value in (0.0, 5e-324, 1e15)
]
EXTREMES += [
    {"decoded_buffer_bytes": 1.0},
    {"decoded_buffer_bytes": 2.0**50},
    {"contention": [[1e15] * 5] * 4},
    {"contention": [[1e-15] * 5] * 4},
    {"patience": 1e-15},
    {"patience": 1e15},
    {"patience": [[0.0, 1.0], [1e15, LEAST_SHARE]]},
    {"bandwidth_scale": 1e-3},
    {"bandwidth_scale": 1e3},
    {"audio_bps": 1e7},
    {"rtt_s": 60.0},
    {"wait_s": 1e-3},
    {"wait_s": 3600.0},
    {"max_wall_s": 1e-3},
    {"max_wall_s": 1e6},
    {"charge_thinking_s": 60.0},
    {"generative_quality_scale": 1e3},
    {"generative_speed_scale": 1e-3},
    {"throttle": 100.0},
    {"jitter_sigma": 3.0},
    {"leave_p": 1.0},
    {"leave_p": 0.0, "n_videos": 1},
    {"parallel_downloads": 8, "cancel_on_swipe": True},
]


@pytest.mark.parametrize("settings", EXTREMES, ids=str)
def test_worlds_at_the_limits_keep_the_contract(settings: dict[str, Any]) -> None:
    play(PromptPreamEnv(**settings), 60)


NUMBERS = (1e-15, 1e15)


@pytest.mark.parametrize("value", NUMBERS)
@pytest.mark.parametrize("field", ["bitrate_bps", "quality", "reference_mbps"])
def test_ladders_at_the_limits_keep_the_contract(field: str, value: float) -> None:
    rows: list[dict[str, Any]] = [
        {"name": name, "codec": codec, "kind": kind, "bitrate_bps": 1e6, "quality": 1.0}
        for name, codec, kind in (("a", "h264", "pixel"), ("b", "prompt", "generative"))
    ]
    ladder: dict[str, Any] = {"name": "mine", "representations": rows}
    if field == "reference_mbps":
        ladder[field] = value
    else:
        for row in rows:
            row[field] = value
    play(PromptPreamEnv(ladder=ladder), 60)


def play(env: PromptPreamEnv, steps: int) -> None:
    """Play, and hold every step against the contract."""
    rng = np.random.default_rng(0)
    observation, info = env.reset(seed=0)
    before_s = 0.0
    for _ in range(steps):
        assert env.observation_space.contains(observation)
        assert np.isfinite([value for value in info.values() if isinstance(value, float)]).all(), info
        assert info["time_s"] >= before_s
        before_s = info["time_s"]
        observation, reward, terminated, truncated, info = env.step(int(rng.choice(np.flatnonzero(env.action_masks()))))
        assert math.isfinite(reward)
        if terminated or truncated:
            break


@pytest.mark.parametrize("action", ACTIONS, ids=repr)
def test_what_is_no_integer_is_a_type_error_in_both(action: Any) -> None:
    env, envs = PromptPreamEnv(), PromptPreamVectorEnv(2)
    env.reset(seed=0)
    envs.reset(seed=0)
    if action != [1]:  # a list of one is an array's text, not an index
        with pytest.raises(TypeError, match="action"):
            envs.step([action, action])
    with pytest.raises(TypeError, match="action"):
        env.step(action)
    assert env.step(0)[4]["time_s"] > 0, "a refused action changes nothing"


@pytest.mark.parametrize("index", [0, 5, 300, 301, -1, 10**30, -(10**30), 2**63, 2**64 - 1])
def test_integers_of_all_kinds_are_the_same_action(index: int) -> None:
    env, envs = PromptPreamEnv(), PromptPreamVectorEnv(1)
    kinds: list[Any] = [index]
    if abs(index) < 2**62:
        kinds += [np.int64(index), np.array(index), np.array([index]), np.array([[index]])]
    env.reset(seed=0)
    expected = env.step(index)
    for action in kinds:
        env.reset(seed=0)
        assert str(env.step(action)) == str(expected)
    envs.reset(seed=0)
    observations, rewards, _, _, infos = envs.step([index])
    assert np.array_equal(observations[0], expected[0])
    assert rewards[0] == expected[1]
    assert infos["invalid_action"][0] == expected[4]["invalid_action"]
    assert 0 <= index < 301 or expected[4]["invalid_action"]


def changed_state(snapshot: Snapshot, **values: Any) -> Snapshot:
    states = np.frombuffer(snapshot.state, STATE_DTYPE).copy()
    for name, value in values.items():
        states[name] = value
    return dataclasses.replace(snapshot, state=states.tobytes())


def test_a_changed_snapshot_is_refused_and_changes_nothing() -> None:
    env, twin = PromptPreamEnv(), PromptPreamEnv()
    for one in (env, twin):
        one.reset(seed=3)
        one.step(5)
    good = env.get_state()
    episode = good.episode._replace(playlist=good.episode.playlist + 10**6)
    bad: list[Snapshot] = [
        changed_state(good, video=10**6),
        changed_state(good, playhead=-(10**6)),
        changed_state(good, queue_next=0),
        dataclasses.replace(good, state=good.state[:-1]),
        dataclasses.replace(good, episode=episode),
        dataclasses.replace(good, candidates=good.candidates + 10**6),
        dataclasses.replace(good, candidates=good.candidates[:1]),
        dataclasses.replace(good, observation=good.observation.astype(np.float64)),
        dataclasses.replace(good, rng={}),
        dataclasses.replace(good, running=False),
        dataclasses.replace(good, earned=1e9),
        dataclasses.replace(good, checksum=""),
        PromptPreamEnv(rtt_s=0.1).get_state(),
        PromptPreamEnv(split="test").get_state(),
    ]
    for snapshot in bad:
        with pytest.raises(ValueError, match="snapshot"):
            env.set_state(snapshot)
    for wrong in (None, good.state, {}):
        with pytest.raises(TypeError, match="Snapshot"):
            env.set_state(wrong)  # type: ignore[arg-type]
    env.set_state(good)
    for action in (0, 7, 0, 33):
        assert str(env.step(action)) == str(twin.step(action))


def test_a_snapshot_of_other_videos_is_refused(tmp_path: Path) -> None:
    def videos(count: int, folder: str) -> Path:
        path = tmp_path / folder / "videos.json"
        sizes = {f"v{i}": [[1e5] * 9] for i in range(count)}
        content = CatalogFile(provenance="drawn", chunk_s=1.0, bitrates_bps=(1e6,), videos=_tuples(sizes))
        content.write(path)
        return path

    env = PromptPreamEnv(videos=str(videos(9, "a")))
    env.reset(seed=0)
    snapshot = dataclasses.replace(env.get_state())
    shrunk = PromptPreamEnv(videos=str(videos(3, "b")))
    with pytest.raises(ValueError, match="another world"):
        shrunk.set_state(snapshot)


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(one) for key, one in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def test_a_snapshot_keeps_the_return_that_is_drawn() -> None:
    env = PromptPreamEnv(render_mode="ansi")
    env.reset(seed=0)
    for _ in range(20):
        env.step(0)
    before, snapshot = env._return, env.get_state()
    assert before != 0
    env.reset(seed=1)
    env.set_state(snapshot)
    assert env._return == before


def test_videos_of_too_many_numbers_are_refused() -> None:
    many = {f"v{i}": ((1.0,),) for i in range(1000)} | {"long": ((1.0,) * 32000,)}
    videos = tuple(Video(name, np.array(sizes).T, 1.0, math.nan, (1e6,)) for name, sizes in many.items())
    curves = [ViewerProfile.load("typical").curve(video.duration_s) for video in videos]
    with pytest.raises(ValueError, match="16,777,216 numbers"):
        Catalog(videos, Ladder.load("published")).arrays(curves)


def test_the_vector_environment_refuses_a_render_mode() -> None:
    with pytest.raises(ValueError, match="render_mode"):
        gymnasium.make_vec("PromptPream-v0", num_envs=2, render_mode="rgb_array")


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario(),
        Scenario.parse(
            "low/snapdragon-8-gen-3/sticky/promptmobile", patience=[[1.0, 1.0], [9.0, 0.5]], qoe={"waste": 2}
        ),
        Scenario.parse(ladder=Ladder.load("pixels").to_json(), n_videos=3, label="mine"),
    ],
    ids=lambda one: one.name,
)
def test_the_spec_of_an_environment_made_with_a_scenario_loads_back(scenario: Scenario) -> None:
    env = gymnasium.make("PromptPream-v0", scenario=scenario)
    assert env.spec is not None
    again: Any = gymnasium.make(EnvSpec.from_json(env.spec.to_json())).unwrapped
    assert again.world.scenario == scenario
    envs = gymnasium.make_vec("PromptPream-v0", num_envs=2, scenario=dataclasses.asdict(scenario))
    assert isinstance(envs, PromptPreamVectorEnv)
    assert envs.world.scenario == scenario
