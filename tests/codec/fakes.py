"""Prompts and a generator that need no model, for tests of what surrounds it."""

from typing import Any

import numpy as np
import numpy.typing as npt

from ppgym.codec.bitstream import PromptChunk, check_generator

IDENTITY = "0123456789abcdef" * 4


def make_chunk(
    keyframes: tuple[int, ...] = (0, 3), tokens: int = 2, rank: int = 2, width: int = 5, bits: int = 6, **fields: object
) -> PromptChunk:
    """A chunk whose values follow from their place alone."""
    count, top = len(keyframes), 1 << bits
    place = np.arange(count * rank * (tokens + width), dtype=np.int64)
    values = ((place * place * 7 + place * 13) % top).astype(np.uint8)
    u, v = np.split(values, [count * tokens * rank])
    numbers = {
        "u_scale": np.full(count, 0.5, np.float32),
        "u_zero": np.full(count, top // 2, np.float32),
        "v_scale": np.linspace(0.1, 0.2, count, dtype=np.float32),
        "v_zero": np.arange(count).astype(np.float32) + top // 2,
    }
    given = {
        "generator": IDENTITY,
        "height_px": 64,
        "width_px": 96,
        "fps": 30.0,
        "frame_count": keyframes[-1] + 1,
        "keyframes": keyframes,
        "bits": bits,
        "u": u.reshape(count, tokens, rank),
        "v": v.reshape(count, rank, width),
    }
    return PromptChunk(**(given | numbers | fields))  # type: ignore[arg-type]


def moving_clip(frames: int, height: int = 64, width: int = 96) -> npt.NDArray[np.uint8]:
    """A smooth pattern that moves: uint8 [T, H, W, 3]."""
    t, y, x = np.ogrid[:frames, :height, :width]
    channels = [128 + 100 * np.sin(x / (9 + c) + 0.2 * t + c) * np.cos(y / 13 - 0.1 * t) for c in range(3)]
    return np.stack(channels, axis=-1).astype(np.uint8)


class FakeGenerator:
    """Draws `moving_clip`, brighter or darker by the first value of the prompt: rank 16 draws it as it is."""

    name = "fake"
    identity = IDENTITY
    device, dtype = "cpu", "float32"
    resolution = (64, 96)
    tokens = 2
    width = 5

    def decode(self, chunk: PromptChunk, batch_size: int = 10) -> npt.NDArray[np.uint8]:
        check_generator(chunk, self.identity)
        error = 2 * (16 - chunk.rank)
        return np.clip(moving_clip(chunk.frame_count).astype(int) + error, 0, 255).astype(np.uint8)


def fake_inversion(
    frames: npt.NDArray[np.uint8], generator: FakeGenerator, *, rank: int, **settings: Any
) -> PromptChunk:
    """A prompt of the right form for the frames, in one step."""
    settings["callback"](1, 0.0)
    height_px, width_px = frames.shape[1:3]
    last = len(frames) - 1
    keyframes = tuple(sorted({*range(0, last, int(settings["keyframe_interval"])), last}))
    fields = {"height_px": height_px, "width_px": width_px, "fps": settings["fps"]}
    return make_chunk(keyframes, rank=rank, bits=int(settings["bits"]), **fields)
