"""The student: its network, the agent that decides with it, and its prior for the planner."""

from pathlib import Path

import numpy as np
import pytest
import torch

from agents import make_agent
from agents.learned.masks import may_wait
from agents.learned.networks import ILLEGAL
from agents.learned.student_features import SHOWN_LOOKAHEADS, student_features
from agents.learned.student_network import StudentNetwork, StudentVectorEnv, act, play
from agents.mcts import STUDENT_PRIOR, MCTSAgent
from ppgym.core.actions import WAIT
from ppgym.core.state import LOOKAHEAD, SLOTS
from ppgym.env import PromptPreamEnv
from tests.agents.learned.students import OPTIONS, save_student, visited
from tests.agents.learned.test_student_features import requests_of


def test_the_network_scores_what_it_sees_and_nothing_else() -> None:
    torch.manual_seed(0)
    network = StudentNetwork()
    env, _ = visited(2, 30)
    seen = student_features(env.planning_view())
    logits = network(torch.from_numpy(seen)[None])[0].detach().numpy()
    downloads = logits[1:].reshape(SLOTS, LOOKAHEAD, OPTIONS)
    present = requests_of(seen)[..., 0] > 0.0
    assert (downloads[:, SHOWN_LOOKAHEADS:] == ILLEGAL).all()
    assert ((downloads[:, :SHOWN_LOOKAHEADS] != ILLEGAL) == present).all()
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
    network, env = StudentNetwork(), PromptPreamEnv()
    rng = np.random.default_rng(0)
    observation, info = env.reset(seed=0)
    vain = []
    for _ in range(300):
        mask = info["action_mask"].astype(np.bool_)
        logits = network(torch.from_numpy(student_features(env.planning_view()))[None])[0]
        vain.append(bool(logits[WAIT] == ILLEGAL))
        assert vain[-1] != may_wait(observation[None], mask[None], env.world.features.layout)[0]
        action = WAIT if rng.random() < 0.5 else rng.choice(np.flatnonzero(mask))
        observation, _, terminated, truncated, info = env.step(int(action))
        if terminated or truncated:
            observation, info = env.reset()
    assert 30 < sum(vain) < 270


def test_waiting_must_be_likelier_than_all_downloads_together() -> None:
    logits = torch.log(torch.tensor([[0.45, 0.25, 0.3], [0.6, 0.1, 0.3]]))
    assert act(logits).tolist() == [2, 0]  # though in the first WAIT is the likeliest
    assert act(torch.tensor([[-5.0, ILLEGAL, ILLEGAL]])).tolist() == [0]


def test_playing_gives_the_benchmarks_qoe(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = StudentNetwork().eval()
    qoe = play(network, StudentVectorEnv(2, split="validation"), 3)
    path = save_student(tmp_path / "student.safetensors", network)
    env = PromptPreamEnv(split="validation")
    agent = make_agent("student", env, weights=str(path))
    returns, minutes = 0.0, 0.0
    for seed in (3, 4):
        observation, info = env.reset(seed=seed)
        ended = False
        while not ended:
            action, _ = agent.predict(observation, action_masks=info["action_mask"])
            observation, reward, terminated, truncated, info = env.step(int(action))
            returns += reward
            ended = terminated or truncated
        minutes += env.drawn_watch_s() / 60.0
    assert qoe == pytest.approx(returns / minutes)


def test_a_planner_begins_with_the_students_opinion(tmp_path: Path) -> None:
    torch.manual_seed(1)
    path = save_student(tmp_path / "student.safetensors", StudentNetwork())
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
    path = save_student(tmp_path / "narrow.safetensors", StudentNetwork(width=8))
    with pytest.raises(ValueError, match=r"narrow\.safetensors: expected weights of a StudentNetwork"):
        make_agent("student", PromptPreamEnv(), weights=str(path))
