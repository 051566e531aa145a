"""A Gymnasium benchmark for computation-powered short-video preloading.

What lives here: the version, the registration of the environment and the public names. No behaviour.
"""

import gymnasium

from ppgym.catalog import Catalog, Representation, Video
from ppgym.core.state import Episode
from ppgym.devices import DeviceProfile
from ppgym.scenario import QoEWeights, Scenario, make_world, sample_episode
from ppgym.traces import NetworkTrace
from ppgym.view import PlanningView
from ppgym.viewers import RetentionCurve, ViewerProfile

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
