"""The physics of the first edition, to the bit: equal episodes and actions give equal totals and rewards.

first_edition.npz holds arrays that the kernel of the first edition used and gave: the constants and hidden draws of
twelve sessions, their actions, and after each step the totals of the state and the terms of the reward. It was written
before a chunk had a length, a video a patience and a device watts, and cannot be made again.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ppgym.core.dynamics import reset_state, transition
from ppgym.core.qoe import REWARD_TERMS, reward_terms, totals_of
from ppgym.core.state import CatalogArrays, Episode, Params, Sim, new_states
from ppgym.world.scenario import Scenario, make_world

GOLDEN = dict(np.load(Path(__file__).with_name("first_edition.npz")))
SESSIONS = sorted({name.rsplit("/actions", 1)[0] for name in GOLDEN if name.endswith("/actions")})

pytestmark = pytest.mark.kernel


def part(session: str, kind: str) -> dict[str, Any]:
    first = f"{session}/{kind}/"
    arrays = {name.removeprefix(first): array for name, array in GOLDEN.items() if name.startswith(first)}
    return {name: array.item() if array.ndim == 0 else array for name, array in arrays.items()}


def golden_sim(session: str) -> Sim:
    """What the first edition had, and for all else what means the same as its absence."""
    old = part(session, "params")
    options = len(old["option_unit"])
    assert not old.pop("weight_compute").any()
    params = Params(
        **old,
        chunk_s=1.0,
        weight_energy=0.0,
        top_quality=1.85,
        reference_bps=1.85e6,
        option_codec=np.zeros(options, np.int32),
        option_generative=np.zeros(options, np.uint8),
        option_load_s=np.zeros(options),
        option_w=np.ones(options),
        throttle=1.0,
        idle_w=1.0,
        radio_base_w=1.0,
        radio_j_per_mbit=1.0,
        radio_tail_w=1.0,
        radio_tail_s=1.0,
    )
    old = part(session, "catalog")
    catalog = CatalogArrays(
        memory_bytes_per_s=old.pop("memory_bytes"), duration_s=old["n_chunks"].astype(np.float64), **old
    )
    old = part(session, "episode")
    videos = len(old["watch_s"])
    episode = Episode(playlist=np.arange(videos, dtype=np.int32), patience_s=np.full(videos, np.inf), **old)
    return Sim(params, catalog, episode)


def play(sim: Sim, actions: np.ndarray) -> Iterator[tuple[Any, np.ndarray]]:
    state, terms = new_states(1)[0], np.zeros(len(REWARD_TERMS))
    reset_state(sim, state)
    for action in actions:
        before = totals_of(state)
        transition(sim, state, int(action))
        total = reward_terms(sim.params, before, totals_of(state), terms)
        yield state, np.append(terms, total)


@pytest.mark.parametrize("session", SESSIONS)
def test_totals_and_rewards_are_those_of_the_first_edition(session: str) -> None:
    columns, totals = GOLDEN["columns"].tolist(), GOLDEN[f"{session}/totals"]
    played = list(range(len(totals)))
    for step, (state, terms) in zip(played, play(golden_sim(session), GOLDEN[f"{session}/actions"]), strict=True):
        found = np.concatenate([np.atleast_1d(np.asarray(state[name], np.float64)) for name in columns])
        np.testing.assert_array_equal(found, totals[step], err_msg=f"step {step}")
        np.testing.assert_array_equal(terms, GOLDEN[f"{session}/terms"][step], err_msg=f"step {step}")


@pytest.mark.parametrize("name, scenario, overrides", [("default/greedy", "low/snapdragon-8-elite/typical", {})])
def test_the_published_ladder_has_the_numbers_of_the_first_edition(
    name: str, scenario: str, overrides: dict[str, Any]
) -> None:
    world = make_world(Scenario.parse(scenario, audio_bps=0, patience="none", **overrides), "test")
    params, catalog = part(name, "params"), part(name, "catalog")
    for field in params.keys() & set(Params._fields):
        np.testing.assert_array_equal(getattr(world.params, field), params[field], err_msg=field)
    known = {
        array[:n, 0].tobytes(): index
        for index, (n, array) in enumerate(zip(world.catalog.n_chunks, world.catalog.chunk_bytes, strict=True))
    }
    for row, chunks in enumerate(catalog["n_chunks"]):
        index = known[catalog["chunk_bytes"][row, :chunks, 0].tobytes()]
        for field in ("chunk_bytes", "quality"):
            expected = catalog[field][row, :chunks]
            np.testing.assert_array_equal(getattr(world.catalog, field)[index, :chunks], expected, err_msg=field)
        assert (world.catalog.retention[index, : chunks + 1] == catalog["retention"][row, : chunks + 1]).all()
