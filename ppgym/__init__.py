"""A Gymnasium benchmark for computation-powered short-video preloading.

What lives here: the version, the registration of the environment and the public names. No behaviour.
"""

import gymnasium

from ppgym.core.state import Episode
from ppgym.planning_view import PlanningView
from ppgym.world.devices import DeviceProfile
from ppgym.world.ladders import Representation
from ppgym.world.networks import NetworkTrace
from ppgym.world.scenario import QoEWeights, Scenario, make_world, sample_episode
from ppgym.world.videos import Catalog, Video
from ppgym.world.viewers import RetentionCurve, ViewerProfile

__version__ = "0.1.0"

__all__ = [
    "Catalog",
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
