"""Do prompts pay on my phone?

Prompts save bytes and cost computation. Whether that pays depends on how fast your phone decodes them, on the
link, and on how good the pictures are. This tutorial asks the simulator, for a phone of your choice.
"""

# %% Describe the phone
# How many seconds does its NPU take for one second of prompts? `python -m ppgym.codec profile` measures a
# machine; here we assume 1.5 s. The shipped profile of a Snapdragon 8 Elite is the starting point, and
# `generative_speed_scale` makes it faster or slower.

from ppgym.world.devices import DeviceProfile

MY_NPU_S = 1.5

elite = DeviceProfile.load("snapdragon-8-elite")
npu_s = next(row.seconds for row in elite.rows if (row.codec, row.unit) == ("prompt", "npu"))
speed = npu_s / MY_NPU_S
print(f"8 Elite: {npu_s:.2f} s; my phone: {MY_NPU_S} s, {speed:.2f} times as fast")

# %% Play with prompts and without
# `pixels-only` is the same phone without any unit that decodes prompts. The same seeds give the same viewers,
# videos and links, so that the difference between the two is paired. The greedy policy plays both, because it is
# quick. `make_agent("mcts", env)` is the planner, whose answer is better and takes longer.

import gymnasium
import numpy as np

import ppgym  # noqa: F401  registers the environment
from agents import make_agent
from ppgym.benchmark.estimates import ratio_estimate

SESSIONS = 24


def play(network, device, **overrides):
    """The return of each session, and the minutes that its viewer would watch if nothing froze."""
    env = gymnasium.make("PromptPream-v0", scenario=f"{network}/{device}/typical", split="validation", **overrides)
    returns, minutes = [], []
    for seed in range(SESSIONS):
        observation, _ = env.reset(seed=seed)
        agent = make_agent("greedy", env)
        total, ended = 0.0, False
        while not ended:
            action, _ = agent.predict(observation)
            observation, reward, terminated, truncated, _ = env.step(action)
            total += reward
            ended = terminated or truncated
        returns.append(total)
        minutes.append(env.unwrapped.drawn_watch_s() / 60.0)
    return np.array(returns), np.array(minutes)


def show(label, with_prompts, without):
    """Print the paired difference of QoE, with its 95 % interval."""
    (returns, minutes), (of_pixels, _) = with_prompts, without
    gain, _, (low, high) = ratio_estimate(returns - of_pixels, minutes)
    verdict = "they pay" if low > 0.0 else "they cost" if high < 0.0 else "not told apart"
    print(f"{label:28} {gain:+6.1f} ({low:+.1f} to {high:+.1f}) QoE a minute: {verdict}")


pixels = {network: play(network, "pixels-only") for network in ("low", "high")}
for network in pixels:
    mine = play(network, "snapdragon-8-elite", generative_speed_scale=speed)
    show(f"my phone on {network}", mine, pixels[network])

# %% What if prompts look worse than assumed?
# The quality of prompts is an assumption of the simulator, from published ratios. `generative_quality_scale` is its
# knob.

worse = play("low", "snapdragon-8-elite", generative_speed_scale=speed, generative_quality_scale=0.6)
show("low, 0.6 of the quality", worse, pixels["low"])

# %%
# With so few sessions an interval is wide. Take `SESSIONS = 256` before you decide.
#
# `python evaluate.py breakeven` draws a whole map of decode speeds and bandwidths.
