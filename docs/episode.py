"""Draw docs/episode.webp, the moving picture of README and site: `python docs/episode.py`.

Half a minute of the greedy agent, three frames a simulated second. Frames fall between decisions, so totals are
interpolated.
"""

from pathlib import Path

import gymnasium
import numpy as np
from PIL import Image

import ppgym  # noqa: F401  registers the environment
from agents import make_agent
from ppgym.rendering import render_rgb

SEED = 3
UNTIL_S = 28.0
FRAME_S = 0.35  # simulated
SHOWN_MS = 110  # of a frame, so that an episode runs three times as fast as it is
LAST_MS = 3000
SIZE = (800, 450)


def frames() -> list[Image.Image]:
    """Play, and draw a frame every `FRAME_S`."""
    env = gymnasium.make("PromptPream-v0", split="test", render_mode="rgb_array")
    observation, info = env.reset(seed=SEED)
    agent = make_agent("greedy", env)
    pictures: list[Image.Image] = []
    now_s = FRAME_S
    total = 0.0
    while now_s <= UNTIL_S:
        action, _ = agent.predict(observation)
        before = {key: value for key, value in info.items() if np.ndim(value) == 0} | {"return": total}
        observation, reward, _, _, info = env.step(action)
        total += float(reward)
        after = info | {"return": total}
        while now_s <= min(info["time_s"], UNTIL_S):
            share = (now_s - before["time_s"]) / (info["time_s"] - before["time_s"])
            totals = {key: value + share * (after[key] - value) for key, value in before.items()}
            pixels = render_rgb(env.unwrapped.timeline, now_s, totals, UNTIL_S, SIZE)
            pictures.append(Image.fromarray(pixels).quantize(96, dither=Image.Dither.NONE).convert("RGB"))
            now_s += FRAME_S
    return pictures


if __name__ == "__main__":
    first, *rest = frames()
    durations = [SHOWN_MS] * len(rest) + [LAST_MS]
    first.save(
        Path(__file__).with_suffix(".webp"),
        save_all=True,
        append_images=rest,
        duration=durations,
        loop=0,
        lossless=True,
        quality=40,
        method=2,
    )
