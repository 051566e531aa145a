"""The observation, rebuilt field by field from the planning view: it holds what its table says, and nothing hidden."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ppgym.core.observation import make_layout, observation_fields
from ppgym.core.state import ABSENT, DECODED, DECODING, IN_FLIGHT, NO_ENTRY, QUEUED, UNITS
from ppgym.env import PromptPreamEnv
from ppgym.planning_view import PlanningView
from ppgym.world.ladders import Ladder

SCENARIOS: list[dict[str, Any]] = [
    {},
    {"scenario": "high/rtx-4090/skimmer", "parallel_downloads": 3, "cancel_on_swipe": True, "patience": "none"},
    {"scenario": "medium/snapdragon-8-gen-3/typical", "ladder": replace(Ladder.load("pixels"), chunk_s=2.5)},
    {"scenario": "mixed/snapdragon-8-gen-2/typical/promptmobile", "throttle": 4.0, "decoded_buffer_bytes": 6e7},
    {"scenario": "5g/pixels-only/sticky", "charge_thinking_s": 0.05, "patience": [1.0, 6.0], "max_wall_s": 40.0},
]


def random_legal(rng: np.random.Generator, mask: np.ndarray) -> int:
    return int(rng.choice(np.flatnonzero(mask)))


def cut(value: float) -> float:
    return min(max(value, 0.0), 1.0)


def slow_observation(view: PlanningView) -> dict[str, np.ndarray]:
    """Every field of the table, in plain Python."""
    state, params, catalog = view.state, view.params, view.catalog
    representations, options = len(view.representations), len(view.options)
    fields = {field.name: np.zeros(field.shape) for field in observation_fields(representations, options)}
    now_s = float(state.time_s)
    usable = [option.decode_s if option.usable else np.inf for option in view.options]

    for slot in range(5):
        chunks = int(catalog.n_chunks[slot])
        if chunks == 0:
            continue
        row = (int(state.video) + slot) % 5
        begin = int(state.playhead) if slot == 0 else 0
        lives = [int(state.chunk_status[row, chunk % 64]) for chunk in range(begin, min(chunks, begin + 64))]
        duration_s = float(catalog.duration_s[slot])
        edges_s = [*(chunk * params.chunk_s for chunk in range(chunks)), duration_s]
        seconds_of = {life: 0.0 for life in range(6)}
        for place, life in enumerate(lives):
            seconds_of[life] += edges_s[begin + place + 1] - edges_s[begin + place]
        position_s = 0.0
        if slot == 0:
            position_s = edges_s[begin] + (now_s - float(state.playback_since_s) if state.playing else 0.0)
        fields["slot_present"][slot] = 1.0
        fields["slot_duration"][slot] = cut(duration_s / 60)
        fields["slot_position"][slot] = cut(position_s / 60)
        fields["slot_decoded"][slot] = cut(seconds_of[DECODED] / 20)
        fields["slot_queued"][slot] = cut((seconds_of[QUEUED] + seconds_of[DECODING]) / 20)
        fields["slot_in_flight"][slot] = cut(seconds_of[IN_FLIGHT] / 20)
        missing = [begin + place for place, life in enumerate(lives) if life == ABSENT][:4]
        if state.terminated or state.truncated:
            missing = []
        assert view.candidates[slot].tolist() == missing + [-1] * (4 - len(missing))
        curve_at_s = [*range(math.ceil(duration_s)), duration_s]
        curve = catalog.retention[slot, : len(curve_at_s)]
        alive = np.interp(position_s, curve_at_s, curve)
        for look, chunk in enumerate(missing):
            reached = np.interp(edges_s[chunk], curve_at_s, curve)
            fields["survival"][slot, look] = cut(reached / alive) if alive > 0 else 0.0
            fields["candidate_ahead"][slot, look] = cut((edges_s[chunk] - position_s) / 60)
            for r in range(representations):
                seconds = min(s for s, o in zip(usable, view.options, strict=True) if o.representation == r)
                fields["candidate_bytes"][slot, look, r] = cut(catalog.chunk_bytes[slot, chunk, r] / 5e5)
                fields["candidate_quality"][slot, look, r] = cut(catalog.quality[slot, chunk, r] / 4)
                fields["candidate_decode"][slot, look, r] = cut(seconds / 10)

    for unit in range(UNITS):
        name = ("cpu", "gpu", "npu", "vdec")[unit]
        fastest_s = min([s for s, o in zip(usable, view.options, strict=True) if o.unit == name], default=np.inf)
        running_s = 0.0
        if state.job_video[unit] != NO_ENTRY:
            job_s = float(state.job_load_s[unit]) + float(state.job_expected_s[unit])
            running_s = max(0.0, job_s - (now_s - float(state.job_start_s[unit])))
        fields["unit_present"][unit] = name in view.device.units
        fields["unit_backlog"][unit] = cut((running_s + float(state.queued_s[unit])) / 20)
        fields["unit_speed"][unit] = 1 / (1 + fastest_s)
    fields["option_decode"][:] = [cut(seconds / 10) for seconds in usable]

    fields["throughput_age"][:] = 1.0
    newest_first = zip(view.throughput_bps[::-1], view.throughput_time_s[::-1], strict=True)
    for place, (bps, time_s) in enumerate(newest_first):
        fields["throughput"][place] = bps / (bps + 4e6)
        fields["throughput_age"][place] = (now_s - time_s) / (now_s - time_s + 10)
    since_s = now_s - float(state.playback_since_s)
    fields["last_quality"][:] = cut(float(state.begun_quality) / 4)
    fields["playing"][:] = float(state.playing)
    fields["playback_since"][:] = since_s / (since_s + 2)
    fields["free_memory"][:] = cut(1 - float(state.reserved_bytes) / params.decoded_buffer_bytes)
    fields["open_transfers"][:] = int(state.transfers) / params.parallel_downloads
    fields["videos_left"][:] = cut(view.videos_left / 20)
    return fields


@pytest.mark.parametrize("kwargs", SCENARIOS)
def test_every_field_holds_what_its_row_says(kwargs: dict[str, Any]) -> None:
    env = PromptPreamEnv(**kwargs)
    fields = observation_fields(len(env.world.representations), len(env.options))
    layout = make_layout(fields)
    rng = np.random.default_rng(0)
    observation, info = env.reset(seed=1)
    for step in range(700):
        if step % 5 == 0:
            expected = slow_observation(env.planning_view())
            for field in fields:
                first = getattr(layout, field.name)
                part = observation[first : first + int(np.prod(field.shape))].reshape(field.shape)
                np.testing.assert_allclose(part, expected[field.name], rtol=1e-5, atol=1e-6, err_msg=field.name)
        observation, _, terminated, truncated, info = env.step(random_legal(rng, info["action_mask"]))
        if terminated or truncated:
            observation, info = env.reset()


def test_the_layout_covers_the_vector_once_and_is_documented() -> None:
    env = PromptPreamEnv()
    fields = observation_fields(6, 15)
    layout = make_layout(fields)
    assert layout.size == sum(int(np.prod(field.shape)) for field in fields) == env.observation_space.shape[0]
    assert layout._fields == (*(field.name for field in fields), "size")
    for field in fields:
        assert f"`{field.name}`" in (PromptPreamEnv.__doc__ or "")
