"""What a learned agent may do: all that is legal, except to wait in a stall while the needed chunk can be requested.

Training, acting and the exported graph share this rule. It follows from the observation and the legal actions; what is
legal is in `ppgym.core.actions`.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from ppgym.core.actions import WAIT
from ppgym.core.observation import Layout
from ppgym.core.state import LOOKAHEAD, SLOTS

Flags = npt.NDArray[np.bool_]


def may_wait(observations: Any, masks: Any, layout: Layout) -> Any:
    """Where an agent may wait: the picture moves, or the chunk that it needs next cannot be requested.

    Elsewhere waiting changes nothing but the clock. A policy that chooses its likeliest action may then wait again and
    again, until the session's time is up.

    Args:
        observations: [B, size], an array of NumPy or a tensor of torch.
        masks: bool [B, 1 + S * L * O] of the same kind, true where an action is legal.
        layout: Of the observation.

    Returns:
        bool [B] of the same kind.
    """
    options = (masks.shape[1] - 1) // (SLOTS * LOOKAHEAD)
    frozen = observations[:, layout.playing] == 0.0
    needed_next = observations[:, layout.candidate_ahead] == 0.0  # the current video's first candidate
    requestable = masks[:, 1 : 1 + options].any(1)
    return ~(frozen & needed_next & requestable)


def without_idling(observations: npt.NDArray[np.float32], masks: Flags, layout: Layout) -> Flags:
    """Masks without `WAIT` where `may_wait` forbids it.

    Args:
        observations: [B, size].
        masks: [B, 1 + S * L * O], true where an action is legal.
        layout: Of the observation.

    Returns:
        [B, 1 + S * L * O]; some action is always left.
    """
    narrowed = masks.copy()
    narrowed[:, WAIT] &= may_wait(observations, masks, layout)
    return narrowed
