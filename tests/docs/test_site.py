"""The site builds without a warning, reads nothing from a host, and leads to every page."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOSTED = re.compile(r"""<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=["']?(https?:[^"' >]+)""")
STYLED = re.compile(r"""(?:url\(|@import )["']?(https?:[^"')]+)""")

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("properdocs") is None, reason="no site generator: pip install -e '.[docs]'"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "properdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_nothing_comes_from_a_host(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        assert not HOSTED.findall(page.read_text(encoding="utf-8")), page
    for style in site.rglob("*.css"):
        assert not STYLED.findall(style.read_text(encoding="utf-8")), style


def test_what_comes_from_a_host_is_noticed() -> None:
    assert HOSTED.findall('<script src="https://example.org/x.js"></script>')
    assert HOSTED.findall("<link rel=stylesheet href=https://example.org/x.css>")
    assert not HOSTED.findall('<a href="https://example.org">read more</a>')
    assert STYLED.findall("@font-face {src: url(https://example.org/font.woff2)}")


def test_the_search_knows_the_pages(site: Path) -> None:
    index = (site / "search" / "search_index.json").read_text(encoding="utf-8")
    for word in ("Sequential halving", "drawn watch", "parallel_downloads", "PromptPreamVectorEnv"):
        assert word in index, word


def test_the_environment_page_is_the_docstring(site: Path) -> None:
    page = (site / "environment.html").read_text(encoding="utf-8")
    for heading in ("Action Space", "Observation Space", "Rewards", "Episode End"):
        assert re.search(rf"<h2[^>]*>{heading}", page), heading
    assert "{observation}" not in page
