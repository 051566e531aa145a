"""The network of the planner's student, and environments that return its features.

Its training is in `agents.training.student`, the agent that decides with it in `agents.learned.student`.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from torch import Tensor, nn

from agents.learned.checkpoints import read_checkpoint
from agents.learned.networks import ILLEGAL
from agents.learned.sb3_policies import load_weights
from agents.learned.student_features import (
    CANDIDATE,
    NEEDED,
    PLAYING,
    PRESENT,
    REQUEST,
    ROLLOUT,
    SHOWN_LOOKAHEADS,
    VALUE,
    WAIT_VALUE,
    feature_layout,
    fill_features_many,
)
from ppgym.core.actions import WAIT, action_count
from ppgym.core.state import F4, LOOKAHEAD, SLOTS
from ppgym.planning.rollout import make_tables, new_estimates
from ppgym.vector_env import PromptPreamVectorEnv

SCALE = 10.0  # of the logits


class StudentNetwork(nn.Module):
    """Scores every action: each request by itself, with shared weights, and `WAIT` against the best request.

    It never waits while the picture is frozen and the needed chunk can be requested (`agents.learned.masks`).

    No weight depends on the number of options: a request is known by its features.

    S slots, L look-aheads, of which the features show K, O options, B the batch.
    """

    def __init__(self, width: int = 64, context_width: int = 192) -> None:
        """Make the layers.

        Args:
            width: Of a request's code.
            context_width: Of the situation's code.
        """
        super().__init__()
        self.layout = feature_layout(0)
        self.context = nn.Sequential(
            nn.Linear(self.layout.candidates, context_width),
            nn.ReLU(),
            nn.Linear(context_width, context_width),
            nn.ReLU(),
        )
        self.from_context = nn.Linear(context_width, width)
        self.from_candidate = nn.Linear(CANDIDATE, width, bias=False)
        self.from_request = nn.Linear(REQUEST, width, bias=False)
        self.place = nn.Parameter(torch.zeros(SLOTS * SHOWN_LOOKAHEADS, width))
        self.mix = nn.Linear(width, width)
        self.score = nn.Linear(width, 1, bias=False)
        self.trust = nn.Parameter(torch.tensor(1.0))  # factor on the rollout policy's values
        self.wait = nn.Sequential(nn.Linear(context_width + width, width), nn.ReLU(), nn.Linear(width, 1))
        for final in (self.score, self.wait[-1]):  # an untrained student decides as the rollout policy
            for parameter in final.parameters():
                nn.init.zeros_(parameter)

    def forward(self, features: Tensor) -> Tensor:
        """Score.

        Args:
            features: [B, size]; see `agents.learned.student_features`.

        Returns:
            Logits [B, 1 + S * L * O]; `ILLEGAL` where there is no such request, or waiting would be idling.
        """
        layout = self.layout
        context = self.context(features[:, : layout.candidates])
        candidates = features[:, layout.candidates : layout.requests].view(-1, SLOTS * SHOWN_LOOKAHEADS, CANDIDATE)
        options = (features.shape[1] - layout.size) // (SLOTS * SHOWN_LOOKAHEADS * REQUEST)
        requests = features[:, layout.requests :].view(-1, SLOTS * SHOWN_LOOKAHEADS, options, REQUEST)
        around = self.from_candidate(candidates) + self.place + self.from_context(context)[:, None]
        codes = torch.relu(self.from_request(requests) + around[:, :, None])
        codes = torch.relu(self.mix(codes))
        present = requests[..., PRESENT] > 0.0
        downloads = SCALE * (self.score(codes).squeeze(-1) + self.trust * requests[..., VALUE])
        downloads = downloads.masked_fill(~present, ILLEGAL).view(-1, SLOTS, SHOWN_LOOKAHEADS * options)
        downloads = nn.functional.pad(downloads, (0, (LOOKAHEAD - SHOWN_LOOKAHEADS) * options), value=ILLEGAL)
        best = (codes * requests[..., PRESENT : PRESENT + 1]).flatten(1, 2).amax(1)
        wait = self.wait(torch.cat([context, best], dim=-1)) + self.trust * features[:, WAIT_VALUE : WAIT_VALUE + 1]
        idle = (features[:, PLAYING] == 0.0) & (candidates[:, 0, NEEDED] > 0.0) & present[:, 0].any(1)
        wait = (SCALE * wait).masked_fill(idle[:, None], ILLEGAL)
        return torch.cat([wait, downloads.flatten(1)], dim=-1)


class StudentVectorEnv(PromptPreamVectorEnv):
    """The native vector environment with the student's features as its observations."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Make the environments; see `PromptPreamVectorEnv`."""
        super().__init__(*args, **kwargs)
        size = feature_layout(len(self.options)).size
        self.single_observation_space = spaces.Box(-np.inf, np.inf, (size,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self._features: F4 = np.zeros((self.num_envs, size), np.float32)
        self._results = self._results._replace(observation=self._features)
        self._tables = make_tables(self.world.params, self.world.catalog, self.world.distribution)
        self._estimates = new_estimates()
        self._values = np.zeros(action_count(len(self.options)))

    def _move(self) -> None:
        super()._move()
        fill_features_many(
            self._sims, self._states, self._tables, ROLLOUT, self._estimates, self._values, self._features
        )


def act(logits: Tensor) -> Tensor:
    """Choose `WAIT` where it is likelier than all downloads together, else the likeliest download.

    The likeliest single action would be `WAIT` too often: the downloads share their probability.

    Args:
        logits: [B, 1 + S * L * O].

    Returns:
        [B] actions.
    """
    waits = torch.softmax(logits, dim=1)[:, WAIT] > 0.5
    return torch.where(waits, WAIT, 1 + logits[:, 1:].argmax(1))


@torch.inference_mode()
def play(network: nn.Module, envs: StudentVectorEnv, first_seed: int) -> float:
    """Play one session in each environment.

    Args:
        network: The student.
        envs: N environments.
        first_seed: Of consecutive ones.

    Returns:
        Their QoE: the sum of the returns over the sum of the drawn watch minutes.
    """
    features, _ = envs.reset(seed=first_seed)
    minutes, returns = float(envs.drawn_watch_s().sum()) / 60.0, 0.0
    goes_on = np.ones(envs.num_envs, np.bool_)
    while goes_on.any():
        actions = np.full(envs.num_envs, WAIT)
        actions[goes_on] = act(network(torch.from_numpy(features[goes_on]))).numpy()
        features, rewards, terminated, truncated, _ = envs.step(actions)
        returns += float(rewards[goes_on].sum())
        goes_on &= ~(terminated | truncated)
    return returns / minutes


def load_student(path: Path) -> StudentNetwork:
    """Read a student's checkpoint.

    Args:
        path: ``.../NAME.safetensors`` with its card beside it.

    Returns:
        Its network.

    Raises:
        FileNotFoundError: There are no such weights.
        ValueError: They are not what they should be.
    """
    weights, card = read_checkpoint(path)
    network = StudentNetwork(**card["config"]["hyperparams"]["network"])
    load_weights(network, weights, path)
    return network.eval()
