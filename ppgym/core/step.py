"""One decision as the shells see it: transition, reward, mask, observation and info, over an array of states.

The environment is this over one state, the vector environment over many. Nothing here adds to the physics.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ppgym.core.actions import WAIT, Mask, action_count, fill_slot_mask, find_candidates, find_fitting, is_whole
from ppgym.core.dynamics import reset_state, transition
from ppgym.core.episodes import Episodes, Sims, take_sim
from ppgym.core.events import EventLog
from ppgym.core.jit import kernel, nogil
from ppgym.core.observation import Features, observe_candidates, observe_constants, observe_situation
from ppgym.core.qoe import REWARD_TERMS, reward_terms, totals_of
from ppgym.core.state import F4, F8, I4, I8, LOOKAHEAD, NO_ENTRY, SLOTS, U1, UNITS, Sim, StateRecord

# What a call does with each state
SKIP = 0
STEP = 1
RESTART = 2

BLANK = -2  # in `StepResults.shown`: nothing has been written yet

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
    candidates: I4  # [S, L] of the last state
    shown: I4  # [N, S, 1 + L] what each row shows of each slot: the video's catalog index, and its candidates
    fitting: U1  # [N, O] what `find_fitting` found for each row


class Share(NamedTuple):
    """Arguments of `step_many` for all states, or for some of them."""

    sims: Sims
    features: Features
    states: np.ndarray
    todo: U1
    actions: I8
    results: StepResults
    log: EventLog | None = None


def new_results(count: int, observation_size: int, options: int) -> StepResults:
    """Room for the results of a call.

    Args:
        count: N.
        observation_size: Length of an observation.
        options: O.

    Returns:
        Blank results.
    """
    return StepResults(
        observation=np.zeros((count, observation_size), np.float32),
        mask=np.zeros((count, action_count(options)), np.int8),
        info=np.zeros((count, len(INFO_COLUMNS))),
        reward=np.zeros(count),
        terminated=np.zeros(count, np.bool_),
        truncated=np.zeros(count, np.bool_),
        candidates=np.zeros((SLOTS, LOOKAHEAD), np.int32),
        shown=np.full((count, SLOTS, 1 + LOOKAHEAD), BLANK, np.int32),
        fitting=np.zeros((count, options), np.uint8),
    )


def share_out(parts: int, whole: Share) -> list[Share]:
    """Cut the arrays of a call into parts of about the same length, which threads may work on side by side.

    Args:
        parts: How many.
        whole: The arrays.

    Returns:
        Views of them, each with scratch of its own.
    """
    sims, features, states, todo, actions, results, _ = whole
    bounds = np.linspace(0, len(states), parts + 1).astype(int).tolist()
    shares = []
    for part in range(parts):
        first, end = bounds[part], bounds[part + 1]
        rows: list[Any] = [array[first:end] for array in results]
        own = StepResults(*rows)._replace(candidates=np.zeros_like(results.candidates))
        draws: list[Any] = [array[first:end] for array in sims.episodes]
        own_sims = sims._replace(episodes=Episodes(*draws))
        shares.append(Share(own_sims, features, states[first:end], todo[first:end], actions[first:end], own))
    return shares


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
def write_situation(sim: Sim, state: StateRecord, features: Features, results: StepResults, i: int) -> None:
    """Write all that follows from a state alone: totals, ends, mask and observation.

    Of mask and observation what the row shows already is left alone.

    Most of an observation follows from the videos and candidates of its slots, few of which change in a decision.

    Args:
        sim: Its playlist alone is read of the hidden draw.
        state: Record of `STATE_DTYPE`.
        features: What of the observation is constant.
        results: Output.
        i: The row.
    """
    info = results.info[i]
    write_totals(state, info)
    info[INVALID_ACTION] = state.invalid_action
    results.terminated[i] = state.terminated
    results.truncated[i] = state.truncated

    candidates, shown, mask, observation = results.candidates, results.shown[i], results.mask[i], results.observation[i]
    find_candidates(sim, state, candidates)
    if shown[0, 0] == BLANK:
        mask[WAIT] = 1
        observe_constants(features, observation)
    fitting = results.fitting[i]
    refit, room = find_fitting(sim, state, fitting)
    for slot in range(SLOTS):
        video, index = state.video + slot, NO_ENTRY
        if video < sim.episode.playlist.shape[0]:
            index = sim.episode.playlist[video]
        changed, whole = shown[slot, 0] != index, True
        shown[slot, 0] = index
        for lookahead in range(LOOKAHEAD):
            chunk = candidates[slot, lookahead]
            changed |= shown[slot, 1 + lookahead] != chunk
            shown[slot, 1 + lookahead] = chunk
            whole &= room or chunk == NO_ENTRY or is_whole(sim, state, slot, chunk)
        if changed:
            observe_candidates(sim, state, features, candidates, slot, observation)
        if changed or refit or not whole:
            fill_slot_mask(sim, state, candidates, slot, fitting, mask)
    observe_situation(sim, state, features, candidates, observation)


@nogil
def step_many(
    sims: Sims,
    features: Features,
    states: np.ndarray,
    todo: U1,
    actions: I8,
    results: StepResults,
    log: EventLog | None,
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
        write_situation(sim, state, features, results, i)
