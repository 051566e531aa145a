"""The planner's student: its network, environments that return its features, and the agent that decides with it.

Its training is in `agents.training.student`; its features are in `agents.learned.student_features`.
"""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from torch import Tensor, nn

from agents.base import Heuristic, Mask
from agents.learned.checkpoints import read_checkpoint
from agents.learned.networks import ILLEGAL
from agents.learned.policies import load_weights
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
    chunk_qoe,
    feature_layout,
    fill_features_many,
    student_features,
)
from agents.learned.training_range import Range, check_range
from ppgym.client import Client
from ppgym.core.actions import WAIT, action_count
from ppgym.core.state import F4, LOOKAHEAD, SLOTS
from ppgym.planning.rollout import describe_viewer, new_estimates
from ppgym.planning_view import PlanningView
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
        self._plain = self._results
        self._features: F4 = np.zeros((self.num_envs, size), np.float32)
        self._estimates = new_estimates()
        self._values = np.zeros(action_count(len(self.options)))

    def _move(self) -> None:
        self._results = self._plain
        super()._move()
        viewer = describe_viewer(self.world.params, self.world.distribution)
        fill_features_many(self._sims, self._states, viewer, ROLLOUT, self._estimates, self._values, self._features)
        self._results = self._plain._replace(observation=self._features)


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


class Student(NamedTuple):
    """What a student's checkpoint holds."""

    network: StudentNetwork
    temperature: float  # of its logits; see `agents.training.distillation.Dataset` for the unit
    trained_on: Range


@functools.lru_cache(maxsize=8)
def _load(path: Path, written_ns: int) -> Student:
    weights, card = read_checkpoint(path)
    params = card["config"]["hyperparams"]
    network = StudentNetwork(**params["network"])
    load_weights(network, weights, path)
    return Student(network.eval(), float(params["fit"]["temperature"]), card["config"]["trained_on"])


def load_student(path: Path) -> Student:
    """Read a student's checkpoint.

    Args:
        path: ``.../NAME.safetensors`` with its card beside it.

    Returns:
        The student.

    Raises:
        FileNotFoundError: There are no such weights.
        ValueError: They are not what they should be.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weights; `python train.py --agent student` makes some")
    return _load(path, path.stat().st_mtime_ns)


class StudentAgent(Heuristic):
    """Decides by a network that imitates the planner; knows the planning view alone."""

    WEIGHTS = Path(__file__).parents[1] / "weights" / "student.safetensors"

    def __init__(
        self, client: Client | gymnasium.Env[Any, Any], *, seed: int | None = None, weights: str | Path | None = None
    ) -> None:
        """Make the agent.

        Args:
            client: What it looks at; an environment's is taken.
            seed: Not used: this agent draws nothing.
            weights: ``.../NAME.safetensors`` with its card beside it; the shipped ones where None.

        Raises:
            FileNotFoundError: There are no such weights.
            ValueError: They are not what they should be, or the world is far from all that they were trained on.
        """
        super().__init__(client, seed=seed)
        path = Path(weights or self.WEIGHTS)
        self.network, self.temperature, trained_on = load_student(path)
        check_range(self.client.scenario, trained_on, path)

    def decide(self, view: PlanningView, mask: Mask) -> int:
        """Choose by `act`; see `Heuristic.decide`."""
        logits = torch.from_numpy(np.where(mask, self.logits(view), ILLEGAL))
        return int(act(logits[None])[0])

    @torch.inference_mode()
    def logits(self, view: PlanningView) -> npt.NDArray[np.float32]:
        """Logits of the actions.

        Args:
            view: The planning view.

        Returns:
            [1 + S * L * O].
        """
        logits: npt.NDArray[np.float32] = self.network(torch.from_numpy(student_features(view))[None])[0].numpy()
        return logits

    def opinion(self, view: PlanningView) -> npt.NDArray[np.float64]:
        """Its values of the actions, for a planner's prior.

        Args:
            view: The planning view.

        Returns:
            [1 + S * L * O] QoE up to a constant; -inf where illegal.
        """
        logits = self.temperature * chunk_qoe(view.params) * self.logits(view).astype(np.float64)
        return np.where(view.action_mask == 1, logits, -np.inf)
