"""The report in a real browser: sorting, choosing, scrubbing by keyboard, a phone's screen, dark mode, and silence."""

import importlib.util
import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from matplotlib import image

from agents import REGISTRY
from agents.studies.explanation import explain_record
from ppgym.benchmark.run import run_benchmark
from ppgym.report import write_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next((path for name in BROWSERS if (path := shutil.which(name))), None)
QUIET = "disable-gpu disable-quic no-first-run disable-background-networking disable-component-update disable-sync"

SCENARIOS = ("low/snapdragon-8-elite/skimmer", "low/pixels-only/skimmer")
HOSTILE = "</script><b>on demand"
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
AMBER, RED = (224, 107, 5), (200, 30, 36)  # of the best prompts; of stalls

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="playwright is not installed"),
    pytest.mark.skipif(BROWSER is None, reason=f"no browser found: none of {', '.join(BROWSERS)} is on the path"),
]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a small run with a break-even map; an agent's name tries to break out of it."""
    folder = tmp_path_factory.mktemp("report")
    run_benchmark(
        REGISTRY,
        ["mcts", "greedy", "on_demand"],
        SCENARIOS,
        sessions=3,
        seed=128,  # they last for 17 to 36 s
        output=folder,
        params={"mcts": {"simulations": 8}},
    )
    for name in ("results.json", "records.jsonl"):
        text = (folder / name).read_text()
        (folder / name).write_text(text.replace('"on_demand"', json.dumps(HOSTILE)))
    cells = [
        {"plane": "speed", "x": {"name": "Mbit/s", "value": x}, "y": {"name": "speed", "value": y}, "gain": x - 2 * y}
        for x in (1, 2, 4)
        for y in (0.5, 1, 2)
    ]
    map_ = {"rows": cells, "devices": [{"name": "a phone", "x": 1.5, "y": 1}]}
    (folder / "breakeven.json").write_text(json.dumps(map_))
    write_report(folder / "out.html", folder, breakeven=folder / "breakeven.json", explain=explain_record)
    return folder / "out.html"


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        arguments = [f"--{flag}" for flag in QUIET.split()]
        launched = playwright.chromium.launch(executable_path=BROWSER, args=arguments, chromium_sandbox=False)
        yield launched
        launched.close()


class Visit:
    """The page opened, and what it said and asked for meanwhile."""

    def __init__(self, browser: "Browser", report: Path, size: dict[str, int], scheme: str = "light") -> None:
        self.context = browser.new_context(viewport=size, color_scheme=scheme, has_touch=size == PHONE)  # type: ignore[arg-type]
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(report.as_uri())
        self.page.wait_for_selector("#legend li")

    def draw(self, selector: str) -> None:
        """Scroll to a plot and wait until it is there."""
        self.scroll_to(selector)
        self.page.wait_for_selector(f"{selector} .main-svg", timeout=120_000)

    def scroll_to(self, selector: str) -> None:
        """Scroll at once; Playwright's own scrolling waits until nothing moves, on a busy machine for ever."""
        self.page.locator(selector).evaluate("element => element.scrollIntoView({ block: 'center' })")

    def leave(self, report: Path) -> None:
        """Close it; it must have kept silent and asked for nothing but itself."""
        self.context.close()
        assert self.complaints == []
        outside = [url for url in self.requests if not url.startswith((report.as_uri(), "blob:", "data:"))]
        assert outside == []


@pytest.fixture
def visit(browser: "Browser", report: Path) -> Iterator[Visit]:
    opened = Visit(browser, report, DESKTOP)
    yield opened
    opened.leave(report)


def pixels(page: "Page", selector: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    """What a screenshot of an element shows, [N, 3]."""
    picture = image.imread(io.BytesIO(page.locator(selector).screenshot()), "png")
    return np.rint(255 * picture[..., :3]).astype(np.int64).reshape(-1, 3)


def shown(found: np.ndarray[Any, np.dtype[np.int64]], colour: tuple[int, int, int]) -> int:
    """How many pixels have about a colour."""
    return int((np.abs(found - colour).max(axis=1) <= 3).sum())


def column(page: "Page", number: int) -> list[str]:
    return page.locator(f".scroll:not([hidden]) tbody tr > :nth-child({number})").all_inner_texts()


def test_a_heading_sorts_its_column_and_says_so(visit: Visit) -> None:
    page = visit.page
    agents = column(page, 1)
    heading = page.locator(".scroll:not([hidden]) th", has_text="stall")
    place = 1 + heading.evaluate("cell => cell.cellIndex")
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    stalls = [float(text.rstrip("%")) for text in column(page, place)]
    assert stalls == sorted(stalls)
    heading.get_by_role("button").press("Enter")
    assert heading.get_attribute("aria-sort") == "descending"
    assert column(page, place) == [f"{value:.1f}%" for value in stalls[::-1]]
    assert page.locator(".scroll:not([hidden]) [aria-sort]").count() == 1
    assert sorted(column(page, 1)) == sorted(agents)


def test_a_hostile_name_is_shown_as_it_is(visit: Visit) -> None:
    assert HOSTILE in column(visit.page, 1)
    visit.draw("[data-figure=qoe]")
    ticks = visit.page.locator("[data-figure=qoe] .ytick text").all_text_contents()
    assert sorted(ticks) == sorted(["mcts", "greedy", HOSTILE])


def test_plots_are_drawn_when_looked_at_and_follow_the_scenario(visit: Visit) -> None:
    page = visit.page
    assert page.locator("[data-block=plane-0] .main-svg").count() == 0
    for selector in ("[data-figure=qoe]", "[data-figure=terms]", "[data-figure=trade-off]", "[data-block=plane-0]"):
        visit.draw(selector)
    page.select_option("#view", label=SCENARIOS[1])
    visit.scroll_to("[data-figure=qoe]")
    page.wait_for_selector("[data-figure=qoe][data-drawn='2']")
    assert SCENARIOS[1] in page.locator(".scroll:not([hidden]) caption").inner_text()
    assert page.locator("#player-scenario option:checked").inner_text() == SCENARIOS[1]


def test_scrubbing_by_keyboard_moves_both_agents_and_the_explanation(visit: Visit) -> None:
    page = visit.page
    page.locator("#scrubber").focus()
    before, said = pixels(page, "#lanes-0"), page.locator("#totals-0").inner_text()
    for _ in range(2):
        page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert page.locator("#clock").inner_text().startswith("10.0 of ")
    after = pixels(page, "#lanes-0")
    assert (before != after).any(axis=1).mean() > 0.01
    assert page.locator("#totals-0").inner_text() != said
    decided = page.locator("#mind-0 summary").inner_text()
    assert decided.startswith("mcts, decision ")
    page.keyboard.press(".")
    assert page.locator("#mind-0 summary").inner_text() != decided
    page.keyboard.press(",")
    page.keyboard.press("Home")
    assert page.locator("#clock").inner_text().startswith("0.0 of ")
    page.keyboard.press("End")
    end, of = page.locator("#clock").inner_text().removesuffix(" s").split(" of ")
    assert end == of
    label = page.locator("#lanes-0").get_attribute("aria-label")
    assert label is not None
    assert label.endswith("screen: idle")


def test_choosing_an_episode_and_an_agent(visit: Visit) -> None:
    from playwright.sync_api import expect

    page = visit.page
    clock = page.locator("#clock").inner_text()
    page.select_option("#player-episode", index=0)
    expect(page.locator("#clock")).not_to_have_text(clock)
    page.select_option("#player-agent-1", label=HOSTILE)
    expect(page.locator("#agent-1")).to_have_text(re.compile(f"^{re.escape(HOSTILE)} "))
    expect(page.locator("#agent-0")).to_have_text(re.compile("^mcts "))
    assert page.locator("#mind-0").is_visible()
    assert not page.locator("#mind-1").is_visible()  # only the planner explains itself
    counts = []
    for index in range(3):  # what is drawn depends on the session: some of them send prompts, some stall
        page.select_option("#player-episode", index=index)
        page.wait_for_timeout(300)
        drawn = pixels(page, "#overview")
        counts.append((shown(drawn, AMBER), shown(drawn, RED)))
    assert max(amber for amber, _ in counts) > 20, counts
    assert max(red for _, red in counts) > 5, counts


def test_a_click_on_the_overview_seeks_and_playing_runs_on(visit: Visit) -> None:
    from playwright.sync_api import expect

    page = visit.page
    box = page.locator("#overview").bounding_box()
    assert box is not None
    page.locator("#overview").click(position={"x": 50 + (box["width"] - 58) / 2, "y": 40})
    now, end = page.locator("#clock").inner_text().removesuffix(" s").split(" of ")
    assert float(now) == pytest.approx(float(end) / 2, abs=0.5)
    page.locator("#play").click()
    expect(page.locator("#clock")).not_to_have_text(f"{now} of {end} s")
    assert page.locator("#play").get_attribute("aria-pressed") == "true"
    page.locator("#play").click()
    assert page.locator("#play").inner_text() == "Play"


def test_the_tab_key_reaches_the_controls_in_order_and_shows_where_it_is(visit: Visit) -> None:
    page = visit.page
    page.locator("#player-scenario").focus()
    reached = []
    for _ in range(8):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
    wanted = ["player-episode", "player-agent-0", "player-agent-1", "play", "previous", "next", "window", "scrubber"]
    assert reached == wanted
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_a_phone_sees_it_without_scrolling_sideways(browser: "Browser", report: Path) -> None:
    from playwright.sync_api import expect

    visit = Visit(browser, report, PHONE)
    for selector in ("[data-figure=qoe]", "[data-figure=trade-off]", "[data-block=plane-0]"):
        visit.draw(selector)
        box = visit.page.locator(selector).bounding_box()
        assert box is not None
        assert box["x"] >= 0.0
        assert box["x"] + box["width"] <= PHONE["width"]
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    visit.page.locator("#play").tap()
    expect(visit.page.locator("#clock")).not_to_have_text(re.compile(r"^0\.0 "))
    assert shown(pixels(visit.page, "#overview"), AMBER) > 10
    visit.leave(report)


def test_dark_mode_is_dark_everywhere_and_legible(browser: "Browser", report: Path) -> None:
    visit = Visit(browser, report, DESKTOP, "dark")
    page = visit.page
    visit.draw("[data-figure=qoe]")

    def luminance(expression: str) -> float:
        colour = page.evaluate(expression)
        parts = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    background = luminance("getComputedStyle(document.body).backgroundColor")
    assert background < 0.03
    for selector in ("h1", "caption", "section > p", "nav a", "#chosen-by", ".keys", "#totals-0", "thead button"):
        text = luminance(f"getComputedStyle(document.querySelector('{selector}')).color")
        assert (text + 0.05) / (background + 0.05) >= 4.5, selector  # WCAG AA
    assert luminance("getComputedStyle(document.querySelector('[data-figure=qoe] .ytick text')).fill") > 0.3
    assert np.median(pixels(page, "#lanes-0")) < 100
    visit.leave(report)
