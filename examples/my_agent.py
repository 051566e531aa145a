"""A policy of one's own: prompts for the videos to come while the NPU is free, small pixels otherwise.

python evaluate.py run --agents examples.my_agent:MyAgent greedy on_demand --suite quick
"""

from ppgym.core.state import UNIT_NAMES

NPU = UNIT_NAMES.index("npu")


class MyAgent:
    """Fetches the earliest video that has less than three seconds ahead."""

    def __init__(self, client, *, seed=None):
        """Take the client, which shows what may be known; `seed` is for policies that draw."""
        self.client = client

    def predict(self, observation, state=None, episode_start=None, deterministic=False, action_masks=None):
        """Return an action and a state, as Stable-Baselines3 does."""
        view = self.client.planning_view()
        pixels = [i for i, option in enumerate(view.options) if option.unit == "vdec"]  # the smallest first
        prompts = [i for i, option in enumerate(view.options) if option.unit == "npu"][::-1]
        npu_free = view.state.job_video[NPU] < 0
        for slot in range(len(view.candidates)):
            ahead = view.candidates[slot, 0] - (view.state.playhead if slot == 0 else 0)
            for option in prompts + pixels if npu_free and slot > 0 else pixels:
                action = 1 + slot * 4 * len(view.options) + option
                if ahead < 3 and view.action_mask[action]:
                    return action, state
        return 0, state  # wait
