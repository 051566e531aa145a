"""A learned policy as an ONNX graph, the form for a client, and the check that the graph decides as the policy does.

The graph takes a padded observation (of the student, padded features) and what is legal. It returns the action and the
logits (of DQN, the values); the rule that makes an action of them is inside it. It serves ladders of up to 12
representations: `agents.learned.padding` brings a world's arrays into its shape. `agents.learned.onnx_export` is the
command.
"""

import functools
import logging
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import Tensor, nn

from agents.learned.checkpoints import read_checkpoint
from agents.learned.masks import may_wait
from agents.learned.padding import PLACES, Padding, padded_layout
from agents.learned.policies import DQNAgent, PPOAgent, load_weights, padded_spaces, policy_of
from agents.learned.student import StudentAgent, StudentNetwork, StudentVectorEnv, act
from agents.learned.student_features import REQUEST, SHOWN_LOOKAHEADS, feature_layout, student_features
from ppgym.benchmark.episodes import find_suite
from ppgym.core.observation import Layout
from ppgym.core.state import F4, MAX_REPRESENTATIONS, SLOTS
from ppgym.env import PromptPreamEnv
from ppgym.files import write_bytes
from ppgym.vector_env import PromptPreamVectorEnv

WEIGHTS = {"ppo": PPOAgent.WEIGHTS, "dqn": DQNAgent.WEIGHTS, "student": StudentAgent.WEIGHTS}
"""Shipped weights of each agent that can be exported."""

SIDE_BY_SIDE = 8  # environments of a scenario, in the check
MS_PER_S = 1e3


class Deployed(nn.Module):
    """A policy with the rule that makes an action of its logits, as the graph holds it."""

    def __init__(
        self, network: nn.Module, rule: Callable[[Tensor], Tensor], never_idle_in: Layout | None = None
    ) -> None:
        """Put them together.

        Args:
            network: From observations [B, size] to logits [B, actions].
            rule: From logits, -inf where an action may not be chosen, to actions [B].
            never_idle_in: Layout of the observations of a policy that `agents.learned.masks` keeps from idling; None
                where its network does so itself.
        """
        super().__init__()
        self.network = network
        self.rule = rule
        self.never_idle_in = never_idle_in

    def forward(self, observation: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Decide.

        Args:
            observation: [B, size].
            mask: bool [B, actions], true where an action is legal.

        Returns:
            Actions [B], and logits [B, actions], -inf where an action may not be chosen.
        """
        if self.never_idle_in is not None:
            waits = mask[:, :1] & may_wait(observation, mask, self.never_idle_in)[:, None]
            mask = torch.cat([waits, mask[:, 1:]], dim=1)
        logits = self.network(observation).masked_fill(~mask, -torch.inf)
        return self.rule(logits), logits


class Logits(nn.Module):
    """The logits of a Stable-Baselines3 actor-critic policy."""

    def __init__(self, policy: Any) -> None:
        """Wrap a policy."""
        super().__init__()
        self.policy = policy

    def forward(self, observation: Tensor) -> Tensor:
        """Logits [B, actions] of observations [B, size]."""
        logits: Tensor = self.policy.action_net(self.policy.mlp_extractor.forward_actor(observation))
        return logits


def best_valued(values: Tensor) -> Tensor:
    """Actions [B] of the greatest values [B, actions]."""
    return values.argmax(1)


def read_policy(agent: str, path: Path) -> Deployed:
    """A learned policy as a graph will hold it.

    Args:
        agent: Key of `WEIGHTS`.
        path: Its weights.

    Returns:
        The policy with its rule.

    Raises:
        FileNotFoundError: There are no such weights.
        ValueError: They are not what they should be.
    """
    weights, card = read_checkpoint(path)
    if agent == "student":
        student = StudentNetwork(**card["config"]["hyperparams"]["network"])
        load_weights(student, weights, path)
        return Deployed(student, act).eval()
    layout = padded_layout(MAX_REPRESENTATIONS)
    policy_class, kwargs = policy_of(card["config"], MAX_REPRESENTATIONS)
    policy = policy_class(*padded_spaces(MAX_REPRESENTATIONS), lambda _: 0.0, **kwargs)
    load_weights(policy, weights, path)
    if agent == "dqn":
        return Deployed(policy.q_net.q_net, best_valued, layout).eval()  # type: ignore[union-attr, arg-type]
    return Deployed(Logits(policy), act, layout).eval()


def export(policy: Deployed, path: Path, size: int, actions: int) -> None:
    """Write a policy as an ONNX graph.

    Args:
        policy: The policy.
        path: Of the file, which is written as a whole.
        size: Length of its observation.
        actions: Size of the action space.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of libraries that are not needed
    example = torch.zeros(1, size), torch.ones(1, actions, dtype=torch.bool)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of the exporter's own calls
        program = torch.onnx.export(
            policy,
            example,
            dynamo=True,
            verbose=False,
            input_names=["observation", "mask"],
            output_names=["action", "logits"],
        )
    assert program is not None, "the exporter returns a program where it is given no path"
    write_bytes(path, program.model_proto.SerializeToString())


def open_graph(path: Path) -> onnxruntime.InferenceSession:
    """A graph, ready to decide on one core."""
    how = onnxruntime.SessionOptions()
    how.intra_op_num_threads = how.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), how, providers=["CPUExecutionProvider"])


class Situation(NamedTuple):
    """What a policy decides on."""

    observation: npt.NDArray[np.float32]  # [1, size]
    mask: npt.NDArray[np.bool_]  # [1, actions]


def pad_features(features: F4, padding: Padding) -> F4:
    """Features with a request for each option of a network, as a graph of one shape takes them.

    Args:
        features: [B, size] in a world.
        padding: Of that world.

    Returns:
        [B, padded size]; 0 for a request that the world does not have.
    """
    layout = feature_layout(0)
    requests = features[:, layout.requests :].reshape(len(features), SLOTS * SHOWN_LOOKAHEADS, -1, REQUEST)
    padded = np.zeros((*requests.shape[:2], PLACES * padding.representations, REQUEST), np.float32)
    padded[:, :, padding.places] = requests
    return np.concatenate([features[:, : layout.requests], padded.reshape(len(features), -1)], axis=1)


def play_situations(agent: str, policy: Deployed, count: int) -> Iterator[Situation]:
    """The situations that a policy comes into in the standard suite, on the validation split.

    Args:
        agent: Key of `WEIGHTS`.
        policy: Who plays.
        count: How many, shared among the scenarios.

    Yields:
        The situations.
    """
    scenarios = find_suite("standard").scenarios
    kind = StudentVectorEnv if agent == "student" else PromptPreamVectorEnv
    steps = -(-count // (len(scenarios) * SIDE_BY_SIDE))
    for scenario in scenarios:
        envs = kind(SIDE_BY_SIDE, scenario, "validation")
        padding = Padding(envs.options, MAX_REPRESENTATIONS)
        pad = functools.partial(pad_features, padding=padding) if agent == "student" else padding.observations
        observations = pad(envs.reset(seed=0)[0])
        for _ in range(steps):
            masks = padding.masks(envs.action_masks())
            for i in range(SIDE_BY_SIDE):
                yield Situation(observations[i : i + 1], masks[i : i + 1])
            with torch.inference_mode():
                actions, _ = policy(torch.from_numpy(observations), torch.from_numpy(masks))
            observations = pad(envs.step(padding.to_world(actions.numpy()))[0])


class Agreement(NamedTuple):
    """How a graph compares with its original."""

    decisions: int
    same: int
    logit_difference: float  # the largest, of actions that may be chosen
    ms: npt.NDArray[np.float64]  # [decisions] wall time
    cpu_ms: npt.NDArray[np.float64]  # [decisions] CPU time, which others on the machine do not lengthen


def check_agreement(
    policy: Deployed, graph: onnxruntime.InferenceSession, situations: Sequence[Situation]
) -> Agreement:
    """Let a policy and its graph decide on the same situations.

    Args:
        policy: The original.
        graph: Its export.
        situations: At least one.

    Returns:
        How often they agree, and how long the graph takes.
    """
    same, difference = 0, 0.0
    seconds = np.zeros((2, len(situations)))
    answers = []
    for i, situation in enumerate(situations):
        asked_s = time.perf_counter(), time.thread_time()
        answers.append(graph.run(None, situation._asdict()))
        seconds[:, i] = time.perf_counter() - asked_s[0], time.thread_time() - asked_s[1]
    for situation, (action, logits) in zip(situations, answers, strict=True):
        with torch.inference_mode():
            expected_action, expected = policy(*map(torch.from_numpy, situation))
        same += int(action[0] == int(expected_action[0]))
        allowed = np.isfinite(expected.numpy())
        difference = max(difference, float(np.abs(logits[allowed] - expected.numpy()[allowed]).max()))
    return Agreement(len(situations), same, difference, *(MS_PER_S * seconds))


def features_ms(decisions: int = 1000) -> float:
    """Mean CPU time of the student's features, planning view included."""
    env = PromptPreamEnv()
    env.reset(seed=0)
    student_features(env.planning_view())  # compiles
    started_s = time.process_time()
    for _ in range(decisions):
        student_features(env.planning_view())
    return MS_PER_S * (time.process_time() - started_s) / decisions
