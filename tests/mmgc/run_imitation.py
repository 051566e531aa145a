"""An imitation of the challenge's run.py: its import rules and its loop, around the tests' own writing of the rules.

The tests copy it into folders of the official layout, with `oracle.py` as simulator/controller.py.
"""

import sys

sys.path.append("./simulator/")
import argparse
import json
import random
from pathlib import Path

import numpy as np
from simulator import controller

parser = argparse.ArgumentParser()
parser.add_argument("--solution", default="./")
parser.add_argument("--trace", default="low")
args = parser.parse_args()
np.random.seed(42)  # noqa: NPY002
seeds = np.random.randint(100, size=(7, 2))  # noqa: NPY002
remembered = [None] * 7


def reseed(player, pair):
    churn = [1.0 - float(share) for share in player.shares]
    np.random.seed(pair[0])  # noqa: NPY002
    second = np.random.choice(player.times[:-1], p=np.diff(churn))  # noqa: NPY002
    if second != player.times[-2]:
        random.seed(pair[1])  # a NumPy number
        random.uniform(second, second + 1000)


def play(trace):
    sys.path.append(args.solution)
    import solution

    sys.path.remove(args.solution)
    algorithm = solution.Algorithm()
    algorithm.Initialize()
    session = controller.Oracle(Path("data"), args.trace, trace, seeds.tolist(), remembered)
    players = [controller.OfficialPlayer(player) for player in session.players]
    window, entered, actions = [], 0, []
    told = (0, 0, 0, False, 0)
    while session.score is None:
        while entered < min(session.playing + 5, 7):
            reseed(session.players[entered], seeds[entered])
            entered += 1
        window[:] = [players[video] for video in session.window()]
        video, rung, sleep = algorithm.run(*told, window, not actions)
        sleep = np.asarray(sleep).item()  # NumPy 1 takes an array of one number for a number
        if not actions:
            assert 0 <= rung <= 2
        assert 0 <= video - session.playing < len(window)
        actions.append(
            [session.playing, 0, float(sleep)] if sleep > 0 else [int(video), int(rung), min(float(sleep), 0.0)]
        )
        delay, stall, size, end, playing, _, _ = session.step(video, rung, sleep)
        if sleep > 0 and playing < 7:
            players[playing].get_remain_video_num()
        told = (delay, np.float64(stall) if stall else 0, float(size) if size else 0, end, playing)
    figures = [session.score, session.bytes, session.qoe, session.wasted, session.ratio()]
    return {"actions": actions, "figures": [float(figure) for figure in figures]}


for trace in range(len(list(Path("data/network_traces", args.trace).iterdir()))):
    print(json.dumps(play(trace)))
