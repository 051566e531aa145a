"""The observation, rebuilt field by field from the planning view: it holds what its table says, and nothing hidden."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ppgym.core.decoders import throttling
from ppgym.core.observation import make_layout, observation_fields
from ppgym.core.patience import patience_share
from ppgym.core.state import ABSENT, DECODED, DECODING, IN_FLIGHT, NO_ENTRY, QUEUED, UNITS
from ppgym.env import PromptPreamEnv
from ppgym.planning_view import PlanningView
from ppgym.world.devices import DeviceProfile
from ppgym.world.ladders import Ladder


def with_loads(device: DeviceProfile) -> DeviceProfile:
    """The device with decoders that take their time to load."""
    return replace(device, rows=tuple(replace(row, load_s=0.7) for row in device.rows))


SCENARIOS: list[dict[str, Any]] = [
    {},
    {"scenario": "high/rtx-4090/skimmer", "parallel_downloads": 3, "cancel_on_swipe": True, "patience": "none"},
    {"scenario": "medium/snapdragon-8-gen-3/typical", "ladder": replace(Ladder.load("pixels"), chunk_s=2.5)},
    {"scenario": "mixed/snapdragon-8-gen-2/typical/promptmobile", "throttle": 4.0, "decoded_buffer_bytes": 6e7},
    {"scenario": "5g/pixels-only/sticky", "charge_thinking_s": 0.05, "patience": [1.0, 6.0], "max_wall_s": 40.0},
    {
        "scenario": "medium/snapdragon-8-elite/typical",
        "ladder": replace(Ladder.load("published"), reference_mbps=4.0),
        "qoe": {"quality": 2.0, "energy": 0.3, "download": 0.1, "waste": 0.0, "abandon": 7.0},
        "device": with_loads(DeviceProfile.load("snapdragon-8-elite")),
    },
]


def random_legal(rng: np.random.Generator, mask: np.ndarray) -> int:
    return int(rng.choice(np.flatnonzero(mask)))


def cut(value: float) -> float:
    return min(max(value, 0.0), 1.0)


def squash(value: float, half: float) -> float:
    """1/2 at `half`, 1 at infinity."""
    return 0.0 if value == 0 else 1.0 / (1.0 + half / value)


def slow_observation(view: PlanningView, top_quality: float, reference_bps: float) -> dict[str, np.ndarray]:
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
        fields["slot_duration"][slot] = squash(duration_s, 30)
        fields["slot_position"][slot] = squash(position_s, 30)
        fields["slot_decoded"][slot] = squash(seconds_of[DECODED], 5)
        fields["slot_queued"][slot] = squash(seconds_of[QUEUED] + seconds_of[DECODING], 5)
        fields["slot_in_flight"][slot] = squash(seconds_of[IN_FLIGHT], 5)
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
            fields["candidate_ahead"][slot, look] = squash(edges_s[chunk] - position_s, 5)
            for r in range(representations):
                seconds = min(s for s, o in zip(usable, view.options, strict=True) if o.representation == r)
                bits = 8 * catalog.chunk_bytes[slot, chunk, r]
                fields["candidate_bytes"][slot, look, r] = squash(bits, reference_bps * params.chunk_s)
                fields["candidate_quality"][slot, look, r] = squash(catalog.quality[slot, chunk, r], top_quality)
                fields["candidate_decode"][slot, look, r] = squash(seconds, 1)

    for unit in range(UNITS):
        name = ("cpu", "gpu", "npu", "vdec")[unit]
        fastest_s = min([s for s, o in zip(usable, view.options, strict=True) if o.unit == name], default=np.inf)
        running_s = 0.0
        if state.job_video[unit] != NO_ENTRY:
            job_s = float(state.job_load_s[unit]) + float(state.job_expected_s[unit])
            running_s = max(0.0, job_s - (now_s - float(state.job_start_s[unit])))
        fields["unit_present"][unit] = name in view.device.units
        fields["unit_backlog"][unit] = squash(running_s + float(state.queued_s[unit]), 2)
        fields["unit_speed"][unit] = 1 / (1 + fastest_s)
        fields["unit_throttle"][unit] = 1 - 1 / throttling(params, state, unit)
    second = params.weight_quality * top_quality
    for place, (seconds, option) in enumerate(zip(usable, view.options, strict=True)):
        unit = ("cpu", "gpu", "npu", "vdec").index(option.unit)
        loaded = int(state.loaded[unit]) >> int(params.option_codec[place]) & 1
        joules = 0.0 if math.isinf(seconds) else seconds * float(params.option_w[place])
        fields["option_decode"][place] = squash(seconds, 1)
        fields["option_load"][place] = squash(0.0 if loaded else float(params.option_load_s[place]), 1)
        fields["option_energy"][place] = squash(params.weight_energy * joules, second)
        fields["option_generative"][place] = "h26" not in option.codec and option.codec not in ("hevc", "av1")

    fields["throughput_age"][:] = 1.0
    newest_first = zip(view.throughput_bps[::-1], view.throughput_time_s[::-1], strict=True)
    for place, (bps, time_s) in enumerate(newest_first):
        fields["throughput"][place] = squash(bps, reference_bps)
        fields["throughput_age"][place] = squash(now_s - time_s, 10)
    since_s = now_s - float(state.playback_since_s)
    fields["last_quality"][:] = squash(float(state.begun_quality), top_quality)
    fields["playing"][:] = float(state.playing)
    fields["playback_since"][:] = squash(since_s, 2)
    fields["longest_stall"][:] = squash(float(state.longest_stall_s), 2)
    fields["free_memory"][:] = cut(1 - float(state.reserved_bytes) / params.decoded_buffer_bytes)
    fields["open_transfers"][:] = int(state.transfers) / params.parallel_downloads
    fields["videos_left"][:] = squash(view.videos_left, 5)
    fields["chunk_length"][:] = squash(params.chunk_s, 1)
    fields["rtt"][:] = squash(params.rtt_s, 0.1)
    table = view.distribution
    fields["leave_p"][:] = table.leave_p
    fields["patience"][:] = [patience_share(table.patience_at_s, table.patience_share, s) for s in (1.0, 3.0, 10.0)]
    mbit = reference_bps / 1e6
    prices = [
        params.weight_rebuffer,
        params.weight_abandon / 10,
        params.weight_switch * top_quality,
        params.weight_waste * mbit,
        params.weight_download * mbit,
    ]
    fields["weights"][:] = [squash(price, second) for price in prices]
    return fields


@pytest.mark.parametrize("kwargs", SCENARIOS)
def test_every_field_holds_what_its_row_says(kwargs: dict[str, Any], tmp_path: Path) -> None:
    if "device" in kwargs:
        kwargs["device"].write(tmp_path / "device.json")
        kwargs = kwargs | {"device": str(tmp_path / "device.json")}
    env = PromptPreamEnv(**kwargs)
    ladder = env.world.ladder
    fields = observation_fields(len(env.world.representations), len(env.options))
    layout = make_layout(fields)
    rng = np.random.default_rng(0)
    observation, info = env.reset(seed=1)
    for step in range(700):
        if step % 5 == 0:
            expected = slow_observation(env.planning_view(), ladder.top_quality, 1e6 * ladder.b_mbps)
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
