"""Replays on the bare kernel: equal to the environment in every total, whatever is played."""

import numpy as np
import pytest

from agents import make_agent
from ppgym.benchmark.records import Record
from ppgym.benchmark.replay import replay
from ppgym.core.qoe import REWARD_TERMS
from ppgym.core.step import INFO_TOTALS
from ppgym.env import PromptPreamEnv

WORLDS = (
    ("low/snapdragon-8-elite/typical", {}),
    ("high/rtx-4090/skimmer", {"parallel_downloads": 3, "n_videos": 6, "cancel_on_swipe": True}),
    ("mixed/pixels-only/sticky", {"qoe": "mmgc2022", "n_videos": 4, "patience": 2.0}),
    ("medium/snapdragon-8-gen-2/typical", {"max_wall_s": 20.0, "qoe": {"energy": 0.1}}),
)


def play(scenario: str, overrides: dict, seed: int, split: str = "train") -> tuple[Record, dict[str, float]]:
    """Random actions, some of them illegal or outside the space; what the environment's infos add up to."""
    env = PromptPreamEnv(scenario, split, **overrides)
    agent, rng = make_agent("random", env, seed=seed), np.random.default_rng(seed)
    env.reset(seed=seed)
    actions: list[int] = []
    counts = dict.fromkeys(("requests", "generative_requests", "truncated", "invalid_actions", "idle_waits"), 0.0)
    terms = dict.fromkeys((f"reward_{name}" for name in REWARD_TERMS), 0.0)
    total, ended = 0.0, False
    while not ended:
        action = int(rng.choice([-1, 301, 2**40])) if rng.random() < 0.1 else int(agent.predict(None)[0])
        actions.append(action)
        counts["idle_waits"] += action == 0 and not env.planning_view().state.playing and env.action_masks()[1:].any()
        _, reward, terminated, truncated, info = env.step(action)
        counts["invalid_actions"] += info["invalid_action"]
        counts["truncated"] += truncated
        total += reward
        ended = terminated or truncated
        for name in terms:
            terms[name] += info[name]
        if action != 0 and not info["invalid_action"]:
            counts["requests"] += 1
            counts["generative_requests"] += env.options[(action - 1) % len(env.options)].codec == "prompt"
    totals = {"return": total} | {key: float(info[key]) for key in INFO_TOTALS}
    totals["drawn_watch_s"] = env.drawn_watch_s()
    record = {"scenario": scenario, "seed": seed, "agent": "random", "split": split, "actions": actions}
    return record | {"totals": totals, "overrides": overrides}, totals | terms | counts


def test_a_replay_is_the_environments_episode() -> None:
    played = [play(*world, seed) for seed in (0, 1, 2) for world in WORLDS]  # worlds mixed, seeds apart
    played.append(play(*WORLDS[0], 0, "test"))
    records, expected = [record for record, _ in played], [totals for _, totals in played]
    replays = replay(records)
    assert replays.problems == [""] * len(records)
    for place, totals in enumerate(expected):
        came = {key: column[place] for key, column in replays.totals.items()}
        for key, value in totals.items():
            assert came[key] == value, key
        assert sum(came[f"busy_{unit}_s"] for unit in ("cpu", "gpu", "npu", "vdec")) == came["decode_busy_s"]
        assert sum(came[f"reward_{name}"] for name in REWARD_TERMS) == pytest.approx(came["return"])


def test_what_does_not_come_back_is_told() -> None:
    record, totals = play(*WORLDS[0], 0)
    short, long = record | {"actions": record["actions"][:-1]}, record | {"actions": [*record["actions"], 0]}
    wrong = record | {"totals": record["totals"] | {"played_s": 1.0}}
    extra = record | {"totals": record["totals"] | {"reward_waste": 1.0}}
    problems = replay([short, long, wrong, extra, record]).problems
    count = len(record["actions"])
    assert problems[:2] == [
        f"the episode goes on after its {count - 1} actions",
        f"the episode ends after {count} of {count + 1} actions",
    ]
    assert problems[2] == f"played_s 1.0, replayed {totals['played_s']!r}"
    assert problems[3] == f"reward_waste 1.0, replayed {totals['reward_waste']!r}"
    assert problems[4] == ""


def test_a_record_of_no_world_is_refused() -> None:
    record, _ = play(*WORLDS[0], 0)
    with pytest.raises(ValueError, match=r"record 2: scenario 'lo/.*did you mean 'low'"):
        replay([record, record | {"scenario": "lo/snapdragon-8-elite/typical"}])
    with pytest.raises(ValueError, match="record 1: unknown split 'tests'"):
        replay([record | {"split": "tests"}])


@pytest.mark.parametrize(("asks", "starved"), [(False, 3), (True, 0)])
def test_a_video_starves_where_its_chunk_was_not_requested(asks: bool, starved: int) -> None:
    """On a link that brings nothing in time the viewer leaves all videos in a stall, whatever is requested."""
    overrides = {"n_videos": 3, "patience": 2.0, "bandwidth_scale": 1e-3, "leave_p": 0.0, "parallel_downloads": 8}
    env = PromptPreamEnv("low/pixels-only/typical", "train", **overrides)
    env.reset(seed=0)
    actions, ended = [], False
    while not ended:
        view = env.planning_view()
        playhead_is_next = int(view.candidates[0, 0]) == int(view.state.playhead)
        wanted = np.flatnonzero(view.action_mask[1:])
        actions.append(1 + int(wanted[0]) if asks and playhead_is_next and len(wanted) else 0)
        *_, terminated, truncated, info = env.step(actions[-1])
        ended = terminated or truncated
    totals = {key: float(info[key]) for key in INFO_TOTALS} | {"drawn_watch_s": env.drawn_watch_s()}
    record = {"scenario": "low/pixels-only/typical", "seed": 0, "agent": "x", "split": "train", "actions": actions}
    came = replay([record | {"overrides": overrides, "totals": totals}]).totals
    assert (info["videos_watched"], came["videos_starved"].tolist()) == (3, [starved])
    assert (came["idle_waits"].tolist() == [len(actions)]) == (not asks)
