"""A policy in a few lines: prompts where the NPU is idle, pixels otherwise, the current video first.

python evaluate.py run --agents examples.my_agent:MyAgent greedy on_demand --suite quick
"""

import numpy as np


class MyAgent:
    """Fetches the next chunk of the earliest video that has less than five seconds ahead."""

    def __init__(self, env, *, seed=None):
        """Take the environment; `seed` is for policies that draw."""
        self.env = env.unwrapped

    def predict(self, observation, state=None, episode_start=None, deterministic=False, action_masks=None):
        """Return an action and a state, as Stable-Baselines3 does."""
        view = self.env.planning_view()
        n_options = len(view.options)
        requests = view.action_mask[1:].reshape(-1, 4, n_options)[:, 0]  # [slot, option], the next chunk of each video
        npu_busy = view.state.job_video[2] >= 0
        wanted = [i for i, option in enumerate(view.options) if option.unit == ("vdec" if npu_busy else "npu")]
        for slot in range(len(requests)):
            legal = [i for i in wanted if requests[slot, i]] or np.flatnonzero(requests[slot])
            if len(legal) and view.candidates[slot, 0] < 5:
                return 1 + slot * 4 * n_options + int(legal[-1]), state
        return 0, state
