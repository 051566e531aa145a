"""The whole command on a model in SD-Turbo's layout: killed in the middle, it goes on and makes the same table."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel

from ppgym.codec import prompt, rate_curve
from ppgym.codec.__main__ import main
from ppgym.codec.bitstream import PromptChunk
from ppgym.codec.generator import Generator, load_generator
from ppgym.codec.prompt import invert_prompt
from ppgym.codec.video import write_mp4
from ppgym.world.ladders import Ladder
from tests.codec.fakes import moving_clip

ROOT = Path(__file__).parents[2]
OPTIONS = ("--ranks", "2", "3", "--steps", "24", "--batch-size", "2", "--metrics", "ssim", "--objective", "promptus")
FILES = ("a.mp4", "b.mp4", "--generator", "model", "--vae", "taesd")
# A checkpoint after every step, and few rate factors: as the fixture sets them in this process
COMMAND = (
    "import sys; from ppgym.codec import prompt, rate_curve; from ppgym.codec.__main__ import main; "
    "prompt.CHECKPOINT_EVERY_S = 0.0; rate_curve.CRF_STEP = 15; main(sys.argv[1:])"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of small channels, its UNet in half precision alone, and two clips."""
    folder = tmp_path_factory.mktemp("resume")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(16, 32),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=16,
            attention_head_dim=4,
            norm_num_groups=8,
        )
        layers = {"encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4}
        blocks = {"num_encoder_blocks": (1,) * 4, "num_decoder_blocks": (1,) * 4}
        vae = AutoencoderTiny(**layers, **blocks)
    unet.half().save_pretrained(folder / "model" / "unet", variant="fp16")
    vae.save_pretrained(folder / "taesd")
    write_mp4(folder / "a.mp4", moving_clip(8, 72, 128), 8.0)
    write_mp4(folder / "b.mp4", moving_clip(6, 96, 80)[::-1], 8.0)
    return folder


def without_seconds(path: Path) -> Any:
    content = json.loads(path.read_text())
    for row in content["representations"]:
        row["measured"]["encode_s"] = row["measured"]["decode_s"] = 0
    content.update(name="", provenance="")
    return content


def test_a_killed_command_goes_on_and_makes_the_same_table(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prompt, "CHECKPOINT_EVERY_S", 0.0)
    monkeypatch.setattr(rate_curve, "CRF_STEP", 15)
    monkeypatch.chdir(folder)
    main(["ladder", *FILES, *OPTIONS, "--output", "whole.json"])
    assert re.search(r"ladder: whole.json\nbandwidth_scale: 0.0164\n", capsys.readouterr().out)
    table = Ladder.read("whole.json")
    assert [one.measured and len(one.measured.clip_quality) for one in table.representations] == [2] * 5

    # In the middle of the second rank of the first second
    arguments = [sys.executable, "-c", COMMAND, "ladder", *FILES, *OPTIONS, "--output", "killed.json"]
    running = subprocess.Popen(arguments, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE)
    parts = folder / "killed.json.parts"
    while not (parts / "clip00-second0000-prompt-r3.checkpoint").is_file():
        assert running.poll() is None, running.communicate()
        time.sleep(0.01)
    running.kill()
    running.communicate()
    assert not (folder / "killed.json").exists()
    assert (parts / "clip00-second0000-prompt-r2.json").is_file()

    main(["ladder", *FILES, *OPTIONS, "--output", "killed.json"])
    assert without_seconds(folder / "killed.json") == without_seconds(folder / "whole.json")
    assert not [*parts.glob("*.checkpoint")]


@pytest.fixture(scope="module")
def small(folder: Path) -> Generator:
    """The model, loaded."""
    return load_generator(folder / "model", vae=folder / "taesd")


def invert(generator: Generator, **settings: Any) -> PromptChunk:
    frames = moving_clip(6, 64, 64)
    return invert_prompt(frames, generator, rank=2, keyframe_interval=3, batch_size=2, **{"steps": 9} | settings)


@pytest.mark.parametrize("objective", ["ppgym", "promptus"])
def test_a_descent_that_was_left_ends_at_the_same_bits(
    objective: str, small: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompt, "CHECKPOINT_EVERY_S", 0.0)
    expected = invert(small, objective=objective)

    class KilledError(Exception):
        pass

    def kill(step: int, loss: float) -> None:
        if step == 6:
            raise KilledError

    path = tmp_path / "checkpoint"
    with pytest.raises(KilledError):
        invert(small, objective=objective, checkpoint=path, callback=kill)
    seen: list[int] = []
    chunk = invert(small, objective=objective, checkpoint=path, callback=lambda step, loss: seen.append(step))
    assert seen == [6, 7, 8, 9]
    assert chunk == expected
    assert (chunk.separate, chunk.rooted) == ((True, True) if objective == "promptus" else (False, False))
    with pytest.raises(ValueError, match=r"checkpoint: expected a checkpoint of this inversion: expected u of shape"):
        invert_prompt(moving_clip(6, 64, 64), small, rank=3, keyframe_interval=3, checkpoint=path)
    path.write_bytes(b"no checkpoint")
    with pytest.raises(ValueError, match="checkpoint: expected a checkpoint of this inversion"):
        invert(small, checkpoint=path)


def test_promptus_draws_the_worst_frame_again(small: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    choose = prompt.Descent.choose

    def spy(self: prompt.Descent, batch_size: int, repeat_worst: bool) -> list[int]:
        known = np.isfinite(self.frame_errors)
        worst = int(np.where(known, self.frame_errors, -1).argmax()) if known.any() else None
        chosen = choose(self, batch_size, repeat_worst)
        drawn.append(worst in chosen)
        return chosen

    monkeypatch.setattr(prompt.Descent, "choose", spy)
    invert(small, objective="promptus")
    assert not drawn[0] and all(drawn[1:])


def test_where_memory_is_short_gradients_are_computed_twice(
    folder: Path, small: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = load_generator(folder / "model", vae=folder / "taesd")
    draw, failures = generator.draw, [0]

    def short_of_memory(embeddings: torch.Tensor) -> torch.Tensor:
        if not generator.unet.is_gradient_checkpointing:
            failures[0] += 1
            raise torch.OutOfMemoryError("CUDA out of memory")
        return draw(embeddings)

    monkeypatch.setattr(generator, "draw", short_of_memory)
    assert invert(generator) == invert(small)
    assert failures == [1]

    def no_memory(embeddings: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(generator, "draw", no_memory)
    with pytest.raises(ValueError, match="no memory for a batch; expected a smaller one"):
        invert(generator)


def test_half_precision_descends_too(folder: Path) -> None:
    losses: list[float] = []
    for dtype in ("bfloat16", "float16"):
        generator = load_generator(folder / "model", vae=folder / "taesd", dtype=dtype)
        invert(generator, steps=12, objective="promptus", callback=lambda step, loss: losses.append(loss))
        assert np.isfinite(losses).all() and losses[-1] < losses[0]
        losses.clear()


def test_the_identity_is_that_of_what_decoding_needs(folder: Path, tmp_path: Path, small: Generator) -> None:
    changed = {}
    for part in ("encoder", "decoder"):
        vae = AutoencoderTiny.from_pretrained(folder / "taesd")
        next(getattr(vae, part).parameters()).data += 1
        vae.save_pretrained(tmp_path / part)
        changed[part] = load_generator(folder / "model", vae=tmp_path / part).identity
    assert changed["encoder"] == small.identity != changed["decoder"]
    (tmp_path / "model" / "scheduler").mkdir(parents=True)
    (tmp_path / "model" / "unet").symlink_to(folder / "model" / "unet")
    scheduler = {"_class_name": "DDIMScheduler", "beta_schedule": "linear", "prediction_type": "epsilon"}
    (tmp_path / "model" / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    assert load_generator(tmp_path / "model", vae=folder / "taesd").identity != small.identity


def test_another_autoencoder_that_is_none_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="the directory does not hold it"):
        load_generator(folder / "model", vae=tmp_path)
    with pytest.raises(ValueError, match="vae: expected AutoencoderTiny or AutoencoderKL, got 'UNet2DConditionModel'"):
        load_generator(folder / "model", vae=folder / "model" / "unet")
