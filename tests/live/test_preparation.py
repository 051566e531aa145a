"""Feeds from clips: real chunks, their sizes, hashes and qualities, and a worker that draws their prompts."""

import dataclasses
from pathlib import Path

import pytest

from ppgym.codec.generator import load_generator
from ppgym.codec.search import Search
from ppgym.codec.video import Size, write_mp4
from ppgym.env import PromptPreamEnv
from ppgym.live.feed import DEVICE, check_feed, feed_scenario, feed_world
from ppgym.live.preparation import Preparation, Rung, clip_sources, demo_sources, prepare_feed
from ppgym.live.profiling import measure_profile
from ppgym.world.scenario import make_world

WANTED = Preparation(("h264-24k", "h264-96k", "prompt-r4"), "tiny", Search(steps=0))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "feed"
    (source,) = demo_sources(1)
    short = source._replace(read=lambda: iter(list(source.read())[:1]))
    prepare_feed(folder, [short, short._replace(name="again")], WANTED, load_generator(), "a test")
    return folder


def test_chunks_are_measured(made: Path) -> None:
    manifest = check_feed(made)
    names = [one.name for one in manifest.ladder.representations]
    assert names == list(WANTED.ladder)
    low, high, prompt = manifest.videos[0].chunks[0]
    assert low.size_bytes < high.size_bytes
    assert 0 < low.quality < high.quality
    assert prompt.quality > 0
    assert manifest.generator == "tiny"
    rows = manifest.ladder.representations
    assert rows[0].bitrate_bps == 8 * low.size_bytes
    assert not rows[0].is_generative and rows[2].is_generative
    world = make_world(feed_scenario(made, device="snapdragon-8-elite"), "test")  # as any simulator reads the folder
    assert world.params.top_quality == pytest.approx(high.quality)
    assert world.scenario.name == "feed"


def test_a_feed_is_not_written_over(made: Path) -> None:
    with pytest.raises(ValueError, match=r"manifest\.json: is here already"):
        prepare_feed(made, demo_sources(1), WANTED, load_generator(), "a test")


@pytest.mark.slow
def test_the_profile_is_of_the_workers(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppgym.live.profiling.TOGETHER", 2)
    profile = measure_profile(made)
    pairs = {(row.codec, row.unit) for row in profile.rows}
    assert {("h264", "cpu"), ("h264", "vdec"), ("prompt", "cpu")} <= pairs
    assert all(row.seconds > 0 and row.provenance == "measured" for row in profile.rows)
    assert (made / DEVICE).is_file()
    env = PromptPreamEnv(feed_world(check_feed(made), feed_scenario(made), "test"))
    assert {option.name for option in env.options if option.usable} >= {"h264-24k@vdec", "prompt-r4@cpu"}


def test_clips_are_checked(tmp_path: Path) -> None:
    frames = next(demo_sources(1)[0].read())
    for name, fps in (("a b", 30.0), ("c", 25.0)):
        write_mp4(tmp_path / f"{name}.mp4", frames, fps)
    (source,) = clip_sources([tmp_path / "a b.mp4"], Size(64, 64))
    assert source.name == "00-a-b"
    with pytest.raises(ValueError, match=r"expected one frame rate, got \[25\.0, 30\.0\]"):
        clip_sources([tmp_path / "a b.mp4", tmp_path / "c.mp4"], Size(64, 64))
    with pytest.raises(ValueError, match="expected at least one"):
        clip_sources([], Size(64, 64))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("h264", "expected CODEC-RATEk or prompt-rRANK"),
        ("h264-r8", "expected CODEC-RATEk"),
        ("prompt-8k", "expected CODEC-RATEk"),
        ("h266-8k", "unknown codec"),
        ("", "expected CODEC-RATEk"),
    ],
)
def test_rungs(name: str, message: str) -> None:
    assert Rung.parse("prompt-r8") == Rung("prompt-r8", "prompt", 0.0, 8)
    assert Rung.parse("hevc-1.5k").bitrate_bps == 1500.0
    with pytest.raises(ValueError, match=message):
        Rung.parse(name)
    for ladder in ((), ("h264-1k", "h264-1k"), tuple(f"h264-{k}k" for k in range(1, 14))):
        with pytest.raises(ValueError, match="--ladder: expected 1 to 12 rungs"):
            dataclasses.replace(WANTED, ladder=ladder).rungs()
