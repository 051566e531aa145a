"""A short soak; `PPGYM_HOSTILE=250` makes it five million steps."""

from pathlib import Path

import pytest

from tests.hostile.length import TIMES
from tests.hostile.soak import GROWTH_BYTES, soak


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the memory of a process in /proc")
@pytest.mark.parametrize("scenario", ["low/snapdragon-8-elite/typical", "high/rtx-4090/skimmer/promptmobile"])
def test_memory_stays_flat_and_observations_in_their_box(scenario: str) -> None:
    sessions, grown = soak(10_000 * TIMES, scenario)
    assert sessions > 30
    assert grown < GROWTH_BYTES
