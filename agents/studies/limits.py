"""What is known of the limit: what the planner would gain if it were told what is hidden, and what nobody exceeds.

All in the same sessions of the test split. `agents.clairvoyant` has the players, who compete with nobody.
"""

from pathlib import Path

import numpy as np

from agents.studies.cached_episodes import Variant, play_variants
from agents.studies.tables import paired_difference, print_differences
from ppgym.benchmark.episodes import bound_episodes
from ppgym.benchmark.records import returns_and_minutes
from ppgym.benchmark.traces import find_traces
from ppgym.files import write_json
from ppgym.world.scenario import DEFAULT_SCENARIO

FIGURES = "limits.json"
TOLD = "agents.clairvoyant.told:ToldPlanner"
PLAYERS: dict[str, Variant] = {
    "planner": Variant("mcts"),
    "planner, told the swipes": Variant(TOLD, {"told": ["swipes"]}),
    "planner, told the link": Variant(TOLD, {"told": ["link"]}),
    "planner, told both": Variant(TOLD, {"told": ["swipes", "link"]}),
    "planner, told all": Variant(TOLD),
    "best found": Variant("mcts", {"simulations": 3072, "futures": 512, "indifference": 0.0}),
    "clairvoyant": Variant("clairvoyant"),
}
"""Best found is the best player that knows nothing of what is hidden; it is no bound for such players."""


def find_limits(
    scenario: str = DEFAULT_SCENARIO,
    *,
    sessions: int = 64,
    seed: int = 0,
    workers: int = 1,
    output: Path | None = None,
) -> None:
    """Show what the planner would gain if it were told what is hidden, up to the bound that no policy exceeds.

    Args:
        scenario: Name network/device/viewer.
        sessions: Of each player.
        seed: Number of the first session.
        workers: Processes.
        output: Folder for records.jsonl.gz and limits.json. Sessions that it holds already are not played again. None
            writes nothing.
    """
    played = play_variants(
        list(PLAYERS.values()),
        scenario=scenario,
        sessions=sessions,
        seed=seed,
        workers=workers,
        output=output,
        figures=(FIGURES,),
    )
    bounds = bound_episodes(played[0], workers=workers)
    planner, minutes = returns_and_minutes(played[0])
    traces = find_traces(played[0]).clusters
    returns = dict(zip(PLAYERS, (returns_and_minutes(records)[0] for records in played), strict=True))
    returns["bound"] = np.array([bounds[scenario, record["seed"]] for record in played[0]])
    rows = [{"player": name, **paired_difference(own, planner, minutes, traces)} for name, own in returns.items()]
    if output is not None:
        write_json(output / FIGURES, {"scenario": scenario, "sessions": sessions, "seed": seed, "rows": rows})
    print_differences(f"{scenario}, {sessions} test sessions: QoE, and its difference to the planner's", rows)
