"""Parameters of agents: the ranges that tuning draws from, declared beside each agent, and the best values found.

The search itself is in `tuning.py`.
"""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ppgym.world.scenario import QoEWeights

HYPERPARAMS = Path(__file__).parents[1] / "hyperparams"
PROMPT_VARIANT = "+prompt"


class Between(NamedTuple):
    """A number between two others."""

    low: float
    high: float
    by_ratio: bool = False  # uniform in the logarithm

    def draw(self, rng: np.random.Generator) -> float:
        """A random value, to four significant digits."""
        if self.by_ratio:
            value = self.low * (self.high / self.low) ** rng.random()
        else:
            value = self.low + (self.high - self.low) * rng.random()
        return float(f"{value:.4g}")


class OneOf(NamedTuple):
    """One of some values."""

    values: tuple[Any, ...]

    def draw(self, rng: np.random.Generator) -> Any:
        """A random value."""
        return self.values[int(rng.integers(len(self.values)))]


Space = dict[str, Between | OneOf]


def tuned_params(agent: str, weights: QoEWeights, folder: Path = HYPERPARAMS) -> dict[str, Any]:
    """The best parameters that tuning has found for an agent.

    They were sought under the default weights and hold for no others: elsewhere an agent keeps its class's defaults,
    which are its paper's. A prompt-aware variant that has none of its own has those of the rule over pixels, so that
    prompts are all that tells the two apart.

    Args:
        agent: Name.
        weights: Of the reward that the agent will be judged by.
        folder: Holds NAME.yml as `tuning.tune` writes it.

    Returns:
        Keyword arguments of the agent's class; none where nothing is known.
    """
    if weights != QoEWeights():
        return {}
    own = _read_params(folder / f"{agent}.yml")
    return own or _read_params(folder / f"{agent.removesuffix(PROMPT_VARIANT)}.yml")


@functools.cache
def _read_params(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    import yaml

    params: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8")).get("params", {})
    return params
