"""The break-even map: where prompts gain QoE over pixels, and where a device stops to profit from them.

The planner with prompts and the planner without them play the same sessions of the test split. One plane varies the
bandwidth and the device's decode speed, one the bandwidth and the quality of prompts, one the bandwidth and the price
of a joule. All else is as in `DEFAULT_SCENARIO`. `breakeven_plot.py` draws the picture.
"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from agents.rules.parameters import tuned_params
from agents.studies.breakeven_plot import draw_map
from agents.studies.cached_episodes import Variant, play_variants
from agents.studies.tables import paired_difference, print_table
from ppgym.benchmark.records import returns_and_minutes
from ppgym.core.state import F8
from ppgym.files import write_json
from ppgym.report.breakeven import read_planes
from ppgym.world.device_table import decode_rate
from ppgym.world.devices import DeviceProfile
from ppgym.world.networks import load_traces
from ppgym.world.qoe_weights import QoEWeights
from ppgym.world.scenario import DEFAULT_SCENARIO, Scenario

PLANNER = Variant("mcts")
PIXELS = Variant("agents.studies.ablations:AblatedPlanner", {"prompts": False})  # the planner without prompts
RULES = ("no_save", "pdas")  # the best of those that request pixels alone

NETWORK, DEVICE, _ = DEFAULT_SCENARIO.split("/")
BANDWIDTHS = (0.5, 1.0, 1.35, 2.0, 3.0)  # factors on `NETWORK`; three of them have the means of `NAMED`
NAMED = {"low": 1.0, "medium": 1.35, "high": 3.0}  # the factor at which `NETWORK` has their mean, to a percent
DEVICES = ("snapdragon-8-gen-2", "snapdragon-8-gen-3", DEVICE, "rtx-4090")


class Plane(NamedTuple):
    """What is varied beside the bandwidth."""

    name: str
    quantity: str
    key: str  # of the override
    values: tuple[float, ...]
    usual: float  # of the default scenario
    pays_above: bool  # whether prompts pay at large values, else at small ones


PLANES = (
    Plane("speed_bandwidth", f"decode speed / {DEVICE}", "speed", (0.25, 0.5, 1.0, 2.0, 4.0, 8.0), 1.0, True),
    Plane("quality_bandwidth", "generative_quality_scale", "quality", (0.5, 0.6, 0.7, 0.8, 1.0), 1.0, True),
    Plane("price_bandwidth", "price of a joule", "price", (0.0, 0.02, 0.05, 0.1, 0.2), 0.0, False),
)


class Cell(NamedTuple):
    """A place on a plane."""

    plane: Plane
    value: float
    bandwidth: float  # factor

    def overrides(self, prompts: bool) -> dict[str, Any]:
        """The overrides of its world that an agent with or without prompts can notice."""
        changed: dict[str, Any] = {} if self.bandwidth == 1.0 else {"bandwidth_scale": self.bandwidth}
        if self.value == self.plane.usual:
            return changed
        if self.plane.key == "price":
            return changed | {"qoe": {"energy": self.value}}
        return changed | {f"generative_{self.plane.key}_scale": self.value} if prompts else changed


def cells() -> list[Cell]:
    """All places, plane by plane."""
    return [Cell(plane, value, bandwidth) for plane in PLANES for bandwidth in BANDWIDTHS for value in plane.values]


def find_breakeven(*, sessions: int = 24, seed: int = 0, workers: int = 1, output: Path | None = None) -> None:
    """Map where prompts gain over pixels, by decode speed, bandwidth, quality of prompts and price of compute.

    Args:
        sessions: Of each cell.
        seed: First seed.
        workers: Processes.
        output: Folder for records.jsonl.gz, breakeven.json and breakeven.png; sessions that it holds already are not
            played again. None writes nothing.
    """
    contestants = [PLANNER, PIXELS, *(Variant(rule, tuned_params(rule, QoEWeights())) for rule in RULES)]
    places = cells()
    variants = [one._replace(overrides=cell.overrides(one is PLANNER)) for cell in places for one in contestants]
    figures = "breakeven.json", "breakeven.png"
    played = play_variants(variants, sessions=sessions, seed=seed, workers=workers, output=output, figures=figures)
    sums = np.reshape([returns_and_minutes(each) for each in played], (len(places), len(contestants), 2, sessions))
    rows = [make_row(cell, each[:, 0], each[0, 1]) for cell, each in zip(places, sums, strict=True)]
    networks = {network: round(mean_mbps(network), 3) for network in NAMED}
    results = {
        "scenario": DEFAULT_SCENARIO,
        "sessions": sessions,
        "seed": seed,
        "answers": [answer(plane, rows) for plane in PLANES],
        "rows": rows,
        "networks": networks,
        "devices": place_devices(),
    }
    if output is not None:
        write_json(output / "breakeven.json", results)
        draw_map(read_planes(output / "breakeven.json"), networks, output / "breakeven.png")
    print_map(results)


def make_row(cell: Cell, returns: F8, minutes: F8) -> dict[str, Any]:
    """What prompts gain in a cell.

    Args:
        cell: The cell.
        returns: [2 + rules, n] of the planner with prompts, the planner without, and the rules.
        minutes: [n] drawn watch minutes, the same for all.

    Returns:
        QoE of both planners, their paired difference with its 95 % interval, and the same difference to the rule that
        is best in this cell.
    """
    with_prompts, pixels, *rules = returns
    best = int(np.argmax([each.sum() for each in rules]))
    gain, over_rule = (paired_difference(with_prompts, other, minutes) for other in (pixels, rules[best]))
    return {
        "plane": cell.plane.name,
        "x": {"name": cell.plane.quantity, "value": cell.value},
        "y": {"name": "bandwidth, Mbit/s", "value": round(cell.bandwidth * mean_mbps(NETWORK), 3)},
        "qoe_prompts": gain["qoe"],
        "qoe_pixels": float(pixels.sum() / minutes.sum()),
        "gain": gain["difference"],
        "ci95": gain["ci95"],
        "rule": RULES[best],
        "gain_over_rule": over_rule["difference"],
        "ci95_over_rule": over_rule["ci95"],
    }


def mean_mbps(network: str) -> float:
    """Mean over a network's traces of the split that is played, in Mbit/s."""
    return float(np.mean([trace.mean_bps for trace in load_traces(network, "test")])) / 1e6


def place_devices() -> list[dict[str, Any]]:
    """Where real devices lie on the planes: by the prompts that all units together decode in a second.

    Returns:
        For each plane a row for each device that has a place there, on each named network.
    """
    rates = {device: decode_rate(DeviceProfile.load(device), Scenario.max_decode_s) for device in DEVICES}
    return [
        {
            "name": device,
            "plane": plane.name,
            "x": round(rate / rates[DEVICE], 3) if plane.key == "speed" else plane.usual,
            "y": round(mean_mbps(network), 3),
            "note": f"on {network}; its units decode {rate:.2f} s of prompts a second together",
        }
        for plane in PLANES
        for device, rate in rates.items()
        if plane.key == "speed" or device == DEVICE
        for network in NAMED
    ]


def pays(row: Mapping[str, Any]) -> bool:
    """Whether the whole interval of the gain lies above 0."""
    return row["ci95"] is not None and bool(row["ci95"][0] > 0.0)


def answer(plane: Plane, rows: Sequence[Mapping[str, Any]]) -> str:
    """In a sentence, from where on prompts pay on each named network.

    Args:
        plane: The plane.
        rows: Rows of `make_row`.

    Returns:
        For each network the last value at which prompts pay, counted from the value that suits them best.
    """
    ends = []
    for network, factor in NAMED.items():
        mbps = round(factor * mean_mbps(NETWORK), 3)
        line = [row for row in rows if row["plane"] == plane.name and row["y"]["value"] == mbps]
        line.sort(key=lambda row: row["x"]["value"], reverse=plane.pays_above)  # from where prompts fare best
        paying = list(itertools.takewhile(pays, line))
        end = f"{paying[-1]['x']['value']:g}" if paying else "nowhere"
        ends.append(f"{end} on {network} ({mbps:.1f} Mbit/s)")
    bound = "from" if plane.pays_above else "up to"
    return f"{plane.quantity}: prompts pay {bound} {', '.join(ends)}."


def print_map(results: Mapping[str, Any]) -> None:
    """Print a table and the answer of each plane.

    Args:
        results: What breakeven.json holds.
    """
    console = Console()
    for plane, sentence in zip(PLANES, results["answers"], strict=True):
        rows = [row for row in results["rows"] if row["plane"] == plane.name]
        print_table(
            f"Gain in QoE of prompts over pixels, by {plane.quantity}",
            ["Mbit/s", *(f"{value:g}" for value in plane.values)],
            [
                [f"{mbps:.1f}", *(_cell(row) for row in rows if row["y"]["value"] == mbps)]
                for mbps in dict.fromkeys(row["y"]["value"] for row in rows)
            ],
        )
        console.print(f"{sentence}\n", highlight=False)
    console.print("± is half of the 95 % interval; in brackets what is not told apart from 0.", highlight=False)


def _cell(row: Mapping[str, Any]) -> str:
    text = f"{row['gain']:+.{0 if abs(row['gain']) >= 10.0 else 1}f}"
    if row["ci95"] is None:
        return f"[{text}]"
    low, high = row["ci95"]
    text = f"{text} ±{(high - low) / 2:.0f}"
    return f"[{text}]" if low <= 0.0 <= high else text
