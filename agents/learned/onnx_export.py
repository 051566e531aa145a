"""Export of a learned policy to ONNX, the form in which a client would ship it, and the check that it decides the same.

    python -m agents.learned.onnx_export --agent student --output student.onnx

writes the graph, lets it and the original decide on the same observations of the validation split, and prints how often
they agree and what a decision takes on one core. The graph takes one observation and what is legal, and gives the
action and the logits (of DQN the values); the rule that makes an action of them is inside it.
"""

import logging
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
import tyro
from gymnasium import spaces
from torch import Tensor, nn

from agents.learned.checkpoints import read_checkpoint
from agents.learned.masks import may_wait
from agents.learned.policies import DQNAgent, PPOAgent, load_weights, policy_of
from agents.learned.student import StudentAgent, StudentNetwork, StudentVectorEnv, act
from agents.learned.student_features import look
from ppgym.benchmark.episodes import suite
from ppgym.core.actions import action_count
from ppgym.core.observation import Layout
from ppgym.env import PromptPreamEnv
from ppgym.files import suggest, write_bytes
from ppgym.vector_env import PromptPreamVectorEnv
from ppgym.world.scenario import World

WEIGHTS = {"ppo": PPOAgent.WEIGHTS, "dqn": DQNAgent.WEIGHTS, "student": StudentAgent.WEIGHTS}
"""Shipped weights of each agent that can be exported."""

SIDE_BY_SIDE = 8  # environments of a scenario, in the check
MS_PER_S = 1e3


class Deployed(nn.Module):
    """A policy with its rule, as a graph holds it."""

    def __init__(
        self, network: nn.Module, rule: Callable[[Tensor], Tensor], never_idle_in: Layout | None = None
    ) -> None:
        """Put them together.

        Args:
            network: From observations [B, size] to logits [B, actions].
            rule: From logits, -inf where an action may not be chosen, to actions [B].
            never_idle_in: Layout of the observations, of a policy that may not wait wherever it is legal
                (`agents.learned.masks`); None, of one that may.
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


def read_policy(agent: str, path: Path, world: World) -> Deployed:
    """A learned policy as a graph will hold it.

    Args:
        agent: Key of `WEIGHTS`.
        path: Its weights.
        world: Has the option table and the layout of the flat observation.

    Returns:
        The policy with its rule.

    Raises:
        FileNotFoundError: There are no such weights.
        ValueError: They are not what they should be.
    """
    weights, card = read_checkpoint(path)
    options, layout = world.options, world.features.layout
    if agent == "student":
        student = StudentNetwork(len(options), **card["config"]["network"])
        load_weights(student, weights, path)
        return Deployed(student, act).eval()
    policy_class, kwargs = policy_of(card["config"], options)
    box, actions = spaces.Box(-1.0, 1.0, (layout.size,), np.float32), spaces.Discrete(action_count(len(options)))
    policy = policy_class(box, actions, lambda _: 0.0, **kwargs)
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
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it tells of libraries that nobody needs here
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


def meet(agent: str, policy: Deployed, count: int) -> Iterator[Situation]:
    """Situations that a policy comes into in the standard suite, on the validation split.

    Args:
        agent: Key of `WEIGHTS`.
        policy: Who plays.
        count: How many, shared among the scenarios.

    Yields:
        The situations.
    """
    scenarios = suite("standard").scenarios
    kind = StudentVectorEnv if agent == "student" else PromptPreamVectorEnv
    steps = -(-count // (len(scenarios) * SIDE_BY_SIDE))
    for scenario in scenarios:
        envs = kind(SIDE_BY_SIDE, scenario, "validation")
        observations, _ = envs.reset(seed=0)
        for _ in range(steps):
            masks = envs.action_masks()
            for i in range(SIDE_BY_SIDE):
                yield Situation(observations[i : i + 1], masks[i : i + 1])
            with torch.inference_mode():
                actions, _ = policy(torch.from_numpy(observations), torch.from_numpy(masks))
            observations, *_ = envs.step(actions.numpy())


class Agreement(NamedTuple):
    """How a graph compares with its original."""

    decisions: int
    same: int
    logit_difference: float  # the largest, of actions that may be chosen
    ms: npt.NDArray[np.float64]  # [decisions] wall time
    cpu_ms: npt.NDArray[np.float64]  # [decisions] CPU time, which others on the machine do not lengthen


def compare(policy: Deployed, graph: onnxruntime.InferenceSession, situations: Sequence[Situation]) -> Agreement:
    """Let both decide.

    Args:
        policy: The original.
        graph: Its export.
        situations: At least one.

    Returns:
        The comparison.
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


def looking_ms(decisions: int = 1000) -> float:
    """Mean CPU time that it takes to see what the student sees, planning view included."""
    env = PromptPreamEnv()
    env.reset(seed=0)
    look(env.planning_view())  # compiles
    started_s = time.process_time()
    for _ in range(decisions):
        look(env.planning_view())
    return MS_PER_S * (time.process_time() - started_s) / decisions


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Export a learned policy to ONNX, check that it decides the same, and measure a decision on one core."""

    agent: str = "student"
    """Whose: ppo, dqn or student."""
    output: Path
    """File of the graph."""
    weights: Path | None = None
    """Its weights; the shipped ones by default."""
    decisions: int = 4096
    """In the check."""


def main() -> None:
    """Run the command line; exit code 1 if the graph decides otherwise, 2 for a mistake in the command line."""
    arguments = tyro.cli(Arguments, description=Arguments.__doc__)
    torch.set_num_threads(1)
    try:
        if arguments.agent not in WEIGHTS:
            raise ValueError(f"--agent: unknown {arguments.agent!r}; {suggest(arguments.agent, WEIGHTS)}")
        world = PromptPreamEnv().world
        actions = action_count(len(world.options))
        policy = read_policy(arguments.agent, arguments.weights or WEIGHTS[arguments.agent], world)
    except (FileNotFoundError, ValueError) as error:
        print(f"onnx_export: error: {error}", file=sys.stderr)
        sys.exit(2)
    situations = list(meet(arguments.agent, policy, arguments.decisions))
    export(policy, arguments.output, situations[0].observation.shape[1], actions)
    found = compare(policy, open_graph(arguments.output), situations)
    print(f"{arguments.output}: {arguments.output.stat().st_size / 1024:.0f} KiB")
    print(f"{found.same} of {found.decisions} decisions are the same; logits differ by {found.logit_difference:.1e}")
    for name, ms in (("wall time", found.ms), ("CPU time", found.cpu_ms)):
        p50, p99 = np.percentile(ms, (50, 99))
        print(f"ms a decision on one core, {name}: p50 {p50:.3f}, p99 {p99:.3f}")
    if arguments.agent == "student":
        print(f"ms of CPU time to see what it sees, planning view included: {looking_ms():.3f}")
    sys.exit(int(found.same < found.decisions))


if __name__ == "__main__":
    main()
