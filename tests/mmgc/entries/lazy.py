"""An entry with a package `agents` of its own, imported late, and files that it opens by relative paths."""

import json
import pickle
import sys

sys.path.append("./submit/results")


class Algorithm:
    def Initialize(self):  # noqa: N802
        self.agent = None

    def run(self, delay, rebuf, video_size, end_of_video, play_video_id, Players, first_step=False):  # noqa: N803
        if self.agent is None:
            import numpy as np
            import shared  # beside run.py
            from agents.brain import Brain
            from simulator import video_player

            assert shared.HERE and not hasattr(sys.modules["agents"], "make_agent")
            with open("submit/results/brain.pickle", "rb") as file:
                self.agent = pickle.load(file)
            assert isinstance(self.agent, Brain)
            self.rungs = json.load(open("submit/results/rungs.json"))
            self.levels = np.array([video_player.BITRATE_LEVELS])
        choice = self.agent.choose(Players)
        if choice is None:
            return play_video_id, 0, self.levels * 100.0  # an array of one number
        return play_video_id + choice, self.rungs[int(self.levels[0]) % len(self.rungs)], 0
