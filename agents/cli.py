"""Commands of evaluate.py that have no module of their own: their arguments, and the call that each makes.

Each command imports what it needs, so that none waits for the libraries of another.
"""

import os
from pathlib import Path
from typing import Annotated

import tyro

from agents import REGISTRY, agent_params, make_agent
from agents.settings import Settings
from ppgym.benchmark.episodes import find_suite
from ppgym.world.devices import DEVICES, DeviceProfile

CONTESTANTS = ("mcts", "ppo", "greedy", "dashlet", "pdas", "fixed_preload", "next_one", "on_demand", "random")


def run(
    agents: tuple[str, ...] = CONTESTANTS,
    scenarios: tuple[str, ...] = (),
    suite: str = "quick",
    sessions: int | None = None,
    seed: int = 0,
    engine: str = "local",
    workers: int | None = None,
    baseline: str | None = None,
    output: Path | None = None,
    report: Path | None = None,
    sessions_in_report: int = 3,
    breakeven: Path | None = None,
    clairvoyant: bool = False,
    settings: Settings = (),
    sealed: str | None = None,
    beacon_value: str | None = None,
) -> None:
    """Play agents on paired sessions of the test split, or of a seal, and print the table.

    It ends with a bound that no policy exceeds. With on_demand among the agents, each row shows which share of the way
    from there to the bound the agent has come.

    Args:
        agents: Names, or import paths module:Class.
        scenarios: Names network/device/viewer[/ladder], or scenario files; the suite's where none is given.
        suite: Which suite: quick, standard or generative.
        sessions: Of each scenario; the suite's number by default.
        seed: Number of the first session.
        engine: local (processes), or ray: the cluster that RAY_ADDRESS names, a local one by default.
        workers: Processes, or Ray tasks at once; as many as there are CPUs by default.
        baseline: Agent that the others are compared with; on_demand, if it plays, by default.
        output: Folder for records.jsonl, results.json, results.csv and README.md. A run that was interrupted goes on
            there; a folder that holds a finished run is refused.
        report: Write the run as one HTML page that needs no network. Where no output is given, its records go into the
            folder NAME.run beside it. What the planner had in mind takes the page about five seconds an episode.
        sessions_in_report: Sessions of each scenario that the page's player shows.
        breakeven: Your break-even map, which the page shows too: breakeven.json of `breakeven --output`.
        clairvoyant: Show also the best schedule that a search with full knowledge finds, unranked. It takes one to two
            seconds an episode, once: schedules are kept in the user's cache.
        settings: Fields of the scenarios that differ, as KEY=VALUE: bandwidth_scale=2 qoe.waste=2 network=my_traces.
        sealed: A seal's file, or - for standard input: agents play in processes of their own, in sessions drawn from
            its secret. Goes with agents, suite, output, baseline and beacon_value alone.
        beacon_value: What the beacon showed that the seal names.

    Raises:
        ValueError: A value is wrong, or an option does not go with a seal.
    """
    from ppgym.benchmark.run import run_benchmark
    from ppgym.benchmark.sealed import run_sealed
    from ppgym.benchmark.tables import print_board
    from ppgym.world.networks import describe_traces
    from ppgym.world.scenario_file import named_fields, parse_settings

    chosen = find_suite(suite)
    if sealed is not None:
        others = scenarios, sessions, seed, workers, report, breakeven, clairvoyant, settings, engine != "local"
        if any(others) or output is None:
            raise ValueError("--sealed: expected --output, and none but --agents, --suite, --baseline, --beacon-value")
        board = run_sealed(
            REGISTRY, agents, sealed, suite=suite, output=output, baseline=baseline, beacon_value=beacon_value
        )
        print_board(board)
        return
    if report is not None and output is None:
        output = report.with_suffix(".run")
    if clairvoyant and "clairvoyant" not in agents:
        agents = (*agents, "clairvoyant")
    overrides = parse_settings(settings)
    fields = [named_fields(scenario, overrides)[1] for scenario in scenarios]
    for network in dict.fromkeys(one["network"] for one in fields if "network" in one):
        print(describe_traces(network, "test"))
    board = run_benchmark(
        REGISTRY,
        agents,
        scenarios or chosen.scenarios,
        sessions=chosen.sessions if sessions is None else sessions,
        seed=seed,
        engine=engine,
        workers=os.cpu_count() if engine == "local" and workers is None else workers,
        baseline=baseline,
        output=output,
        overrides=overrides,
        bounded=True,
    )
    print_board(board)
    if report is not None and output is not None:
        from agents.studies.explanation import explain_record
        from ppgym.report import write_report

        write_report(
            report, output, breakeven=breakeven, sessions_per_scenario=sessions_in_report, explain=explain_record
        )


def seal(
    output: Path,
    agents: tuple[str, ...],
    suite: str = "standard",
    sessions: int | None = None,
    beacon: str | None = None,
) -> None:
    """Draw the secret of a sealed run and print the commitment, to be published before the run.

    Args:
        output: File of the secret; it must not exist.
        agents: The entries, by names or import paths module:Class, whose code the seal commits to.
        suite: Which suite: quick, standard or generative.
        sessions: Of each scenario; the suite's number by default.
        beacon: Name of a public random number of a later time, which is mixed into the secret.
    """
    from ppgym.benchmark.sealed import check_entries
    from ppgym.benchmark.seals import write_seal

    check_entries(REGISTRY, agents, suite)
    print(write_seal(output, suite, {agent: REGISTRY.import_path(agent) for agent in agents}, sessions, beacon))


def public_board(
    suite: str = "standard",
    submit: Path | None = None,
    root: Path = Path("docs/leaderboard"),
    baseline: str | None = None,
    workers: int | None = None,
) -> None:
    """Replay the entries of the public leaderboard and make its page, after adding those of a run.

    Args:
        suite: Which suite.
        submit: Folder of a run over the whole suite, whose agents become entries.
        root: Folder of the boards.
        baseline: Entry that the others are compared with, or its agent; on_demand, if it is there, by default.
        workers: Processes that compute the bounds.
    """
    from ppgym.benchmark.leaderboard import make_board
    from ppgym.benchmark.tables import print_board

    print_board(make_board(root, suite, REGISTRY, submit=submit, baseline=baseline, workers=workers))


def speed(json: bool = False, where: bool = False, readme: Path | None = None) -> None:
    """Measure the simulator and the planner on one core of this machine, against their targets.

    Args:
        json: Print JSON, for a comparison with another commit.
        where: Show instead where the time of a step, a decision, training and a session goes.
        readme: With where: write the table into this page instead.
    """
    if where:
        from agents.studies.time_shares import measure_shares, print_shares, write_page

        measured = measure_shares()
        if readme is None:
            print_shares(measured, as_json=json)
        else:
            write_page(readme, measured)
        return
    if readme is not None:
        raise ValueError("--readme: expected --where")
    from agents.studies.planner_speed import measure_planner
    from ppgym.benchmark.speed import measure_simulator, print_figures

    print_figures([*measure_simulator(make_agent), *measure_planner()], as_json=json)


def compare_devices(
    devices: tuple[str, ...] = DEVICES,
    resolution: int | None = None,
    fps: float = 30.0,
    readme: Path | None = None,
) -> None:
    """Show decode times side by side, and which share of a feed could be prompts.

    Args:
        devices: Names, paths of profiles, or auto for this machine.
        resolution: Side in pixels at which all are to be shown; what was not measured there is derived from FLOPs.
        fps: Frames per second, with resolution.
        readme: Write the table of the shipped devices into this README instead.
    """
    from ppgym.world import device_table

    if readme is not None:
        device_table.write_readme(readme)
        return
    profiles = [DeviceProfile.load(name) for name in devices]
    if resolution is not None:
        profiles = [profile.at(resolution, resolution, fps) for profile in profiles]
    device_table.print_devices(profiles)


def play_challenge(
    data: Path,
    agents: tuple[str, ...] = ("fixed_preload", "no_save", "pdas", "dashlet", "greedy"),
    solution: Path | None = None,
    root: Path | None = None,
    trust: bool = False,
    classes: tuple[str, ...] = (),
    viewers: int = 5,
    seed: int = 0,
    output: Path | None = None,
    official: bool = False,
) -> None:
    """Evaluate agents and official solutions in the simulator of the MMGC 2022 challenge and print its five figures.

    The table ends with a bound that no policy exceeds and, unranked, a schedule with full knowledge that comes near it;
    each row shows its share of the bound.

    Args:
        data: Folder in the official layout (short_video_size, user_ret and network_traces), or a checkout that has it
            as data.
        agents: Names; fixed_preload and no_save are the official policies here.
        solution: An official solution.py, or its folder, to be evaluated with them, in a process of its own.
        root: Checkout in which the solution lives: its current folder, and importable. By default the nearest folder
            above the file with run.py or simulator, else the file's own.
        trust: Let the solution's torch.load read any file, as before torch 2.6. Such a file can run any code, so say
            this only of a solution whose files you trust as its code.
        classes: Classes of traces; all where none is given.
        viewers: Viewer draws for each trace.
        seed: Of the viewer draws.
        output: Folder for records.jsonl and results.json.
        official: Print what the official run.py prints, class by class, for its own viewer, in place of the table.
    """
    from ppgym.benchmark import challenge

    challenge.run_mmgc(
        data,
        agents,
        make_agent=make_agent,
        read_params=agent_params,
        solution=solution,
        root=root,
        trust=trust,
        classes=classes or None,
        viewers=viewers,
        seed=seed,
        output=output,
        bounded=True,
        official=official,
    )


def compare_live(
    feed: Path = Path("demo-feed"),
    agents: tuple[str, ...] = ("on_demand", "pdas", "greedy", "student"),
    sessions: int = 20,
    seed: int = 0,
    watch_s: tuple[float, float] = (10.0, 30.0),
    split: str = "test",
    settings: Settings = (),
    repeats: int = 200,
    output: Path = Path("runs/live"),
    report: Path | None = None,
) -> None:
    """Play the same sessions live and simulated, and say how far they are apart and why.

    Sessions are played one at a time, in real time. A run that was interrupted goes on in its folder.

    Args:
        feed: Folder of the feed, which `python -m ppgym.live demo`, or `prepare` and `profile`, have made.
        agents: Names, or import paths module:Class.
        sessions: Of each agent; all meet the same ones.
        seed: Number of the first session that is looked at.
        watch_s: Sessions whose viewer is drawn to watch from so many to so many seconds.
        split: Of the network's traces.
        settings: Fields of the scenario that differ, as KEY=VALUE, such as network=medium or viewer=sticky.
        repeats: Times that each session is simulated with the errors of live ends drawn in, for the band.
        output: Folder of results.json and of the sessions.
        report: Write the comparison as one HTML page, with a picture of its first session.
    """
    from ppgym.live.comparison import run_comparison
    from ppgym.world.scenario_file import parse_settings

    run_comparison(
        REGISTRY,
        feed,
        agents,
        sessions=sessions,
        seed=seed,
        watch_s=watch_s,
        split=split,
        overrides=parse_settings(settings),
        repeats=repeats,
        output=output,
        report=report,
    )


def validate_folder(folder: Annotated[Path, tyro.conf.Positional], data: Path | None = None) -> None:
    """Replay the records of a run, make its figures anew, and compare them whole.

    Args:
        folder: What `run --output`, `claims --output`, `study --output` or `mmgc --output` wrote.
        data: The challenge's data, for records of `mmgc`; else the folder in which the records' own files lie: networks
            and other files that records name are read from nowhere else.

    Raises:
        ValueError: A record, or a figure of results.json, does not come back.
    """
    from ppgym.benchmark import challenge
    from ppgym.benchmark.validation import validate

    if not challenge.holds_challenge(folder):
        checked = validate(folder, REGISTRY, data)
        rate = checked.transitions / checked.seconds
        print(f"{checked.records} records come back ({checked.transitions:,} transitions, {rate:,.0f}/s)")
        print(f"compared: {', '.join(checked.compared)}")
        for note in checked.notes:
            print(note)
        return
    if data is None:
        raise ValueError(f"{folder}: holds records of mmgc; name the challenge's data by --data")
    mismatches = challenge.validate_records(folder, data)
    if mismatches:
        raise ValueError("\n".join(mismatches))
    print("all records come back")
