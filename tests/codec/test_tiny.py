"""The tiny generator: where attention begins, what a guess is, and training that an interruption does not change."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ppgym.codec import commands, tiny, train_tiny
from ppgym.codec.tiny import PLACE_WIDTH, SHARPNESS, PromptStart, TinyModel, position_waves


def test_waves_tell_positions_apart() -> None:
    waves = position_waves(PLACE_WIDTH, 8).flatten(1).T
    distances = torch.cdist(waves, waves) + 9 * torch.eye(64)
    assert waves.shape == (64, PLACE_WIDTH)
    assert distances.min() > 0.5


def test_a_guess_of_full_width_loses_least() -> None:
    """Principal components: the patches of the latents come back from the guess but for the variance left out."""
    latents = torch.randn(20, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    latents[:, 8:] = latents[:, :8] + 1  # so that half the numbers of a patch, as many as a token has, say all
    start = PromptStart()
    start.fit(latents)
    guess = start(latents).detach().flatten(0, 1)
    patches = torch.nn.functional.unfold(latents, 2, stride=2).transpose(1, 2).flatten(0, 1)
    ones = torch.ones(len(guess), 1)
    back = torch.linalg.lstsq(torch.cat([guess, ones], 1), patches)
    torch.testing.assert_close(torch.cat([guess, ones], 1) @ back.solution, patches, atol=1e-3, rtol=0)
    assert guess.mean(0).abs().max() < 1e-3


def test_attention_begins_at_the_own_place() -> None:
    torch.manual_seed(0)
    model = TinyModel()
    model.attend_to_own_place()
    attention = model.unet.mid_block.attentions[0].transformer_blocks[0].attn2
    seen: list[torch.Tensor] = []
    attention.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model.generate_latents(torch.zeros(1, 64, 32))
        heads = len(SHARPNESS)
        query = attention.to_q(seen[0])[0].unflatten(1, (heads, -1)).transpose(0, 1)
        key = attention.to_k(model.start.neutral).unflatten(1, (heads, -1)).transpose(0, 1)
        weights = (query @ key.mT / key.shape[-1] ** 0.5).softmax(-1)  # [heads, positions, tokens]
    assert (weights.argmax(-1) == torch.arange(64)).all()
    own = weights.diagonal(dim1=1, dim2=2).mean(1)
    assert own[0] > 0.5 > own[-1]


def test_a_widened_model_draws_the_same_pictures_and_can_learn_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as narrow_decoder:
        narrow_decoder.setitem(tiny.VAE_CONFIG, "decoder_block_out_channels", (8, 8, 8, 8))
        narrow = TinyModel()
        narrow.half().float().save(tmp_path)  # as it is written
    wide = TinyModel()
    wide.widen(tmp_path)
    embeddings = torch.randn(2, 64, 32, generator=torch.Generator().manual_seed(0))
    latents = wide.generate_latents(embeddings)
    pictures = wide.vae.decode(latents).sample
    torch.testing.assert_close(pictures, narrow.vae.decode(narrow.generate_latents(embeddings)).sample)
    pictures.square().sum().backward()
    last = wide.vae.decoder.layers[-1].weight
    assert last[:, 8:].eq(0).all() and last.grad is not None and last.grad[:, 8:].ne(0).all()


def test_training_goes_on_where_it_was_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_tiny, "CLIPS", 2)
    monkeypatch.setattr(train_tiny, "FIT_BATCHES", 2)
    monkeypatch.setattr(train_tiny, "SAVE_EVERY_STEPS", 1)
    commands.train_tiny(tmp_path / "whole", checkpoint=tmp_path / "whole.pt", stages=(1, 1, 2), threads=1)

    save = train_tiny.save_checkpoint

    def interrupt(path: Path, model: TinyModel, optimizer: torch.optim.Optimizer, step: int, seconds: float) -> None:
        save(path, model, optimizer, step, seconds)
        if step == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(train_tiny, "save_checkpoint", interrupt)
    checkpoint = tmp_path / "part.pt"
    with pytest.raises(KeyboardInterrupt):
        commands.train_tiny(tmp_path / "part", checkpoint=checkpoint, stages=(1, 1, 2), threads=1)
    assert not (tmp_path / "part").exists()
    monkeypatch.setattr(train_tiny, "save_checkpoint", save)
    commands.train_tiny(tmp_path / "part", checkpoint=checkpoint, stages=(1, 1, 2), threads=1)

    for part in ("unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "prompt/model"):
        whole, resumed = (load_file(tmp_path / run / f"{part}.safetensors") for run in ("whole", "part"))
        assert whole.keys() == resumed.keys()
        assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())
    assert not [*tmp_path.glob(".*")]
