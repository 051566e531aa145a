"""Draw the figures of the site: `python docs/figures.py`, or `python docs/figures.py NAME...` for some of them.

Each function draws one figure into docs/figures/. What comes from committed results is read from docs/results; the rest
is played or read from traces/.
"""

import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

import ppgym  # noqa: F401  registers the environment
from agents import make_agent
from examples.my_agent import MyAgent
from ppgym.benchmark.estimates import ratio_estimate
from ppgym.benchmark.records import read_records, returns_and_minutes
from ppgym.files import read_json
from ppgym.rendering import CODEC_COLOURS, INK
from ppgym.world.devices import DEVICES, DeviceProfile
from ppgym.world.networks import NETWORKS, load_traces
from ppgym.world.viewers import VIEWERS, ViewerProfile

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "figures"
BLUE, AMBER, RED, TEAL, VIOLET, GREY = "#1f5fa8", "#e07b12", "#c8232c", "#0c7c74", "#6a44a8", "#8a919c"
SEED = 3  # of the episode on the front page
UNTIL_S = 28.0

mpl.rcParams |= {
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.dpi": 110,
    "font.size": 9.5,
    "grid.color": "#e3e5e9",
    "legend.frameon": False,
    "svg.hashsalt": "ppgym",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def new_figure(width: float, height: float, **subplots: Any) -> tuple[Figure, Any]:
    """A figure and its axes, in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(**subplots)


def read(name: str) -> Any:
    """A committed result, by its path below docs/results."""
    return read_json(ROOT / "docs" / "results" / name)


def play(make: Callable[[Any], Any], until_s: float = UNTIL_S, **world: Any) -> tuple[Any, list[dict[str, Any]]]:
    """Play an episode until a time; the environment and the info of each step."""
    env = gymnasium.make("PromptPream-v0", split="test", render_mode="rgb_array", **world)
    observation, info = env.reset(seed=SEED)
    agent, infos, ended = make(env.unwrapped.client), [info], False
    while not ended and info["time_s"] < until_s:
        action, _ = agent.predict(observation)
        observation, _, terminated, truncated, info = env.step(action)
        infos.append(info)
        ended = terminated or truncated
    return env, infos


def greedy(client: Any) -> Any:
    """The greedy agent."""
    return make_agent("greedy", client)


def shown(pictures: Sequence[Any], titles: Sequence[str] = ()) -> Figure:
    """Rendered timelines, one below the other."""
    height, width = pictures[0].shape[:2]
    figure = Figure(figsize=(width / 110, len(pictures) * (height / 110 + 0.3 * bool(titles))), layout="constrained")
    for place, axes in enumerate(np.ravel(figure.subplots(len(pictures)))):
        axes.imshow(pictures[place])
        axes.axis("off")
        if titles:
            axes.set_title(titles[place], loc="left", fontweight="bold")
    return figure


def episode() -> Figure:
    """Half a minute of the greedy agent."""
    return shown([play(greedy)[0].render()])


def my_agent() -> Figure:
    """The same half minute, played by the agent of examples/."""
    return shown([play(MyAgent)[0].render()])


def two_worlds() -> Figure:
    """One episode in two worlds."""
    worlds = ({}, {"generative_speed_scale": 0.5})
    return shown([play(greedy, **world)[0].render() for world in worlds], ["as it is", "generative_speed_scale = 0.5"])


def reward() -> Figure:
    """The terms of the return of two agents over an episode."""
    figure, panels = new_figure(9, 3.4, ncols=2, sharey=True)
    terms = {"quality": BLUE, "rebuffer": RED, "switch": VIOLET, "waste": AMBER}
    for axes, name in zip(panels, ("greedy", "on_demand"), strict=True):
        _, infos = play(functools.partial(make_agent, name), until_s=np.inf)
        time_s = [info["time_s"] for info in infos]
        total = np.zeros(len(infos))
        for term, colour in terms.items():
            sums = np.cumsum([info[f"reward_{term}"] for info in infos])
            total += sums
            axes.plot(time_s, sums, color=colour, label=term)
        axes.plot(time_s, total, color=INK, linewidth=2.2, label="return")
        axes.set_title(name, loc="left", fontweight="bold")
        axes.set_xlabel("seconds since reset")
    panels[0].set_ylabel("accumulated, points")
    panels[0].legend()
    return figure


def options() -> Figure:
    """Bytes and decode seconds of a chunk, by representation and device."""
    names = ("snapdragon-8-gen-3", "snapdragon-8-elite", "rtx-4090")
    figure, panels = new_figure(9, 3.3, ncols=3, sharey=True)
    for axes, name in zip(panels, names, strict=True):
        world = gymnasium.make("PromptPream-v0", scenario=f"low/{name}/typical", split="train").unwrapped.world
        chunk_kb = world.catalog.chunk_bytes.mean(axis=(0, 1), where=world.catalog.chunk_bytes > 0) / 1e3
        for option in world.options:
            if np.isfinite(option.decode_s):
                prompt = option.codec == "prompt"
                colour = CODEC_COLOURS[option.codec][1]
                marker = {"cpu": "s", "gpu": "^", "npu": "o", "vdec": "D"}[option.unit]
                label = f"{'prompt' if prompt else 'pixels'} on {option.unit}"
                axes.scatter(chunk_kb[option.representation], option.decode_s, 34, [colour], marker=marker, label=label)
        axes.axhline(1.0, color=GREY, linestyle="--", linewidth=1)
        axes.set(xscale="log", yscale="log", xlabel="kilobytes a chunk")
        axes.set_xticks([20, 50, 100, 200], ["20", "50", "100", "200"])
        axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
        axes.set_title(name, loc="left", fontweight="bold")
        found = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
        axes.legend(found.values(), found.keys(), fontsize=7.5)
    panels[0].set_ylabel("seconds to decode a second")
    return figure


def networks() -> Figure:
    """Two minutes of a trace of each network class."""
    figure, panels = new_figure(9, 4.6, nrows=len(NETWORKS), sharex=True)
    for axes, name in zip(panels, NETWORKS, strict=True):
        trace = load_traces(name, "train")[0]
        first = trace.edges_s < 120.0
        axes.step(trace.edges_s[:-1][first[:-1]], trace.rates_bps[first[:-1]] / 1e6, where="post", color=BLUE)
        axes.set_ylim(0, None)
        axes.set_ylabel(name, rotation=0, ha="right", va="center", fontweight="bold")
        axes.margins(x=0)
    panels[-1].set_xlabel("seconds (rates in Mbit/s)")
    return figure


def retention() -> Figure:
    """Retention curves of a video of 15 s."""
    figure, axes = new_figure(6.5, 3.2)
    for name, colour in zip(VIEWERS, (RED, BLUE, TEAL), strict=True):
        survival = np.asarray(ViewerProfile.load(name).curve(15).survival)
        axes.plot(np.arange(len(survival)), survival, color=colour, marker="o", markersize=3, label=name)
    axes.set(xlabel="seconds of a video of 15 s", ylabel="share that still watches", ylim=(0, 1.03))
    axes.legend()
    return figure


def devices() -> Figure:
    """Decode seconds of a chunk by device and unit."""
    rows = [(name, row) for name in DEVICES for row in DeviceProfile.load(name).rows]
    kinds = {"prompt": AMBER, "h264": BLUE}
    bars = [(f"{name} {row.unit}", row) for name, row in rows if row.codec in kinds]
    labels = list(dict.fromkeys(label for label, _ in bars))
    figure, axes = new_figure(8, 0.26 * len(labels) + 1)
    for label, row in bars:
        axes.scatter(row.seconds, labels.index(label), 42, kinds[row.codec], zorder=3)
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.axvline(1.0, color=GREY, linestyle="--")
    axes.set(xscale="log", xlabel="seconds to decode a second (left of the line: in time)")
    for codec, colour in kinds.items():
        axes.scatter([], [], 42, colour, label=codec)
    axes.legend(loc="upper right")
    return figure


def plan() -> Figure:
    """What the planner looks at in a decision, and what it plans to do next."""
    env = gymnasium.make("PromptPream-v0", split="test")
    observation, _ = env.reset(seed=SEED)
    agent = make_agent("mcts", env, seed=0)
    for _ in range(12):
        action, _ = agent.predict(observation)
        observation, *_ = env.step(action)
    found = agent.explain()
    figure, (left, right) = new_figure(10, 3.8, ncols=2, width_ratios=(1, 1.4))
    looked = [one for one in found.considered if one[1] > 0][:8]
    left.barh(range(len(looked)), [share for _, share, _ in looked], color=[AMBER, *[GREY] * (len(looked) - 1)])
    left.set_yticks(range(len(looked)), [name for name, _, _ in looked], fontsize=8)
    left.invert_yaxis()
    left.xaxis.set_major_formatter(mpl.ticker.PercentFormatter(1.0))
    left.set_title("what it looked at: share of the simulations", loc="left", fontsize=9.5)
    schedule = [one for one in found.schedule if np.isfinite(one.play_s) and one.share > 0.3][:10]
    for place, one in enumerate(schedule):
        colour = CODEC_COLOURS[one.representation.split("-")[0]][1]
        right.barh(place, one.arrival_s - one.request_s, left=one.request_s, color=colour, alpha=0.45, height=0.6)
        right.barh(place, one.ready_s - one.arrival_s, left=one.arrival_s, color=colour, height=0.6)
        right.plot(one.play_s, place, marker=">", color=INK, markersize=6)
    labels = [f"{one.video}.{one.chunk} {one.representation}@{one.unit}" for one in schedule]
    right.set_yticks(range(len(schedule)), labels, fontsize=8)
    right.invert_yaxis()
    right.set_xlabel("seconds from now")
    right.set_title("its plan: link (light), decoding (dark), play (arrow)", loc="left", fontsize=9.5)
    return figure


def forest(rows: Sequence[tuple[str, float, Sequence[float], str]], label: str) -> Figure:
    """Means with intervals, one a row."""
    figure, axes = new_figure(7.5, 0.27 * len(rows) + 0.8)
    for place, (_, mean, (low, high), colour) in enumerate(rows):
        axes.plot([low, high], [place, place], color=colour, linewidth=2)
        axes.plot(mean, place, marker="o", color=colour)
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
    axes.invert_yaxis()
    axes.set_xlabel(label)
    return figure


def default() -> Figure:
    """All agents on the default scenario but the random one, which is far off."""
    rows = sorted(read("default/results.json")["rows"], key=lambda row: -row["qoe"])
    colours = {True: BLUE, False: GREY}
    shown_rows = [
        (row["agent"], row["qoe"], row["qoe_ci95"], colours[row["ranked"]]) for row in rows if row["agent"] != "random"
    ]
    first = rows[0]
    bound = ("bound", first["bound"], first["bound_ci95"], GREY)
    return forest([bound, *shown_rows], "QoE a minute, 95 % interval (grey: not ranked)")


def intervals() -> Figure:
    """How an interval narrows with the number of sessions, of a QoE and of a paired difference."""
    played: dict[str, list[Any]] = {"mcts": [], "greedy": []}
    for record in read_records(ROOT / "docs" / "results" / "default"):
        if record["agent"] in played:
            played[record["agent"]].append(record)
    (mcts, minutes), (rule, _) = (
        returns_and_minutes(sorted(records, key=lambda record: record["seed"])) for records in played.values()
    )
    of_mcts, of_rule, paired = (
        ratio_estimate(values, minutes).error * np.sqrt(len(minutes)) for values in (mcts, rule, mcts - rule)
    )
    counts = np.arange(8, 513)
    figure, axes = new_figure(7, 3)
    for spread, label, colour in (
        (of_mcts, "QoE of mcts", GREY),
        (paired, "mcts less greedy, paired", BLUE),
        (np.hypot(of_mcts, of_rule), "mcts less greedy, if sessions differed", RED),
    ):
        axes.plot(counts, 1.96 * spread / np.sqrt(counts), color=colour, label=label)
    ticks = [8, 16, 32, 64, 128, 256, 512]
    axes.set(xscale="log", xlabel="sessions", ylabel="half width, 95 %, QoE a minute", ylim=(0, None))
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.legend()
    return figure


def frontier() -> Figure:
    """QoE against stalls and against waste of every policy, over its settings."""
    rows = [row for row in read("frontier/frontier.json")["rows"] if row["agent"] != "next_one"]  # far off
    agents = list(dict.fromkeys(row["agent"] for row in rows))
    colours = {"mcts": BLUE, "student": TEAL, "ppo": VIOLET, "dqn": RED, "greedy": AMBER}
    figure, panels = new_figure(9, 4, ncols=2, sharey=True)
    for axes, column, label in zip(panels, ("stall_s", "wasted_mbit"), ("stalls, s", "waste, Mbit"), strict=True):
        for agent in agents:
            own = sorted((row for row in rows if row["agent"] == agent), key=lambda row: row[column])
            kind = ("rules with prompts", "#b9a3d9") if agent.endswith("+prompt") else ("rules for pixels", GREY)
            name, colour = (agent, colours[agent]) if agent in colours else kind
            own_xy = [row[column] for row in own], [row["qoe"] for row in own]
            axes.plot(*own_xy, color=colour, marker="o", markersize=5, linestyle="none", label=name)
        axes.set_xlabel(f"{label} a minute (less is better)")
    panels[0].set_ylabel("QoE a minute")
    found = dict(zip(*reversed(panels[1].get_legend_handles_labels()), strict=True))
    panels[1].legend(found.values(), found.keys(), fontsize=8)
    return figure


def layers() -> Figure:
    """The layers of the packages, top first."""
    rows = [
        (["agents: policies, training, studies"], AMBER),
        (["codec", "report"], VIOLET),
        (["benchmark"], TEAL),
        (["vector_env"], BLUE),
        (["env"], BLUE),
        (["rendering", "planning", "mmgc"], BLUE),
        (["client"], BLUE),
        (["planning_view"], BLUE),
        (["world: networks, videos, viewers, devices, scenarios"], TEAL),
        (["core: the compiled kernel"], RED),
        (["entries"], GREY),
        (["files"], GREY),
    ]
    figure, axes = new_figure(7, 4.2)
    for place, (names, colour) in enumerate(rows):
        width = 1.0 / len(names)
        for i, name in enumerate(names):
            axes.barh(place, width - 0.012, left=i * width, height=0.8, color=colour, alpha=0.85)
            axes.text((i + 0.5) * width, place, name, ha="center", va="center", color="white", fontweight="bold")
    axes.invert_yaxis()
    axes.axis("off")
    return figure


FIGURES: dict[str, Callable[[], Figure]] = {
    draw.__name__: draw
    for draw in (
        *(episode, my_agent, two_worlds, reward, options, networks, retention, devices, plan),
        *(default, intervals, frontier, layers),
    )
}

if __name__ == "__main__":
    for name in sys.argv[1:] or FIGURES:
        FIGURES[name]().savefig(FOLDER / f"{name}.png", metadata={"Software": None})
        print(FOLDER.relative_to(ROOT) / f"{name}.png")
