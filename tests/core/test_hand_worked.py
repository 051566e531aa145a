"""One session worked out by hand, every field asserted after every step.

The link: 1 Mbit/s = 125,000 B/s throughout (the trace carries 2 Mbit/s, the efficiency is 0.5); RTT 0.5 s; two
downloads at a time. Two options: "pixel" (125,000 B, 1 s of the whole link; 0.25 s on `vdec`; quality 2; memory 3 MB)
and "prompt" (12,500 B, 0.1 s of the whole link; 1.2 s on `gpu`; quality 1; memory 2 MB). Memory for 17 MB. A job that
starts while the other unit works takes longer: by 1.5 on `gpu`, by 2 on `vdec`. The units alone draw power, 0.5 W on
`gpu` and 0.25 W on `vdec`.

Feed: video 0 has 5 chunks and is watched for 1.5 s, video 1 has 3 and is watched for 2 s, then the viewer leaves; video
2 has 2 and is never seen. Chunk 2 of video 0 takes twice the usual to decode (jitter).

     t     link                                gpu             vdec           screen
    0.0    A = (0,0) pixel and B = (0,1)                                      waits for (0,0)
           prompt requested
    0.5    A and B flow, 62,500 B/s each
    0.7    B is in (A: 12,500 B);              B begins
           C = (0,2) prompt requested
    1.2    A has 75,000 B; A and C share
    1.4    C is in (A: 87,500 B);              C queues
           D = (1,0) pixel requested
    1.7    A is in                                             A begins (x 2)
    1.9    D flows                             B done: before A, though requested after it
                                               C begins (x 1.5 x jitter 2 = 3.6 s)
           E = (0,3) prompt requested
    2.2                                                        A done         (0,0) plays: start-up took 2.2 s
    2.4    D has 62,500 B; D and E share
    2.6    E is in (D: 75,000 B);              E queues
           F = (0,4) pixel requested
    3.0    D is in                                             D begins (x 2)
           G = (1,1) prompt requested
    3.1    F flows
    3.2                                                                       (0,1) plays: a switch from 2 to 1
    3.5    F has 50,000 B; F and G share                       D done
    3.7    G is in (F: 62,500 B), queues       the viewer leaves video 0:
                                               C aborted, E dropped: 25,000 B wasted, F's 62,500 B too; F flows on
                                               G begins                       (1,0) plays: a switch from 1 to 2
    4.2    F is in: 62,500 B more wasted
           H = (2,0) pixel requested
    4.7    H flows                                                            stall: (1,1) is not decoded
    4.9                                        G done                         (1,1) plays: a switch from 2 to 1
    5.65   H has 118,750 B; I = (2,1) prompt requested
    5.7    H is in                                             H begins
    5.9    the watch time ends with the chunk; the session ends: H aborted and wasted, I cancelled with nothing received
"""

import math
from typing import Any

import numpy as np
import pytest

from ppgym.core.state import BEGUN, DECODED, DECODING, IN_FLIGHT, QUEUED, CatalogArrays, Episode, Params, Sim
from tests.core.kernel import KernelSimulator, differences
from tests.core.naive import NaiveSimulator

pytestmark = pytest.mark.kernel

PIXEL, PROMPT = 0, 1
GPU, VDEC = 1, 3
INVALID = 41  # one past the last index


def download(slot: int, lookahead: int, option: int) -> int:
    return 1 + (slot * 4 + lookahead) * 2 + option


def all_of(*candidates: int, options: tuple[int, ...] = (PIXEL, PROMPT)) -> list[int]:
    """WAIT and the given options of the first so many candidates of each slot."""
    return [0] + [
        download(slot, lookahead, option)
        for slot, count in enumerate(candidates)
        for lookahead in range(count)
        for option in options
    ]


def world() -> Sim:
    contention = np.ones((4, 5))
    contention[GPU, 2] = 1.5
    contention[VDEC, 2] = 2.0
    params = Params(
        chunk_s=1.0,
        rtt_s=0.5,
        link_efficiency=0.5,
        wait_s=0.75,
        decoded_buffer_bytes=17e6,
        charge_thinking_s=0.0,
        parallel_downloads=2,
        cancel_on_swipe=False,
        weight_quality=1.0,
        weight_rebuffer=2.0,
        weight_switch=0.5,
        weight_waste=3.0,
        weight_download=0.25,
        weight_abandon=18.5,
        weight_energy=1.0,
        top_quality=1.85,
        reference_bps=1.85e6,
        option_representation=np.array([0, 1], dtype=np.int32),
        option_unit=np.array([VDEC, GPU], dtype=np.int32),
        option_usable=np.ones(2, dtype=np.uint8),
        option_decode_s=np.array([0.25, 1.2]),
        option_codec=np.array([PIXEL, PROMPT], dtype=np.int32),
        option_generative=np.array([0, 1], dtype=np.uint8),
        option_load_s=np.zeros(2),
        option_w=np.array([0.25, 0.5]),
        contention=contention,
        throttle=1.0,
        idle_w=0.0,
        radio_base_w=0.0,
        radio_j_per_mbit=0.0,
        radio_tail_w=0.0,
        radio_tail_s=0.0,
    )
    n_chunks = np.array([5, 3, 2], dtype=np.int32)
    exists = np.arange(5)[None, :, None] < n_chunks[:, None, None]
    catalog = CatalogArrays(
        n_chunks=n_chunks,
        duration_s=n_chunks.astype(np.float64),
        chunk_bytes=np.where(exists, np.array([125_000.0, 12_500.0]), 0.0),
        quality=np.where(exists, np.array([2.0, 1.0]), 0.0),
        memory_bytes_per_s=np.array([3e6, 2e6]),
        retention=np.where(np.arange(6)[None, :] <= n_chunks[:, None], 1.0, 0.0),
    )
    jitter = np.ones((3, 5))
    jitter[0, 2] = 2.0
    episode = Episode(
        playlist=np.array([0, 1, 2], dtype=np.int32),
        watch_s=np.array([1.5, 2.0, 2.0]),
        leaves=np.array([0, 1, 0], dtype=np.uint8),
        patience_s=np.full(3, math.inf),
        jitter=jitter,
        link_time_s=np.array([0.0, 1.5, 4.0]),  # wraps at 3 s: the offset is 1 s
        link_bits=np.array([0.0, 3e6, 8e6]),
        link_offset_s=1.0,
        max_wall_s=110.0,
    )
    return Sim(params, catalog, episode)


START: dict[str, Any] = {
    "time_s": 0.0,
    "played_s": 0.0,
    "rebuffer_s": 0.0,
    "longest_stall_s": 0.0,
    "quality": 0.0,
    "switch": 0.0,
    "downloaded_bytes": 0.0,
    "wasted_bytes": 0.0,
    "busy_s": [0.0, 0.0, 0.0, 0.0],
    "energy_j": 0.0,
    "loaded": [],
    "videos_watched": 0,
    "abandoned": 0,
    "chunks_begun": 0,
    "begun_quality": 0.0,
    "invalid_action": False,
    "terminated": False,
    "truncated": False,
    "video": 0,
    "playhead": 0,
    "playing": False,
    "playback_since_s": 0.0,
    "playback_end_s": math.inf,
    "reserved_bytes": 0.0,
    "chunks": {},
    "transfers": [],
    "received_bytes": [],
    "jobs": [None, None, None, None],
    "queues": [[], [], [], []],
    "queued_s": [0.0, 0.0, 0.0, 0.0],
    "throughputs": [],
}

# (legal before it, action, what is new in the state, (quality, stall, switch, waste and download, energy) of the step)
STEPS: list[tuple[list[int], int, dict[str, Any], tuple[float, float, float, float, float]]] = [
    (
        all_of(4, 3, 2),
        download(0, 0, PIXEL),  # A; a slot is left, so the next decision follows at once
        {
            "chunks": {(0, 0): (IN_FLIGHT, PIXEL)},
            "transfers": [(0, 0, PIXEL, 0.0)],
            "received_bytes": [0.0],
            "reserved_bytes": 3e6,
        },
        (0.0, 0.0, 0.0, 0.0, 0.0),
    ),
    (
        all_of(4, 3, 2),
        download(0, 0, PROMPT),  # B: the first candidate is now chunk 1
        {
            "time_s": 0.7,
            "rebuffer_s": 0.7,
            "longest_stall_s": 0.7,
            "downloaded_bytes": 25_000.0,  # 0.2 s of the link
            "chunks": {(0, 0): (IN_FLIGHT, PIXEL), (0, 1): (DECODING, PROMPT)},
            "transfers": [(0, 0, PIXEL, 0.0)],
            "received_bytes": [12_500.0],
            "reserved_bytes": 5e6,
            "jobs": [None, (0, 1, 0.7, 0.0, 1.2, 1.9), None, None],
            "loaded": [(GPU, PROMPT)],
            "throughputs": [(0.7, 500_000.0)],  # 100,000 bits in 0.2 s
        },
        (0.0, -1.4, 0.0, -0.25 * 0.2, 0.0),
    ),
    (
        all_of(3, 3, 2),
        download(0, 0, PROMPT),  # C
        {
            "time_s": 1.4,
            "rebuffer_s": 1.4,
            "longest_stall_s": 1.4,
            "downloaded_bytes": 112_500.0,  # 0.7 s more
            "busy_s": [0.0, 0.7, 0.0, 0.0],
            "energy_j": 0.35,
            "chunks": {(0, 0): (IN_FLIGHT, PIXEL), (0, 1): (DECODING, PROMPT), (0, 2): (QUEUED, PROMPT)},
            "transfers": [(0, 0, PIXEL, 0.0)],
            "received_bytes": [87_500.0],
            "reserved_bytes": 7e6,
            "queues": [[], [(0, 2)], [], []],
            "queued_s": [0.0, 1.2, 0.0, 0.0],
            "throughputs": [(0.7, 500_000.0), (1.4, 500_000.0)],
        },
        (0.0, -1.4, 0.0, -0.25 * 0.7, -0.35),
    ),
    (
        all_of(2, 3, 2),
        download(1, 0, PIXEL),  # D
        {
            "time_s": 1.7,
            "rebuffer_s": 1.7,
            "longest_stall_s": 1.7,
            "downloaded_bytes": 150_000.0,  # 0.3 s more, all A's
            "busy_s": [0.0, 1.0, 0.0, 0.0],
            "energy_j": 0.5,
            "chunks": {
                (0, 0): (DECODING, PIXEL),
                (0, 1): (DECODING, PROMPT),
                (0, 2): (QUEUED, PROMPT),
                (1, 0): (IN_FLIGHT, PIXEL),
            },
            "transfers": [(1, 0, PIXEL, 1.4)],
            "received_bytes": [0.0],
            "reserved_bytes": 10e6,
            "jobs": [None, (0, 1, 0.7, 0.0, 1.2, 1.9), None, (0, 0, 1.7, 0.0, 0.5, 2.2)],
            "loaded": [(GPU, PROMPT), (VDEC, PIXEL)],
            "throughputs": [(0.7, 500_000.0), (1.4, 500_000.0), (1.7, 1e6 / 1.2)],
        },
        (0.0, -0.6, 0.0, -0.25 * 0.3, -0.15),
    ),
    (
        all_of(2, 2, 2),
        0,  # until B is decoded, before A, at the moment that D begins to flow
        {
            "time_s": 1.9,
            "rebuffer_s": 1.9,
            "longest_stall_s": 1.9,
            "busy_s": [0.0, 1.2, 0.0, 0.2],
            "energy_j": 0.65,
            "chunks": {
                (0, 0): (DECODING, PIXEL),
                (0, 1): (DECODED, PROMPT),
                (0, 2): (DECODING, PROMPT),
                (1, 0): (IN_FLIGHT, PIXEL),
            },
            "jobs": [None, (0, 2, 1.9, 0.0, 1.8, 5.5), None, (0, 0, 1.7, 0.0, 0.5, 2.2)],
            "queues": [[], [], [], []],
            "queued_s": [0.0, 0.0, 0.0, 0.0],
        },
        (0.0, -0.4, 0.0, 0.0, -0.1 - 0.05),
    ),
    (
        all_of(2, 2, 2),
        download(0, 0, PROMPT),  # E; both slots are taken, so neither the end of decode nor the play at 2.2 s ends it
        {
            "time_s": 2.6,
            "played_s": 0.4,
            "rebuffer_s": 2.2,
            "longest_stall_s": 2.2,
            "quality": 0.8,
            "downloaded_bytes": 237_500.0,  # 0.7 s more
            "busy_s": [0.0, 1.9, 0.0, 0.5],
            "energy_j": 1.075,
            "chunks_begun": 1,
            "begun_quality": 2.0,
            "playing": True,
            "playback_since_s": 2.2,
            "playback_end_s": 3.2,
            "chunks": {
                (0, 0): (BEGUN, PIXEL),
                (0, 1): (DECODED, PROMPT),
                (0, 2): (DECODING, PROMPT),
                (0, 3): (QUEUED, PROMPT),
                (1, 0): (IN_FLIGHT, PIXEL),
            },
            "transfers": [(1, 0, PIXEL, 1.4)],
            "received_bytes": [75_000.0],
            "reserved_bytes": 12e6,
            "jobs": [None, (0, 2, 1.9, 0.0, 1.8, 5.5), None, None],
            "queues": [[], [(0, 3)], [], []],
            "queued_s": [0.0, 1.2, 0.0, 0.0],
            "throughputs": [(0.7, 500_000.0), (1.4, 500_000.0), (1.7, 1e6 / 1.2), (2.6, 500_000.0)],
        },
        (0.8, -0.6, 0.0, -0.25 * 0.7, -0.35 - 0.075),
    ),
    (
        all_of(1, 2, 2),
        download(0, 0, PIXEL),  # F
        {
            "time_s": 3.0,
            "played_s": 0.8,
            "quality": 1.6,
            "downloaded_bytes": 287_500.0,  # 0.4 s more, all D's
            "busy_s": [0.0, 2.3, 0.0, 0.5],
            "energy_j": 1.275,
            "chunks": {
                (0, 0): (BEGUN, PIXEL),
                (0, 1): (DECODED, PROMPT),
                (0, 2): (DECODING, PROMPT),
                (0, 3): (QUEUED, PROMPT),
                (0, 4): (IN_FLIGHT, PIXEL),
                (1, 0): (DECODING, PIXEL),
            },
            "transfers": [(0, 4, PIXEL, 2.6)],
            "received_bytes": [0.0],
            "reserved_bytes": 15e6,
            "jobs": [None, (0, 2, 1.9, 0.0, 1.8, 5.5), None, (1, 0, 3.0, 0.0, 0.5, 3.5)],
            "throughputs": [
                (0.7, 500_000.0),
                (1.4, 500_000.0),
                (1.7, 1e6 / 1.2),
                (2.6, 500_000.0),
                (3.0, 1e6 / 1.1),
            ],
        },
        (0.8, 0.0, 0.0, -0.25 * 0.4, -0.2),
    ),
    (
        all_of(0, 2, 2, options=(PROMPT,)),  # 2 of 17 MB are free, and the playhead's chunk is not to be had any more
        download(1, 0, PROMPT),  # G, until it arrives: in the instant of the swipe
        {
            "time_s": 3.7,
            "played_s": 1.5,
            "quality": 2.5,  # 0.2 s of quality 2, then 0.5 s of quality 1
            "switch": 2.0,  # 2 to 1 to 2
            "downloaded_bytes": 362_500.0,  # 0.6 s more
            "wasted_bytes": 87_500.0,  # C, E and what F had received
            "busy_s": [0.0, 3.0, 0.0, 1.0],
            "energy_j": 1.75,
            "videos_watched": 1,
            "longest_stall_s": 0.0,
            "chunks_begun": 3,
            "begun_quality": 2.0,
            "video": 1,
            "playback_since_s": 3.7,
            "playback_end_s": 4.7,
            "chunks": {(1, 0): (BEGUN, PIXEL), (1, 1): (DECODING, PROMPT)},
            "transfers": [(0, 4, PIXEL, 2.6)],
            "received_bytes": [62_500.0],
            "reserved_bytes": 5e6,
            "jobs": [None, (1, 1, 3.7, 0.0, 1.2, 4.9), None, None],
            "queues": [[], [], [], []],
            "queued_s": [0.0, 0.0, 0.0, 0.0],
            "throughputs": [
                (0.7, 500_000.0),
                (1.4, 500_000.0),
                (1.7, 1e6 / 1.2),
                (2.6, 500_000.0),
                (3.0, 1e6 / 1.1),
                (3.7, 500_000.0),
            ],
        },
        (0.9, 0.0, -1.0, -3.0 * 0.7 - 0.25 * 0.6, -0.35 - 0.125),
    ),
    (
        all_of(1, 2),
        0,  # until the transfer of the video that was left is in
        {
            "time_s": 4.2,
            "played_s": 2.0,
            "quality": 3.5,
            "downloaded_bytes": 425_000.0,
            "wasted_bytes": 150_000.0,
            "busy_s": [0.0, 3.5, 0.0, 1.0],
            "energy_j": 2.0,
            "transfers": [],
            "received_bytes": [],
            "throughputs": [
                (0.7, 500_000.0),
                (1.4, 500_000.0),
                (1.7, 1e6 / 1.2),
                (2.6, 500_000.0),
                (3.0, 1e6 / 1.1),
                (3.7, 500_000.0),
                (4.2, 1e6 / 1.1),
            ],
        },
        (1.0, 0.0, 0.0, -3.0 * 0.5 - 0.25 * 0.5, -0.25),
    ),
    (
        all_of(1, 2),
        download(1, 0, PIXEL),  # H; at once
        {
            "chunks": {(1, 0): (BEGUN, PIXEL), (1, 1): (DECODING, PROMPT), (2, 0): (IN_FLIGHT, PIXEL)},
            "transfers": [(2, 0, PIXEL, 4.2)],
            "received_bytes": [0.0],
            "reserved_bytes": 8e6,
        },
        (0.0, 0.0, 0.0, 0.0, 0.0),
    ),
    (
        all_of(1, 1),
        0,  # until the chunk is over
        {
            "time_s": 4.7,
            "played_s": 2.5,
            "quality": 4.5,
            "busy_s": [0.0, 4.0, 0.0, 1.0],
            "energy_j": 2.25,
            "playhead": 1,
            "playing": False,
            "playback_since_s": 4.7,
            "playback_end_s": math.inf,
            "chunks": {(1, 1): (DECODING, PROMPT), (2, 0): (IN_FLIGHT, PIXEL)},
            "reserved_bytes": 5e6,
        },
        (1.0, 0.0, 0.0, 0.0, -0.25),
    ),
    (
        all_of(1, 1),
        0,  # until the stall is over
        {
            "time_s": 4.9,
            "rebuffer_s": 2.4,
            "longest_stall_s": 0.2,
            "switch": 3.0,
            "downloaded_bytes": 450_000.0,
            "busy_s": [0.0, 4.2, 0.0, 1.0],
            "energy_j": 2.35,
            "chunks_begun": 4,
            "begun_quality": 1.0,
            "playing": True,
            "playback_since_s": 4.9,
            "playback_end_s": 5.9,
            "chunks": {(1, 1): (BEGUN, PROMPT), (2, 0): (IN_FLIGHT, PIXEL)},
            "transfers": [(2, 0, PIXEL, 4.2)],
            "received_bytes": [25_000.0],
            "jobs": [None, None, None, None],
        },
        (0.0, -0.4, -0.5, -0.25 * 0.2, -0.1),
    ),
    (
        all_of(1, 1),
        INVALID,  # waits for 0.75 s
        {
            "time_s": 5.65,
            "played_s": 3.25,
            "quality": 5.25,
            "downloaded_bytes": 543_750.0,
            "invalid_action": True,
            "transfers": [(2, 0, PIXEL, 4.2)],
            "received_bytes": [118_750.0],
        },
        (0.75, 0.0, 0.0, -0.25 * 0.75, 0.0),
    ),
    (
        all_of(1, 1),
        download(1, 0, PROMPT),  # I
        {
            "time_s": 5.7,
            "played_s": 3.3,
            "quality": 5.3,
            "downloaded_bytes": 550_000.0,
            "invalid_action": False,
            "chunks": {(1, 1): (BEGUN, PROMPT), (2, 0): (DECODING, PIXEL), (2, 1): (IN_FLIGHT, PROMPT)},
            "transfers": [(2, 1, PROMPT, 5.65)],
            "received_bytes": [0.0],
            "reserved_bytes": 7e6,
            "jobs": [None, None, None, (2, 0, 5.7, 0.0, 0.25, 5.95)],
            "throughputs": [
                (0.7, 500_000.0),
                (1.4, 500_000.0),
                (1.7, 1e6 / 1.2),
                (2.6, 500_000.0),
                (3.0, 1e6 / 1.1),
                (3.7, 500_000.0),
                (4.2, 1e6 / 1.1),
                (5.7, 1e6),
            ],
        },
        (0.05, 0.0, 0.0, -0.25 * 0.05, 0.0),
    ),
    (
        all_of(1),
        0,  # until the end; chunk 2 of video 1 does not begin
        {
            "time_s": 5.9,
            "played_s": 3.5,
            "quality": 5.5,
            "wasted_bytes": 275_000.0,
            "busy_s": [0.0, 4.2, 0.0, 1.2],
            "energy_j": 2.4,
            "videos_watched": 2,
            "longest_stall_s": 0.0,
            "terminated": True,
            "video": 2,
            "playhead": 0,
            "playing": False,
            "playback_since_s": 5.9,
            "playback_end_s": math.inf,
            "chunks": {},
            "transfers": [],
            "received_bytes": [],
            "reserved_bytes": 0.0,
            "jobs": [None, None, None, None],
        },
        (0.2, 0.0, 0.0, -3.0 * 1.0, -0.05),
    ),
]


@pytest.mark.parametrize("simulator", [NaiveSimulator, KernelSimulator])
def test_a_session_worked_out_by_hand(simulator: type[NaiveSimulator] | type[KernelSimulator]) -> None:
    sim = simulator(world())
    expected = dict(START)
    assert not differences(expected, sim.reset())
    for number, (legal, action, news, terms) in enumerate(STEPS):
        assert sim.legal_actions() == legal, f"before step {number}"
        expected |= news
        names = ("reward_quality", "reward_rebuffer", "reward_switch", "reward_waste", "reward_energy")
        reward = dict(zip(names, terms, strict=True)) | {"reward": sum(terms)}
        found = differences(expected | reward, sim.step(action))
        assert not found, "\n".join([f"step {number}", *found])
    assert sim.legal_actions() == [0]
    # Every byte is accounted for: A, B, D and G were played, the rest is waste. All time is play or stall.
    assert expected["downloaded_bytes"] == expected["wasted_bytes"] + 2 * 125_000 + 2 * 12_500
    assert expected["time_s"] == expected["played_s"] + expected["rebuffer_s"]


@pytest.mark.parametrize("simulator", [NaiveSimulator, KernelSimulator])
@pytest.mark.parametrize("patience_s", [2.1, 2.2])
def test_patience_ends_a_video_unless_it_plays_in_that_instant(
    simulator: type[NaiveSimulator] | type[KernelSimulator], patience_s: float
) -> None:
    params, catalog, episode = world()
    sim = simulator(
        Sim(params._replace(cancel_on_swipe=True), catalog, episode._replace(patience_s=np.full(3, patience_s)))
    )
    for _, action, _, _ in STEPS[:5]:
        sim.step(action)
    seen = sim.step(download(0, 0, PROMPT))  # E at 1.9 s; A is decoded at 2.2 s
    if patience_s == 2.2:
        assert (seen["abandoned"], seen["video"], seen["playing"]) == (0, 0, True)
        return
    # E is cancelled with nothing received, which frees a slot. A, B and C are in and were not begun.
    assert (seen["abandoned"], seen["video"], seen["playing"]) == (1, 1, False)
    assert not differences([2.1, 2.1, 2.1], [seen["time_s"], seen["rebuffer_s"], seen["playback_since_s"]])
    assert not differences(-2.0 * 0.2 - 18.5, seen["reward_rebuffer"])
    assert seen["wasted_bytes"] == 150_000
    assert not differences([(1, 0, PIXEL, 1.4), 25_000.0], seen["transfers"] + seen["received_bytes"])
    assert seen["jobs"] == [None] * 4 and seen["queues"] == [[]] * 4
    assert seen["reserved_bytes"] == 3e6


@pytest.mark.parametrize("simulator", [NaiveSimulator, KernelSimulator])
def test_thinking_takes_time_before_an_action_has_effect(
    simulator: type[NaiveSimulator] | type[KernelSimulator],
) -> None:
    params, catalog, episode = world()
    thinker = params._replace(charge_thinking_s=0.3)
    sim = simulator(Sim(thinker, catalog, episode))
    assert not differences(1.05, sim.step(0)["time_s"])
    seen = sim.step(download(0, 0, PIXEL))
    assert not differences([(0, 0, PIXEL, 1.35), 0.0], seen["transfers"] + seen["received_bytes"])
    assert not differences(1.35, seen["time_s"])
    seen = sim.step(download(0, 0, PROMPT))  # (0, 1) at 1.65 s; flows from 2.15 s, when (0, 0) has 37,500 B
    assert not differences([(0, 0, PIXEL, 1.35), 50_000.0], seen["transfers"] + seen["received_bytes"])
    assert not differences([(2.35, 500_000.0)], seen["throughputs"])

    # The viewer leaves video 0 at 0.2 s, while the client thinks: the download of it becomes a WAIT. It ends at 0.4 s,
    # when the viewer leaves video 1.
    sim = simulator(
        Sim(thinker, catalog, episode._replace(patience_s=np.full(3, 0.2), leaves=np.zeros(3, dtype=np.uint8)))
    )
    seen = sim.step(download(0, 0, PIXEL))
    assert (seen["video"], seen["transfers"], seen["invalid_action"]) == (2, [], False)
    assert not differences(0.4, seen["time_s"])


@pytest.mark.parametrize("simulator", [NaiveSimulator, KernelSimulator])
def test_without_an_rtt_transfers_share_the_link_from_their_requests_on(
    simulator: type[NaiveSimulator] | type[KernelSimulator],
) -> None:
    params, catalog, episode = world()
    sim = simulator(Sim(params._replace(rtt_s=0.0), catalog, episode))
    sim.step(download(0, 0, PROMPT))
    seen = sim.step(download(0, 0, PROMPT))  # 12,500 B each, at 62,500 B/s each
    assert not differences([0.2, 25_000.0], [seen["time_s"], seen["downloaded_bytes"]])
    assert not differences([(0.2, 500_000.0), (0.2, 500_000.0)], seen["throughputs"])


@pytest.mark.parametrize("simulator", [NaiveSimulator, KernelSimulator])
def test_what_flows_while_the_client_thinks_is_accounted_for(
    simulator: type[NaiveSimulator] | type[KernelSimulator],
) -> None:
    params, catalog, episode = world()
    sim = simulator(Sim(params._replace(charge_thinking_s=1.0, parallel_downloads=3), catalog, episode))
    sim.step(download(0, 0, PIXEL))  # requested at 1 s, flows from 1.5 s
    seen = sim.step(download(0, 0, PIXEL))  # requested at 2 s, flows from 2.5 s
    assert not differences([2.0, 62_500.0], [seen["time_s"], seen["downloaded_bytes"]])
    assert not differences([62_500.0, 0.0], seen["received_bytes"])
    seen = sim.step(0)  # both chunks have the link to themselves; the first is in while the client thinks
    assert not differences([(2.5, 1e6), (3.5, 1e6)], seen["throughputs"])
