"""Generators: the formula of one step, the bare loop as oracle, identities, and what cannot be loaded or drawn."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ppgym.codec.bitstream import PromptChunk, interpolation
from ppgym.codec.generator import (
    BUNDLE,
    SD_TURBO_NOISE,
    SD_TURBO_UNET,
    Generator,
    load_generator,
)
from ppgym.codec.prompt import invert_prompt
from ppgym.codec.tiny import LAST_TIMESTEP, TinyModel


def some_prompts(generator: Generator, count: int) -> np.ndarray:
    shape = (count, generator.tokens, generator.width)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def some_chunk(generator: Generator) -> PromptChunk:
    frames = np.random.default_rng(0).integers(0, 256, (5, *generator.resolution, 3), dtype=np.uint8)
    return invert_prompt(frames, generator, rank=2, keyframe_interval=2, steps=0)


class Fixed(nn.Module):
    """A UNet that predicts the same whatever it sees."""

    def __init__(self, prediction: torch.Tensor) -> None:
        super().__init__()
        self.prediction = nn.Parameter(prediction)
        self.config = SimpleNamespace(sample_size=4, in_channels=4, cross_attention_dim=8)

    def forward(self, z: torch.Tensor, timestep: int, prompts: torch.Tensor, return_dict: bool) -> tuple[torch.Tensor]:
        assert timestep == 999 and prompts.shape[1:] == (77, 8) and not return_dict
        return (self.prediction.expand(len(z), -1, -1, -1),)


class Plain(nn.Module):
    """An autoencoder whose pictures are its latents."""

    config = SimpleNamespace(block_out_channels=(1,), scaling_factor=0.5)

    def decode(self, latents: torch.Tensor, return_dict: bool) -> tuple[torch.Tensor]:
        return (latents,)


@pytest.mark.parametrize(
    ("prediction_type", "of_noise", "of_prediction"),
    [("epsilon", 1 / 0.068265, -14.6147), ("v_prediction", 0.068265, -0.997667), ("sample", 0.0, 1.0)],
)
def test_the_clean_latent_is_that_of_the_last_timestep(
    prediction_type: str, of_noise: float, of_prediction: float
) -> None:
    """SD-Turbo's x0 = z / 0.0683 - 14.6146 epsilon (Promptus), and what follows from it for the other predictions."""
    prediction = torch.linspace(-1, 1, 64).reshape(4, 4, 4)
    noise = {**SD_TURBO_NOISE, "prediction_type": prediction_type}
    generator = Generator("fixed", Fixed(prediction), Plain(), noise)
    drawn = generator.draw(torch.zeros(2, 77, 8))
    clean = of_noise * generator.latent + of_prediction * prediction
    torch.testing.assert_close(drawn, (clean / 0.5 / 2 + 0.5).expand(2, -1, -1, -1), rtol=1e-3, atol=1e-3)


def test_an_unknown_kind_of_prediction_is_refused() -> None:
    with pytest.raises(ValueError, match="prediction_type: expected epsilon, v_prediction or sample, got 'flow'"):
        Generator("fixed", Fixed(torch.zeros(4, 4, 4)), Plain(), {**SD_TURBO_NOISE, "prediction_type": "flow"})


def test_the_architecture_of_sd_turbo_has_its_number_of_weights() -> None:
    with torch.device("meta"):
        assert UNet2DConditionModel(**SD_TURBO_UNET).num_parameters() == 865_910_724


def test_interpolation_by_hand() -> None:
    assert interpolation((0, 2, 3), 4).tolist() == [[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 0, 1]]
    assert interpolation((0,), 1).tolist() == [[1]]


@given(st.sets(st.integers(1, 60), min_size=1))
def test_interpolation_keeps_straight_lines(frames: set[int]) -> None:
    keyframes = (0, *sorted(frames))
    weights = interpolation(keyframes, keyframes[-1] + 1)
    assert (weights >= 0).all() and ((weights > 0).sum(1) <= 2).all()
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(weights @ np.array(keyframes), np.arange(keyframes[-1] + 1), atol=1e-4)


def test_generate_is_the_bare_loop_of_diffusers(random_tiny: Path, generator: Generator) -> None:
    prompts = some_prompts(generator, 3)
    unet = UNet2DConditionModel.from_pretrained(
        random_tiny / "unet", low_cpu_mem_usage=False, torch_dtype=torch.float32
    )
    vae = AutoencoderTiny.from_pretrained(random_tiny / "vae", low_cpu_mem_usage=False, torch_dtype=torch.float32)
    model = TinyModel()
    model.start.load_state_dict(generator.start.state_dict())
    with torch.inference_mode():
        embeddings = model.start.neutral + torch.from_numpy(prompts)
        clean = unet(model.start.latent.expand(3, -1, -1, -1), LAST_TIMESTEP, embeddings).sample
        pictures = vae.decode(clean).sample / 2 + 0.5
    expected = (255 * pictures).round().clamp(0, 255).permute(0, 2, 3, 1).numpy()
    frames = generator.generate(prompts)
    assert frames.dtype == np.uint8 and frames.shape == (3, 128, 128, 3)
    assert np.abs(frames - expected).max() <= 1  # sums in another order round otherwise
    assert len(np.unique(frames)) > 3


def test_batches_change_nothing_but_rounding(generator: Generator) -> None:
    prompts = some_prompts(generator, 5)
    whole, split = generator.generate(prompts, batch_size=5), generator.generate(prompts, batch_size=2)
    assert np.abs(whole.astype(int) - split).max() <= 1


def test_decoding_draws_the_keyframes_and_between_them_and_always_the_same(generator: Generator) -> None:
    chunk = some_chunk(generator)
    frames = generator.decode(chunk)
    assert np.array_equal(frames, generator.decode(PromptChunk.from_bytes(chunk.to_bytes())))
    a, b, c = chunk.embeddings()
    assert chunk.keyframes == (0, 2, 4)
    expected = generator.generate(np.stack([a, (a + b) / 2, b, (b + c) / 2, c]))
    assert np.abs(frames.astype(int) - expected).max() <= 1


def test_the_prompt_of_another_generator_is_refused_by_name(random_tiny: Path, generator: Generator) -> None:
    torch.manual_seed(1)
    other = Generator("other", TinyModel().unet, TinyModel().vae, SD_TURBO_NOISE, generator.start)
    assert other.identity != generator.identity
    with pytest.raises(ValueError, match=rf"{generator.identity[:16]}.*{other.identity[:16]}"):
        other.decode(some_chunk(generator))


def test_the_identity_is_that_of_the_weights_whatever_the_precision(random_tiny: Path, generator: Generator) -> None:
    assert load_generator(random_tiny, dtype="float16").identity == generator.identity
    assert len(generator.identity) == 64 and set(generator.identity) <= set("0123456789abcdef")


@pytest.mark.parametrize(("dtype", "levels"), [("float16", 2), ("bfloat16", 8)])
def test_a_prompt_looks_the_same_in_half_the_precision(
    random_tiny: Path, generator: Generator, dtype: str, levels: int
) -> None:
    prompts = some_prompts(generator, 2)
    half = load_generator(random_tiny, dtype=dtype).generate(prompts)
    full = generator.generate(prompts)
    assert half.dtype == np.uint8 and np.abs(half.astype(int) - full).max() <= levels
    assert np.ptp(full) > 2 * levels


def test_gradients_reach_the_prompt_and_not_the_weights(generator: Generator) -> None:
    prompts = torch.from_numpy(some_prompts(generator, 1)).requires_grad_()
    generator.draw(prompts).sum().backward()
    assert prompts.grad.abs().min(dim=2).values.gt(0).all()
    assert all(parameter.grad is None for parameter in generator.unet.parameters())


def test_the_bundle_is_small_and_needs_no_network() -> None:
    generator = load_generator(local_files_only=True)
    assert generator.resolution == (128, 128)
    assert sum(file.stat().st_size for file in BUNDLE.rglob("*.safetensors")) <= 8_000_000
    assert not [*BUNDLE.rglob("*.bin"), *BUNDLE.rglob("*.pt"), *BUNDLE.rglob("*.pkl")]


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("no/such/place", {}, OSError, "'no/such/place': no such directory; expected 'tiny'"),
        ("sd-turbo", {}, OSError, "no such directory"),
        ("nobody/nothing", {"local_files_only": True}, OSError, "'nobody/nothing': neither cached .* Hugging Face hub"),
        ("tiny", {"dtype": "int8"}, ValueError, "dtype: expected one of float32, .* got 'int8'"),
    ],
)
def test_what_cannot_be_loaded_says_what_and_where(
    name: str, options: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        load_generator(name, **options)


def test_pickled_weights_are_refused(random_tiny: Path, tmp_path: Path) -> None:
    for part in ("unet", "vae"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "config.json").write_bytes((random_tiny / part / "config.json").read_bytes())
        (tmp_path / part / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(OSError, match="the directory does not hold it"):
        load_generator(tmp_path)


@pytest.mark.parametrize(
    ("shape", "batch_size", "message"),
    [((2, 64, 31), 1, r"embeddings: expected shape \[B, 64, 32\], got \(2, 64, 31\)"), ((1, 64, 32), 0, "batch_size")],
)
def test_what_is_no_prompt_is_refused(
    generator: Generator, shape: tuple[int, ...], batch_size: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        generator.generate(np.zeros(shape, np.float32), batch_size=batch_size)
