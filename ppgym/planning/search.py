"""The search in four verbs: simulate a sampled future, select an edge, expand a leaf, and backward: add the return.

It changes states by `core.dynamics.transition` alone. `belief.py` samples the futures; `pruning.py` and the planner
choose the root actions.
"""

from typing import NamedTuple

import numpy as np

from ppgym.core.actions import WAIT, first_chunk, resolve_action
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
    NO_ENTRY,
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
from ppgym.planning.tree import BRANCHES, ROOT, UNVISITED, Tree


class SearchParameters(NamedTuple):
    """Parameters of the search; tuned on 36 to 100 episodes of the validation split."""

    # Content seconds of a simulation: all actions are compared over the same part of the feed, however much they stall
    horizon_s: float = 20.0
    longest_s: float = 40.0  # seconds after which a simulation ends at any rate
    kept_share: float = 0.15  # share of its quality that a received chunk counts for at the horizon
    exploration: float = 1.25  # PUCT's constant, on values normalised to [0, 1]
    temperature: float = 0.5  # of the prior, in QoE
    depth: int = 4  # edges of a path in the tree; after them the rollout policy plays
    expand_after: int = 24  # visits of an edge before it leads to a node


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
    path_node: I4  # [depth]
    path_edge: I4  # [depth]
    path_return: F8  # [depth] return before the step


def new_scratch(actions: int, depth: int) -> Scratch:
    """Make the working memory of a simulation.

    Args:
        actions: 1 + S * L * O.
        depth: Largest number of edges of a path in the tree.

    Returns:
        Scratch.
    """
    return Scratch(
        state=new_states(1),
        estimates=new_estimates(),
        values=np.zeros(actions),
        terms=np.zeros(len(REWARD_TERMS)),
        path_node=np.zeros(depth, np.int32),
        path_edge=np.zeros(depth, np.int32),
        path_return=np.zeros(depth),
    )


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
def expand(tree: Tree, values: F8, first_action: int, options: int) -> int:
    """Add a node with edges for the rollout policy's choice and the requests of the highest values.

    Args:
        tree: The tree.
        values: [1 + S * L * O] of the actions, as `value_actions` fills them; those of the edges are overwritten.
        first_action: The rollout policy's choice.
        options: O.

    Returns:
        The node; `UNVISITED` where the tree is full.
    """
    node = int(tree.node_count[0])
    if node >= tree.edge_count.shape[0]:
        return UNVISITED
    tree.node_count[0] = node + 1
    count = 0
    for _ in range(tree.children_action.shape[1]):
        best, best_value = first_action, -np.inf
        if count > 0:
            best = NO_ENTRY
            for slot in range(-1, SLOTS):
                first = 1 + slot * LOOKAHEAD * options if slot >= 0 else WAIT
                for action in range(first, first + (options if slot >= 0 else 1)):
                    if values[action] > best_value:
                        best, best_value = action, values[action]
            if best == NO_ENTRY:
                break
        tree.children_action[node, count] = best
        tree.children_prior_value[node, count] = values[best]
        tree.children_visits[node, count] = 0
        tree.children_return[node, count] = 0.0
        tree.children_elapsed_s[node, count] = 0.0
        for branch in range(BRANCHES):
            tree.children_index[node, count, branch] = UNVISITED
        values[best] = -np.inf
        count += 1
    tree.edge_count[node] = count
    return node


@kernel
def select(tree: Tree, node: int, parameters: SearchParameters) -> int:
    """The edge of a node with the highest PUCT score; values are normalised by the range of the tree's mean returns.

    Args:
        tree: The tree.
        node: An inner node.
        parameters: The search's parameters.

    Returns:
        Edge index.
    """
    spread = tree.value_range
    total, visits = 0.0, 0
    top = tree.children_prior_value[node, 0]
    for edge in range(tree.edge_count[node]):
        total += np.exp(max((tree.children_prior_value[node, edge] - top) / parameters.temperature, -20.0))
        visits += tree.children_visits[node, edge]
    scale = 1.0 / (spread[1] - spread[0]) if spread[1] > spread[0] else 0.0
    parent = 0.0
    for edge in range(tree.edge_count[node]):
        parent += tree.children_return[node, edge]
    parent = (parent / visits - spread[0]) * scale if visits > 0 else 0.0
    best, best_score = 0, -np.inf
    for edge in range(tree.edge_count[node]):
        prior = np.exp(max((tree.children_prior_value[node, edge] - top) / parameters.temperature, -20.0)) / total
        count = tree.children_visits[node, edge]
        value = (tree.children_return[node, edge] / count - spread[0]) * scale if count > 0 else parent
        score = value + parameters.exploration * prior * np.sqrt(visits + 1.0) / (1 + count)
        if score > best_score:
            best, best_score = edge, score
    return best


@kernel
def is_legal(sim: Sim, state: StateRecord, action: int) -> bool:
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
def backward(tree: Tree, scratch: Scratch, depth: int, value: float, future: int) -> None:
    """Add the return of a simulation to all edges of its path.

    Args:
        tree: The tree.
        scratch: Holds the path.
        depth: Number of its edges.
        value: Return from the root to the horizon.
        future: The simulated future.
    """
    for i in range(depth):
        node, edge = scratch.path_node[i], scratch.path_edge[i]
        tree.children_visits[node, edge] += 1
        tree.children_return[node, edge] += value - scratch.path_return[i]
        if node != ROOT:
            mean = tree.children_return[node, edge] / tree.children_visits[node, edge]
            tree.value_range[0] = min(tree.value_range[0], mean)
            tree.value_range[1] = max(tree.value_range[1], mean)
    tree.root_return[scratch.path_edge[0], future] += value
    tree.root_visits[scratch.path_edge[0], future] += 1


@kernel
def simulate(futures: Futures, task: SearchTask, tree: Tree, scratch: Scratch, future: int, root_edge: int) -> None:
    """Play one future to the horizon: down the tree, one node further, then by the rollout policy; and back up.

    Args:
        futures: The sampled futures.
        task: What the search is told.
        tree: The tree; grows by at most one node.
        scratch: Working memory.
        future: Index of the future.
        root_edge: The edge to take at the root.
    """
    sim, parameters = take_sim(futures.sims, future), task.parameters
    scratch.state[0] = futures.states[future]
    state = scratch.state[0]
    before = totals_of(state)
    end_s, end_played_s = state.time_s + parameters.longest_s, state.played_s + parameters.horizon_s
    options = sim.params.option_unit.shape[0]
    value, depth, node, edge = 0.0, 0, ROOT, root_edge
    action = tree.children_action[ROOT, root_edge]
    while True:
        time_s, played_s, video = state.time_s, state.played_s, state.video
        if node != UNVISITED:
            scratch.path_node[depth], scratch.path_edge[depth] = node, edge
            scratch.path_return[depth] = value
        transition(sim, state, action)
        after = totals_of(state)
        reward = reward_terms(sim.params, before, after, scratch.terms)
        before = after
        past_s = state.played_s - end_played_s
        if past_s > 0.0:  # the reward of the step that crosses the horizon is taken to come evenly with its content
            reward *= 1.0 - past_s / (state.played_s - played_s)
        value += reward
        ended = state.terminated or state.truncated or past_s >= 0.0 or state.time_s >= end_s
        child, grows = UNVISITED, False
        if node != UNVISITED:
            tree.children_elapsed_s[node, edge] += state.time_s - time_s
            branch = min(state.video - video, BRANCHES - 1)
            depth += 1
            if not ended and depth < parameters.depth:
                child = tree.children_index[node, edge, branch]
                grows = child == UNVISITED and tree.children_visits[node, edge] >= parameters.expand_after
        if ended:
            break
        if grows:
            action = value_actions(sim, state, task.tables, task.rollout, 0, scratch.estimates, scratch.values)
            tree.children_index[node, edge, branch] = expand(tree, scratch.values, action, options)
        elif child != UNVISITED:
            edge = select(tree, child, parameters)
            action = tree.children_action[child, edge]
            if edge > 0 and not is_legal(sim, state, action):
                child = UNVISITED  # illegal in this future: the path leaves the tree
        node = child
        # The first edge of a node is the rollout policy's choice, which differs by future
        if not grows and (node == UNVISITED or edge == 0):
            action = choose_action(sim, state, task.tables, task.rollout, scratch.estimates)
    if not state.terminated:
        value += terminal_value(sim, state, parameters.kept_share)
    backward(tree, scratch, depth, value, future)


@noinline
def search_edges(
    futures: Futures, task: SearchTask, tree: Tree, scratch: Scratch, edges: I4, first: int, count: int
) -> None:
    """Simulate some root edges, each in the same futures.

    Args:
        futures: The sampled futures.
        task: What the search is told.
        tree: The tree.
        scratch: Working memory.
        edges: Root edges.
        first: The first future.
        count: Number of futures; after the last future follows the first.
    """
    for future in range(first, first + count):
        for k in range(edges.shape[0]):
            simulate(futures, task, tree, scratch, future % futures.states.shape[0], edges[k])


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
