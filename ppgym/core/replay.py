"""Recorded actions played again on the bare kernel, many episodes in one call: no observations, no masks.

Nothing here adds to the physics; what an action is worth comes from `qoe`, as in `step`.
"""

from typing import NamedTuple

import numpy as np

from ppgym.core.actions import WAIT, Mask, action_count, fill_mask, find_candidates
from ppgym.core.dynamics import reset_state, transition
from ppgym.core.episodes import Sims, take_sim
from ppgym.core.jit import kernel, noinline
from ppgym.core.qoe import REWARD_TERMS, reward_terms, totals_of
from ppgym.core.state import F8, I4, I8, LOOKAHEAD, SLOTS, UNIT_NAMES, UNITS, Sim, StateRecord, new_states
from ppgym.core.step import INFO_TOTALS, write_totals

REPLAY_COLUMNS = (
    "return",
    *INFO_TOTALS,
    *(f"reward_{name}" for name in REWARD_TERMS),
    *(f"busy_{name}_s" for name in UNIT_NAMES),
    "truncated",
    "videos_starved",
    "invalid_actions",
    "idle_waits",
)
"""What a replay tells of an episode: the return, the totals of `info`, the sums of the reward's terms, the busy seconds
of each unit, and what shows a mistake: the end by truncation, videos that were abandoned while the playhead's chunk was
not requested, illegal actions, and waits in a stall while a request was legal."""

RETURN = REPLAY_COLUMNS.index("return")
FIRST_TOTAL = REPLAY_COLUMNS.index(INFO_TOTALS[0])
FIRST_TERM = REPLAY_COLUMNS.index(f"reward_{REWARD_TERMS[0]}")
FIRST_UNIT = REPLAY_COLUMNS.index(f"busy_{UNIT_NAMES[0]}_s")
TRUNCATED, STARVED, INVALID, IDLE_WAITS = range(REPLAY_COLUMNS.index("truncated"), len(REPLAY_COLUMNS))


class Recorded(NamedTuple):
    """The actions of N records, one record after the other."""

    draws: I4  # [N] which draw each record is of
    first: I8  # [N + 1] place in `actions` of each record's first action, and their end
    actions: I8  # [first[N]]


class ReplayResults(NamedTuple):
    """Where a replay writes, one row a record."""

    states: np.ndarray  # [N] of STATE_DTYPE, the last states
    totals: F8  # [N, len(REPLAY_COLUMNS)]
    requests: I4  # [N, R] legal requests, by representation
    played: I8  # [N] actions played
    terms: F8  # [len(REWARD_TERMS)] scratch
    candidates: I4  # [S, L] scratch
    mask: Mask  # [1 + S * L * O] scratch


def new_replay_results(count: int, representations: int, options: int) -> ReplayResults:
    """Room for the results of a replay.

    Args:
        count: N.
        representations: R.
        options: O.

    Returns:
        Blank results.
    """
    return ReplayResults(
        states=new_states(count),
        totals=np.zeros((count, len(REPLAY_COLUMNS))),
        requests=np.zeros((count, representations), np.int32),
        played=np.zeros(count, np.int64),
        terms=np.zeros(len(REWARD_TERMS)),
        candidates=np.zeros((SLOTS, LOOKAHEAD), np.int32),
        mask=np.zeros(action_count(options), np.int8),
    )


@kernel
def is_idle_wait(sim: Sim, state: StateRecord, action: int, results: ReplayResults) -> bool:
    """Whether an action waits in a stall although a request is legal.

    Args:
        sim: The scenario and the hidden draw.
        state: Record of `STATE_DTYPE`, before the action.
        action: The action.
        results: Its scratch is used.

    Returns:
        True where it does.
    """
    if action != WAIT or state.playing:
        return False
    find_candidates(sim, state, results.candidates)
    fill_mask(sim, state, results.candidates, results.mask)
    return bool(results.mask[1:].any())


@noinline
def replay_many(sims: Sims, recorded: Recorded, results: ReplayResults) -> None:
    """Play N records; an episode that ends early leaves the rest of its actions unplayed.

    Args:
        sims: The scenario and the hidden draws.
        recorded: The records.
        results: Output.
    """
    params, first, actions = sims.params, recorded.first, recorded.actions
    options = params.option_representation.shape[0]
    for i in range(recorded.draws.shape[0]):
        state, row = results.states[i], results.totals[i]
        sim = take_sim(sims, recorded.draws[i])
        reset_state(sim, state, None)
        total = 0.0
        row[:] = 0.0
        step = first[i]
        while step < first[i + 1] and not (state.terminated or state.truncated):
            action = actions[step]
            before = totals_of(state)
            row[IDLE_WAITS] += is_idle_wait(sim, state, action, results)
            transition(sim, state, action, None)
            row[INVALID] += state.invalid_action
            total += reward_terms(params, before, totals_of(state), results.terms)
            for term in range(results.terms.shape[0]):
                row[FIRST_TERM + term] += results.terms[term]
            if action != WAIT and not state.invalid_action:
                results.requests[i, params.option_representation[(action - 1) % options]] += 1
            step += 1
        results.played[i] = step - first[i]
        row[RETURN] = total
        write_totals(state, row[FIRST_TOTAL:])
        for unit in range(UNITS):
            row[FIRST_UNIT + unit] = state.busy_s[unit]
        row[TRUNCATED], row[STARVED] = state.truncated, state.starved
