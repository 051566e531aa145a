"""Inversion: the grid by hand, a second that can be drawn is found, starts, plateaus, and what is refused."""

import numpy as np
import pytest
import torch

from ppgym.codec.bitstream import PromptChunk, interpolation
from ppgym.codec.clips import Frames, draw_frames
from ppgym.codec.generator import Generator, load_generator
from ppgym.codec.metrics import psnr_db
from ppgym.codec.objectives import distortion, structural_similarity
from ppgym.codec.prompt import Quantiser, feature_start, invert_prompt

RANK = 2


@pytest.fixture(scope="module")
def second(generator: Generator) -> Frames:
    """Seven frames that the generator can draw: the embeddings of a random rank-2 prompt move to another."""
    rng = np.random.default_rng(0)
    shapes = (2, generator.tokens, RANK), (2, RANK, generator.width)
    u, v = (rng.normal(size=shape).astype(np.float32) for shape in shapes)
    first, last = u @ v
    return generator.generate(np.stack([first + place * (last - first) for place in np.linspace(0, 1, 7)]))


def test_the_quantisers_grid_by_hand() -> None:
    values = torch.tensor([-1.0, 0.0, 0.3, 2.75], requires_grad=True)
    grid = Quantiser.over(values.detach(), 4)
    assert grid == (0.25, 4, 15)  # 3.75 over 15 steps, and 0 on the grid
    assert grid.indices(values.detach()).tolist() == [0, 4, 5, 15]
    coarse = grid.straight_through(values)
    assert coarse.tolist() == [-1.0, 0.0, 0.25, 2.75]
    coarse.sum().backward()
    assert values.grad is not None and values.grad.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("values", [[0.0, 0.0], [3.0, 5.0], [-5.0, -3.0]])
def test_the_quantiser_takes_any_range(values: list[float]) -> None:
    tensor = torch.tensor(values)
    grid = Quantiser.over(tensor, 8)
    assert 0 <= grid.zero <= 255 and grid.scale > 0
    assert torch.allclose(grid.straight_through(tensor), tensor, atol=0.03)


def test_structural_similarity_of_equal_and_of_opposite_pictures() -> None:
    noise = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert structural_similarity(noise, noise).item() == pytest.approx(1)
    assert structural_similarity(noise, 1 - noise).item() < 0
    assert distortion(noise, noise).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("frame_count", "interval", "keyframes"),
    [(30, 10, (0, 10, 20, 29)), (7, 3, (0, 3, 6)), (7, 30, (0, 6)), (1, 10, (0,))],
)
def test_a_chunk_closes_itself(
    generator: Generator, frame_count: int, interval: int, keyframes: tuple[int, ...]
) -> None:
    frames = np.zeros((frame_count, *generator.resolution, 3), np.uint8)
    chunk = invert_prompt(frames, generator, rank=1, keyframe_interval=interval, bits=5, steps=0)
    assert chunk.keyframes == keyframes and chunk.frame_count == frame_count
    assert chunk.u.max() < 32 and chunk.v.max() < 32


@pytest.fixture(scope="module")
def tiny() -> Generator:
    """The generator that ships with the package."""
    return load_generator(local_files_only=True)


@pytest.fixture(scope="module")
def unseen() -> Frames:
    """Three frames of a clip that the generator was not trained on."""
    return draw_frames("noise", 7, (0, 4, 8), split="heldout")


def psnr_after(
    steps: int, generator: Generator, frames: Frames, start: str, rank: int = 8, bits: int = 8, rate: float = 0.02
) -> float:
    chunk = invert_prompt(
        frames,
        generator,
        rank=rank,
        keyframe_interval=2,
        bits=bits,
        steps=steps,
        start=start,
        learning_rate=rate,
        bit_price=0.0,
        batch_size=3,
    )
    return psnr_db(generator.decode(PromptChunk.from_bytes(chunk.to_bytes())), frames)


def test_the_descent_gains_six_decibels_from_the_neutral_prompt(tiny: Generator, unseen: Frames) -> None:
    assert psnr_after(25, tiny, unseen, "neutral", rate=0.1) > psnr_after(0, tiny, unseen, "neutral") + 6


def test_the_guess_is_better_still_and_the_descent_betters_it(tiny: Generator, unseen: Frames) -> None:
    neutral = psnr_after(0, tiny, unseen, "neutral")
    guess = psnr_after(0, tiny, unseen, "features")
    assert neutral + 6 < guess < psnr_after(10, tiny, unseen, "features")


def test_rank_and_bits_pay(tiny: Generator, unseen: Frames) -> None:
    by_rank = [psnr_after(3, tiny, unseen, "features", rank=rank) for rank in (2, 4, 8)]
    by_bits = [psnr_after(3, tiny, unseen, "features", bits=bits) for bits in (4, 5, 8)]
    assert by_rank == sorted(by_rank) and by_bits == sorted(by_bits)


def test_bits_that_cost_are_saved(tiny: Generator, unseen: Frames) -> None:
    sizes = [
        len(invert_prompt(unseen, tiny, keyframe_interval=1, steps=10, bit_price=price, learning_rate=0.05).to_bytes())
        for price in (0.0, 0.05)
    ]
    assert sizes[1] < 0.95 * sizes[0]


def test_the_same_arguments_find_the_same_prompt(generator: Generator, second: Frames) -> None:
    chunks = [invert_prompt(second, generator, rank=3, keyframe_interval=3, steps=3, batch_size=3) for _ in range(2)]
    assert chunks[0] == chunks[1]
    assert chunks[0].to_bytes() == chunks[1].to_bytes()


def test_the_guess_is_the_same_to_the_bit_wherever_it_lies_in_memory(generator: Generator, second: Frames) -> None:
    """So it must be for a descent to be the same: a last bit that differs may end on another side of a rounding."""
    weights = interpolation((0, 3, 6), len(second))
    rng, kept, starts = np.random.default_rng(0), [], []
    for _ in range(30):
        kept.append(torch.zeros(int(rng.integers(1, 20_000))))
        starts.append(feature_start(second, generator, weights, rank=3))
    assert all(torch.equal(u, starts[0][0]) and torch.equal(v, starts[0][1]) for u, v in starts)


def test_the_guess_is_nearer_than_the_neutral_prompt_in_embeddings(generator: Generator, second: Frames) -> None:
    """Of full rank, the start's embeddings at the keyframes are the guesses' own where every frame is a keyframe."""
    full = min(generator.tokens, generator.width)
    chunk = invert_prompt(second, generator, rank=full, keyframe_interval=1, steps=0)
    guesses = generator.guess(second).numpy()
    assert np.abs(chunk.embeddings() - guesses).max() < 0.1 * np.abs(guesses).max()
    neutral = invert_prompt(second, generator, rank=full, keyframe_interval=1, steps=0, start="neutral")
    assert np.abs(neutral.embeddings()).max() == 0


def test_keyframes_can_share_v_and_then_cost_less(generator: Generator, second: Frames) -> None:
    def invert(shared_v: bool) -> PromptChunk:
        return invert_prompt(
            second, generator, rank=4, keyframe_interval=2, steps=4, shared_v=shared_v, learning_rate=0.2
        )

    shared, own = invert(True), invert(False)
    assert (shared.v == shared.v[:1]).all() and not (own.v == own.v[:1]).all()
    assert len(shared.to_bytes()) < len(own.to_bytes())


def test_the_descent_tells_each_step_and_ends_early_on_a_plateau(generator: Generator, second: Frames) -> None:
    seen: list[tuple[int, float]] = []
    invert_prompt(
        second[:1],
        generator,
        rank=1,
        steps=400,
        learning_rate=1e-12,
        callback=lambda step, loss: seen.append((step, loss)),
    )
    assert [step for step, _ in seen] == list(range(1, len(seen) + 1))
    assert len(seen) < 100
    assert len({loss for _, loss in seen}) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rank": 33}, "rank: expected a whole number from 1 to 32, got 33"),
        ({"rank": 0}, "rank: expected a whole number from 1 to 32, got 0"),
        ({"bits": 3}, "bits: expected a whole number from 4 to 8, got 3"),
        ({"bits": 6.0}, "bits: expected a whole number from 4 to 8, got 6.0"),
        ({"keyframe_interval": 0}, "keyframe_interval: expected a whole number at least 1, got 0"),
        ({"steps": -1}, "steps: expected a whole number at least 0, got -1"),
        ({"batch_size": 0}, "batch_size: expected a whole number at least 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate: expected a number above 0, got 0.0"),
        ({"start": "caption"}, "start: expected one of features, neutral, uniform, got 'caption'"),
        ({"frames": np.zeros((2, 64, 64, 3), np.uint8)}, "frames: expected 128 x 128 px.*got 64 x 64"),
        ({"frames": np.zeros((2, 128, 128, 3))}, "expected frames uint8.*float64"),
        ({"frames": np.zeros((0, 128, 128, 3), np.uint8)}, r"expected frames uint8.*\[0, 128, 128, 3\]"),
    ],
)
def test_what_cannot_be_inverted_is_refused(generator: Generator, change: dict[str, object], message: str) -> None:
    arguments = {"frames": np.zeros((2, *generator.resolution, 3), np.uint8), "steps": 0, **change}
    with pytest.raises(ValueError, match=message):
        invert_prompt(generator=generator, **arguments)
