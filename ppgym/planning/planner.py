"""The planner: futures, root actions, search with sequential halving, decision.

It puts the other files of this folder together; `agents/mcts.py` makes an agent of it.

Shape legend: A actions at the root.
"""

import itertools
import math
import time
from collections.abc import Iterator, Sequence
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
from ppgym.planning.search import (
    Root,
    Scratch,
    SearchParameters,
    SearchTask,
    new_root,
    new_scratch,
    root_values,
    simulate_actions,
)
from ppgym.planning_view import PlanningView

LINK_PAST_END_S = 10.0  # drawn beyond the longest simulation, for its last step
MS_PER_S = 1000.0
LOOKS = 7  # at the advantages in a decision, at least, if its budget is large
MAX_PRIOR_LOSS = 20.0  # QoE, as tuned; prior advantages are not lower than minus this


class PlannerParameters(NamedTuple):
    """Parameters of the planner besides its budget; tuned on the train and validation splits.

    What is in QoE is so on the ladder on which it was tuned; see `ppgym.planning.rollout_parameters.qoe_scale`.
    """

    futures: int = 96  # sampled at once, and as many again where the search has used them
    root_actions: int = 16  # at most
    # Prior standard deviation of an action's advantage over the rollout policy's choice, in QoE, on a slow and on a
    # fast network. On a fast network that choice leaves less to gain: with the same spread, noise would win more often.
    advantage_sd: float = 1.0
    fast_advantage_sd: float = 0.3
    batch: int = 96  # simulations between two looks at the advantages; of a large budget 1 / LOOKS, where that is more
    # A search ends where it would gain no more, on average, to know an action's advantage; in prior standard deviations
    indifference: float = 0.01
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
    simulated: I4  # [A] in how many futures
    simulations: int  # spent
    removed: dict[str, int]  # number of requests removed, by rule
    root: Root  # the planner's own: the next plan overwrites it
    futures: Futures  # the first that were sampled
    task: SearchTask
    view: PlanningView


class Planner:
    """Plans by simulation; a decision depends on the view and the seed alone, and on the clock under a time budget."""

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
            ValueError: A budget below 1, fewer than 2 root actions, no future or simulation at once, a negative seed,
                an unknown rule, a horizon of no content or longer than a simulation, or a parameter of the wrong sign.
        """
        if seed < 0:
            raise ValueError(f"seed: expected at least 0, got {seed}")
        parameters = parameters or PlannerParameters()
        for name, least in (("root_actions", 2), ("batch", 1), ("futures", 1), ("indifference", 0.0)):
            if not getattr(parameters, name) >= least:
                raise ValueError(f"{name}: expected at least {least}, got {getattr(parameters, name)}")
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
        self._root = new_root(parameters.root_actions, max(simulations // 2, 1))  # two actions at least are compared
        # The types of what a planner is given are the same in all views
        self._simulate = Bound(simulate_actions)
        self._posterior = Bound(posterior_advantage, self._root)
        self._gains = Bound(expected_gains)

    def plan(self, view: PlanningView, prior_values: F8 | None = None) -> Plan:
        """Search.

        1. Sample futures that agree with the view.
        2. Choose the root actions by their prior values.
        3. Sequential halving: simulate all of them in the same futures, keep the better half of those that are still
           open, and so on, until the best action is clear or the budget is spent.
        4. Take the action of the highest posterior advantage over the first one.

        Args:
            view: The planning view.
            prior_values: [1 + S * L * O] value of each action in QoE up to a constant, -inf to leave it out,
                which `WAIT` never is; the rollout policy's values where None.

        Returns:
            The plan.
        """
        started_s = time.perf_counter()
        parameters, blocks = self.parameters, self._sample_blocks(view)
        futures, scale = next(blocks), qoe_scale(view.params)
        tables = make_tables(view.params, futures.sims.catalog, view.distribution)
        task = SearchTask(tables, parameters.rollout, parameters.search)
        scratch = new_scratch(len(view.action_mask))

        values, choice = self._values(view, futures, task, scratch, prior_values)
        actions, removed = self._root_actions(view, values, choice)
        prior = np.clip(values[actions] - values[choice], -scale * MAX_PRIOR_LOSS, 0.0)
        sd = advantage_sd(view, parameters)
        self._root.actions[: len(actions)], self._root.simulated[:] = actions, 0
        spent = self._halve(itertools.chain([futures], blocks), task, scratch, prior, sd, started_s)

        advantage, _ = self._posterior(prior, sd)
        simulated = self._root.simulated[: len(actions)].copy()
        advantage[simulated < simulated.max()] = -np.inf
        return Plan(
            action=int(actions[int(advantage.argmax())]),
            root_actions=actions,
            advantage=advantage,
            prior=prior,
            advantage_sd=sd,
            simulated=simulated,
            simulations=spent,
            removed=removed,
            root=self._root,
            futures=futures,
            task=task,
            view=view,
        )

    def _sample_blocks(self, view: PlanningView) -> Iterator[Futures]:
        """Futures, more and more of them; a single one where they are not sampled."""
        parameters, state = self.parameters, view.state
        horizon_s = parameters.search.longest_s + LINK_PAST_END_S
        if not self.belief:
            yield mean_future(view, horizon_s, parameters.link)
            return
        # Counts only: views that differ by rounding get the same plan
        counts = int(state.chunks_begun), int(state.throughputs), int(state.video), int(state.transfers)
        rng = np.random.default_rng([self.seed, *counts])
        while True:
            yield self.sample(view, parameters.futures, rng, horizon_s, parameters.link)

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
        self, blocks: Iterator[Futures], task: SearchTask, scratch: Scratch, prior: F8, sd: float, started_s: float
    ) -> int:
        """Sequential halving; returns the simulations spent.

        The first action stays, as the baseline. Besides the half, an action goes that would hardly gain if its
        advantage were known; where that is so of all but the best one, the search is over.
        """
        parameters, left = self.parameters, self.simulations
        has_clock = self.time_budget_ms is not None  # which is read at every look
        batch = parameters.batch if has_clock else max(parameters.batch, self.simulations // LOOKS)
        alive = np.arange(len(prior), dtype=np.int32)
        futures, first = next(blocks), 0
        while len(alive) > 1 and left >= 2:
            rounds = math.ceil(math.log2(len(alive)))
            # Of a small budget an action may get none: then the prior halves
            each = min(left // rounds // len(alive), max(batch // len(alive), 1))
            while each > 0:
                if first == len(futures.states):
                    following = next(blocks, None)
                    if following is None:
                        return self.simulations - left
                    futures, first = following, 0
                some = min(each, len(futures.states) - first)
                self._simulate(futures, task, scratch, self._root, alive, first, some)
                first, each, left = first + some, each - some, left - some * len(alive)
            if self.time_budget_ms is not None:
                if MS_PER_S * (time.perf_counter() - started_s) > self.time_budget_ms:
                    break
            mean, variance = self._posterior(prior, sd)
            gain = self._gains(mean[alive], variance[alive])
            best = mean[alive].argmax()
            better = 1 + np.argsort(-mean[alive[1:]], kind="stable")[: max(len(alive) // 2 - 1, 1)]
            kept = better[(gain[better] > parameters.indifference * sd) | (better == best)]
            if max(gain[0], gain[kept].max(initial=0.0)) <= parameters.indifference * sd:
                break
            alive = alive[np.append(0, kept)]
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
def posterior_advantage(root: Root, prior: F8, sd: float) -> tuple[F8, F8]:
    """Posterior of each root action's advantage over the first, from the differences of returns in the same futures.

    The advantage is assumed to be normal around its prior, and the differences normal around the advantage. So the
    posterior mean shrinks what few simulations show towards the prior.

    Args:
        root: The returns of the actions.
        prior: [A] prior advantages; 0 for the first.
        sd: Their standard deviation, in QoE.

    Returns:
        [A] mean, in QoE until the horizon, and [A] variance; both 0 for the first.
    """
    means, variances = np.zeros(len(prior)), np.zeros(len(prior))
    for action in range(1, len(prior)):
        seen = root.simulated[action]
        differences = root.returns[action, :seen] - root.returns[0, :seen]
        mean = differences.sum() / max(seen, 1)
        # one pseudo-difference of the prior's spread: two equal differences are no certainty
        variance = (((differences - mean) ** 2).sum() + sd**2) / max(seen, 1)
        weight, prior_weight = seen / (variance + 1e-9), 1.0 / sd**2
        means[action] = (weight * mean + prior_weight * prior[action]) / (weight + prior_weight)
        variances[action] = 1.0 / (weight + prior_weight)
    return means, variances


@njit
def expected_gains(mean: F8, variance: F8) -> F8:
    """What would be gained on average if it were known whether an action is better than the best one.

    The expectation of max(difference, 0) of a normal difference, as in Howard, "Information value theory", 1966; the
    covariance of the two advantages is left out.

    Args:
        mean: [A] of the advantages.
        variance: [A] of the advantages.

    Returns:
        [A] QoE, not negative; 0 for the best action.
    """
    best = mean.argmax()
    gains = np.zeros(len(mean))
    for action in range(len(mean)):
        sd = math.sqrt(variance[action] + variance[best])
        if action != best and sd > 0.0:
            z = (mean[action] - mean[best]) / sd
            density, share = math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi), 0.5 * math.erfc(-z / math.sqrt(2.0))
            gains[action] = sd * (density + z * share)
    return gains
