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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

from agents.learned.deciders import WEIGHTS_SHA256
from agents.learned.deployed import Deployed
from agents.learned.padding import Padding
from agents.learned.policies import DQNAgent, PPOAgent
from agents.learned.student import StudentAgent
from agents.learned.student_features import pad_features, student_features
from agents.learned.student_network import StudentVectorEnv
from ppgym.benchmark.episodes import find_suite
from ppgym.env import PromptPreamEnv
from ppgym.files import write_bytes
from ppgym.vector_env import PromptPreamVectorEnv

WEIGHTS = {"ppo": PPOAgent.WEIGHTS, "dqn": DQNAgent.WEIGHTS, "student": StudentAgent.WEIGHTS}
"""Shipped weights of each agent that can be exported."""

SIDE_BY_SIDE = 8  # environments of a scenario, in the check
MS_PER_S = 1e3


def export(policy: Deployed, path: Path, size: int, actions: int, sha256: str) -> None:
    """Write a policy as an ONNX graph.

    Args:
        policy: The policy.
        path: Of the file, which is written as a whole.
        size: Length of its observation.
        actions: Size of the action space.
        sha256: Of its weights, which the graph shall bear.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of libraries that are not needed
    example = torch.zeros(2, size), torch.ones(2, actions, dtype=torch.bool)
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of the exporter's own calls
        program = torch.onnx.export(
            policy,
            example,
            dynamo=True,
            verbose=False,
            input_names=["observation", "mask"],
            output_names=["action", "logits"],
            dynamic_shapes=({0: batch}, {0: batch}),
        )
    assert program is not None, "the exporter returns a program where it is given no path"
    model = program.model_proto
    model.metadata_props.add(key=WEIGHTS_SHA256, value=sha256)
    write_bytes(path, model.SerializeToString())


class Situation(NamedTuple):
    """What a policy decides on."""

    observation: npt.NDArray[np.float32]  # [1, size]
    mask: npt.NDArray[np.bool_]  # [1, actions]


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
        padding = Padding(envs.options, policy.representations)
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
