"""What encoding costs and saves, by hand."""

from typing import Any

import pytest

from agents.studies.encoding_cost import EncodingPrices, encode_cost, paying_views, saved_bytes
from ppgym.env import PromptPreamEnv


def session(downloaded_bytes: float, videos_watched: int) -> Any:
    return {"totals": {"downloaded_bytes": downloaded_bytes, "videos_watched": videos_watched}}


def test_a_video_pays_for_its_encoding_by_its_views() -> None:
    world = PromptPreamEnv().world
    prices = EncodingPrices(gpu_hours_per_s=0.5, gpu_hour=2.0, cdn_gb=0.02)
    cost = encode_cost(world, prices)
    assert cost == pytest.approx(3 * world.catalog.duration_s.mean() * 0.5 * 2.0)  # three ranks
    saved = saved_bytes([session(6e6, 3), session(2e6, 1)], [session(9e6, 2), session(3e6, 1)])
    assert saved == pytest.approx(12e6 / 3 - 8e6 / 4)
    assert paying_views(30.0, 2e6, prices) == pytest.approx(30.0 / (0.002 * 0.02))


def test_what_saves_nothing_never_pays() -> None:
    assert paying_views(1.0, -5.0, EncodingPrices()) is None
    assert paying_views(1.0, 5.0, EncodingPrices(cdn_gb=0.0)) is None
    with pytest.raises(ValueError, match="gpu_hour: expected a finite number from 0 on, got -1"):
        EncodingPrices(gpu_hour=-1.0)
