"""Dashlet (NSDI'23), over pixels alone or with prompts."""

from typing import Any, ClassVar, NamedTuple

import gymnasium
import numpy as np
import numpy.typing as npt

from agents.base import Mask
from agents.rules.forecast import (
    Forecast,
    Situation,
    conditional_survival,
    decode_times,
    first_ready,
    lateness_at_s,
    make_forecast,
    mean_lateness_s,
    observe,
)
from agents.rules.parameters import Between, Space
from agents.rules.rule import Rule
from ppgym.client import Client
from ppgym.core.actions import WAIT
from ppgym.core.content import last_second, survival
from ppgym.core.jit import njit
from ppgym.core.state import F8, LOOKAHEAD, NO_ENTRY, RING, SLOTS, CatalogArrays
from ppgym.planning_view import PlanningView


class DashletParameters(NamedTuple):
    """Of `Dashlet`."""

    horizon_s: float = 25.0  # h of the candidates and of the size target
    least_stall_s: float = 0.0016  # expected stall above which a chunk is a candidate, or in danger
    danger_s: float = 5.0  # h by which a chunk is in danger
    near_s: float = 10.0  # least h' by which chunks are ordered
    idle_stall_s: float = 1e-5  # expected stall below which the rule waits


@njit
def watch_seconds(curve: F8, duration_s: float, watched_s: float, seconds: int) -> F8:
    """w: PMF of the seconds for which a video will be watched further.

    Retention is linear within a second, so viewers who leave in a second leave at its middle on average. Their
    probability is split between the two nearest whole seconds such that the mean is exact.

    Args:
        curve: [D + 1] P(watched at least d seconds).
        duration_s: Of the video.
        watched_s: Content seconds watched so far.
        seconds: Length of the PMF; later seconds are left out.

    Returns:
        [seconds].
    """
    pmf = np.zeros(seconds)
    last = last_second(duration_s) + 1
    here = min(int(watched_s), last - 1)
    watching = survival(curve, duration_s, watched_s)
    before = watching
    for second in range(here + 1, last + 2):
        # the step after the last second: viewers who watch all of it
        after = curve[second] if second <= last else 0.0
        time_s = duration_s
        if second <= last:
            time_s = 0.5 * (max(second - 1.0, watched_s) + min(float(second), duration_s))
        left_s = time_s - watched_s
        place = int(left_s)
        if place + 1 < seconds and watching > 0.0:
            share = (before - after) / watching
            pmf[place] += share * (place + 1 - left_s)
            pmf[place + 1] += share * (left_s - place)
        before = after
    return pmf


@njit
def convolve(left: F8, right: F8) -> F8:
    """Sum of two independent whole numbers of seconds, cut to the length of their PMFs."""
    result = np.zeros(left.shape[0])
    for i in range(left.shape[0]):
        if left[i] > 0.0:
            for j in range(left.shape[0] - i):
                result[i + j] += left[i] * right[j]
    return result


@njit
def arrival_times(catalog: CatalogArrays, position_s: float, stay_p: float, seconds: int) -> F8:
    """head_i: PMF of the second from now in which the viewer comes to each video, if nothing stalls.

    Args:
        catalog: The visible manifests, by slot.
        position_s: Content seconds of the current video that have played.
        stay_p: P(the viewer goes on to the next video).
        seconds: Length of the PMFs.

    Returns:
        [S, seconds]; the sum of a row is the chance that the viewer comes within that time.
    """
    heads = np.zeros((SLOTS, seconds))
    heads[0, 0] = 1.0
    for slot in range(1, SLOTS):
        if catalog.n_chunks[slot] == 0:
            break
        watched_s = position_s if slot == 1 else 0.0
        watch = watch_seconds(catalog.retention[slot - 1], catalog.duration_s[slot - 1], watched_s, seconds)
        heads[slot] = stay_p * convolve(heads[slot - 1], watch)
    return heads


class StallForecast(NamedTuple):
    """What expected stalls follow from."""

    survival: F8  # [S, C + 1]
    lateness_s: F8  # [S, seconds + 1], see `mean_lateness_s`
    position_s: float
    chunk_s: float


@njit
def expected_stall_s(stalls: StallForecast, slot: int, chunk: int, absent_s: float) -> float:
    """E_ij(h): expected stall if a chunk is absent for h seconds from now.

    Args:
        stalls: What it follows from.
        slot: i.
        chunk: j.
        absent_s: h; at most the length of the PMFs.

    Returns:
        Seconds.
    """
    lead_s = chunk * stalls.chunk_s  # from the video's start, or from the playhead
    if slot == 0:
        lead_s -= stalls.position_s
    return float(stalls.survival[slot, chunk] * lateness_at_s(stalls.lateness_s[slot], absent_s - max(lead_s, 0.0)))


@njit
def decide(situation: Situation, is_generative: npt.NDArray[np.bool_], parameters: DashletParameters) -> int:
    """One decision of Dashlet.

    Args:
        situation: What it decides from.
        is_generative: [R].
        parameters: The rule's.

    Returns:
        The action.
    """
    params, catalog, state, candidates, legal, stay_p, bps = situation
    forecast = make_forecast(params, catalog, state, candidates, bps)
    seconds = int(max(2.0 * parameters.horizon_s + 1.0, parameters.near_s)) + 2
    heads = arrival_times(catalog, forecast.position_s, stay_p, seconds)
    reached = conditional_survival(params, catalog, forecast)
    stalls = StallForecast(reached, mean_lateness_s(heads, 1.0), forecast.position_s, params.chunk_s)

    wanted = 0  # N
    for slot in range(SLOTS):
        if forecast.next_chunk[slot] != NO_ENTRY:
            end = min(catalog.n_chunks[slot], forecast.playing_chunk[slot] + RING)
            for chunk in range(forecast.next_chunk[slot], end):
                wanted += expected_stall_s(stalls, slot, chunk, parameters.horizon_s) > parameters.least_stall_s
    if wanted == 0:
        return WAIT

    rank_s = max(int(2.0 * parameters.horizon_s / wanted) + 1.0, parameters.near_s)  # h'
    best, most_s = NO_ENTRY, parameters.idle_stall_s
    for slot in range(SLOTS):
        if forecast.next_chunk[slot] != NO_ENTRY and legal[slot].any():
            stall_s = expected_stall_s(stalls, slot, forecast.next_chunk[slot], rank_s)
            if stall_s > most_s:
                best, most_s = slot, stall_s
    if best == NO_ENTRY:
        return WAIT
    target_bits = parameters.horizon_s * bps / wanted
    if expected_stall_s(stalls, best, forecast.next_chunk[best], parameters.danger_s) > parameters.least_stall_s:
        target_bits *= 0.5
    option = choose_rate(situation, forecast, stalls, best, is_generative, target_bits, parameters.least_stall_s)
    return int(1 + best * LOOKAHEAD * legal.shape[1] + option)


@njit
def choose_rate(
    situation: Situation,
    forecast: Forecast,
    stalls: StallForecast,
    slot: int,
    is_generative: npt.NDArray[np.bool_],
    target_bits: float,
    least_stall_s: float,
) -> int:
    """The option for a slot's next chunk.

    It takes the best quality under the size target, and the smallest of equal ones. Where this is not the top quality,
    it keeps the representation of the video's last chunk. A prompt is a candidate only if decoding it causes no more
    stall than the option that is ready first.

    Args:
        situation: What the rule decides from.
        forecast: What is expected.
        stalls: What expected stalls follow from.
        slot: i, with at least one legal option.
        is_generative: [R].
        target_bits: The size target.
        least_stall_s: A shorter expected stall counts as none.

    Returns:
        Option.
    """
    params, catalog, state, bps = situation.params, situation.catalog, situation.state, situation.bps
    chunk = forecast.next_chunk[slot]
    quality = catalog.quality[slot, chunk]
    bits = 8.0 * catalog.chunk_bytes[slot, chunk]
    representations = bits.shape[0]
    decode_s = decode_times(params, catalog, state, slot, chunk, 1)[0]
    options, stall_s = np.full(representations, NO_ENTRY), np.full(representations, np.inf)
    horizon_s = float(stalls.lateness_s.shape[1] - 1)
    for r in range(representations):
        arrival_s = params.rtt_s + bits[r] / bps
        options[r], ready_s = first_ready(params, situation.legal[slot], decode_s, forecast.free_s, r, arrival_s)
        if options[r] != NO_ENTRY:
            stall_s[r] = expected_stall_s(stalls, slot, chunk, min(ready_s, horizon_s))
    bearable_s = max(stall_s.min(), least_stall_s)

    choice, smallest, top = NO_ENTRY, NO_ENTRY, 0.0
    for r in range(representations):
        if options[r] == NO_ENTRY or (is_generative[r] and stall_s[r] > bearable_s):
            continue
        top = max(top, quality[r])
        if smallest == NO_ENTRY or bits[r] < bits[smallest]:
            smallest = r
        if bits[r] <= target_bits and (
            choice == NO_ENTRY
            or quality[r] > quality[choice]
            or (quality[r] == quality[choice] and bits[r] < bits[choice])
        ):
            choice = r
    if choice == NO_ENTRY:
        choice = smallest
    if chunk > forecast.playing_chunk[slot] and quality[choice] < top:
        row, column = (state.video + slot) % SLOTS, (chunk - 1) % RING
        last = params.option_representation[state.chunk_option[row, column]]
        if options[last] != NO_ENTRY and not (is_generative[last] and stall_s[last] > bearable_s):
            choice = last
    return int(options[choice])


class Dashlet(Rule):
    """Dashlet (Li et al., NSDI'23, arXiv 2204.12954): orders chunks by the stall to expect if they are late.

    In the paper's symbols, for chunk j of video i:

    * w_i is the PMF of the seconds for which video i is watched, for the current video given its position;
    * head_0 is now, head_i = head_{i-1} * w_{i-1} is when the viewer comes to video i (convolution);
    * f_ij is head_i shifted by j chunks and scaled by P(w_i >= j): when chunk j begins to play;
    * E_ij(h) = sum_{t<h} (h - t) f_ij(t) is the expected stall if the chunk is absent for h seconds.

    The N chunks with E_ij(25) > 0.0016 are candidates. The size target of each is 25 throughput / N, and half of it
    where E_ij(5) exceeds the threshold too. Dashlet requests the next chunk of the video with the largest E_ij(h'),
    h' = max(int(50 / N) + 1, 10). It waits without a candidate, and where E_ij(h') is below 1e-5. The rate is the
    largest under the size target; unless this is the top rate, the video keeps its last one.

    ppgym's choices where the paper is silent:

    * h is in seconds; PMFs are on whole seconds. Throughput is the harmonic mean of the last 5.
    * Candidates are the chunks of the visible videos.
    * head_i includes the chance that the session ends before video i.
    * Idling is `WAIT`.

    It knows the manifests, the retention curves and the past throughputs; with prompts also the device profile.
    """

    parameters = DashletParameters()
    SEARCH_SPACE: ClassVar[Space] = {
        "horizon_s": Between(5.0, 40.0, by_ratio=True),
        "least_stall_s": Between(1e-3, 0.5, by_ratio=True),
        "danger_s": Between(0.0, 10.0),
        "near_s": Between(1.5, 15.0, by_ratio=True),
        "idle_stall_s": Between(1e-5, 3.0, by_ratio=True),
    }

    def __init__(self, client: Client | gymnasium.Env[Any, Any], *, seed: int | None = None, **params: Any) -> None:
        """Make the agent; see `Rule` and `DashletParameters`.

        Raises:
            ValueError: A horizon that is not above 0, or longer than the buffer.
        """
        super().__init__(client, seed=seed, **params)
        if not 0.0 < self.parameters.horizon_s <= RING:
            raise ValueError(f"horizon_s: expected a number above 0, at most {RING}, got {self.parameters.horizon_s}")
        self.is_generative = np.zeros(len(self.representations), np.bool_)
        for option in self.client.options:
            self.is_generative[option.representation] = option.is_generative

    def decide(self, view: PlanningView, mask: Mask) -> int:
        """Choose; see `Heuristic.decide`."""
        return decide(observe(view, mask, self.representations), self.is_generative, self.parameters)


class PromptDashlet(Dashlet):
    """Dashlet with prompts: E_ij at the time when a prompt would be decoded says whether it is a candidate."""

    PROMPTS = True
