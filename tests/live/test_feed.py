"""Manifests: what is kept, and what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ppgym.env import PromptPreamEnv
from ppgym.live import feed as feeds
from ppgym.live.env import PromptPreamLiveEnv
from ppgym.live.feed import (
    DEVICE,
    MANIFEST,
    Manifest,
    check_feed,
    feed_scenario,
    feed_world,
    load_manifest,
    read_manifest,
)


@pytest.fixture
def copied(feed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(feed, tmp_path / "feed"))


def rewrite(folder: Path, change: Any) -> None:
    content = json.loads((folder / MANIFEST).read_text())
    change(content)
    (folder / MANIFEST).write_text(json.dumps(content))


def test_comes_back_from_the_wire(feed: Path) -> None:
    manifest = check_feed(feed)
    assert read_manifest(json.dumps(manifest.to_json()), "wire") == manifest


@pytest.mark.parametrize(
    "path", ["../secret.bin", "/etc/passwd.x", "v0/../v1/0.h264", "v0//0.h264", ".hidden", "v0/0.h264\n", "a\\b.c", ""]
)
def test_a_path_that_leads_elsewhere_is_refused(copied: Path, path: str) -> None:
    rewrite(copied, lambda content: content["videos"][0]["chunks"][0][0].update(path=path))
    with pytest.raises(ValueError, match=r"manifest\.json: videos\[0\]\.chunks\[0\]\[0\]\.path"):
        check_feed(copied)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["videos"][0]["chunks"][0][0].update(size_bytes=1 << 40), "size_bytes"),
        (lambda c: c["videos"][0]["chunks"][0][0].update(size_bytes=0), "size_bytes"),
        (lambda c: c["videos"][0]["chunks"][0][0].update(sha256="00"), "sha256"),
        (lambda c: c["videos"][0]["chunks"][0].pop(), r"videos\[0\]\.chunks\[0\]: expected 2 files, got 1"),
        (lambda c: c["videos"][0].update(duration_s=9.0), r"videos\[0\]\.duration_s: expected 3 chunks of 1 s"),
        (lambda c: c["videos"][1].update(chunks=c["videos"][0]["chunks"][:2]), "every path once, got 'v0/0-r0"),
        (lambda c: c.update(videos=[]), "videos"),
        (lambda c: c.update(schema="ppgym-feed/9"), "schema: expected 'ppgym-feed/1'"),
        (lambda c: c.update(surprise=1), "surprise: unknown key"),
    ],
)
def test_a_wrong_manifest_is_refused(copied: Path, change: Any, message: str) -> None:
    rewrite(copied, change)
    with pytest.raises(ValueError, match=message):
        check_feed(copied)


def test_a_manifest_is_capped(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "MAX_MANIFEST_BYTES", 1000)
    for read in (check_feed, load_manifest, PromptPreamLiveEnv):
        with pytest.raises(ValueError, match=r"manifest\.json: expected at most 1000 bytes, got \d+"):
            read(copied)


def test_changed_chunks_are_noticed(copied: Path) -> None:
    path = copied / "v1" / "0-r1.h264"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"x")
    with pytest.raises(ValueError, match=r"v1/0-r1\.h264: expected SHA-256"):
        check_feed(copied)
    path.write_bytes(data + b"x")
    with pytest.raises(ValueError, match=r"v1/0-r1\.h264: expected \d+ bytes, got \d+"):
        check_feed(copied)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"v1/0-r1\.h264"):
        check_feed(copied)


def test_a_link_out_of_the_folder_is_refused(copied: Path) -> None:
    path = copied / "v1" / "0-r1.h264"
    outside = path.rename(copied.parent / "outside.h264")
    path.symlink_to(outside)
    with pytest.raises(ValueError, match="expected a file inside the feed's folder"):
        check_feed(copied)


def test_the_world_has_the_measured_sizes(feed: Path) -> None:
    manifest = check_feed(feed)
    world = feed_world(manifest, feed_scenario(feed), "test")
    for k, video in enumerate(manifest.videos):
        for c, chunk in enumerate(video.chunks):
            assert world.catalog.chunk_bytes[k, c].tolist() == [file.size_bytes for file in chunk]
    assert not world.catalog.chunk_bytes[1, 2:].any()  # past the second video's end
    env = PromptPreamEnv(world)
    observation, info = env.reset(seed=1)
    assert np.isfinite(observation).all()
    assert info["action_mask"][1]


def test_a_feed_without_a_profile_says_how_to_make_one(copied: Path) -> None:
    (copied / DEVICE).unlink()
    with pytest.raises(FileNotFoundError, match=r"device\.json: no such file; make it with"):
        feed_scenario(copied)
    assert feed_scenario(copied, device="snapdragon-8-elite").device == "snapdragon-8-elite"


def test_a_manifest_is_no_list() -> None:
    with pytest.raises(ValueError, match="wire: schema"):
        read_manifest("[]", "wire")
    with pytest.raises(ValueError, match="wire, line 1: expected JSON"):
        read_manifest("[" * 100_000, "wire")
    assert Manifest.SCHEMA == "ppgym-feed/1"
