"""The command line, with a generator that needs no model."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.codec.fakes import FakeGenerator, fake_inversion, make_chunk, moving_clip

pytest.importorskip("av")
pytest.importorskip("tyro")

from PIL import Image

from ppgym.codec.__main__ import main
from ppgym.codec.ppv import PpvFile, write_ppv
from ppgym.codec.video import read_clip, write_mp4
from ppgym.world.ladders import Ladder
from ppgym.world.scenario import Scenario, make_world


@pytest.fixture(autouse=True)
def fakes_for_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ppgym.codec.generator.load_generator", lambda name, **options: FakeGenerator())
    monkeypatch.setattr("ppgym.codec.prompt.invert_prompt", fake_inversion)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    write_mp4(path, moving_clip(12, 128, 128), 8.0)
    return path


def test_a_clip_goes_in_and_a_video_comes_out(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ppv, video = tmp_path / "clip.ppv", tmp_path / "out.mp4"
    main(["encode", str(clip), str(ppv), "--rank", "4", "--keyframe-interval", "3", "--bits", "5"])
    chunks = list(PpvFile(ppv))
    assert [(c.frame_count, c.keyframes, c.rank, c.bits, c.fps) for c in chunks] == [
        (8, (0, 3, 6, 7), 4, 5, 8.0),
        (4, (0, 3), 4, 5, 8.0),
    ]
    assert f"{ppv.stat().st_size} bytes" in capsys.readouterr().out
    main(["decode", str(ppv), str(video)])
    frames, fps = read_clip(video)
    assert (frames.shape, fps) == ((12, 64, 96, 3), 8.0)


def test_comparing_draws_a_picture(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "compare.png"
    main(["compare", str(clip), "--output", str(picture), "--columns", "3", "--rank", "2", "--metrics", "psnr"])
    image = np.asarray(Image.open(io.BytesIO(picture.read_bytes())))
    assert image.shape == (4 * (20 + 3 * 64 + 4), 3 * (3 * 96 + 4) + 4, 3)
    printed = " ".join(capsys.readouterr().out.split())
    for label in ("prompt of rank 2", "h264 (cannot go lower)", "hevc (cannot go lower)", "PSNR"):
        assert label in printed


def test_measuring_writes_a_table_that_the_catalog_takes(tmp_path: Path) -> None:
    folder, table = tmp_path / "frames", tmp_path / "ladder.json"
    folder.mkdir()
    for index, frame in enumerate(moving_clip(3)):
        Image.fromarray(frame).save(folder / f"{index:03}.png")
    main(["ladder", str(folder), "--output", str(table), "--shared-v", "--metrics", "psnr"])
    assert [rung.kind for rung in Ladder.load(table).representations] == ["pixel"] * 3 + ["generative"] * 3
    content = json.loads(table.read_text())
    arguments = (
        "ladder frames --generator tiny --torch-device cpu --dtype float32 --ranks 4 8 16 --codecs h264 --metrics psnr "
        "--objective ppgym --keyframe-interval 10 --bits 8 --steps 150 --batch-size 4 --shared-v;"
    )
    assert arguments in content["provenance"]
    assert str(tmp_path) not in table.read_text()
    world = make_world(Scenario.parse(str(table.with_suffix(".yml"))), "test")
    assert world.ladder.name == "ladder" and len(world.representations) == 6


def test_errors_are_said_and_nothing_is_written(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out.mp4"
    foreign, damaged = tmp_path / "foreign.ppv", tmp_path / "damaged.ppv"
    write_ppv(foreign, [make_chunk(generator="f" * 64)])
    damaged.write_bytes(foreign.read_bytes()[:-1])
    for arguments, message in (
        (["encode", str(tmp_path / "gone.mp4"), str(output)], "gone.mp4: no such file or folder"),
        (["ladder", str(clip), "--metrics", "vmav"], "metrics: unknown 'vmav'; did you mean 'vmaf'"),
        (["ladder", "--output", str(output)], "clips: expected at least one video file or folder, got none"),
        (["import", str(clip), str(output)], "clip.mp4: expected a safetensors file"),
        (["encode", str(foreign), str(output)], "foreign.ppv: expected a video that FFmpeg reads"),
        (["decode", str(clip), str(output)], "clip.mp4: expected it to begin with b'PPV'"),
        (["decode", str(damaged), str(output)], "damaged.ppv: expected"),
        (["decode", str(foreign), str(output)], f"for the generator {'f' * 16} and means nothing to 0123456789abcdef"),
        (["decodes", str(foreign)], "Unrecognized options: decodes"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
        assert message in capsys.readouterr().err
    assert not output.exists()


def test_help_imports_no_model() -> None:
    code = (
        "import runpy, sys, atexit\n"
        "atexit.register(lambda: print({'torch', 'diffusers', 'av'} & set(sys.modules)))\n"
        "sys.argv = ['codec', '--help']\n"
        "runpy.run_module('ppgym.codec', run_name='__main__')\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    commands = re.findall(r"• ([a-z-]+) ", result.stdout)
    assert {"encode", "decode", "compare", "ladder", "import", "profile", "heldout"} <= set(commands)
    assert result.stdout.count("Example:") == len(commands)
    assert result.stdout.endswith("set()\n")
