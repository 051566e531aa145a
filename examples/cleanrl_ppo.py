"""PPO in one file, in the manner of CleanRL, on the native vector environment that `gymnasium.make_vec` makes.

    pip install '.[rl]' && python examples/cleanrl_ppo.py --iterations 200

Two things differ from CleanRL's `ppo.py`: illegal actions are masked, and gamma holds for a second instead of a step.
"""

import argparse
import time

import gymnasium
import numpy as np

import ppgym  # noqa: F401 (registers the environment)
from ppgym.commandline import install_hint

try:
    import torch
    from torch import nn
    from torch.nn import functional
except ModuleNotFoundError as error:
    raise SystemExit(install_hint(error, "rl") or error) from None

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--scenario", default="low/snapdragon-8-elite/typical")
parser.add_argument("--iterations", type=int, default=200)
parser.add_argument("--num-envs", type=int, default=64)
parser.add_argument("--num-steps", type=int, default=64)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

GAMMA, GAE_LAMBDA, CLIP, EPOCHS, MINIBATCH, LEARNING_RATE = 0.99, 0.95, 0.2, 4, 512, 1e-3
REWARD_SCALE = 0.1

torch.manual_seed(args.seed)
envs = gymnasium.make_vec("PromptPream-v0", num_envs=args.num_envs, scenario=args.scenario, autoreset_mode="SameStep")
size, actions = envs.single_observation_space.shape[0], int(envs.single_action_space.n)
body = nn.Sequential(nn.Linear(size, 128), nn.Tanh(), nn.Linear(128, 128), nn.Tanh())
actor, critic = nn.Linear(128, actions), nn.Linear(128, 1)
nn.init.orthogonal_(actor.weight, 0.01)
parameters = [*body.parameters(), *actor.parameters(), *critic.parameters()]
optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE, eps=1e-5)


def evaluate(observation: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logarithms of the actions' probabilities, and values."""
    hidden = body(observation)
    return functional.log_softmax(actor(hidden).masked_fill(~mask, -1e8), dim=1), critic(hidden).flatten()


shape = (args.num_steps, args.num_envs)
observations, masks = torch.zeros(*shape, size), torch.zeros(*shape, actions, dtype=torch.bool)
taken, log_probs = torch.zeros(shape, dtype=torch.long), torch.zeros(shape)
rewards, values, elapsed_s, ends = (torch.zeros(shape) for _ in range(4))

observation, info = envs.reset(seed=args.seed)
mask = info["action_mask"].astype(np.bool_)
returns, running = [], np.zeros(args.num_envs)
started_s = time.perf_counter()
for iteration in range(1, args.iterations + 1):
    for step in range(args.num_steps):
        observations[step], masks[step] = torch.as_tensor(observation), torch.as_tensor(mask)
        with torch.no_grad():
            shares, values[step] = evaluate(observations[step], masks[step])
        taken[step] = torch.multinomial(shares.exp(), 1).flatten()
        log_probs[step] = shares.gather(1, taken[step][:, None]).flatten()
        observation, reward, terminated, truncated, info = envs.step(taken[step].numpy())
        mask, ended = info["action_mask"].astype(np.bool_), terminated | truncated
        took_s = info["elapsed_s"]
        if ended.any():  # what belongs to the step that ended the episode is in final_info
            took_s = np.where(ended, info["final_info"]["elapsed_s"], took_s)
        rewards[step], elapsed_s[step] = torch.as_tensor(REWARD_SCALE * reward), torch.as_tensor(took_s)
        ends[step] = torch.as_tensor(ended)
        running += reward
        returns += running[ended].tolist()
        running[ended] = 0.0

    with torch.no_grad():
        next_value = evaluate(torch.as_tensor(observation), torch.as_tensor(mask))[1]
    advantages, ahead = torch.zeros(shape), torch.zeros(args.num_envs)
    for step in reversed(range(args.num_steps)):
        goes_on, discount = 1.0 - ends[step], GAMMA ** elapsed_s[step]
        surprise = rewards[step] + discount * next_value * goes_on - values[step]
        ahead = surprise + discount * GAE_LAMBDA ** elapsed_s[step] * goes_on * ahead
        advantages[step], next_value = ahead, values[step]
    targets = (advantages + values).flatten()

    for _ in range(EPOCHS):
        for rows in torch.randperm(observations[..., 0].numel()).split(MINIBATCH):
            shares, value = evaluate(observations.flatten(0, 1)[rows], masks.flatten(0, 1)[rows])
            ratio = (shares.gather(1, taken.flatten()[rows, None]).flatten() - log_probs.flatten()[rows]).exp()
            advantage = advantages.flatten()[rows]
            advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
            gain = torch.min(ratio * advantage, ratio.clamp(1 - CLIP, 1 + CLIP) * advantage).mean()
            loss = 0.5 * functional.mse_loss(value, targets[rows]) - gain
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 0.5)
            optimizer.step()

    rate = iteration * observations[..., 0].numel() / (time.perf_counter() - started_s)
    mean = np.mean(returns[-100:]) if returns else float("nan")
    print(f"{iteration}: return {mean:.1f}, {rate:,.0f} decisions/s", flush=True)
envs.close()
