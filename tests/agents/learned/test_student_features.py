"""The features of the student: the same in a view as in arrays, and what the manifest says."""

import dataclasses

import numpy as np
import pytest

from agents.learned.student_features import (
    CANDIDATE,
    REQUEST,
    SHOWN_LOOKAHEADS,
    SITUATION,
    SLOT,
    feature_layout,
    student_features,
)
from agents.learned.student_network import StudentVectorEnv
from ppgym.core.state import LOOKAHEAD, SLOTS
from ppgym.env import PromptPreamEnv
from tests.agents.learned.students import OPTIONS, visited

LAYOUT = feature_layout(OPTIONS)


def requests_of(seen: np.ndarray) -> np.ndarray:
    """What is seen of requests [S, K, O, REQUEST]."""
    return seen[LAYOUT.requests :].reshape(SLOTS, SHOWN_LOOKAHEADS, OPTIONS, REQUEST)


def test_it_sees_the_same_in_a_view_as_in_an_array_of_states() -> None:
    envs = StudentVectorEnv(2, split="validation")
    single = PromptPreamEnv(split="validation")
    seen, _ = envs.reset(seed=7)
    single.reset(seed=8)
    rng = np.random.default_rng(0)
    for _ in range(60):
        np.testing.assert_array_equal(student_features(single.planning_view()), seen[1])
        masks = envs.action_masks()
        actions = [int(rng.choice(np.flatnonzero(mask))) for mask in masks]
        seen, _, terminated, _, _ = envs.step(actions)
        if terminated[1]:
            break
        single.step(actions[1])


def test_what_it_sees_of_requests_is_what_the_manifest_says() -> None:
    for seed in range(4):
        env, _ = visited(seed, 25)
        view = env.planning_view()
        seen, mask = requests_of(student_features(view)), view.action_mask[1:].reshape(SLOTS, LOOKAHEAD, OPTIONS)
        assert (seen[..., 0] <= mask[:, :SHOWN_LOOKAHEADS]).all()  # no illegal request
        assert (seen[0, 0, :, 0] == mask[0, 0]).all()  # and the next chunk is always among them
        assert seen[seen[..., 0] == 0.0].sum() == 0.0
        for slot, k, option in np.argwhere(seen[..., 0] > 0.0):
            chunk, representation = view.candidates[slot, k], view.params.option_representation[option]
            request = seen[slot, k, option]
            bits = 8.0 * view.catalog.chunk_bytes[slot, chunk, representation]
            assert request[4] == pytest.approx(bits / (bits + 1.85e6))
            assert request[5] == pytest.approx(view.catalog.quality[slot, chunk, representation] / 1.85)
            decode_s = view.params.option_decode_s[option]
            assert request[7] == pytest.approx(decode_s / (decode_s + 2.0))
            assert request[8] == env.options[option].is_generative


def test_it_sees_the_quality_that_a_request_would_follow() -> None:
    env = PromptPreamEnv()
    env.reset(seed=0)
    option = int(np.flatnonzero(env.action_masks()[1 : 1 + OPTIONS])[0])
    chunk_quality = env.planning_view().catalog.quality[0, 0, env.options[option].representation] / 1.85
    env.step(1 + option)
    seen = student_features(env.planning_view())
    candidates = seen[LAYOUT.candidates : LAYOUT.requests].reshape(SLOTS, SHOWN_LOOKAHEADS, CANDIDATE)
    assert candidates[0, 0, 5] == pytest.approx(chunk_quality)  # of the chunk just requested, though it has not begun
    assert candidates[0, 0, 6] == 1.0
    assert candidates[0, 1, 6] == 0.0  # between it and the second there is a chunk that nobody has asked for
    changes = requests_of(seen)[0, 0]
    present = changes[:, 0] > 0.0
    np.testing.assert_allclose(changes[present, 6], np.abs(changes[present, 5] - chunk_quality), atol=1e-6)


def test_the_layout_adds_up() -> None:
    assert LAYOUT.slots == SITUATION
    assert LAYOUT.candidates == SITUATION + SLOTS * SLOT
    assert LAYOUT.size == LAYOUT.requests + SLOTS * SHOWN_LOOKAHEADS * OPTIONS * REQUEST
    env, _ = visited(1, 40)
    assert student_features(env.planning_view()).shape == (LAYOUT.size,)


def test_a_ladder_in_other_units_looks_the_same() -> None:
    """Ten times the bytes on ten times the link, qualities in another unit: all features are the same."""
    rng, env = np.random.default_rng(0), PromptPreamEnv()
    env.reset(seed=5)
    for _ in range(60):
        view = env.planning_view()
        state = np.array([view.state]).view(np.recarray)
        state.throughput_bps[:] *= 10.0
        state.begun_quality[:] *= 7.0
        catalog, params = view.catalog, view.params
        scaled = dataclasses.replace(
            view,
            state=state[0],
            catalog=catalog._replace(chunk_bytes=10.0 * catalog.chunk_bytes, quality=7.0 * catalog.quality),
            params=params._replace(
                reference_bps=10.0 * params.reference_bps,
                top_quality=7.0 * params.top_quality,
                weight_rebuffer=7.0 * params.weight_rebuffer,
                weight_abandon=7.0 * params.weight_abandon,
                weight_waste=0.7 * params.weight_waste,
            ),
        )
        if view.throughput_bps.size:  # before, a rate is assumed that is no ladder's
            np.testing.assert_allclose(student_features(scaled), student_features(view), rtol=1e-5, atol=1e-6)
        if any(env.step(int(rng.choice(np.flatnonzero(view.action_mask))))[2:4]):
            break
    assert view.throughput_bps.size
