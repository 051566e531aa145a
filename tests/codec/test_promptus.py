"""Promptus's prompts: a folder in their layout made here, the real ones where they are, and what is no such thing."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ppgym.codec.__main__ import main
from ppgym.codec.bitstream import UNKNOWN_GENERATOR, PromptChunk
from ppgym.codec.generator import SD_TURBO_NOISE, Generator
from ppgym.codec.ppv import PpvFile
from ppgym.codec.promptus import read_promptus
from tests.codec.test_generator import Fixed, Plain

Prompt = dict[str, torch.Tensor]


def some_prompts(count: int, interval: int, width: int = 8) -> dict[int, Prompt]:
    """Quantised prompts of rank 2 by frame, as Promptus keeps them."""
    rng = np.random.default_rng(0)
    return {
        interval * k: {
            "U": torch.from_numpy(rng.integers(0, 256, (77, 2), dtype=np.uint8)),
            "V": torch.from_numpy(rng.integers(0, 256, (2, width), dtype=np.uint8)),
            "U_scale": torch.tensor(0.02 + 0.001 * k),
            "U_zero_point": torch.tensor(120.0),
            "V_scale": torch.tensor(0.1),
            "V_zero_point": torch.tensor(128.0 + k),
        }
        for k in range(count)
    }


def write_folder(folder: Path, prompts: dict[int, Prompt], anchor: torch.Tensor | None) -> Path:
    folder.mkdir()
    for frame, content in prompts.items():
        torch.save(content, folder / f"frame_{frame:05}.prompt")
    if anchor is not None:
        torch.save(anchor, folder / "init.pth")
    return folder


def embedding(prompts: dict[int, Prompt], frame: int, interval: int) -> np.ndarray:
    """Promptus's arithmetic for one frame: U and V apart, then the product over the root of the rank."""
    before = min(frame // interval * interval, max(prompts))
    after = min(before + interval, max(prompts))
    share = (frame - before) / interval
    mixed = []
    for name in ("U", "V"):
        values = [
            prompts[k][f"{name}_scale"].numpy() * (prompts[k][name].numpy() - prompts[k][f"{name}_zero_point"].numpy())
            for k in (before, after)
        ]
        mixed.append((1 - share) * values[0] + share * values[1])
    return mixed[0] @ mixed[1] / np.sqrt(mixed[0].shape[1])


def assert_same_embeddings(chunk: PromptChunk, prompts: dict[int, Prompt], interval: int) -> None:
    found = chunk.frame_embeddings()
    assert len(found) == chunk.frame_count == max(prompts) + 1
    for frame in range(chunk.frame_count):
        expected = embedding(prompts, frame, interval)
        np.testing.assert_allclose(found[frame], expected, rtol=1e-4, atol=2e-6 * np.abs(expected).max())


def test_a_folder_comes_in_with_its_start_latent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prompts, anchor = some_prompts(3, 4), torch.randn(1, 4, 8, 8)
    folder = write_folder(tmp_path / "rank2_interval4", prompts, anchor)
    main(["import", str(folder), str(tmp_path / "out.ppv"), "--fps", "25", "--side-px", "64"])
    assert "3 keyframes, 9 frames" in capsys.readouterr().out
    (chunk,) = PpvFile(tmp_path / "out.ppv")
    assert (chunk.keyframes, chunk.fps, chunk.height_px, chunk.noise_seed) == ((0, 4, 8), 25, 64, 88)
    assert chunk.anchor is not None
    np.testing.assert_array_equal(chunk.anchor, anchor[0].numpy().astype(np.float16))
    assert_same_embeddings(chunk, prompts, 4)
    assert chunk.to_bytes()[2] == 2, "version 2 of the format"
    assert np.array_equal(chunk.u[1], prompts[4]["U"]) and np.array_equal(chunk.v[2], prompts[8]["V"])


@pytest.mark.skipif("PPGYM_PROMPTUS" not in os.environ, reason="PPGYM_PROMPTUS names no folder of Promptus's prompts")
def test_the_real_ones_come_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = Path(os.environ["PPGYM_PROMPTUS"]).glob("*.safetensors")
    main(["import", str(path), str(tmp_path / "sky.ppv")])
    assert "the start latent (init.pth) is missing" in capsys.readouterr().out
    (chunk,) = PpvFile(tmp_path / "sky.ppv")
    prompts: dict[int, Prompt] = {}
    for name, tensor in load_file(path).items():
        prompts.setdefault(int(name[5:10]), {})[name[11:]] = tensor
    assert len(chunk.keyframes) == len(prompts) == 15
    assert len(chunk.to_bytes()) / 15 <= 7500
    for k, frame in enumerate(sorted(prompts)):
        for name in ("U", "V"):
            np.testing.assert_array_equal(getattr(chunk, name.lower())[k], prompts[frame][name])
            for ours, theirs in (("scale", "scale"), ("zero", "zero_point")):
                stored = getattr(chunk, f"{name.lower()}_{ours}")[k]
                assert stored == prompts[frame][f"{name}_{theirs}"]
    assert_same_embeddings(chunk, prompts, 10)


def test_a_safetensors_file_says_the_same_as_a_folder(tmp_path: Path) -> None:
    prompts = some_prompts(2, 3)
    folder = write_folder(tmp_path / "folder", prompts, None)
    file = tmp_path / "file.safetensors"
    save_file({f"frame{frame:05}.{key}": x for frame, prompt in prompts.items() for key, x in prompt.items()}, file)
    read = [read_promptus(path, generator=UNKNOWN_GENERATOR) for path in (folder, file)]
    assert read[0] == read[1] and read[0].anchor is None


def test_a_chain_is_drawn_as_promptus_draws_it(tmp_path: Path) -> None:
    """With a UNet that predicts no noise, the clean latent is the start divided by the signal."""
    prompts, anchor = some_prompts(3, 2), torch.randn(1, 4, 4, 4)
    generator = Generator("fixed", Fixed(torch.zeros(4, 4, 4)), Plain(), SD_TURBO_NOISE)
    folder = write_folder(tmp_path / "folder", prompts, anchor)
    chunk = read_promptus(folder, generator=generator.identity, side_px=4)
    chunk = PromptChunk.from_bytes(chunk.to_bytes())
    noise = torch.from_numpy(np.random.RandomState(88).randn(1, 4, 4, 4)).float()
    before, expected = anchor.half().float(), []
    for frames in (1, 2, 2):  # the first keyframe, and the frames up to each next one
        before = (0.05 * before + 0.95 * noise) / generator.signal
        picture = (255 * (before / 0.5 / 2 + 0.5)).round().clamp(0, 255)  # of the plain autoencoder, scaled by 0.5
        expected += [picture[0].permute(1, 2, 0).numpy()] * frames
    drawn = np.concatenate([generator._decode_chain(chunk, 88, batch_size) for batch_size in (1,)])
    assert np.abs(drawn.astype(int) - np.stack(expected)).max() <= 1
    without = read_promptus(write_folder(tmp_path / "none", prompts, None), generator=generator.identity, side_px=4)
    with pytest.raises(ValueError, match=r"expected its start latent .* of shape \[4, 4, 4\], got none"):
        generator.decode(without)


def test_prompts_of_nobody_knows_which_model_are_not_drawn(tmp_path: Path) -> None:
    generator = Generator("fixed", Fixed(torch.zeros(4, 4, 4)), Plain(), SD_TURBO_NOISE)
    folder = write_folder(tmp_path / "folder", some_prompts(2, 2), torch.zeros(1, 4, 4, 4))
    with pytest.raises(ValueError, match="does not say which generator it is for; import it again with --generator"):
        generator.decode(read_promptus(folder, generator=UNKNOWN_GENERATOR, side_px=4))


class Evil:
    """A pickle that would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:  # noqa: D105
        return (Path.touch, (self.path,))


def test_what_is_no_prompt_is_refused_and_nothing_is_executed(tmp_path: Path) -> None:
    prompts = some_prompts(2, 3)

    def refused(message: str, name: str = "frame_00000.prompt", content: Any = None, path: Path | None = None) -> None:
        folder = path or write_folder(
            tmp_path / f"folder{len([*tmp_path.iterdir()])}", prompts, torch.zeros(1, 4, 8, 8)
        )
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        elif content is not None:
            torch.save(content, folder / name)
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            read_promptus(folder, generator=UNKNOWN_GENERATOR)

    refused("gone: no such file or folder", path=tmp_path / "gone")
    evil = Evil(tmp_path / "x")
    for content in (pickle.dumps(evil, protocol=2), {"U": evil}):
        refused(r"frame_00000\.prompt: expected a torch archive of plain tensors", content=content)
    refused(r"frame_00000\.prompt: expected a torch archive", content=b"nothing")
    assert not (tmp_path / "x").exists()
    refused(r"frame_00000\.prompt: expected a prompt with U, V", content={"U": torch.zeros(2, 2)})
    refused(
        r"init\.pth: expected a latent \[1, channels, height, width\]", name="init.pth", content=torch.zeros(4, 8, 8)
    )
    refused(r"frame_1\.prompt: expected a name such as frame_00010\.prompt", name="frame_1.prompt", content=prompts[0])
    half = prompts[0] | {"U": prompts[0]["U"] + 0.5}
    refused("whole numbers from 0 to 255 in two dimensions", content=half)
    refused("expected prompts of Promptus", content=prompts[0] | {"V": prompts[0]["V"][:1]})
    far = {"frame_00300.prompt": prompts[0]}
    refused("expected at most 256 frames between two", name=next(iter(far)), content=far["frame_00300.prompt"])
    (tmp_path / "empty").mkdir()
    refused("expected files frame_NNNNN.prompt, or tensors frameNNNNN.U, got none", path=tmp_path / "empty")
    save_file({"other": torch.zeros(1)}, tmp_path / "other.safetensors")
    refused("expected tensors such as frame00010.U, got 'other'", path=tmp_path / "other.safetensors")
