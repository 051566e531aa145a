"""Evolution of the planner's rollout policy: CMA-ES on the training split, over several networks and devices.

    python -m agents.studies.rollout_evolution --generations 80

Every ten generations it prints the QoE on the validation split and the parameters. They are then copied by hand
to `ppgym.planning.rollout_parameters.EVOLVED` if the planner, too, has a higher QoE with them. The policy decides in
about a microsecond: a generation plays more than ten thousand episodes. Scenarios with fast networks only do not test
the parameters for slow networks, and vice versa: keep the old values of parameters that were not tested.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tyro
from cmaes import CMA
from rich.progress import track

from ppgym.core.dynamics import reset_state, transition
from ppgym.core.episodes import Sims, drawn_watch_s, take_sim
from ppgym.core.jit import kernel
from ppgym.core.qoe import REWARD_TERMS, reward_terms, totals_of
from ppgym.core.state import F8, new_states
from ppgym.planning.rollout import SlotEstimates, Tables, choose_action, make_tables, new_estimates
from ppgym.planning.rollout_parameters import NetworkParameters, RolloutParameters, RolloutPolicy
from ppgym.world.scenario import Scenario, make_rng, make_world

SCENARIOS = (
    "low/snapdragon-8-elite/typical",
    "medium/snapdragon-8-elite/typical",
    "mixed/snapdragon-8-elite/typical",
    "high/snapdragon-8-elite/typical",
    "low/snapdragon-8-gen-2/typical",
    "mixed/snapdragon-8-gen-2/typical",
    "low/rtx-4090/typical",
    "mixed/rtx-4090/typical",
)

RANGES = {
    "bps_share": (0.3, 1.5),
    "defer_s": (0.3, 12.0),
    "link_price": (0.0, 2.0),
    "unit_price": (0.0, 1.0),
    "switch_share": (0.0, 2.0),
    "waste_share": (0.0, 3.0),
    "gain_share": (0.0, 2.0),
    "gain_fade": (0.0, 1.0),
    "stall_share": (0.0, 3.0),
    "others_share": (0.0, 3.0),
    "least_value": (-0.5, 3.0),
    "margin_s": (-1.0, 3.0),
    "buffer_s": (3.0, 40.0),
}
"""Interval of each parameter that is searched."""
LOW, HIGH = np.array(list(RANGES.values())).T

FIRST_SPREAD = 0.07  # standard deviation of the first generation, as a share of the intervals
POPULATION = 20


class Scratch(NamedTuple):
    """Working memory of an episode."""

    states: np.ndarray  # [1] of STATE_DTYPE
    estimates: SlotEstimates
    terms: F8  # [5]


@kernel
def play_policy(sims: Sims, tables: Tables, policy: RolloutPolicy, scratch: Scratch, returns: F8) -> None:
    """Play the rollout policy through whole episodes.

    Args:
        sims: What is constant, and [N] draws.
        tables: What the policy looks up.
        policy: The policy.
        scratch: Working memory.
        returns: Output [N].
    """
    for i in range(returns.shape[0]):
        sim, state = take_sim(sims, i), scratch.states[0]
        reset_state(sim, state, None)
        before = totals_of(state)
        while not (state.terminated or state.truncated):
            transition(sim, state, choose_action(sim, state, tables, policy, scratch.estimates))
        returns[i] = reward_terms(sim.params, before, totals_of(state), scratch.terms)


class Evaluation:
    """Episodes of a scenario on which policies are evaluated."""

    def __init__(self, scenario: str, split: str, sessions: int) -> None:
        """Allocate the episodes.

        Args:
            scenario: Name network/device/viewer.
            split: "train", "validation" or "test".
            sessions: How many.
        """
        self.world = make_world(Scenario.parse(scenario), split)
        self.episodes = self.world.new_episodes(sessions)
        self._count, self._minutes = sessions, 0.0
        self._scratch = Scratch(new_states(1), new_estimates(), np.zeros(len(REWARD_TERMS)))

    def draw(self, first_seed: int) -> None:
        """Draw new episodes.

        Args:
            first_seed: The first of consecutive seeds.
        """
        for i in range(self._count):
            self.world.draw(make_rng(first_seed + i, self.world.split), self.episodes, i)
        self._minutes = float(drawn_watch_s(self.episodes).sum()) / 60.0

    def qoe(self, policy: RolloutPolicy) -> float:
        """Play a policy.

        Args:
            policy: The policy.

        Returns:
            The sum of the returns over the sum of the drawn watch minutes.
        """
        returns = np.zeros(self._count)
        tables = make_tables(self.world.params, self.world.catalog, self.world.distribution)
        play_policy(self.world.sims(self.episodes), tables, policy, self._scratch, returns)
        return float(returns.sum() / self._minutes)


def to_policy(genes: F8) -> RolloutPolicy:
    """The policy of a point of the unit cube.

    Args:
        genes: [4 x parameters] in [0, 1].

    Returns:
        The policy.
    """
    values = LOW + (HIGH - LOW) * np.clip(genes, 0.0, 1.0).reshape(4, -1)
    parameters = [RolloutParameters(*row.tolist()) for row in values]
    return RolloutPolicy(NetworkParameters(*parameters[:2]), NetworkParameters(*parameters[2:]))


def to_genes(policy: RolloutPolicy) -> F8:
    """The point of the unit cube of a policy.

    Args:
        policy: The policy.

    Returns:
        [4 x parameters] in [0, 1].
    """
    genes: F8 = np.clip((np.array(policy) - LOW) / (HIGH - LOW), 0.0, 1.0).ravel()
    return genes


def evolve(
    scenarios: Sequence[str] = SCENARIOS, generations: int = 80, sessions: int = 80, seed: int = 1
) -> RolloutPolicy:
    """Evolve the policy from its present parameters and print its QoE on the validation split.

    Args:
        scenarios: Names network/device/viewer, equally weighted.
        generations: How many.
        sessions: Of each scenario and generation; new ones for each generation.
        seed: Of the search.

    Returns:
        The policy at the end: the mean of the last generation.
    """
    rng = np.random.default_rng(seed)
    train = [Evaluation(scenario, "train", sessions) for scenario in scenarios]
    validation = [Evaluation(scenario, "validation", 2 * sessions) for scenario in scenarios]
    for evaluation in validation:
        evaluation.draw(0)
    genes = to_genes(RolloutPolicy())
    bounds = np.tile([0.0, 1.0], (len(genes), 1))
    search = CMA(mean=genes, sigma=FIRST_SPREAD, bounds=bounds, seed=seed, population_size=POPULATION)
    for generation in track(range(generations), description="Evolving"):
        for evaluation in train:
            evaluation.draw(int(rng.integers(1 << 30)))
        asked = [search.ask() for _ in range(search.population_size)]
        search.tell([(x, -float(np.mean([evaluation.qoe(to_policy(x)) for evaluation in train]))) for x in asked])
        if generation % 10 == 9:
            policy = to_policy(search.mean)
            figures = [evaluation.qoe(policy) for evaluation in validation]
            print(f"generation {generation + 1}: {np.mean(figures):.2f}, {np.round(figures, 1)}\n{policy}")
    return to_policy(search.mean)


if __name__ == "__main__":
    tyro.cli(evolve)
