"""Exports a learned policy to ONNX, and checks that the graph decides as the policy does: a command.

    python -m agents.learned.onnx_export --agent student

writes the graph beside the weights, where the agent finds it, lets it and the policy decide on the same observations of
the validation split, and prints how often they agree and how long a decision takes on one core.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from ppgym.commandline import run_command


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Export a learned policy to ONNX, check that it decides the same, and measure a decision on one core."""

    agent: str = "student"
    """Whose: ppo, dqn or student."""
    weights: Path | None = None
    """Its weights; the shipped ones by default."""
    output: Path | None = None
    """File of the graph; beside the weights by default."""
    decisions: int = 4096
    """In the check."""


def main() -> None:
    """Parse the command line and export; exit status 1 if the graph decides otherwise."""
    import numpy as np
    import onnxscript  # noqa: F401 (the exporter needs it, and says so late)
    import torch
    import tyro

    from agents.learned import onnx_graph
    from agents.learned.cards import read_card
    from agents.learned.deciders import open_graph
    from agents.learned.deployed import read_policy
    from ppgym.files import suggest

    arguments = tyro.cli(Arguments, description=Arguments.__doc__)
    torch.set_num_threads(1)
    if arguments.agent not in onnx_graph.WEIGHTS:
        raise ValueError(f"--agent: unknown {arguments.agent!r}; {suggest(arguments.agent, onnx_graph.WEIGHTS)}")
    weights = arguments.weights or onnx_graph.WEIGHTS[arguments.agent]
    output = arguments.output or weights.with_suffix(".onnx")
    policy = read_policy(arguments.agent, weights)
    situations = list(onnx_graph.play_situations(policy, arguments.decisions))
    onnx_graph.export(policy, output, read_card(weights)["sha256"])
    found = onnx_graph.check_agreement(policy, open_graph(output), situations)
    print(f"{output}: {output.stat().st_size / 1024:.0f} KiB")
    print(f"{found.same} of {found.decisions} decisions are the same; logits differ by {found.logit_difference:.1e}")
    for name, ms in (("wall time", found.ms), ("CPU time", found.cpu_ms)):
        p50, p99 = np.percentile(ms, (50, 99))
        print(f"ms a decision on one core, {name}: p50 {p50:.3f}, p99 {p99:.3f}")
    if arguments.agent == "student":
        print(f"ms of CPU time for its features, planning view included: {onnx_graph.features_ms():.3f}")
    sys.exit(int(found.same < found.decisions))


if __name__ == "__main__":
    run_command(main, extra="deploy")
