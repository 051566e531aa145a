"""The MMGC 2022 environment, agents as official solutions, and the records of evaluations."""

import dataclasses
import gzip
import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_sb3

from agents import agent_params, make_agent
from agents.learned.training_range import check_range, range_of
from ppgym.benchmark.challenge import run_mmgc, validate_records
from ppgym.client import Client
from ppgym.core.state import BEGUN, DECODED, NO_ENTRY
from ppgym.core.step import INFO_COLUMNS
from ppgym.env import PromptPreamEnv
from ppgym.mmgc import (
    MMGCDataset,
    MMGCEnv,
    MMGCPlayer,
    MMGCSession,
    as_solution,
    load_solution,
    play,
    run_solution,
    viewer_seeds,
)
from ppgym.mmgc.follower import SCENARIO
from ppgym.planning_view import PlanningView
from ppgym.world.scenario import Scenario
from tests.mmgc.oracle import write_dataset
from tests.mmgc.small import needs_golden

EXAMPLE = Path(__file__).parents[2] / "examples" / "mmgc" / "solution.py"
RULES = ["on_demand", "next_one", "douyin", "static", "fixed_preload", "no_save", "pdas", "dashlet"]
AGENTS = ["random", *RULES, "pdas+prompt", "greedy"]
CHUNKS = (5, 2, 70, 3, 14, 4, 6)  # the third outgrows the ring of 64 chunks
OPTIONS_OF_RUNGS = (1, 3, 5)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> MMGCDataset:
    rng = np.random.default_rng(2022)
    sizes, curves = [], []
    for chunks in CHUNKS:
        base = rng.integers(20_000, 200_000, chunks)
        sizes.append([(base * factor).astype(int).tolist() for factor in (1.0, 1.6, 2.4)])
        shares = np.sort(rng.integers(2, 12, chunks) / 12)[::-1]
        curves.append([(0, 1.0), *enumerate(shares.round(9).tolist(), start=1), (chunks + 1, 0.0)])
    traces = {
        name: [[(0.5 * row, float(rate)) for row, rate in enumerate(mean * rng.uniform(0.4, 1.6, 400))] for _ in "ab"]
        for name, mean in (("low", 1.0), ("high", 12.0))
    }
    return MMGCDataset.load(write_dataset(tmp_path_factory.mktemp("mmgc"), sizes, curves, traces))


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


def official(env: MMGCEnv, action: int) -> tuple[int, int, float]:
    """An action in the official simulator's terms."""
    video = env._session.playing_video
    if not env.action_masks()[action] or action == 0:
        return video, 0, 500.0
    return video + (action - 1) // 60, OPTIONS_OF_RUNGS.index((action - 1) % 15), 0.0


def random_legal(rng: np.random.Generator, mask: np.ndarray, patience: float = 0.1) -> int:
    """Seldom a sleep where there is anything else to do."""
    downloads = np.flatnonzero(mask[1:]) + 1
    return 0 if not len(downloads) or rng.random() < patience else int(rng.choice(downloads))


def same(left: Any, right: Any) -> bool:
    return pickle.dumps(left) == pickle.dumps(right)


# --- Gymnasium's contract ---------------------------------------------------------------------------------------------


def test_registered_with_the_spaces_of_the_main_environment(dataset: MMGCDataset) -> None:
    env = gymnasium.make("PromptPreamMMGC-v0", data=str(dataset.root), trace_class="low")
    main = PromptPreamEnv()
    assert isinstance(env.unwrapped, MMGCEnv)
    assert env.action_space == main.action_space
    assert env.observation_space == main.observation_space
    assert [option.name for option in env.unwrapped.options] == [option.name for option in main.options]
    usable = [i for i, option in enumerate(env.unwrapped.options) if option.usable]
    assert tuple(usable) == OPTIONS_OF_RUNGS
    _, info = env.reset(seed=0)
    assert list(info) == [*INFO_COLUMNS, "action_mask"]


@pytest.mark.parametrize("trace_class", ["low", "high"])
def test_both_checkers_pass(dataset: MMGCDataset, trace_class: str) -> None:
    check_env(gymnasium.make("PromptPreamMMGC-v0", data=str(dataset.root), trace_class=trace_class).unwrapped)
    check_env_sb3(MMGCEnv(dataset, trace_class))


def test_reset_draws_and_takes_orders(dataset: MMGCDataset) -> None:
    env = MMGCEnv(dataset, "low")

    def drawn(**arguments: Any) -> tuple[Any, ...]:
        env.reset(**arguments)
        return env._draw

    first = drawn(seed=5)
    assert drawn(seed=5) == first
    assert drawn() != first
    assert len({drawn()[1] for _ in range(20)}) == 2
    seeds = tuple(tuple(pair) for pair in viewer_seeds(3))
    assert drawn(options={"trace_class": "high", "trace_index": 1, "seeds": seeds}) == ("high", 1, seeds)
    # The viewers of a seed do not depend on the trace that is asked for.
    assert drawn(seed=5, options={"trace_index": 1 - first[1]}) == ("low", 1 - first[1], first[2])
    assert {MMGCEnv(dataset, "low", 1).reset(seed=seed)[1]["time_s"] for seed in range(3)} == {0.0}


def test_bad_arguments(dataset: MMGCDataset, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="short_video_size"):
        MMGCEnv(tmp_path)
    with pytest.raises(ValueError, match="did you mean 'low'"):
        MMGCEnv(dataset, "lwo")
    with pytest.raises(ValueError, match="has the traces 0 to 1, got 2"):
        MMGCEnv(dataset, "low", 2)
    env = MMGCEnv(dataset, "low")
    for call in (lambda: env.step(0), env.result, env.get_state):
        with pytest.raises(gymnasium.error.ResetNeeded):
            call()
    with pytest.raises(ValueError, match="did you mean 'seeds'"):
        env.reset(options={"seed": 3})
    with pytest.raises(ValueError, match="expected 7 pairs"):
        env.reset(options={"seeds": [[0, 1]]})


# --- the same session as MMGCSession ----------------------------------------------------------------------------------


@pytest.mark.parametrize("trace_class", ["low", "high"])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_session_under_random_actions(dataset: MMGCDataset, trace_class: str, seed: int) -> None:
    env = MMGCEnv(dataset, trace_class)
    rng = np.random.default_rng(seed)
    _, info = env.reset(seed=seed)
    session = MMGCSession(dataset, *env._draw)
    total, terms, stall_s, ended = 0.0, np.zeros(5), 0.0, False
    while not ended:
        # Legal is look-ahead 0 of every video with chunks left, in three options.
        expected = np.zeros(301, np.int8)
        expected[0] = 1
        for slot, player in enumerate(session.players()):
            for option in OPTIONS_OF_RUNGS:
                expected[1 + slot * 60 + option] = player.get_remain_video_num() > 0
        ring = env.planning_view().candidates[:, 0] == NO_ENTRY  # a full ring has no candidate
        for slot in np.flatnonzero(ring[: len(session.players())]):
            if session.players()[slot].get_chunk_counter() >= 64:
                expected[1 + slot * 60 : 61 + slot * 60] = 0
        assert np.array_equal(info["action_mask"], expected)

        action = int(rng.integers(301)) if rng.random() < 0.2 else random_legal(rng, info["action_mask"])
        request = official(env, action)
        step = session.step(*request)
        observation, reward, ended, truncated, info = env.step(action)
        assert (ended, truncated) == (session.done, False)
        assert info["invalid_action"] == (action != 0 and request[2] > 0)
        assert info["elapsed_s"] == step.delay_ms / 1000
        assert observation in env.observation_space
        parts = [info[f"reward_{name}"] for name in ("quality", "rebuffer", "switch", "waste", "energy")]
        assert reward == pytest.approx(sum(parts), abs=1e-12)
        assert info["reward_waste"] == pytest.approx(-0.5 * 8 * step.chunk_bytes / 1e6)
        assert info["reward_rebuffer"] == pytest.approx(-1.85 * step.rebuffer_ms / 1000)
        stall_s += step.rebuffer_ms / 1000
        total += reward
        terms += parts
        totals = session.totals()
        for key in ("time_s", "played_s", "rebuffer_s", "downloaded_bytes", "wasted_bytes", "videos_watched"):
            assert info[key] == totals[key]
    result = session.result()
    assert env.result() == result
    assert total == pytest.approx(result.score)
    assert terms == pytest.approx(
        [info["quality"], -1.85 * stall_s, -info["switch"], -0.5 * 8 * result.bandwidth_bytes / 1e6, 0.0]
    )
    assert (info["quality"], info["switch"]) == pytest.approx((totals["quality"], totals["switch"]))
    assert info["action_mask"].sum() == 1
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)


def test_quality_is_paid_when_it_has_been_watched(dataset: MMGCDataset) -> None:
    env = MMGCEnv(dataset, "high", 0)
    env.reset(seed=0)
    env._session._watch_ms[:] = (1500, 2000, 5000, 3000, 5000, 4000, 5000)
    paid = [env.step(action)[4]["reward_quality"] for action in (6, 6, 6)]  # three chunks at 1,850 kbit/s
    assert paid == [0.0, 0.0, 0.0]
    seen = []
    while env._session.playing_video == 0:
        seen.append(env.step(0)[4]["reward_quality"])
    # The first chunk once it has played; the second, of which half is watched, and the third with the swipe.
    assert [quality for quality in seen if quality] == pytest.approx([1.85, 1.85])


def test_an_illegal_action_sleeps_and_says_so(dataset: MMGCDataset) -> None:
    env, twin = MMGCEnv(dataset, "low"), MMGCEnv(dataset, "low")
    # look-ahead 1, a prompt, pixels on the CPU, and indices outside the space
    for index in (1 + 15 + 1, 1 + 6, 1, -1, 301, 10**9):
        for one in (env, twin):
            one.reset(seed=0)
        acted, waited = env.step(index), twin.step(0)
        assert acted[4].pop("invalid_action") is True
        assert waited[4].pop("invalid_action") is False
        assert same(acted, waited)
        assert acted[4]["elapsed_s"] == 0.5


def test_a_starved_session_is_aborted_at_the_official_price(dataset: MMGCDataset) -> None:
    env = MMGCEnv(dataset, "low")
    env.reset(seed=0)
    total, ended = 0.0, False
    while not ended:
        _, reward, ended, _, info = env.step(0)
        total += reward
    assert total == -1e9 == env.result().score
    assert info["time_s"] == pytest.approx(1e4 / 1.85, abs=0.6)


# --- what agents see --------------------------------------------------------------------------------------------------


def test_the_view_shows_what_is_downloaded(dataset: MMGCDataset) -> None:
    env = MMGCEnv(dataset, "high", 0)
    env.reset(seed=0)
    env._session._watch_ms[:] = 2000
    *_, first = env.step(2)  # 750 kbit/s
    env.step(6)  # 1850 kbit/s
    env.step(1 + 60 + 3)  # 1200 kbit/s of video 1
    view = env.planning_view()
    state, session = view.state, env._session
    assert state.playing == 1
    assert (state.video, state.playhead, view.videos_left) == (0, 0, 6)
    assert state.chunk_status[0, :3].tolist() == [BEGUN, DECODED, 0]
    assert state.chunk_status[1, :2].tolist() == [DECODED, 0]
    assert state.chunk_option[0, :2].tolist() == [1, 5]
    assert state.chunk_option[1, 0] == 3
    position_s = state.playhead + view.time_s - state.playback_since_s
    assert position_s == pytest.approx(session.players()[0].get_play_chunk())
    assert view.candidates[:, 0].tolist() == [2, 1, 0, 0, 0]
    assert (view.candidates[:, 1:] == NO_ENTRY).all()
    assert view.catalog.n_chunks.tolist() == [5, 2, 70, 3, 14]
    sizes = session.players()[2].get_undownloaded_video_size(70)
    assert view.catalog.chunk_bytes[2, :, :3].T.tolist() == sizes
    assert view.catalog.retention[0, :6] == pytest.approx([float(s) for s in dataset.retention[0].shares[:6]])
    delay_s = view.time_s - view.throughput_time_s[1]
    size = session.players()[1].get_preload_size()
    assert view.throughput_bps[2] == pytest.approx(8 * size / (delay_s - 0.08))
    assert (view.params.rtt_s, view.params.link_efficiency, view.params.wait_s) == (0.08, 0.95, 0.5)
    assert (view.params.weight_waste, view.params.weight_download, view.distribution.leave_p) == (0.0, 0.5, 0.0)
    # Two chunks of video 0 and one of video 1 play for three seconds; then video 1 waits for its second.
    for _ in range(8):
        env.step(0)
        stalled = env.planning_view().state
    assert (stalled.video, stalled.playing, stalled.playhead) == (1, 0, 1)
    assert stalled.playback_since_s == pytest.approx(first["rebuffer_s"] + 3.0)
    assert stalled.begun_quality == 1.2


@pytest.mark.parametrize("seed", range(6))
def test_nobody_sees_the_future(dataset: MMGCDataset, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Viewers who agree so far and leave at other times later look the same at every decision so far, rewards too."""
    rng = np.random.default_rng(seed)
    env = MMGCEnv(dataset, ("low", "high")[seed % 2])
    observation, info = env.reset(seed=seed)
    seen: list[Any] = [(observation, info, flatten(env.planning_view()))]
    actions: list[int] = []
    for _ in range(int(rng.integers(3, 60))):
        before = env.get_state()
        action = random_legal(rng, info["action_mask"])
        observation, reward, ended, _, info = env.step(action)
        if ended:
            env.set_state(before)
            break
        actions.append(action)
        seen.append((observation, reward, info, flatten(env.planning_view())))

    playing = env._session.playing_video
    watch_ms = env._session._watch_ms.copy()
    position_ms = env._session.players()[0].get_play_chunk() * 1000
    low = np.floor(np.where(np.arange(7) == playing, position_ms, 0.0)) + 1
    other = np.floor(rng.uniform(low, np.maximum(1000.0 * np.array(CHUNKS), low + 1)))
    watch_ms[playing:] = other[playing:]
    monkeypatch.setattr(MMGCDataset, "draw_watch_ms", lambda self, seeds: watch_ms)
    twin = MMGCEnv(dataset, env._draw[0])
    observation, info = twin.reset(options=dict(zip(("trace_class", "trace_index", "seeds"), env._draw, strict=True)))
    assert same((observation, info, flatten(twin.planning_view())), seen[0])
    for action, expected in zip(actions, seen[1:], strict=True):
        observation, reward, ended, _, info = twin.step(action)
        assert not ended
        assert same((observation, reward, info, flatten(twin.planning_view())), expected)


def test_a_view_cannot_be_written(dataset: MMGCDataset) -> None:
    env = MMGCEnv(dataset)
    env.reset(seed=0)
    for view in (env.planning_view(), env.client.planning_view()):
        for array in (view.catalog.chunk_bytes, view.params.option_decode_s, view.candidates, view.action_mask):
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0
        with pytest.raises(ValueError, match="read-only"):
            view.state.time_s = -1.0


# --- snapshots --------------------------------------------------------------------------------------------------------


def test_snapshots_and_pickles_go_on_as_the_original(dataset: MMGCDataset) -> None:
    env = gymnasium.make("PromptPreamMMGC-v0", data=str(dataset.root), trace_class="high").unwrapped
    unborn = pickle.loads(pickle.dumps(env))
    _, info = env.reset(seed=4)
    assert same(unborn.reset(seed=4)[1], info)

    def branch(one: MMGCEnv) -> list[Any]:
        rng = np.random.default_rng(0)
        seen: list[Any] = []
        for _ in range(60):
            step = one.step(random_legal(rng, one.action_masks()))
            seen.append((step, flatten(one.planning_view())))
            if step[2]:
                seen.append(one.reset())
        return seen

    rng = np.random.default_rng(3)
    for _ in range(12):
        *_, info = env.step(random_legal(rng, info["action_mask"]))
    snapshot = pickle.loads(pickle.dumps(env.get_state()))
    twin = pickle.loads(pickle.dumps(env))
    assert twin.spec == env.spec
    first = branch(env)
    assert same(branch(twin), first)
    for one in (env, twin, MMGCEnv(dataset)):
        one.set_state(snapshot)
        assert same(branch(one), first)


# --- agents as official solutions -------------------------------------------------------------------------------------


class Witness:
    """An agent that notes all it is shown before it lets another decide."""

    def __init__(self, client: Client, name: str, seen: list[Any]):
        self.client, self.seen = client, seen
        self.agent = make_agent(name, client, seed=7)

    def predict(self, observation, state=None, episode_start=None, deterministic=False, action_masks=None):
        assert deterministic
        self.seen.append((observation, episode_start, action_masks, flatten(self.client.planning_view())))
        return self.agent.predict(observation, state, episode_start, deterministic, action_masks)


class Bare:
    """A player with the official methods alone; the official `get_video_size` changes its player."""

    def __init__(self, player: MMGCPlayer):
        for name in vars(MMGCPlayer):
            if name.startswith("get_") and name != "get_video_size":
                setattr(self, name, getattr(player, name))


def play_in_env(env: MMGCEnv, name: str, options: dict[str, Any], seen: list[Any]) -> list[Any]:
    agent, state = Witness(env.client, name, seen), None
    observation, _ = env.reset(options=options)
    actions: list[Any] = []
    ended = False
    while not ended:
        action, state = agent.predict(observation, state, np.array([not actions]), True, env.action_masks())
        actions.append(official(env, int(action)))
        observation, _, ended, _, _ = env.step(action)
    return actions


def assert_same_as_solution(data: MMGCDataset, name: str, trace_class: str, trace: int, seeds: list[Any]) -> None:
    env, seen, told = MMGCEnv(data, trace_class), [], []
    options = {"trace_index": trace, "seeds": seeds}
    actions = play_in_env(env, name, options, seen)
    algorithm = as_solution(lambda client: Witness(client, name, told))()
    run = algorithm.run
    algorithm.run = lambda *arguments: run(*arguments[:5], [Bare(player) for player in arguments[5]], arguments[6])
    session = MMGCSession(data, trace_class, trace, seeds)
    assert play(algorithm, session) == actions
    assert session.result() == env.result()
    assert same(seen, told)


@pytest.mark.parametrize("name", AGENTS)
@pytest.mark.parametrize("trace_class", ["low", "high"])
def test_an_agent_acts_alike_in_the_environment_and_as_a_solution(
    dataset: MMGCDataset, name: str, trace_class: str
) -> None:
    for trace in range(2):
        assert_same_as_solution(dataset, name, trace_class, trace, viewer_seeds(trace))


def test_a_solution_plays_session_after_session(dataset: MMGCDataset) -> None:
    algorithm = as_solution(lambda client: make_agent("greedy", client))()
    results = [run_solution(algorithm, dataset, "low", 0, viewer_seeds(seed)) for seed in (0, 1, 0)]
    assert results[0] == results[2] != results[1]


def test_a_solutions_agent_is_handed_a_client(dataset: MMGCDataset) -> None:
    class Asleep:
        def __init__(self, client: Client):
            assert isinstance(client, Client)

        def predict(self, *_: Any, **__: Any) -> tuple[int, None]:
            return 10**6, None  # illegal: a sleep

    session = MMGCSession(dataset, "low", 0, viewer_seeds(0))
    algorithm = as_solution(Asleep)()
    assert algorithm.run(0, 0, 0, False, 0, session.players(), True) == (0, 0, 500.0)


def test_the_example_is_a_solution(dataset: MMGCDataset) -> None:
    algorithm = load_solution(EXAMPLE)
    expected = as_solution(lambda client: make_agent("greedy", client))
    for trace in range(2):
        results = [run_solution(one(), dataset, "high", trace, viewer_seeds(0)) for one in (algorithm, expected)]
        assert results[0] == results[1]


# --- evaluation -------------------------------------------------------------------------------------------------------


def test_evaluation_by_name_and_its_records(dataset: MMGCDataset, tmp_path: Path, capsys: Any) -> None:
    rows = run_mmgc(
        dataset.root,
        ["fixed_preload", "no_save", "static"],
        make_agent=make_agent,
        read_params=agent_params,
        solution=EXAMPLE,
        classes=["low"],
        viewers=2,
        seed=1,
        output=tmp_path,
    )
    assert [row["agent"] for row in rows] == ["fixed_preload", "no_save", "static", str(EXAMPLE)]
    assert "no_save" in capsys.readouterr().out
    assert validate_records(tmp_path, dataset.root) == []

    file = tmp_path / "records.jsonl"
    lines = file.read_text().splitlines()
    assert len(lines) == 4 * 2 * 2
    params = {record["agent"]: record["params"] for record in map(json.loads, lines)}
    assert params["static"] == {"current": 5, "each": 2, "bitrate": "throughput"}  # untuned, under these weights
    assert params["no_save"] == params[str(EXAMPLE)] == {}
    (tmp_path / "records.jsonl.gz").write_bytes(gzip.compress(file.read_bytes()))
    file.unlink()
    assert validate_records(tmp_path, dataset) == []
    (tmp_path / "records.jsonl.gz").unlink()

    record = json.loads(lines[3])
    record["totals"]["score"] += 1e-3
    file.write_text("\n".join([*lines[:3], json.dumps(record), *lines[4:]]))
    (mismatch,) = validate_records(tmp_path, dataset)
    assert mismatch.startswith(f"{file}, line 4: score is ")
    record = json.loads(lines[3])
    del record["actions"][-1]
    file.write_text("\n".join([*lines[:3], json.dumps(record), *lines[4:]]))
    assert "the session goes on" in validate_records(tmp_path, dataset)[0]
    file.write_text("\n".join(lines[:-1]))
    assert "not equally many" in validate_records(tmp_path, dataset)[0]
    file.write_text("\n".join(lines[:-4]))
    assert validate_records(tmp_path, dataset) == [f"results.json, low, {EXAMPLE}: no records"]
    file.write_text('{"scenario": "low/rtx-4090/typical"}')
    with pytest.raises(ValueError, match="line 1: expected a record with a key 'seed'"):
        validate_records(tmp_path, dataset)


def test_learned_agents_say_that_they_are_strangers() -> None:
    for network in (SCENARIO, Scenario.parse("low/snapdragon-8-elite/typical")):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            check_range(network, range_of([SCENARIO, network]), Path("student.safetensors"))
        said = [str(one.message) for one in caught if "2022 challenge" in str(one.message)]
        assert len(said) == (network is SCENARIO)


def test_evaluation_refuses(dataset: MMGCDataset, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="greedy"):
        run_mmgc(dataset.root, ["gredy"], make_agent=make_agent)
    with pytest.raises(ValueError, match="at least one"):
        run_mmgc(dataset.root, [], make_agent=make_agent)
    with pytest.raises(FileNotFoundError, match=r"records\.jsonl"):
        validate_records(tmp_path, dataset)


# --- on the official data ---------------------------------------------------------------------------------------------


@needs_golden
def test_recorded_sessions_have_their_score(official_data: MMGCDataset, golden: list[dict[str, Any]]) -> None:
    env = MMGCEnv(official_data)
    for episode in golden:
        if any(sleep_ms not in (0, 500) for _, _, sleep_ms, *_ in episode["steps"]):
            continue
        env.reset(options={"trace_class": episode["class"], "trace_index": episode["trace"], "seeds": episode["seeds"]})
        total = 0.0
        for video, rung, sleep_ms, delay_ms, *_ in episode["steps"]:
            slot = video - env._session.playing_video
            action = 0 if sleep_ms else 1 + slot * 60 + OPTIONS_OF_RUNGS[rung]
            _, reward, ended, _, info = env.step(action)
            assert info["elapsed_s"] == delay_ms / 1000
            total += reward
        assert ended
        assert total == pytest.approx(episode["result"]["score"], rel=1e-9)


@needs_golden
@pytest.mark.parametrize("name", AGENTS)
def test_agents_act_alike_on_the_official_data(
    official_data: MMGCDataset, golden: list[dict[str, Any]], name: str
) -> None:
    for episode in golden[::13]:
        assert_same_as_solution(official_data, name, episode["class"], episode["trace"], episode["seeds"])
