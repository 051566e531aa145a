"""Patience: how long a stall is borne, as a table of the share of viewers who bear longer ones.

`at_s` [T] rises and `share` [T] falls from 1. Between two rows the share falls at a constant hazard, and to a share of
0 linearly. Beyond the last row the last hazard stays. No rows at all, or a last hazard of 0, mean endless patience.
"""

import numpy as np

from ppgym.core.jit import kernel
from ppgym.core.state import F8, NEVER_S

LEAST_SHARE = 1e-300  # keeps logarithms finite


@kernel
def last_hazard(at_s: F8, share: F8) -> float:
    """The hazard beyond the last row.

    Args:
        at_s: [T] stall seconds.
        share: [T] P(patience > at_s).

    Returns:
        Per second; 0 where patience is endless from there on.
    """
    last = at_s.shape[0] - 1
    if last < 1 or share[last] == share[last - 1] or at_s[last] == at_s[last - 1]:
        return 0.0
    return np.log(share[last - 1] / share[last]) / (at_s[last] - at_s[last - 1])


@kernel
def patience_of(at_s: F8, share: F8, level: float) -> float:
    """The patience that a share of viewers exceeds: with a uniform level, a draw.

    Args:
        at_s: [T] stall seconds.
        share: [T] P(patience > at_s).
        level: In [0, 1).

    Returns:
        Seconds; `NEVER_S` for endless patience.
    """
    for k in range(1, at_s.shape[0]):
        if level >= share[k]:
            if share[k] == 0.0:
                passed = (share[k - 1] - level) / share[k - 1]
            else:
                passed = np.log(share[k - 1] / level) / np.log(share[k - 1] / share[k])
            return at_s[k - 1] + passed * (at_s[k] - at_s[k - 1])
    last = at_s.shape[0] - 1
    if last < 1:
        return NEVER_S
    hazard = last_hazard(at_s, share)
    if hazard == 0.0:
        return NEVER_S
    return at_s[last] + np.log(share[last] / max(level, LEAST_SHARE)) / hazard


@kernel
def patience_share(at_s: F8, share: F8, stall_s: float) -> float:
    """P(patience > a stall).

    Args:
        at_s: [T] stall seconds.
        share: [T] P(patience > at_s).
        stall_s: Seconds.

    Returns:
        Probability.
    """
    last = at_s.shape[0] - 1
    if last < 1 or stall_s < at_s[0]:
        return 1.0
    for k in range(1, at_s.shape[0]):
        if stall_s < at_s[k]:
            passed = (stall_s - at_s[k - 1]) / (at_s[k] - at_s[k - 1])
            if share[k] == 0.0:
                return share[k - 1] * (1.0 - passed)
            return share[k - 1] * (share[k] / share[k - 1]) ** passed
    if share[last] == 0.0:
        return 0.0
    return share[last] * np.exp(-last_hazard(at_s, share) * (stall_s - at_s[last]))
