"""One decision as the shells see it: transition, reward, mask, observation and info, over an array of states.

The environment is this over one state, the vector environment over many. Nothing here adds to the physics.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ppgym.core.actions import Mask, fill_mask, find_candidates
from ppgym.core.dynamics import reset_state, transition
from ppgym.core.episodes import Sims, take_sim
from ppgym.core.events import EventLog
from ppgym.core.jit import kernel
from ppgym.core.observation import Features, observe
from ppgym.core.qoe import REWARD_TERMS, reward_terms, totals_of
from ppgym.core.state import F4, F8, I4, I8, LOOKAHEAD, SLOTS, U1, UNITS, StateRecord

# What a call does with each state
SKIP = 0
STEP = 1
RESTART = 2

# Columns of StepResults.info: totals of the episode, then what belongs to this step alone
INFO_TOTALS = (
    "time_s",
    "played_s",
    "rebuffer_s",
    "quality",
    "switch",
    "downloaded_bytes",
    "wasted_bytes",
    "decode_busy_s",
    "energy_j",
    "videos_watched",
    "videos_abandoned",
)
INFO_STEP = ("elapsed_s", *(f"reward_{name}" for name in REWARD_TERMS), "invalid_action")
INFO_COLUMNS = INFO_TOTALS + INFO_STEP
(
    TIME_S,
    PLAYED_S,
    REBUFFER_S,
    QUALITY,
    SWITCH,
    DOWNLOADED,
    WASTED,
    BUSY_S,
    ENERGY_J,
    VIDEOS_WATCHED,
    VIDEOS_ABANDONED,
) = range(len(INFO_TOTALS))
ELAPSED_S = INFO_COLUMNS.index("elapsed_s")
FIRST_TERM = INFO_COLUMNS.index(f"reward_{REWARD_TERMS[0]}")
INVALID_ACTION = INFO_COLUMNS.index("invalid_action")


class StepResults(NamedTuple):
    """Where a call writes, one row a state."""

    observation: F4  # [N, size]
    mask: Mask  # [N, 1 + S * L * O]
    info: F8  # [N, len(INFO_COLUMNS)]
    reward: F8  # [N]
    terminated: npt.NDArray[np.bool_]  # [N]
    truncated: npt.NDArray[np.bool_]  # [N]
    candidates: I4  # [S, L] scratch


def new_results(count: int, observation_size: int, actions: int) -> StepResults:
    """Room for the results of a call.

    Args:
        count: N.
        observation_size: Length of an observation.
        actions: Size of the action space.

    Returns:
        Blank results.
    """
    return StepResults(
        observation=np.zeros((count, observation_size), np.float32),
        mask=np.zeros((count, actions), np.int8),
        info=np.zeros((count, len(INFO_COLUMNS))),
        reward=np.zeros(count),
        terminated=np.zeros(count, np.bool_),
        truncated=np.zeros(count, np.bool_),
        candidates=np.zeros((SLOTS, LOOKAHEAD), np.int32),
    )


@kernel
def write_totals(state: StateRecord, info: F8) -> None:
    """Write the totals of an episode.

    Args:
        state: Record of `STATE_DTYPE`.
        info: Output [>= len(INFO_TOTALS)], in the order of `INFO_TOTALS`.
    """
    info[TIME_S] = state.time_s
    info[PLAYED_S] = state.played_s
    info[REBUFFER_S] = state.rebuffer_s
    info[QUALITY] = state.quality
    info[SWITCH] = state.switch
    info[DOWNLOADED] = state.downloaded_bytes
    info[WASTED] = state.wasted_bytes
    busy_s = 0.0
    for unit in range(UNITS):
        busy_s += state.busy_s[unit]
    info[BUSY_S] = busy_s
    info[ENERGY_J] = state.energy_j
    info[VIDEOS_WATCHED] = state.video
    info[VIDEOS_ABANDONED] = state.abandoned


@kernel
def step_many(
    sims: Sims,
    features: Features,
    states: np.ndarray,
    todo: U1,
    actions: I8,
    results: StepResults,
    log: EventLog | None = None,
) -> None:
    """Step or restart states and write what a client then sees.

    Args:
        sims: The scenario, and a hidden draw for each state.
        features: What of the observation is constant.
        states: [N] of `STATE_DTYPE`.
        todo: [N] of `SKIP`, `STEP` and `RESTART`.
        actions: [N] of action indices.
        results: Output; rows of skipped states are left alone.
        log: Where to write events (of all states), or None.
    """
    for i in range(states.shape[0]):
        if todo[i] == SKIP:
            continue
        state = states[i]
        sim = take_sim(sims, i)
        info = results.info[i]
        if todo[i] == STEP:
            time_s = state.time_s
            before = totals_of(state)
            transition(sim, state, actions[i], log)
            results.reward[i] = reward_terms(sim.params, before, totals_of(state), info[FIRST_TERM:])
            info[ELAPSED_S] = state.time_s - time_s
        else:
            reset_state(sim, state, log)
            results.reward[i] = 0.0
            info[:] = 0.0
        write_totals(state, info)
        info[INVALID_ACTION] = state.invalid_action
        results.terminated[i] = state.terminated
        results.truncated[i] = state.truncated
        find_candidates(sim, state, results.candidates)
        fill_mask(sim, state, results.candidates, results.mask[i])
        observe(sim, state, features, results.candidates, results.observation[i])
