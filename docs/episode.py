"""Draws docs/episode.png, the picture in the README: half a minute of the greedy agent. `python docs/episode.py`."""

from pathlib import Path

import gymnasium
from matplotlib import image

import ppgym  # noqa: F401  registers the environment
from agents import make_agent

SEED = 3
UNTIL_S = 28.0

env = gymnasium.make("PromptPream-v0", split="test", render_mode="rgb_array")
observation, info = env.reset(seed=SEED)
agent = make_agent("greedy", env)
ended = False
while not ended and info["time_s"] < UNTIL_S:
    action, _ = agent.predict(observation)
    observation, _, terminated, truncated, info = env.step(action)
    ended = terminated or truncated
image.imsave(Path(__file__).with_suffix(".png"), env.render())
