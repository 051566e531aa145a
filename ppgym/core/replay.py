"""Recorded actions played again on the bare kernel, many episodes in one call: no observations, no masks.

Nothing here adds to the physics; what an action is worth comes from `qoe`, as in `step`.
"""

import numpy as np
import numpy.typing as npt

from ppgym.core.actions import WAIT
from ppgym.core.dynamics import reset_state, transition
from ppgym.core.episodes import Episodes, Links, take_episode
from ppgym.core.jit import noinline
from ppgym.core.qoe import REWARD_TERMS, reward_terms, totals_of
from ppgym.core.state import F8, I4, UNIT_NAMES, UNITS, CatalogArrays, Params
from ppgym.core.step import INFO_TOTALS, write_totals

REPLAY_COLUMNS = (
    "return",
    *INFO_TOTALS,
    *(f"reward_{name}" for name in REWARD_TERMS),
    *(f"busy_{name}_s" for name in UNIT_NAMES),
)
"""What a replay tells of an episode: the return, the totals of `info`, the sums of the reward's terms, and the busy
seconds of each unit."""

FIRST_TERM = REPLAY_COLUMNS.index(f"reward_{REWARD_TERMS[0]}")
FIRST_UNIT = REPLAY_COLUMNS.index(f"busy_{UNIT_NAMES[0]}_s")


@noinline
def replay_many(
    params: Params,
    catalog: CatalogArrays,
    links: Links,
    episodes: Episodes,
    states: np.ndarray,
    draws: I4,
    first: npt.NDArray[np.int64],
    actions: npt.NDArray[np.int64],
    totals: F8,
    requests: I4,
    played: npt.NDArray[np.int64],
    step_terms: F8,
) -> None:
    """Play N records; an episode that ends early leaves the rest of its actions unplayed.

    Args:
        params: The scenario's constants.
        catalog: The catalog.
        links: The pool of traces.
        episodes: The hidden draws.
        states: [N] of `STATE_DTYPE`, room for the last states.
        draws: [N] which draw each record is of.
        first: [N + 1] place in `actions` of each record's first action, and their end.
        actions: [first[N]] indices of actions, one record after the other.
        totals: Output [N, len(REPLAY_COLUMNS)].
        requests: Output [N, R] legal requests, by representation.
        played: Output [N] actions played.
        step_terms: [5] scratch.
    """
    options = params.option_representation.shape[0]
    for i in range(states.shape[0]):
        state, row = states[i], totals[i]
        episode = take_episode(episodes, links, draws[i])
        reset_state(params, catalog, episode, state, None)
        total = 0.0
        row[:] = 0.0
        step = first[i]
        while step < first[i + 1] and not (state.terminated or state.truncated):
            action = actions[step]
            before = totals_of(state)
            transition(params, catalog, episode, state, action, None)
            total += reward_terms(params, before, totals_of(state), step_terms)
            for term in range(step_terms.shape[0]):
                row[FIRST_TERM + term] += step_terms[term]
            if action != WAIT and not state.invalid_action:
                requests[i, params.option_representation[(action - 1) % options]] += 1
            step += 1
        played[i] = step - first[i]
        row[0] = total
        write_totals(state, row[1:])
        for unit in range(UNITS):
            row[FIRST_UNIT + unit] = state.busy_s[unit]
