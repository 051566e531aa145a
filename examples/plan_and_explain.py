"""Plan with explanations: ask the planner what it does, and why.

The planner `mcts` imagines futures and tries requests in them. After each decision it can say what it looked at
and what it plans to do next. This tutorial takes ten decisions, asks, and then tells the planner to save data.
"""

# %% Take ten decisions
# A budget of 64 simulations keeps this short; the default is larger.

import gymnasium

import ppgym  # noqa: F401  registers the environment
from agents import make_agent


def decide(decisions, **params):
    """Play an episode with the planner for so many decisions; the planner is returned."""
    env = gymnasium.make("PromptPream-v0", split="test")
    observation, _ = env.reset(seed=3)
    agent = make_agent("mcts", env, seed=0, simulations=64, **params)
    for _ in range(decisions):
        action, _ = agent.predict(observation)
        observation, _, _, _, info = env.step(action)
    return agent, info


agent, info = decide(10)
print(f"at {info['time_s']:.1f} s, {info['downloaded_bytes'] / 1e6:.2f} MB fetched, {info['rebuffer_s']:.1f} s stalled")

# %% What did it look at?
# Each request that survived pruning got a share of the simulations. The search gives most to those that do
# well.

explanation = agent.explain()
print("choice:", explanation.choice)
for name, share, _ in explanation.considered[:5]:
    print(f"{share:5.0%}  {name}")

# %% What does it plan to do next?
# If the futures come as imagined, this follows. Times are seconds from now; `share` says in how many futures
# the request comes up at all. A chunk that is ready before it plays does not stall.

for request in explanation.schedule[:6]:
    where = f"{request.representation}@{request.unit}"
    print(
        f"video {request.video} chunk {request.chunk:2}  {where:16}"
        f" share {request.share:4.0%}  ready {request.ready_s:4.1f}  plays {request.play_s:4.1f}"
    )

# %% Tell it to save data
# `waste_weight` makes waste weigh more in planning. The planner then fetches less ahead.

for weight in (1.0, 8.0):
    _, info = decide(40, waste_weight=weight)
    print(
        f"waste weighed {weight:g} times: {info['downloaded_bytes'] / 1e6:.2f} MB fetched,"
        f" {info['wasted_bytes'] / 1e6:.2f} MB wasted, {info['rebuffer_s']:.1f} s stalled in {info['time_s']:.0f} s"
    )

# %% See it
# The picture is the episode so far, at the higher weight.

from matplotlib import image

env = gymnasium.make("PromptPream-v0", split="test", render_mode="rgb_array")
observation, info = env.reset(seed=3)
agent = make_agent("mcts", env, seed=0, simulations=64, waste_weight=8.0)
while info["time_s"] < 28.0:
    action, _ = agent.predict(observation)
    observation, _, _, _, info = env.step(action)
image.imsave("plan_and_explain.png", env.render())

# %%
# ![Half a minute of the planner that saves data](plan_and_explain.png)
#
# [Planner](../planner.md) says how a decision is made.
