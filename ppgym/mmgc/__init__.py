"""The simulator of the ACM MM 2022 Grand Challenge "Short Video Streaming", reproduced exactly.

Figures are the official ones (github.com/AItransCompetition/Short-Video-Streaming-Challenge), quirks included; each
quirk is named in a comment where it is reproduced. This is the one part of ppgym with a physics of its own, and nothing
else in ppgym follows these rules.

    dataset = MMGCDataset.load(folder)
    session = dataset.session("low", 0, viewer_seeds(0))
    while not session.done:
        step = session.step(session.playing_video, rung=0, sleep_ms=0)
    session.result()

What lives where: `kernel` is the arithmetic, `dataset` reads the files and draws viewers, `session` is one session and
what a policy may see of it, `policies` has the two official ones, `evaluation` runs solutions and makes the table.
"""

from ppgym.mmgc.dataset import MMGCDataset, MMGCRetention, MMGCTrace
from ppgym.mmgc.evaluation import evaluate, load_solution, play, print_table, run_solution, viewer_seeds
from ppgym.mmgc.policies import OFFICIAL_POLICIES, Algorithm, AlgorithmFactory, FixedPreload, NoSave
from ppgym.mmgc.session import MMGCPlayer, MMGCResult, MMGCSession, MMGCStep

__all__ = [
    "OFFICIAL_POLICIES",
    "Algorithm",
    "AlgorithmFactory",
    "FixedPreload",
    "MMGCDataset",
    "MMGCPlayer",
    "MMGCResult",
    "MMGCRetention",
    "MMGCSession",
    "MMGCStep",
    "MMGCTrace",
    "NoSave",
    "evaluate",
    "load_solution",
    "play",
    "print_table",
    "run_solution",
    "viewer_seeds",
]
