"""Bandwidth calibration: learns by what factor transfers are faster or slower than the planner predicted.

The filter of `belief.py` trusts the throughputs that it is told. Here the size and duration of each transfer are
compared with the futures that were drawn at its request. Where the errors have a consistent sign, the throughputs of
the next views are corrected. RobustMPC (Yin et al., SIGCOMM'15) divides its predictions by 1 plus their largest recent
error; here a posterior mean of the errors is used, which stays at zero until there is evidence.
"""

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ppgym.core.jit import njit
from ppgym.core.link import bits_at
from ppgym.core.state import F8, SIMULTANEOUS_S, new_states
from ppgym.planning.belief import LINK_STEP_S, Futures
from ppgym.planning_view import PlanningView

# ppgym's own assumptions
BIAS_P = 0.3  # prior probability that throughputs are biased by a factor
LOG_FACTOR_SD = 0.3  # prior standard deviation of the factor's logarithm, if there is one
MAX_LOG_ERROR = 1.0  # of one transfer's rate: an outage tells little about a constant factor
MIN_LOG_SD = 0.2  # of one transfer's rate around its prediction, even if all futures agree


class Prediction(NamedTuple):
    """What was known and drawn at a decision; the next transfer is compared with it."""

    time_s: float
    throughputs: int  # since reset
    downloaded_bytes: float  # since reset
    log_factor: float  # of the correction of the throughputs
    received_bits: F8  # [M, steps + 1] of each future's link since then, every `LINK_STEP_S`


class BandwidthCalibration:
    """Estimates the factor of one episode. A view of an earlier time starts another episode.

    It must see every decision, in order. It learns nothing where several transfers share the link.
    """

    def __init__(self) -> None:
        """Start without evidence."""
        self._begin()

    def _begin(self) -> None:
        # Sums over transfers: log(actual rate / rate predicted without correction) x precision, and the precisions
        self._weighted_errors = 0.0
        self._precision = 0.0
        self._last = 0.0, 0.0  # time and bytes of the last view
        self._prediction: Prediction | None = None

    @property
    def log_factor(self) -> float:
        """Logarithm of the estimated factor between actual and predicted rates."""
        if self._precision == 0.0:
            return 0.0
        return expected_log_factor(self._weighted_errors / self._precision, 1.0 / self._precision)

    def calibrate(self, view: PlanningView) -> PlanningView:
        """Learn from the transfer since the last prediction, and correct a view's throughputs.

        Args:
            view: The planning view.

        Returns:
            The view with corrected throughputs.
        """
        now = view.time_s, float(view.state.downloaded_bytes)
        if now[0] < self._last[0] or now[1] < self._last[1]:
            self._begin()
        self._last = now
        if self._prediction is not None:
            self._learn(self._prediction, view)
            self._prediction = None
        if self._precision == 0.0:
            return view
        factor = math.exp(self.log_factor)
        states = new_states(1)
        states[0] = view.state
        states[0].throughput_bps[:] *= factor
        return replace(view, state=states[0], throughput_bps=view.throughput_bps * factor)

    def remember(self, view: PlanningView, futures: Futures) -> None:
        """Remember what was predicted at a decision.

        Args:
            view: The planning view, calibrated.
            futures: The futures that were drawn for it.
        """
        if view.params.parallel_downloads == 1:
            received_bits = futures.sims.links.bits.reshape(len(futures.states), -1) * view.params.link_efficiency
            counts = int(view.state.throughputs), float(view.state.downloaded_bytes)
            self._prediction = Prediction(view.time_s, *counts, self.log_factor, received_bits)

    def _learn(self, then: Prediction, view: PlanningView) -> None:
        """Compare the transfer that has arrived since a prediction, if exactly one has, with it."""
        if view.state.throughputs != then.throughputs + 1:
            return
        bits = 8.0 * (view.state.downloaded_bytes - then.downloaded_bytes)
        start_s = view.params.charge_thinking_s + view.params.rtt_s
        flow_s = float(view.throughput_time_s[-1]) - then.time_s - start_s
        if flow_s < SIMULTANEOUS_S:
            return
        logs = np.log(bits_between(then.received_bits, start_s, start_s + flow_s) / flow_s)
        error = math.log(bits / flow_s) - float(logs.mean())
        # Futures that differ widely, as before the first throughput, weigh little
        precision = 1.0 / max(float(logs.var()), MIN_LOG_SD**2)
        # The correction is added: futures from uncorrected throughputs would have missed by it, too
        self._weighted_errors += precision * (min(max(error, -MAX_LOG_ERROR), MAX_LOG_ERROR) + then.log_factor)
        self._precision += precision


def expected_log_factor(mean_error: float, variance: float) -> float:
    """Posterior mean of the factor's logarithm: its prior is 0 with probability 1 - `BIAS_P`, else normal around 0.

    Args:
        mean_error: Mean over the transfers, in logarithms of rates.
        variance: Of that mean around the factor's logarithm.

    Returns:
        The posterior mean: close to 0 while noise can explain the errors, close to `mean_error` once it cannot.
    """
    signal = LOG_FACTOR_SD**2
    # Log of the Bayes factor: a factor against none
    log_evidence = 0.5 * (
        math.log(variance / (variance + signal)) + mean_error**2 * (1.0 / variance - 1.0 / (variance + signal))
    )
    no_factor = (1.0 - BIAS_P) * math.exp(-log_evidence)
    return BIAS_P / (BIAS_P + no_factor) * mean_error * signal / (signal + variance)


@njit
def bits_between(received_bits: F8, start_s: float, end_s: float) -> F8:
    """Bits that links deliver between two times.

    Args:
        received_bits: [M, steps + 1] every `LINK_STEP_S`; past its end a link repeats.
        start_s: Seconds since the first column.
        end_s: Seconds since the first column, not before `start_s`.

    Returns:
        [M].
    """
    edges_s = LINK_STEP_S * np.arange(float(received_bits.shape[1]))
    bits = np.empty(len(received_bits))
    for i in range(len(received_bits)):
        bits[i] = bits_at(edges_s, received_bits[i], end_s) - bits_at(edges_s, received_bits[i], start_s)
    return bits
