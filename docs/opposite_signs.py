"""Whether two boards contradict each other: `python docs/opposite_signs.py` prints in how many redraws they do.

Two boards contradict each other where some pair of agents differs significantly in both, after Holm's correction over
all pairs, with opposite signs. The committed run of the default scenario has the same 256 sessions of every agent. Two
boards are drawn from it in two ways: 256 sessions each, with replacement, or the two halves of a random partition,
which share no session.
"""

import itertools
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from ppgym.benchmark.estimates import holm, ratio_estimate
from ppgym.benchmark.records import read_records, returns_and_minutes
from ppgym.core.state import F8

RUN = Path(__file__).parent / "results" / "default"
SESSIONS = 256  # of a board that is drawn with replacement
REDRAWS = 200
CERTAIN = 0.05  # an adjusted p value below it


def read_run(folder: Path = RUN) -> tuple[list[str], F8, F8]:
    """The sessions of a committed run of one scenario.

    Args:
        folder: Of the run.

    Returns:
        Names of the A agents, their returns [A, n], and the drawn watch minutes [n].
    """
    by_agent: dict[str, dict[int, dict[str, object]]] = {}
    for record in read_records(folder):
        by_agent.setdefault(record["agent"], {})[record["seed"]] = record
    played = [returns_and_minutes([sessions[seed] for seed in sorted(sessions)]) for sessions in by_agent.values()]
    return list(by_agent), np.array([returns for returns, _ in played]), played[0][1]


def significant_signs(returns: F8, minutes: F8) -> npt.NDArray[np.int8]:
    """Which agent of each pair is better, where a board tells.

    Args:
        returns: [A, n] of A agents in the same sessions.
        minutes: [n].

    Returns:
        For each pair in the order of `itertools.combinations`: 1, -1, or 0 where the difference is not significant.
    """
    pairs = itertools.combinations(returns, 2)
    found = [ratio_estimate(one - other, minutes) for one, other in pairs]
    p_values = [2.0 * float(ndtr(-abs(each.value) / each.error)) if each.error > 0.0 else 1.0 for each in found]
    certain = np.array(holm(p_values)) < CERTAIN
    return (certain * np.sign([each.value for each in found])).astype(np.int8)


def contradictions(returns: F8, minutes: F8, *, disjoint: bool, redraws: int = REDRAWS, seed: int = 0) -> list[int]:
    """How many pairs of agents two boards contradict each other in, for each redraw.

    Args:
        returns: [A, n] of A agents in the same sessions.
        minutes: [n].
        disjoint: Whether the boards are halves of the sessions, instead of `SESSIONS` each with replacement.
        redraws: How many pairs of boards are drawn.
        seed: Of the draws.
    """
    rng = np.random.default_rng(seed)
    counts = []
    for _ in range(redraws):
        order = rng.permutation(len(minutes))
        boards = np.array_split(order, 2) if disjoint else [rng.choice(order, SESSIONS) for _ in range(2)]
        one, other = (significant_signs(returns[:, board], minutes[board]) for board in boards)
        counts.append(int((one * other < 0).sum()))
    return counts


def main() -> None:
    """Draw boards of the committed run and print what came of them."""
    agents, returns, minutes = read_run()
    told, pairs = np.count_nonzero(significant_signs(returns, minutes)), len(agents) * (len(agents) - 1) // 2
    print(f"{len(agents)} agents, {pairs} pairs; a board of all {len(minutes)} sessions tells {told} of them apart")
    for disjoint, words in ((False, f"{SESSIONS} sessions drawn with replacement"), (True, "disjoint halves")):
        counts = contradictions(returns, minutes, disjoint=disjoint)
        print(f"{words}: {np.count_nonzero(counts)} of {len(counts)} pairs of boards contradict each other")


if __name__ == "__main__":
    main()
