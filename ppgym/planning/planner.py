"""The planner: futures, root actions, search with sequential halving, decision.

It puts the other files of this folder together; `agents/mcts.py` makes an agent of it.

Shape legend: A actions at the root, M futures.
"""

import math
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ppgym.core.actions import WAIT
from ppgym.core.bound import Bound
from ppgym.core.jit import njit
from ppgym.core.state import F8, HISTORY, I4
from ppgym.files import suggest
from ppgym.planning.belief import Futures, LinkModel, mean_future, sample_futures
from ppgym.planning.pruning import RULES, prune
from ppgym.planning.rollout import estimate_bps, make_tables
from ppgym.planning.rollout_parameters import (
    FAST_NETWORK_BPS,
    SLOW_NETWORK_BPS,
    RolloutPolicy,
    bps_scale,
    check_policy,
    log_share,
    qoe_scale,
)
from ppgym.planning.search import Scratch, SearchParameters, SearchTask, new_scratch, root_values, search_edges
from ppgym.planning.tree import ROOT, Tree, new_tree, reset_tree
from ppgym.planning_view import PlanningView

LINK_PAST_END_S = 10.0  # drawn beyond the longest simulation, for its last step
MS_PER_S = 1000.0
CLOCK_EVERY = 64  # simulations between two readings of the clock, under a time budget
MAX_PRIOR_LOSS = 20.0  # QoE, as tuned; prior advantages are not lower than minus this


class PlannerParameters(NamedTuple):
    """Parameters of the planner besides its budget; tuned on the train and validation splits.

    What is in QoE is so on the ladder on which it was tuned; see `ppgym.planning.rollout_parameters.qoe_scale`.
    """

    futures: int = 96  # sampled; further simulations reuse them in turn
    root_actions: int = 16  # at most
    # Prior standard deviation of an action's advantage over the rollout policy's choice, in QoE, on a slow and on a
    # fast network. On a fast network that choice leaves less to gain: with the same spread, noise would win more often.
    advantage_sd: float = 1.0
    fast_advantage_sd: float = 0.3
    edges: int = 8  # actions of a node below the root, at most
    search: SearchParameters = SearchParameters()
    rollout: RolloutPolicy = RolloutPolicy()
    link: LinkModel = LinkModel()


class Plan(NamedTuple):
    """Result of a search."""

    action: int
    root_actions: I4  # [A], the first one is the baseline of the advantages
    advantage: F8  # [A] return over that of the first action, until the horizon; -inf: dropped
    prior: F8  # [A] the advantage that was expected before any simulation
    advantage_sd: float  # its standard deviation, in QoE
    visits: I4  # [A]
    simulations: int  # spent
    removed: dict[str, int]  # number of requests removed, by rule
    tree: Tree  # the planner's own: the next plan overwrites it
    futures: Futures
    task: SearchTask
    view: PlanningView


class Planner:
    """Plans by simulation. Its decision depends on the view and the seed alone, and on the clock under a time budget.

    Every plan grows a new tree. A plan from a kept tree would depend on earlier decisions, and its returns would come
    from other futures than those in which the root actions are compared.
    """

    def __init__(
        self,
        *,
        simulations: int,
        time_budget_ms: float | None = None,
        rules: Sequence[str] = RULES,
        seed: int = 0,
        belief: bool = True,
        parameters: PlannerParameters | None = None,
    ) -> None:
        """Make a planner.

        Args:
            simulations: Budget of a decision.
            time_budget_ms: Milliseconds after which a decision stops early.
            rules: Pruning rules, of `ppgym.planning.pruning.RULES`.
            seed: Seeds the futures.
            belief: Whether futures are sampled. False plans for a single future of mean bandwidth and mean watch times.
            parameters: Further parameters; the default ones where None.

        Raises:
            ValueError: A budget below 1, fewer than 2 root actions, a negative seed, an unknown rule, a horizon of no
                content or longer than a simulation, or a parameter of the wrong sign.
        """
        if seed < 0:
            raise ValueError(f"seed: expected at least 0, got {seed}")
        parameters = parameters or PlannerParameters()
        if parameters.root_actions < 2:
            raise ValueError(f"root_actions: expected at least 2, got {parameters.root_actions}")
        for name in ("advantage_sd", "fast_advantage_sd"):
            if not getattr(parameters, name) > 0.0:
                raise ValueError(f"{name}: expected more than 0, got {getattr(parameters, name)}")
        check_policy(parameters.rollout)
        search = parameters.search
        if not 0.0 < search.horizon_s <= search.longest_s:
            expected = f"more than 0 and at most longest_s, {search.longest_s}"
            raise ValueError(f"search: horizon_s: expected {expected}, got {search.horizon_s}")
        for rule in rules:
            if rule not in RULES:
                raise ValueError(f"pruning: unknown rule {rule!r}; {suggest(rule, RULES)}")
        if simulations < 1:
            raise ValueError(f"simulations: expected at least 1, got {simulations}")
        if time_budget_ms is not None and time_budget_ms <= 0.0:
            raise ValueError(f"time_budget_ms: expected more than 0 or None, got {time_budget_ms}")
        self.simulations = simulations
        self.time_budget_ms = time_budget_ms
        self.rules = tuple(rules)
        self.seed = seed
        self.belief = belief
        self.sample = sample_futures  # who is told what is hidden has another, of the same signature
        self.parameters = parameters
        edges = max(parameters.root_actions, parameters.edges)
        self._tree = new_tree(simulations + 2, edges, parameters.futures if belief else 1)
        # The types of what a planner is given are the same in all views
        self._search_edges = Bound(search_edges)
        self._advantage = Bound(posterior_advantage, self._tree)

    def plan(self, view: PlanningView, prior_values: F8 | None = None) -> Plan:
        """Search.

        1. Sample futures that agree with the view.
        2. Choose the root actions by their prior values.
        3. Sequential halving: simulate all of them in the same futures, keep the better half, and so on.
        4. Take the action of the highest posterior advantage over the first one.

        Args:
            view: The planning view.
            prior_values: [1 + S * L * O] value of each action in QoE up to a constant, -inf to leave it out,
                which `WAIT` never is; the rollout policy's values where None.

        Returns:
            The plan.
        """
        started_s = time.perf_counter()
        parameters, state = self.parameters, view.state
        # Counts only: views that differ by rounding get the same plan
        counts = int(state.chunks_begun), int(state.throughputs), int(state.video), int(state.transfers)
        rng = np.random.default_rng([self.seed, *counts])
        horizon_s = parameters.search.longest_s + LINK_PAST_END_S
        if self.belief:
            futures = self.sample(view, parameters.futures, rng, horizon_s, parameters.link)
        else:
            futures = mean_future(view, horizon_s, parameters.link)
        scale = qoe_scale(view.params)
        search = parameters.search._replace(temperature=scale * parameters.search.temperature)
        task = SearchTask(make_tables(view.params, futures.sims.catalog, view.distribution), parameters.rollout, search)
        scratch = new_scratch(len(view.action_mask), parameters.search.depth)

        values, choice = self._values(view, futures, task, scratch, prior_values)
        actions, removed = self._root_actions(view, values, choice)
        prior = np.clip(values[actions] - values[choice], -scale * MAX_PRIOR_LOSS, 0.0)
        reset_tree(self._tree, actions, prior)
        sd = advantage_sd(view, parameters)
        spent = self._halve(futures, task, scratch, prior, sd, started_s)

        advantage = self._advantage(prior, sd)
        visits = self._tree.children_visits[ROOT, : len(actions)].copy()
        advantage[visits < visits.max()] = -np.inf
        return Plan(
            action=int(actions[int(advantage.argmax())]),
            root_actions=actions,
            advantage=advantage,
            prior=prior,
            advantage_sd=sd,
            visits=visits,
            simulations=spent,
            removed=removed,
            tree=self._tree,
            futures=futures,
            task=task,
            view=view,
        )

    @staticmethod
    def _values(
        view: PlanningView, futures: Futures, task: SearchTask, scratch: Scratch, prior_values: F8 | None
    ) -> tuple[F8, int]:
        """The prior values of all actions, -inf where an action is left out, and the best legal action."""
        scratch.values[:] = -np.inf
        choice = root_values(futures, task, scratch)
        values = scratch.values.copy()
        if prior_values is not None:
            values = np.where(values > -np.inf, prior_values, -np.inf)
            choice = int(values.argmax())
        if not view.action_mask[choice]:
            choice = int(np.where(view.action_mask == 1, values, -np.inf).argmax())
        return values, choice

    def _root_actions(self, view: PlanningView, values: F8, choice: int) -> tuple[I4, dict[str, int]]:
        """The choice, then the others of the highest values that the rules leave; `WAIT` is always among them."""
        mask, removed = prune(view, self.rules)
        others = np.flatnonzero((mask == 1) & (values > -np.inf))
        others = np.append(others[others != WAIT], WAIT)
        others = others[others != choice]
        others = others[np.argsort(-values[others], kind="stable")]
        actions = np.concatenate([[choice], others[: min(self.parameters.root_actions, self.simulations) - 1]])
        if WAIT not in actions and len(actions) > 1:
            actions[-1] = WAIT
        return actions.astype(np.int32), removed

    def _halve(
        self, futures: Futures, task: SearchTask, scratch: Scratch, prior: F8, sd: float, started_s: float
    ) -> int:
        """Sequential halving; the first action stays, as the baseline. Returns the simulations spent."""
        if len(prior) == 1:
            return 0
        alive = np.arange(len(prior), dtype=np.int32)
        rounds = math.ceil(math.log2(len(prior)))
        left, future, late = self.simulations, 0, False
        for round_ in range(rounds):
            each = left // (rounds - round_) // len(alive)
            while each > 0 and not late:
                some = each if self.time_budget_ms is None else min(each, max(CLOCK_EVERY // len(alive), 1))
                self._search_edges(futures, task, self._tree, scratch, alive, future, some)
                future, left, each = future + some, left - some * len(alive), each - some
                late = (
                    self.time_budget_ms is not None
                    and MS_PER_S * (time.perf_counter() - started_s) > self.time_budget_ms
                )
            if late:
                break
            if round_ < rounds - 1:
                advantage = self._advantage(prior, sd)[alive[1:]]
                best = alive[1:][np.argsort(-advantage, kind="stable")[: max(len(alive) // 2 - 1, 1)]]
                alive = np.append(alive[:1], best).astype(np.int32)
        return self.simulations - left


def advantage_sd(view: PlanningView, parameters: PlannerParameters) -> float:
    """Prior standard deviation of an action's advantage.

    Args:
        view: The planning view.
        parameters: The planner's parameters.

    Returns:
        QoE; between `advantage_sd` and `fast_advantage_sd` by the logarithm of the mean throughput.
    """
    bps = float(estimate_bps(view.state, HISTORY)) / bps_scale(view.params)
    share = log_share(bps, SLOW_NETWORK_BPS, FAST_NETWORK_BPS)
    sd: float = parameters.advantage_sd * (parameters.fast_advantage_sd / parameters.advantage_sd) ** share
    return float(qoe_scale(view.params)) * sd


@njit
def posterior_advantage(tree: Tree, prior: F8, sd: float) -> F8:
    """Expected advantage of each root action over the first, from the differences of returns in the same futures.

    The advantage is assumed to be normal around its prior, and the differences normal around the advantage. So the
    posterior mean shrinks what few simulations show towards the prior.

    Args:
        tree: The searched tree.
        prior: [A] prior advantages; 0 for the first.
        sd: Their standard deviation, in QoE.

    Returns:
        [A] QoE until the horizon; 0 for the first.
    """
    visits, returns = tree.root_visits, tree.root_return
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
        # one pseudo-difference of the prior's spread: two equal differences are no certainty
        variance = (((differences[:seen] - mean) ** 2).sum() + sd**2) / max(seen, 1)
        weight, prior_weight = seen / (variance + 1e-9), 1.0 / sd**2
        advantage[action] = (weight * mean + prior_weight * prior[action]) / (weight + prior_weight)
    return advantage
