"""The tree's arrays, and a golden tree: the whole search on one small fixed world.

``python -m tests.planning.test_tree`` writes the golden file anew, for a change of the search that is meant.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ppgym.planning.belief import sample_futures
from ppgym.planning.rollout import make_tables
from ppgym.planning.rollout_parameters import NetworkParameters, RolloutParameters, RolloutPolicy
from ppgym.planning.search import SearchParameters, SearchTask, new_scratch, root_values, search_edges
from ppgym.planning.tree import BRANCHES, ROOT, UNVISITED, Tree, new_tree, reset_tree
from tests.core.kernel import KernelSimulator
from tests.planning.futures import CPU, NPU, PATIENT, VDEC, view_of, world_of

GOLDEN = Path(__file__).with_name("golden_tree.json")
NETWORK = NetworkParameters(
    slow=RolloutParameters(0.85, 3.0, 0.45, 0.1, 0.4, 2.0, 1.8, 0.05, 0.75, 0.6, 1.5, -0.1, 27.0),
    fast=RolloutParameters(0.85, 1.0, 0.2, 0.02, 0.65, 0.9, 1.3, 0.3, 0.6, 0.65, 1.6, 0.05, 36.0),
)
POLICY = RolloutPolicy(slow_network=NETWORK, fast_network=NETWORK)
PARAMETERS = SearchParameters(
    horizon_s=6.0, longest_s=10.0, kept_share=0.3, exploration=1.25, temperature=0.5, depth=4, expand_after=2
)
FUTURES = 6


def test_a_new_tree_is_empty() -> None:
    tree = new_tree(nodes=5, edges=3, futures=2)
    assert tree.node_count[0] == 0
    assert tree.children_index.shape == (5, 3, BRANCHES)
    assert (tree.children_index == UNVISITED).all()
    assert tree.root_return.shape == tree.root_visits.shape == (3, 2)


def test_a_reset_tree_forgets_what_was_searched() -> None:
    tree = new_tree(nodes=5, edges=3, futures=2)
    reset_tree(tree, np.array([7, 0, 9], np.int32), np.array([0.0, -1.0, -2.0]))
    for array in tree:
        array[...] = 1
    reset_tree(tree, np.array([4, 0], np.int32), np.array([0.0, -3.0]))
    assert tree.node_count[0] == 1
    assert tree.edge_count[ROOT] == 2
    assert tree.children_action[ROOT, :2].tolist() == [4, 0]
    assert tree.children_prior_value[ROOT, :2].tolist() == [0.0, -3.0]
    assert (tree.children_index[ROOT] == UNVISITED).all()
    for array in (tree.children_visits, tree.children_return, tree.children_elapsed_s):
        assert not array[ROOT].any()
    assert not tree.root_return.any()
    assert not tree.root_visits.any()
    assert tree.value_range[0] > tree.value_range[1]  # nothing seen yet


def search_small_world() -> Tree:
    """Two videos, pixels of two qualities, a prompt on two units, two chunks in; each request four times a future."""
    options = [(0, VDEC, 0.02), (1, VDEC, 0.02), (2, CPU, 0.9), (2, NPU, 0.4)]
    world = world_of(options, [0.5, 1.2, 0.1], [0.75, 1.85, 1.2], chunks=(4, 3), watch_s=(3.5, 3.0))
    world.catalog.retention[:, 1:] *= np.array([[0.8, 0.7, 0.6, 0.5], [0.9, 0.5, 0.4, 0.0]])
    sim = KernelSimulator(world)
    for action in (1, 2):
        sim.step(action)
    view = view_of(world, sim.state, PATIENT._replace(leave_p=0.1, jitter_sigma=0.2))
    futures = sample_futures(view, FUTURES, np.random.default_rng(3), 20.0)
    task = SearchTask(make_tables(view.params, futures.sims.catalog, view.distribution), POLICY, PARAMETERS)
    scratch = new_scratch(len(view.action_mask), PARAMETERS.depth)
    scratch.values[:] = -np.inf
    root_values(futures, task, scratch)
    actions = np.argsort(-scratch.values, kind="stable")[:4].astype(np.int32)
    tree = new_tree(nodes=100, edges=4, futures=FUTURES)
    reset_tree(tree, actions, scratch.values[actions])
    search_edges(futures, task, tree, scratch, np.arange(4, dtype=np.int32), 0, 4 * FUTURES)
    return tree


def describe(tree: Tree) -> list[list[list[Any]]]:
    """By node and edge: action, visits, mean return, mean elapsed seconds, children."""
    return [
        [
            [
                int(tree.children_action[node, edge]),
                int(tree.children_visits[node, edge]),
                round(float(tree.children_return[node, edge]) / max(int(tree.children_visits[node, edge]), 1), 9),
                round(float(tree.children_elapsed_s[node, edge]) / max(int(tree.children_visits[node, edge]), 1), 9),
                tree.children_index[node, edge].tolist(),
            ]
            for edge in range(tree.edge_count[node])
        ]
        for node in range(tree.node_count[0])
    ]


def test_the_golden_tree_grows_again() -> None:
    tree = describe(search_small_world())
    golden = json.loads(GOLDEN.read_text())
    assert len(tree) == len(golden)
    for node, (edges, expected) in enumerate(zip(tree, golden, strict=True)):
        assert [edge[:2] for edge in edges] == [edge[:2] for edge in expected], f"actions and visits of node {node}"
        assert [edge[4] for edge in edges] == [edge[4] for edge in expected], f"children of node {node}"
        for column in (2, 3):
            means = [edge[column] for edge in edges]
            assert means == pytest.approx([edge[column] for edge in expected], abs=1e-6), f"means of node {node}"


def write_golden() -> None:
    """Write the golden file."""
    rows = ",\n".join(json.dumps(node) for node in describe(search_small_world()))
    GOLDEN.write_text(f"[\n{rows}\n]\n")


if __name__ == "__main__":
    write_golden()
