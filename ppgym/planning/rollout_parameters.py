"""The parameters of the rollout policy: what they mean, their values, and what they are at a rate and on a ladder.

Nothing is decided here; `rollout.py` decides by them.
"""

from typing import NamedTuple

import numpy as np

from ppgym.core.jit import kernel
from ppgym.core.state import Params

TUNED_QUALITY, TUNED_BPS = 1.85, 1.85e6  # q and B of the ladder on which rates and prices were tuned
SLOW_BPS, FAST_BPS = 0.8e6, 4.0e6  # recent rates between which parameters are interpolated
SLOW_NETWORK_BPS, FAST_NETWORK_BPS = 1.65e6, 2.5e6  # likewise mean rates; between the means of `medium` and `high`


class RolloutParameters(NamedTuple):
    """Parameters of the policy at one rate. `choose_action` needs the signs that `check_policy` checks.

    Rates and QoE are those of the ladder on which they were tuned, of `TUNED_BPS` and `TUNED_QUALITY`.
    """

    bps_share: float  # share of the mean throughput that is expected
    defer_s: float  # until the next chance to fetch a chunk that is not fetched now
    link_price: float  # of a second of the link, in QoE
    unit_price: float  # of a second of a compute unit, in QoE
    switch_share: float  # share of a quality switch that is charged
    waste_share: float  # share of the expected waste that is charged
    gain_share: float  # share of a chunk's quality that is lost if it is not fetched now
    gain_fade: float  # by which that share falls with each second until the chunk is due
    stall_share: float  # share of the chunk's own expected stall that is charged
    others_share: float  # share of the stall of other slots during the transfer that is charged
    least_value: float  # a request of a lower value for a second of content is not made
    margin_s: float  # by which a chunk of the current video should be ready before it plays
    buffer_s: float  # no chunk of the current video is fetched further ahead


NOT_NEGATIVE = (
    *("link_price", "unit_price", "switch_share", "waste_share", "gain_share", "gain_fade"),
    *("stall_share", "others_share"),
)
"""`choose_action` counts on it: what it has not computed yet of a value only lowers it."""


class NetworkParameters(NamedTuple):
    """The parameters on one network: while its recent rate is slow and while it is fast."""

    slow: RolloutParameters
    fast: RolloutParameters


# By parameter: on a slow network at a slow and a fast recent rate, on a fast network likewise; source: `RolloutPolicy`
EVOLVED = {
    "bps_share": (0.75, 0.8, 1.01, 0.94),
    "defer_s": (3.51, 1.12, 1.49, 1.5),
    "link_price": (0.05, 0.4, 0.095, 0.06),
    "unit_price": (0.03, 0.032, 0.11, 0.29),
    "switch_share": (0.49, 0.45, 0.25, 0.28),
    "waste_share": (1.98, 0.43, 1.91, 0.51),
    "gain_share": (1.64, 1.5, 1.72, 1.58),
    "gain_fade": (0.057, 0.2, 0.3, 0.24),
    "stall_share": (0.52, 0.68, 0.39, 0.32),
    "others_share": (0.21, 0.85, 0.096, 0.94),
    "least_value": (1.75, 2.08, 2.2, 2.42),
    "margin_s": (-0.33, 0.023, 0.31, -0.21),
    "buffer_s": (32.7, 37.8, 34.7, 38.3),
}


def evolved_parameters(column: int) -> RolloutParameters:
    """The parameters in a column of `EVOLVED`."""
    return RolloutParameters(**{name: values[column] for name, values in EVOLVED.items()})


class RolloutPolicy(NamedTuple):
    """The parameters on a slow and on a fast network, each for a slow and a fast recent rate.

    The last few throughputs give the recent rate, all that are remembered give the network's. Between slow and fast,
    parameters are interpolated by the logarithm of the rate. What to do at a fast rate depends on whether it will last.

    The values in `EVOLVED` were found by evolution (CMA-ES) on the training split, in several runs, each from the
    result of the one before: ``python -m agents.studies.rollout_evolution``. Those for fast networks started from those
    for slow ones and evolved with ``--scenarios high/snapdragon-8-gen-2/typical high/pixels-only/typical
    high/snapdragon-8-elite/typical``. The planner's QoE on the validation split decided between results: the best
    policy alone is not the best one to plan with.
    """

    slow_network: NetworkParameters = NetworkParameters(evolved_parameters(0), evolved_parameters(1))
    fast_network: NetworkParameters = NetworkParameters(evolved_parameters(2), evolved_parameters(3))


def check_policy(policy: RolloutPolicy) -> None:
    """Check the signs of the parameters.

    Args:
        policy: The policy.

    Raises:
        ValueError: A rate that is not positive, or a price or share that is negative.
    """
    for network, by_rate in policy._asdict().items():
        for rate, parameters in by_rate._asdict().items():
            where = f"rollout: {network}: {rate}"
            if not parameters.bps_share > 0.0:
                raise ValueError(f"{where}: bps_share: expected more than 0, got {parameters.bps_share}")
            for name in NOT_NEGATIVE:
                if not getattr(parameters, name) >= 0.0:
                    raise ValueError(f"{where}: {name}: expected at least 0, got {getattr(parameters, name)}")


@kernel
def interpolate(a: RolloutParameters, b: RolloutParameters, share: float) -> RolloutParameters:
    """Interpolate between two sets of parameters.

    Args:
        a: The parameters at 0.
        b: The parameters at 1.
        share: In [0, 1].

    Returns:
        The parameters.
    """
    return RolloutParameters(
        a.bps_share + share * (b.bps_share - a.bps_share),
        a.defer_s + share * (b.defer_s - a.defer_s),
        a.link_price + share * (b.link_price - a.link_price),
        a.unit_price + share * (b.unit_price - a.unit_price),
        a.switch_share + share * (b.switch_share - a.switch_share),
        a.waste_share + share * (b.waste_share - a.waste_share),
        a.gain_share + share * (b.gain_share - a.gain_share),
        a.gain_fade + share * (b.gain_fade - a.gain_fade),
        a.stall_share + share * (b.stall_share - a.stall_share),
        a.others_share + share * (b.others_share - a.others_share),
        a.least_value + share * (b.least_value - a.least_value),
        a.margin_s + share * (b.margin_s - a.margin_s),
        a.buffer_s + share * (b.buffer_s - a.buffer_s),
    )


@kernel
def qoe_scale(params: Params) -> float:
    """What a QoE of 1 on the ladder on which prices were tuned is on this one."""
    weight = params.weight_quality if params.weight_quality > 0.0 else 1.0
    return weight * (params.top_quality / TUNED_QUALITY)


@kernel
def bps_scale(params: Params) -> float:
    """What a bit per second on the ladder on which rates were tuned is on this one."""
    return params.reference_bps / TUNED_BPS


@kernel
def parameters_at(policy: RolloutPolicy, params: Params, bps: float, network_bps: float) -> RolloutParameters:
    """The parameters for a recent rate on a network.

    Args:
        policy: The policy.
        params: The scenario's constants.
        bps: Recent rate, bits per second.
        network_bps: Mean of all throughputs that are remembered, bits per second.

    Returns:
        The parameters.
    """
    scale = bps_scale(params)
    share = log_share(bps / scale, SLOW_BPS, FAST_BPS)
    network_share = log_share(network_bps / scale, SLOW_NETWORK_BPS, FAST_NETWORK_BPS)
    if network_share == 0.0:
        return interpolate(policy.slow_network.slow, policy.slow_network.fast, share)
    fast = interpolate(policy.fast_network.slow, policy.fast_network.fast, share)
    if network_share == 1.0:
        return fast
    return interpolate(interpolate(policy.slow_network.slow, policy.slow_network.fast, share), fast, network_share)


@kernel
def log_share(bps: float, slow_bps: float, fast_bps: float) -> float:
    """Position of a rate's logarithm between those of two others.

    Args:
        bps: The rate.
        slow_bps: The rate at 0.
        fast_bps: The rate at 1.

    Returns:
        The position, clipped to [0, 1].
    """
    if bps <= slow_bps:
        return 0.0
    if bps >= fast_bps:
        return 1.0
    share: float = np.log(bps / slow_bps) / np.log(fast_bps / slow_bps)
    return share
