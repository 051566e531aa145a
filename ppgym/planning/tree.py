"""The search tree as arrays.

A node is a history: the actions since the root and, for each, how many videos the viewer left during its step, which a
client sees. Futures that differ in what a client does not see share their nodes (an open-loop tree). Node 0 is the
root.

Shape legend: N nodes, E edges of a node, M futures.
"""

from typing import NamedTuple

import numpy as np

from ppgym.core.state import F8, I4

ROOT = 0
UNVISITED = -1  # no child there
BRANCHES = 3  # of an edge: the viewer has left no video, one, or more


class Tree(NamedTuple):
    """Statistics of a search, named as in mctx."""

    node_count: I4  # [1]
    edge_count: I4  # [N]
    children_action: I4  # [N, E]; below the root, edge 0 is the rollout policy's choice, which differs by future
    children_prior_value: F8  # [N, E] of the rollout policy, in QoE
    children_visits: I4  # [N, E]
    children_return: F8  # [N, E] sum of returns from the action to the horizon
    children_elapsed_s: F8  # [N, E] sum of the durations of the action's step
    children_index: I4  # [N, E, BRANCHES]
    value_range: F8  # [2] lowest and highest mean return of an edge below the root
    root_return: F8  # [E, M] sum of returns by root action and future
    root_visits: I4  # [E, M]


def new_tree(nodes: int, edges: int, futures: int) -> Tree:
    """Allocate a tree.

    Args:
        nodes: N.
        edges: E.
        futures: M.

    Returns:
        An empty tree.
    """
    return Tree(
        node_count=np.zeros(1, np.int32),
        edge_count=np.zeros(nodes, np.int32),
        children_action=np.zeros((nodes, edges), np.int32),
        children_prior_value=np.zeros((nodes, edges)),
        children_visits=np.zeros((nodes, edges), np.int32),
        children_return=np.zeros((nodes, edges)),
        children_elapsed_s=np.zeros((nodes, edges)),
        children_index=np.full((nodes, edges, BRANCHES), UNVISITED, np.int32),
        value_range=np.array([np.inf, -np.inf]),
        root_return=np.zeros((edges, futures)),
        root_visits=np.zeros((edges, futures), np.int32),
    )


def reset_tree(tree: Tree, actions: I4, prior: F8) -> None:
    """Empty a tree and set its root.

    Args:
        tree: The tree.
        actions: [A] of the root.
        prior: [A] their prior values.
    """
    count = len(actions)
    tree.node_count[0] = 1
    tree.edge_count[ROOT] = count
    tree.children_action[ROOT, :count] = actions
    tree.children_prior_value[ROOT, :count] = prior
    tree.children_visits[ROOT] = 0
    tree.children_return[ROOT] = 0.0
    tree.children_elapsed_s[ROOT] = 0.0
    tree.children_index[ROOT] = UNVISITED
    tree.value_range[:] = np.inf, -np.inf
    tree.root_return[:] = 0.0
    tree.root_visits[:] = 0
