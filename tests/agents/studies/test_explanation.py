"""An explanation on the terminal."""

import pytest

from agents.studies.explanation import print_explanation
from ppgym.world.scenario import DEFAULT_SCENARIO


def test_an_explanation_begins_with_the_choice(capsys: pytest.CaptureFixture[str]) -> None:
    print_explanation(DEFAULT_SCENARIO, seed=0, decision=2, simulations=32)
    first, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{DEFAULT_SCENARIO}, seed 0, decision 2")
    with pytest.raises(ValueError, match="before the episode's end"):
        print_explanation(DEFAULT_SCENARIO, seed=0, decision=10_000, simulations=1)
