"""The search for a good schedule with full knowledge of an episode, by simulated annealing.

A plan gives the order in which chunks are fetched and the option of each; the kernel plays it. Annealing improves the
best initial plan. All of this reads the hidden draw: only the clairvoyant may use it.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from agents.clairvoyant.initial_plans import DROPPED, DownloadPlan, initial_plans
from ppgym.benchmark.bound.bound import Solution
from ppgym.benchmark.bound.relaxation import WatchedChunks
from ppgym.core.actions import WAIT, first_chunk, fits_in_memory
from ppgym.core.dynamics import reset_state, transition
from ppgym.core.jit import njit
from ppgym.core.qoe import REWARD_TERMS, Totals, reward_terms, totals_of
from ppgym.core.state import (
    ABSENT,
    F8,
    I4,
    LOOKAHEAD,
    RING,
    SLOTS,
    Sim,
    StateRecord,
    new_states,
)

WINDOW = 24  # places of a plan that are searched for a legal request
FIRST_TEMPERATURE, LAST_TEMPERATURE = 1.0, 0.03  # as shares of the gap to the bound per chunk
MIN_GAP = 1e-6  # per chunk; below it a plan counts as optimal
LOSS_SHARE = 0.5  # of the trials start at a chunk drawn by its loss ...
MEAN_STEPS_BACK = 4.0  # ... or this many chunks before it, on average
MEAN_SHIFT = 5.0  # distance in the plan of a move or an exchange
MIN_LOSS = 1e-3  # of a chunk, so that each can be drawn

Actions = npt.NDArray[np.int64]


class Problem(NamedTuple):
    """What all plans of an episode share."""

    sim: Sim
    value: F8  # [N, O] of each chunk in the order of playing, as in `WatchedChunks`
    play_order: I4  # [V + 1, C + 1] place of (video, chunk) in that order; N past its end
    max_value: F8  # [N + 1] upper bound on the value of all chunks from this one on
    max_transfers: int  # open at a time


class Checkpoints(NamedTuple):
    """States along a plan that was played, so that a plan with a changed later part is played from the change on."""

    requests: I4  # [1] number of requests of that plan
    states: np.ndarray  # [N + 1] of STATE_DTYPE: before each request; the first is the start of the episode
    first_open: I4  # [N + 1] all places of the plan before this one were requested by then
    last_read: I4  # [N + 1] last place of the plan that was read by then; -1 at the start
    stalled_s: F8  # [N] stall of the session up to the beginning of each chunk, in the order of playing
    scratch: np.ndarray  # [1] of STATE_DTYPE


def find_schedule(sim: Sim, solution: Solution, budget: int) -> tuple[Actions, float]:
    """Search for the schedule of the highest return.

    Args:
        sim: What is constant, and the hidden draw.
        solution: Of its relaxed problem.
        budget: Decisions that the annealing may simulate.

    Returns:
        (actions, their return as the sum of the rewards); the same for the same arguments.
    """
    limits = sorted({1, sim.params.parallel_downloads})
    found = []
    for limit in limits:
        problem, checkpoints = prepare(sim, solution.relaxed.chunks, limit)
        found.append(improve(problem, checkpoints, solution, budget // len(limits)))
    return max(found, key=lambda one: one[1])


def prepare(sim: Sim, chunks: WatchedChunks, max_transfers: int) -> tuple[Problem, Checkpoints]:
    """Set up the problem and the memory for checkpoints.

    Args:
        sim: What is constant, and the hidden draw.
        chunks: The chunks to play.
        max_transfers: Transfers that plans keep open at a time.

    Returns:
        The problem, and checkpoints at the start of the episode.
    """
    count = len(chunks.video)
    play_order = np.full((len(sim.episode.playlist) + 1, sim.catalog.chunk_bytes.shape[1] + 1), count, np.int32)
    play_order[chunks.video, chunks.chunk] = np.arange(count)
    best_value = np.maximum(chunks.value.max(axis=1), 0.0)
    max_value = np.append(np.cumsum(best_value[::-1])[::-1], 0.0)
    checkpoints = Checkpoints(
        requests=np.ones(1, np.int32),
        states=new_states(count + 1),
        first_open=np.zeros(count + 1, np.int32),
        last_read=np.full(count + 1, -1, np.int32),
        stalled_s=np.zeros(count),
        scratch=new_states(1),
    )
    reset_state(sim, checkpoints.states[0])
    return Problem(sim, chunks.value, play_order, max_value, max_transfers), checkpoints


def improve(problem: Problem, checkpoints: Checkpoints, solution: Solution, budget: int) -> tuple[Actions, float]:
    """Anneal the best initial plan.

    Args:
        problem: What all plans share.
        checkpoints: Scratch.
        solution: Of the relaxed problem.
        budget: Decisions that may be simulated.

    Returns:
        (actions, their return).
    """
    sim = problem.sim
    no_actions: Actions = np.zeros(0, np.int64)
    plans = list(initial_plans(sim, solution))
    values = [play(problem, plan, checkpoints, 0, -np.inf, False, no_actions)[0] for plan in plans]
    plan = plans[int(np.argmax(values))]

    gap = (solution.bound - max(values)) / len(problem.value)
    if gap > MIN_GAP:
        choices = np.flatnonzero(sim.params.option_usable).astype(np.int32)
        if np.isfinite(sim.episode.patience_s).any() or (problem.value.max(axis=1) < 0.0).any():
            choices = np.append(choices, np.int32(DROPPED))
        temperatures = FIRST_TEMPERATURE * gap, LAST_TEMPERATURE * gap
        anneal(problem, plan, checkpoints, choices, temperatures, budget, np.random.Generator(np.random.PCG64(0)))

    decisions = play(problem, plan, checkpoints, 0, -np.inf, False, no_actions)[1]
    actions = np.zeros(decisions, np.int64)
    value = play(problem, plan, checkpoints, 0, -np.inf, False, actions)[0]
    return actions, value


@njit
def play(
    problem: Problem,
    plan: DownloadPlan,
    checkpoints: Checkpoints,
    changed: int,
    threshold: float,
    recording: bool,
    actions: Actions,
) -> tuple[float, int]:
    """Play a plan: whenever a transfer may open, request its first chunk that is legal, else wait.

    Args:
        problem: What all plans share.
        plan: The plan.
        checkpoints: Of the last plan that was played with `recording`; overwritten when `recording`.
        changed: First place in which the plan differs from that one; 0 plays it from the start.
        threshold: The play stops as soon as its return cannot exceed this.
        recording: Whether to write checkpoints.
        actions: Output: as many of the actions as it holds, from where the play began.

    Returns:
        The return, -inf where the play stopped early, and the number of decisions simulated.
    """
    sim, play_order = problem.sim, problem.play_order
    low, high = 0, checkpoints.requests[0] - 1  # find the last request before which the change was not read
    while low < high:
        middle = (low + high + 1) // 2
        if checkpoints.last_read[middle] < changed:
            low = middle
        else:
            high = middle - 1
    request = low
    checkpoints.scratch[0] = checkpoints.states[request]
    state = checkpoints.scratch[0]
    first_open, last_read = checkpoints.first_open[request], checkpoints.last_read[request]

    decisions = 0
    terms = np.empty(len(REWARD_TERMS))
    start = Totals(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    total = reward_terms(sim.params, start, totals_of(state), terms)
    while not (state.terminated or state.truncated):
        action = WAIT
        if state.transfers < problem.max_transfers:
            first_open = skip_requested(state, plan, first_open)
            place, action = next_request(sim, state, plan, first_open)
            if action != WAIT:
                if recording and request > 0:
                    checkpoints.states[request] = state
                    checkpoints.first_open[request] = first_open
                    checkpoints.last_read[request] = max(last_read, first_open - 1)
                request += 1
            last_read = max(last_read, place)
        if decisions < actions.shape[0]:
            actions[decisions] = action
        before, before_chunks = totals_of(state), begun_chunks(state, play_order)
        transition(sim, state, action)
        total += reward_terms(sim.params, before, totals_of(state), terms)
        decisions += 1
        chunks = begun_chunks(state, play_order)
        if recording:
            checkpoints.stalled_s[before_chunks:chunks] = state.rebuffer_s
        bound = total + problem.max_value[chunks]
        if state.playing:
            bound += sim.params.weight_quality * state.begun_quality * (state.playback_end_s - state.time_s)
        if bound <= threshold:
            return -np.inf, decisions
    if recording:
        checkpoints.requests[0] = request
    return total, decisions


@njit
def skip_requested(state: StateRecord, plan: DownloadPlan, place: int) -> int:
    """The first place of a plan, from a given one on, whose chunk is still to be requested.

    Args:
        state: Record of `STATE_DTYPE`.
        plan: The plan.
        place: Where to begin.

    Returns:
        Place; N when there is none.
    """
    while place < plan.video.shape[0] and not is_wanted(state, plan, place):
        place += 1
    return place


@njit
def is_wanted(state: StateRecord, plan: DownloadPlan, place: int) -> bool:
    """Whether a place of a plan holds a chunk to fetch that is not yet requested and not yet due.

    Args:
        state: Record of `STATE_DTYPE`.
        plan: The plan.
        place: Which.

    Returns:
        False also where the chunk is dropped from the plan.
    """
    video, chunk = plan.video[place], plan.chunk[place]
    if plan.option[place] == DROPPED or video < state.video or chunk < first_chunk(state, video):
        return False
    if video >= state.video + SLOTS or chunk >= first_chunk(state, video) + RING:
        return True
    return bool(state.chunk_status[video % SLOTS, chunk % RING] == ABSENT)


@njit
def next_request(sim: Sim, state: StateRecord, plan: DownloadPlan, begin: int) -> tuple[int, int]:
    """The first legal request of a plan within `WINDOW` places.

    Args:
        sim: What is constant; nothing hidden is read.
        state: Record of `STATE_DTYPE`.
        plan: The plan.
        begin: Place to begin at.

    Returns:
        Its place and its action; the last place read and `WAIT` when none is legal.
    """
    options = sim.params.option_unit.shape[0]
    end = min(begin + WINDOW, plan.video.shape[0])
    for place in range(begin, end):
        slot = plan.video[place] - state.video
        if not is_wanted(state, plan, place) or slot >= SLOTS:
            continue
        row, chunk, option = plan.video[place] % SLOTS, plan.chunk[place], plan.option[place]
        first = first_chunk(state, plan.video[place])
        lookahead = 0
        for earlier in range(first, chunk):
            lookahead += state.chunk_status[row, earlier % RING] == ABSENT
        representation = sim.params.option_representation[option]
        if chunk < first + RING and lookahead < LOOKAHEAD and fits_in_memory(sim, state, slot, chunk, representation):
            return place, 1 + (slot * LOOKAHEAD + lookahead) * options + option
    return end - 1, WAIT


@njit
def begun_chunks(state: StateRecord, play_order: I4) -> int:
    """The place, in the order of playing, of the next chunk to begin.

    Args:
        state: Record of `STATE_DTYPE`.
        play_order: [V + 1, C + 1] as in `Problem`.

    Returns:
        0 .. N.
    """
    place: int = play_order[state.video, state.playhead] + state.playing
    return place


@njit
def anneal(
    problem: Problem,
    plan: DownloadPlan,
    checkpoints: Checkpoints,
    choices: I4,
    temperatures: tuple[float, float],
    budget: int,
    rng: np.random.Generator,
) -> None:
    """Improve a plan by simulated annealing: change options, move downloads, exchange options.

    Half of the trials start where the plan loses return: at chunks that stalled or lack quality, or shortly before.

    Args:
        problem: What all plans share.
        plan: The plan; becomes the best one found.
        checkpoints: Scratch.
        choices: Options to try; may include `DROPPED`.
        temperatures: The first and the last one, in units of the return.
        budget: Decisions that may be simulated.
        rng: Source of randomness.
    """
    count = plan.video.shape[0]
    now = DownloadPlan(plan.video.copy(), plan.chunk.copy(), plan.option.copy())
    trial = DownloadPlan(plan.video.copy(), plan.chunk.copy(), plan.option.copy())
    losses, place_of, no_actions = np.empty(count), np.empty(count, np.int32), np.empty(0, np.int64)
    value, spent = play(problem, now, checkpoints, 0, -np.inf, True, no_actions)
    best = value
    find_losses(problem, now, checkpoints, losses, place_of)
    first, last = temperatures
    while spent < budget:
        place = int(rng.random() * count)
        if rng.random() < LOSS_SHARE:
            chunk = min(np.searchsorted(losses, rng.random() * losses[-1]), count - 1)
            place = place_of[max(chunk - int(MEAN_STEPS_BACK * rng.standard_exponential()), 0)]
        low, high = perturb(trial, place, choices, rng)
        spent += 1
        if low == high:
            continue
        temperature = first * (last / first) ** (spent / budget)
        threshold = value - temperature * rng.standard_exponential()
        tried, decisions = play(problem, trial, checkpoints, low, threshold, False, no_actions)
        spent += decisions
        source, target = (trial, now) if tried > threshold else (now, trial)
        copy_places(source, target, low, high)
        if tried > threshold:
            value, decisions = play(problem, now, checkpoints, low, -np.inf, True, no_actions)
            spent += decisions
            find_losses(problem, now, checkpoints, losses, place_of)
        if value > best:
            best = value
            copy_places(now, plan, 0, count)


@njit
def find_losses(problem: Problem, plan: DownloadPlan, checkpoints: Checkpoints, losses: F8, place_of: I4) -> None:
    """How much return each chunk of a recorded plan loses against its best option without a stall.

    Args:
        problem: What all plans share.
        plan: The plan.
        checkpoints: Of the plan.
        losses: Output [N]: running sum over the chunks in the order of playing.
        place_of: Output [N]: their places in the plan.
    """
    for place in range(plan.video.shape[0]):
        place_of[problem.play_order[plan.video[place], plan.chunk[place]]] = place
    total, stalled_s = 0.0, 0.0
    for c in range(losses.shape[0]):
        option = plan.option[place_of[c]]
        value = problem.value[c, option] if option != DROPPED else 0.0
        total += max(problem.max_value[c] - problem.max_value[c + 1] - value, 0.0) + MIN_LOSS
        total += problem.sim.params.weight_rebuffer * max(checkpoints.stalled_s[c] - stalled_s, 0.0)
        stalled_s = checkpoints.stalled_s[c]
        losses[c] = total


@njit
def perturb(plan: DownloadPlan, place: int, choices: I4, rng: np.random.Generator) -> tuple[int, int]:
    """Change a plan a little at a place: another option, another position, both, or an exchange of two options.

    Args:
        plan: The plan; changed in place.
        place: Where.
        choices: Options to try.
        rng: Source of randomness.

    Returns:
        low and high: the change lies within [low, high), which is empty where there is none.
    """
    count = plan.video.shape[0]
    kind = rng.random()
    shift = 1 + int(MEAN_SHIFT * rng.standard_exponential())
    if rng.random() < 0.5:
        shift = -shift
    other = min(max(place + shift, 0), count - 1)
    low, high = min(place, other), max(place, other) + 1
    option = plan.option[place]
    if kind < 0.2:
        plan.option[place], plan.option[other] = plan.option[other], option
        return low, high if plan.option[place] != option else low
    if kind < 0.8:
        plan.option[place] = choices[int(rng.random() * choices.shape[0])]
    if kind < 0.4:
        return place, place + 1 if plan.option[place] != option else place
    step = 1 if other > place else -1
    for i in range(place, other, step):
        for column in plan:
            column[i], column[i + step] = column[i + step], column[i]
    return low, high


@njit
def copy_places(source: DownloadPlan, target: DownloadPlan, low: int, high: int) -> None:
    """Copy the places [low, high) of a plan.

    Args:
        source: From here.
        target: To here.
        low: First place.
        high: Place after the last.
    """
    target.video[low:high] = source.video[low:high]
    target.chunk[low:high] = source.chunk[low:high]
    target.option[low:high] = source.option[low:high]
