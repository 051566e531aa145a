"""Parameters of agents: the ranges for tuning, which each agent declares, and the best values found.

The search itself is in `agents.studies.tuning`.
"""

import functools
from pathlib import Path
from typing import Any, NamedTuple

from ppgym.world.qoe_weights import QoEWeights

HYPERPARAMS = Path(__file__).parents[1] / "hyperparams"
PROMPT_VARIANT = "+prompt"


class Between(NamedTuple):
    """A number between two others."""

    low: float
    high: float
    by_ratio: bool = False  # drawn uniformly in the logarithm


class OneOf(NamedTuple):
    """One of some values."""

    values: tuple[Any, ...]


Space = dict[str, Between | OneOf]


def tuned_params(agent: str, weights: QoEWeights, folder: Path = HYPERPARAMS) -> dict[str, Any]:
    """The best parameters that tuning has found for an agent.

    They were sought under the default weights and are used under no others: there an agent keeps its class's defaults,
    which are its paper's. A prompt-aware variant without a file of its own uses that of the rule over pixels, so that
    the two differ in prompts alone.

    Args:
        agent: Name.
        weights: Of the agent's reward.
        folder: Holds NAME.yml, written by `tuning.tune`.

    Returns:
        Keyword arguments of the agent's class; none where nothing was found.
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
