"""Evolution of the planner's rollout policy: CMA-ES on the training split, over networks and devices together.

    python -m agents.studies.rollout_evolution --generations 80

prints the mean QoE on the validation split every ten generations, and the knobs, which are then written into
`ppgym.planning.rollout.RolloutPolicy` by hand, if the planner fares better with them too: that the policy does by
itself is not enough. It decides in about a microsecond, so that a generation plays tens of thousands of episodes.
Scenarios of fast networks alone leave the knobs for slow ones to chance, and the other way round: keep those as they
are.
"""

from collections.abc import Sequence

import numpy as np
import tyro
from cmaes import CMA
from rich.progress import track

from ppgym.core.dynamics import reset_state, transition
from ppgym.core.episodes import Sims, take_sim
from ppgym.core.jit import kernel
from ppgym.core.qoe import REWARD_TERMS, reward_terms, totals_of
from ppgym.core.state import F8, SLOTS, new_states
from ppgym.planning.rollout import PAD, RolloutKnobs, RolloutPolicy, Trade, choose_action
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
"""Where each knob is looked for."""

FIRST_SPREAD = 0.07  # of the first generation, by the ranges
POPULATION = 20


@kernel
def play_policy(
    sims: Sims,
    states: np.ndarray,
    leave_p: float,
    policy: RolloutPolicy,
    pad: F8,
    terms: F8,
    qoe: F8,
) -> None:
    """Play the rollout policy through whole episodes.

    Args:
        sims: What is constant, and [N] draws.
        states: [1] of STATE_DTYPE, scratch.
        leave_p: P(the session ends after a video).
        policy: The policy.
        pad: Scratch [PAD, SLOTS].
        terms: Scratch [5].
        qoe: Output [N] return per minute of drawn watch time.
    """
    for i in range(qoe.shape[0]):
        sim, state = take_sim(sims, i), states[0]
        reset_state(sim, state, None)
        before = totals_of(state)
        while not (state.terminated or state.truncated):
            action = choose_action(sim, state, leave_p, policy, pad)
            transition(sim, state, action)
        drawn_s = 0.0
        for video in range(sim.episode.watch_s.shape[0]):
            drawn_s += sim.episode.watch_s[video]
            if sim.episode.leaves[video]:
                break
        qoe[i] = reward_terms(sim.params, before, totals_of(state), terms) / (drawn_s / 60.0)


class Arena:
    """Episodes of a scenario for policies to play."""

    def __init__(self, scenario: str, split: str, episodes: int) -> None:
        """Make room.

        Args:
            scenario: Name network/device/viewer.
            split: "train", "validation" or "test".
            episodes: How many.
        """
        self.world = make_world(Scenario.parse(scenario), split)
        self.episodes = self.world.new_episodes(episodes)
        self._scratch = (
            np.zeros((PAD, SLOTS)),
            np.zeros(len(REWARD_TERMS)),
            np.zeros(episodes),
        )

    def draw(self, first_seed: int) -> None:
        """Draw the episodes anew.

        Args:
            first_seed: Of consecutive ones.
        """
        for i in range(len(self._scratch[-1])):
            self.world.draw(make_rng(first_seed + i, self.world.split), self.episodes, i)

    def mean_qoe(self, policy: RolloutPolicy) -> float:
        """Play.

        Args:
            policy: Who.

        Returns:
            Mean QoE.
        """
        world, states = self.world, new_states(1)
        play_policy(
            world.sims(self.episodes),
            states,
            world.law.leave_p,
            policy,
            *self._scratch,
        )
        return float(self._scratch[-1].mean())


def to_policy(genes: F8) -> RolloutPolicy:
    """The policy of a point of the unit cube.

    Args:
        genes: [4 x knobs] in [0, 1].

    Returns:
        The policy.
    """
    low, high = np.array(list(RANGES.values())).T
    corners = low + (high - low) * np.clip(genes, 0.0, 1.0).reshape(4, -1)
    slow_slow, slow_fast, fast_slow, fast_fast = (RolloutKnobs(*corner.tolist()) for corner in corners)
    return RolloutPolicy(slow_network=Trade(slow_slow, slow_fast), fast_network=Trade(fast_slow, fast_fast))


def to_genes(policy: RolloutPolicy) -> F8:
    """The point of the unit cube of a policy.

    Args:
        policy: The policy.

    Returns:
        [4 x knobs] in [0, 1].
    """
    low, high = np.array(list(RANGES.values())).T
    genes: F8 = np.clip((np.array(policy) - low) / (high - low), 0.0, 1.0).ravel()
    return genes


def evolve(
    scenarios: Sequence[str] = SCENARIOS, generations: int = 80, episodes: int = 80, seed: int = 1
) -> RolloutPolicy:
    """Evolve the policy from its present knobs and print how it fares on the validation split.

    Args:
        scenarios: Names network/device/viewer; they count alike.
        generations: How many.
        episodes: Of each scenario and generation, new ones each time, the same for a whole generation.
        seed: Of the search.

    Returns:
        The policy at the end: the mean of the last generation.
    """
    rng = np.random.default_rng(seed)
    train = [Arena(scenario, "train", episodes) for scenario in scenarios]
    held_out = [Arena(scenario, "validation", 2 * episodes) for scenario in scenarios]
    for arena in held_out:
        arena.draw(0)
    genes = to_genes(RolloutPolicy())
    bounds = np.tile([0.0, 1.0], (len(genes), 1))
    search = CMA(mean=genes, sigma=FIRST_SPREAD, bounds=bounds, seed=seed, population_size=POPULATION)
    for generation in track(range(generations), description="Evolving"):
        for arena in train:
            arena.draw(int(rng.integers(1 << 30)))
        asked = [search.ask() for _ in range(search.population_size)]
        search.tell([(x, -float(np.mean([arena.mean_qoe(to_policy(x)) for arena in train]))) for x in asked])
        if generation % 10 == 9:
            policy = to_policy(search.mean)
            figures = [arena.mean_qoe(policy) for arena in held_out]
            print(f"generation {generation + 1}: {np.mean(figures):.2f}, {np.round(figures, 1)}\n{policy}")
    return to_policy(search.mean)


if __name__ == "__main__":
    tyro.cli(evolve)
