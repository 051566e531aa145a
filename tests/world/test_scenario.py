"""Scenarios: names, overrides, presets, what is refused, and the distribution of the episodes."""

import doctest
import os
import re
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import ppgym
from ppgym.world.generators import PUBLIC
from ppgym.world.ladders import Ladder
from ppgym.world.qoe_weights import QoEWeights
from ppgym.world.scenario import Scenario, make_rng, make_world, sample_episode
from ppgym.world.viewers import ViewerProfile


def test_the_option_table_is_the_same_on_every_device() -> None:
    tables = [
        make_world(Scenario.parse(f"low/{device}/typical")).options
        for device in ("snapdragon-8-gen-2", "snapdragon-8-gen-3", "snapdragon-8-elite", "rtx-4090", "pixels-only")
    ]
    names = [option.name for option in tables[0]]
    assert names[:2] == ["h264-750k@cpu", "h264-750k@vdec"]
    assert names[-3:] == ["prompt-r16@cpu", "prompt-r16@gpu", "prompt-r16@npu"]
    assert all([option.name for option in table] == names for table in tables)
    usable = {option.name for option in tables[-1] if option.usable}
    assert usable == {name for name in names if name.startswith("h264")}


def test_options_slower_than_the_limit_are_illegal() -> None:
    elite = make_world(Scenario.parse(max_decode_s=2.0))
    assert {o.unit for o in elite.options if o.usable and o.codec == "prompt"} == {"npu"}
    faster = make_world(Scenario.parse(max_decode_s=9.0))
    assert {o.unit for o in faster.options if o.usable and o.codec == "prompt"} == {"npu", "gpu"}
    with pytest.raises(ValueError, match="at least one pair of codec and unit within max_decode_s"):
        make_world(Scenario.parse(max_decode_s=1e-6))


def test_a_faster_device_decodes_prompts_alone_faster() -> None:
    usual, faster = make_world(Scenario.parse()), make_world(Scenario.parse(generative_speed_scale=4.0))
    for before, after in zip(usual.options, faster.options, strict=True):
        assert after.decode_s == (before.decode_s / 4.0 if before.codec == "prompt" else before.decode_s)
    np.testing.assert_array_equal(faster.params.option_decode_s, [option.decode_s for option in faster.options])
    rows = {(row.codec, row.unit): row for row in faster.profile.rows}
    assert rows["prompt", "npu"].provenance == "assumption" and "/ 4" in rows["prompt", "npu"].formula
    slower = make_world(Scenario.parse(generative_speed_scale=0.5))
    assert {o.unit for o in slower.options if o.usable and o.codec == "prompt"} == {"npu"}, "the GPU takes 16 s"


def test_a_scaled_network_carries_as_many_times_the_bits_and_nothing_else_changes() -> None:
    worlds = [make_world(Scenario.parse(**overrides)) for overrides in ({}, {"bandwidth_scale": 2.5})]
    usual, scaled = (sample_episode(world, make_rng(3, "train")) for world in worlds)
    np.testing.assert_allclose(scaled.link_bits, 2.5 * usual.link_bits, rtol=1e-15)
    for name in ("link_time_s", "link_offset_s", "playlist", "watch_s", "jitter"):
        np.testing.assert_array_equal(getattr(scaled, name), getattr(usual, name))


def test_worlds_share_their_traces_and_a_secret_makes_fresh_ones() -> None:
    usual, other, fresh, again = (
        make_world(Scenario.parse(f"low/{device}/typical"), "test", secret)
        for device, secret in (("rtx-4090", PUBLIC), ("h200", PUBLIC), ("rtx-4090", 2**200), ("h200", 2**200))
    )
    assert usual.links.bits is other.links.bits
    assert fresh.links.bits is again.links.bits
    assert fresh.links.bits.shape == usual.links.bits.shape
    assert not np.array_equal(fresh.links.bits, usual.links.bits)
    np.testing.assert_array_equal(fresh.catalog.chunk_bytes, again.catalog.chunk_bytes)
    assert {v.tobytes() for v in fresh.catalog.chunk_bytes}.isdisjoint(v.tobytes() for v in usual.catalog.chunk_bytes)


def test_overrides_are_plain_json() -> None:
    scenario = Scenario.parse(
        "5g/rtx-4090/sticky",
        qoe={"waste": 0.25, "energy": 0.1},
        patience=[2, 5],
        contention=[[1.0] * 5] * 4,
    )
    assert scenario.qoe == QoEWeights(waste=0.25, energy=0.1)
    assert scenario.patience_table == ((2, 1), (5, 0))
    assert hash(scenario) == hash(Scenario.parse("5g/rtx-4090/sticky", **vars(scenario) | {"network": "5g"}))
    params = make_world(Scenario.parse(qoe="mmgc2022")).params
    assert (params.weight_waste, params.weight_download, params.weight_rebuffer) == (0.0, 0.5, 1.85)


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("lo/snapdragon-8-elite/typical", {}, "unknown network 'lo'.*low"),
        ("low/snapdragon-8-elit/typical", {}, "unknown device.*snapdragon-8-elite"),
        ("low/snapdragon-8-elite/typicl", {}, "unknown viewer.*typical"),
        ("low", {}, "network/device/viewer"),
        ("low/pixels-only/typical", {"rtt": 1}, "rtt: unknown key; did you mean 'rtt_s'"),
        ("low/pixels-only/typical", {"rtt_s": -0.1}, "rtt_s: expected"),
        ("low/pixels-only/typical", {"rtt_s": 61}, "rtt_s: expected"),
        ("low/pixels-only/typical", {"rtt_s": True}, "rtt_s: expected"),
        ("low/pixels-only/typical", {"rtt_s": float("nan")}, "rtt_s: expected"),
        ("low/pixels-only/typical", {"bandwidth_scale": 0.0}, "bandwidth_scale: expected"),
        ("low/pixels-only/typical", {"generative_speed_scale": -1.0}, "generative_speed_scale: expected"),
        ("low/pixels-only/typical", {"parallel_downloads": 9}, "parallel_downloads: expected less than or equal to 8"),
        ("low/pixels-only/typical", {"parallel_downloads": 1.5}, "parallel_downloads: expected a valid integer"),
        ("low/pixels-only/typical/pixel", {}, "unknown ladder 'pixel'.*pixels"),
        ("low/pixels-only/typical", {"ladder": 3}, "ladder: expected the name, path or content.*got 3"),
        (
            "low/pixels-only/typical",
            {"decoded_buffer_bytes": 0},
            "decoded_buffer_bytes: expected greater than or equal to 1, got 0",
        ),
        ("low/pixels-only/typical", {"audio_bps": -1}, "audio_bps: expected greater than or equal to 0, got -1"),
        ("low/pixels-only/typical", {"throttle": 0.5}, r"throttle: expected .*got 0\.5"),
        ("low/pixels-only/typical", {"patience": [[1.0, 1.0], [2.0, 1e-301]]}, "patience: expected .*shares that fall"),
        ("low/pixels-only/typical", {"patience_same": 1.5}, r"patience_same: expected .*got 1\.5"),
        ("low/pixels-only/typical", {"qoe": "mmgc2002"}, "qoe: unknown preset.*mmgc2022"),
        ("low/pixels-only/typical", {"qoe": {"wast": 1}}, "wast: unknown key; did you mean 'waste'"),
        ("low/pixels-only/typical", {"qoe": {"waste": -1}}, "waste: expected greater than or equal to 0, got -1"),
        ("low/pixels-only/typical", {"qoe": {"compute": 1}}, "compute: unknown key"),
        ("low/pixels-only/typical", {"qoe": {"energy": [1]}}, r"energy: expected a valid number, got \[1\]"),
        ("low/pixels-only/typical", {"contention": [[1.0]]}, r"contention\[0\]: expected at least 5 items"),
        ("low/pixels-only/typical", {"cancel_on_swipe": 1}, "cancel_on_swipe: expected"),
        ("low/pixels-only/typical", {"n_videos": 21}, "n_videos: expected"),
        ("low/pixels-only/typical", {"viewers": "/tmp"}, "viewers: .*videos"),
    ],
)
def test_what_is_wrong_is_named(name: str, overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gymnasium.make("PromptPream-v0", scenario=name, **overrides)


@pytest.mark.parametrize(
    "overrides", [{"videos": "/nowhere"}, {"viewers": "/nowhere"}, {"network": "/nowhere"}, {"device": "/nowhere.json"}]
)
def test_a_missing_file_is_named(overrides: dict[str, Any]) -> None:
    with pytest.raises(FileNotFoundError, match="/nowhere"):
        gymnasium.make("PromptPream-v0", **overrides)


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown split 'tests'.*test"):
        gymnasium.make("PromptPream-v0", split="tests")


def test_episodes_follow_their_law() -> None:
    world = make_world(Scenario.parse(patience=[2.0, 4.0], jitter_sigma=0.3))
    rng = make_rng(0, "train")
    episodes = [sample_episode(world, rng) for _ in range(400)]
    fractions, leaves, patience, jitter = [], [], [], []
    for episode in episodes:
        duration_s = world.catalog.duration_s[episode.playlist]
        assert len(set(episode.playlist.tolist())) == 20
        assert (episode.watch_s > 0).all()
        assert (episode.watch_s <= duration_s).all()
        assert 0.0 <= episode.link_offset_s <= episode.link_time_s[-1]
        assert episode.max_wall_s == 60.0 + 5.0 * duration_s.sum()
        fractions += (episode.watch_s / duration_s).tolist()
        leaves += episode.leaves.tolist()
        patience += episode.patience_s.tolist()
        jitter += [episode.jitter[v, c] for v in range(20) for c in range(int(duration_s[v]))]
    viewer = ViewerProfile.load("typical")
    complete = np.mean(np.array(fractions) == 1.0)
    assert complete == pytest.approx(viewer.completion, abs=0.02)
    assert np.mean(fractions) == pytest.approx(0.55, abs=0.03)
    assert np.mean(leaves) == pytest.approx(viewer.leave_p, abs=0.015)
    assert (min(patience), max(patience)) == (pytest.approx(2.0, abs=0.1), pytest.approx(4.0, abs=0.1))
    assert np.mean(jitter) == pytest.approx(1.0, abs=0.01)
    assert np.std(np.log(jitter)) == pytest.approx(0.3, abs=0.01)


def test_watch_times_follow_the_retention_curve() -> None:
    world = make_world(Scenario.parse("low/pixels-only/skimmer", n_videos=1))
    rng = make_rng(1, "train")
    reached = np.zeros(4)
    count = 4000
    expected = np.zeros(4)
    for _ in range(count):
        episode = sample_episode(world, rng)
        index = int(episode.playlist[0])
        for place, share in enumerate((0.1, 0.25, 0.5, 0.9)):
            seconds = share * world.catalog.duration_s[index]
            whole = int(seconds)
            curve = world.catalog.retention[index]
            expected[place] += curve[whole] + (seconds - whole) * (curve[whole + 1] - curve[whole])
            reached[place] += episode.watch_s[0] >= seconds
    np.testing.assert_allclose(reached / count, expected / count, atol=0.025)


def test_without_patience_any_stall_is_borne() -> None:
    world = make_world(Scenario.parse(patience="none"))
    np.testing.assert_array_equal(sample_episode(world, make_rng(0, "train")).patience_s, [np.inf] * 20)


@pytest.mark.parametrize(
    ("patience", "rows"),
    [
        ("published", ((2, 1), (5, 0.75), (10, 0.52))),
        ("none", ()),
        (4, ((4, 1), (4, 0))),
        ([2, 5], ((2, 1), (5, 0))),
        ([[2, 1], [5, 0.5], [5, 0]], ((2, 1), (5, 0.5), (5, 0))),
        ([[3, 0.5]], ((0, 1), (3, 0.5))),
        ([[3, 1]], ((3, 1),)),
    ],
)
def test_patience_has_many_forms(patience: Any, rows: tuple[tuple[float, float], ...]) -> None:
    scenario = Scenario.parse(patience=patience)
    assert scenario.patience_table == rows
    distribution = make_world(scenario).distribution
    np.testing.assert_array_equal(distribution.patience_at_s, [row[0] for row in rows])
    np.testing.assert_array_equal(distribution.patience_share, [row[1] for row in rows])


FORMS = "patience: expected 'published', 'none', seconds above 0, two of them in order, or rows of seconds and share, "


@pytest.mark.parametrize(
    ("patience", "message"),
    [
        ("publishd", "patience: unknown 'publishd'; did you mean 'published'"),
        (0.0, f"{FORMS}got 0.0"),
        (-1, f"{FORMS}got -1"),
        (True, f"{FORMS}got True"),
        (float("nan"), f"{FORMS}got nan"),
        (None, f"{FORMS}got None"),
        ({"a": 1}, f"{FORMS}got {{'a': 1}}"),
        ([1.0, 2.0, 3.0], f"{FORMS}got (1.0, 2.0, 3.0)"),
        ([[2, 1.5]], f"{FORMS}got ((2, 1.5),)"),
        ([[2, 1], [3]], f"{FORMS}got ((2, 1), (3,))"),
        ([[-1, 1], [2, 0.5]], f"{FORMS}got ((-1, 1), (2, 0.5))"),
        ([5.0, 2.0], "none between 0 and 1e-300, got (5.0, 2.0)"),
        ([[5, 1], [2, 0.5]], "none between 0 and 1e-300, got ((5.0, 1.0), (2.0, 0.5))"),
        ([[2, 0.5], [5, 0.75]], "none between 0 and 1e-300, got ((2.0, 0.5), (5.0, 0.75))"),
        ([[2, 1], [5, 0], [6, 0]], "none between 0 and 1e-300, got ((2.0, 1.0), (5.0, 0.0), (6.0, 0.0))"),
    ],
)
def test_a_wrong_patience_is_named(patience: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Scenario.parse(patience=patience)


@pytest.mark.parametrize(("same", "equal"), [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)])
def test_patience_follows_its_table_and_is_shared_as_often_as_it_says(same: float, equal: float) -> None:
    world = make_world(Scenario.parse(patience_same=same))
    rng = make_rng(5, "train")
    draws = np.array([sample_episode(world, rng).patience_s for _ in range(600)])
    if same < 1:
        shares = [(draws > seconds).mean() for seconds in (2.0, 5.0, 10.0, 20.0)]
        hazard = np.log(0.75 / 0.52) / 5
        np.testing.assert_allclose(shares, [1, 0.75, 0.52, 0.52 * np.exp(-10 * hazard)], atol=0.045)
    # two videos agree where both have the session's draw
    agree = (draws[:, 0] == draws[:, 1]).mean()
    assert agree == pytest.approx(equal**2, abs=0.06)
    counts = [np.unique(row, return_counts=True)[1].max() for row in draws]
    assert np.mean(counts) == pytest.approx(max(20 * same, 1.0), abs=0.6)


def test_patience_is_drawn_last() -> None:
    """So that other patience changes nothing else of a session."""
    usual, other = (
        sample_episode(make_world(Scenario.parse(patience=one)), make_rng(3, "train")) for one in ("none", [1, 2])
    )
    for name in ("playlist", "watch_s", "leaves", "jitter", "link_time_s", "link_bits"):
        np.testing.assert_array_equal(getattr(usual, name), getattr(other, name))
    assert usual.link_offset_s == other.link_offset_s


def test_chunk_length_comes_from_the_ladder_and_memory_is_by_the_second() -> None:
    ladder = Ladder.load("promptmobile").to_json() | {"name": "long", "chunk_s": 4.0}
    world = make_world(Scenario.parse("low/snapdragon-8-elite/typical", ladder=ladder, throttle=2.0))
    assert (world.params.chunk_s, world.params.throttle) == (4.0, 2.0)
    assert world.scenario.name == "low/snapdragon-8-elite/typical/long"
    usual = make_world(Scenario.parse("low/snapdragon-8-elite/typical/promptmobile"))
    np.testing.assert_array_equal(world.params.option_decode_s, usual.params.option_decode_s)
    np.testing.assert_array_equal(world.catalog.memory_bytes_per_s, usual.catalog.memory_bytes_per_s)


def test_public_names_are_there_and_described() -> None:
    for name in ppgym.__all__:
        assert hasattr(ppgym, name)
        assert name == "__version__" or f"`{name}`" in str(ppgym.__doc__)


def test_the_ten_lines_print_what_they_say() -> None:
    assert doctest.testmod(ppgym) == (0, 8)


def test_real_data_of_the_2022_challenge_plays() -> None:
    root = os.environ.get("PPGYM_MMGC2022")
    if root is None:
        pytest.skip("PPGYM_MMGC2022 does not name the folder of the 2022 challenge")
    folder = Path(root)
    kwargs = {
        "network": str(folder / "network_traces" / "medium"),
        "videos": str(folder / "short_video_size"),
        "viewers": str(folder / "user_ret"),
    }
    env = gymnasium.make("PromptPream-v0", leave_p=0.0, **kwargs)
    world = env.unwrapped.world  # type: ignore[attr-defined]
    assert world.n_videos == 7
    assert world.catalog.n_chunks.max() == 125
    rng = np.random.default_rng(0)
    for seed in range(3):
        _, info = env.reset(seed=seed)
        ended = False
        while not ended:
            action = int(rng.choice(np.flatnonzero(info["action_mask"])))
            _, _, terminated, truncated, info = env.step(action)
            ended = terminated or truncated
        assert info["videos_watched"] == 7 or truncated
