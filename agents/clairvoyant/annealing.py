"""The search for a good schedule with full knowledge of an episode.

A plan says in which order chunks are fetched and by which options; the kernel plays it. The best of many drafts is
improved by simulated annealing. All of this reads the hidden draw, so only the clairvoyant may use it.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from agents.clairvoyant.initial_plans import DROPPED, Plan, drafts
from ppgym.benchmark.bound.bound import Solution
from ppgym.benchmark.bound.relaxation import Views
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
    Record,
    Sim,
    new_states,
)

WINDOW = 24  # places of a plan of which one may be taken out of turn, while the first is not legal

HOT, COLD = 1.0, 0.03  # first and last temperature, as shares of the gap to the bound per chunk
LEAST_GAP = 1e-6  # per chunk; below it a plan is as good as optimal
FOCUS = 0.5  # share of trials that begin at a chunk that stalled or lacks quality ...
BACK = 4.0  # ... or so many chunks before it, on average
SHIFT = 5.0  # mean distance in the plan of a move or an exchange
LEAST_LOSS = 1e-3  # of a chunk, so that each has a chance

Actions = npt.NDArray[np.int64]


class Search(NamedTuple):
    """What stays the same while plans are tried."""

    sim: Sim
    value: F8  # [N, O] of each chunk in the order of playing, as in `bound.Views`
    turn: I4  # [V + 1, C + 1] place of (video, chunk) in that order; N past its end
    rest: F8  # [N + 1] most that chunks from one on can still be worth
    open_limit: int  # transfers that the plan keeps open


class Track(NamedTuple):
    """How a plan went, so that a change of its later part need not be played from the start."""

    states: np.ndarray  # [N + 1] of STATE_DTYPE: before each request; the first is the start of the episode
    begun: I4  # [N + 1] place in the plan before which all was requested by then
    seen: I4  # [N + 1] last place in the plan that had mattered by then; -1 at the start
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
        search, track = prepare(sim, solution.relaxed.views, limit)
        found.append(improve(search, track, solution, budget // len(limits)))
    return max(found, key=lambda one: one[1])


def prepare(sim: Sim, views: Views, open_limit: int) -> tuple[Search, Track]:
    """What trying plans needs.

    Args:
        sim: What is constant, and the hidden draw.
        views: The chunks to play.
        open_limit: Transfers that plans keep open.

    Returns:
        (what stays the same, a track at the start of the episode).
    """
    count = len(views.video)
    turn = np.full((len(sim.episode.playlist) + 1, sim.catalog.chunk_bytes.shape[1] + 1), count, np.int32)
    turn[views.video, views.chunk] = np.arange(count)
    worth = np.maximum(views.value.max(axis=1), 0.0)
    rest = np.append(np.cumsum(worth[::-1])[::-1], 0.0)
    track = Track(
        states=new_states(count + 1),
        begun=np.zeros(count + 1, np.int32),
        seen=np.full(count + 1, -1, np.int32),
        stalled_s=np.zeros(count),
        scratch=new_states(1),
    )
    reset_state(sim, track.states[0])
    return Search(sim, views.value, turn, rest, open_limit), track


def improve(search: Search, track: Track, solution: Solution, budget: int) -> tuple[Actions, float]:
    """Anneal the best draft.

    Args:
        search: What stays the same.
        track: Scratch.
        solution: Of the relaxed problem.
        budget: Decisions that may be simulated.

    Returns:
        (actions, their return).
    """
    sim = search.sim
    nothing: Actions = np.zeros(0, np.int64)
    plans = list(drafts(sim, solution))
    values = [play(search, plan, track, 0, 1, -np.inf, False, nothing)[0] for plan in plans]
    plan = plans[int(np.argmax(values))]

    gap = (solution.bound - max(values)) / len(search.value)
    if gap > LEAST_GAP:
        choices = np.flatnonzero(sim.params.option_usable).astype(np.int32)
        if np.isfinite(sim.episode.patience_s) or (search.value.max(axis=1) < 0.0).any():
            choices = np.append(choices, np.int32(DROPPED))
        anneal(search, plan, track, choices, HOT * gap, COLD * gap, budget, np.random.Generator(np.random.PCG64(0)))

    decisions = play(search, plan, track, 0, 1, -np.inf, False, nothing)[2]
    actions = np.zeros(decisions, np.int64)
    value = play(search, plan, track, 0, 1, -np.inf, False, actions)[0]
    return actions, value


@njit
def play(
    search: Search,
    plan: Plan,
    track: Track,
    changed: int,
    requests: int,
    least: float,
    recording: bool,
    actions: Actions,
) -> tuple[float, int, int]:
    """Play a plan: whenever a transfer may open, request its first chunk that is legal, else wait.

    Args:
        search: What stays the same.
        plan: The plan.
        track: How the plan that was recorded last went; overwritten when `recording`.
        changed: First place in which the plan differs from that one.
        requests: Requests of that one, 1 when there is none: then it is played from the start.
        least: A plan that cannot exceed this is given up.
        recording: Whether to write the track.
        actions: Output: as many of the actions as it holds, from where the play began.

    Returns:
        (return, the sum of the rewards, or -inf where given up; requests; decisions simulated).
    """
    sim, turn = search.sim, search.turn
    low, high = 0, requests - 1  # the last request that the change cannot have touched
    while low < high:
        middle = (low + high + 1) // 2
        if track.seen[middle] < changed:
            low = middle
        else:
            high = middle - 1
    request = low
    track.scratch[0] = track.states[request]
    state = track.scratch[0]
    begun, seen = track.begun[request], track.seen[request]

    decisions = 0
    terms = np.empty(len(REWARD_TERMS))
    start = Totals(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, (0.0, 0.0, 0.0, 0.0))
    total = reward_terms(sim.params, start, totals_of(state), terms)
    while not (state.terminated or state.truncated):
        action = WAIT
        if state.transfers < search.open_limit:
            begun = skip_requested(state, plan, begun)
            place, action = next_request(sim, state, plan, begun)
            if action != WAIT:
                if recording and request > 0:
                    track.states[request] = state
                    track.begun[request] = begun
                    track.seen[request] = max(seen, begun - 1)
                request += 1
            seen = max(seen, place)
        if decisions < actions.shape[0]:
            actions[decisions] = action
        before, before_chunks = totals_of(state), begun_chunks(state, turn)
        transition(sim, state, action)
        total += reward_terms(sim.params, before, totals_of(state), terms)
        decisions += 1
        chunks = begun_chunks(state, turn)
        if recording:
            track.stalled_s[before_chunks:chunks] = state.rebuffer_s
        most = total + search.rest[chunks]
        if state.playing:
            most += sim.params.weight_quality * state.begun_quality * (state.playback_end_s - state.time_s)
        if most <= least:
            return -np.inf, request, decisions
    return total, request, decisions


@njit
def skip_requested(state: Record, plan: Plan, place: int) -> int:
    """The first place of a plan, from one on, whose chunk is still to be requested.

    Args:
        state: Record of `STATE_DTYPE`.
        plan: The plan.
        place: Where to begin.

    Returns:
        Place, N when there is none.
    """
    while place < plan.video.shape[0] and not is_wanted(state, plan, place):
        place += 1
    return place


@njit
def is_wanted(state: Record, plan: Plan, place: int) -> bool:
    """Whether a place of a plan holds a chunk to fetch that was not requested and has not been passed.

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
def next_request(sim: Sim, state: Record, plan: Plan, begin: int) -> tuple[int, int]:
    """The first legal request of a plan within `WINDOW` places.

    Args:
        sim: What is constant; nothing hidden is read.
        state: Record of `STATE_DTYPE`.
        plan: The plan.
        begin: Place to begin at.

    Returns:
        (its place, its action); (the last place looked at, `WAIT`) when none is legal.
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
def begun_chunks(state: Record, turn: I4) -> int:
    """The place, in the order of playing, of the next chunk to begin.

    Args:
        state: Record of `STATE_DTYPE`.
        turn: [V + 1, C + 1] as in `Search`.

    Returns:
        0 .. N.
    """
    place: int = turn[state.video, state.playhead] + state.playing
    return place


@njit
def anneal(
    search: Search,
    plan: Plan,
    track: Track,
    choices: I4,
    hot: float,
    cold: float,
    budget: int,
    rng: np.random.Generator,
) -> None:
    """Improve a plan by simulated annealing: change options, move downloads, exchange options.

    Trials begin where the plan loses: at chunks that stalled or lack quality, or a little before them.

    Args:
        search: What stays the same.
        plan: The plan; becomes the best one found.
        track: Scratch.
        choices: Options to try, `DROPPED` perhaps among them.
        hot: First temperature, in return.
        cold: Last temperature.
        budget: Decisions that may be simulated.
        rng: Source of randomness.
    """
    count = plan.video.shape[0]
    now = Plan(plan.video.copy(), plan.chunk.copy(), plan.option.copy())
    trial = Plan(plan.video.copy(), plan.chunk.copy(), plan.option.copy())
    losses, place_of, nothing = np.empty(count), np.empty(count, np.int32), np.empty(0, np.int64)
    value, requests, spent = play(search, now, track, 0, 1, -np.inf, True, nothing)
    best = value
    find_losses(search, now, track, losses, place_of)
    while spent < budget:
        place = int(rng.random() * count)
        if rng.random() < FOCUS:
            chunk = min(np.searchsorted(losses, rng.random() * losses[-1]), count - 1)
            place = place_of[max(chunk - int(BACK * rng.standard_exponential()), 0)]
        low, high = vary(trial, place, choices, rng)
        spent += 1
        if low == high:
            continue
        temperature = hot * (cold / hot) ** (spent / budget)
        least = value - temperature * rng.standard_exponential()
        tried, _, decisions = play(search, trial, track, low, requests, least, False, nothing)
        spent += decisions
        source, target = (trial, now) if tried > least else (now, trial)
        copy_places(source, target, low, high)
        if tried > least:
            value, requests, decisions = play(search, now, track, low, requests, -np.inf, True, nothing)
            spent += decisions
            find_losses(search, now, track, losses, place_of)
        if value > best:
            best = value
            copy_places(now, plan, 0, count)


@njit
def find_losses(search: Search, plan: Plan, track: Track, losses: F8, place_of: I4) -> None:
    """What each chunk of a plan that was recorded falls short of its best.

    Args:
        search: What stays the same.
        plan: The plan.
        track: How it went.
        losses: Output [N]: running sum over the chunks in the order of playing.
        place_of: Output [N]: their places in the plan.
    """
    for place in range(plan.video.shape[0]):
        place_of[search.turn[plan.video[place], plan.chunk[place]]] = place
    total, stalled_s = 0.0, 0.0
    for c in range(losses.shape[0]):
        option = plan.option[place_of[c]]
        worth = search.value[c, option] if option != DROPPED else 0.0
        total += max(search.rest[c] - search.rest[c + 1] - worth, 0.0) + LEAST_LOSS
        total += search.sim.params.weight_rebuffer * max(track.stalled_s[c] - stalled_s, 0.0)
        stalled_s = track.stalled_s[c]
        losses[c] = total


@njit
def vary(plan: Plan, place: int, choices: I4, rng: np.random.Generator) -> tuple[int, int]:
    """Change a plan a little, at a place: another option, another turn, both, or an exchange of two options.

    Args:
        plan: The plan; changed in place.
        place: Where.
        choices: Options to try.
        rng: Source of randomness.

    Returns:
        The change lies within [low, high), which is empty where there is none.
    """
    count = plan.video.shape[0]
    kind = rng.random()
    shift = 1 + int(SHIFT * rng.standard_exponential())
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
def copy_places(source: Plan, target: Plan, low: int, high: int) -> None:
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
