"""Learned agents: the adapter to Stable-Baselines3, the buffer, the network, checkpoints, and the agent of weights."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy

from agents import make_agent
from agents.learned import cards, checkpoints
from agents.learned.masks import without_idling
from agents.learned.padding import Padding, padded_layout
from agents.learned.policies import DQNAgent, PPOAgent, choose
from agents.learned.sb3_policies import decide_by_value, padded_spaces, policy_of
from ppgym.env import PromptPreamEnv
from ppgym.vector_env import PromptPreamVectorEnv
from tests.agents.learned.students import EVERYWHERE

SHORT: dict[str, Any] = {"n_videos": 2, "max_wall_s": 25.0}  # some sessions end, some are truncated
R = 6
CONFIG: dict[str, Any] = {
    "agent": "ppo",
    "representations": R,
    "trained_on": EVERYWHERE,
    "hyperparams": {
        "policy": "CandidatePolicy",
        "policy_kwargs": {"slot_width": 8, "context_width": 16, "candidate_width": 8},
    },
}


def make_policy(config: dict[str, Any] = CONFIG) -> Any:
    policy_class, kwargs = policy_of(config, R)
    torch.manual_seed(0)
    return policy_class(*padded_spaces(R), lambda _: 1e-3, **kwargs)


def situation(env: PromptPreamEnv) -> tuple[np.ndarray, np.ndarray]:
    """The padded observation and mask at a session's beginning."""
    observation, info = env.reset(seed=0)
    padding = Padding(env.options, R)
    mask = without_idling(observation[None], info["action_mask"][None].astype(np.bool_), env.world.features.layout)
    return padding.observations(observation[None]), padding.masks(mask)


def write_policy(path: Path, policy: Any, config: dict[str, Any] = CONFIG, optimizer: Any = None) -> None:
    card = {"config": config, "timesteps": 7, "scores": [], **cards.provenance()}
    checkpoints.write_checkpoint(path, policy.state_dict(), card, optimizer)


@pytest.fixture
def env() -> PromptPreamEnv:
    return PromptPreamEnv(**SHORT)


@pytest.fixture
def weights(tmp_path: Path, env: PromptPreamEnv) -> Path:
    path = tmp_path / "ppo.safetensors"
    write_policy(path, make_policy())
    return path


def random_legal(rng: np.random.Generator, masks: np.ndarray) -> np.ndarray:
    return (rng.random(masks.shape) * masks).argmax(axis=1)


def test_agent_is_always_legal_and_seeded(env: PromptPreamEnv, weights: Path) -> None:
    def play(seed: int, deterministic: bool) -> list[int]:
        agent = make_agent("ppo", env, seed=seed, weights=weights)
        observation, info = env.reset(seed=3)
        actions, ended = [], False
        while not ended:
            masks = info["action_mask"] if len(actions) % 2 else None
            action, _ = agent.predict(observation, deterministic=deterministic, action_masks=masks)
            observation, _, terminated, truncated, info = env.step(action)
            assert not info["invalid_action"]
            actions.append(int(action))
            ended = terminated or truncated
        return actions

    assert play(0, False) == play(0, False) != play(1, False)
    assert play(0, True) == play(1, True)


def test_waits_only_where_that_is_likelier_than_all_downloads() -> None:
    shares = np.array([[0.4, 0.3, 0.3, 0.0], [0.6, 0.1, 0.3, 0.0], [0.4, 0.2, 0.4, 0.9], [1.0, 0.3, 0.5, 0.7]])
    masks = np.array([[1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 0], [1, 0, 0, 0]], np.bool_)
    with np.errstate(divide="ignore"):
        logits = np.log(shares).astype(np.float32)
    assert choose(logits, masks).tolist() == [1, 0, 2, 0]
    draws = [choose(logits, masks, np.random.default_rng(i)) for i in range(400)]
    np.testing.assert_allclose((np.array(draws)[:, 0, None] == range(4)).mean(axis=0), [0.4, 0.3, 0.3, 0.0], atol=0.07)
    assert masks[range(4), np.array(draws)].all()


def test_agent_decides_for_a_batch_as_for_one(env: PromptPreamEnv, weights: Path) -> None:
    envs = PromptPreamVectorEnv(4, **SHORT)
    observations, infos = envs.reset(seed=0)
    for _ in range(5):
        observations, *_, infos = envs.step(random_legal(np.random.default_rng(0), infos["action_mask"]))
    agent = PPOAgent(env, weights=weights)
    batch, _ = agent.predict(observations, deterministic=True, action_masks=infos["action_mask"])
    for row in range(4):
        action, _ = agent.predict(observations[row], deterministic=True, action_masks=infos["action_mask"][row])
        assert action == batch[row]


@pytest.mark.parametrize("agent_class", [PPOAgent, DQNAgent])
def test_shipped_weights(agent_class: type[PPOAgent | DQNAgent]) -> None:
    assert agent_class.WEIGHTS.stat().st_size <= 1_000_000
    env = PromptPreamEnv(split="test")
    agent = agent_class(env, seed=0)
    returns, lengths = [], []
    for seed in range(8):
        observation, info = env.reset(seed=seed)
        ended = False
        total, length = 0.0, 0
        while not ended:
            action, _ = agent.predict(observation, deterministic=True, action_masks=info["action_mask"])
            observation, reward, terminated, truncated, info = env.step(action)
            total, length = total + float(reward), length + 1
            ended = terminated or truncated
        returns.append(total)
        lengths.append(length)
    assert np.mean(returns) > 0.0
    assert max(lengths) < 1000


def test_policy_equals_its_parent(env: PromptPreamEnv) -> None:
    policy = make_policy()
    observation, mask = situation(env)
    observations = torch.as_tensor(np.concatenate([observation, observation * 0.5]))
    masks = torch.as_tensor(np.concatenate([mask, mask]))
    actions = torch.tensor([0, int(masks[1].nonzero()[-1])])
    mine = policy.evaluate_actions(observations, actions, masks)
    parents = MaskableActorCriticPolicy.evaluate_actions(policy, observations, actions, masks)
    for one, other in zip(mine, parents, strict=True):
        torch.testing.assert_close(one, other)
    chosen, values, log_prob = policy(observations, deterministic=True, action_masks=masks.numpy())
    parents_chosen = MaskableActorCriticPolicy.forward(policy, observations, True, masks.numpy())
    assert torch.equal(chosen, parents_chosen[0])
    torch.testing.assert_close((values, log_prob), parents_chosen[1:])
    drawn, _, log_prob = policy(observations.repeat(50, 1), action_masks=masks.numpy().repeat(50, 0))
    assert masks[0, drawn].all()
    assert len(set(drawn.tolist())) > 1


def test_values_decide(env: PromptPreamEnv, tmp_path: Path) -> None:
    config = CONFIG | {"agent": "dqn", "hyperparams": CONFIG["hyperparams"] | {"policy": "CandidateQPolicy"}}
    policy = make_policy(config)
    observation, masks = situation(env)
    values = policy.q_net(torch.as_tensor(observation)).detach().numpy()[0]
    best = max(np.flatnonzero(masks[0]), key=lambda action: values[action])
    assert decide_by_value(policy, observation, masks)[0] == best
    rng = np.random.default_rng(0)
    drawn = decide_by_value(policy, observation.repeat(4000, 0), masks.repeat(4000, 0), rng)
    assert masks[0, drawn].all()
    shares = np.exp(values / policy.temperature) * masks[0]
    np.testing.assert_allclose(np.bincount(drawn, minlength=len(values)) / 4000, shares / shares.sum(), atol=0.03)

    path = tmp_path / "dqn.safetensors"
    write_policy(path, policy, config)
    action, _ = make_agent("dqn", env, weights=path).predict(env.reset(seed=0)[0], deterministic=True)
    assert Padding(env.options, R).from_world(action) == best
    with pytest.raises(ValueError, match="expected weights of ppo, got those of dqn"):
        PPOAgent(env, weights=path)


def test_rewritten_weights_are_read_again(env: PromptPreamEnv, weights: Path) -> None:
    config = CONFIG | {"hyperparams": {"policy": "MlpPolicy", "policy_kwargs": {"net_arch": [8]}}}
    first = PPOAgent(env, weights=weights)
    write_policy(weights, make_policy(config), config)
    assert PPOAgent(env, weights=weights)._decider is not first._decider


def test_missing_weights(env: PromptPreamEnv, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors: no such weights; `python train"):
        PPOAgent(env, weights=tmp_path / "none.safetensors")


def test_checkpoint_round_trip(env: PromptPreamEnv, tmp_path: Path) -> None:
    path = tmp_path / "run" / "latest.safetensors"
    policy = make_policy()
    observation = torch.zeros(2, padded_layout(R).size)
    policy.predict_values(observation).sum().backward()
    policy.optimizer.step()
    write_policy(path, policy, optimizer=policy.optimizer)
    drawn = torch.rand(3), np.random.rand(3)  # noqa: NPY002

    weights, card = checkpoints.read_checkpoint(path)
    other = make_policy()
    other.load_state_dict(weights)
    other.predict_values(observation).sum().backward()
    checkpoints.restore_training_state(path, other.optimizer)
    assert torch.equal(torch.rand(3), drawn[0])
    np.testing.assert_array_equal(np.random.rand(3), drawn[1])  # noqa: NPY002
    assert card["timesteps"] == 7
    assert set(card) == {"schema", "sha256", *cards.CARD}
    assert all(torch.equal(tensor, policy.state_dict()[name]) for name, tensor in weights.items())
    old, new = policy.optimizer.state_dict()["state"], other.optimizer.state_dict()["state"]
    assert old.keys() == new.keys()
    assert all(torch.equal(old[i][key], new[i][key]) for i in old for key in old[i])


def test_tampered_weights_are_refused(env: PromptPreamEnv, weights: Path) -> None:
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ValueError, match=r"ppo\.safetensors: expected the weights that its card ppo\.json names"):
        PPOAgent(env, weights=weights)


def test_pickled_weights_are_refused_unread(env: PromptPreamEnv, weights: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (pytest.fail, ("the pickle was executed",))

    content = pickle.dumps(Trap())
    with pytest.raises(ValueError, match="expected a safetensors file"):
        checkpoints._tensors(weights, content)


def test_weights_of_another_network_are_refused(env: PromptPreamEnv, weights: Path) -> None:
    wider = {"policy": "CandidatePolicy", "policy_kwargs": {"slot_width": 9}}
    write_policy(weights, make_policy(), CONFIG | {"hyperparams": wider})
    with pytest.raises(ValueError, match="expected weights of a CandidatePolicy"):
        PPOAgent(env, weights=weights)


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ("", "the file is empty"),
        ("[]", "expected a JSON object"),
        ('{"schema": "other"}', "key 'schema'"),
        ('{"schema": "ppgym-checkpoint/1", "sha256": ""}', "key 'config' is missing"),
    ],
)
def test_bad_card(env: PromptPreamEnv, weights: Path, card: str, message: str) -> None:
    weights.with_suffix(".json").write_text(card)
    with pytest.raises(ValueError, match=message):
        PPOAgent(env, weights=weights)


def test_missing_card(env: PromptPreamEnv, weights: Path) -> None:
    weights.with_suffix(".json").unlink()
    with pytest.raises(FileNotFoundError, match=r"ppo\.json"):
        PPOAgent(env, weights=weights)
