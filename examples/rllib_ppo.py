"""PPO of RLlib on ppgym, with action masks, on the cluster that RAY_ADDRESS names or on this machine.

pip install '.[ray,rl]' && python examples/rllib_ppo.py --iterations 50
"""

import argparse
from typing import Any

import gymnasium
import numpy as np

from ppgym.commandline import install_hint

try:
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.core.rl_module.rl_module import RLModuleSpec
    from ray.rllib.examples.rl_modules.classes.action_masking_rlm import ActionMaskingTorchRLModule
    from ray.tune.registry import register_env
except ModuleNotFoundError as error:
    raise SystemExit(install_hint(error, "ray") or error) from None


class MaskInObservation(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Puts the action mask where RLlib's masking module looks for it: into the observation."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        """Wrap an environment."""
        super().__init__(env)
        masks = gymnasium.spaces.Box(0.0, 1.0, (int(env.action_space.n),), np.float32)  # type: ignore[attr-defined]
        self.observation_space = gymnasium.spaces.Dict({"action_mask": masks, "observations": env.observation_space})

    def reset(self, **kwargs: Any) -> Any:
        """Start an episode."""
        observation, info = self.env.reset(**kwargs)
        return self._join(observation, info), info

    def step(self, action: Any) -> Any:
        """Act."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._join(observation, info), reward, terminated, truncated, info

    def _join(self, observation: Any, info: dict[str, Any]) -> dict[str, Any]:
        return {"action_mask": info["action_mask"].astype(np.float32), "observations": observation}


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--iterations", type=int, default=50)
parser.add_argument("--runners", type=int, default=2, help="processes that play")
parser.add_argument("--batch", type=int, default=4000, help="decisions an iteration")
arguments = parser.parse_args()

register_env("ppgym", lambda _: MaskInObservation(gymnasium.make("ppgym:PromptPream-v0")))
config = PPOConfig().environment("ppgym").env_runners(num_env_runners=arguments.runners)
config.training(train_batch_size_per_learner=arguments.batch, minibatch_size=min(arguments.batch, 256), gamma=0.99)
algorithm = config.rl_module(rl_module_spec=RLModuleSpec(module_class=ActionMaskingTorchRLModule)).build_algo()
for iteration in range(1, arguments.iterations + 1):
    out = algorithm.train()["env_runners"]
    print(f"{iteration}: {out['num_env_steps_sampled']} decisions, return {out.get('episode_return_mean', np.nan):.1f}")
algorithm.stop()
