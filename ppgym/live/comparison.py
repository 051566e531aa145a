"""The same sessions live and simulated: one step ahead, in open loop and in closed loop, with the parts of the gap."""

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ppgym.benchmark.episodes import Registry, versions
from ppgym.benchmark.estimates import Estimate, ratio_estimate, t_quantile
from ppgym.codec.parts import Parts
from ppgym.core.state import F8, U1
from ppgym.env import PromptPreamEnv
from ppgym.files import write_json
from ppgym.live import page
from ppgym.live.env import PromptPreamLiveEnv
from ppgym.live.recording import Record, Watch, choose_sessions, decision_s, play, total
from ppgym.live.replaying import Errors, measured_link, one_step_ahead, replay_requests, with_params
from ppgym.progress import Progress
from ppgym.world.scenario import World

RESULTS = "results.json"
FIGURES = "rebuffer_s", "wasted_bytes", "downloaded_bytes", "quality", "return"
OPEN_FIGURES = FIGURES[:-1]
BAND = (2.5, 97.5)  # percentiles


@dataclass(frozen=True)
class Plan:
    """What is compared.

    Attributes:
        agents: Names, or import paths.
        sessions: Of each agent.
        seed: Number of the first session that is looked at.
        watch: What a session's viewer must be drawn to watch.
        repeats: Simulated sessions with errors drawn in, for the band.
    """

    agents: tuple[str, ...]
    sessions: int
    seed: int
    watch: Watch
    repeats: int

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not self.agents or len(set(self.agents)) < len(self.agents):
            raise ValueError(f"--agents: expected one or more different names, got {list(self.agents)}")
        for name, least in (("sessions", 1), ("seed", 0), ("repeats", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"--{name}: expected at least {least}, got {getattr(self, name)}")
        if not 0 <= self.watch.least_s <= self.watch.most_s:
            raise ValueError(f"--watch-s: expected two numbers in order, got {tuple(self.watch)}")


def run_comparison(
    registry: Registry,
    feed: Path,
    agents: tuple[str, ...],
    *,
    sessions: int,
    seed: int,
    watch_s: tuple[float, float],
    split: str,
    overrides: Mapping[str, Any],
    repeats: int,
    output: Path,
    report: Path | None,
) -> None:
    """Compare, print the figures, and write the page: what `evaluate.py live` does; see there.

    Raises:
        FileNotFoundError: A file of the feed is missing.
        ValueError: A wrong value; see `compare`.
    """
    plan = Plan(agents, sessions, seed, Watch(*watch_s), repeats)
    env = PromptPreamLiveEnv(str(feed), split=split, render_mode=None if report is None else "ansi", **overrides)
    try:
        results = compare(registry, env, plan, output)
        print_results(results)
        print(output / RESULTS)
        if report is not None:
            page.write_page(report, results, _picture(registry, env, plan.agents[-1], results["numbers"][0]))
            print(report)
    finally:
        env.close()


def _picture(registry: Registry, env: PromptPreamLiveEnv, agent: str, number: int) -> U1:
    """A session played once more, simulated above and live below."""
    simulated = PromptPreamEnv(env.world, render_mode="ansi")
    envs: list[PromptPreamEnv] = [simulated, env]
    return page.draw(envs, [play(one, registry, agent, number)["totals"] for one in envs])


def print_results(results: dict[str, Any]) -> None:
    """Print the figures for a terminal."""
    print("one step ahead, live minus simulated, ms:")
    for name, each in results["one_step_ahead"].items():
        if each["count"]:
            print(f"  {name}: {each['count']} ends, median {each['median']:.2f}, 95 % within {each['p95']:.2f}")
    print("open loop, a session: live, gap to what was assumed = link + decode + clock")
    for name in OPEN_FIGURES:
        title, unit, scale = page.UNITS[name]
        parts = " + ".join(f"{scale * results['open_loop'][name][part]:.3f}" for part in ("link", "decode", "clock"))
        of_name = results["open_loop"][name]
        print(f"  {title}, {unit}: {scale * of_name['live']:.3f}, {scale * of_name['total']:.3f} = {parts}")
    print("closed loop, live minus simulated:")
    for agent, found in results["closed_loop"].items():
        for name, each in found["figures"].items():
            title, unit, scale = page.UNITS[name]
            band = f", band {page.interval(each['band95'], scale)}" if each["band95"] else ""
            print(f"  {agent}, {title} {unit}: {scale * each['difference']:.3f} of {scale * each['live']:.3f}{band}")
    for pair in results["orders"]:
        print(
            f"  {' - '.join(pair['agents'])}: live {pair['live']['value']:.3f}, "
            f"simulated {pair['simulated']['value']:.3f} QoE a minute"
        )
    late = results["decision_overhead_ms"]
    print(f"decision overhead: {late['p99']:.2f} ms at the 99th percentile of {late['count']}")


def compare(registry: Registry, env: PromptPreamLiveEnv, plan: Plan, output: Path) -> dict[str, Any]:
    """Play sessions live and simulated, and say how far they are apart.

    Args:
        registry: Finds agents by name.
        env: Live.
        plan: What is compared.
        output: Folder of results.json; sessions that were played lie beside it, and are not played again.

    Returns:
        What results.json holds.

    Raises:
        ValueError: Not enough such sessions, an unknown agent, or a folder of other sessions.
    """
    world = env.world
    numbers = choose_sessions(world, plan.seed, plan.sessions, plan.watch)
    job = {
        "scenario": world.scenario.name,
        "split": world.split,
        "world": world.digest,
        "agents": list(plan.agents),
        "numbers": numbers,
        "versions": versions(),
    }
    parts = Parts(output / RESULTS, job)
    rehearsal = PromptPreamEnv(world)
    for agent in plan.agents:  # nothing compiles, and no weights are read, while a clock runs
        play(rehearsal, registry, agent, numbers[0])
    live: dict[str, list[Record]] = {agent: [] for agent in plan.agents}
    with Progress("Playing live", len(plan.agents) * len(numbers)) as progress:
        for number, agent in itertools.product(numbers, plan.agents):
            kept = parts.of(f"{agent.replace(':', '-')}-{number}", lambda a=agent, n=number: play(env, registry, a, n))  # type: ignore[misc]
            live[agent].append(kept)
            progress.advance(note=f"{agent}, session {number}")
    results = job | summarize(registry, world, live, plan)
    write_json(output / RESULTS, results)
    return results


def summarize(registry: Registry, world: World, live: dict[str, list[Record]], plan: Plan) -> dict[str, Any]:
    """The figures of a comparison.

    Args:
        registry: Finds agents by name.
        world: Of the feed, as it is assumed.
        live: The records of each agent, in the same sessions.
        plan: What is compared.

    Returns:
        `one_step_ahead`, `open_loop`, `closed_loop`, `orders`, `clock` and `aborts`, see the page *Live* of the docs.
    """
    everything = [record for records in live.values() for record in records]
    clean = [record for record in everything if not record["diary"]["faults"]]
    measured = measured_link(world, clean)
    errors = _joined([one_step_ahead(measured, record) for record in clean])
    closed, simulated = {}, {}
    for agent, records in live.items():
        think_s = statistics.median(map(decision_s, records))
        charged = with_params(measured, charge_thinking_s=think_s)
        simulated[agent] = simulate(registry, charged, agent, records)
        closed[agent] = {
            "thinking_ms": 1e3 * think_s,
            "figures": closed_loop(registry, charged, agent, records, simulated[agent], errors, plan.repeats),
        }
    aborts_s = [each for record in everything for each in record["diary"]["aborts_s"]]
    late_s = [late for record in everything for _, _, late in record["diary"]["decisions"]]
    return {
        "sessions": len(everything),
        "sessions_with_faults": len(everything) - len(clean),
        "rtt_s": {"nominal": world.params.rtt_s, "measured": measured.params.rtt_s},
        "one_step_ahead": {name: _spread(1e3 * late_s) for name, late_s in ends_of(errors).items()},
        "open_loop": open_loop(world, measured, clean),
        "closed_loop": closed,
        "orders": compare_orders(live, simulated),
        "decision_overhead_ms": _spread(1e3 * np.array(late_s)),
        "abort_ms": _spread(1e3 * np.array(aborts_s)),
        "clock_zero_ms": 1e3 * max((record["diary"]["zero_error_s"] for record in everything), default=0.0),
    }


def ends_of(errors: Errors) -> dict[str, F8]:
    """Seconds by which live ends are later, by what ends, and of all ends."""
    ends = {"transfer": errors.transfer_s, "decode": errors.decode_s, "boundary": errors.boundary_s}
    return ends | {"all": np.concatenate([*ends.values()])}


def simulate(registry: Registry, world: World, agent: str, records: Sequence[Record]) -> list[Record]:
    """The same sessions in the simulator, decided anew."""
    env = PromptPreamEnv(world)
    return [play(env, registry, agent, record["number"]) for record in records]


def open_loop(nominal: World, measured: World, records: Sequence[Record]) -> dict[str, Any]:
    """Live minus replayed, a session, and which part of it is link, decode or clock.

    The requests are replayed three times: as the scenario and the profile say, then with the link as measured, then
    with the decode times as measured too. What each step brings nearer is its part; what is left is the clock's.

    Args:
        nominal: The world as it is assumed.
        measured: With the link as measured.
        records: Live sessions.

    Returns:
        By figure means over the sessions: `live`, `total` (the gap to what is assumed) and its parts `link`, `decode`
        and `clock`; and `worst`, the largest size of a session's `clock`. `left_out` counts requests that could not be
        replayed.
    """
    replays = [
        [replay_requests(world, record, decode) for record in records]
        for world, decode in ((nominal, False), (measured, False), (measured, True))
    ]
    found: dict[str, Any] = {"left_out": sum(one["left_out"] for one in replays[-1])}
    for name in OPEN_FIGURES:
        live = total(list(records), name)
        assumed, linked, both = (np.array([one[name] for one in each]) for each in replays)
        gap = live - both
        found[name] = {
            "live": _mean(live),
            "worst": float(np.abs(gap).max(initial=0.0)),
            "total": _mean(live - assumed),
            "link": _mean(linked - assumed),
            "decode": _mean(both - linked),
            "clock": _mean(gap),
        }
    return found


def closed_loop(
    registry: Registry,
    world: World,
    agent: str,
    live: Sequence[Record],
    simulated: Sequence[Record],
    errors: Errors,
    repeats: int,
) -> dict[str, Any]:
    """Live minus simulated, with its interval, and the band of simulated minus simulated with the live errors drawn in.

    Args:
        registry: Finds agents by name.
        world: The simulator's, with the link and the thinking time as measured.
        agent: Name.
        live: Its records.
        simulated: Of the same sessions.
        errors: One step ahead, of all agents.
        repeats: Of the sessions, for the band; none makes no band.

    Returns:
        By figure: `live`, `simulated`, `difference`, `ci90`, `band95` and `inside`.
    """
    env = DisturbedEnv(world, errors)
    draws: dict[str, list[float]] = {name: [] for name in FIGURES}
    for _ in range(repeats):
        again = [play(env, registry, agent, record["number"]) for record in simulated]
        for name in FIGURES:
            draws[name].append(_mean(total(again, name) - total(list(simulated), name)))
    found = {}
    for name in FIGURES:
        real, model = total(list(live), name), total(list(simulated), name)
        difference = ratio_estimate(real - model, np.ones(len(real)))
        band = np.percentile(draws[name], BAND).tolist() if repeats else None
        found[name] = {
            "live": _mean(real),
            "simulated": _mean(model),
            "difference": difference.value,
            "ci90": _interval90(difference, len(real)),
            "band95": band,
            "inside": None if band is None else band[0] <= difference.value <= band[1],
        }
    return found


class DisturbedEnv(PromptPreamEnv):
    """The simulator with the errors of live ends drawn into each session: decode factors, and a later link."""

    def __init__(self, world: World, errors: Errors) -> None:
        """Of a world, undisturbed before the first reset.

        Args:
            world: The simulator's.
            errors: One step ahead.
        """
        super().__init__(world)
        self._errors = errors
        self._errors_rng = np.random.default_rng(0)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Draw an episode, then the errors into it; nothing has moved before the first step."""
        observation, info = super().reset(seed=seed, options=options)
        jitter, errors = self._episodes.jitter, self._errors
        if len(errors.ratio):  # a job counts by its seconds, for what takes long decides
            weights = errors.expected_s / errors.expected_s.sum()
            jitter[:] = self._errors_rng.choice(errors.ratio, jitter.shape, p=weights)
        late_s = float(self._errors_rng.choice(errors.transfer_s)) if len(errors.transfer_s) else 0.0
        params = self.world.params._replace(rtt_s=max(self.world.params.rtt_s + late_s, 0.0))
        self._bind(self._sims._replace(params=params))
        return observation, info


def compare_orders(live: dict[str, list[Record]], simulated: dict[str, list[Record]]) -> list[dict[str, Any]]:
    """Each pair of agents: its difference in QoE a minute in both worlds, and whether they agree.

    Returns:
        `agents`, `live` and `simulated` with `value` and `ci95`, and `opposite`: True where both differ significantly
        and in opposite directions, None where an interval needs more sessions.
    """
    found = []
    for one, other in itertools.combinations(live, 2):
        worlds = {}
        for name, records in (("live", live), ("simulated", simulated)):
            minutes = total(records[one], "drawn_watch_s") / 60
            difference = total(records[one], "return") - total(records[other], "return")
            worlds[name] = ratio_estimate(difference, minutes)
        signs = [_sign(estimate) for estimate in worlds.values()]
        opposite = None if None in signs else signs[0] == -signs[1] != 0  # type: ignore[operator]
        shown = {name: {"value": each.value, "ci95": each.ci95} for name, each in worlds.items()}
        found.append({"agents": [one, other], **shown, "opposite": opposite})
    return found


def _sign(estimate: Estimate) -> int | None:
    """Of a significant difference; 0 of one that is not, None where there are too few sessions to tell."""
    if estimate.ci95 is None:
        return None
    return int(estimate.ci95[0] > 0) - int(estimate.ci95[1] < 0)


def _interval90(estimate: Estimate, count: int) -> list[float] | None:
    if count < 2:
        return None
    half = t_quantile(0.95, count - 1) * estimate.error
    return [estimate.value - half, estimate.value + half]


def _joined(errors: Sequence[Errors]) -> Errors:
    empty = np.zeros(0)
    return Errors(*(np.concatenate([empty, *(getattr(one, name) for one in errors)]) for name in Errors._fields))


def _spread(values: F8) -> dict[str, float]:
    """Count, median, and percentiles of the absolute values."""
    if not len(values):
        return {"count": 0}
    p50, p95, p99 = np.percentile(np.abs(values), (50, 95, 99)).tolist()
    return {"count": len(values), "median": float(np.median(values)), "p50": p50, "p95": p95, "p99": p99}


def _mean(values: F8) -> float:
    return float(values.mean()) if len(values) else 0.0
