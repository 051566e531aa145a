"""Clips that the project draws itself: five families of moving pictures, each clip fixed by a seed.

The tiny generator is trained on the clips of split "train" and judged on those of split "heldout". The split is part of
what seeds the random numbers, so the two never share a clip, and the families were fixed before the training began.
A clip is a function of time: `draw_frames` draws only the frames that are asked for.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]  # [size, size], or with a last axis of 3 for RGB in 0..1
Frames = npt.NDArray[np.uint8]  # [T, size, size, 3]
Painter = Callable[[float], Field]  # seconds -> [size, size, 3]

FPS: Final = 30
SIZE_PX: Final = 128
SPLITS: Final = ("train", "heldout")


def colour(rng: np.random.Generator) -> Field:
    """An RGB colour, [3] in 0..1."""
    return rng.uniform(0.05, 0.95, 3).astype(np.float32)


def grid(size_px: int) -> tuple[Field, Field]:
    """Coordinates of the pixels' middles as parts of the picture's side: x [1, size] and y [size, 1], 0..1."""
    line = ((np.arange(size_px) + 0.5) / size_px).astype(np.float32)
    return line[None, :], line[:, None]


def blend(below: Field, above: Field, alpha: Field) -> Field:
    """Lay a colour over a picture, [size, size, 3], where `alpha` [size, size] says."""
    return below + alpha[..., None] * (above - below)


def bounce(place: float) -> float:
    """Reflect a coordinate at 0 and 1, as a ball between two walls."""
    return 1.0 - abs(place % 2.0 - 1.0)


def moving_shapes(rng: np.random.Generator, size_px: int) -> Painter:
    """Discs, boxes, rings and triangles that fly, spin and bounce over a shaded ground."""
    x, y = grid(size_px)
    direction = rng.uniform(0, 2 * np.pi)
    shade = np.clip(0.5 + (x - 0.5) * np.cos(direction) + (y - 0.5) * np.sin(direction), 0, 1).astype(np.float32)
    ground = blend(np.broadcast_to(colour(rng), (size_px, size_px, 3)), colour(rng), shade)
    shapes = [
        (
            rng.integers(4),
            rng.uniform(0, 2, 2),
            rng.uniform(-0.5, 0.5, 2),  # sides of the picture per second
            rng.uniform(0.07, 0.22),
            rng.uniform(0.5, 1.0),
            rng.uniform(0, 2 * np.pi),
            rng.uniform(-2.0, 2.0),
            colour(rng),
        )
        for _ in range(rng.integers(1, 5))
    ]

    def paint(time_s: float) -> Field:
        picture = ground
        for kind, start, velocity, radius, aspect, angle, spin, tint in shapes:
            dx, dy = (x - bounce(start[0] + velocity[0] * time_s)), (y - bounce(start[1] + velocity[1] * time_s))
            turn = angle + spin * time_s
            u, v = np.cos(turn) * dx + np.sin(turn) * dy, (np.cos(turn) * dy - np.sin(turn) * dx) / aspect
            if kind == 0:
                distance = np.hypot(u, v) - radius
            elif kind == 1:
                distance = np.maximum(np.abs(u), np.abs(v)) - radius
            elif kind == 2:
                distance = np.abs(np.hypot(u, v) - 0.75 * radius) - 0.25 * radius
            else:
                distance = np.maximum(-v, 0.5 * v + 0.866 * np.abs(u)) - 0.6 * radius
            picture = blend(picture, tint, np.clip(0.5 - distance * size_px, 0, 1).astype(np.float32))
        return picture

    return paint


def textures(rng: np.random.Generator, size_px: int) -> Painter:
    """Stripes, plaids, checks, rings and warped waves that drift, turn and grow."""
    x, y = grid(size_px)
    kind = rng.integers(5)
    cycles, angle = rng.uniform(2.5, 9.0), rng.uniform(0, 2 * np.pi)
    drift, spin, growth = rng.uniform(-0.25, 0.25, 2), rng.uniform(-0.5, 0.5), rng.uniform(-0.25, 0.25)
    warp, sharpness = rng.uniform(0.3, 1.2), rng.uniform(1.0, 6.0)
    dark, light, third = colour(rng), colour(rng), colour(rng)

    def paint(time_s: float) -> Field:
        zoom, turn = np.exp(growth * time_s), angle + spin * time_s
        dx, dy = (x - 0.5 + drift[0] * time_s) / zoom, (y - 0.5 + drift[1] * time_s) / zoom
        u = 2 * np.pi * cycles * (np.cos(turn) * dx + np.sin(turn) * dy)
        v = 2 * np.pi * cycles * (np.cos(turn) * dy - np.sin(turn) * dx)
        if kind == 2:
            wave = np.sin(0.7 * u) * np.sin(0.7 * v) * 1.5
        elif kind == 3:
            wave = np.sin(np.hypot(u, v))
        else:
            wave = np.sin(u + warp * np.sin(0.6 * v)) if kind == 4 else np.sin(u)
        other = np.sin(0.5 * v) if kind == 1 else 0 * v
        first = (0.5 + 0.5 * np.tanh(sharpness * wave) / np.tanh(sharpness)).astype(np.float32)
        second = (0.25 + 0.25 * np.tanh(sharpness * other) / np.tanh(sharpness)).astype(np.float32)
        return blend(blend(np.broadcast_to(dark, (size_px, size_px, 3)), light, first), third, second)

    return paint


def gradients(rng: np.random.Generator, size_px: int) -> Painter:
    """Soft lights of several colours that wander and mix."""
    x, y = grid(size_px)
    lights = [
        (
            rng.uniform(0, 1, 2),
            rng.uniform(0.05, 0.4, 2),
            rng.uniform(0.5, 3.0, 2),
            rng.uniform(0, 2 * np.pi, 2),
            rng.uniform(0.12, 0.5),
            colour(rng),
        )
        for _ in range(rng.integers(3, 7))
    ]

    def paint(time_s: float) -> Field:
        total, picture = np.full((size_px, size_px), 1e-6, np.float32), np.zeros((size_px, size_px, 3), np.float32)
        for middle, reach, speed, phase, radius, tint in lights:
            centre = middle + reach * np.sin(speed * time_s + phase)
            weight = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / radius**2).astype(np.float32) + 1e-4
            total, picture = total + weight, picture + weight[..., None] * tint
        return np.asarray(picture / total[..., None], np.float32)

    return paint


def noise_fields(rng: np.random.Generator, size_px: int) -> Painter:
    """Smooth random fields of several octaves that drift and change into others, through a palette."""
    octaves = [(cells, rng.standard_normal((2, cells, cells)), rng.uniform(-0.15, 0.15, 2)) for cells in (4, 8, 16)]
    falloff, speed, contrast = rng.uniform(0.35, 0.6), rng.uniform(0.3, 2.0), rng.uniform(0.7, 2.0)
    low, middle, high = colour(rng), colour(rng), colour(rng)
    line = (np.arange(size_px) + 0.5) / size_px

    def spread(cells: int, shift: float) -> npt.NDArray[np.float64]:
        """Weights [size, cells] that lay a periodic row of values smoothly over the pixels."""
        away = (line[:, None] + shift) * cells - np.arange(cells)
        away -= cells * np.round(away / cells)
        weights = np.exp(-(away**2) / 0.72)
        return np.asarray(weights / np.sqrt((weights**2).sum(1, keepdims=True)))

    def paint(time_s: float) -> Field:
        field = np.zeros((size_px, size_px))
        for octave, (cells, values, drift) in enumerate(octaves):
            now = np.cos(speed * time_s) * values[0] + np.sin(speed * time_s) * values[1]
            rows, columns = spread(cells, drift[1] * time_s), spread(cells, drift[0] * time_s)
            field += falloff**octave * (rows @ now @ columns.T)
        level = (0.5 + 0.5 * np.tanh(contrast * field)).astype(np.float32)
        lower = blend(np.broadcast_to(low, (size_px, size_px, 3)), middle, np.clip(2 * level, 0, 1))
        return blend(lower, high, np.clip(2 * level - 1, 0, 1))

    return paint


def camera_pans(rng: np.random.Generator, size_px: int) -> Painter:
    """A camera that sweeps over a land of sky, sun, ridges and houses, near things faster than far ones."""
    x, y = grid(size_px)
    speed, tilt = rng.uniform(0.1, 0.6) * rng.choice([-1, 1]), rng.uniform(-0.08, 0.08)
    zenith, horizon, sun_tint = colour(rng), colour(rng), colour(rng)
    sun, sun_radius = rng.uniform(0.1, 0.9, 2) * [1, 0.45], rng.uniform(0.04, 0.12)
    ridges = [
        (
            0.4 + 0.17 * layer + rng.uniform(-0.05, 0.05),
            rng.uniform(0.02, 0.09, 3) / (1, 2, 3),
            rng.uniform([2, 5, 10], [5, 10, 20]),
            rng.uniform(0, 2 * np.pi, 3),
            colour(rng),
        )
        for layer in range(rng.integers(2, 4))
    ]
    heights, wall = rng.uniform(0.0, 0.3, 24) * (rng.uniform(size=24) < 0.6), colour(rng)
    house_width = rng.uniform(0.08, 0.2)

    def cover(picture: Field, top: npt.NDArray[np.float64], tint: Field) -> Field:
        return blend(picture, tint, np.clip(0.5 + (y - top) * size_px, 0, 1).astype(np.float32))

    def paint(time_s: float) -> Field:
        camera, lift = speed * time_s, tilt * time_s
        height = np.broadcast_to(np.clip(y - lift, 0, 1), (size_px, size_px)).astype(np.float32)
        picture = blend(np.broadcast_to(zenith, (size_px, size_px, 3)), horizon, height)
        distance = np.hypot(x - sun[0] + 0.05 * camera, y - sun[1] - lift) - sun_radius
        picture = blend(picture, sun_tint, np.clip(0.5 - distance * size_px, 0, 1).astype(np.float32))
        for layer, (base, swing, cycles, phase, tint) in enumerate(ridges):
            place = x + camera * (0.3 + 0.3 * layer)
            waves = sum(a * np.sin(c * place + p) for a, c, p in zip(swing, cycles, phase, strict=True))
            picture = cover(picture, base + lift + waves, tint)
        house = np.floor((x + camera * 1.2) / house_width).astype(np.int64) % len(heights)
        return cover(picture, 0.95 + lift - heights[house], wall)

    return paint


FAMILIES: Final[dict[str, Callable[[np.random.Generator, int], Painter]]] = {
    "shapes": moving_shapes,
    "textures": textures,
    "gradients": gradients,
    "noise": noise_fields,
    "pans": camera_pans,
}


def draw_frames(
    family: str, seed: int, frame_indices: Sequence[int] | range = range(FPS), *, split: str, size_px: int = SIZE_PX
) -> Frames:
    """Draw frames of one clip.

    Args:
        family: A key of `FAMILIES`.
        seed: Which clip of the family, >= 0.
        frame_indices: Frames to draw, at 30 a second; the first second by default.
        split: "train" or "heldout".
        size_px: Side of the square picture.

    Returns:
        uint8 [T, size_px, size_px, 3], RGB.

    Raises:
        ValueError: An unknown family or split, or a negative seed.
    """
    if family not in FAMILIES:
        raise ValueError(f"clip family: expected one of {', '.join(FAMILIES)}, got {family!r}")
    if split not in SPLITS:
        raise ValueError(f"clip split: expected one of {', '.join(SPLITS)}, got {split!r}")
    if seed < 0:
        raise ValueError(f"clip seed: expected a whole number of at least 0, got {seed}")
    rng = np.random.default_rng([SPLITS.index(split), list(FAMILIES).index(family), seed])
    paint = FAMILIES[family](rng, size_px)
    pictures = [np.rint(255 * np.clip(paint(index / FPS), 0, 1)) for index in frame_indices]
    return np.asarray(pictures, np.uint8).reshape(-1, size_px, size_px, 3)
