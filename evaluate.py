"""Compare policies, measure the simulator, check results: `python evaluate.py --help`; alone, the quick suite."""

import importlib
import os
import signal
import sys
import textwrap

# Read on import: a decision is a small batch, for which threads of one process only fight those of the other workers
os.environ.setdefault("OMP_NUM_THREADS", "1")

COMMANDS = {
    "run": ("agents.cli:run", "play agents on paired sessions and print the table; what happens without a command"),
    "ask": ("agents.studies.ask:ask", "say whether generative codecs pay in a world of yours"),
    "explain": ("agents.studies.explanation:print_explanation", "show what the planner had in mind"),
    "validate": ("agents.cli:validate_folder", "replay the records of a run and make its figures anew"),
    "devices": ("agents.cli:compare_devices", "show decode times side by side"),
    "power": ("agents.studies.power:print_power", "say how many sessions a difference needs"),
    "breakeven": ("agents.studies.breakeven:find_breakeven", "find where generative codecs begin to pay"),
    "claims": ("agents.studies.paper_claims:check_claims", "check the paper's claims"),
    "frontier": ("agents.studies.frontier:find_frontier", "show what each policy can have by its own parameters"),
    "study": ("agents.studies.planner:make_planner_tables", "measure what each part of the planner brings"),
    "limits": ("agents.studies.limits:find_limits", "find how far knowledge of the future would lead"),
    "tune": ("agents.studies.tuning:tune", "find an agent's parameters on validation sessions"),
    "mmgc": ("agents.cli:play_challenge", "evaluate agents and entries in the challenge of 2022"),
    "live": ("agents.cli:compare_live", "play the same sessions over a real link and simulated, and compare them"),
    "seal": ("agents.cli:seal", "draw the secret of a sealed run"),
    "leaderboard": ("agents.cli:public_board", "make the public leaderboard"),
    "speed": ("agents.cli:speed", "measure the simulator and the planner on this machine"),
}
"""Function and summary of each command. A command is imported when it is asked for."""


def main() -> None:
    """Parse the command line and run the command."""
    name, *arguments = sys.argv[1:] or ["run"]
    if name in ("-h", "--help"):
        lines = ["usage: evaluate.py COMMAND [OPTIONS]; evaluate.py COMMAND --help says more", ""]
        for command, (_, summary) in COMMANDS.items():
            lines.append(textwrap.fill(summary, 80, initial_indent=f"  {command:<12} ", subsequent_indent=" " * 15))
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a pipe to `head` ends it without a word
        print("\n".join(lines))
        return
    from ppgym.commandline import run_command

    stopped = "stopped; with --output, the same command goes on from here"
    run_command(lambda: run(name, arguments), extra="bench", stopped=stopped)


def run(name: str, arguments: list[str]) -> None:
    """Run a command.

    Args:
        name: Key of `COMMANDS`.
        arguments: Those that follow it.

    Raises:
        ValueError: An unknown command, or a wrong value.
    """
    import tyro

    from agents.settings import gather_settings
    from ppgym.files import suggest

    if name not in COMMANDS:
        raise ValueError(f"unknown command {name!r}; {suggest(name, COMMANDS)}")
    sys.path.append(os.getcwd())  # an agent `module:Class` may lie in the current folder
    module, _, function = COMMANDS[name][0].partition(":")
    command = getattr(importlib.import_module(module), function)
    tyro.cli(command, prog=f"evaluate.py {name}", args=gather_settings(arguments))


if __name__ == "__main__":
    main()
