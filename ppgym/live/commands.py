"""The commands of `python -m ppgym.live`: their arguments, and the calls that each makes.

PyTorch, FFmpeg and the server are imported within the commands, so that `--help` is quick.
"""

import importlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from tyro.conf import OmitArgPrefixes, Positional

from ppgym.codec.search import Search
from ppgym.commandline import command_line
from ppgym.world.scenario_file import parse_settings

if TYPE_CHECKING:
    from ppgym.live.env import PromptPreamLiveEnv
    from ppgym.world.devices import DeviceProfile

app = tyro.extras.SubcommandApp()

LADDER = ("h264-24k", "h264-48k", "h264-96k", "prompt-r8")
Settings = Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="KEY=VALUE [KEY=VALUE ...]")]
SHOW_EVERY_S = 0.25
GUESSED = Search(steps=0)  # the generator's first guess is the prompt


@app.command
def prepare(
    clips: Positional[tuple[Path, ...]],
    ladder: tuple[str, ...] = LADDER,
    generator: str = "tiny",
    search: OmitArgPrefixes[Search] = GUESSED,
    output: Path = Path("feed"),
) -> None:
    """Encode clips in every representation of a ladder, measure each chunk, and write a feed.

    Example: python -m ppgym.live prepare a.mp4 b.mp4 --ladder h264-48k hevc-48k prompt-r8 --output feed

    Args:
        clips: Video files, or folders of PNG frames; cut about their centre and scaled to what the generator draws.
        ladder: Rungs: CODEC-RATEk for pixels (h264, hevc, av1), prompt-rRANK for prompts.
        generator: What draws the prompts: tiny, or a folder in diffusers' layout.
        search: How prompts are found; 0 steps take the generator's first guess.
        output: Folder to write; it must not hold a feed.
    """
    from ppgym.codec.generator import load_generator
    from ppgym.codec.video import Size
    from ppgym.live.preparation import Preparation, clip_sources, prepare_feed

    wanted = Preparation(ladder, generator, search)
    wanted.rungs()
    model = load_generator(generator, local_files_only=True)
    sources = clip_sources(clips, Size(*model.resolution))
    names = (clip.name for clip in clips)
    command = command_line("python -m ppgym.live prepare", *names, ladder=ladder, generator=generator)
    _show_feed(output, prepare_feed(output, sources, wanted, model, command))


@app.command
def profile(feed: Positional[Path]) -> None:
    """Measure how fast this machine's workers decode a feed; its simulator uses that profile.

    Example: python -m ppgym.live profile feed

    Args:
        feed: Folder of the feed.
    """
    from ppgym.live.profiling import measure_profile

    _show_profile(measure_profile(feed))


@app.command
def serve(feed: Positional[Path], host: str = "127.0.0.1", port: int = 8423) -> None:
    """Serve a feed over HTTP/1.1: its manifest and the chunks that this names, at the pace of each session's link.

    Example: python -m ppgym.live serve feed

    Args:
        feed: Folder of the feed.
        host: Address to listen on; by default this machine alone can reach it.
        port: Port; any free one where 0.
    """
    from ppgym.live.server import run_server

    run_server(feed, host, port)


@app.command
def demo(output: Path = Path("demo-feed"), host: str = "127.0.0.1", port: int = 8423, clips: int = 9) -> None:
    """Make a feed of the project's own generated clips, measure this machine with it, and serve it.

    Example: python -m ppgym.live demo

    Args:
        output: Folder of the feed, which is made where it is missing.
        host: Address to listen on; by default this machine alone can reach it.
        port: Port; any free one where 0.
        clips: Of the feed, 3 to 5 s each.
    """
    from ppgym.live.feed import DEVICE, MANIFEST
    from ppgym.live.server import run_server

    if not (output / MANIFEST).is_file():
        make_demo(output, clips)
    if not (output / DEVICE).is_file():
        profile(output)
    run_server(output, host, port)


@app.command(name="play")
def play_one(
    feed: Path = Path("demo-feed"),
    agent: str = "student",
    url: str | None = None,
    session: int = 0,
    split: str = "test",
    settings: Settings = (),
    picture: Path | None = None,
    video: Path | None = None,
) -> None:
    """Play one session with an agent, and show its timeline while it runs.

    Example: python -m ppgym.live play --agent student --video out.mp4

    Args:
        feed: Folder of the feed, which `prepare` and `profile`, or `demo`, have made.
        agent: Name, or import path module:Class.
        url: Of the feed's server; one is started where None.
        session: Number of the session, which its viewer and its trace are drawn by.
        split: Of the network's traces.
        settings: Fields of the scenario that differ, as KEY=VALUE, such as network=medium or viewer=sticky.
        picture: PNG file of the timelines, simulated above and live below.
        video: MP4 file of what the viewer saw, stalls as freezes.
    """
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from ppgym.benchmark.episodes import Registry
    from ppgym.env import PromptPreamEnv
    from ppgym.live.env import PromptPreamLiveEnv
    from ppgym.live.page import draw, write_picture
    from ppgym.live.recording import play

    registry: Registry = importlib.import_module("agents").REGISTRY  # which comes with the clone
    console = Console()
    env = PromptPreamLiveEnv(str(feed), url, split, render_mode="ansi", **parse_settings(settings))
    try:
        simulated = PromptPreamEnv(env.world, render_mode="ansi")
        expected = play(simulated, registry, agent, session)  # after it, nothing compiles while the clock runs
        drawn_s = 0.0
        with Live(console=console, auto_refresh=False, transient=True) as shown:

            def show() -> None:  # seldom, for drawing it counts as thinking
                nonlocal drawn_s
                if console.is_terminal and time.monotonic() > drawn_s + SHOW_EVERY_S:
                    shown.update(Text.from_ansi(str(env.render())), refresh=True)
                    drawn_s = time.monotonic()

            record = play(env, registry, agent, session, show)
        console.print(Text.from_ansi(str(env.render())))
        if picture is not None:
            write_picture(picture, draw([simulated, env], [expected["totals"], record["totals"]]))
            print(picture)
        if video is not None:
            print(f"{video}: {_write_video(video, env, record['totals']['time_s'])} frames")
    finally:
        env.close()


def _write_video(path: Path, env: "PromptPreamLiveEnv", end_s: float) -> int:
    from ppgym.codec.generator import load_generator
    from ppgym.live.screen import write_session

    assert env.timeline is not None and env.session is not None
    rows, generator = env.world.representations, env.manifest.generator
    model = load_generator(generator, local_files_only=True) if generator is not None else None
    kinds = tuple(row.is_generative for row in rows)
    size_px = rows[0].height, rows[0].width
    return write_session(path, env.timeline, end_s, env.session.played, kinds, model, rows[0].fps, size_px)


@app.command
def load(sessions: tuple[int, ...] = (50,), seconds: float = 30.0, rate_mbps: float = 1.2) -> None:
    """Measure how late a feed server is behind the law of its links while many sessions take bytes at once.

    Example: python -m ppgym.live load --sessions 50 100 --seconds 30

    Args:
        sessions: Numbers of sessions, one measurement each.
        seconds: Of each measurement.
        rate_mbps: Of each session's link.
    """
    from ppgym.live.load import measure_load

    for count in sessions:
        found = measure_load(count, seconds, 1e6 * rate_mbps)
        late = ", ".join(f"{1e3 * each:.1f}" for each in (found.p50_s, found.p99_s, found.p999_s))
        print(f"{count} sessions, {found.slices} slices: {late} ms late at p50, p99 and p99.9; {found.failed} failed")


@app.command
def witness(network: str = "low", transfers: int = 60, parallel: int = 1) -> None:
    """Hold the paced link against a second witness: a token bucket of the kernel, in network namespaces, as root.

    Example: python -m ppgym.live witness --network low --transfers 60

    Args:
        network: Whose first test trace both follow.
        transfers: Files that each of them carries.
        parallel: Transfers that are open at once.
    """
    import numpy as np

    from ppgym.live.witness import hear_witnesses
    from ppgym.world.networks import load_traces
    from ppgym.world.scenario import Scenario

    scenario = Scenario(network=network)
    trace = load_traces(network, "test")[0]
    heard = hear_witnesses(trace, transfers, parallel, scenario.link_efficiency, scenario.rtt_s)
    print("end of a transfer minus the law's, ms: median, and 95 % within")
    for name, late_s in (
        ("paced", heard.paced_s),
        ("token bucket", heard.bucket_s),
        ("token bucket - paced", heard.bucket_s - heard.paced_s),
    ):
        print(f"{name}: {1e3 * np.median(late_s):.1f}, {1e3 * np.percentile(np.abs(late_s), 95):.1f}")


def make_demo(output: Path, clips: int) -> None:
    """Write the demo's feed."""
    import torch

    from ppgym.codec.generator import load_generator
    from ppgym.live.preparation import Preparation, demo_sources, prepare_feed

    if not 1 <= clips <= 100:
        raise ValueError(f"--clips: expected 1 to 100, got {clips}")
    torch.set_num_threads(1)
    command = command_line("python -m ppgym.live demo", clips=clips)
    wanted = Preparation(LADDER, "tiny", GUESSED)
    _show_feed(output, prepare_feed(output, demo_sources(clips), wanted, load_generator(), command))


def _show_feed(folder: Path, manifest: object) -> None:
    from ppgym.live.feed import Manifest

    assert isinstance(manifest, Manifest)
    content_s = sum(video.duration_s for video in manifest.videos)
    print(f"{folder}: {len(manifest.videos)} videos of {content_s:g} s")
    for one in manifest.ladder.representations:
        print(f"{one.name}: {one.bitrate_bps / 1e3:.1f} kbit/s, as H.264 at {one.quality * 1e3:.1f} kbit/s")


def _show_profile(found: "DeviceProfile") -> None:
    for row in found.rows:
        print(f"{row.codec} on {row.unit}: {row.seconds:.4g} s for a second of content")
    print(f"spread of a chunk's seconds: {found.jitter_sigma:.3g} (standard deviation of the logarithm)")
