"""The break-even map: where prompts gain QoE over pixels, and where a device stops to profit from them.

The planner with prompts and the planner without them play the same sessions of the test split. Each plane varies the
bandwidth and one thing more: the device's decode speed, the quality of prompts, the price of a joule, how much warm
units slow down. A table has the shipped devices, and the views that pay for encoding (`encoding_cost.py`). All else is
as in the scenario. `breakeven_plot.py` draws the picture.
"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from agents.rules.parameters import tuned_params
from agents.settings import Settings
from agents.studies.breakeven_plot import draw_map
from agents.studies.cached_episodes import Variant, play_variants
from agents.studies.encoding_cost import PRICES, EncodingPrices, encode_cost, paying_views, saved_bytes
from agents.studies.tables import paired_difference, print_table
from ppgym.benchmark.records import Record, returns_and_minutes
from ppgym.files import write_json
from ppgym.report.breakeven import read_planes
from ppgym.world.device_table import decode_rate
from ppgym.world.devices import DeviceProfile
from ppgym.world.networks import load_traces
from ppgym.world.scenario import DEFAULT_SCENARIO, Scenario, make_world
from ppgym.world.scenario_file import merged, named_fields, parse_settings

PLANNER = Variant("mcts")
PIXELS = Variant("agents.studies.ablations:AblatedPlanner", {"prompts": False})  # the planner without prompts
RULES = ("no_save", "pdas")  # the best of those that request pixels alone

NETWORK, DEVICE, _ = DEFAULT_SCENARIO.split("/")
BANDWIDTHS = (0.5, 1.0, 1.35, 2.0, 3.0)  # factors on the scenario's network; for `NETWORK`, three have means of `NAMED`
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
    Plane("speed_bandwidth", "decode speed / own device", "speed", (0.25, 0.5, 1.0, 2.0, 4.0, 8.0), 1.0, True),
    Plane("quality_bandwidth", "generative_quality_scale", "quality", (0.5, 0.6, 0.7, 0.8, 1.0), 1.0, True),
    Plane("price_bandwidth", "price of a joule", "price", (0.0, 0.02, 0.05, 0.1, 0.2), 0.0, False),
    Plane("throttle_bandwidth", "throttle", "throttle", (1.0, 1.5, 2.0, 3.0, 5.0), 1.0, False),
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
        if self.plane.key == "throttle":
            return changed | {"throttle": self.value}
        return changed | {f"generative_{self.plane.key}_scale": self.value} if prompts else changed


def cells() -> list[Cell]:
    """All places, plane by plane."""
    return [Cell(plane, value, bandwidth) for plane in PLANES for bandwidth in BANDWIDTHS for value in plane.values]


class Base(NamedTuple):
    """The world that is varied."""

    label: str
    fields: Mapping[str, Any]

    @property
    def scenario(self) -> Scenario:
        """The scenario."""
        return Scenario.parse(self.label, **self.fields)

    @property
    def named(self) -> dict[str, float]:
        """Networks by name, and the factor on the scenario's at which it is like them."""
        network = str(self.scenario.network)
        return NAMED if network == NETWORK else {Path(network).stem: 1.0}


def find_breakeven(
    *,
    scenario: str = DEFAULT_SCENARIO,
    settings: Settings = (),
    sessions: int = 64,
    seed: int = 0,
    workers: int = 1,
    encoding: EncodingPrices = PRICES,
    output: Path | None = None,
) -> None:
    """Map where prompts gain over pixels: by decode speed, bandwidth, quality, price of a joule, throttling, device.

    Args:
        scenario: Name network/device/viewer[/ladder], or a scenario file.
        settings: Fields of the scenario that differ, as KEY=VALUE.
        sessions: Of each cell.
        seed: First seed.
        workers: Processes.
        encoding: Prices, for the views of a video that pay for encoding it.
        output: Folder for records.jsonl.gz, breakeven.json and breakeven.png; sessions that it holds already are not
            played again. None writes nothing.
    """
    label, fields = named_fields(scenario, parse_settings(settings))
    base = Base(label or scenario, fields)
    contestants = [PLANNER, PIXELS, *(Variant(rule, tuned_params(rule, base.scenario.qoe)) for rule in RULES)]
    places = cells()
    shown = [(device, network) for device in DEVICES for network in base.named]
    changes = [[cell.overrides(one is PLANNER) for one in contestants] for cell in places]
    changes += [[_on_device(device, base.named[network])] * len(contestants) for device, network in shown]
    variants = [
        one._replace(overrides=merged(base.fields, change))
        for some in changes
        for one, change in zip(contestants, some, strict=True)
    ]
    figures = "breakeven.json", "breakeven.png"
    how: dict[str, Any] = {"sessions": sessions, "seed": seed, "workers": workers, "output": output}
    played = play_variants(variants, scenario=base.label, figures=figures, **how)
    groups = [played[first : first + len(contestants)] for first in range(0, len(played), len(contestants))]
    mbps = mean_mbps(base.scenario.network)
    rows = [place(cell, mbps) | make_row(each) for cell, each in zip(places, groups, strict=False)]
    devices = [
        {"device": device, "network": network} | make_row(each) | encoding_row(base, device, each, encoding)
        for (device, network), each in zip(shown, groups[len(places) :], strict=True)
    ]
    networks = {network: round(factor * mbps, 3) for network, factor in base.named.items()}
    results = {
        "scenario": base.label,
        "sessions": sessions,
        "seed": seed,
        "answers": [answer(plane, rows, networks) for plane in PLANES],
        "rows": rows,
        "networks": networks,
        "devices": place_devices(str(base.scenario.device), networks),
        "encoding": vars(encoding),
        "by_device": devices,
    }
    if output is not None:
        write_json(output / "breakeven.json", results)
        draw_map(read_planes(output / "breakeven.json"), networks, output / "breakeven.png")
    print_map(results)


def _on_device(device: str, factor: float) -> dict[str, Any]:
    return {"device": device} if factor == 1.0 else {"device": device, "bandwidth_scale": factor}


def place(cell: Cell, mbps: float) -> dict[str, Any]:
    """Where a cell lies.

    Args:
        cell: The cell.
        mbps: Mean of the scenario's network.

    Returns:
        The plane, and the value on each axis.
    """
    return {
        "plane": cell.plane.name,
        "x": {"name": cell.plane.quantity, "value": cell.value},
        "y": {"name": "bandwidth, Mbit/s", "value": round(cell.bandwidth * mbps, 3)},
    }


def make_row(played: Sequence[Sequence[Record]]) -> dict[str, Any]:
    """What prompts gain in a world.

    Args:
        played: Sessions of the planner with prompts, the planner without, and the rules.

    Returns:
        QoE of both planners, their paired difference with its 95 % interval, and the same difference to the rule that
        is best in this world.
    """
    with_prompts, pixels, *rules = (returns_and_minutes(each)[0] for each in played)
    minutes = returns_and_minutes(played[0])[1]
    best = int(np.argmax([each.sum() for each in rules]))
    gain, over_rule = (paired_difference(with_prompts, other, minutes) for other in (pixels, rules[best]))
    return {
        "qoe_prompts": gain["qoe"],
        "qoe_pixels": float(pixels.sum() / minutes.sum()),
        "gain": gain["difference"],
        "ci95": gain["ci95"],
        "rule": RULES[best],
        "gain_over_rule": over_rule["difference"],
        "ci95_over_rule": over_rule["ci95"],
    }


def encoding_row(
    base: Base, device: str, played: Sequence[Sequence[Record]], prices: EncodingPrices
) -> dict[str, float | None]:
    """What encoding costs, and what it saves on a device.

    Args:
        base: The world that is varied.
        device: The device.
        played: As for `make_row`.
        prices: The prices.

    Returns:
        Price of encoding a video, megabytes saved a view, and the views from which it pays, None for never.
    """
    world = make_world(Scenario.parse(base.label, **merged(base.fields, {"device": device})), "test")
    cost, saved = encode_cost(world, prices), saved_bytes(played[0], played[1])
    return {
        "encode_cost": round(cost, 4),
        "saved_mb_per_view": round(saved / 1e6, 4),
        "paying_views": paying_views(cost, saved, prices),
    }


def mean_mbps(network: str | Path) -> float:
    """Mean over a network's traces of the split that is played, in Mbit/s."""
    return float(np.mean([trace.mean_bps for trace in load_traces(network, "test")])) / 1e6


def place_devices(own: str, networks: Mapping[str, float]) -> list[dict[str, Any]]:
    """Where real devices lie on the planes: by the prompts that all units together decode in a second.

    Args:
        own: The scenario's device.
        networks: Mean of each named network in Mbit/s.

    Returns:
        For each plane a row for each device that has a place there, on each named network; none where the scenario's
        own decodes no prompts.
    """
    rates = {device: decode_rate(DeviceProfile.load(device), Scenario.max_decode_s) for device in {*DEVICES, own}}
    if rates[own] == 0.0:
        return []
    return [
        {
            "name": device,
            "plane": plane.name,
            "x": round(rate / rates[own], 3) if plane.key == "speed" else plane.usual,
            "y": mbps,
            "note": f"on {network}; its units decode {rate:.2f} s of prompts a second together",
        }
        for plane in PLANES
        for device, rate in sorted(rates.items())
        if plane.key == "speed" or device == own
        for network, mbps in networks.items()
    ]


def pays(row: Mapping[str, Any]) -> bool:
    """Whether the whole interval of the gain lies above 0."""
    return row["ci95"] is not None and bool(row["ci95"][0] > 0.0)


def answer(plane: Plane, rows: Sequence[Mapping[str, Any]], networks: Mapping[str, float]) -> str:
    """In a sentence, from where on prompts pay on each named network.

    Args:
        plane: The plane.
        rows: Those of the cells.
        networks: Mean of each named network in Mbit/s.

    Returns:
        For each network the last value at which prompts pay, counted from the value that suits them best.
    """
    ends = []
    for network, mbps in networks.items():
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
    print_table(
        "Gain by device, and the views of a video that pay for encoding it",
        ["device", "network", "gain", "MB saved/view", "cost/video", "views"],
        [
            [
                row["device"],
                row["network"],
                _cell(row),
                f"{row['saved_mb_per_view']:.2f}",
                f"{row['encode_cost']:.2f}",
                "never" if row["paying_views"] is None else f"{row['paying_views']:,.0f}",
            ]
            for row in results["by_device"]
        ],
    )
    console.print("± is half of the 95 % interval; in brackets what is not told apart from 0.", highlight=False)


def _cell(row: Mapping[str, Any]) -> str:
    text = f"{row['gain']:+.{0 if abs(row['gain']) >= 10.0 else 1}f}"
    if row["ci95"] is None:
        return f"[{text}]"
    low, high = row["ci95"]
    text = f"{text} ±{(high - low) / 2:.0f}"
    return f"[{text}]" if low <= 0.0 <= high else text
