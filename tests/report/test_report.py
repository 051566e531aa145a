"""The report of a run: what is computed for it, and that its page holds all of it, whole and harmless."""

import base64
import copy
import html.parser
import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from agents import REGISTRY
from agents.studies.explanation import explain_record
from ppgym.benchmark.episodes import session_seed
from ppgym.benchmark.records import read_records
from ppgym.benchmark.run import run_benchmark
from ppgym.core.qoe import REWARD_TERMS
from ppgym.env import PromptPreamEnv
from ppgym.rendering import STALL
from ppgym.report import write_report
from ppgym.report.breakeven import breakeven_figure, read_planes
from ppgym.report.figures import PIXELS, PROMPTS, far_below, pareto_front, qoe_figure, terms_figure, trade_off_figure
from ppgym.report.player import WASTED, choose_episodes, film
from ppgym.report.results import ALL, Results, average_rows, read_run

SCENARIOS = ("low/snapdragon-8-elite/skimmer", "low/pixels-only/skimmer")
FIRST = 128  # number of the first session: these three last for 17 to 36 s
HOSTILE = "</script><b>&amp;"
SPAN_BYTES = 14  # in the page: 750 spans an episode, 864 episodes of the standard suite and plotly stay under 15 MB
GAINS = [(1, 0.5, -4.0), (2, 0.5, -6.0), (4, 0.5, -8.0), (1, 1, 1.0), (2, 1, 0.0), (4, 1, 5.0)]
CELLS: list[dict[str, Any]] = [
    {"plane": "p", "x": {"name": "Mbit/s", "value": x}, "y": {"name": "speed", "value": y}, "gain": gain}
    | {"ci95": [gain - 2, gain + 2]}
    for x, y, gain in GAINS
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the planner, on a small budget, and two heuristics."""
    folder = tmp_path_factory.mktemp("run")
    run_benchmark(
        REGISTRY,
        ["mcts", "greedy", "on_demand"],
        SCENARIOS,
        sessions=3,
        seed=FIRST,
        output=folder,
        params={"mcts": {"simulations": 8}},
        bounded=True,
    )
    return folder


@pytest.fixture(scope="module")
def results(run: Path) -> Results:
    return read_run(run)


def rename(folder: Path, old: str, new: str, to: Path) -> Path:
    """A copy of a run in which an agent has another name."""
    content = json.loads((folder / "results.json").read_text())
    for one in (*content["rows"], *content["overall"], *(records := [*read_records(folder)])):
        one["agent"] = new if one["agent"] == old else one["agent"]
    to.mkdir(exist_ok=True)
    (to / "results.json").write_text(json.dumps(content))
    (to / "records.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return to


class Reader(html.parser.HTMLParser):
    """The elements of a page, and the text of those with an id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[Mapping[str, str | None]] = []
        self.texts: dict[str, str] = {}
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.append(dict(attrs))
        self._inside = dict(attrs).get("id") or ""

    def handle_data(self, data: str) -> None:
        self.texts[self._inside] = self.texts.get(self._inside, "") + data

    def block(self, name: str) -> Any:
        return json.loads(zlib.decompress(base64.b64decode(self.texts[name])))


# --- figures of the run


def test_terms_come_back_from_replaying_and_add_up_to_qoe(results: Results) -> None:
    for scenario, rows in results.rows.items():
        for row in rows:
            records = results.records[scenario][row["agent"]].values()
            naive = dict.fromkeys(REWARD_TERMS, 0.0)
            minutes = sum(record["totals"]["drawn_watch_s"] for record in records) / 60.0
            for record in records:
                env = PromptPreamEnv(scenario, "test")
                env.reset(seed=record["seed"])
                for action in record["actions"]:
                    info = env.step(action)[4]
                    for name in REWARD_TERMS:
                        naive[name] += info[f"reward_{name}"] / minutes
            assert row["terms"] == pytest.approx(naive, abs=1e-6)
            assert sum(row["terms"].values()) == pytest.approx(row["qoe"])


def test_the_mean_over_scenarios_weighs_them_alike(results: Results) -> None:
    average = {row["agent"]: row for row in average_rows(results)}
    assert set(average) == {"mcts", "greedy", "on_demand"}
    first, second = (next(row for row in results.rows[name] if row["agent"] == "greedy") for name in SCENARIOS)
    mean = average["greedy"]
    assert mean["scenario"] == ALL
    assert mean["qoe"] == pytest.approx((first["qoe"] + second["qoe"]) / 2)
    assert mean["stall_ratio"] == pytest.approx((first["stall_ratio"] + second["stall_ratio"]) / 2)
    assert mean["qoe_ci95"] is None  # three sessions
    assert sum(mean["terms"].values()) == pytest.approx(mean["qoe"])


def fake(qoe: Mapping[str, list[float]], unranked: str = "") -> Results:
    """A run of one scenario whose episodes last a minute."""
    rows = [
        {"scenario": "s", "agent": agent, "qoe": sum(values) / len(values), "ranked": agent != unranked}
        for agent, values in qoe.items()
    ]
    records = {
        agent: {seed: {"totals": {"return": value, "drawn_watch_s": 60.0}} for seed, value in enumerate(values)}
        for agent, values in qoe.items()
    }
    return Results({"s": rows}, [], {"s": records})


def test_episodes_are_percentiles_of_the_advantage_over_the_best_other_ranked_agent() -> None:
    zeros, ones = [0.0] * 10, [1.0] * 10
    mcts = [50.0, 10.0, 90.0, 30.0, 70.0, 20.0, 100.0, 40.0, 80.0, 60.0]
    qoe = {"mcts": mcts, "worse": zeros, "rival": ones, "oracle": [500.0] * 10}
    choices = choose_episodes(fake(qoe, unranked="oracle"), "s", 3)
    assert (choices.agent, choices.rival) == ("mcts", "rival")
    assert choices.episodes == ((1, 10.0, 9.0), (0, 50.0, 49.0), (2, 90.0, 89.0))
    assert [one.seed for one in choose_episodes(fake(qoe, "oracle"), "s", 1).episodes] == [0]
    more = choose_episodes(fake(qoe, "oracle"), "s", 5).episodes
    assert [one.advantage for one in more] == [9.0, 29.0, 49.0, 69.0, 89.0]


def test_without_the_planner_the_leader_is_compared_and_alone_an_agent_with_nobody() -> None:
    choices = choose_episodes(fake({"a": [1.0, 2.0], "b": [5.0, 9.0]}), "s", 3)
    assert (choices.agent, choices.rival) == ("b", "a")
    assert [one.seed for one in choices.episodes] == [0, 1]  # each once
    alone = choose_episodes(fake({"a": [3.0, 1.0, 2.0]}), "s", 1)
    assert (alone.rival, alone.episodes[0].advantage) == (None, 2.0)


@given(some.lists(some.tuples(some.integers(0, 5), some.integers(0, 5)), min_size=1))
def test_the_pareto_front_is_what_nobody_beats(points: list[tuple[int, int]]) -> None:
    front = pareto_front(points)
    unbeaten = {(x, y) for x, y in points if not any(a <= x and b <= y and (a, b) != (x, y) for a, b in points)}
    assert {points[i] for i in front} == unbeaten
    assert len(front) == len(unbeaten)
    assert [points[i] for i in front] == sorted(unbeaten)


def test_figures_show_the_rows() -> None:
    row = {"scenario": "s", "agent": "a<b", "qoe": 4.0, "qoe_ci95": [3.0, 6.0], "ranked": True}
    row |= {"stall_ratio": 0.1, "waste_ratio": 0.2, "generative_share": 0.5, "bound": 9.0, "bound_ci95": [8.0, 10.0]}
    row |= {"terms": {"quality": 9.0, "rebuffer": -5.0, "switch": 0.0}}
    other = row | {"agent": "c", "qoe": 5.0, "generative_share": 0.0, "stall_ratio": 0.2, "waste_ratio": 0.3}
    low, high = qoe_figure([row, other]).data
    assert (low.x, low.y, low.marker.color) == ((4.0,), ("a&lt;b",), PROMPTS)
    assert (low.error_x.array, low.error_x.arrayminus) == ((2.0,), (1.0,))
    assert (high.y, high.marker.color) == (("c",), PIXELS)
    axis = qoe_figure([row, other | {"agent": "mypackage.mymodule:MyAgent"}]).layout.yaxis
    assert axis.tickvals == ("a&lt;b", "mypackage.mymodule:MyAgent")
    assert axis.ticktext == ("a&lt;b", "\N{HORIZONTAL ELLIPSIS}ackage.mymodule:MyAgent")  # 24 characters
    bars = {bar.name: bar for bar in terms_figure([row, other]).data}
    assert set(bars) == {"quality", "rebuffer", "QoE"}  # a term that is nowhere has no bar
    assert bars["rebuffer"].x == (-5.0, -5.0)
    assert bars["rebuffer"].marker.pattern.shape == "/"
    front, points = trade_off_figure([row, other]).data
    assert (front.x, front.y) == ((20.0,), (10.0,))
    assert points.text == ("a&lt;b", "c")  # the one on the front, and the leader


def test_an_agent_far_below_the_rest_does_not_squeeze_them() -> None:
    assert far_below([10.0, 8.0, 6.0, -6.0, -7.0]) == [False, False, False, False, True]  # 10 - 4 x (10 - 6) = -6
    assert far_below([3.0]) == [False]
    assert far_below([5.0, 5.0, 4.9, 2.9]) == [False, False, False, True]
    row: dict[str, Any] = {"scenario": "s", "agent": "a", "qoe": 50.0, "qoe_ci95": [40.0, 60.0], "ranked": True}
    row["terms"] = {"quality": 60.0, "rebuffer": -10.0}
    far = row | {"agent": "far", "qoe": -200.0, "qoe_ci95": [-300.0, -100.0]}
    far["terms"] = {"quality": 30.0, "rebuffer": -230.0}
    for figure in (qoe_figure([row, row | {"agent": "b", "qoe": 49.0}, far]), terms_figure([row, row, far])):
        assert figure.layout.xaxis.range[0] > -100.0
        assert [(note.y, note.text[-4:]) for note in figure.layout.annotations] == [("far", "\N{MINUS SIGN}200")]
    assert qoe_figure([row]).layout.xaxis.range is None
    near = [row | {"agent": f"{i}", "stall_ratio": i / 100, "waste_ratio": 0.1} for i in (4, 5, 6)]
    away = trade_off_figure([*near, far | {"stall_ratio": 0.5, "waste_ratio": 0.1}])
    assert away.layout.yaxis.range[1] < 10.0
    assert away.layout.annotations[0].text == "beyond: far (10, 50)"


# --- break-even map


def test_a_break_even_map_is_a_grid_with_devices_between_cells(tmp_path: Path) -> None:
    path = tmp_path / "breakeven.json"
    devices = [{"name": "d", "x": 8**0.5, "y": 2.0}, {"name": "elsewhere", "x": 1, "y": 1, "plane": "q"}]
    path.write_text(json.dumps({"rows": CELLS[::-1], "devices": devices}))
    (plane,) = read_planes(path)
    assert (plane.x, plane.y) == ((1.0, 2.0, 4.0), (0.5, 1.0))
    assert plane.gain == ((-4.0, -6.0, -8.0), (1.0, 0.0, 5.0))
    assert plane.low[1] == (-1.0, -2.0, 3.0)
    heat, line, undecided, marks = breakeven_figure(plane).data
    assert (heat.zmin, heat.zmax) == (-8.0, 8.0)
    assert (line.contours.start, line.contours.end) == (0, 0)
    assert (undecided.x, undecided.y) == ((0, 1), (1, 1))
    assert marks.text == ("d",)
    assert marks.x == pytest.approx([1.5])  # halfway between 2 and 4 by ratio
    assert marks.y == pytest.approx([1.0])  # beyond the edge: at it


@pytest.mark.parametrize("content", [{}, {"rows": [{"plane": "p"}]}, {"rows": [CELLS[0] | {"x": 1}]}])
def test_another_break_even_file_is_refused_by_name(tmp_path: Path, content: dict[str, Any]) -> None:
    path = tmp_path / "breakeven.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"breakeven\.json: expected rows with plane"):
        read_planes(path)


# --- the player's data


def test_a_film_holds_the_timeline(results: Results) -> None:
    seed = session_seed(SCENARIOS[0], FIRST + 1)
    record = results.records[SCENARIOS[0]]["mcts"][seed]
    env = PromptPreamEnv(SCENARIOS[0], "test", render_mode="ansi")
    env.reset(seed=seed)
    times_s = [0.0]
    for action in record["actions"]:
        times_s.append(env.step(action)[4]["time_s"])
    assert env.timeline is not None
    spans = env.timeline.spans(times_s[-1])
    packed = film(record)
    columns = packed["spans"]
    start, known = 0, []
    for i, step in enumerate(columns["start"]):
        start += step
        known.append((start, columns["length"][i], columns["lane"][i], columns["kind"][i] >= WASTED))
        assert start == pytest.approx(1e3 * spans[i].start_s, abs=0.51)
        assert start + columns["length"][i] == pytest.approx(1e3 * spans[i].end_s, abs=0.51)
    assert [env.timeline.lanes[lane] for _, _, lane, _ in known] == [span.lane for span in spans]
    assert [wasted for *_, wasted in known] == [span.wasted for span in spans]
    assert len(packed["decisions"]["time"]) == len(times_s) == len(record["actions"]) + 1
    assert sum(packed["decisions"]["time"]) == packed["end"] == pytest.approx(1e3 * times_s[-1], abs=0.51)
    totals = record["totals"]
    assert sum(packed["decisions"]["return"]) == pytest.approx(100 * totals["return"], abs=0.51)
    assert sum(packed["decisions"]["wasted"]) == pytest.approx(8e-3 * totals["wasted_bytes"], abs=0.51)
    stalls = [length for length, kind in zip(columns["length"], columns["kind"], strict=True) if kind == 1]
    assert sum(stalls) == pytest.approx(1e3 * totals["rebuffer_s"], abs=len(stalls) + 1)
    assert [span.kind for span in spans].count(STALL) == len(stalls) > 0


@pytest.mark.parametrize("change", [lambda actions: actions[:-1], lambda actions: [*actions, 0]])
def test_a_record_that_does_not_come_back_has_no_film(
    results: Results, change: Callable[[list[int]], list[int]]
) -> None:
    seed = session_seed(SCENARIOS[0], FIRST)
    record = results.records[SCENARIOS[0]]["greedy"][seed]
    with pytest.raises(ValueError, match=f"seed {seed}: the record of greedy does not come back"):
        film(record | {"actions": change(record["actions"])})
    with pytest.raises(ValueError, match="does not come back"):
        film(record | {"totals": record["totals"] | {"return": 1.0}})


def test_the_planner_explains_every_decision_of_its_record(results: Results) -> None:
    record = results.records[SCENARIOS[0]]["mcts"][session_seed(SCENARIOS[0], FIRST)]
    explained = explain_record(record)
    assert len(explained) == len(record["actions"])
    for one in explained:
        names = [name for name, *_ in one["considered"]]
        assert 1 <= len(names) <= 5
        assert len(one["schedule"]) <= 8
        assert 0.0 < sum(share for _, share, _ in one["considered"]) <= 1.0 + 1e-2
        assert [request[4] for request in one["schedule"]] == sorted(request[4] for request in one["schedule"])
    waits = [one["choice"] == "wait" for one in explained]
    assert waits == [action == 0 for action in record["actions"]]
    json.dumps(explained, allow_nan=False)

    other = copy.deepcopy(record)
    other["actions"][3] = 0 if record["actions"][3] else 2
    with pytest.raises(ValueError, match="at decision 3, recorded is"):
        explain_record(other)
    assert explain_record(record | {"params": {"time_budget_ms": 5.0}}) == []


# --- the page


def test_the_page_holds_everything_and_asks_for_nothing(run: Path, results: Results, tmp_path: Path) -> None:
    breakeven = tmp_path / "breakeven.json"
    breakeven.write_text(json.dumps({"rows": CELLS}))
    write_report(tmp_path / "out.html", run, breakeven=breakeven, explain=lambda record: [{"choice": "c"}])
    reader = Reader((tmp_path / "out.html").read_text())
    for attributes in reader.attributes:
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:,"))
    assert reader.tags.count("caption") == reader.tags.count("table") == 3  # two scenarios and their mean
    index = json.loads(reader.texts["index"])
    assert [scenario["name"] for scenario in index["scenarios"]] == [*SCENARIOS]
    assert index["scenarios"][1]["lanes"] == ["link", "cpu", "vdec", "screen"]
    assert index["first"] == 1
    seeds = [episode[0] for episode in index["scenarios"][0]["episodes"]]
    assert sorted(seeds) == sorted(session_seed(SCENARIOS[0], FIRST + number) for number in range(3))
    name = f"episode-0-{seeds[0]}"
    block = reader.block(name)
    assert len(block) == 3
    assert block[0]["explained"] == [{"choice": "c"}]
    assert "explained" not in block[1]
    assert set(reader.block("figures-2")) == {"qoe", "terms", "trade-off"}
    assert [trace["type"] for trace in reader.block("plane-0")["data"]][:2] == ["heatmap", "contour"]
    spans = sum(len(one["spans"]["start"]) for one in block)
    assert len(reader.texts[name]) < SPAN_BYTES * spans
    code = zlib.decompress(base64.b64decode(reader.texts["plotly"])).decode()
    assert "Licensed under the MIT license" in code[:300]


def test_a_hostile_name_stays_a_name(run: Path, tmp_path: Path) -> None:
    folder = rename(run, "greedy", HOSTILE, tmp_path / "hostile")
    write_report(tmp_path / "honest.html", run)
    write_report(tmp_path / "hostile.html", folder)
    honest, hostile = (Reader((tmp_path / f"{name}.html").read_text()) for name in ("honest", "hostile"))
    assert hostile.tags == honest.tags  # no element more, none less
    assert json.loads(hostile.texts["index"])["scenarios"][0]["agents"] == ["mcts", HOSTILE, "on_demand"]
    assert HOSTILE not in (tmp_path / "hostile.html").read_text()


def test_rows_without_a_bound_have_a_page(run: Path, tmp_path: Path) -> None:
    folder = rename(run, "", "", tmp_path / "old")
    rows = json.loads((folder / "results.json").read_text())["rows"]
    for row in rows:
        for key in ("bound", "bound_ci95", "share", "share_ci95", "overrides", "decision_ms_p99"):
            row.pop(key)
    (folder / "results.json").write_text(json.dumps({"rows": rows}))
    write_report(tmp_path / "old.html", folder, sessions_per_scenario=1)
    assert "of bound" not in (tmp_path / "old.html").read_text()


def test_what_is_missing_is_named(run: Path, tmp_path: Path) -> None:
    page = tmp_path / "out.html"
    with pytest.raises(ValueError, match="sessions_per_scenario: expected at least 1, got 0"):
        write_report(page, run, sessions_per_scenario=0)
    with pytest.raises(FileNotFoundError, match=r"results\.json"):
        write_report(page, tmp_path)
    folder = rename(run, "", "", tmp_path / "copy")
    rows = json.loads((folder / "results.json").read_text())["rows"]
    for change, message in (
        ({"agent": "ghost"}, "row 1: no records of 'ghost'"),
        ({}, "row 1: expected a key 'agent'"),
    ):
        changed = {key: value for key, value in rows[0].items() if key != "agent"} | change
        (folder / "results.json").write_text(json.dumps({"rows": [changed]}))
        with pytest.raises(ValueError, match=message):
            write_report(page, folder)
    assert not page.exists()
