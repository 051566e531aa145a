"""A small run that several tests look at, and a copy for those who change it."""

import shutil
from pathlib import Path

import pytest

from agents import REGISTRY
from ppgym.benchmark.run import run_benchmark
from ppgym.benchmark.summary import Board
from tests.benchmark.forgers import AGENTS, SCENARIOS, SESSIONS


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Board]:
    folder = tmp_path_factory.mktemp("board")
    board = run_benchmark(REGISTRY, AGENTS, SCENARIOS, sessions=SESSIONS, output=folder, bounded=True)
    return folder, board


@pytest.fixture
def copied(results: tuple[Path, Board], tmp_path: Path) -> Path:
    return Path(shutil.copytree(results[0], tmp_path / "copy"))
