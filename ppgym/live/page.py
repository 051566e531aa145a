"""The page of a comparison: one HTML file that needs no network, with the picture of one session in both worlds."""

import base64
import io
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from ppgym.core.state import U1
from ppgym.env import PromptPreamEnv
from ppgym.files import write_bytes, write_text
from ppgym.rendering import render_rgb

UNITS = {
    "rebuffer_s": ("stalls", "s", 1.0),
    "wasted_bytes": ("waste", "kB", 1e-3),
    "downloaded_bytes": ("downloaded", "kB", 1e-3),
    "quality": ("quality played", "Mbit", 1.0),
    "return": ("return", "", 1.0),
}


def write_page(path: Path, results: dict[str, Any], picture: U1 | None = None) -> None:
    """Write the page of a comparison.

    Args:
        path: Of the page.
        results: As `comparison.compare` returns them.
        picture: uint8 [H, W, 3] of one session, or None.
    """
    loader = jinja2.PackageLoader("ppgym.live", "assets")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    ahead = results["one_step_ahead"]
    page = environment.get_template("page.html").render(
        r=results,
        units=UNITS,
        interval=interval,
        rows=list(ahead.items()),
        overheads=[
            ("decision, after its event was known", results["decision_overhead_ms"]),
            ("abort to a free unit", results["abort_ms"]),
        ],
        picture=None if picture is None else base64.b64encode(png(picture)).decode(),
    )
    write_text(path, page)


def draw(envs: list[PromptPreamEnv], totals: list[dict[str, Any]]) -> U1:
    """Sessions one above the other, from their beginnings.

    Args:
        envs: With the timelines of sessions that have ended.
        totals: Of each, the last `info`.

    Returns:
        uint8 [H, W, 3].
    """
    window_s = max(one["time_s"] for one in totals)
    pictures = []
    for env, one in zip(envs, totals, strict=True):
        assert env.timeline is not None
        pictures.append(render_rgb(env.timeline, one["time_s"], one, window_s, size=(1280, 420)))
    return np.vstack(pictures)


def png(picture: U1) -> bytes:
    """A picture uint8 [H, W, 3] as PNG."""
    memory = io.BytesIO()
    Image.fromarray(picture).save(memory, "PNG", optimize=True)
    return memory.getvalue()


def write_picture(path: Path, picture: U1) -> None:
    """Write a picture uint8 [H, W, 3] as a PNG file."""
    write_bytes(path, png(picture))


def interval(bounds: list[float] | None, scale: float) -> str:
    """Bounds in a unit, as text; nothing where there are none."""
    return "" if bounds is None else f"[{scale * bounds[0]:.3f}, {scale * bounds[1]:.3f}]"
