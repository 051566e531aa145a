"""What reaches the simulator of the 2022 challenge through its environment."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from ppgym.mmgc import MMGCEnv
from tests.mmgc.small import STAYS, SWIPES, small_dataset


@pytest.fixture
def two(tmp_path: Path) -> tuple[MMGCEnv, MMGCEnv]:
    """Twins, one step into a session."""
    dataset = small_dataset(tmp_path, 3, [SWIPES] + [STAYS] * 6)
    env, twin = MMGCEnv(dataset, "low"), MMGCEnv(dataset, "low")
    for one in (env, twin):
        one.reset(seed=4)
        one.step(1)
    return env, twin


def same_situation(one: MMGCEnv, other: MMGCEnv) -> bool:
    return str(one.get_state()) == str(other.get_state()) and str(one.planning_view()) == str(other.planning_view())


@pytest.mark.parametrize(
    "wrong",
    [
        {"trace_class": "none"},
        {"trace_index": 10**6},
        {"trace_index": -1},
        {"seeds": ((1, 2),)},
        {"actions": (3.7,)},
    ],
    ids=lambda wrong: str(wrong)[:20],
)
def test_a_refused_snapshot_changes_nothing(two: tuple[MMGCEnv, MMGCEnv], wrong: dict[str, Any]) -> None:
    env, twin = two
    with pytest.raises((ValueError, TypeError)):
        env.set_state(dataclasses.replace(env.get_state(), **wrong))
    assert same_situation(env, twin)
    assert str(env.step(0)) == str(twin.step(0))


def test_actions_past_the_end_are_refused(two: tuple[MMGCEnv, MMGCEnv]) -> None:
    env, twin = two
    while not twin.step(int(twin.action_masks()[1:].argmax()) + 1)[2]:
        pass
    over = twin.get_state()
    env.set_state(over)
    assert same_situation(env, twin)
    with pytest.raises(ValueError, match="its session ends before"):
        env.set_state(dataclasses.replace(over, actions=(*over.actions, 0)))
    assert same_situation(env, twin)


@pytest.mark.parametrize("action", [3.7, "1", None, [1, 2], True], ids=repr)
def test_what_is_no_integer_is_a_type_error(two: tuple[MMGCEnv, MMGCEnv], action: Any) -> None:
    env, twin = two
    with pytest.raises(TypeError, match="action"):
        env.step(action)
    assert same_situation(env, twin)


def test_what_is_no_snapshot_is_a_type_error(two: tuple[MMGCEnv, MMGCEnv]) -> None:
    with pytest.raises(TypeError, match="MMGCSnapshot"):
        two[0].set_state(None)  # type: ignore[arg-type]
