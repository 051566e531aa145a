"""The planner: belief, candidates, search with sequential halving at the root, decision, explanation.

It puts the other files of this folder together; `agents/mcts.py` makes an agent of it.

Shape legend: A actions at the root, M futures.
"""

import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from ppgym.core.actions import WAIT
from ppgym.core.jit import njit
from ppgym.core.state import F8, HISTORY, I4
from ppgym.planning.belief import Futures, LinkModel, SessionWorth, believe_worth, mean_future, sample_futures
from ppgym.planning.pruning import DEFAULT_RULES, Requests, Rule, expect_requests
from ppgym.planning.rollout import (
    FAST_NETWORK_BPS,
    MOMENT,
    SLOW_NETWORK_BPS,
    RolloutPolicy,
    check_policy,
    estimate_bps,
    place,
)
from ppgym.planning.search import Scratch, SearchKnobs, new_scratch, prior_values, search_edges
from ppgym.planning.tree import ROOT, Tree, new_tree, plant
from ppgym.planning_view import PlanningView

LINK_PAST_HORIZON_S = 10.0  # drawn beyond the horizon, for the step that crosses it
MS_PER_S = 1000.0
CLOCK_EVERY = 64  # simulations between looks at the clock, under a time budget


class PlannerKnobs(NamedTuple):
    """What the planner leaves open besides its budget; chosen on the train and validation splits."""

    futures: int = 64  # sampled; simulations beyond them see a future again
    root_actions: int = 16  # that the search looks at, at most
    # Of an action over the rollout policy's choice before any simulation, in QoE, on a slow network; on a fast one that
    # choice leaves less to gain, and with the same spread the luckiest action would win more often than the best
    advantage_sd: float = 1.0
    fast_advantage_sd: float = 0.3
    prior_share: float = 1.0  # of what the rollout policy itself thinks of that advantage
    edges: int = 8  # actions of a node below the root
    search: SearchKnobs = SearchKnobs()
    rollout: RolloutPolicy = RolloutPolicy()
    link: LinkModel = LinkModel()


class Plan(NamedTuple):
    """What a search has found."""

    action: int
    root_actions: I4  # [A], the rollout policy's choice first
    advantage: F8  # [A] QoE over the rollout policy's choice until the horizon, as rewards count now; -inf: dropped
    prior: F8  # [A] the advantage that was expected before any simulation
    advantage_sd: float  # its standard deviation, in QoE
    visits: I4  # [A]
    simulations: int  # spent
    removed: dict[str, int]  # by rule, how many requests it removed
    trees: list[Tree]  # the planner's own: the next plan overwrites them
    futures: Futures
    view: PlanningView


def prune(view: PlanningView, rules: Sequence[Rule], bps: float) -> tuple[Requests, dict[str, int]]:
    """Leave out what the rules say, one after the other.

    Args:
        view: The planning view.
        rules: The rules, in order.
        bps: Expected rate of a transfer.

    Returns:
        What remains, and how many each rule removed.
    """
    requests, removed = expect_requests(view, bps), {}
    for rule in rules:
        gone = rule.find(view, requests)
        removed[rule.name] = int(gone.sum())
        if removed[rule.name]:
            columns: Any = [column[~gone] for column in requests]
            requests = Requests(*columns)
    return requests, removed


class Planner:
    """Plans by simulation. Its decision is a function of the view and the seed alone, but for a time budget.

    So every plan grows a tree of its own: one that was kept from the decision before would make plans depend on how the
    view was come by, and its returns are from other futures than those in which the root's edges compete. What is kept
    of earlier views, `hindsight.py` puts into the view.
    """

    def __init__(
        self,
        *,
        simulations: int,
        time_budget_ms: float | None = None,
        rules: Sequence[Rule] = DEFAULT_RULES,
        seed: int = 0,
        believes: bool = True,
        threads: int = 1,
        knobs: PlannerKnobs | None = None,
    ) -> None:
        """Make a planner.

        Args:
            simulations: Budget of a decision.
            time_budget_ms: Milliseconds after which a decision stops early.
            rules: Pruning rules.
            seed: Seeds the futures.
            believes: Whether futures are drawn; otherwise one is assumed, of mean bandwidth and mean watch times.
            threads: Trees that are searched side by side, each in its share of the futures.
            knobs: What else is open.

        Raises:
            ValueError: A budget or a number of threads below 1, fewer than 2 root actions, a negative seed, or a knob
                of the wrong sign.
        """
        if seed < 0:
            raise ValueError(f"seed: expected at least 0, got {seed}")
        knobs = knobs or PlannerKnobs()
        if knobs.root_actions < 2:
            raise ValueError(f"root_actions: expected at least 2, got {knobs.root_actions}")
        for name in ("advantage_sd", "fast_advantage_sd"):
            if not getattr(knobs, name) > 0.0:
                raise ValueError(f"{name}: expected more than 0, got {getattr(knobs, name)}")
        check_policy(knobs.rollout)
        if threads < 1:
            raise ValueError(f"threads: expected at least 1, got {threads}")
        if simulations < 1:
            raise ValueError(f"simulations: expected at least 1, got {simulations}")
        if time_budget_ms is not None and time_budget_ms <= 0.0:
            raise ValueError(f"time_budget_ms: expected more than 0 or None, got {time_budget_ms}")
        self.simulations = simulations
        self.time_budget_ms = time_budget_ms
        self.rules = tuple(rules)
        self.seed = seed
        self.believes = believes
        self.knobs = knobs
        futures = self.knobs.futures if believes else 1
        edges = max(self.knobs.root_actions, self.knobs.edges)
        self._trees = [new_tree(simulations + 2, edges, futures) for _ in range(threads)]
        self._scratches: list[Scratch] = []
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def plan(self, view: PlanningView, opinion: F8 | None = None) -> Plan:
        """Search.

        1. Draw futures that agree with the view.
        2. List the actions that are worth a look, by the rollout policy's opinion of them, or another's.
        3. Sequential halving: simulate all of them in the same futures, keep the better half, and so on.
        4. Take the highest posterior advantage over that opinion's choice.

        Args:
            view: The planning view.
            opinion: [1 + S * L * O] what each action is thought to be worth, in QoE up to a constant, -inf where it is
                not to be looked at; the rollout policy's where None.

        Returns:
            The plan.
        """
        started_s = time.perf_counter()
        knobs = self.knobs
        state = view.state
        # counts alone, so that what is equal but for rounding is planned alike
        counts = int(state.chunks_begun), int(state.throughputs), int(state.video), int(state.transfers)
        rng = np.random.default_rng([self.seed, *counts])
        horizon_s = knobs.search.horizon_s + LINK_PAST_HORIZON_S
        if self.believes:
            futures = sample_futures(view, knobs.futures, rng, horizon_s, knobs.link)
        else:
            futures = mean_future(view, horizon_s, knobs.link)
        if not self._scratches or len(self._scratches[0].values) != len(view.action_mask):
            self._scratches = [new_scratch(len(view.action_mask), knobs.search.depth) for _ in self._trees]

        actions, prior, removed = self._candidates(view, futures, opinion)
        for tree in self._trees:
            plant(tree, actions, prior)
        worth = believe_worth(view, knobs.search.horizon_s)
        sd = expected_sd(view, knobs)
        spent = self._halve(view, futures, worth, prior, sd, started_s)
        advantage = posterior_advantage(self._trees, prior, sd, knobs.prior_share)
        visits: I4 = np.sum([tree.children_visits[ROOT, : len(actions)] for tree in self._trees], axis=0)
        finalists = visits == visits.max()
        advantage[~finalists] = -np.inf
        return Plan(
            action=int(actions[int(advantage.argmax())]),
            root_actions=actions,
            advantage=advantage,
            prior=prior,
            advantage_sd=sd,
            visits=visits,
            simulations=spent,
            removed=removed,
            trees=self._trees,
            futures=futures,
            view=view,
        )

    def _candidates(self, view: PlanningView, futures: Futures, opinion: F8 | None) -> tuple[I4, F8, dict[str, int]]:
        """The actions to look at, the opinion's choice first, and their prior advantage over it."""
        scratch = self._scratches[0]
        scratch.values[:] = -np.inf
        chosen = prior_values(
            futures.sims,
            futures.states,
            view.law.leave_p,
            self.knobs.rollout,
            scratch,
        )
        values = scratch.values.copy()
        if opinion is not None:
            values = np.where(values > -np.inf, opinion, -np.inf)
            chosen = int(values.argmax())
        if not view.action_mask[chosen]:
            chosen = int(np.where(view.action_mask == 1, values, -np.inf).argmax())
        requests, removed = prune(view, self.rules, float(estimate_bps(view.state, MOMENT)))
        others = np.append(requests.action, WAIT)
        others = others[(others != chosen) & (values[others] > -np.inf)]
        others = others[np.argsort(-values[others], kind="stable")]
        actions = np.concatenate([[chosen], others[: min(self.knobs.root_actions, self.simulations) - 1]])
        if WAIT not in actions and len(actions) > 1:
            actions[-1] = WAIT
        prior = np.clip(values[actions] - values[chosen], -20.0, 0.0)
        return actions.astype(np.int32), prior, removed

    def _halve(
        self, view: PlanningView, futures: Futures, worth: SessionWorth, prior: F8, sd: float, started_s: float
    ) -> int:
        """Sequential halving; the rollout policy's choice stays, as what the others are measured by."""
        if len(prior) == 1:
            return 0
        alive = np.arange(len(prior), dtype=np.int32)
        rounds = math.ceil(math.log2(len(prior)))
        left, future, late = self.simulations, 0, False
        for round_ in range(rounds):
            each = left // (rounds - round_) // len(alive)
            while each > 0 and not late:
                some = each if self.time_budget_ms is None else min(each, max(CLOCK_EVERY // len(alive), 1))
                self._simulate(view, futures, worth, alive, future, some)
                future, left, each = future + some, left - some * len(alive), each - some
                late = (
                    self.time_budget_ms is not None
                    and MS_PER_S * (time.perf_counter() - started_s) > self.time_budget_ms
                )
            if late:
                break
            if round_ < rounds - 1:
                advantage = posterior_advantage(self._trees, prior, sd, self.knobs.prior_share)[alive[1:]]
                best = alive[1:][np.argsort(-advantage, kind="stable")[: max(len(alive) // 2 - 1, 1)]]
                alive = np.append(alive[:1], best).astype(np.int32)
        return self.simulations - left

    def _simulate(
        self, view: PlanningView, futures: Futures, worth: SessionWorth, edges: I4, first: int, count: int
    ) -> None:
        """Simulate root edges in some futures, shared among the threads."""
        bounds = np.linspace(first, first + count, len(self._trees) + 1).astype(int)

        def search(thread: int) -> None:
            search_edges(
                futures.sims,
                futures.states,
                view.law.leave_p,
                worth,
                self.knobs.rollout,
                self.knobs.search,
                self._trees[thread],
                self._scratches[thread],
                edges,
                bounds[thread],
                bounds[thread + 1] - bounds[thread],
            )

        if self._pool is None:
            search(0)
        else:
            list(self._pool.map(search, range(len(self._trees))))


def expected_sd(view: PlanningView, knobs: PlannerKnobs) -> float:
    """How far an action's advantage may be from its prior, by how fast the network has been.

    Args:
        view: The planning view.
        knobs: The planner's knobs.

    Returns:
        Standard deviation in QoE, between the two of the knobs by its logarithm.
    """
    share = place(float(estimate_bps(view.state, HISTORY)), SLOW_NETWORK_BPS, FAST_NETWORK_BPS)
    sd: float = knobs.advantage_sd * (knobs.fast_advantage_sd / knobs.advantage_sd) ** share
    return sd


def posterior_advantage(trees: Sequence[Tree], prior: F8, sd: float, prior_share: float) -> F8:
    """Expected advantage of each root action over the first, from the differences seen in the same futures.

    The advantage is taken to be normal around what the rollout policy thinks of it, and the differences normal around
    the advantage: the posterior mean shrinks what few simulations show.

    Args:
        trees: The searched trees.
        prior: [A] prior advantages; 0 for the first.
        sd: Their standard deviation, in QoE.
        prior_share: As in `PlannerKnobs`.

    Returns:
        [A] QoE until the horizon; 0 for the first.
    """
    visits = np.sum([tree.root_visits[: len(prior)] for tree in trees], axis=0)
    returns = np.sum([tree.root_return[: len(prior)] for tree in trees], axis=0)
    return _posterior(visits, returns, prior, sd, prior_share)


@njit
def _posterior(visits: I4, returns: F8, prior: F8, sd: float, prior_share: float) -> F8:
    """As `posterior_advantage`, of visits and returns by action and future [A, M]."""
    advantage = np.zeros(len(prior))
    differences = np.empty(visits.shape[1])
    for action in range(1, len(prior)):
        seen = 0
        for future in range(visits.shape[1]):
            if visits[action, future] > 0 and visits[0, future] > 0:
                own = returns[action, future] / visits[action, future]
                differences[seen] = own - returns[0, future] / visits[0, future]
                seen += 1
        mean = differences[:seen].sum() / max(seen, 1)
        # one pseudo-difference of the prior's spread, so that two equal ones are no certainty
        variance = (((differences[:seen] - mean) ** 2).sum() + sd**2) / max(seen, 1)
        weight, prior_weight = seen / (variance + 1e-9), 1.0 / sd**2
        advantage[action] = (weight * mean + prior_weight * prior_share * prior[action]) / (weight + prior_weight)
    return advantage
