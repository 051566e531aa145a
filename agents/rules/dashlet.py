"""Dashlet (NSDI'23), and the same rule with prompts among its rates."""

from typing import Any, ClassVar, NamedTuple

import gymnasium
import numpy as np
import numpy.typing as npt

from agents.base import Heuristic, Mask, expected_bps
from agents.rules.forecast import (
    Legal,
    Outlook,
    conditional_survival,
    first_ready,
    foresee,
    legal_options,
    usable_representations,
)
from agents.rules.parameters import Between, Space
from ppgym.core.actions import WAIT
from ppgym.core.jit import njit
from ppgym.core.state import F8, I4, LOOKAHEAD, NO_ENTRY, RING, SLOTS, CatalogArrays, Params, StateRecord
from ppgym.planning_view import PlanningView


class Knobs(NamedTuple):
    """Dashlet's constants; see `Dashlet`."""

    horizon_s: float
    least_stall_s: float
    danger_s: float
    near_s: float
    idle_stall_s: float


@njit
def watch_seconds(curve: F8, n_chunks: int, watched_s: float, seconds: int) -> F8:
    """w: PMF of the seconds that a video will be watched on, given what has been watched of it.

    Retention is linear within a second. Each second's leavers count as if they left at its middle, and are shared by
    the two whole seconds around it in such proportion that the mean is exact.

    Args:
        curve: [C + 1] P(watched at least c seconds).
        n_chunks: Seconds of the video.
        watched_s: Content seconds watched.
        seconds: Length of the PMF; what lies beyond is left out.

    Returns:
        [seconds].
    """
    pmf = np.zeros(seconds)
    here = min(int(watched_s), n_chunks - 1)
    watching = curve[here] + (watched_s - here) * (curve[here + 1] - curve[here])
    before = watching
    for second in range(here + 1, n_chunks + 2):
        # past the end leave those who watch all of it
        after = curve[second] if second <= n_chunks else 0.0
        time_s = 0.5 * (max(second - 1.0, watched_s) + second) if second <= n_chunks else float(n_chunks)
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
    """head_i: PMF of the second, from now, in which the viewer comes to each video, if nothing stalls.

    Args:
        catalog: The visible manifests, by slot.
        position_s: Content seconds of the current video that have played.
        stay_p: P(the viewer goes on to the next video).
        seconds: Length of the PMFs.

    Returns:
        [S, seconds]; a row sums to the chance of coming within that time.
    """
    heads = np.zeros((SLOTS, seconds))
    heads[0, 0] = 1.0
    for slot in range(1, SLOTS):
        if catalog.n_chunks[slot] == 0:
            break
        watched_s = position_s if slot == 1 else 0.0
        watch = watch_seconds(catalog.retention[slot - 1], catalog.n_chunks[slot - 1], watched_s, seconds)
        heads[slot] = stay_p * convolve(heads[slot - 1], watch)
    return heads


@njit
def lateness(heads: F8) -> F8:
    """sum_{t < h} (h - t) head_i(t) for h = 0, 1, 2, ...: how long a viewer has been at a video after h seconds.

    Args:
        heads: [S, seconds].

    Returns:
        [S, seconds + 1] expected seconds.
    """
    result = np.zeros((heads.shape[0], heads.shape[1] + 1))
    for slot in range(heads.shape[0]):
        arrived = 0.0
        for second in range(heads.shape[1]):
            arrived += heads[slot, second]
            result[slot, second + 1] = result[slot, second] + arrived
    return result


class Forecast(NamedTuple):
    """What the expected stalls follow from."""

    survival: F8  # [S, C + 1]
    late_s: F8  # [S, seconds + 1], see `lateness`
    position_s: float


@njit
def expected_stall_s(forecast: Forecast, slot: int, chunk: int, absent_s: float) -> float:
    """E_ij(h): expected stall if a chunk is absent for h seconds from now.

    Args:
        forecast: The forecast.
        slot: i.
        chunk: j.
        absent_s: h; at most the forecast's length.

    Returns:
        Seconds.
    """
    lead_s = chunk - forecast.position_s if slot == 0 else float(chunk)  # from the start, or from where it plays
    time_s = absent_s - max(lead_s, 0.0)
    if time_s <= 0.0:
        return 0.0
    place = min(int(time_s), forecast.late_s.shape[1] - 2)
    low, high = forecast.late_s[slot, place], forecast.late_s[slot, place + 1]
    return float(forecast.survival[slot, chunk] * (low + (time_s - place) * (high - low)))


@njit
def decide(
    params: Params,
    catalog: CatalogArrays,
    state: StateRecord,
    candidates: I4,
    legal: Legal,
    is_prompt: npt.NDArray[np.bool_],
    stay_p: float,
    bps: float,
    knobs: Knobs,
) -> int:
    """One decision of Dashlet.

    Args:
        params: The scenario's constants.
        catalog: The visible manifests, by slot.
        state: Public record.
        candidates: [S, L] of the planning view.
        legal: [S, O] of each slot's next chunk.
        is_prompt: [R].
        stay_p: P(the viewer goes on to the next video).
        bps: Expected rate of a transfer.
        knobs: The constants.

    Returns:
        The action.
    """
    outlook = foresee(params, catalog, state, candidates, bps)
    seconds = int(max(2.0 * knobs.horizon_s + 1.0, knobs.near_s)) + 2
    heads = arrival_times(catalog, outlook.position_s, stay_p, seconds)
    forecast = Forecast(conditional_survival(catalog, outlook), lateness(heads), outlook.position_s)

    wanted = 0  # N
    for slot in range(SLOTS):
        if outlook.next_chunk[slot] != NO_ENTRY:
            end = min(catalog.n_chunks[slot], outlook.playing_chunk[slot] + RING)
            for chunk in range(outlook.next_chunk[slot], end):
                wanted += expected_stall_s(forecast, slot, chunk, knobs.horizon_s) > knobs.least_stall_s
    if wanted == 0:
        return WAIT

    rank_s = max(int(2.0 * knobs.horizon_s / wanted) + 1.0, knobs.near_s)  # h'
    best, most_s = NO_ENTRY, knobs.idle_stall_s
    for slot in range(SLOTS):
        if outlook.next_chunk[slot] != NO_ENTRY and legal[slot].any():
            stall_s = expected_stall_s(forecast, slot, outlook.next_chunk[slot], rank_s)
            if stall_s > most_s:
                best, most_s = slot, stall_s
    if best == NO_ENTRY:
        return WAIT
    target_bits = knobs.horizon_s * bps / wanted
    if expected_stall_s(forecast, best, outlook.next_chunk[best], knobs.danger_s) > knobs.least_stall_s:
        target_bits *= 0.5
    option = choose_rate(
        params, catalog, state, outlook, forecast, best, legal[best], is_prompt, bps, target_bits, knobs.least_stall_s
    )
    return int(1 + best * LOOKAHEAD * legal.shape[1] + option)


@njit
def choose_rate(
    params: Params,
    catalog: CatalogArrays,
    state: StateRecord,
    outlook: Outlook,
    forecast: Forecast,
    slot: int,
    legal: Legal,
    is_prompt: npt.NDArray[np.bool_],
    bps: float,
    target_bits: float,
    least_stall_s: float,
) -> int:
    """The option for a slot's next chunk.

    The best quality under the size target, of equals the smallest; the video's last representation is kept where this
    is not the top one. A prompt takes part where its decoding costs no stall beyond that of what is ready first.

    Args:
        params: The scenario's constants.
        catalog: The visible manifests, by slot.
        state: Public record.
        outlook: What is foreseen.
        forecast: What the expected stalls follow from.
        slot: i.
        legal: [O] options, at least one.
        is_prompt: [R].
        bps: Expected rate of a transfer.
        target_bits: The size target.
        least_stall_s: An expected stall below this is none.

    Returns:
        Option.
    """
    chunk = outlook.next_chunk[slot]
    quality = catalog.quality[slot, chunk]
    bits = 8.0 * catalog.chunk_bytes[slot, chunk]
    representations = bits.shape[0]
    options, stall_s = np.full(representations, NO_ENTRY), np.full(representations, np.inf)
    horizon_s = float(forecast.late_s.shape[1] - 1)
    for r in range(representations):
        options[r], ready_s = first_ready(params, legal, outlook.free_s, r, params.rtt_s + bits[r] / bps)
        if options[r] != NO_ENTRY:
            stall_s[r] = expected_stall_s(forecast, slot, chunk, min(ready_s, horizon_s))
    bearable_s = max(stall_s.min(), least_stall_s)

    choice, smallest, top = NO_ENTRY, NO_ENTRY, 0.0
    for r in range(representations):
        if options[r] == NO_ENTRY or (is_prompt[r] and stall_s[r] > bearable_s):
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
    if chunk > outlook.playing_chunk[slot] and quality[choice] < top:
        row, column = (state.video + slot) % SLOTS, (chunk - 1) % RING
        last = params.option_representation[state.chunk_option[row, column]]
        if options[last] != NO_ENTRY and not (is_prompt[last] and stall_s[last] > bearable_s):
            choice = last
    return int(options[choice])


class Dashlet(Heuristic):
    """Dashlet (Li et al., NSDI'23, arXiv 2204.12954): orders chunks by the stall to expect if they are late.

    In the paper's symbols, for chunk j of video i:

    * w_i is the PMF of the seconds for which video i is watched, for the current video given its position;
    * head_0 is now, head_i = head_{i-1} * w_{i-1} is when the viewer comes to video i (convolution);
    * f_ij is head_i shifted by j chunks and scaled by P(w_i >= j): when chunk j begins to play;
    * E_ij(h) = sum_{t<h} (h - t) f_ij(t) is the stall to expect if the chunk is absent for h seconds.

    The N chunks with E_ij(25) > 0.0016 are candidates. Each may have a size of 25 throughput / N, half of it where
    E_ij(5) exceeds the threshold too. Requested is the next chunk of the video with the largest E_ij(h'),
    h' = max(int(50 / N) + 1, 10); it waits where there is no candidate or where E_ij(h') is below 1e-5. Rate: the
    largest under the size target; the video's last one is kept unless the choice is the top one.

    What the paper leaves open, and what this world needs:

    * h is in seconds; PMFs are on whole seconds. Throughput is the harmonic mean of the last 5.
    * Candidates are the chunks of the visible videos.
    * The chance that the session ends before a video thins its head.
    * Idling is `WAIT`.

    Knows the manifests, the retention curves and the past throughputs; with prompts also the device profile.
    """

    PROMPTS = False
    SEARCH_SPACE: ClassVar[Space] = {
        "horizon_s": Between(5.0, 40.0, by_ratio=True),
        "least_stall_s": Between(1e-3, 0.5, by_ratio=True),
        "danger_s": Between(0.0, 10.0),
        "near_s": Between(1.5, 15.0, by_ratio=True),
        "idle_stall_s": Between(1e-5, 3.0, by_ratio=True),
    }

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        *,
        seed: int | None = None,
        horizon_s: float = 25.0,
        least_stall_s: float = 0.0016,
        danger_s: float = 5.0,
        near_s: float = 10.0,
        idle_stall_s: float = 1e-5,
    ) -> None:
        """Make the agent.

        Args:
            env: The environment that it will act in.
            seed: Not used: nothing is drawn.
            horizon_s: For which candidates are sought and sizes planned.
            least_stall_s: Expected stall above which a chunk is a candidate, or in danger.
            danger_s: Time within which a chunk is in danger.
            near_s: Least h' for which chunks are ordered.
            idle_stall_s: Expected stall below which it waits.

        Raises:
            ValueError: A horizon that is not above 0, or a device that decodes none of the rates.
        """
        super().__init__(env, seed=seed)
        if not 0.0 < horizon_s <= RING:
            raise ValueError(f"horizon_s: expected a number above 0, at most {RING}, got {horizon_s}")
        self.representations = usable_representations(self.env.options, self.PROMPTS)
        self.is_prompt = np.zeros(len(self.representations), np.bool_)
        for option in self.env.options:
            self.is_prompt[option.representation] = option.codec == "prompt"
        self.knobs = Knobs(float(horizon_s), float(least_stall_s), float(danger_s), float(near_s), float(idle_stall_s))

    def decide(self, view: PlanningView, mask: Mask) -> int:
        """Choose; see `Heuristic.decide`."""
        legal = legal_options(view, mask, self.representations)
        bps, stay_p = expected_bps(view), 1.0 - view.distribution.leave_p
        return decide(
            view.params, view.catalog, view.state, view.candidates, legal, self.is_prompt, stay_p, bps, self.knobs
        )


class PromptDashlet(Dashlet):
    """Dashlet with prompts among the rates: E_ij at the time when a prompt would be decoded decides whether it may."""

    PROMPTS = True
