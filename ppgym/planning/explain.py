"""Explanation of a plan: the actions considered, and the schedule that follows the choice, as means over futures."""

from dataclasses import dataclass

import numpy as np

from ppgym.core.actions import WAIT
from ppgym.core.events import EVENT_ARRIVAL, EVENT_JOB_END, EVENT_PLAY, EVENT_REQUEST, new_log
from ppgym.planning.planner import Plan
from ppgym.planning.search import log_rollout, new_scratch

ROLLOUTS = 16  # futures that are played, at most
HORIZON_S = 12.0
LOG_ROWS = 512
LIFE = (EVENT_REQUEST, EVENT_ARRIVAL, EVENT_JOB_END, EVENT_PLAY)


@dataclass(frozen=True)
class PlannedRequest:
    """A request that the planner expects to make; times in seconds from now, means over the futures that know all.

    Attributes:
        video: Feed position.
        chunk: Chunk index.
        representation: Name.
        unit: Compute unit.
        share: Share of the futures that make this request within the horizon.
        request_s: When it is sent.
        arrival_s: When its last byte arrives; NaN if no future reaches its playing within the horizon.
        ready_s: When it is decoded; NaN as above.
        play_s: When it begins to play, which is its deadline plus the stalls until then; NaN as above.
    """

    video: int
    chunk: int
    representation: str
    unit: str
    share: float
    request_s: float
    arrival_s: float
    ready_s: float
    play_s: float


@dataclass(frozen=True)
class Explanation:
    """Why an action was chosen: the alternatives, and the schedule that follows if the rollout policy plays on.

    Attributes:
        choice: Name of the action.
        considered: (name, share of the simulations, expected QoE over the rollout policy's choice) of each action.
        schedule: The requests to come, by time.
    """

    choice: str
    considered: tuple[tuple[str, float, float], ...]
    schedule: tuple[PlannedRequest, ...]


def name_action(plan: Plan, action: int) -> str:
    """Name a root action by video, chunk, representation and unit.

    Args:
        plan: The plan.
        action: Action index.

    Returns:
        Such as ``video 3 chunk 2 prompt-r8@npu``.
    """
    if action == WAIT:
        return "wait"
    view = plan.view
    place, option = divmod(action - 1, len(view.options))
    slot, lookahead = divmod(place, view.candidates.shape[1])
    return f"video {int(view.state.video) + slot} chunk {view.candidates[slot, lookahead]} {view.options[option].name}"


def explain(plan: Plan) -> Explanation:
    """Play a plan's choice and then the rollout policy in some of its futures.

    Args:
        plan: The plan.

    Returns:
        The explanation.
    """
    view, futures = plan.view, plan.futures
    scratch = new_scratch(len(view.action_mask))
    rollouts = min(ROLLOUTS, len(futures.states))
    times: dict[tuple[int, int, int], list[dict[int, float]]] = {}
    for future in range(rollouts):
        log = new_log(LOG_ROWS)
        log_rollout(futures, plan.task, scratch, future, plan.action, HORIZON_S, log)
        requested: dict[tuple[int, int], dict[int, float]] = {}
        for row in log.rows[: log.used[0]]:
            chunk, time_s = (int(row["video"]), int(row["chunk"])), float(row["time_s"]) - view.time_s
            if row["kind"] == EVENT_REQUEST:
                requested[chunk] = {}
                times.setdefault((*chunk, int(row["option"])), []).append(requested[chunk])
            if chunk in requested:
                requested[chunk][int(row["kind"])] = time_s
    schedule = []
    for (video, chunk_index, option), seen in times.items():
        known = [each for each in seen if all(kind in each for kind in LIFE)]
        means_s = {kind: float(np.mean([each[kind] for each in known])) if known else float("nan") for kind in LIFE}
        schedule.append(
            PlannedRequest(
                video=video,
                chunk=chunk_index,
                representation=view.representations[view.options[option].representation],
                unit=view.options[option].unit,
                share=len(seen) / rollouts,
                request_s=float(np.mean([each[EVENT_REQUEST] for each in known or seen])),
                arrival_s=means_s[EVENT_ARRIVAL],
                ready_s=means_s[EVENT_JOB_END],
                play_s=means_s[EVENT_PLAY],
            )
        )
    total = max(int(plan.simulated.sum()), 1)
    order = np.argsort(-plan.simulated, kind="stable")
    return Explanation(
        choice=name_action(plan, plan.action),
        considered=tuple(
            (name_action(plan, int(plan.root_actions[i])), plan.simulated[i] / total, float(plan.advantage[i]))
            for i in order
        ),
        schedule=tuple(sorted(schedule, key=lambda request: request.request_s)),
    )
