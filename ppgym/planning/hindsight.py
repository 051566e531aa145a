"""What the planner learns of its own foresight: by what factor transfers come faster or slower than it had foreseen.

The filter of `belief.py` takes the throughputs that it is told at their word. Here each transfer is held against the
futures that were drawn when it was asked for; where they err to one side again and again, the throughputs of the next
views are corrected, whatever the error's cause. RobustMPC (Yin et al., SIGCOMM'15) divides by the largest of the last
errors; here is a posterior of their mean, which stays at no error until they tell otherwise.
"""

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ppgym.core.state import F8, new_states
from ppgym.planning.belief import GRID_S, Futures
from ppgym.view import PlanningView

WRONG_P = 0.3  # chance that there is a factor at all; ppgym's own assumption, as is the next
FACTOR_SD = 0.3  # of its logarithm, where there is one
NOISE_SD = 0.4  # of the logarithm of a transfer's rate by the one foreseen; 0.36 on the validation split, nearly white
MOST_ERROR = 1.0  # of a transfer's rate, in logarithms: an outage says little of a constant factor


class Foresight(NamedTuple):
    """What was known and drawn at a decision, to be held against what follows."""

    time_s: float
    throughputs: int
    downloaded_bytes: float
    log_factor: float  # by which the throughputs were corrected
    received_bits: F8  # [M, steps + 1] of each future's link since then, by `GRID_S`


class Hindsight:
    """Keeps the factor of one episode; a view from before the last one begins another."""

    def __init__(self) -> None:
        """Begin without an error."""
        self._begin()

    def _begin(self) -> None:
        self._errors = 0.0  # sum over transfers of the log of rate that came by rate foreseen without any correction
        self._transfers = 0
        self._last_s = 0.0
        self._foresight: Foresight | None = None

    @property
    def log_factor(self) -> float:
        """Logarithm of the factor that is believed to lie between the rates foreseen and those that come."""
        return expected_log_factor(self._errors / max(self._transfers, 1), self._transfers)

    def correct(self, view: PlanningView) -> PlanningView:
        """Learn from what has come since the last foresight, and correct a view's throughputs.

        Args:
            view: The planning view.

        Returns:
            The view with the throughputs that fit what came.
        """
        if view.time_s < self._last_s:
            self._begin()
        self._last_s = view.time_s
        if self._foresight is not None and view.state.transfers == 0:
            self._learn(self._foresight, view)
            self._foresight = None
        if self._transfers == 0:
            return view
        factor = math.exp(self.log_factor)
        states = new_states(1)
        states[0] = view.state
        states[0].throughput_bps[:] *= factor
        return replace(view, state=states[0], throughput_bps=view.throughput_bps * factor)

    def foresee(self, view: PlanningView, futures: Futures) -> None:
        """Remember what was foreseen at a decision; not where transfers are open, which share the link with the next.

        Args:
            view: The planning view, corrected.
            futures: As drawn for it.
        """
        if view.state.transfers == 0:
            received_bits = futures.links.bits.reshape(len(futures.states), -1) * view.params.link_efficiency
            counts = int(view.state.throughputs), float(view.state.downloaded_bytes)
            self._foresight = Foresight(view.time_s, *counts, self.log_factor, received_bits)

    def _learn(self, then: Foresight, view: PlanningView) -> None:
        """Hold the one transfer that has come since then, if it is one, against what was foreseen."""
        if view.state.throughputs != then.throughputs + 1:
            return
        bits = 8.0 * (view.state.downloaded_bytes - then.downloaded_bytes)
        rtt_s, drawn_s = view.params.rtt_s, GRID_S * (then.received_bits.shape[1] - 1)
        flow_s = float(view.throughput_time_s[-1]) - then.time_s - rtt_s
        end_s = min(rtt_s + flow_s, drawn_s)
        if not rtt_s < end_s:
            return
        foreseen_bps = (bits_until(then.received_bits, end_s) - bits_until(then.received_bits, rtt_s)) / (end_s - rtt_s)
        error = math.log(bits / flow_s) - float(np.log(foreseen_bps).mean())
        self._errors += min(max(error, -MOST_ERROR), MOST_ERROR) + then.log_factor
        self._transfers += 1


def expected_log_factor(mean: float, transfers: int) -> float:
    """Posterior mean of the factor's logarithm: 0 but for a chance of `WRONG_P`, and then normal around 0.

    Args:
        mean: Of the transfers' errors.
        transfers: How many.

    Returns:
        The mean, shrunk: to nearly nothing while noise explains it, hardly once it does not.
    """
    if transfers == 0:
        return 0.0
    noise, signal = NOISE_SD**2 / transfers, FACTOR_SD**2
    # of a factor against none, by the densities of the mean under both
    log_evidence = 0.5 * (math.log(noise / (noise + signal)) + mean**2 * (1.0 / noise - 1.0 / (noise + signal)))
    no_factor = (1.0 - WRONG_P) * math.exp(-log_evidence)
    return WRONG_P / (WRONG_P + no_factor) * mean * signal / (signal + noise)


def bits_until(received_bits: F8, time_s: float) -> F8:
    """Bits that links deliver up to a time.

    Args:
        received_bits: [M, steps + 1] by `GRID_S`.
        time_s: From the first column on, at most to the last.

    Returns:
        [M], straight between the columns.
    """
    place = time_s / GRID_S
    low = min(int(place), received_bits.shape[1] - 2)
    before, after = received_bits[:, low], received_bits[:, low + 1]
    bits: F8 = before + (place - low) * (after - before)
    return bits
