"""Simulation of sampled futures: an action, then the rollout policy, up to a horizon.

It changes states by `core.dynamics.transition` alone. `belief.py` samples the futures; `pruning.py` and the planner
choose the root actions.

Shape legend: A actions at the root, N futures in which they were simulated.
"""

from typing import NamedTuple

import numpy as np

from ppgym.core.actions import WAIT, first_chunk
from ppgym.core.dynamics import transition
from ppgym.core.episodes import take_sim
from ppgym.core.events import EventLog
from ppgym.core.jit import kernel, noinline
from ppgym.core.qoe import MBIT_PER_BYTE, REWARD_TERMS, reward_terms, totals_of
from ppgym.core.state import (
    DECODED,
    DECODING,
    F8,
    I4,
    LOOKAHEAD,
    QUEUED,
    RING,
    SLOTS,
    Sim,
    StateRecord,
    new_states,
)
from ppgym.planning.belief import Futures
from ppgym.planning.rollout import SlotEstimates, Tables, choose_action, new_estimates, value_actions
from ppgym.planning.rollout_parameters import RolloutPolicy


class SearchParameters(NamedTuple):
    """Parameters of a simulation; tuned on 36 to 100 episodes of the validation split."""

    # Content seconds of a simulation: all actions are compared over the same part of the feed, however much they stall
    horizon_s: float = 20.0
    longest_s: float = 40.0  # seconds after which a simulation ends at any rate
    kept_share: float = 0.15  # share of its quality that a received chunk counts for at the horizon


class SearchTask(NamedTuple):
    """What a search is told besides the futures."""

    tables: Tables
    rollout: RolloutPolicy
    parameters: SearchParameters


class Scratch(NamedTuple):
    """Working memory of a simulation."""

    state: np.ndarray  # [1] of STATE_DTYPE
    estimates: SlotEstimates
    values: F8  # [1 + S * L * O]
    terms: F8  # [5]


def new_scratch(actions: int) -> Scratch:
    """Make the working memory of a simulation.

    Args:
        actions: 1 + S * L * O.

    Returns:
        Scratch.
    """
    return Scratch(
        state=new_states(1),
        estimates=new_estimates(),
        values=np.zeros(actions),
        terms=np.zeros(len(REWARD_TERMS)),
    )


class Root(NamedTuple):
    """The actions that are compared, and their returns in the same futures."""

    actions: I4  # [A]
    simulated: I4  # [A] in how many futures; each action in the first of them
    returns: F8  # [A, N] from the root to the horizon


def new_root(actions: int, futures: int) -> Root:
    """Make room for a comparison.

    Args:
        actions: A, at most.
        futures: N, at most.

    Returns:
        One of nothing.
    """
    return Root(np.zeros(actions, np.int32), np.zeros(actions, np.int32), np.zeros((actions, futures)))


@kernel
def terminal_value(sim: Sim, state: StateRecord, kept_share: float) -> float:
    """Value of the received chunks at the horizon, given the sampled future.

    A chunk that will play counts for a share of its quality and for the price of its download, which is not paid again.
    A chunk that will not play counts as waste.

    Args:
        sim: What is constant, and the sampled future.
        state: Record of `STATE_DTYPE`.
        kept_share: Of the quality of a chunk that will play.

    Returns:
        QoE.
    """
    params, catalog, episode = sim
    value, reached = 0.0, True
    for slot in range(SLOTS):
        video = state.video + slot
        if video >= episode.playlist.shape[0]:
            break
        index, row, begin = episode.playlist[video], video % SLOTS, first_chunk(state, video)
        for chunk in range(begin, min(catalog.n_chunks[index], begin + RING)):
            status = state.chunk_status[row, chunk % RING]
            if status == QUEUED or status == DECODING or status == DECODED:
                representation = params.option_representation[state.chunk_option[row, chunk % RING]]
                mbit = catalog.chunk_bytes[index, chunk, representation] * MBIT_PER_BYTE
                left_s = episode.watch_s[video] - chunk * params.chunk_s
                if reached and left_s > 0.0:
                    played_s = min(params.chunk_s, left_s)
                    quality = params.weight_quality * catalog.quality[index, chunk, representation] * played_s
                    value += kept_share * quality + params.weight_download * mbit
                else:
                    value -= params.weight_waste * mbit
        reached = reached and not episode.leaves[video]
    return value


@kernel
def simulate(futures: Futures, task: SearchTask, scratch: Scratch, future: int, action: int) -> float:
    """Play an action and then the rollout policy in one future, to the horizon.

    Args:
        futures: The sampled futures.
        task: What the search is told.
        scratch: Working memory.
        future: Index of the future.
        action: The first action.

    Returns:
        The return, in QoE.
    """
    sim, parameters = take_sim(futures.sims, future), task.parameters
    scratch.state[0] = futures.states[future]
    state = scratch.state[0]
    before, value = totals_of(state), 0.0
    end_s, end_played_s = state.time_s + parameters.longest_s, state.played_s + parameters.horizon_s
    while True:
        played_s = state.played_s
        transition(sim, state, action)
        after = totals_of(state)
        reward = reward_terms(sim.params, before, after, scratch.terms)
        before = after
        past_s = state.played_s - end_played_s
        if past_s > 0.0:  # the reward of the step that crosses the horizon is taken to come evenly with its content
            reward *= 1.0 - past_s / (state.played_s - played_s)
        value += reward
        if state.terminated or state.truncated or past_s >= 0.0 or state.time_s >= end_s:
            break
        action = choose_action(sim, state, task.tables, task.rollout, scratch.estimates)
    if not state.terminated:
        value += terminal_value(sim, state, parameters.kept_share)
    return value


@noinline
def simulate_actions(
    futures: Futures, task: SearchTask, scratch: Scratch, root: Root, alive: I4, first: int, count: int
) -> None:
    """Simulate some of the root's actions, all in the same futures.

    Args:
        futures: The sampled futures.
        task: What the search is told.
        scratch: Working memory.
        root: Gets the returns.
        alive: Places of the actions at the root; all were simulated in as many futures.
        first: The first future.
        count: Number of futures.
    """
    for future in range(first, first + count):
        for k in alive:
            root.returns[k, root.simulated[k]] = simulate(futures, task, scratch, future, root.actions[k])
            root.simulated[k] += 1


@noinline
def log_rollout(
    futures: Futures,
    task: SearchTask,
    scratch: Scratch,
    future: int,
    first_action: int,
    horizon_s: float,
    log: EventLog,
) -> None:
    """Play an action and then the rollout policy in one future, and log the events.

    Args:
        futures: The sampled futures.
        task: What the search is told.
        scratch: Working memory.
        future: Index of the future.
        first_action: The action.
        horizon_s: Seconds to play.
        log: Output.
    """
    sim = take_sim(futures.sims, future)
    scratch.state[0] = futures.states[future]
    state, action = scratch.state[0], first_action
    end_s = state.time_s + horizon_s
    while not (state.terminated or state.truncated) and state.time_s < end_s:
        transition(sim, state, action, log)
        action = choose_action(sim, state, task.tables, task.rollout, scratch.estimates)


@kernel
def root_values(futures: Futures, task: SearchTask, scratch: Scratch) -> int:
    """Value every action at the root by the rollout policy.

    Args:
        futures: The sampled futures; all have the same visible videos.
        task: What the search is told.
        scratch: Its `values` are the output.

    Returns:
        The rollout policy's choice.
    """
    sim, state, chosen = take_sim(futures.sims, 0), futures.states[0], WAIT
    for step in range(LOOKAHEAD):
        lookahead = LOOKAHEAD - 1 - step
        chosen = value_actions(sim, state, task.tables, task.rollout, lookahead, scratch.estimates, scratch.values)
    return chosen
