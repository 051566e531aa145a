"""The search against a slow one of dictionaries, and what holds for every tree that it grows."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from ppgym.core.actions import WAIT
from ppgym.core.dynamics import transition
from ppgym.core.episodes import view_sim
from ppgym.core.qoe import MBIT_PER_BYTE, REWARD_TERMS, reward_terms, totals_of
from ppgym.core.state import DECODED, DECODING, LOOKAHEAD, QUEUED, RING, SLOTS, Episode, Sim, StateRecord
from ppgym.env import PromptPreamEnv
from ppgym.planning.belief import Futures, sample_futures
from ppgym.planning.planner import Plan, Planner, PlannerParameters
from ppgym.planning.rollout import make_tables, new_estimates, value_actions
from ppgym.planning.rollout_parameters import NetworkParameters, RolloutPolicy
from ppgym.planning.search import SearchParameters, SearchTask, new_scratch, root_values, search_edges
from ppgym.planning.tree import BRANCHES, ROOT, UNVISITED, Tree, new_tree, reset_tree
from ppgym.planning_view import PlanningView
from tests.core.kernel import legal_mask
from tests.planning.futures import second_edition
from tests.test_env import random_legal

POLICY = RolloutPolicy()
HASTY = RolloutPolicy(  # leaves chunks of the current video alone that are due in more than this, legal as they are
    *(NetworkParameters(*(parameters._replace(buffer_s=3.0) for parameters in network)) for network in POLICY)
)
FUTURES = 5
PARAMETERS = SearchParameters(
    horizon_s=8.0, longest_s=14.0, kept_share=0.4, exploration=1.5, temperature=0.7, depth=3, expand_after=1
)


def situations(count: int, **kwargs: Any) -> Any:
    """Planning views at decisions of random play, with something to ask for."""
    env, rng = PromptPreamEnv(**kwargs), np.random.default_rng(0)
    _, info = env.reset(seed=0)
    for step in range(7 * count):
        if step % 7 == 6:
            yield env.planning_view()
        _, _, terminated, truncated, info = env.step(random_legal(rng, info["action_mask"]))
        if terminated or truncated:
            _, info = env.reset()


# --- the slow search --------------------------------------------------------------------------------------------------


@dataclass
class Edge:
    action: int
    prior: float
    visits: int = 0
    total: float = 0.0
    elapsed_s: float = 0.0
    children: dict[int, "Node"] = field(default_factory=dict)  # by videos left meanwhile

    @property
    def mean(self) -> float:
        return self.total / self.visits


@dataclass
class Node:
    edges: list[Edge]


@dataclass
class SlowSearch:
    """What the search says it does, world by world, with core's transitions and the rollout policy's values."""

    view: PlanningView
    futures: Futures
    root: Node
    width: int
    policy: RolloutPolicy
    below_root: list[Edge] = field(default_factory=list)
    low: float = math.inf
    high: float = -math.inf

    def values(self, sim: Sim, state: StateRecord) -> tuple[int, np.ndarray]:
        values = np.full(len(self.view.action_mask), -np.inf)
        chosen = value_actions(
            sim,
            state,
            make_tables(sim.params, sim.catalog, self.view.distribution),
            self.policy,
            0,
            new_estimates(),
            values,
        )
        return chosen, values

    def simulate(self, future: int, root_edge: int) -> float:
        sim = view_sim(self.futures.sims, future)
        state = self.futures.states[future].copy()
        end_s, end_played_s = state.time_s + PARAMETERS.longest_s, state.played_s + PARAMETERS.horizon_s
        rewards: list[float] = []
        path: list[tuple[Edge, int]] = []  # and how many rewards came before it
        node: Node | None = self.root
        edge = self.root.edges[root_edge]
        action = edge.action
        while True:
            before, time_s, video = totals_of(state), float(state.time_s), int(state.video)
            played_s = float(state.played_s)
            transition(sim, state, action)
            if node is not None:
                path.append((edge, len(rewards)))
                edge.elapsed_s += state.time_s - time_s
            reward = reward_terms(sim.params, before, totals_of(state), np.zeros(len(REWARD_TERMS)))
            share = (end_played_s - played_s) / (state.played_s - played_s) if state.played_s > end_played_s else 1.0
            rewards.append(share * reward)
            if state.terminated or state.played_s >= end_played_s or state.time_s >= end_s:
                break
            action, values = self.values(sim, state)
            if node is None:
                continue
            swipes = min(int(state.video) - video, BRANCHES - 1)
            node = edge.children.get(swipes) if len(path) < PARAMETERS.depth else None
            if node is not None:
                edge = self.select(node)
                if edge is not node.edges[0]:
                    legal = np.zeros(len(self.view.action_mask), np.int8)
                    legal_mask(sim, state, legal)
                    if not legal[edge.action]:
                        node = None
                    else:
                        action = edge.action
            elif len(path) < PARAMETERS.depth and edge.visits >= PARAMETERS.expand_after:
                others = sorted(np.flatnonzero(values > -np.inf), key=lambda a: (-values[a], a))
                actions = [action, *[int(a) for a in others if a != action]][: self.width]
                edge.children[swipes] = Node([Edge(a, float(values[a])) for a in actions])
        last = 0.0 if state.terminated else self.at_hand(sim.episode, state)
        for edge, first in path:
            edge.visits += 1
            edge.total += sum(rewards[first:]) + last
            if edge not in self.root.edges:
                self.low, self.high = min(self.low, edge.mean), max(self.high, edge.mean)
        return sum(rewards) + last

    def select(self, node: Node) -> Edge:
        """PUCT on values normalised to the range of mean returns seen below the root."""

        def normal(value: float) -> float:
            return (value - self.low) / (self.high - self.low) if self.high > self.low else 0.0

        visits = sum(edge.visits for edge in node.edges)
        parent = normal(sum(edge.total for edge in node.edges) / visits) if visits else 0.0
        first, temperature = node.edges[0].prior, PARAMETERS.temperature
        weights = [math.exp(max((edge.prior - first) / temperature, -20.0)) for edge in node.edges]

        def score(edge: Edge) -> float:
            prior = weights[node.edges.index(edge)] / sum(weights)
            known = normal(edge.mean) if edge.visits else parent
            return known + PARAMETERS.exploration * prior * math.sqrt(visits + 1) / (1 + edge.visits)

        return max(node.edges, key=score)

    def at_hand(self, episode: Episode, state: StateRecord) -> float:
        """The chunks received at the horizon: those that will play at a share of their quality, others as waste."""
        params, catalog, value, comes = self.view.params, self.futures.sims.catalog, 0.0, True
        for video in range(int(state.video), min(int(state.video) + SLOTS, len(episode.playlist))):
            first = int(state.playhead) if video == state.video else 0
            for chunk in range(first, min(first + RING, int(catalog.n_chunks[episode.playlist[video]]))):
                place = video % SLOTS, chunk % RING
                if state.chunk_status[place] in (QUEUED, DECODING, DECODED):
                    which = episode.playlist[video], chunk, params.option_representation[state.chunk_option[place]]
                    left_s = max(episode.watch_s[video] - chunk * params.chunk_s, 0.0)
                    plays_s = min(left_s, params.chunk_s) if comes else 0.0
                    value += PARAMETERS.kept_share * params.weight_quality * catalog.quality[which] * plays_s
                    if plays_s == 0.0:
                        value -= params.weight_waste * catalog.chunk_bytes[which] * MBIT_PER_BYTE
            comes = comes and not episode.leaves[video]
        return value


def both(view: PlanningView, seed: int, rounds: int, policy: RolloutPolicy) -> tuple[Tree, SlowSearch, np.ndarray]:
    """The same simulations by the search and by the slow one."""
    futures = sample_futures(view, FUTURES, np.random.default_rng(seed), 30.0)
    scratch = new_scratch(len(view.action_mask), PARAMETERS.depth)
    scratch.values[:] = -np.inf
    task = SearchTask(make_tables(view.params, futures.sims.catalog, view.distribution), policy, PARAMETERS)
    chosen = root_values(futures, task, scratch)
    legal = np.flatnonzero(scratch.values > -np.inf)
    actions = np.unique(np.concatenate([[chosen, WAIT], legal[:: max(len(legal) // 3, 1)]])).astype(np.int32)
    prior = scratch.values[actions]
    tree = new_tree(200, max(4, len(actions)), FUTURES)
    reset_tree(tree, actions, prior)
    edges = np.arange(len(actions), dtype=np.int32)
    search_edges(futures, task, tree, scratch, edges, 0, rounds)
    root = Node([Edge(int(action), float(value)) for action, value in zip(actions, prior, strict=True)])
    slow = SlowSearch(view, futures, root, tree.children_action.shape[1], policy)
    returns = np.zeros((len(actions), FUTURES))
    for future in range(rounds):
        for edge in edges:
            returns[edge, future % FUTURES] += slow.simulate(future % FUTURES, int(edge))
    return tree, slow, returns


def assert_same(tree: Tree, index: int, node: Node) -> int:
    """The nodes below are the same; returns how many there are."""
    assert tree.edge_count[index] == len(node.edges)
    count = 1
    for i, edge in enumerate(node.edges):
        assert tree.children_action[index, i] == edge.action
        assert tree.children_visits[index, i] == edge.visits
        assert tree.children_prior_value[index, i] == pytest.approx(edge.prior)
        assert tree.children_return[index, i] == pytest.approx(edge.total, abs=1e-6)
        assert tree.children_elapsed_s[index, i] == pytest.approx(edge.elapsed_s, abs=1e-6)
        for branch in range(BRANCHES):
            child = int(tree.children_index[index, i, branch])
            assert (child != UNVISITED) == (branch in edge.children)
            if child != UNVISITED:
                count += assert_same(tree, child, edge.children[branch])
    return count


@pytest.mark.parametrize(
    ("kwargs", "policy"),
    [
        ({}, POLICY),
        ({}, HASTY),
        ({"scenario": "high/rtx-4090/skimmer", "parallel_downloads": 3}, POLICY),
        (second_edition(), POLICY),
    ],
)
def test_the_tree_is_that_of_the_slow_search(kwargs: dict[str, Any], policy: RolloutPolicy) -> None:
    nodes = 0
    for seed, view in enumerate(situations(6, **kwargs)):
        tree, slow, returns = both(view, seed, 20, policy)
        count = assert_same(tree, ROOT, slow.root)
        assert count == tree.node_count[0]
        nodes += count
        assert tree.root_return[: len(slow.root.edges)] == pytest.approx(returns, abs=1e-6)
        if slow.low <= slow.high:
            assert tree.value_range == pytest.approx([slow.low, slow.high], abs=1e-6)
    assert nodes > 100


# --- what holds for every tree ----------------------------------------------------------------------------------------


def plans() -> Any:
    parameters = PlannerParameters(futures=40, root_actions=6, edges=4, search=PARAMETERS)
    planner = Planner(simulations=130, seed=1, parameters=parameters)
    for view in situations(25):
        yield planner.plan(view)


def check(plan: Plan) -> None:
    tree = plan.tree
    actions = len(plan.root_actions)
    assert tree.children_visits[ROOT].sum() == plan.simulations == plan.visits.sum()
    assert plan.simulations <= 130
    assert (tree.root_visits[:actions].sum(axis=1) == plan.visits).all()
    assert tree.root_return[:actions].sum(axis=1) == pytest.approx(tree.children_return[ROOT, :actions])
    finalists = tree.root_visits[:actions][plan.visits == plan.visits.max()]
    assert (finalists == finalists[0]).all()  # the same futures, as often
    assert (tree.root_visits[:actions].max(axis=1) - tree.root_visits[:actions].min(axis=1) <= 1).all()
    assert (tree.children_elapsed_s >= 0.0).all()
    parents = np.zeros(tree.node_count[0], int)
    for node in range(tree.node_count[0]):
        edges = int(tree.edge_count[node])
        assert len(set(tree.children_action[node, :edges].tolist())) == edges > 0
        for edge in range(edges):
            children = tree.children_index[node, edge][tree.children_index[node, edge] != UNVISITED]
            parents[children] += 1
            # the visit that made a child did not go on into it
            below = sum(int(tree.children_visits[child, : tree.edge_count[child]].sum()) for child in children)
            assert below <= tree.children_visits[node, edge] - len(children)
    assert parents[ROOT] == 0
    assert (parents[1:] == 1).all()
    assert tree.node_count[0] <= plan.simulations + 1


def test_what_holds_for_every_tree() -> None:
    for plan in plans():
        check(plan)
        assert plan.view.action_mask[plan.action]
        assert plan.action in plan.root_actions
        assert WAIT in plan.root_actions


def test_the_prior_sees_every_look_ahead() -> None:
    for view in situations(8):
        futures = sample_futures(view, 2, np.random.default_rng(0), 10.0)
        scratch = new_scratch(len(view.action_mask), 1)
        scratch.values[:] = -np.inf
        task = SearchTask(make_tables(view.params, futures.sims.catalog, view.distribution), POLICY, PARAMETERS)
        chosen = root_values(futures, task, scratch)
        assert view.action_mask[chosen]
        seen = scratch.values > -np.inf
        assert not seen[view.action_mask == 0].any()
        ahead = ((np.flatnonzero(seen)[1:] - 1) // len(view.options)) % LOOKAHEAD
        assert set(ahead) == set(((np.flatnonzero(view.action_mask)[1:] - 1) // len(view.options)) % LOOKAHEAD)
