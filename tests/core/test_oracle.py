"""The kernel against the naive simulator: equal after every step of random sessions in random worlds.

`PPGYM_ORACLE_EXAMPLES=5000` looks longer.
"""

import os
from typing import Any

import numpy as np
import pytest
from hypothesis import event, given, settings

from ppgym.core.actions import action_count
from ppgym.core.state import HISTORY, Sim
from tests.core.kernel import KernelSimulator, differences
from tests.core.naive import Event, NaiveSimulator
from tests.core.test_hand_worked_cases import make_sim
from tests.core.worlds import Pick, plays
from tests.core.worlds import picks as some_picks

pytestmark = pytest.mark.kernel

EXAMPLES = int(os.environ.get("PPGYM_ORACLE_EXAMPLES", "150"))
MAX_STEPS = 120
MAX_STEPS_LONG = 400  # until the playhead of a long video has gone round the ring


def comparable(seen: dict[str, Any]) -> dict[str, Any]:
    """What the naive simulator knows and a state can hold."""
    return seen | {"throughputs": seen["throughputs"][-HISTORY:]}


def comparable_events(events: list[Event]) -> list[Any]:
    """Events of a step, those of one instant in any order."""
    return sorted((e.kind, e.video, e.chunk, e.option, e.time_s, e.value) for e in events)


def compare(world: Sim, picks: list[Pick], max_steps: int) -> NaiveSimulator:
    """Plays both simulators side by side and asserts that they agree."""
    naive = NaiveSimulator(world)
    kernel = KernelSimulator(world)
    assert not differences(comparable(naive.observe()), kernel.observe())
    actions: list[int] = []
    for number in range(max_steps):
        legal = naive.legal_actions()
        assert kernel.legal_actions() == legal, f"legal after {actions}"
        if naive.terminated or naive.truncated:
            break
        actions.append(picks[number % len(picks)].action(legal))
        seen = len(naive.events), len(kernel.events)
        expected, actual = naive.step(actions[-1]), kernel.step(actions[-1])
        found = differences(comparable(expected), actual)
        assert not found, "\n".join([f"after {actions}", *found])
        found = differences(
            comparable_events(naive.events[seen[0] :]), comparable_events(kernel.events[seen[1] :]), "events"
        )
        assert not found, "\n".join([f"after {actions}", *found])
    return naive


@settings(max_examples=EXAMPLES)
@given(plays())
def test_the_kernel_equals_the_naive_simulator(play: tuple[Sim, list[Pick]]) -> None:
    naive = compare(*play, max_steps=MAX_STEPS)
    event("terminated" if naive.terminated else "truncated" if naive.truncated else "cut by the test")


@settings(max_examples=max(1, EXAMPLES // 15))
@given(plays(long_video=True))
def test_the_kernel_scrolls_long_videos_through_its_ring(play: tuple[Sim, list[Pick]]) -> None:
    compare(*play, max_steps=MAX_STEPS_LONG)


@settings(max_examples=max(1, EXAMPLES // 15))
@given(picks=some_picks(action_count(4)))
def test_the_kernel_throttles_units_as_the_naive_simulator_does(picks: list[Pick]) -> None:
    warm = make_sim(
        [400.0], chunk_s=4.0, throttle=3.0, wait_s=7.0, option_decode_s=np.array([1.1, 1.3, 2.1, 0.7]), max_wall_s=900.0
    )
    naive = compare(warm, picks, max_steps=MAX_STEPS)
    event("longer than the window" if naive.time_s > 60 else "shorter")
