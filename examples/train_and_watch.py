"""Train and watch a policy.

The environment is a plain Gymnasium environment with action masks. So MaskablePPO of sb3-contrib trains on it
without any glue. This tutorial trains for a few seconds, draws the learning curve, and watches the result.
"""

# %% Train
# Masks come from `env.action_masks()`, which MaskablePPO finds by itself. Monitor notes the return of each
# episode.

import gymnasium
import numpy as np
from sb3_contrib import MaskablePPO
from stable_baselines3.common.monitor import Monitor

import ppgym  # noqa: F401  registers the environment

STEPS = 6_144

env = Monitor(gymnasium.make("PromptPream-v0", split="train"))
model = MaskablePPO("MlpPolicy", env, n_steps=1024, batch_size=256, gamma=0.95, ent_coef=0.01, seed=0)
model.learn(STEPS)
returns = np.array(env.get_episode_rewards())

# %% Draw the learning curve

from matplotlib.figure import Figure

figure = Figure(figsize=(7, 3), layout="constrained")
axes = figure.subplots()
axes.plot(np.cumsum(env.get_episode_lengths()), returns, ".", color="#8a919c")
ends = np.arange(10, len(returns) + 1)
means = [returns[end - 10 : end].mean() for end in ends]
axes.plot(np.cumsum(env.get_episode_lengths())[ends - 1], means, color="#1f5fa8")
axes.set(xlabel="environment steps", ylabel="return of an episode (line: mean of ten)")
figure.savefig("train_and_watch_curve.png")

# %% Watch it
# `render_mode="rgb_array"` draws the timeline. The policy chooses without drawing lots.

from matplotlib import image

watched = gymnasium.make("PromptPream-v0", split="validation", render_mode="rgb_array")
observation, info = watched.reset(seed=0)
ended = False
while not ended and info["time_s"] < 28.0:
    action, _ = model.predict(observation, deterministic=True, action_masks=watched.unwrapped.action_masks())
    observation, _, terminated, truncated, info = watched.step(int(action))
    ended = terminated or truncated
image.imsave("train_and_watch.png", watched.render())

# %%
# ![Return of episodes while it learns](train_and_watch_curve.png)
#
# ![Half a minute of the policy](train_and_watch.png)
#
# Red is a frozen picture: this policy has learned little yet. A good one needs more steps, a network
# that shares its weights between slots and options, and a start by imitation. `python train.py` does all that; see
# [Learned agents](../learned-agents.md).
