"""Numba's disk cache: it notices every edit, needs no writable folder, survives damage, and says when it compiles."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ppgym.core import jit

pytestmark = pytest.mark.skipif(jit.CACHE is None, reason="compiled code has no cache under NUMBA_DISABLE_JIT")

# Constants that the Python code of files with compiled code reads
NOT_COMPILED = {"DEFAULT_SCENARIO", "NO_CONTENTION", "SEALED", "PUBLIC", "SAMPLE_S", "TRACE_SAMPLES", "I8"}

INNER = "from ppgym.core.jit import kernel\n\n@kernel\ndef inner(x):\n    return x + {}\n"
OUTER = (
    "from ppgym.core.inner import inner\nfrom ppgym.core.jit import njit\n\n@njit\ndef outer(x):\n    return inner(x)\n"
)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A small package `ppgym` whose `outer` calls the `inner` of another file."""
    core = tmp_path / "clone" / "ppgym" / "core"
    core.mkdir(parents=True)
    (core.parent / "__init__.py").touch()
    (core / "__init__.py").touch()
    shutil.copy(jit.CORE / "jit.py", core)
    (core / "inner.py").write_text(INNER.format(1))
    (core / "outer.py").write_text(OUTER)
    return core.parent.parent


def call_outer(clone: Path, then: str = "", **environment: str) -> tuple[str, str]:
    """What `outer(1)` returns in a process of its own, which then runs a program, and what the process says."""
    keep = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH") if key in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", "from ppgym.core.outer import outer; print(outer(1)); " + then],
        cwd=clone,
        env=keep | {"XDG_CACHE_HOME": str(clone / "cache"), "HOME": str(clone / "home")} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr.strip()


def caches(folder: Path) -> list[Path]:
    return sorted(folder.rglob("ppgym-kernel-*"))


def test_an_edit_in_a_called_file_is_noticed_and_only_the_first_run_compiles(clone: Path) -> None:
    found, said = call_outer(clone)
    assert found == "2"
    assert said.count("ppgym: compiling") == len(said.splitlines()) == 1
    assert call_outer(clone) == ("2", "")
    (clone / "ppgym" / "core" / "inner.py").write_text(INNER.format(10))
    found, said = call_outer(clone)
    assert found == "11"
    assert "compiling" in said
    assert len(caches(clone)) == 2


def test_what_is_loaded_needs_nothing_that_only_compiling_needs(clone: Path) -> None:
    compiler = "numba.np.linalg"  # one of its modules, which imports much of SciPy
    found, _ = call_outer(clone, f"import sys; print({compiler!r} in sys.modules)")
    assert found == "2\nTrue"
    found, _ = call_outer(clone, f"import sys; print({compiler!r} in sys.modules)")
    assert found == "2\nFalse"


def test_the_folder_that_the_user_names_wins(clone: Path, tmp_path: Path) -> None:
    call_outer(clone, NUMBA_CACHE_DIR=str(tmp_path / "mine"))
    assert len(caches(tmp_path / "mine")) == 1
    assert not (clone / "cache").exists()


def test_where_nothing_can_be_written_it_works_and_says_so_once(clone: Path) -> None:
    found, said = call_outer(clone, XDG_CACHE_HOME="/dev/null", HOME="/dev/null")
    assert found == "2"
    assert said.count("cannot keep compiled code in /dev/null/ppgym") == 1


@pytest.mark.parametrize(("suffix", "content"), [(".nbi", b""), (".nbc", b"\x80\x04garbage")])
def test_a_damaged_file_is_compiled_anew(clone: Path, suffix: str, content: bytes) -> None:
    call_outer(clone)
    damaged = list((clone / "cache").rglob(f"*{suffix}"))
    assert damaged
    for path in damaged:
        path.write_bytes(content)
    found, said = call_outer(clone)
    assert found == "2"
    assert "compiling" in said
    assert call_outer(clone) == ("2", "")


def test_caches_of_other_code_are_deleted_when_long_unused(clone: Path) -> None:
    old, new = (clone / "cache" / "ppgym" / f"ppgym-kernel-{name}" for name in ("old", "new"))
    for folder in (old, new):
        folder.mkdir(parents=True)
    os.utime(old, (0, 0))
    call_outer(clone)
    assert not old.exists()
    assert new.exists()


def test_the_kernels_hash_knows_code_from_words(tmp_path: Path) -> None:
    path = tmp_path / "module.py"

    def code(text: str) -> str:
        path.write_text(text)
        return jit.code_of(path)

    plain = code("def f(x):\n    y = x\n    return y\n")
    assert code('"""Words."""\n\ndef f(x):  # more\n    """Words."""\n    y = x\n\n    return  y\n') == plain
    assert code("def f(x):\n    y = x\n    return -y\n") != plain
    assert code("def f(x):\n    if x:\n        y = x\n    return y\n") != code(
        "def f(x):\n    if x:\n        y = x\n        return y\n"
    )
    assert code('f = """a"""\n') != code('f = """b"""\n')
    assert len(jit.kernel_hash()) == 16


def test_compiled_code_takes_no_constant_from_a_file_that_is_not_hashed() -> None:
    root = jit.CORE.parents[1]
    hashed = {path.relative_to(root) for path in jit.sources()}
    for path in hashed:
        if b"ppgym.core.jit" not in (root / path).read_bytes():
            continue
        imports = [node for node in ast.walk(ast.parse((root / path).read_text())) if isinstance(node, ast.ImportFrom)]
        for node in imports:
            module = Path(*str(node.module).split(".")).with_suffix(".py")
            constants = {name.name for name in node.names if name.name.isupper()} - NOT_COMPILED
            if module.parts[0] in ("ppgym", "agents") and constants:
                assert module in hashed, f"{path} takes {', '.join(constants)} from {module}"
