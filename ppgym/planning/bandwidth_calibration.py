"""What the planner learns of its own foresight: by what factor transfers come faster or slower than it had foreseen.

The filter of `belief.py` takes the throughputs that it is told at their word. Here each transfer, by its bytes and the
time that it took, is held against the futures that were drawn when it was asked for; where they err to one side again
and again, the throughputs of the next views are corrected. RobustMPC (Yin et al., SIGCOMM'15) divides its forecasts by
1 plus their largest recent error; here is a posterior of the errors' mean, which is none until they say otherwise.
"""

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ppgym.core.jit import njit
from ppgym.core.link import bits_at
from ppgym.core.state import F8, SIMULTANEOUS_S, new_states
from ppgym.planning.belief import GRID_S, Futures
from ppgym.planning_view import PlanningView

WRONG_P = 0.3  # chance that there is a factor at all; ppgym's own assumption, as is the next
FACTOR_SD = 0.3  # of its logarithm, where there is one
MOST_ERROR = 1.0  # of a transfer's rate, in logarithms: an outage says little of a constant factor; an assumption
LEAST_SD = 0.2  # of the log of a transfer's rate around what was foreseen, however alike futures are; an assumption


class Foresight(NamedTuple):
    """What was known and drawn at a decision, to be held against what follows."""

    time_s: float
    throughputs: int  # since reset, as are the bytes
    downloaded_bytes: float
    log_factor: float  # by which the throughputs were corrected
    received_bits: F8  # [M, steps + 1] of each future's link since then, by `GRID_S`


class Hindsight:
    """Keeps the factor of one episode; a view from before the last one begins another.

    It must see every decision, in order, and one transfer at a time: it learns nothing where several share the link.
    """

    def __init__(self) -> None:
        """Begin without an error."""
        self._begin()

    def _begin(self) -> None:
        # Sums over transfers: of log(rate that came / rate that uncorrected futures foresaw) times its precision, and
        # of the precisions
        self._weighted_errors = 0.0
        self._precision = 0.0
        self._last = 0.0, 0.0  # time and bytes of the last view
        self._foresight: Foresight | None = None

    @property
    def log_factor(self) -> float:
        """Logarithm of the factor that is believed to lie between the rates foreseen and those that come."""
        if self._precision == 0.0:
            return 0.0
        return expected_log_factor(self._weighted_errors / self._precision, 1.0 / self._precision)

    def correct(self, view: PlanningView) -> PlanningView:
        """Learn from what has come since the last foresight, and correct a view's throughputs.

        Args:
            view: The planning view.

        Returns:
            The view with the throughputs that fit what came.
        """
        now = view.time_s, float(view.state.downloaded_bytes)
        if now[0] < self._last[0] or now[1] < self._last[1]:
            self._begin()
        self._last = now
        if self._foresight is not None:
            self._learn(self._foresight, view)
            self._foresight = None
        if self._precision == 0.0:
            return view
        factor = math.exp(self.log_factor)
        states = new_states(1)
        states[0] = view.state
        states[0].throughput_bps[:] *= factor
        return replace(view, state=states[0], throughput_bps=view.throughput_bps * factor)

    def foresee(self, view: PlanningView, futures: Futures) -> None:
        """Remember what was foreseen at a decision.

        Args:
            view: The planning view, corrected.
            futures: As drawn for it.
        """
        if view.params.parallel_downloads == 1:
            received_bits = futures.sims.links.bits.reshape(len(futures.states), -1) * view.params.link_efficiency
            counts = int(view.state.throughputs), float(view.state.downloaded_bytes)
            self._foresight = Foresight(view.time_s, *counts, self.log_factor, received_bits)

    def _learn(self, then: Foresight, view: PlanningView) -> None:
        """Hold the transfer that has come since then, if one has, against what was foreseen."""
        if view.state.throughputs != then.throughputs + 1:
            return
        bits = 8.0 * (view.state.downloaded_bytes - then.downloaded_bytes)
        start_s = view.params.charge_thinking_s + view.params.rtt_s
        flow_s = float(view.throughput_time_s[-1]) - then.time_s - start_s
        if flow_s < SIMULTANEOUS_S:
            return
        logs = np.log(bits_between(then.received_bits, start_s, start_s + flow_s) / flow_s)
        error = math.log(bits / flow_s) - float(logs.mean())
        # Futures that are far apart, as before the first throughput, say little
        precision = 1.0 / max(float(logs.var()), LEAST_SD**2)
        # Uncorrected futures would have been off by the correction, too, once they follow throughputs more than a prior
        self._weighted_errors += precision * (min(max(error, -MOST_ERROR), MOST_ERROR) + then.log_factor)
        self._precision += precision


def expected_log_factor(mean_error: float, variance: float) -> float:
    """Posterior mean of the factor's logarithm: 0 but for a chance of `WRONG_P`, and then normal around 0.

    Args:
        mean_error: Of transfers, in logarithms of rates.
        variance: Of that mean around the factor's logarithm.

    Returns:
        The mean, shrunk: to nearly nothing while noise explains it, hardly once it does not.
    """
    signal = FACTOR_SD**2
    # of a factor against none, by the densities of the mean under both
    log_evidence = 0.5 * (
        math.log(variance / (variance + signal)) + mean_error**2 * (1.0 / variance - 1.0 / (variance + signal))
    )
    no_factor = (1.0 - WRONG_P) * math.exp(-log_evidence)
    return WRONG_P / (WRONG_P + no_factor) * mean_error * signal / (signal + variance)


@njit
def bits_between(received_bits: F8, start_s: float, end_s: float) -> F8:
    """Bits that links deliver between two times.

    Args:
        received_bits: [M, steps + 1] by `GRID_S`; past the end a link repeats.
        start_s: From the first column on.
        end_s: After it.

    Returns:
        [M].
    """
    edges_s = GRID_S * np.arange(float(received_bits.shape[1]))
    bits = np.empty(len(received_bits))
    for i in range(len(received_bits)):
        bits[i] = bits_at(edges_s, received_bits[i], end_s) - bits_at(edges_s, received_bits[i], start_s)
    return bits
