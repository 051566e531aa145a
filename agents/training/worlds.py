"""The worlds of a training run: those that it is for, a suite's, and worlds drawn at random.

A model that shall travel must see ladders, chunk lengths, prices, devices, links and viewers that nobody ships.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from agents.training.config import names_of
from ppgym.benchmark.episodes import find_suite
from ppgym.core.state import MAX_REPRESENTATIONS
from ppgym.world.devices import DEVICES
from ppgym.world.ladders import LADDERS, Ladder
from ppgym.world.networks import NETWORKS
from ppgym.world.scenario import Scenario
from ppgym.world.viewers import VIEWERS

SHIPPED_SHARE = 0.4  # of the drawn worlds have a shipped ladder, cut into chunks of another length
CHUNK_S = (0.5, 1.0, 1.0, 1.0, 2.0, 2.0, 4.0)
TOP_MBPS = (0.8, 6.0)  # of the pixels, and so B
SPREAD = (2.0, 16.0)  # top rate of the pixels over the lowest
GENERATIVE_SHARE = (0.01, 0.35)  # of B, the rate of a generative representation
QUALITY_SHARE = (0.2, 1.0)  # of q, its quality
FASTER = (0.5, 20.0)  # generative decoding
PRICE = (0.4, 2.5)  # factor on the default weights
RTT_S = (0.02, 0.25)
JOULE_PRICE = (0.003, 0.1)  # seconds at q, where energy has a price: in `PRICED_SHARE` of the worlds
THROTTLE = (1.1, 3.0)  # where units slow down: likewise
PRICED_SHARE = 0.25
CODECS = ("prompt", "promptmobile")  # generative ones that phones' profiles know
MOST_PIXELS, MOST_GENERATIVE = 9, 6


class WorldName(NamedTuple):
    """A world in JSON's terms."""

    scenario: str
    overrides: Mapping[str, Any]

    def parse(self) -> Scenario:
        """The scenario."""
        return Scenario.parse(self.scenario, **self.overrides)


def draw_world(rng: np.random.Generator) -> WorldName:
    """Draw a world.

    Args:
        rng: Source of randomness.

    Returns:
        The world.
    """

    def between(bounds: tuple[float, float]) -> float:
        return float(np.exp(rng.uniform(*np.log(bounds))))

    name = "/".join(str(rng.choice(known)) for known in (NETWORKS, DEVICES, VIEWERS))
    if rng.random() < SHIPPED_SHARE:
        ladder = Ladder.load(str(rng.choice(LADDERS))).to_json() | {"chunk_s": float(rng.choice(CHUNK_S))}
    else:
        ladder = _draw_ladder(rng, between)
    q, b_mbps = Ladder.load(ladder).top_quality, Ladder.load(ladder).b_mbps
    qoe = {
        "rebuffer": q * between(PRICE),
        "abandon": 10.0 * q * between(PRICE),
        "switch": between(PRICE),
        "waste": q / b_mbps * between(PRICE),
    }
    if rng.random() < PRICED_SHARE:
        qoe["energy"] = q * between(JOULE_PRICE)
    overrides = {
        "ladder": ladder,
        "throttle": between(THROTTLE) if rng.random() < PRICED_SHARE else 1.0,
        "qoe": qoe,
        "rtt_s": between(RTT_S),
        "generative_speed_scale": between(FASTER),
        "parallel_downloads": int(rng.choice((1, 1, 2, 3))),
    }
    return WorldName(name, overrides)


def _draw_ladder(rng: np.random.Generator, between: Any) -> dict[str, Any]:
    top_mbps, pixels, generative = between(TOP_MBPS), int(rng.integers(1, MOST_PIXELS + 1)), 0
    if rng.random() < 0.7:
        generative = int(rng.integers(1, min(MOST_GENERATIVE, MAX_REPRESENTATIONS - pixels) + 1))
    rates = top_mbps / np.geomspace(between(SPREAD), 1.0, pixels) if pixels > 1 else np.array([top_mbps])
    codec = str(rng.choice(CODECS))
    shares = np.sort([between(GENERATIVE_SHARE) for _ in range(generative)])
    qualities = np.sort(rng.uniform(*QUALITY_SHARE, generative))
    rows = [("h264", "pixel", float(mbps), float(mbps)) for mbps in rates]
    rows += [
        (codec, "generative", top_mbps * float(share), top_mbps * float(quality))
        for share, quality in zip(shares, qualities, strict=True)
    ]
    representations = [
        {"name": f"{name}-{i}", "codec": name, "kind": kind, "bitrate_bps": 1e6 * mbps, "quality": quality}
        for i, (name, kind, mbps, quality) in enumerate(rows)
    ]
    return {
        "schema": Ladder.SCHEMA,
        "name": "drawn",
        "chunk_s": float(rng.choice(CHUNK_S)),
        "representations": representations,
    }


def world_groups(config: Mapping[str, Any]) -> list[list[WorldName]]:
    """The worlds of a run, in groups that get the same share of its experience.

    Args:
        config: Of the run. Its hyperparameter `worlds` names a ``suite`` and how many worlds are ``drawn``; None leaves
            the run's own scenarios alone.

    Returns:
        The run's own, the suite's others, and those drawn; groups without a world are left out.
    """
    own = [WorldName(name, config["overrides"]) for name in names_of(config["scenario"])]
    worlds = config["hyperparams"]["worlds"]
    if worlds is None:
        return [own]
    suite = [WorldName(name, {}) for name in find_suite(worlds["suite"]).scenarios]
    rng = np.random.default_rng([config["seed"], 2])
    drawn = [draw_world(rng) for _ in range(worlds["drawn"])]
    return [group for group in (own, [one for one in suite if one not in own], drawn) if group]


def share_out(groups: Sequence[Sequence[WorldName]], count: int) -> tuple[list[Scenario], list[int]]:
    """Environments for each world, about as many for one group as for another.

    Args:
        groups: Of `world_groups`.
        count: How many environments in all, about: each world has at least one.

    Returns:
        The scenarios, and how many environments of each.
    """
    scenarios, counts = [], []
    for group in groups:
        each = max(round(count / len(groups) / len(group)), 1)
        scenarios += [world.parse() for world in group]
        counts += [each] * len(group)
    return scenarios, counts


def most_representations(groups: Sequence[Sequence[WorldName]], drawn: bool) -> int:
    """R of the padded observations that serve a run's worlds.

    Args:
        groups: Of `world_groups`.
        drawn: Whether some are drawn: then any ladder shall fit.

    Returns:
        R.
    """
    if drawn:
        return MAX_REPRESENTATIONS
    return max(len(Ladder.load(world.parse().ladder).representations) for group in groups for world in group)
