"""What an agent is handed: it leads to nothing hidden, cannot be written to, and shows what the environment shows."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest

from agents import AGENTS, REGISTRY, agent_class, is_ranked, make_agent
from agents.clairvoyant.agent import Clairvoyant
from ppgym.benchmark.episodes import Job, play_episode
from ppgym.client import Client, client_of
from ppgym.core.episodes import Episodes, Sims
from ppgym.core.state import Episode, Params, Sim
from ppgym.env import PromptPreamEnv, Snapshot
from ppgym.mmgc.follower import Follower
from ppgym.planning_view import PlanningView, ViewMaker, writeable_fields
from ppgym.world.scenario import Scenario, World, make_world
from tests.test_env import flatten, random_legal

SCENARIO = "medium/snapdragon-8-elite/skimmer"
HIDDEN = (gymnasium.Env, Episode, Episodes, Sim, Sims, Snapshot, World)
IMPORTABLE = f"{__name__}:"


def reachable(start: object) -> Iterator[tuple[str, object]]:
    """All that attributes, items and elements lead to, with the way there; code, Numba's included, is not opened."""
    seen: set[int] = set()
    queue: list[tuple[str, object]] = [("client", start)]
    kept = []  # so that no id is used twice
    while queue:
        way, one = queue.pop()
        if id(one) in seen or isinstance(one, type(len) | type(dataclasses) | type | str | bytes | int | float):
            continue
        if type(one).__module__.split(".")[0] in ("numba", "llvmlite"):  # from there without end
            continue
        seen.add(id(one))
        kept.append(one)
        yield way, one
        if isinstance(one, dict):
            queue += [(f"{way}[{key!r}]", value) for key, value in one.items()]
        elif isinstance(one, tuple | list | set | frozenset):
            queue += [(f"{way}[{i}]", value) for i, value in enumerate(one)]
        names = [name for name in dir(one) if not name.startswith("__") or name in ("__self__", "__dict__")]
        if isinstance(one, np.ndarray | np.generic):
            names = ["base"]
        for name in names:
            try:
                queue.append((f"{way}.{name}", getattr(one, name)))
            except Exception:  # a property may refuse
                continue


@pytest.fixture
def env() -> PromptPreamEnv:
    env = PromptPreamEnv(SCENARIO, parallel_downloads=2)
    _, info = env.reset(seed=987654321)
    rng = np.random.default_rng(0)
    for _ in range(25):
        *_, info = env.step(random_legal(rng, info["action_mask"]))
    return env


def test_nothing_hidden_is_reachable(env: PromptPreamEnv) -> None:
    client = env.client
    found = dict(reachable((client, client.planning_view(), client.action_masks())))
    assert len(found) > 100
    for way, one in found.items():
        assert not isinstance(one, HIDDEN), way
        assert not callable(getattr(one, "get_state", None)), way
        for name in ("np_random_seed", "_np_random_seed", "_episodes", "_states"):
            assert getattr(one, name, None) in (None, -1) or isinstance(one, gymnasium.Space), f"{way}.{name}"
    arrays = [*env._episodes, *env.world.catalog, *env.world.links]
    for way, one in found.items():
        if isinstance(one, np.ndarray):
            assert not any(np.shares_memory(one, array) for array in arrays), way


def test_the_search_would_find_what_is_hidden(env: PromptPreamEnv) -> None:
    assert any(isinstance(one, HIDDEN) for _, one in reachable(env.planning_view))
    assert any(isinstance(one, Episodes) for _, one in reachable({"a": [env]}))


def arrays_of(view: PlanningView) -> Iterator[np.ndarray]:
    for value in vars(view).values():
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, np.ndarray):
                yield part


def test_nothing_that_it_hands_out_can_be_written(env: PromptPreamEnv) -> None:
    client = env.client
    view = client.planning_view()
    for array in [*arrays_of(view), client.action_masks(), view.state.job_end_s, view.state.chunk_status]:
        assert not array.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True
    with pytest.raises(ValueError, match="read-only"):
        view.state.time_s = 0.0
    for name in ("planning_view", "scenario", "other"):
        with pytest.raises((dataclasses.FrozenInstanceError, AttributeError, TypeError)):
            setattr(client, name, None)
    for array in (*writeable_fields(view.params), *writeable_fields(view.catalog)):
        assert not isinstance(array, np.ndarray) or array.flags.writeable


def test_its_parts_are_its_own(env: PromptPreamEnv) -> None:
    client, other = env.client, env.client
    assert client.action_space == env.action_space and client.observation_space == env.observation_space
    assert client.scenario == env.world.scenario and client.scenario is not env.world.scenario
    assert client.planning_view().device is not other.planning_view().device
    assert client.planning_view().device == env.world.profile
    env.action_space.seed(3)
    expected = [env.action_space.sample() for _ in range(5)]
    env.action_space.seed(3)
    client.action_space.seed(7)
    drawn = [client.action_space.sample() for _ in range(5)]
    assert [env.action_space.sample() for _ in range(5)] == expected
    other.action_space.seed(7)
    assert [other.action_space.sample() for _ in range(5)] == drawn


@pytest.mark.parametrize("changed", [{}, {"parallel_downloads": 3}, {"n_videos": 3}])
def test_it_shows_what_the_environment_shows_though_constants_are_copied_once(changed: dict[str, Any]) -> None:
    env = PromptPreamEnv(SCENARIO, **changed)
    client, rng = env.client, np.random.default_rng(1)
    windows = set()
    for seed in range(6):
        _, info = env.reset(seed=seed)
        ended = False
        while not ended:
            view = client.planning_view()
            fresh = ViewMaker().make(env.world, env._episodes.playlist[0], env._states[0], *latest(env))
            assert flatten(view) == flatten(fresh) == flatten(env.planning_view())
            expected = env.world.catalog.chunk_bytes[
                env._episodes.playlist[0, min(view.state.video, env.world.n_videos - 1)]
            ]
            np.testing.assert_array_equal(view.catalog.chunk_bytes[0], expected)
            np.testing.assert_array_equal(client.action_masks(), env.action_masks())
            windows.add((seed, int(view.state.video)))
            assert view.params is client.planning_view().params
            *_, terminated, truncated, info = env.step(random_legal(rng, info["action_mask"]))
            ended = terminated or truncated
    assert len(windows) > 8


def latest(env: PromptPreamEnv) -> tuple[np.ndarray, np.ndarray]:
    return env._results.candidates, env._results.mask[0]


def test_it_is_the_client_of_wrapped_environments_too() -> None:
    env = gymnasium.make("PromptPream-v0")
    client = client_of(env)
    assert isinstance(client, Client)
    assert client_of(client) is client
    with pytest.raises(TypeError, match="expected a client or an environment of ppgym, got 3"):
        client_of(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="CartPole"):
        client_of(gymnasium.make("CartPole-v1"))


def test_the_client_of_the_challenge_leads_to_no_session() -> None:
    client = Follower().client
    found = [one for _, one in reachable((client, client.planning_view()))]
    assert not any(isinstance(one, Follower | World) for one in found)
    assert any(isinstance(one, Params) for one in found)
    assert not client.action_masks().flags.writeable and client.action_masks()[0]


# --- who competes -----------------------------------------------------------------------------------------------------


class Silent:
    """Waits. It keeps what it was handed."""

    def __init__(self, client: Any, *, seed: int | None = None) -> None:
        self.handed = client

    def predict(self, *arguments: Any, **keywords: Any) -> tuple[int, None]:
        return 0, None


class Modest(Silent):
    ranked = False


class Boaster(Clairvoyant):
    ranked = True


def test_who_sees_the_hidden_episode_is_told_by_class() -> None:
    paths = ["clairvoyant", AGENTS["clairvoyant"], f"{IMPORTABLE}Boaster"]
    assert [is_ranked(path) for path in paths] == [False] * 3
    assert [name for name in AGENTS if not is_ranked(name)] == ["clairvoyant"]
    assert is_ranked(f"{IMPORTABLE}Silent") and not is_ranked(f"{IMPORTABLE}Modest")
    assert is_ranked("somewhere.else:Policy")  # as an entry of the leaderboard may name


def test_they_alone_are_handed_the_environment() -> None:
    env = gymnasium.make("PromptPream-v0")
    for name in ("Silent", "Modest"):
        handed = make_agent(f"{IMPORTABLE}{name}", env).handed  # type: ignore[attr-defined]
        assert isinstance(handed, Client)
    for path in ("clairvoyant", AGENTS["clairvoyant"], f"{IMPORTABLE}Boaster"):
        assert make_agent(path, env).env is env.unwrapped  # type: ignore[attr-defined]
        with pytest.raises(ValueError, match="expected an environment, whose hidden episode it reads"):
            make_agent(path, env.unwrapped.client)  # type: ignore[attr-defined]
    assert agent_class(f"{IMPORTABLE}Boaster") is Boaster


# --- a world that somebody writes to ----------------------------------------------------------------------------------


class Editor(Silent):
    """Tries to make the world kinder through what it was handed."""

    def __init__(self, client: Any, *, seed: int | None = None) -> None:
        super().__init__(client)
        client.planning_view().params.option_decode_s[:] = 1e-3


class Burglar(Silent):
    """Does so by force: it finds the world that the process shares."""

    def __init__(self, client: Any, *, seed: int | None = None, part: str = "links", field: str = "bits") -> None:
        super().__init__(client)
        self.edited = getattr(getattr(make_world(client.scenario, "test"), part), field)

    def predict(self, *arguments: Any, **keywords: Any) -> tuple[int, None]:
        self.edited.flat[0] += 1e-9
        return 0, None


def job(agent: str, **params: Any) -> Job:
    return Job(SCENARIO, {"n_videos": 2, "max_wall_s": 5.0}, "test", f"{IMPORTABLE}{agent}", params, 0)


@pytest.fixture
def world() -> Iterator[World]:
    world = make_world(Scenario.parse(SCENARIO, n_videos=2, max_wall_s=5.0), "test")
    saved = {part: writeable_fields(getattr(world, part)) for part in ("params", "catalog", "links")}
    yield world
    for part, fields in saved.items():
        for array, value in zip(getattr(world, part), fields, strict=True):
            if isinstance(array, np.ndarray):
                array[...] = value
    assert world.changed() == []


def test_the_world_cannot_be_edited_through_the_client(world: World) -> None:
    with pytest.raises(ValueError, match="read-only"):
        play_episode(REGISTRY, job("Editor"))
    assert world.changed() == []


@pytest.mark.parametrize(
    ("part", "field"), [("links", "bits"), ("links", "time_s"), ("params", "option_decode_s"), ("catalog", "quality")]
)
def test_a_world_edited_by_force_refuses_the_run(world: World, part: str, field: str) -> None:
    assert play_episode(REGISTRY, job("Silent"))["actions"]
    with pytest.raises(RuntimeError, match=rf"agent '{IMPORTABLE}Burglar', .*, seed \d+: .*{part}\.{field} changed"):
        play_episode(REGISTRY, job("Burglar", part=part, field=field))
    assert world.changed() == [f"{part}.{field}"]
    with pytest.raises(RuntimeError, match="changed"):  # and whoever plays after it in this process
        play_episode(REGISTRY, job("Silent"))


@pytest.mark.parametrize("field", ["distribution", "profile", "n_videos"])
def test_a_part_of_the_world_that_is_replaced_is_noticed(field: str) -> None:
    world = make_world(Scenario.parse(leave_p=0.123), "test")
    other = make_world(Scenario.parse("low/pixels-only/sticky", n_videos=3), "test")
    was = getattr(world, field)
    object.__setattr__(world, field, getattr(other, field))
    try:
        assert any(name.split(".")[0] == field for name in world.changed())
    finally:
        object.__setattr__(world, field, was)
    assert world.changed() == []
