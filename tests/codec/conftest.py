"""A tiny generator with random weights, whose pictures mean nothing but follow the prompt."""

from pathlib import Path

import pytest
import torch

from ppgym.codec.generator import Generator, load_generator
from ppgym.codec.tiny import TinyModel


@pytest.fixture(scope="session")
def random_tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its directory, in diffusers' layout."""
    directory = tmp_path_factory.mktemp("generators") / "random"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        TinyModel().save(directory)
    return directory


@pytest.fixture(scope="session")
def generator(random_tiny: Path) -> Generator:
    """It, loaded."""
    return load_generator(random_tiny)
