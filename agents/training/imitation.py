"""Imitation: what another agent decides in an environment, and a policy fitted to it.

Where learning by trial begins is no matter of this file; it neither trains by reward nor knows which agent it copies.
"""

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
from agents.learned.policies import CandidateQPolicy
from agents.learned.student import StudentAgent, StudentVectorEnv, act
from agents.training.vec_env import JoinedVecEnv, SB3VecEnv, make_vec_env
from ppgym.env import PromptPreamEnv
from ppgym.world.scenario import Scenario

Actor = Callable[[npt.NDArray[np.float32], npt.NDArray[np.bool_]], npt.NDArray[np.int64]]

STEPS = 512  # of environments side by side: several episodes


class Demonstrations(NamedTuple):
    """Decisions of an agent; N of them."""

    observations: npt.NDArray[np.float32]  # [N, size]
    masks: npt.NDArray[np.bool_]  # [N, actions] what the learner may do
    actions: npt.NDArray[np.int64]  # [N]
    returns: npt.NDArray[np.float32]  # [N] discounted rewards up to the episode's end


def demonstrate(
    cast: Sequence[tuple[Agent, PromptPreamEnv]],
    decisions: int,
    *,
    seed: int,
    discount_per_s: float,
    stray_share: float = 0.0,
) -> Demonstrations:
    """Watch agents act through whole episodes, in turn.

    Args:
        cast: Who decides, each with the environment that it was made for.
        decisions: How many to record, at least; the last episode is played to its end.
        seed: Seeds the episodes and the straying.
        discount_per_s: Discount of a second.
        stray_share: Share of the steps that take a random legal action instead, so that the record holds how the agent
            finds its way back.

    Returns:
        The decisions, without those that a learner may not take (`agents.learned.masks`).
    """
    rng = np.random.default_rng(seed)
    observations, masks = [], []
    actions: list[int] = []
    useful: list[bool] = []
    returns: list[float] = []
    for turn in itertools.count():
        if len(actions) >= decisions:
            break
        agent, env = cast[turn % len(cast)]
        observation, info = env.reset(seed=seed if turn < len(cast) else None)
        state, ended = None, False
        rewards, elapsed_s = [], []
        while not ended:
            legal = info["action_mask"].astype(np.bool_)
            action, state = agent.predict(observation, state, deterministic=True, action_masks=legal)
            mask = without_idling(observation[None], legal[None], env.world.features.layout)[0]
            useful.append(bool(mask[action]))
            observations.append(observation)
            masks.append(mask)
            actions.append(int(action))
            taken = int(rng.choice(np.flatnonzero(mask)) if rng.random() < stray_share else action)
            observation, reward, terminated, truncated, info = env.step(taken)
            rewards.append(float(reward))
            elapsed_s.append(info["elapsed_s"])
            ended = terminated or truncated
        ahead, backwards = 0.0, []
        for gained, seconds in zip(reversed(rewards), reversed(elapsed_s), strict=True):
            ahead = gained + discount_per_s**seconds * ahead
            backwards.append(ahead)
        returns.extend(reversed(backwards))
    kept = np.array(useful)
    return Demonstrations(
        np.array(observations, np.float32)[kept],
        np.array(masks)[kept],
        np.array(actions)[kept],
        np.array(returns, np.float32)[kept],
    )


@torch.inference_mode()
def demonstrate_student(
    scenarios: Sequence[Scenario],
    decisions: int,
    *,
    seed: int,
    discount_per_s: float,
    stray_share: float,
    actor: Actor | None = None,
) -> Demonstrations:
    """Watch the shipped student as `demonstrate` would, but in environments side by side.

    It does no more than a learner may, which never waits in vain. Environments of the same seeds take the same actions
    twice: once they show what the student sees, once what the learner will. Episodes that have not ended after `STEPS`
    are left out, since their returns are not known.

    Where the learner itself acts, the record holds what the student would do in the situations that the learner comes
    into, and the returns of what the learner does (DAgger, https://arxiv.org/abs/1011.0686).

    Args:
        scenarios: Where.
        decisions: How many to see, about.
        seed: Seeds the episodes and the straying.
        discount_per_s: Discount of a second.
        stray_share: As for `demonstrate`.
        actor: Who acts, by observations [N, size] and masks [N, actions]; None is the student.

    Returns:
        The student's decisions.
    """
    rng = np.random.default_rng(seed)
    learner = make_vec_env(scenarios, "train", -(-decisions // STEPS))
    student = JoinedVecEnv(
        [
            SB3VecEnv(StudentVectorEnv(part.num_envs, scenario, "train", AutoresetMode.SAME_STEP))
            for scenario, part in zip(scenarios, learner.parts, strict=True)
        ]
    )
    network = StudentAgent(PromptPreamEnv(scenarios[0], "train")).network
    for env in (learner, student):
        env.seed(seed)
    observation, seen = learner.reset(), student.reset()
    steps = []
    for _ in range(STEPS):
        mask = learner.action_masks()
        logits = network(torch.from_numpy(seen)).masked_fill(~torch.from_numpy(mask), -torch.inf)
        action = act(logits).numpy()
        strays = rng.random(len(mask)) < stray_share
        taken = action if actor is None else actor(observation, mask)
        taken = np.where(strays, (rng.random(mask.shape) * mask).argmax(axis=1), taken)
        for env in (student, learner):
            env.step_async(taken)
        seen, *_ = student.step_wait()
        following, reward, ended, _ = learner.step_wait()
        steps.append((observation, mask, action, reward, discount_per_s**learner.elapsed_s, ended))
        observation = following
    observations, masks, actions, rewards, discounts, ends = map(np.array, zip(*steps, strict=True))  # [STEPS, N, ...]
    returns, ahead = np.empty(rewards.shape, np.float32), np.full(learner.num_envs, np.nan)
    for step in reversed(range(STEPS)):
        ahead = rewards[step] + discounts[step] * np.where(ends[step], 0.0, ahead)
        returns[step] = ahead
    whole = ~np.isnan(returns)
    return Demonstrations(observations[whole], masks[whole], actions[whole], returns[whole])


def imitate(
    policy: MaskableActorCriticPolicy | CandidateQPolicy,
    shown: Demonstrations,
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
        shown: What to fit.
        epochs: Passes over the demonstrations.
        batch_size: Decisions a step.
        learning_rate: At the start; falls to zero linearly.
        reward_scale: Factor on the returns.
        seed: Seeds the order.
    """
    rng = np.random.default_rng(seed)
    policy.set_training_mode(True)
    optimizer = torch.optim.Adam(policy.parameters(), lr=learning_rate)
    count = len(shown.actions)
    steps = epochs * (count // batch_size)
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)
    data = [torch.as_tensor(array) for array in (shown.observations, shown.actions, shown.masks, shown.returns)]
    for _ in range(epochs):
        order = torch.as_tensor(rng.permutation(count)[: count // batch_size * batch_size])
        for rows in order.view(-1, batch_size):
            observations, actions, masks, returns = (tensor[rows].to(policy.device) for tensor in data)
            values, log_prob, _ = policy.evaluate_actions(observations, actions, masks)
            loss = -log_prob.mean() + 0.5 * functional.mse_loss(values.flatten(), reward_scale * returns)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            decay.step()
