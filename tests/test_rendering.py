"""The timeline and its two pictures, from event logs written by hand."""

import dataclasses
import re
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from ppgym.core.events import (
    EVENT_ARRIVAL,
    EVENT_CANCEL,
    EVENT_DTYPE,
    EVENT_JOB_ABORT,
    EVENT_JOB_END,
    EVENT_JOB_START,
    EVENT_PLAY,
    EVENT_PLAY_END,
    EVENT_REQUEST,
    EVENT_SESSION_END,
    EVENT_STALL,
    EVENT_STALL_END,
    EVENT_SWIPE,
)
from ppgym.core.state import NO_ENTRY, UNIT_NAMES, Sim
from ppgym.rendering import Span, Timeline, headline, render_ansi, render_rgb, representation_colours
from tests.core.kernel import KernelSimulator
from tests.core.worlds import worlds

NPU, VDEC = 2, 3
PIXELS, PROMPT = 0, 1  # options: h264-750k on vdec, prompt-r4 on npu
TOTALS = {
    "played_s": 8.0,
    "rebuffer_s": 2.0,
    "quality": 6.0,
    "downloaded_bytes": 1_000_000.0,
    "wasted_bytes": 250_000.0,
    "videos_watched": 1,
    "return": -3.25,
}

# Two videos: 0.0 arrives as pixels and plays; 0.1 arrives as a prompt whose decode the swipe at 3 s aborts; 1.0 comes.
EPISODE = [
    (0.0, EVENT_STALL, 0, 0, NO_ENTRY, 0.0),
    (0.0, EVENT_REQUEST, 0, 0, PIXELS, 0.0),
    (0.9, EVENT_ARRIVAL, 0, 0, PIXELS, 93_750.0),
    (0.9, EVENT_JOB_START, 0, 0, PIXELS, 0.0),
    (0.9, EVENT_REQUEST, 0, 1, PROMPT, 0.0),
    (1.0, EVENT_JOB_END, 0, 0, PIXELS, 0.0),
    (1.0, EVENT_STALL_END, 0, 0, NO_ENTRY, 0.0),
    (1.0, EVENT_PLAY, 0, 0, PIXELS, 0.0),
    (1.5, EVENT_ARRIVAL, 0, 1, PROMPT, 17_616.0),
    (1.5, EVENT_JOB_START, 0, 1, PROMPT, 0.0),
    (1.5, EVENT_REQUEST, 1, 0, PIXELS, 0.0),
    (2.0, EVENT_PLAY_END, 0, 0, PIXELS, 0.0),
    (2.0, EVENT_STALL, 0, 1, NO_ENTRY, 0.0),
    (3.0, EVENT_STALL_END, 0, 1, NO_ENTRY, 0.0),
    (3.0, EVENT_SWIPE, 0, 1, NO_ENTRY, 1.0),
    (3.0, EVENT_JOB_ABORT, 0, 1, PROMPT, 0.0),
    (3.0, EVENT_STALL, 1, 0, NO_ENTRY, 0.0),
]


def new_timeline(*rows: tuple[float, int, int, int, int, float]) -> Timeline:
    timeline = Timeline([0, 1], [VDEC, NPU], ["h264-750k", "prompt-r4"], UNIT_NAMES)
    timeline.extend(np.array(list(rows), dtype=EVENT_DTYPE))
    return timeline


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_spans_of_a_hand_written_episode() -> None:
    assert new_timeline(*EPISODE).spans(until_s=4.0) == [
        Span("link", 0, 0.0, 0.9, 0, 0, 0, "transfer", False),
        Span("screen", 0, 0.0, 1.0, 0, 0, NO_ENTRY, "stall", False),
        Span("link", 0, 0.9, 1.5, 0, 1, 1, "transfer", True),
        Span("vdec", 0, 0.9, 1.0, 0, 0, 0, "decode", False),
        Span("screen", 0, 1.0, 2.0, 0, 0, 0, "play", False),
        Span("link", 0, 1.5, 4.0, 1, 0, 0, "transfer", False),  # still open: runs up to now
        Span("npu", 0, 1.5, 3.0, 0, 1, 1, "aborted", True),
        Span("screen", 0, 2.0, 3.0, 0, 1, NO_ENTRY, "stall", False),
        Span("screen", 0, 3.0, 4.0, 1, 0, NO_ENTRY, "stall", False),
    ]


def test_spans_do_not_depend_on_how_the_log_is_cut() -> None:
    whole, pieces = new_timeline(*EPISODE), new_timeline()
    for row in EPISODE:
        pieces.extend(np.array([row], dtype=EVENT_DTYPE))
    assert pieces.spans(4.0) == whole.spans(4.0)
    assert pieces.swipes == whole.swipes


def test_spans_end_at_the_time_asked_for() -> None:
    assert [(span.lane, span.end_s) for span in new_timeline(*EPISODE).spans(until_s=0.95)] == [
        ("link", 0.9),
        ("screen", 0.95),
        ("link", 0.95),
        ("vdec", 0.95),
    ]


def test_a_chunk_of_a_left_video_is_wasted_only_if_it_was_not_begun() -> None:
    timeline = new_timeline(*EPISODE[:-5])
    assert not any(span.wasted for span in timeline.spans(2.9))
    timeline.extend(np.array(EPISODE[-5:], dtype=EVENT_DTYPE))
    assert {span.label for span in timeline.spans(4.0) if span.wasted} == {"0.1"}


def test_the_sessions_end_wastes_what_was_not_begun() -> None:
    timeline = new_timeline(
        *EPISODE, (3.5, EVENT_CANCEL, 1, 0, PIXELS, 10.0), (3.5, EVENT_SESSION_END, 1, NO_ENTRY, NO_ENTRY, 0.0)
    )
    assert timeline.session_end_s == 3.5
    cancelled = next(span for span in timeline.spans(4.0) if span.kind == "cancelled")
    assert (cancelled.label, cancelled.end_s, cancelled.wasted) == ("1.0", 3.5, True)


def test_a_stall_that_ends_at_once_is_not_drawn() -> None:
    timeline = new_timeline((1.0, EVENT_STALL, 0, 3, NO_ENTRY, 0.0), (1.0, EVENT_STALL_END, 0, 3, NO_ENTRY, 0.0))
    assert timeline.spans(2.0) == []


def test_an_end_without_a_beginning_is_passed_over() -> None:
    assert new_timeline((1.0, EVENT_PLAY_END, 0, 3, PIXELS, 0.0)).spans(2.0) == []


def test_concurrent_transfers_lie_in_rows_that_never_overlap() -> None:
    rows = [(0.1 * place, EVENT_REQUEST, 0, place, PIXELS, 0.0) for place in range(8)]
    rows += [(1.0, EVENT_ARRIVAL, 0, 2, PIXELS, 1.0), (1.1, EVENT_REQUEST, 0, 8, PROMPT, 0.0)]
    spans = new_timeline(*rows).spans(2.0)
    assert [span.row for span in spans] == [0, 1, 2, 3, 4, 5, 6, 7, 2]
    for row in range(8):
        in_row = [span for span in spans if span.row == row]
        assert all(before.end_s <= after.start_s for before, after in pairwise(in_row))


def test_units_that_the_device_lacks_get_no_lane() -> None:
    timeline = Timeline([0], [VDEC], ["h264-750k"], UNIT_NAMES, units_present=[True, False, False, True])
    assert timeline.lanes == ("link", "cpu", "vdec", "screen")


@pytest.mark.kernel
@settings(max_examples=30)
@given(worlds(), some.integers(0, 2**32 - 1))
def test_spans_agree_with_the_kernels_totals(world: Sim, seed: int) -> None:
    rng = np.random.default_rng(seed)
    simulator = KernelSimulator(world)
    for _ in range(60):
        simulator.step(int(rng.choice(simulator.legal_actions())))
    state, params = simulator.state, world.params
    names = [f"h264-{index}" for index in range(len(world.catalog.memory_bytes_per_s))]
    timeline = Timeline(params.option_representation.tolist(), params.option_unit.tolist(), names, UNIT_NAMES)
    timeline.extend(np.array([dataclasses.astuple(event) for event in simulator.events], dtype=EVENT_DTYPE))

    spans = timeline.spans(float(state["time_s"]))
    for lane in timeline.lanes:
        for row in range(9):
            in_row = [span for span in spans if (span.lane, span.row) == (lane, row)]
            assert all(before.end_s <= after.start_s + 1e-9 for before, after in pairwise(in_row))

    def seconds(lane: str, *kinds: str) -> float:
        return sum(span.end_s - span.start_s for span in spans if span.lane == lane and span.kind in kinds)

    assert seconds("screen", "play") == pytest.approx(state["played_s"], abs=1e-6)
    assert seconds("screen", "stall") == pytest.approx(state["rebuffer_s"], abs=1e-6)
    busy_s = [seconds(unit, "decode", "aborted") for unit in UNIT_NAMES]
    assert busy_s == pytest.approx(state["busy_s"].tolist(), abs=1e-6)


def test_colours_tell_representations_apart() -> None:
    names = ["h264-750k", "h264-1200k", "h264-1850k", "hevc-1", "av1-1", "prompt-r4", "prompt-r8", "other-1"]
    assert len(set(representation_colours(names))) == len(names)


def test_headline_says_what_the_totals_say() -> None:
    assert headline(10.0, TOTALS) == (
        "10.0 s, videos watched: 1, return -3.2",
        "played 8.0 s at 0.75 Mbit/s, stalled 2.0 s (20%), wasted 2.0 of 8.0 Mbit",
    )


def test_headline_before_anything_has_happened() -> None:
    assert "stalled 0.0 s (0%)" in headline(0.0, dict.fromkeys(TOTALS, 0.0))[1]


def test_ansi_is_legible_without_colour() -> None:
    lines = plain(render_ansi(new_timeline(*EPISODE), 4.0, TOTALS, window_s=4.0, width=47)).splitlines()
    chart = {line.split()[0]: line[7:] for line in lines if line.split()[0] in ("link", "npu", "vdec", "screen")}
    assert chart == {  # ten columns a second
        "link": "0.0aaaaaa0.1xxx1.0aaaaaaaaaaaaaaaaaaaaaa",
        "npu": " " * 15 + "0.1" + "x" * 12 + "|",
        "vdec": " " * 9 + "a" + " " * 20 + "|",
        "screen": "!" * 10 + "0.0aaaaaaa" + "!" * 10 + "|" + "!" * 9,
    }
    assert "a h264-750k  b prompt-r4" in lines[-2]


@pytest.mark.parametrize("now_s", [0.0, 0.05, 3.0, 4.0, 19.99, 20.0, 23.0, 500.0])
@pytest.mark.parametrize("width", [40, 80, 120])
def test_ansi_keeps_to_its_width(now_s: float, width: int) -> None:
    lines = plain(render_ansi(new_timeline(*EPISODE), now_s, TOTALS, width=width)).splitlines()
    assert max(map(len, lines)) <= width


def test_ansi_stacks_concurrent_transfers() -> None:
    timeline = new_timeline((0.0, EVENT_REQUEST, 0, 0, PIXELS, 0.0), (1.0, EVENT_REQUEST, 0, 1, PROMPT, 0.0))
    lines = plain(render_ansi(timeline, 3.0, TOTALS)).splitlines()
    place = next(place for place, line in enumerate(lines) if line.startswith("link"))
    assert "0.0" in lines[place] and "0.1" in lines[place + 1] and lines[place + 2].startswith("cpu")


def test_rgb_is_a_picture_of_the_size_asked_for() -> None:
    pixels = render_rgb(new_timeline(*EPISODE), 4.0, TOTALS, size=(640, 400))
    assert pixels.shape == (400, 640, 3)
    assert pixels.dtype == np.uint8
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50


def test_rgb_changes_with_time_and_not_otherwise() -> None:
    timeline = new_timeline(*EPISODE)
    picture = render_rgb(timeline, 4.0, TOTALS)
    assert np.array_equal(picture, render_rgb(timeline, 4.0, TOTALS))
    assert not np.array_equal(picture, render_rgb(timeline, 2.5, TOTALS))


def test_rgb_without_matplotlib_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # what makes an import fail
    with pytest.raises(ImportError, match=r"pip install '\.\[bench\]'"):
        render_rgb(new_timeline(), 0.0, TOTALS)
