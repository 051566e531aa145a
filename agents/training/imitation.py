"""Imitation: the decisions of an expert, any other agent, and a policy fitted to them. No learning by reward here."""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from gymnasium.vector import AutoresetMode
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from torch.nn import functional

from agents import Agent
from agents.learned.masks import without_idling
from agents.learned.padding import Padding
from agents.learned.sb3_policies import CandidateQPolicy
from agents.learned.student import StudentAgent
from agents.learned.student_network import StudentVectorEnv, act, load_student
from agents.training.vec_env import SB3VecEnv
from ppgym.env import PromptPreamEnv
from ppgym.planning.rollout_parameters import qoe_scale
from ppgym.progress import Progress, track

Actor = Callable[[npt.NDArray[np.float32], npt.NDArray[np.bool_]], npt.NDArray[np.int64]]

STEPS = 512  # of each environment side by side: several episodes


class Demonstrations(NamedTuple):
    """N decisions of an expert; observations, masks and actions are padded."""

    observations: npt.NDArray[np.float32]  # [N, size]
    masks: npt.NDArray[np.bool_]  # [N, actions] what the learner may do
    actions: npt.NDArray[np.int64]  # [N]
    returns: npt.NDArray[np.float32]  # [N] discounted rewards up to the episode's end, in the default ladder's QoE


def demonstrate(
    experts: Sequence[tuple[Agent, PromptPreamEnv]],
    decisions: int,
    *,
    representations: int,
    seed: int,
    discount_per_s: float,
    exploration_share: float = 0.0,
) -> Demonstrations:
    """Record how experts play whole episodes, in turn.

    Args:
        experts: Each with the environment that it was made for.
        decisions: How many to record, at least; the last episode is played to its end.
        representations: R of the padded observations.
        seed: Seeds the episodes and the exploration.
        discount_per_s: Discount of a second.
        exploration_share: Share of the steps that take a random legal action instead, so that the decisions show the
            way back.

    Returns:
        The decisions, without those that a learner may not take (`agents.learned.masks`).
    """
    rng = np.random.default_rng(seed)
    paddings = [Padding(env.options, representations) for _, env in experts]
    observations, masks = [], []
    actions: list[int] = []
    useful: list[bool] = []
    returns: list[float] = []
    with Progress("Demonstrations", decisions) as progress:
        for turn in itertools.count():
            if len(actions) >= decisions:
                break
            agent, env = experts[turn % len(experts)]
            padding, scale = paddings[turn % len(experts)], float(qoe_scale(env.world.params))
            observation, info = env.reset(seed=seed if turn < len(experts) else None)
            state, ended = None, False
            rewards, elapsed_s = [], []
            while not ended:
                legal = info["action_mask"].astype(np.bool_)
                action, state = agent.predict(observation, state, deterministic=True, action_masks=legal)
                mask = without_idling(observation[None], legal[None], env.world.features.layout)[0]
                useful.append(bool(mask[action]))
                observations.append(padding.observations(observation[None])[0])
                masks.append(padding.masks(mask[None])[0])
                actions.append(int(padding.from_world(action)))
                taken = int(rng.choice(np.flatnonzero(mask)) if rng.random() < exploration_share else action)
                observation, reward, terminated, truncated, info = env.step(taken)
                rewards.append(float(reward) / scale)
                elapsed_s.append(info["elapsed_s"])
                ended = terminated or truncated
            ahead, backwards = 0.0, []
            for gained, seconds in zip(reversed(rewards), reversed(elapsed_s), strict=True):
                ahead = gained + discount_per_s**seconds * ahead
                backwards.append(ahead)
            returns.extend(reversed(backwards))
            progress.advance(len(rewards))
    kept = np.array(useful)
    return Demonstrations(
        np.array(observations, np.float32)[kept],
        np.array(masks)[kept],
        np.array(actions)[kept],
        np.array(returns, np.float32)[kept],
    )


@torch.inference_mode()
def demonstrate_student(
    learner: SB3VecEnv,
    *,
    seed: int,
    discount_per_s: float,
    exploration_share: float,
    actor: Actor | None = None,
) -> Demonstrations:
    """Record the shipped student's decisions as `demonstrate` does, but in environments side by side.

    Its actions are masked as the learner's are. The same episodes are played twice, with the same actions: one vector
    of environments returns the student's features, the other the learner's observations. Episodes that have not ended
    after `STEPS` are left out, since their returns are not known.

    Where the learner acts, the student labels the learner's situations, and the returns are the learner's (DAgger,
    https://arxiv.org/abs/1011.0686).

    Args:
        learner: Environments of the train split; `STEPS` decisions of each are recorded.
        seed: Seeds the episodes and the exploration.
        discount_per_s: Discount of a second.
        exploration_share: As for `demonstrate`.
        actor: Who acts, by observations [N, size] and masks [N, actions]; the student where None.

    Returns:
        The student's decisions.
    """
    rng = np.random.default_rng(seed)
    students = [
        StudentVectorEnv(part.num_envs, part.world.scenario, "train", AutoresetMode.SAME_STEP) for part in learner.parts
    ]
    ends = np.cumsum([part.num_envs for part in learner.parts])
    network = load_student(StudentAgent.WEIGHTS)
    seeds = learner.seed(seed)
    observation = learner.reset()
    features = [
        student.reset(seed=seeds[end - student.num_envs : end])[0] for student, end in zip(students, ends, strict=True)
    ]
    steps = []
    for _ in track(range(STEPS), "Demonstrations"):
        mask = learner.action_masks()
        answers = []
        for part, padding, seen in zip(learner.parts, learner.paddings, features, strict=True):
            logits = network(torch.from_numpy(seen)).masked_fill(~torch.from_numpy(part.action_masks()), -torch.inf)
            answers.append(padding.from_world(act(logits).numpy()))
        action = np.concatenate(answers)
        explores = rng.random(len(mask)) < exploration_share
        taken = action if actor is None else actor(observation, mask)
        taken = np.where(explores, (rng.random(mask.shape) * mask).argmax(axis=1), taken)
        shares = zip(students, learner.paddings, np.split(taken, ends[:-1]), strict=True)
        features = [student.step(padding.to_world(some))[0] for student, padding, some in shares]
        learner.step_async(taken)
        following, reward, ended, _ = learner.step_wait()
        steps.append((observation, mask, action, reward, discount_per_s**learner.elapsed_s, ended))
        observation = following
    observations, masks, actions, rewards, discounts, ended = map(np.array, zip(*steps, strict=True))  # [STEPS, N, ...]
    returns, ahead = np.empty(rewards.shape, np.float32), np.full(learner.num_envs, np.nan)
    for step in reversed(range(STEPS)):
        ahead = rewards[step] + discounts[step] * np.where(ended[step], 0.0, ahead)
        returns[step] = ahead
    whole = ~np.isnan(returns)
    return Demonstrations(observations[whole], masks[whole], actions[whole], returns[whole])


def imitate(
    policy: MaskableActorCriticPolicy | CandidateQPolicy,
    demonstrations: Demonstrations,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    reward_scale: float,
    seed: int,
) -> None:
    """Fit a policy's actions and values to demonstrations, by cross-entropy and squared error.

    Args:
        policy: Changed in place.
        demonstrations: What to fit.
        epochs: Passes over the demonstrations.
        batch_size: Decisions a step.
        learning_rate: At the start; falls to zero linearly.
        reward_scale: Factor on the returns.
        seed: Seeds the order.
    """
    rng = np.random.default_rng(seed)
    policy.set_training_mode(True)
    optimizer = torch.optim.Adam(policy.parameters(), lr=learning_rate)
    count = len(demonstrations.actions)
    steps = epochs * (count // batch_size)
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)
    data = [torch.as_tensor(array) for array in demonstrations]
    for _ in track(range(epochs), "Imitation"):
        order = torch.as_tensor(rng.permutation(count)[: count // batch_size * batch_size])
        for rows in order.view(-1, batch_size):
            observations, masks, actions, returns = (tensor[rows].to(policy.device) for tensor in data)
            values, log_prob, _ = policy.evaluate_actions(observations, actions, masks)
            loss = -log_prob.mean() + 0.5 * functional.mse_loss(values.flatten(), reward_scale * returns)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            decay.step()
