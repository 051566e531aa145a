"""What the tests of live sessions share."""

from pathlib import Path

import pytest

pytest.importorskip("av", reason="needs the extra `live`")
pytest.importorskip("aiohttp", reason="needs the extra `live`")

from tests.live.feeds import write_feed


@pytest.fixture(scope="session")
def feed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a feed, which no test changes."""
    folder = tmp_path_factory.mktemp("live") / "feed"
    write_feed(folder)
    return folder
