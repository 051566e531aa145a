"""A learned policy as an ONNX graph, the form for a client, and the check that the graph decides as the policy does.

The graph takes an observation (of the student, its features) and what is legal. It returns the action and the logits
(of DQN, the values); the rule that makes an action of them is inside it. It serves ladders of up to 12 representations:
what PPO's and DQN's take is padded (`agents.learned.padding`). `agents.learned.onnx_export` is the command.
"""

import logging
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from agents.learned.deciders import WEIGHTS_SHA256
from agents.learned.deployed import Deployed
from agents.learned.padding import PLACES, Padding
from agents.learned.policies import DQNAgent, PPOAgent
from agents.learned.sb3_policies import padded_spaces
from agents.learned.student import StudentAgent
from agents.learned.student_features import feature_layout, student_features
from agents.learned.student_network import StudentVectorEnv
from ppgym.benchmark.episodes import find_suite
from ppgym.core.actions import action_count
from ppgym.core.state import LOOKAHEAD, MAX_REPRESENTATIONS, SLOTS
from ppgym.env import PromptPreamEnv
from ppgym.files import write_bytes
from ppgym.vector_env import PromptPreamVectorEnv

WEIGHTS = {"ppo": PPOAgent.WEIGHTS, "dqn": DQNAgent.WEIGHTS, "student": StudentAgent.WEIGHTS}
"""Shipped weights of each agent that can be exported."""

MOST_OPTIONS = PLACES * MAX_REPRESENTATIONS
SIDE_BY_SIDE = 8  # environments of a scenario, in the check
MS_PER_S = 1e3


def export(policy: Deployed, path: Path, sha256: str) -> None:
    """Write a policy as an ONNX graph, for a batch of any size and, of a student, for any number of options.

    Args:
        policy: The policy.
        path: Of the file, which is written as a whole.
        sha256: Of its weights, which the graph shall bear.
    """
    batch, options = torch.export.Dim("batch"), torch.export.Dim("options", min=2, max=MOST_OPTIONS)
    if policy.representations is None:
        request = feature_layout(1).size - feature_layout(0).size
        size, actions = request * options + feature_layout(0).size, SLOTS * LOOKAHEAD * options + 1
        example = torch.zeros(3, feature_layout(15).size), torch.ones(3, action_count(15), dtype=torch.bool)
        shapes: Any = {0: batch, 1: size}, {0: batch, 1: actions}
    else:
        box, discrete = padded_spaces(policy.representations)
        example = torch.zeros(2, *box.shape), torch.ones(2, int(discrete.n), dtype=torch.bool)
        shapes = {0: batch}, {0: batch}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of libraries that are not needed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own calls
        program = torch.onnx.export(
            policy,
            example,
            dynamo=True,
            verbose=False,
            input_names=["observation", "mask"],
            output_names=["action", "logits"],
            dynamic_shapes=shapes,
        )
    assert program is not None, "the exporter returns a program where it is given no path"
    model = program.model_proto
    model.metadata_props.add(key=WEIGHTS_SHA256, value=sha256)
    write_bytes(path, model.SerializeToString())


class Situation(NamedTuple):
    """What a policy decides on."""

    observation: npt.NDArray[np.float32]  # [1, size]
    mask: npt.NDArray[np.bool_]  # [1, actions]


def play_situations(policy: Deployed, count: int) -> Iterator[Situation]:
    """The situations that a policy comes into in the standard suite, on the validation split.

    Args:
        policy: Who plays.
        count: How many, shared among the scenarios.

    Yields:
        The situations.
    """
    scenarios = find_suite("standard").scenarios
    kind = StudentVectorEnv if policy.representations is None else PromptPreamVectorEnv
    steps = -(-count // (len(scenarios) * SIDE_BY_SIDE))
    for scenario in scenarios:
        envs = kind(SIDE_BY_SIDE, scenario, "validation")
        padding = None if policy.representations is None else Padding(envs.options, policy.representations)
        observations, _ = envs.reset(seed=0)
        for _ in range(steps):
            masks = envs.action_masks()
            if padding is not None:
                observations, masks = padding.observations(observations), padding.masks(masks)
            for i in range(SIDE_BY_SIDE):
                yield Situation(observations[i : i + 1].copy(), masks[i : i + 1])
            with torch.inference_mode():
                actions = policy(torch.from_numpy(observations), torch.from_numpy(masks))[0].numpy()
            observations, *_ = envs.step(actions if padding is None else padding.to_world(actions))


class Agreement(NamedTuple):
    """How a graph compares with its original."""

    decisions: int
    same: int
    logit_difference: float  # the largest, of actions that may be chosen
    ms: npt.NDArray[np.float64]  # [decisions] wall time
    cpu_ms: npt.NDArray[np.float64]  # [decisions] CPU time, which others on the machine do not lengthen


def check_agreement(policy: Deployed, graph: Any, situations: Sequence[Situation]) -> Agreement:
    """Let a policy and its graph decide on the same situations.

    Args:
        policy: The original.
        graph: Its export, as `agents.learned.deciders.open_graph` opens it.
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
