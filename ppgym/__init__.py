"""A Gymnasium benchmark for computation-powered short-video preloading.

An episode is a viewer's session in a feed of short videos. The agent chooses what is downloaded next:

>>> import gymnasium
>>> import ppgym  # registers the environment
>>> env = gymnasium.make("PromptPream-v0", scenario="low/snapdragon-8-elite/typical", split="train")
>>> observation, info = env.reset(seed=0)
>>> _ = env.action_space.seed(0)
>>> ended = False
>>> while not ended:
...     action = env.action_space.sample(mask=info["action_mask"])  # your policy here
...     observation, reward, terminated, truncated, info = env.step(action)
...     ended = terminated or truncated
>>> print(f"played {info['played_s']:.1f} s, stalled {info['rebuffer_s']:.1f} s")
played 37.1 s, stalled 113.1 s

What a scenario is made of: `Scenario`, `QoEWeights`, `NetworkTrace`, `Catalog`, `Video`, `Representation`,
`DeviceProfile`, `ViewerProfile` and `RetentionCurve`. What the kernel plays: `make_world`, and `sample_episode`, which
draws an `Episode`. An agent is handed a `Client` (`client_of` takes that of an environment) and plans from a
`PlanningView`.
"""

import gymnasium

from ppgym.client import Client, client_of
from ppgym.core.state import Episode
from ppgym.planning_view import PlanningView
from ppgym.world.devices import DeviceProfile
from ppgym.world.ladders import Representation
from ppgym.world.networks import NetworkTrace
from ppgym.world.qoe_weights import QoEWeights
from ppgym.world.scenario import Scenario, make_world, sample_episode
from ppgym.world.videos import Catalog, Video
from ppgym.world.viewers import RetentionCurve, ViewerProfile

__version__ = "0.1.0"

__all__ = [
    "Catalog",
    "Client",
    "DeviceProfile",
    "Episode",
    "NetworkTrace",
    "PlanningView",
    "QoEWeights",
    "Representation",
    "RetentionCurve",
    "Scenario",
    "Video",
    "ViewerProfile",
    "__version__",
    "client_of",
    "make_world",
    "sample_episode",
]

if "PromptPream-v0" not in gymnasium.registry:
    gymnasium.register(
        id="PromptPream-v0",
        entry_point="ppgym.env:PromptPreamEnv",
        vector_entry_point="ppgym.vector_env:PromptPreamVectorEnv",
    )
if "PromptPreamMMGC-v0" not in gymnasium.registry:
    gymnasium.register(id="PromptPreamMMGC-v0", entry_point="ppgym.mmgc.env:MMGCEnv")
if "PromptPreamLive-v0" not in gymnasium.registry:
    gymnasium.register(id="PromptPreamLive-v0", entry_point="ppgym.live.env:PromptPreamLiveEnv")
