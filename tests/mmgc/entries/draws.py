"""An entry that draws from the global generators, as it is made, initialized and run."""

import random

import numpy as np


class Algorithm:
    def __init__(self):
        self.noise = np.random.rand(3)  # noqa: NPY002

    def Initialize(self):  # noqa: N802
        self.order = np.random.permutation(3)  # noqa: NPY002

    def run(self, delay, rebuf, video_size, end_of_video, play_video_id, Players, first_step=False):  # noqa: N803
        seqs = [seq for seq, player in enumerate(Players) if player.get_remain_video_num() > 0]
        if not seqs or np.random.rand() < 0.1 * self.noise[0]:  # noqa: NPY002
            return play_video_id, 0, random.uniform(10.0, 900.0)
        seq = seqs[0] if random.random() < 0.7 else random.choice(seqs)
        return play_video_id + seq, self.order[np.random.randint(3)], 0  # noqa: NPY002
