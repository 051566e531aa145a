"""The simulation of many workers, by hand."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))
import scaling


def test_workers_take_tasks_in_order_and_one_process_hands_them_out() -> None:
    """Four tasks of four sessions of a second each."""
    sessions_s = np.ones(4 * scaling.JOBS_A_TASK)
    assert scaling.simulate(sessions_s, 1, 0.0, 1.0) == pytest.approx(1.0 + 16.0)
    assert scaling.simulate(sessions_s, 2, 0.0, 1.0) == pytest.approx(1.0 + 8.0)
    assert scaling.simulate(sessions_s, 3, 0.0, 0.0) == pytest.approx(8.0), "one has two, the others wait for it"
    assert scaling.simulate(sessions_s, 4, 3.0, 0.0) == pytest.approx(4 * 3.0 + 4.0), "the last is handed out at 12"
    sessions_s[:4] = 5.0
    assert scaling.simulate(sessions_s, 2, 0.0, 0.0) == pytest.approx(20.0), "a straggler"
