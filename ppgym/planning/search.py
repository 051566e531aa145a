"""The search: simulate a sampled future along the tree, expand a leaf, play on with the rollout policy, backward.

It moves worlds by `core.dynamics.transition` alone. What may happen is drawn by `belief.py`, which requests are worth a
look is up to `pruning.py`.
"""

from typing import NamedTuple

import numpy as np

from ppgym.core.actions import WAIT, first_chunk, resolve_action
from ppgym.core.dynamics import transition
from ppgym.core.episodes import Sims, take_sim
from ppgym.core.jit import kernel, nogil
from ppgym.core.qoe import MBIT_PER_BYTE, REWARD_TERMS, reward_terms, totals_of
from ppgym.core.state import (
    DECODED,
    DECODING,
    F8,
    I4,
    LOOKAHEAD,
    NO_ENTRY,
    QUEUED,
    RING,
    SLOTS,
    EventLog,
    Record,
    Sim,
    new_states,
)
from ppgym.planning.belief import SessionWorth, worth_after
from ppgym.planning.rollout import PAD, RolloutPolicy, choose_action, value_actions
from ppgym.planning.tree import BRANCHES, ROOT, UNVISITED, Tree


class SearchKnobs(NamedTuple):
    """How the search trades; chosen by a few dozen to a hundred episodes of the validation split."""

    horizon_s: float = 20.0  # of a simulation
    kept_share: float = 0.15  # of its quality that a chunk decoded at the horizon is worth
    exploration: float = 1.25  # PUCT's constant, on values normalised to [0, 1]
    temperature: float = 0.5  # of the prior, in QoE
    depth: int = 4  # edges below which the rollout policy takes over
    expand_after: int = 24  # visits of an edge, before its end gets edges of its own


class Scratch(NamedTuple):
    """Working memory of a search."""

    state: np.ndarray  # [1] of STATE_DTYPE
    pad: F8  # [PAD, SLOTS]
    values: F8  # [1 + S * L * O]
    terms: F8  # [5]
    path_node: I4  # [depth]
    path_edge: I4  # [depth]
    path_return: F8  # [depth] return before the step


def new_scratch(actions: int, depth: int) -> Scratch:
    """Working memory of a search.

    Args:
        actions: 1 + S * L * O.
        depth: Most edges of a path in the tree.

    Returns:
        Scratch.
    """
    return Scratch(
        state=new_states(1),
        pad=np.zeros((PAD, SLOTS)),
        values=np.zeros(actions),
        terms=np.zeros(len(REWARD_TERMS)),
        path_node=np.zeros(depth, np.int32),
        path_edge=np.zeros(depth, np.int32),
        path_return=np.zeros(depth),
    )


@kernel
def terminal_value(sim: Sim, state: Record, kept_share: float) -> float:
    """What the chunks at hand are worth at the horizon, to a viewer whose future is known to be this one.

    A chunk that will play need not be fetched again: that spares its price, and a share of its quality. One that will
    not is waste.

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
                if reached and chunk < episode.watch_s[video]:
                    played_s = min(1.0, episode.watch_s[video] - chunk)
                    quality = params.weight_quality * catalog.quality[index, chunk, representation] * played_s
                    value += kept_share * quality + params.weight_download * mbit
                else:
                    value -= params.weight_waste * mbit
        reached = reached and not episode.leaves[video]
    return value


@kernel
def expand(tree: Tree, scratch: Scratch, first_action: int, options: int) -> int:
    """Make a node whose edges are the rollout policy's choice and the other requests of the highest value.

    Args:
        tree: The tree.
        scratch: Holds the values of the actions.
        first_action: The rollout policy's choice.
        options: O.

    Returns:
        The node; `UNVISITED` where the tree is full.
    """
    node = int(tree.node_count[0])
    edges = tree.children_action.shape[1]
    if node >= tree.edge_count.shape[0]:
        return UNVISITED
    tree.node_count[0] = node + 1
    count = 0
    for _ in range(edges):
        best, best_value = first_action, -np.inf
        if count > 0:
            best = NO_ENTRY
            for slot in range(-1, SLOTS):
                first = 1 + slot * LOOKAHEAD * options if slot >= 0 else WAIT
                for action in range(first, first + (options if slot >= 0 else 1)):
                    if scratch.values[action] > best_value:
                        best, best_value = action, scratch.values[action]
            if best == NO_ENTRY:
                break
        tree.children_action[node, count] = best
        tree.children_prior_value[node, count] = scratch.values[best]
        tree.children_visits[node, count] = 0
        tree.children_return[node, count] = 0.0
        tree.children_elapsed_s[node, count] = 0.0
        for branch in range(BRANCHES):
            tree.children_index[node, count, branch] = UNVISITED
        scratch.values[best] = -np.inf
        count += 1
    tree.edge_count[node] = count
    return node


@kernel
def select(tree: Tree, node: int, knobs: SearchKnobs) -> int:
    """The edge to try next, by PUCT with values normalised by the tree's own range.

    Args:
        tree: The tree.
        node: An inner node.
        knobs: The search's knobs.

    Returns:
        Edge index.
    """
    spread = tree.value_range
    total, visits = 0.0, 0
    top = tree.children_prior_value[node, 0]
    for edge in range(tree.edge_count[node]):
        total += np.exp(max((tree.children_prior_value[node, edge] - top) / knobs.temperature, -20.0))
        visits += tree.children_visits[node, edge]
    scale = 1.0 / (spread[1] - spread[0]) if spread[1] > spread[0] else 0.0
    parent = 0.0
    for edge in range(tree.edge_count[node]):
        parent += tree.children_return[node, edge]
    parent = (parent / visits - spread[0]) * scale if visits > 0 else 0.0
    best, best_score = 0, -np.inf
    for edge in range(tree.edge_count[node]):
        prior = np.exp(max((tree.children_prior_value[node, edge] - top) / knobs.temperature, -20.0)) / total
        count = tree.children_visits[node, edge]
        value = (tree.children_return[node, edge] / count - spread[0]) * scale if count > 0 else parent
        score = value + knobs.exploration * prior * np.sqrt(visits + 1.0) / (1 + count)
        if score > best_score:
            best, best_score = edge, score
    return best


@kernel
def is_legal(sim: Sim, state: Record, action: int) -> bool:
    """Whether an action can be taken in a state.

    Args:
        sim: Its playlist alone is read of the hidden draw.
        state: Record of `STATE_DTYPE`.
        action: Index of an action.

    Returns:
        True for `WAIT` and for every request that is legal.
    """
    return action == WAIT or resolve_action(sim, state, action)[0] != NO_ENTRY


@kernel
def simulate(
    sims: Sims,
    roots: np.ndarray,
    leave_p: float,
    worth: SessionWorth,
    rollout: RolloutPolicy,
    knobs: SearchKnobs,
    tree: Tree,
    scratch: Scratch,
    future: int,
    root_edge: int,
) -> float:
    """Play one future to the horizon: down the tree, one node further, then by the rollout policy; and back up.

    Args:
        sims: What is constant, and the sampled futures.
        roots: [M] of STATE_DTYPE, the state at the root in each future.
        leave_p: P(the session ends after a video).
        worth: What rewards count for.
        rollout: The rollout policy.
        knobs: The search's knobs.
        tree: The tree; grows by a node.
        scratch: Working memory.
        future: Which future.
        root_edge: The edge to take at the root.

    Returns:
        The return from the root to the horizon, each reward by what it counts for, terminal value included.
    """
    sim = take_sim(sims, future)
    scratch.state[0] = roots[future]
    state = scratch.state[0]
    before = totals_of(state)
    end_s = state.time_s + knobs.horizon_s
    options = sim.params.option_unit.shape[0]
    watched_s = state.played_s
    value, factor = 0.0, 1.0
    depth, node, edge = 0, ROOT, root_edge
    action = tree.children_action[ROOT, root_edge]
    while True:
        time_s, video = state.time_s, state.video
        if node != UNVISITED:
            scratch.path_node[depth], scratch.path_edge[depth] = node, edge
            scratch.path_return[depth] = value
        transition(sim, state, action)
        after = totals_of(state)
        factor = worth_after(worth, sim.episode, state, watched_s)
        value += factor * reward_terms(sim.params, before, after, scratch.terms)
        before = after
        ended = state.terminated or state.time_s >= end_s
        child, grows = UNVISITED, False
        if node != UNVISITED:
            tree.children_elapsed_s[node, edge] += state.time_s - time_s
            branch = min(state.video - video, BRANCHES - 1)
            depth += 1
            if not ended and depth < knobs.depth:
                child = tree.children_index[node, edge, branch]
                grows = child == UNVISITED and tree.children_visits[node, edge] >= knobs.expand_after
        if ended:
            break
        if grows:
            action = value_actions(sim, state, leave_p, rollout, 0, scratch.pad, scratch.values)
            tree.children_index[node, edge, branch] = expand(tree, scratch, action, options)
        elif child != UNVISITED:
            edge = select(tree, child, knobs)
            action = tree.children_action[child, edge]
            if edge > 0 and not is_legal(sim, state, action):
                child = UNVISITED  # not legal in this future: out of the tree
        node = child
        # The first edge is the rollout policy's choice, whatever it is in this future
        if not grows and (node == UNVISITED or edge == 0):
            action = choose_action(sim, state, leave_p, rollout, scratch.pad)
    if not state.terminated:
        value += factor * terminal_value(sim, state, knobs.kept_share)
    for i in range(depth):
        node, edge = scratch.path_node[i], scratch.path_edge[i]
        tree.children_visits[node, edge] += 1
        tree.children_return[node, edge] += value - scratch.path_return[i]
        if node != ROOT:
            mean = tree.children_return[node, edge] / tree.children_visits[node, edge]
            tree.value_range[0] = min(tree.value_range[0], mean)
            tree.value_range[1] = max(tree.value_range[1], mean)
    tree.root_return[root_edge, future] += value
    tree.root_visits[root_edge, future] += 1
    return value


@nogil
def search_edges(
    sims: Sims,
    roots: np.ndarray,
    leave_p: float,
    worth: SessionWorth,
    rollout: RolloutPolicy,
    knobs: SearchKnobs,
    tree: Tree,
    scratch: Scratch,
    edges: I4,
    first: int,
    count: int,
) -> None:
    """Simulate some root edges, each in the same futures.

    Args:
        sims: What is constant, and the sampled futures.
        roots: [M] of STATE_DTYPE, the state at the root in each future.
        leave_p: P(the session ends after a video).
        worth: What rewards count for.
        rollout: The rollout policy.
        knobs: The search's knobs.
        tree: The tree.
        scratch: Working memory.
        edges: Root edges.
        first: The first future.
        count: How many; past the last it begins again.
    """
    for future in range(first, first + count):
        for k in range(edges.shape[0]):
            simulate(
                sims,
                roots,
                leave_p,
                worth,
                rollout,
                knobs,
                tree,
                scratch,
                future % roots.shape[0],
                edges[k],
            )


@nogil
def rehearse(
    sims: Sims,
    roots: np.ndarray,
    leave_p: float,
    rollout: RolloutPolicy,
    scratch: Scratch,
    future: int,
    first_action: int,
    horizon_s: float,
    log: EventLog,
) -> None:
    """Play an action and then the rollout policy in one future, and log what happens.

    Args:
        sims: What is constant, and the sampled futures.
        roots: [M] of STATE_DTYPE.
        leave_p: P(the session ends after a video).
        rollout: The rollout policy.
        scratch: Working memory.
        future: Which future.
        first_action: What is done first.
        horizon_s: Seconds to play.
        log: Output.
    """
    sim = take_sim(sims, future)
    scratch.state[0] = roots[future]
    state, action = scratch.state[0], first_action
    end_s = state.time_s + horizon_s
    while not state.terminated and state.time_s < end_s:
        transition(sim, state, action, log)
        action = choose_action(sim, state, leave_p, rollout, scratch.pad)


@kernel
def prior_values(
    sims: Sims,
    roots: np.ndarray,
    leave_p: float,
    rollout: RolloutPolicy,
    scratch: Scratch,
) -> int:
    """What the rollout policy thinks of every action at the root.

    Args:
        sims: What is constant, and the sampled futures; all have the same visible videos.
        roots: [M] of STATE_DTYPE.
        leave_p: P(the session ends after a video).
        rollout: The rollout policy.
        scratch: Its values are the output.

    Returns:
        The rollout policy's choice.
    """
    sim, chosen = take_sim(sims, 0), WAIT
    for step in range(LOOKAHEAD):
        lookahead = LOOKAHEAD - 1 - step
        chosen = value_actions(sim, roots[0], leave_p, rollout, lookahead, scratch.pad, scratch.values)
    return chosen
