"""The simulator of the ACM MM 2022 Grand Challenge "Short Video Streaming", reproduced exactly.

Figures equal the official ones (github.com/AItransCompetition/Short-Video-Streaming-Challenge), quirks included. A
comment names each quirk where it is reproduced. No other part of ppgym follows these rules.

    dataset = MMGCDataset.load(folder)
    session = MMGCSession(dataset, "low", 0, viewer_seeds(0))
    while not session.done:
        step = session.step(session.playing_video, rung=0, sleep_ms=0)
    session.result()

What lives where: `kernel` is the arithmetic, `dataset` reads the files and draws viewers, `session` is one session and
what a policy may see of it, `policies` has the two official ones, and `runner` runs solutions; other people's live in
processes of their own (`ppgym.entries`). `ppgym.benchmark.challenge` makes the table and its records.
Between ppgym and the challenge: `follower` shows a session as ppgym's agents know it, `env` is the Gymnasium
environment `PromptPreamMMGC-v0`, and `solution` makes an official solution of an agent.
"""

from ppgym.entries.player import MMGCPlayer
from ppgym.entries.process import Entry, EntryError, load_solution
from ppgym.mmgc.dataset import MMGCDataset, MMGCRetention, MMGCTrace, viewer_seeds
from ppgym.mmgc.env import MMGCEnv, MMGCSnapshot
from ppgym.mmgc.policies import OFFICIAL_POLICIES, Algorithm, AlgorithmFactory, FixedPreload, NoSave
from ppgym.mmgc.runner import play, run_solution
from ppgym.mmgc.session import MMGCResult, MMGCSession, MMGCStep
from ppgym.mmgc.solution import as_solution

__all__ = [
    "OFFICIAL_POLICIES",
    "Algorithm",
    "AlgorithmFactory",
    "Entry",
    "EntryError",
    "FixedPreload",
    "MMGCDataset",
    "MMGCEnv",
    "MMGCPlayer",
    "MMGCResult",
    "MMGCRetention",
    "MMGCSession",
    "MMGCSnapshot",
    "MMGCStep",
    "MMGCTrace",
    "NoSave",
    "as_solution",
    "load_solution",
    "play",
    "run_solution",
    "viewer_seeds",
]
