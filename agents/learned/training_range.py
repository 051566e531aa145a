"""In which worlds a learned agent was trained, and whether another one is like them.

A checkpoint's card holds the least and the greatest of each number below, over all worlds of its training.
"""

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

from ppgym.world.ladders import Ladder
from ppgym.world.scenario import Scenario

Range = Mapping[str, list[float]]  # name -> [least, greatest]

NEAR_ZERO = 0.1  # added to both sides of a ratio: prices and shares below it count as equal
CHALLENGE = "mmgc2022"  # the network of the 2022 challenge's scenario: a simulator with rules of its own
FAR = 10.0  # a number that is so many times outside of the range makes an agent meaningless


class OutsideTraining(UserWarning):
    """A learned agent decides in a world unlike those of its training."""


def describe(scenario: Scenario) -> dict[str, float]:
    """A world in numbers that are relative to its ladder's q and B.

    Args:
        scenario: The public scenario.

    Returns:
        Numbers by name.
    """
    ladder = Ladder.load(scenario.ladder)
    weights, q, b_mbps = scenario.qoe.on(ladder), ladder.top_quality, ladder.b_mbps
    second = weights["quality"] * q or 1.0  # what a second at q is worth
    rates = [one.bitrate_bps / 1e6 / b_mbps for one in ladder.representations]
    return {
        "chunk_s": ladder.chunk_s,
        "representations": float(len(rates)),
        "generative representations": float(sum(one.is_generative for one in ladder.representations)),
        "least rate / B": min(rates),
        "greatest rate / B": max(rates),
        "price of a stalled second": weights["rebuffer"] / second,
        "price of a video left": weights["abandon"] / second,
        "price of a switch by q": weights["switch"] * q / second,
        "price of a wasted second at B": weights["waste"] * b_mbps / second,
        "price of a fetched second at B": weights["download"] * b_mbps / second,
        "price of a joule": weights["energy"] / second,
        "rtt_s": scenario.rtt_s,
        "parallel_downloads": float(scenario.parallel_downloads),
        "throttle": scenario.throttle,
        "charge_thinking_s": scenario.charge_thinking_s,
    }


def range_of(scenarios: Iterable[Scenario]) -> dict[str, list[float]]:
    """The range of some worlds.

    Args:
        scenarios: At least one.

    Returns:
        The least and the greatest of each number of `describe`.
    """
    found = [describe(scenario) for scenario in scenarios]
    return {name: [min(one[name] for one in found), max(one[name] for one in found)] for name in found[0]}


def distances(scenario: Scenario, trained_on: Range) -> dict[str, float]:
    """How far a world is from a range.

    Args:
        scenario: The world.
        trained_on: The range.

    Returns:
        For each number outside of the range, how many times: above 1.
    """
    found = {}
    for name, value in describe(scenario).items():
        least, greatest = trained_on[name]
        times = max((value + NEAR_ZERO) / (greatest + NEAR_ZERO), (least + NEAR_ZERO) / (value + NEAR_ZERO))
        if times > 1.0 + 1e-9:
            found[name] = times
    return found


def check_range(scenario: Scenario, trained_on: Range, path: Path) -> None:
    """Say that a world is unlike those of the training, and refuse one that is nothing like them.

    Args:
        scenario: The world.
        trained_on: The range of the training.
        path: The weights, for the message.

    Raises:
        ValueError: A number is `FAR` outside, or quality is worth nothing.
    """
    if scenario.qoe.quality == 0.0:
        raise ValueError(f"{path.name}: qoe.quality: expected more than 0: this agent knows prices relative to quality")
    if scenario.network == CHALLENGE:
        told = "was taught in worlds of PromptPream-v0 and is a stranger under the rules of the 2022 challenge"
        warnings.warn(
            f"{path.name}: {told}; the rules greedy and no_save are at home there", OutsideTraining, stacklevel=3
        )
    outside = distances(scenario, trained_on)
    if not outside:
        return
    here = describe(scenario)
    told = "; ".join(
        f"{name} {here[name]:g}, trained from {trained_on[name][0]:g} to {trained_on[name][1]:g}"
        for name in sorted(outside, key=lambda name: -outside[name])
    )
    if max(outside.values()) > FAR:
        raise ValueError(f"{path.name}: this world is too far from those of its training: {told}; train anew for it")
    warnings.warn(f"{path.name}: this world is unlike those of its training: {told}", OutsideTraining, stacklevel=3)
