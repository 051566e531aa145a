"""The student of the planner: what it sees, how it is taught and tuned, and what it tells the planner."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from gymnasium.vector import AutoresetMode

from agents import make_agent
from agents.learned.checkpoints import provenance, write_checkpoint
from agents.learned.masks import may_wait
from agents.learned.networks import ILLEGAL
from agents.learned.student import StudentNetwork, StudentVectorEnv, act, play
from agents.learned.student_features import CANDIDATE, LOOKS, REQUEST, SITUATION, SLOT, glimpse_layout, look
from agents.mcts import STUDENT_PRIOR, MCTSAgent
from agents.studies import student as student_study
from agents.training.distillation import Sheet, collate, comment_loss, fit, show
from agents.training.finetuning import WeightedRolloutBuffer
from agents.training.planner_labels import (
    CONSIDERED,
    NOTHING,
    Lesson,
    give_lesson,
    give_lessons,
    read_lessons,
    shard_path,
)
from agents.training.student import HYPERPARAMS, read_student_hyperparams, share_out, train_student
from agents.training.vec_env import JoinedVecEnv, SB3VecEnv, TimedRolloutBuffer
from ppgym.benchmark.episodes import Job
from ppgym.benchmark.records import read_records
from ppgym.benchmark.run import validate
from ppgym.core.actions import WAIT
from ppgym.core.state import LOOKAHEAD, SLOTS
from ppgym.env import PromptPreamEnv
from ppgym.files import read_json
from ppgym.world.scenario import DEFAULT_SCENARIO
from tests.agents.learned.test_policies import FakeClock, fill, make_buffer

OPTIONS = 15
LAYOUT = glimpse_layout(OPTIONS)
TEACHER = {"simulations": 16}


def requests_of(seen: np.ndarray) -> np.ndarray:
    """What is seen of requests [S, K, O, REQUEST]."""
    return seen[LAYOUT.requests :].reshape(SLOTS, LOOKS, OPTIONS, REQUEST)


def visited(seed: int, steps: int) -> tuple[PromptPreamEnv, np.random.Generator]:
    """An environment after some random legal steps."""
    env, rng = PromptPreamEnv(), np.random.default_rng(seed)
    env.reset(seed=seed)
    for _ in range(steps):
        env.step(int(rng.choice(np.flatnonzero(env.action_masks()))))
    return env, rng


def save_student(path: Path, network: StudentNetwork, **config: Any) -> Path:
    card = {"config": {"network": {}, "temperature": 0.5} | config, "timesteps": 0, "scores": [], **provenance()}
    write_checkpoint(path, network.state_dict(), card)
    return path


def test_it_sees_the_same_in_a_view_as_in_an_array_of_states() -> None:
    envs = StudentVectorEnv(2, split="validation")
    single = PromptPreamEnv(split="validation")
    seen, _ = envs.reset(seed=7)
    single.reset(seed=8)
    rng = np.random.default_rng(0)
    for _ in range(60):
        np.testing.assert_array_equal(look(single.planning_view()), seen[1])
        masks = envs.action_masks()
        actions = [int(rng.choice(np.flatnonzero(mask))) for mask in masks]
        seen, _, terminated, _, _ = envs.step(actions)
        if terminated[1]:
            break
        single.step(actions[1])


def test_what_it_sees_of_requests_is_what_the_manifest_says() -> None:
    for seed in range(4):
        env, _ = visited(seed, 25)
        view = env.planning_view()
        seen, mask = requests_of(look(view)), view.action_mask[1:].reshape(SLOTS, LOOKAHEAD, OPTIONS)
        assert (seen[..., 0] <= mask[:, :LOOKS]).all()  # no illegal request
        assert (seen[0, 0, :, 0] == mask[0, 0]).all()  # and the next chunk is always among them
        assert seen[seen[..., 0] == 0.0].sum() == 0.0
        for slot, k, option in np.argwhere(seen[..., 0] > 0.0):
            chunk, representation = view.candidates[slot, k], view.params.option_representation[option]
            request = seen[slot, k, option]
            assert request[4] == pytest.approx(8e-6 * view.catalog.chunk_bytes[slot, chunk, representation])
            assert request[5] == pytest.approx(view.catalog.quality[slot, chunk, representation])
            decode_s = view.params.option_decode_s[option]
            assert request[7] == pytest.approx(decode_s / (decode_s + 2.0))


def test_it_sees_the_quality_that_a_request_would_follow() -> None:
    env = PromptPreamEnv()
    env.reset(seed=0)
    option = int(np.flatnonzero(env.action_masks()[1 : 1 + OPTIONS])[0])
    chunk_quality = env.planning_view().catalog.quality[0, 0, env.options[option].representation]
    env.step(1 + option)
    seen = look(env.planning_view())
    candidates = seen[LAYOUT.candidates : LAYOUT.requests].reshape(SLOTS, LOOKS, CANDIDATE)
    assert candidates[0, 0, 5] == pytest.approx(chunk_quality)  # of the chunk just requested, though it has not begun
    assert candidates[0, 0, 6] == 1.0
    assert candidates[0, 1, 6] == 0.0  # between it and the second there is a chunk that nobody has asked for
    changes = requests_of(seen)[0, 0]
    present = changes[:, 0] > 0.0
    np.testing.assert_allclose(changes[present, 6], np.abs(changes[present, 5] - chunk_quality), atol=1e-6)


def test_the_layout_adds_up() -> None:
    assert LAYOUT.slots == SITUATION
    assert LAYOUT.candidates == SITUATION + SLOTS * SLOT
    assert LAYOUT.size == LAYOUT.requests + SLOTS * LOOKS * OPTIONS * REQUEST
    env, _ = visited(1, 40)
    assert look(env.planning_view()).shape == (LAYOUT.size,)


def test_the_network_scores_what_it_sees_and_nothing_else() -> None:
    torch.manual_seed(0)
    network = StudentNetwork(OPTIONS)
    env, _ = visited(2, 30)
    seen = look(env.planning_view())
    logits = network(torch.from_numpy(seen)[None])[0].detach().numpy()
    downloads = logits[1:].reshape(SLOTS, LOOKAHEAD, OPTIONS)
    present = requests_of(seen)[..., 0] > 0.0
    assert (downloads[:, LOOKS:] == ILLEGAL).all()
    assert ((downloads[:, :LOOKS] != ILLEGAL) == present).all()
    # What differs in one request alone changes that request's score, and WAIT's at most
    slot, k, option = np.argwhere(present)[3]
    changed = seen.copy()
    requests_of(changed)[slot, k, option, 1] += 1.0
    other = network(torch.from_numpy(changed)[None])[0].detach().numpy()
    place = 1 + (slot * LOOKAHEAD + k) * OPTIONS + option
    assert set(np.flatnonzero(other != logits)) - {0} == {place}


def test_it_never_waits_in_vain() -> None:
    """The same rule as that of the agents that see the observation."""
    torch.manual_seed(0)
    network, env = StudentNetwork(OPTIONS), PromptPreamEnv()
    rng = np.random.default_rng(0)
    observation, info = env.reset(seed=0)
    vain = []
    for _ in range(300):
        mask = info["action_mask"].astype(np.bool_)
        logits = network(torch.from_numpy(look(env.planning_view()))[None])[0]
        vain.append(bool(logits[WAIT] == ILLEGAL))
        assert vain[-1] != may_wait(observation[None], mask[None], env.world.features.layout)[0]
        action = WAIT if rng.random() < 0.5 else rng.choice(np.flatnonzero(mask))
        observation, _, terminated, truncated, info = env.step(int(action))
        if terminated or truncated:
            observation, info = env.reset()
    assert 30 < sum(vain) < 270


def test_the_loss_is_the_cross_entropy_to_the_teachers_shares() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]]))
    considered = torch.tensor([[0, 2, NOTHING], [1, NOTHING, NOTHING]])
    advantage = torch.tensor([[0.0, np.log(3.0) * 0.2, 9.0], [0.0, 0.0, 0.0]])
    loss = comment_loss(logits, considered, advantage, temperature=0.2, regret_share=0.0)
    expected = [0.25 * np.log(2.0) + 0.75 * np.log(4.0), np.log(4.0)]  # its shares are 1/4 and 3/4; all on the one
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-5)


def test_the_loss_counts_what_the_students_shares_lose() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.2, 0.3]]))
    considered, advantage = torch.tensor([[0, 2, NOTHING]]), torch.tensor([[0.0, 2.0, 0.0]])
    losses = [comment_loss(logits, considered, advantage, 0.5, share).item() for share in (0.0, 0.1)]
    # 0.5 loses 2 QoE, and 0.2 goes to what nobody looked at: 1 worse than the worst
    assert losses[1] - losses[0] == pytest.approx(0.1 * (0.5 * 2.0 + 0.2 * (2.0 + 1.0)) / 0.5)


def test_an_action_that_it_cannot_see_is_left_out() -> None:
    logits = torch.tensor([[0.0, ILLEGAL, 0.0]])
    considered = torch.tensor([[0, 1, 2]])
    loss = comment_loss(logits, considered, torch.tensor([[0.0, 5.0, 0.0]]), temperature=0.1, regret_share=1.0)
    assert loss.item() == pytest.approx(np.log(2.0))
    loss = comment_loss(logits, torch.tensor([[1, NOTHING]]), torch.zeros(1, 2), temperature=0.1, regret_share=1.0)
    assert loss.item() == 0.0  # where it sees none of them, there is nothing to learn


def test_waiting_must_be_likelier_than_all_downloads_together() -> None:
    logits = torch.log(torch.tensor([[0.45, 0.25, 0.3], [0.6, 0.1, 0.3]]))
    assert act(logits).tolist() == [2, 0]  # though in the first WAIT is the likeliest
    assert act(torch.tensor([[-5.0, ILLEGAL, ILLEGAL]])).tolist() == [0]


def test_sharper_is_surer_of_the_same() -> None:
    torch.manual_seed(0)
    network = StudentNetwork(OPTIONS)
    torch.nn.init.normal_(network.score.weight)
    env, _ = visited(5, 30)
    seen = torch.from_numpy(look(env.planning_view()))[None]
    before = network(seen).detach()
    network.sharpen(3.0)
    legal = before > ILLEGAL / 2
    torch.testing.assert_close(network(seen).detach()[legal], 3.0 * before[legal])


@pytest.fixture(scope="module")
def lesson() -> Lesson:
    return give_lesson(TEACHER, 1.0, 0.3, Job("low/snapdragon-8-elite/typical", {}, "train", "mcts", {}, 11))


@pytest.mark.parametrize(("player", "sees_all"), [("mcts", True), ("greedy", False)])
def test_a_planner_that_does_not_make_every_decision_is_not_calibrated(
    player: str, sees_all: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[dict[str, Any]] = []

    def refuse(*_: Any, **keywords: Any) -> None:
        made.append(keywords)
        raise RuntimeError("seen enough")

    monkeypatch.setattr("agents.training.planner_labels.MCTSAgent", refuse)
    with pytest.raises(RuntimeError, match="seen enough"):
        give_lesson(TEACHER, 0.5, 0.3, Job("low/snapdragon-8-elite/typical", {}, "train", player, {}, 11))
    assert made[0]["bandwidth_calibration"] is sees_all


def test_a_lesson_is_an_episode_with_comments(lesson: Lesson) -> None:
    env = PromptPreamEnv(split="train")
    env.reset(seed=11)
    strays = 0
    for taken, considered, advantage in zip(lesson.taken, lesson.considered, lesson.advantage, strict=True):
        looked_at = considered[considered != NOTHING]
        assert env.action_masks()[looked_at].all()
        assert taken in looked_at
        assert advantage[0] == 0.0  # what the others are measured by
        assert (advantage[considered == NOTHING] == 0.0).all()
        strays += int(taken != looked_at[advantage[: len(looked_at)].argmax()])
        *_, terminated, truncated, _ = env.step(int(taken))
    assert terminated or truncated
    assert 0 < strays < len(lesson.taken)
    assert lesson.drawn_watch_s == env.drawn_watch_s()


def test_replay_shows_what_the_student_would_have_seen(lesson: Lesson) -> None:
    thinned = lesson._replace(considered=lesson.considered.copy())
    thinned.considered[::2] = NOTHING
    sheet = show(thinned, "train")
    env = PromptPreamEnv(split="train")
    env.reset(seed=11)
    rows = []
    for step, action in enumerate(lesson.taken):
        if step % 2:
            rows.append(look(env.planning_view()))
        env.step(int(action))
    np.testing.assert_array_equal(sheet.seen, np.array(rows).astype(np.float16))
    np.testing.assert_array_equal(sheet.considered, lesson.considered[1::2])
    assert sheet.weight == pytest.approx(60.0 / lesson.drawn_watch_s)
    assert sheet.options == OPTIONS


def test_lessons_go_on_where_they_were_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.training.planner_labels.SHARD", 2)
    jobs = [Job(DEFAULT_SCENARIO, {}, "train", "greedy", {}, seed) for seed in range(3)]
    how: dict[str, Any] = {"teacher": TEACHER, "commented_share": 0.1, "stray_share": 0.0, "workers": 1}
    give_lessons(tmp_path, jobs, **how)
    first, second = shard_path(tmp_path, 0), shard_path(tmp_path, 2)
    kept, made = first.read_bytes(), second.read_bytes()
    first.write_bytes(kept + b" ")  # so that it would show if it were made again
    second.unlink()
    give_lessons(tmp_path, jobs, **how)
    assert first.read_bytes() == kept + b" "
    assert second.read_bytes() == made
    first.write_bytes(kept)
    lessons = read_lessons(tmp_path)
    assert [lesson.seed for lesson in lessons] == [0, 1, 2]
    commented = np.concatenate([lesson.considered[:, 0] != NOTHING for lesson in lessons])
    assert 0 < commented.sum() < len(commented) / 2
    assert lessons[0].considered.shape == (len(lessons[0].taken), CONSIDERED)


def test_missing_lessons_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"expected files lessons-\*\.npz"):
        read_lessons(tmp_path)


def test_a_fit_finds_what_the_teacher_prefers(lesson: Lesson) -> None:
    sheet = show(lesson, "train")
    visible = (np.maximum(sheet.considered - 1, 0) // OPTIONS % LOOKAHEAD < LOOKS) & (sheet.considered != NOTHING)
    best = np.where(visible, sheet.advantage, -np.inf).argmax(1)
    wanted = sheet.considered[np.arange(len(best)), best]

    torch.manual_seed(0)
    network = StudentNetwork(OPTIONS)

    def judge() -> tuple[float, float]:
        with torch.inference_mode():
            logits = network(torch.from_numpy(sheet.seen.astype(np.float32)))
        columns = torch.from_numpy(sheet.considered), torch.from_numpy(sheet.advantage)
        loss = comment_loss(logits, *columns, temperature=0.1, regret_share=0.1).mean().item()
        return loss, float((logits.argmax(1).numpy() == wanted).mean())

    how: dict[str, Any] = {"epochs": 48, "batch_size": 16, "learning_rate": 3e-3, "weight_power": 0.5}
    loss, agreement = judge()
    fit(network, sheet, temperature=0.1, regret_share=0.1, seed=0, **how)
    assert judge()[0] < loss - 0.3
    assert judge()[1] > agreement + 0.1


def test_collated_sheets_keep_their_order(lesson: Lesson) -> None:
    sheet = show(lesson, "train")
    half = len(sheet.seen) // 2
    columns: Any = [column[:half] for column in sheet], [column[half:] for column in sheet]
    both = collate([Sheet(*columns[0]), Sheet(*columns[1])])
    for one, other in zip(both, sheet, strict=True):
        np.testing.assert_array_equal(one, other)


def test_playing_gives_the_benchmarks_qoe(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = StudentNetwork(OPTIONS).eval()
    qoe = play(network, StudentVectorEnv(2, split="validation"), 3)
    path = save_student(tmp_path / "student.safetensors", network)
    env = PromptPreamEnv(split="validation")
    agent = make_agent("student", env, weights=str(path))
    for i in range(2):
        observation, info = env.reset(seed=3 + i)
        total, ended = 0.0, False
        while not ended:
            action, _ = agent.predict(observation, action_masks=info["action_mask"])
            observation, reward, terminated, truncated, info = env.step(int(action))
            total += reward
            ended = terminated or truncated
        assert qoe[i] == pytest.approx(total / (env.drawn_watch_s() / 60.0))


def test_joined_environments_are_their_parts() -> None:
    def parts() -> list[SB3VecEnv]:
        return [
            SB3VecEnv(StudentVectorEnv(count, name, "train", AutoresetMode.SAME_STEP), 0.1)
            for name, count in ((DEFAULT_SCENARIO, 2), ("high/rtx-4090/typical", 1))
        ]

    joined, alone = JoinedVecEnv(parts()), parts()
    joined.seed(4)
    alone[0].seed(4)
    alone[1].seed(6)
    np.testing.assert_array_equal(joined.reset(), np.concatenate([one.reset() for one in alone]))
    rng = np.random.default_rng(0)
    for _ in range(150):
        weight = 60.0 / np.concatenate([one.envs.drawn_watch_s() for one in alone])
        masks = np.array(joined.env_method("action_masks"))
        actions = (rng.random(masks.shape) * masks).argmax(axis=1)
        mine = joined.step(actions)
        theirs = [alone[0].step(actions[:2]), alone[1].step(actions[2:])]
        for column in range(3):
            np.testing.assert_array_equal(mine[column], np.concatenate([one[column] for one in theirs]))
        np.testing.assert_array_equal(joined.weight, weight)  # of the episode that the step was in, if it has ended
        np.testing.assert_array_equal(joined.elapsed_s, np.concatenate([one.elapsed_s for one in alone]))


def test_advantages_count_by_the_weight_of_their_episode() -> None:
    class Clock(FakeClock):
        weight = np.ones(2)

    elapsed_s = np.random.default_rng(1).random((5, 2))
    plain_clock, clock = Clock(), Clock()
    plain = make_buffer(TimedRolloutBuffer, clock=plain_clock)
    weighted = make_buffer(WeightedRolloutBuffer, clock=clock)
    clock.weight = np.array([4.0, 0.25])
    fill(plain, plain_clock, elapsed_s)
    fill(weighted, clock, elapsed_s)
    np.testing.assert_allclose(weighted.advantages, plain.advantages * [2.0, 0.5], rtol=1e-6)
    np.testing.assert_array_equal(weighted.returns, plain.returns)  # the critic's unit stays


def test_a_planner_begins_with_the_students_opinion(tmp_path: Path) -> None:
    torch.manual_seed(1)
    path = save_student(tmp_path / "student.safetensors", StudentNetwork(OPTIONS))
    env, _ = visited(3, 20)
    view, mask = env.planning_view(), env.action_masks()
    student = make_agent("student", env, weights=str(path))
    planner = MCTSAgent(env, simulations=32, prior=str(path))
    action = planner.decide(view, mask)
    plan = planner.last_plan
    assert plan is not None
    assert mask[action]
    assert len(plan.root_actions) == STUDENT_PRIOR["root_actions"]
    assert plan.root_actions[0] == student.decide(view, mask)
    opinion = student.opinion(view)
    assert (opinion[~mask] == -np.inf).all()
    np.testing.assert_allclose(plan.prior, np.clip(opinion[plan.root_actions] - opinion.max(), -20.0, 0.0))
    assert (np.diff(plan.prior[:-1]) <= 0.0).all()  # the best first; WAIT may have the last place


def test_what_is_no_weight_of_a_student_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such weights"):
        make_agent("student", PromptPreamEnv(), weights=str(tmp_path / "none.safetensors"))
    path = save_student(tmp_path / "narrow.safetensors", StudentNetwork(OPTIONS, width=8))
    with pytest.raises(ValueError, match=r"narrow\.safetensors: expected weights of a StudentNetwork"):
        make_agent("student", PromptPreamEnv(), weights=str(path))


def test_scenarios_share_a_run() -> None:
    config: dict[str, Any] = {"scenario": DEFAULT_SCENARIO, "hyperparams": {"others": "quick"}}
    counts = share_out(config, 20)
    assert counts[DEFAULT_SCENARIO] == 11
    assert sorted(counts.values()) == [3, 3, 3, 11]
    assert share_out(config | {"hyperparams": {"others": None}}, 20) == {DEFAULT_SCENARIO: 20}


TINY = {
    "network": {"width": 8, "context_width": 16},
    "others": "quick",
    "teacher": {"simulations": 4},
    "rounds": [
        {"episodes": 6, "commented_share": 1.0, "stray_share": 0.1},
        {"episodes": 6, "commented_share": 0.3, "stray_share": 0.1},
    ],
    "fit": {
        "epochs": 1,
        "batch_size": 32,
        "learning_rate": 1e-3,
        "temperature": 0.1,
        "regret_share": 0.1,
        "weight_power": 0.5,
    },
    "fine_tuning": {
        **{"n_timesteps": 300, "n_envs": 12, "n_steps": 8, "batch_size": 48, "n_epochs": 1},
        **{"learning_rate": "lin_3e-4", "gamma": 0.99, "gae_lambda": 0.95, "clip_range": 0.15, "ent_coef": 0.0},
        **{"vf_coef": 0.5, "max_grad_norm": 0.5, "sharpen": 2.0, "critic_rollouts": 1, "reward_scale": 0.1},
    },
    "evaluation": {"every": 1, "validation_episodes": 2, "test_episodes": 1},
}


def test_a_run_from_lessons_to_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.training.student.RIVALS", ("greedy",))
    hyperparams = tmp_path / "tiny.yml"
    hyperparams.write_text(yaml.safe_dump({"PromptPream-v0": TINY}))
    whole = tmp_path / "whole"
    rows = train_student(hyperparams=hyperparams, output=whole, seed=2)
    assert [row.agent for row in rows] == ["student", "greedy"]
    best = (whole / "best.safetensors").read_bytes()

    # What was stopped after its lessons comes to the same end
    parts = tmp_path / "parts"
    parts.mkdir()
    for name in ("config.json", "lessons-0", "lessons-1", "round-0.safetensors", "round-0.json"):
        (whole / name).rename(parts / name)
    train_student(resume=parts)
    assert (parts / "best.safetensors").read_bytes() == best
    with pytest.raises(ValueError, match="holds a run already"):
        train_student(output=parts)


def test_shipped_hyperparameters_are_read_and_wrong_ones_refused(tmp_path: Path) -> None:
    assert read_student_hyperparams(HYPERPARAMS)["others"] == "standard"
    path = tmp_path / "wrong.yml"
    path.write_text(yaml.safe_dump({"PromptPream-v0": TINY | {"fit": {"epoch": 1}}}))
    with pytest.raises(ValueError, match="fit: key 'epochs' is missing"):
        read_student_hyperparams(path)
    with pytest.raises(FileNotFoundError):
        read_student_hyperparams(tmp_path / "none.yml")


def test_the_study_compares_paired_episodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cheap = {name: ("next_one" if name == student_study.STUDENT else "greedy", {}) for name in student_study.PLAYERS}
    monkeypatch.setattr(student_study, "PLAYERS", cheap)
    student_study.study(episodes=3, output=tmp_path)
    found = read_json(tmp_path / "student.json")
    assert validate(tmp_path).records == 3 * 2, "what two players do alike is played once"
    qoe: dict[str, list[float]] = {"greedy": [], "next_one": []}
    for record in read_records(tmp_path):
        totals = record["totals"]
        qoe[record["agent"]].append(totals["return"] / (totals["drawn_watch_s"] / 60.0))
    means = {name: float(np.mean(values)) for name, values in qoe.items()}
    assert found["share_of_teacher"]["mean"] == pytest.approx(means["next_one"] / means["greedy"])
    assert found["differences"][0]["difference"] == pytest.approx(means["next_one"] - means["greedy"])
    assert found["differences"][1]["ci95"] == [0.0, 0.0]  # a player against itself
