"""Short sessions worked out by hand, a rule each: short chunks, many representations, patience, energy, loading, ...

The link carries 1 Mbit/s = 125,000 B/s throughout, with an RTT of 0.25 s and one download at a time. A second of
content has 125,000 B (1 s of the link) as "pixel", 12,500 B (0.1 s) as "prompt" and 37,500 B (0.3 s) as "fine". All
weights are 1, but where a case says something else.
"""

import math
from typing import Any

import numpy as np
import pytest

from ppgym.core.state import BEGUN, DECODED, DECODING, QUEUED, CatalogArrays, Episode, Params, Sim
from tests.core.kernel import KernelSimulator, differences
from tests.core.naive import NaiveSimulator

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.parametrize("simulator", [NaiveSimulator, KernelSimulator]),
]

Simulator = NaiveSimulator | KernelSimulator

GPU, NPU, VDEC = 1, 2, 3
PIXEL, PROMPT, FINE, PROMPT_NPU = range(4)  # options: "pixel" on vdec, "prompt" and "fine" on gpu, "prompt" on npu
WAIT = 0


def download(slot: int, lookahead: int, option: int, options: int = 4) -> int:
    return 1 + (slot * 4 + lookahead) * options + option


def make_sim(
    durations_s: list[float],
    rates: tuple[float, ...] = (125_000.0, 12_500.0, 37_500.0),  # [R] bytes per content second
    qualities: tuple[float, ...] = (2.0, 1.0, 1.5),  # [R]
    **changes: Any,
) -> Sim:
    """A world whose videos are watched to their ends.

    Args:
        durations_s: [V] of the videos.
        rates: Bytes per content second of each representation.
        qualities: Of each representation.
        **changes: Fields of `Params` and `Episode` that are otherwise.

    Returns:
        The world.
    """
    params = Params(
        chunk_s=1.0,
        rtt_s=0.25,
        link_efficiency=1.0,
        wait_s=1.0,
        decoded_buffer_bytes=512e6,
        charge_thinking_s=0.0,
        parallel_downloads=1,
        cancel_on_swipe=False,
        weight_quality=1.0,
        weight_rebuffer=1.0,
        weight_switch=1.0,
        weight_waste=1.0,
        weight_download=0.0,
        weight_abandon=1.0,
        weight_energy=1.0,
        top_quality=1.85,
        reference_bps=1.85e6,
        option_representation=np.array([0, 1, 2, 1], np.int32),
        option_unit=np.array([VDEC, GPU, GPU, NPU], np.int32),
        option_usable=np.ones(4, np.uint8),
        option_decode_s=np.array([0.25, 0.5, 0.5, 0.4]),
        option_codec=np.array([0, 1, 1, 1], np.int32),
        option_generative=np.array([0, 1, 1, 1], np.uint8),
        option_load_s=np.zeros(4),
        option_w=np.zeros(4),
        contention=np.ones((4, 5)),
        throttle=1.0,
        idle_w=0.0,
        radio_base_w=0.0,
        radio_j_per_mbit=0.0,
        radio_tail_w=0.0,
        radio_tail_s=0.0,
    )
    params = params._replace(**{name: value for name, value in changes.items() if name in Params._fields})
    videos, duration_s = len(durations_s), np.array(durations_s)
    n_chunks = np.ceil(duration_s / params.chunk_s).astype(np.int32)
    begin_s = np.arange(n_chunks.max()) * params.chunk_s
    content_s = np.clip(duration_s[:, None] - begin_s, 0.0, params.chunk_s)
    catalog = CatalogArrays(
        n_chunks=n_chunks,
        duration_s=duration_s,
        chunk_bytes=content_s[:, :, None] * np.array(rates),
        quality=np.ones((videos, len(begin_s), 1)) * np.array(qualities),
        memory_bytes_per_s=np.full(len(rates), 3e6),
        retention=np.ones((videos, math.ceil(duration_s.max()) + 1)),
    )
    episode = Episode(
        playlist=np.arange(videos, dtype=np.int32),
        watch_s=duration_s.copy(),
        leaves=np.zeros(videos, np.uint8),
        patience_s=np.full(videos, math.inf),
        jitter=np.ones((videos, len(begin_s))),
        link_time_s=np.array([0.0, 1.0]),
        link_bits=np.array([0.0, 1e6]),
        link_offset_s=0.0,
        max_wall_s=1000.0,
    )
    return Sim(params, catalog, episode._replace(**{k: v for k, v in changes.items() if k in Episode._fields}))


def play(simulator: type[Simulator], sim: Sim, steps: list[tuple[int, dict[str, Any]]]) -> Simulator:
    """Steps a world and asserts what is expected of each step."""
    played = simulator(sim)
    for number, (action, expected) in enumerate(steps):
        assert action in played.legal_actions()
        seen = played.step(action)
        found = differences(expected, {name: seen[name] for name in expected})
        assert not found, "\n".join([f"step {number}", *found])
    return played


@pytest.mark.parametrize("watch_s, end_s", [(5.0, 8.0), (4.5, 7.5)])
def test_chunks_of_two_seconds_the_last_one_short(simulator: type[Simulator], watch_s: float, end_s: float) -> None:
    # 5 s of video are chunks of 2, 2 and 1 s: 250,000 B, 250,000 B and 125,000 B; decoded in 0.5, 0.5 and 0.25 s.
    # Of the last chunk the viewer sees all, or the half.
    sim = make_sim([5.0], chunk_s=2.0, watch_s=np.array([watch_s]))
    first = {
        "time_s": 2.25,  # 0.25 + 2
        "downloaded_bytes": 250_000.0,
        "reserved_bytes": 6e6,
        "jobs": [None, None, None, (0, 0, 2.25, 0.0, 0.5, 2.75)],
    }
    second = {
        "time_s": 4.5,
        "played_s": 1.75,  # from 2.75 s on
        "playback_end_s": 4.75,
        "reserved_bytes": 12e6,
        "jobs": [None, None, None, (0, 1, 4.5, 0.0, 0.5, 5.0)],
    }
    last = {
        "time_s": 5.75,  # 4.5 + 0.25 + 1
        "played_s": 2.75,  # 2 s, a stall from 4.75 to 5 s, then 0.75 s
        "rebuffer_s": 3.0,
        "longest_stall_s": 2.75,  # the start-up
        "downloaded_bytes": 625_000.0,
        "reserved_bytes": 9e6,  # 2 s and 1 s
        "chunks": {(0, 1): (BEGUN, PIXEL), (0, 2): (DECODING, PIXEL)},
        "jobs": [None, None, None, (0, 2, 5.75, 0.0, 0.25, 6.0)],
    }
    end = {
        "time_s": end_s,
        "played_s": watch_s,
        "rebuffer_s": 3.0,
        "quality": 2 * watch_s,
        "wasted_bytes": 0.0,
        "reserved_bytes": 0.0,
        "longest_stall_s": 0.0,
        "terminated": True,
        "truncated": False,
    }
    play(
        simulator,
        sim,
        [
            (download(0, 0, PIXEL), first),
            (download(0, 0, PIXEL), second),
            (download(0, 0, PIXEL), last),
            (WAIT, {"time_s": 6.0}),
            (WAIT, {"time_s": 7.0, "playhead": 2, "playing": True, "playback_end_s": end_s}),
            (WAIT, end),
        ],
    )


def test_a_queue_counts_the_seconds_of_a_short_chunk(simulator: type[Simulator]) -> None:
    # "prompt", 2 s in 2-s chunks and 0.5 s: 0.25 + 0.2 s, then 0.25 + 0.05 s; the first job runs from 0.45 to 1.45 s.
    sim = make_sim([2.5], chunk_s=2.0)
    queued = {"queued_s": [0.0, 0.25, 0.0, 0.0], "queues": [[], [(0, 1)], [], []], "time_s": 0.75}
    started = {"queued_s": [0.0] * 4, "time_s": 1.45, "jobs": [None, (0, 1, 1.45, 0.0, 0.25, 1.7), None, None]}
    play(simulator, sim, [(download(0, 0, PROMPT), {}), (download(0, 0, PROMPT), queued), (WAIT, started)])


@pytest.mark.parametrize(
    "representations, first, second, arrival_s, begin_s, total_bytes, quality, switch",
    [
        # 12,500 B: in after 0.35 s, plays at 0.6 s; the other in after 0.35 s more
        (1, 0, 0, 0.7, 0.6, 25_000.0, 2.0, 0.0),
        # 12 x 12,500 B: in after 0.25 + 1.2 s, plays at 1.7 s; 12,500 B after 0.35 s more
        (12, 11, 0, 1.8, 1.7, 162_500.0, 13.0, 11.0),
        # 6 x 12,500 B: in after 0.25 + 0.6 s, plays at 1.1 s; 12 x 12,500 B after 1.45 s more, plays at 2.55 s
        (12, 5, 11, 2.3, 1.1, 225_000.0, 18.0, 6.0),
    ],
)
def test_one_representation_and_twelve(
    simulator: type[Simulator],
    representations: int,
    first: int,
    second: int,
    arrival_s: float,
    begin_s: float,
    total_bytes: float,
    quality: float,
    switch: float,
) -> None:
    options = np.arange(representations, dtype=np.int32)
    sim = make_sim(
        [2.0],
        rates=tuple(12_500.0 * (1 + options)),
        qualities=tuple(1.0 + options),
        option_representation=options,
        option_unit=np.full_like(options, VDEC),
        option_usable=np.ones(representations, np.uint8),
        option_decode_s=np.full(representations, 0.25),
        option_codec=options,
        option_load_s=np.zeros(representations),
        option_w=np.zeros(representations),
    )
    assert len(simulator(sim).legal_actions()) == 1 + 2 * representations
    loaded = sorted({(VDEC, first), (VDEC, second)})
    steps: list[tuple[int, dict[str, Any]]] = [
        (download(0, 0, first, representations), {}),
        (download(0, 0, second, representations), {"time_s": arrival_s, "downloaded_bytes": total_bytes}),
    ]
    played = play(simulator, sim, steps)
    seen = played.observe()
    while not seen["terminated"]:
        seen = played.step(WAIT)
    stall_s = begin_s + max(arrival_s + 0.25 - (begin_s + 1), 0.0)
    expected = {"time_s": stall_s + 2, "rebuffer_s": stall_s, "quality": quality, "switch": switch, "loaded": loaded}
    assert not differences(expected, {name: seen[name] for name in expected})


def test_patience_is_that_of_the_video_at_its_start_and_in_its_middle(simulator: type[Simulator]) -> None:
    sim = make_sim([2.0, 2.0, 2.0], patience_s=np.array([1.0, 3.0, math.inf]))
    steps: list[tuple[int, dict[str, Any]]] = [
        (WAIT, {"time_s": 1.0, "video": 1, "abandoned": 1, "playback_end_s": 4.0, "reward_rebuffer": -1.0 - 1.0}),
        (download(0, 0, PROMPT), {"time_s": 1.35, "longest_stall_s": 0.35}),
        (WAIT, {"time_s": 1.85, "playing": True, "longest_stall_s": 0.85}),
        (WAIT, {"time_s": 2.85, "playing": False, "playback_end_s": 5.85, "longest_stall_s": 0.85}),
        (WAIT, {"time_s": 3.85, "longest_stall_s": 1.0}),
        (WAIT, {"time_s": 4.85, "longest_stall_s": 2.0, "abandoned": 1}),
        (WAIT, {"time_s": 5.85, "longest_stall_s": 0.0, "abandoned": 2, "video": 2, "rebuffer_s": 4.85}),
        *[(WAIT, {"video": 2, "playback_end_s": math.inf})] * 4,
        (WAIT, {"time_s": 10.85, "longest_stall_s": 5.0, "abandoned": 2}),
    ]
    play(simulator, sim, steps)


def test_energy_of_the_device_its_units_and_its_radio(simulator: type[Simulator]) -> None:
    # Idle 0.5 W; 3 W while `gpu` works, 0.2 s for a chunk; radio 2 W while a transfer is open, 0.5 J/Mbit, then 1 W for
    # 0.5 s. Both chunks of video 0 have 0.1 Mbit and take 0.35 s to fetch: 0.175 idle + 0.7 radio + 0.05 = 0.925 J.
    sim = make_sim(
        [2.0, 2.0],
        leaves=np.array([1, 0], np.uint8),
        weight_energy=0.5,
        option_decode_s=np.array([0.25, 0.2, 0.2, 0.2]),
        option_w=np.array([1.0, 3.0, 5.0, 7.0]),
        idle_w=0.5,
        radio_base_w=2.0,
        radio_j_per_mbit=0.5,
        radio_tail_w=1.0,
        radio_tail_s=0.5,
    )
    steps: list[tuple[int, dict[str, Any]]] = [
        (download(0, 0, PROMPT), {"time_s": 0.35, "energy_j": 0.925, "reward_energy": -0.4625}),
        # decoded in 0.2 s: 0.1 idle + 0.6 gpu + 0.2 tail
        (WAIT, {"time_s": 0.55, "energy_j": 1.825, "reward_energy": -0.45}),
        # played: 0.5 idle + 0.3 of the tail, which is over then
        (WAIT, {"time_s": 1.55, "energy_j": 2.625}),
        (download(0, 0, PROMPT), {"time_s": 1.9, "energy_j": 3.55}),
        # decoded: as before; the next request cuts the tail after 0.2 s
        (WAIT, {"time_s": 2.1, "energy_j": 4.45}),
        # "pixel" of video 1, requested for 1 s and flowing for 0.75 s when the session ends: 0.5 idle + 2 radio + 0.375
        (
            download(1, 0, PIXEL),
            {
                "time_s": 3.1,
                "energy_j": 7.325,
                "reward_energy": -1.4375,
                "downloaded_bytes": 118_750.0,
                "wasted_bytes": 93_750.0,
                "terminated": True,
            },
        ),
    ]
    # idle 3.1 s, gpu 0.4 s, radio 0.35 + 0.35 + 1 s, 0.1 + 0.1 + 0.75 Mbit, tails 0.5 + 0.2 s: none after the end
    assert 0.5 * 3.1 + 3 * 0.4 + 2 * 1.7 + 0.5 * 0.95 + 1 * 0.7 == pytest.approx(7.325)
    play(simulator, sim, steps)


def test_an_aborted_job_draws_power_until_the_swipe_and_a_cancelled_transfer_has_a_tail(
    simulator: type[Simulator],
) -> None:
    # At 0.35 s a job of 0.5 s begins and "pixel" is requested; at 0.75 s the viewer gives up: 2 W for 0.4 s, and the
    # radio, 4 W since 0 s, changes to its tail of 1 W. 12,500 B + 0.15 s x 125,000 B/s = 0.25 Mbit at 0.8 J.
    sim = make_sim(
        [2.0, 2.0],
        patience_s=np.array([0.75, math.inf]),
        cancel_on_swipe=True,
        option_w=np.array([0.0, 2.0, 0.0, 0.0]),
        radio_base_w=4.0,
        radio_j_per_mbit=0.8,
        radio_tail_w=1.0,
        radio_tail_s=9.0,
    )
    play(
        simulator,
        sim,
        [
            (download(0, 0, PROMPT), {"time_s": 0.35, "energy_j": 1.4 + 0.08}),
            (download(0, 0, PIXEL), {"time_s": 0.75, "energy_j": 3.0 + 0.2 + 0.8, "transfers": []}),
            (WAIT, {"time_s": 1.75, "energy_j": 5.0}),
            (download(0, 0, PROMPT), {"time_s": 2.1, "energy_j": 6.48}),
        ],
    )


def test_two_transfers_keep_one_radio_awake_and_wasted_bytes_cost_energy_too(simulator: type[Simulator]) -> None:
    # Two "pixel" chunks share the link from 0.25 to 2.25 s; the viewer gives up at 1 s, and they go on. 2 W for 2.25 s,
    # and 2 Mbit at 0.5 J.
    sim = make_sim(
        [2.0, 2.0],
        parallel_downloads=2,
        patience_s=np.array([1.0, math.inf]),
        radio_base_w=2.0,
        radio_j_per_mbit=0.5,
    )
    end = {"time_s": 2.25, "video": 1, "energy_j": 5.5, "downloaded_bytes": 250_000.0, "wasted_bytes": 250_000.0}
    play(simulator, sim, [(download(0, 0, PIXEL), {"energy_j": 0.0}), (download(0, 0, PIXEL), end)])


def test_a_decoder_is_loaded_once_for_each_unit_and_codec(simulator: type[Simulator]) -> None:
    # `gpu` takes 1 s to load the codec of "prompt" and "fine", `npu` 0.6 s. Contention and jitter of 2 touch the
    # decoding alone.
    contention = np.ones((4, 5))
    contention[NPU, 2] = 2.0
    sim = make_sim(
        [4.0],
        option_load_s=np.array([0.0, 1.0, 1.0, 0.6]),
        contention=contention,
        jitter=np.array([[2.0, 1.0, 1.0, 1.0]]),
    )
    gpu_first = (0, 0, 0.35, 1.0, 0.5, 2.35)  # 0.35 + 1 + 0.5 x 2
    npu = (0, 2, 1.25, 0.6, 0.8, 2.65)  # 1.25 + 0.6 + 0.4 x 2
    gpu_second = (0, 1, 2.35, 0.0, 0.5, 2.85)
    play(
        simulator,
        sim,
        [
            (download(0, 0, PROMPT), {"time_s": 0.35, "jobs": [None, gpu_first, None, None], "loaded": [(GPU, 1)]}),
            (download(0, 0, FINE), {"time_s": 0.9, "jobs": [None, gpu_first, None, None]}),  # 0.25 + 0.3 s
            (download(0, 0, PROMPT_NPU), {"time_s": 1.25, "jobs": [None, gpu_first, npu, None]}),
            (WAIT, {"time_s": 2.25}),
            (WAIT, {"time_s": 2.35, "jobs": [None, gpu_second, npu, None], "loaded": [(GPU, 1), (NPU, 1)]}),
            # The NPU's second job comes with the first ended: 2.35 + 0.35 s, and alone but for `gpu`
            (download(0, 0, PROMPT_NPU), {"time_s": 2.7, "jobs": [None, gpu_second, (0, 3, 2.7, 0.0, 0.8, 3.5), None]}),
        ],
    )


def test_a_decoder_stays_loaded_when_its_job_is_aborted(simulator: type[Simulator]) -> None:
    sim = make_sim([1.0, 1.0], patience_s=np.array([1.0, math.inf]), option_load_s=np.array([0.0, 1.0, 1.0, 1.0]))
    play(
        simulator,
        sim,
        [
            (download(0, 0, PROMPT), {"jobs": [None, (0, 0, 0.35, 1.0, 0.5, 1.85), None, None]}),
            (WAIT, {"time_s": 1.0, "video": 1, "jobs": [None] * 4, "loaded": [(GPU, 1)]}),
            (download(0, 0, FINE), {"time_s": 1.55, "jobs": [None, (1, 0, 1.55, 0.0, 0.5, 2.05), None, None]}),
        ],
    )


def test_a_busy_unit_is_slower_and_a_job_keeps_its_speed(simulator: type[Simulator]) -> None:
    # throttle 3 and 12 s for a chunk on `gpu`: at 12.35 s it was busy for 12 of 60 s, and takes 1 + 2 x 12/60 = 1.4
    # times as long; `npu` was idle.
    sim = make_sim([4.0], throttle=3.0, wait_s=20.0, option_decode_s=np.array([0.25, 12.0, 12.0, 12.0]))
    second = (0, 1, 12.35, 0.0, 16.8, 29.15)
    npu = (0, 2, 12.7, 0.0, 12.0, 24.7)
    play(
        simulator,
        sim,
        [
            (download(0, 0, PROMPT), {"jobs": [None, (0, 0, 0.35, 0.0, 12.0, 12.35), None, None]}),
            (download(0, 0, PROMPT), {"time_s": 0.7, "queued_s": [0.0, 12.0, 0.0, 0.0]}),
            (WAIT, {"time_s": 12.35, "jobs": [None, second, None, None]}),
            (download(0, 0, PROMPT_NPU), {"time_s": 12.7, "jobs": [None, second, npu, None]}),
            (WAIT, {"time_s": 13.35}),
            (WAIT, {"time_s": 24.7, "jobs": [None, second, None, None], "busy_s": [0.0, 24.35, 12.0, 0.0]}),
        ],
    )


def test_the_busy_share_is_even_between_marks(simulator: type[Simulator]) -> None:
    # `gpu` was busy from 0.35 to 12.35 s. At 75 s the last 60 s begin at 15 s, half-way between the marks at 10 s (9.65
    # busy seconds) and 20 s (12): 9.65 + 0.5 x 2.35 = 10.825 count as before, 1.175 as within; 12 x (1 + 2 x 1.175/60).
    sim = make_sim([4.0], throttle=3.0, wait_s=61.3, option_decode_s=np.array([0.25, 12.0, 12.0, 12.0]))
    play(
        simulator,
        sim,
        [
            (download(0, 0, PROMPT), {"time_s": 0.35}),
            (WAIT, {"time_s": 12.35}),
            (WAIT, {"time_s": 13.35}),
            (WAIT, {"time_s": 74.65}),
            (download(0, 0, PROMPT), {"jobs": [None, (0, 1, 75.0, 0.0, 12.47, 87.47), None, None]}),
        ],
    )


@pytest.mark.parametrize("max_wall_s, terminated", [(1.85, True), (1.8, False)])
def test_a_session_that_ends_as_it_would_be_cut_is_terminated_alone(
    simulator: type[Simulator], max_wall_s: float, terminated: bool
) -> None:
    # In after 0.35 s, decoded at 0.85 s, played until 1.85 s
    sim = make_sim([1.0], max_wall_s=max_wall_s)
    end = {"time_s": max_wall_s, "terminated": terminated, "truncated": not terminated, "wasted_bytes": 0.0}
    play(simulator, sim, [(download(0, 0, PROMPT), {}), (WAIT, {"time_s": 0.85}), (WAIT, end)])


@pytest.mark.parametrize("max_wall_s, terminated", [(0.75, True), (0.5, False)])
def test_impatience_may_end_a_session_as_it_would_be_cut(
    simulator: type[Simulator], max_wall_s: float, terminated: bool
) -> None:
    # With the session's end what was received is waste; a cut charges nothing
    sim = make_sim([1.0], max_wall_s=max_wall_s, patience_s=np.array([0.75]))
    end = {
        "time_s": max_wall_s,
        "terminated": terminated,
        "truncated": not terminated,
        "abandoned": int(terminated),
        "downloaded_bytes": 12_500.0,
        "wasted_bytes": 12_500.0 * terminated,
    }
    play(simulator, sim, [(download(0, 0, PROMPT), {"time_s": 0.35}), (WAIT, end)])


@pytest.mark.parametrize("videos", [5, 8])
def test_what_was_fetched_for_the_fifth_video_is_waste_at_the_end(simulator: type[Simulator], videos: int) -> None:
    # Video 0 plays from 0.85 to 1.85 s, then the viewer goes. Chunk 0 of the fifth video is decoded, chunk 1 flows
    # since 1.6 s, when its RTT ended: 0.25 s x 125,000 B/s.
    sim = make_sim([1.0] + [3.0] * (videos - 1), leaves=np.ones(videos, np.uint8))
    before = {"chunks": {(0, 0): (BEGUN, PROMPT), (4, 0): (DECODED, PROMPT)}, "time_s": 1.35, "reserved_bytes": 6e6}
    end = {
        "time_s": 1.85,
        "terminated": True,
        "downloaded_bytes": 12_500.0 + 12_500.0 + 31_250.0,
        "wasted_bytes": 12_500.0 + 31_250.0,
        "reserved_bytes": 0.0,
        "chunks": {},
        "transfers": [],
        "reward_waste": -(12_500.0 + 31_250.0) * 8e-6,
    }
    play(
        simulator,
        sim,
        [
            (download(0, 0, PROMPT), {"time_s": 0.35}),
            (
                download(4, 0, PROMPT),
                {"time_s": 0.7, "chunks": {(0, 0): (DECODING, PROMPT), (4, 0): (QUEUED, PROMPT)}},
            ),
            (WAIT, {"time_s": 0.85, "playing": True}),
            (WAIT, before),
            (download(4, 0, PIXEL), end),
        ],
    )


def test_contention_is_fixed_when_a_job_starts(simulator: type[Simulator]) -> None:
    # `gpu` alone takes 0.5 s, with another unit busy 0.75 s. `npu` begins at 0.7 s, while `gpu` works since 0.35 s: the
    # first is not slowed, the second (busy units: 2) takes 0.4 x 2 s and is not sped up when `gpu` is free.
    contention = np.ones((4, 5))
    contention[GPU, 2], contention[NPU, 2] = 1.5, 2.0
    sim = make_sim([3.0], contention=contention)
    npu = (0, 1, 0.7, 0.0, 0.8, 1.5)
    play(
        simulator,
        sim,
        [
            (download(0, 0, PROMPT), {"jobs": [None, (0, 0, 0.35, 0.0, 0.5, 0.85), None, None]}),
            (download(0, 0, PROMPT_NPU), {"jobs": [None, (0, 0, 0.35, 0.0, 0.5, 0.85), npu, None]}),
            (WAIT, {"time_s": 0.85, "jobs": [None, None, npu, None]}),
            (download(0, 0, PROMPT), {"time_s": 1.2, "jobs": [None, (0, 2, 1.2, 0.0, 0.75, 1.95), npu, None]}),
        ],
    )


def test_memory_is_that_of_the_content(simulator: type[Simulator]) -> None:
    # 3 MB a second, 11 MB in all; chunks of 2, 2 and 0.5 s: after 6 MB the second one does not fit, the short one does
    sim = make_sim([4.5], chunk_s=2.0, decoded_buffer_bytes=11e6)
    played = play(simulator, sim, [(download(0, 0, PROMPT), {"reserved_bytes": 6e6})])
    assert played.legal_actions() == [WAIT, *(download(0, 1, option) for option in range(4))]
    assert played.step(download(0, 1, PROMPT))["chunks"].keys() == {(0, 0), (0, 2)}


def test_memory_is_counted_in_whole_bytes_and_filled_to_the_last(simulator: type[Simulator]) -> None:
    # 3 MB a second and 0.7000001 s are 2,100,000.3 B: ten chunks fill 21 MB, again and again
    sim = make_sim([70.0], chunk_s=0.7000001, decoded_buffer_bytes=21e6, wait_s=0.5)
    played = simulator(sim)
    full = 0
    for _ in range(60):
        fits = download(0, 0, PROMPT) in played.legal_actions()
        seen = played.step(download(0, 0, PROMPT) if fits else WAIT)
        assert seen["reserved_bytes"] % 2_100_000 == 0
        full += seen["reserved_bytes"] == 21e6
    assert full > 10
