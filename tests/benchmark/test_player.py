"""The pipe to an agent's process: frames, what a session may leave, and which isolation is claimed."""

import io
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from agents import REGISTRY
from ppgym.benchmark import player, sealed
from ppgym.benchmark.episodes import Job, play_episode
from ppgym.benchmark.player import EntryError, Player, find_isolation, read_frame, to_frame
from ppgym.world.sessions import Sessions
from tests.benchmark import cheats

SCENARIO = "high/pixels-only/skimmer"


NUMBERS = hnp.arrays(
    st.sampled_from([np.float64, np.float32, np.int8, np.uint8, np.int32, np.bool_]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)


@settings(max_examples=25)
@given(st.dictionaries(st.text(max_size=5), NUMBERS, max_size=4))
def test_frames_bring_arrays_as_they_are(arrays: dict[str, Any]) -> None:
    pipe = io.BytesIO(to_frame(arrays) + to_frame({}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(player.os, "read", lambda descriptor, count: pipe.read(min(count, 7)))
        came = read_frame(0)
        assert came is not None
        assert came.keys() == arrays.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(came[name], array)
            assert came[name].dtype == array.dtype
            assert not came[name].flags.writeable
        assert read_frame(0) == {}
        assert read_frame(0) is None


def test_isolation_that_does_not_work_is_not_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = [one._replace(prefix=("no-such-command",), identity={}) for one in player.ISOLATIONS[:-1]]
    monkeypatch.setattr(player, "ISOLATIONS", (*bad, player.ISOLATIONS[-1]))
    assert find_isolation().name == "same user"


@pytest.fixture(scope="module")
def compiled() -> None:
    """Compiles once for all processes, which get a copy of the cache."""
    play_episode(REGISTRY, Job(SCENARIO, {}, "train", "on_demand", {}, 0))


def play_two(agent: str, isolation: player.Isolation) -> None:
    """Play two sessions of an agent, a shipped one or a class of `cheats`, in processes of its own."""
    sessions = Sessions.generate([SCENARIO], 2, 5)
    path = f"{cheats.__name__}:{agent}" if hasattr(cheats, agent) else agent
    with Player(path, "agents:make_agent", [SCENARIO], isolation) as one:
        for seed in sessions.seeds[0].tolist():
            sealed._play_session(one, sessions.world(SCENARIO, seed), 0, seed, 1)
            time.sleep(0.05)


def test_what_the_warm_up_writes_is_deleted_before_the_first_session(compiled: None) -> None:
    play_two("WarmUpWriter", find_isolation())


def test_shipped_agents_with_a_graph_can_be_sealed(compiled: None) -> None:
    play_two("ppo", find_isolation())


def test_a_session_leaves_no_notes(compiled: None) -> None:
    with pytest.raises(EntryError, match="expected nothing new in its folder 'cache'"):
        play_two("NoteTaker", player.ISOLATIONS[-1])
    with pytest.raises(EntryError, match="expected nothing new in its folder 'home'"):
        play_two("HomeKeeper", player.ISOLATIONS[-1])
    if find_isolation().name == "another user":
        play_two("NoteTaker", find_isolation())  # it could not write, or would have answered -1
