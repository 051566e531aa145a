"""An upper bound on the return of every policy in one episode: its proof, and its computation by Lagrangian duality.

`relaxation.py` builds the relaxed problem. Nothing here is a policy or changes a state. All of it reads the hidden
draw: only benchmarks and the clairvoyant may use it.
"""

from typing import NamedTuple

import numpy as np

from ppgym.benchmark.bound.relaxation import Relaxation, WatchedChunks, relax, watched_chunks
from ppgym.core.episodes import view_sim
from ppgym.core.jit import njit
from ppgym.core.state import F8, I4, Params, Sim
from ppgym.env import PromptPreamEnv

ITERATIONS = 250  # of the descent on the prices; any prices give a bound, better ones a tighter one
FIRST_LEARNING_RATE, LAST_LEARNING_RATE = 0.1, 0.005  # as shares of `price_scale`
BETA_1, BETA_2 = 0.9, 0.99  # Adam's
ROUNDING = 1e-9  # of the bound, relative to its terms


class Solution(NamedTuple):
    """The relaxed problem of an episode, solved."""

    bound: float
    relaxed: Relaxation
    price: F8  # [K, N] of the resources
    share: F8  # [N, O] mean of the options chosen in the later iterations


def bound(sim: Sim) -> float:
    r"""A number that no policy's return in this episode exceeds.

    **Notation.** The hidden draw fixes the chunks c = 0 .. N - 1 that the viewer plays in this order if they never give
    up, the seconds d_c watched of each, and T_c = d_0 + ... + d_{c-1}. Option o of chunk c has quality q_co, b_co Mbit
    and takes at least p_co = profile seconds x jitter x (least contention of its unit u(o)) to decode: loading a
    decoder and throttling only add to it. Write w for the weights. Take any policy, and let it play to the end of the
    episode. A chunk is *begun* if its playing began, else *skipped*. S_c is the stall that passed until chunk c began,
    or until its video was left if it is skipped; so 0 <= S_0 <= S_1 <= ... <= S_{N-1} <= total stall.

    **Return.** Step 1. If the session is not truncated,

        return <= sum_{c begun} v_c(o_c) - w_switch |q_c - q_{c-1}| - w_abandon A - w_rebuffer S_{N-1},

    with v_co = w_quality q_co d_c - w_download b_co - w_energy e_co, e_co = watts of o x p_co + the radio's J/Mbit x
    b_co, and A the videos left out of impatience. Quality flows only while a chunk plays, d_c seconds at most. A begun
    chunk was fetched whole and decoded to the end, so at least its bytes and these joules are charged; those of all
    others, idle and waiting radio, and waste, only cost.
    The switch between two begun chunks c - 1 and c is charged when c begins; others are left out, and cost.

    Step 2. A chunk is skipped only with all later ones of its video, and only if the viewer left it impatiently. The
    sequence of options is therefore a path: each chunk takes an option or *skipped*, skipped stays skipped to the end
    of the video, and every run of it within a video costs w_abandon.

    Step 3. If the session is truncated at W, it has lasted W <= content played + stall, so the stall is at least
    W - T_N, and the return is at most the sum of max(v_co, 0) - w_rebuffer max(W - T_N, 0). With endless patience only
    chunks with T_c < W count. The bound is the larger of this and of what follows.

    **Resources.** Let t_c = T_c + S_c. Chunk c begins, or its video is left, at t_c at the latest (content that was
    skipped did not play). By then each begun chunk i <= c has been fetched and decoded. So for every resource k

        sum_{i <= c begun} weight_k(i, o_i) <= room_k(c, t_c)    (*)

    - *Link.* The last of these chunks has arrived by tau = t_c - min_{i <= c, o} p_io. No payload flows before the
      first RTT, and however transfers share the rate r(t), they get no more: weight = b_co, room = int_rtt^tau r dt.
      If one transfer is open at a time, more is true. Let n chunks up to c be begun. In their n RTTs nothing flows, in
      at least (n - 1) rtt seconds of them after the first RTT. Let u_i be the part of these seconds in interval i of
      the trace, of rate r_i, up to tau. Between two of the RTTs a chunk flows, of b_min Mbit at least, so that
      u_i <= cap_i, the less of the interval's length and rtt floor(1 + its Mbit / b_min). What the RTTs lose is, for
      every rho >= 0,

          sum_i r_i u_i >= sum_i rho u_i - (rho - r_i)^+ u_i >= rho (n - 1) rtt - sum_i (rho - r_i)^+ cap_i.

      Hence weight = b_co + rho rtt, room = int_rtt^tau r dt + rho rtt + sum_i (rho - r_i)^+ cap_i. Bytes that are
      fetched in vain only lessen what is left. Any rho is right, 0 included; the one chosen is the rate under which
      intervals have room for the RTTs.
    - *Work of a unit u.* It serves one job at a time, none before the first chunk can have arrived, at a_u: RTT plus
      the least transfer of any chunk by any of its options. weight = p_co on u, room = (t_c - a_u)^+.
    - *Jobs of a unit u.* Jobs are not divisible: by t_c at most as many are done as the shortest of chunks 0 .. c fit
      one after the other into (t_c - a_u)^+. weight = 1 on u, room = that number (both times the mean p).

    - *Start-up.* The first chunk, if begun by option o, begins after its RTT, transfer and decode: S_0 >= E_o.

    **Duality.** Step 4. Let lambda_kc >= 0. By (*), adding sum_kc lambda_kc (room_k(c, t_c) - sum_{i <= c}
    weight_k(i, o_i)) does not lessen the right side of step 1. Its maximum over all paths of options and all
    nondecreasing S, not only those that obey (*), is therefore an upper bound for every policy. It falls apart into

        options: max over paths of sum_c v_c(o_c) - sum_k x_kc weight_k(c, o_c) - switches - abandonments,
                 with the price x_kc = sum_{c' >= c} lambda_kc', which is nonincreasing in c and >= 0;
        stalls:  max over nondecreasing S of sum_kc lambda_kc room_k(c, T_c + S_c) - w_rebuffer S_{N-1},

    coupled by the start-up alone. Both are dynamic programs over c. Stall is cut into cells that cover [0, W]; room,
    which grows with time, is taken at a cell's upper end and the cost of stall at its lower end, which only raises
    the maximum. The lowest of these bounds over the prices that a subgradient descent tries is returned, raised by a
    relative 1e-9 for rounding. Times get a tolerance of 1e-8 s a chunk, since the kernel takes events within 1e-9 s of
    each other, and the last millionth of a bit, as one.

    Args:
        sim: What is constant, and the hidden draw.

    Returns:
        The bound.
    """
    return solve(sim).bound


def episode_bound(env: PromptPreamEnv) -> float:
    """The bound of the current episode of an environment; see `bound`.

    Args:
        env: The environment, reset.

    Returns:
        The bound.
    """
    return bound(view_sim(env.world.sims(env.get_state().episode), 0))


def solve(sim: Sim) -> Solution:
    """The bound, with the prices and shares from its computation; see `bound`.

    Args:
        sim: What is constant, and the hidden draw.

    Returns:
        The solution.
    """
    params, episode = sim.params, sim.episode
    chunks = watched_chunks(sim)
    relaxed = relax(sim, chunks)
    lowest, price, share = minimize_dual(relaxed, price_scale(params, chunks), ITERATIONS)
    reachable = np.isfinite(episode.patience_s).any() | (chunks.before_s < episode.max_wall_s)
    max_value = np.maximum(chunks.value[reachable].max(axis=1), 0.0).sum()
    content_s = chunks.before_s[-1] + chunks.play_s[-1]
    truncated = max_value - params.weight_rebuffer * max(episode.max_wall_s - content_s, 0.0)
    terms = np.where(np.isfinite(chunks.value), np.abs(chunks.value), 0.0).max(axis=1).sum()
    rounding = ROUNDING * (1.0 + terms + params.weight_rebuffer * episode.max_wall_s)
    return Solution(float(max(lowest, truncated) + rounding), relaxed, price, share)


def price_scale(params: Params, chunks: WatchedChunks) -> float:
    """The scale of the prices: an estimate of the return per second of a scarce resource.

    Args:
        params: The scenario's constants.
        chunks: The chunks to play.

    Returns:
        Return per second, above 0.
    """
    return max(params.weight_rebuffer, params.weight_quality * float(chunks.quality.max()), 1e-6)


@njit
def minimize_dual(relaxed: Relaxation, scale: float, iterations: int) -> tuple[float, F8, F8]:
    """Minimize the dual bound by a subgradient descent with momentum (Adam) on the prices.

    The gradient of a chunk's price is the slack that this chunk adds. Each step ends with a projection on prices that
    are nonincreasing and >= 0.

    Args:
        relaxed: The problem.
        scale: As `price_scale` returns it.
        iterations: How many prices to try; the first are 0.

    Returns:
        The lowest bound; its prices [K, N]; the share of each option among those chosen in the later iterations [N, O],
        which approximates a solution of the problem's convex hull.
    """
    resources, count, options = relaxed.weight.shape
    price, best_price = np.zeros((resources, count)), np.zeros((resources, count))
    slack, mean, square = np.zeros((resources, count)), np.zeros((resources, count)), np.zeros((resources, count))
    share, chosen = np.zeros((count, options)), np.empty(count, np.int32)
    best, warm_up = np.inf, iterations // 3
    for k in range(iterations):
        value = dual(relaxed, price, slack, chosen)
        for c in range(count):
            if k >= warm_up and chosen[c] < options:
                share[c, chosen[c]] += 1.0 / (iterations - warm_up)
        if value < best:
            best = value
            best_price[:] = price
        rate = scale * FIRST_LEARNING_RATE * (LAST_LEARNING_RATE / FIRST_LEARNING_RATE) ** (k / iterations)
        for r in range(resources):
            before = 0.0
            for c in range(count):
                gradient = slack[r, c] - before
                before = slack[r, c]
                mean[r, c] += (1.0 - BETA_1) * (gradient - mean[r, c])
                square[r, c] += (1.0 - BETA_2) * (gradient * gradient - square[r, c])
                size = np.sqrt(square[r, c] / (1.0 - BETA_2 ** (k + 1))) + 1e-3
                price[r, c] -= rate * mean[r, c] / (1.0 - BETA_1 ** (k + 1)) / size
            project(price[r])
    return best, best_price, share


@njit
def project(price: F8) -> None:
    """Move prices to the nearest ones that are nonincreasing and >= 0, by pooling adjacent violators.

    Args:
        price: [N]; changed in place.
    """
    mean, size = np.empty(price.shape[0]), np.empty(price.shape[0], np.int64)
    pools = 0
    for c in range(price.shape[0]):
        mean[pools], size[pools] = price[c], 1
        pools += 1
        while pools > 1 and mean[pools - 2] < mean[pools - 1]:
            both = size[pools - 2] + size[pools - 1]
            mean[pools - 2] = (mean[pools - 2] * size[pools - 2] + mean[pools - 1] * size[pools - 1]) / both
            size[pools - 2] = both
            pools -= 1
    c = 0
    for pool in range(pools):
        price[c : c + size[pool]] = max(mean[pool], 0.0)
        c += size[pool]


@njit
def dual(relaxed: Relaxation, price: F8, slack: F8, chosen: I4) -> float:
    """The bound that prices give.

    Args:
        relaxed: The problem.
        price: [K, N] x, nonincreasing along N, >= 0.
        slack: Output [K, N]: room minus weights up to each chunk, at the maximum.
        chosen: Output [N]: the options there; O where skipped.

    Returns:
        Maximum over options and stalls.
    """
    resources, count, options = relaxed.weight.shape
    cells = relaxed.stall_s.shape[0] - 1
    value, next_option = np.empty(options + 1), np.empty((count, options + 1), np.int32)
    best_options(relaxed, price, value, next_option)
    gain, next_cell = np.empty(cells), np.empty((count, cells), np.int32)
    best_stalls(relaxed, price, gain, next_cell)

    # the option of the first chunk decides in which cell that chunk can begin at the earliest
    from_cell = np.empty(cells, np.int32)
    from_cell[cells - 1] = cells - 1
    for j in range(cells - 2, -1, -1):
        from_cell[j] = j if gain[j] >= gain[from_cell[j + 1]] else from_cell[j + 1]
    best, option, cell = -np.inf, options, 0
    for o in range(options + 1):
        if value[o] == -np.inf:
            continue
        first = 0
        while o < options and first < cells - 1 and relaxed.stall_s[first + 1] < relaxed.startup_s[o]:
            first += 1
        total = value[o] + gain[from_cell[first]]
        if total > best:
            best, option, cell = total, o, from_cell[first]

    used = np.zeros(resources)
    for c in range(count):
        chosen[c] = option
        for r in range(resources):
            if option < options:
                used[r] += relaxed.weight[r, c, option]
            slack[r, c] = relaxed.room[r, c, cell] - used[r]
        option, cell = next_option[c, option], next_cell[c, cell]
    return best


@njit
def best_options(relaxed: Relaxation, price: F8, value: F8, next_option: I4) -> None:
    """Best path of options at given prices, from the last chunk backward; option O is "skipped".

    Args:
        relaxed: The problem.
        price: [K, N] x.
        value: Output [O + 1]: best value of all chunks by the first one's option.
        next_option: Output [N, O + 1]: the next chunk's best option by this one's.
    """
    chunks, abandon = relaxed.chunks, relaxed.abandon
    resources, count, options = relaxed.weight.shape
    after = np.empty(options + 1)
    for c in range(count - 1, -1, -1):
        for o in range(options + 1):
            after[o] = 0.0
            next_option[c, o] = 0
            if c == count - 1:
                continue
            next_option[c, o] = options
            same = chunks.video[c] == chunks.video[c + 1]
            if same and o == options:
                after[o] = value[options]
                continue
            after[o] = value[options] - abandon
            for q in range(options):
                switch = 0.0
                if o < options:
                    switch = relaxed.weight_switch * abs(chunks.quality[c, o] - chunks.quality[c + 1, q])
                if value[q] - switch > after[o]:
                    after[o] = value[q] - switch
                    next_option[c, o] = q
        for o in range(options):
            cost = 0.0
            for r in range(resources):
                cost += price[r, c] * relaxed.weight[r, c, o]
            value[o] = chunks.value[c, o] - cost + after[o]
        value[options] = after[options] if abandon < np.inf else -np.inf
    value[options] -= abandon if abandon < np.inf else 0.0


@njit
def best_stalls(relaxed: Relaxation, price: F8, gain: F8, next_cell: I4) -> None:
    """Best path of cumulative stall at given prices, from the last chunk backward.

    Args:
        relaxed: The problem.
        price: [K, N] x.
        gain: Output [G]: best gain by the first chunk's cell.
        next_cell: Output [N, G]: the next chunk's best cell by this one's.
    """
    resources, count = price.shape
    cells = gain.shape[0]
    for j in range(cells):
        gain[j] = -relaxed.weight_rebuffer * relaxed.stall_s[j]
    for c in range(count - 1, -1, -1):
        if c < count - 1:
            best = cells - 1
            for j in range(cells - 1, -1, -1):
                if gain[j] >= gain[best]:
                    best = j
                next_cell[c, j] = best
            for j in range(cells):
                gain[j] = gain[next_cell[c, j]]
        for r in range(resources):
            drop = price[r, c] - (price[r, c + 1] if c + 1 < count else 0.0)
            if drop > 0.0:
                for j in range(cells):
                    gain[j] += drop * relaxed.room[r, c, j]
