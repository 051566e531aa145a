"""The decorators that compile the kernel, Numba's disk cache, and the hash of the kernel's code.

Numba looks for compiled code by the source file of the outer function and does not notice edits in the files that it
calls. So the folder of the cache bears a hash of all files with compiled code: after any edit the folder is another.
"""

import functools
import hashlib
import multiprocessing
import os
import shutil
import sys
import time
import tokenize
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core.caching import FunctionCache
from numba.core.runtime.nrt import rtsys
from numba.misc.appdirs import AppDirs

Function = TypeVar("Function", bound=Callable[..., Any])

CORE = Path(__file__).parent
UNUSED_DAYS = 30  # after which the cache of other code is deleted

_njit: Any = numba.njit  # its stubs leave out `_nrt`
_config: Any = numba.config


def sources() -> list[Path]:
    """Files with compiled code, and those whose constants it uses. `agents` is there in a clone alone."""
    package = CORE.parent
    paths = [path for root in (package, package.parent / "agents") for path in sorted(root.rglob("*.py"))]
    rooms = CORE, package / "planning"
    return [path for path in paths if path.parent in rooms or b"ppgym.core.jit" in path.read_bytes()]


def open_cache() -> Path | None:
    """The folder of this code's compiled functions, made where missing.

    It lies in the folder that NUMBA_CACHE_DIR names, else in the user's cache.

    Returns:
        The folder; None where nothing can be written, which is said in a warning.
    """
    # Numba reads its environment variable on import; an empty one counts as none
    parent = Path(_config.CACHE_DIR or AppDirs(appname="ppgym", appauthor=False).user_cache_dir)
    code = hashlib.sha256(b"".join(path.read_bytes() for path in sources())).hexdigest()[:16]
    folder = parent / f"ppgym-kernel-{code}"
    probe = folder / f".{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
        for other in parent.glob("ppgym-kernel-*"):
            if other != folder and other.stat().st_mtime < time.time() - UNUSED_DAYS * 86400:
                shutil.rmtree(other, ignore_errors=True)
        os.utime(folder)
    except OSError as error:
        warnings.warn(
            f"ppgym cannot keep compiled code in {folder} ({error.strerror}): every process compiles anew, which takes "
            "one to three minutes. Set NUMBA_CACHE_DIR to a folder that can be written.",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return folder


CACHE = None if _config.DISABLE_JIT else open_cache()


@functools.cache
def announce() -> None:
    """Say once that it compiles; without a word the first call seems to hang. Workers leave it to their parent."""
    if multiprocessing.parent_process() is None:
        print(
            "ppgym: compiling, one to three minutes; the next run finds it in the cache",
            file=sys.stderr,
            flush=True,
        )


_FunctionCache: Any = FunctionCache  # which has no types


class KernelCache(_FunctionCache):  # type: ignore[misc]
    """A cache of compiled code that is never an error: what is damaged is compiled anew, a full disk keeps nothing."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Compiled code for a signature, or None."""
        try:
            rtsys.initialize(target_context)  # all that loaded code needs of what Numba prepares to compile
            found = self._load_overload(sig, target_context)
        except Exception:  # unpickling a damaged file can raise anything
            found = None
            self._forget()
        if found is None:
            announce()
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep compiled code where that is possible."""
        try:
            super().save_overload(sig, data)
        except OSError:
            self._forget()

    def _forget(self) -> None:
        try:
            self.flush()
        except OSError:
            pass


def _compile(function: Function, **options: Any) -> Function:
    compiled: Any = _njit(error_model="numpy", **options)(function)
    if CACHE is not None:
        theirs, _config.CACHE_DIR = _config.CACHE_DIR, str(CACHE)
        try:
            compiled._cache = KernelCache(function)
        finally:
            _config.CACHE_DIR = theirs
    result: Function = compiled
    return result


def njit(function: Function) -> Function:
    """Compile a function that may allocate arrays.

    Args:
        function: Function in Numba's nopython subset.

    Returns:
        The compiled function (the function itself under ``NUMBA_DISABLE_JIT=1``).
    """
    return _compile(function)


def kernel(function: Function) -> Function:
    """Compile a function that allocates nothing, inlined into its caller and without reference counting.

    The kernel passes tuples of some twenty arrays from function to function. Counting references to each of them at
    every call, and copying the tuples, costs twenty times what the physics does.

    A function that returns arrays, such as `take_sim`, must itself be called by a `kernel` only: a caller that
    counts references would release arrays that nobody holds for it, and Python would receive the wrong ones.

    Args:
        function: Function in Numba's nopython subset that creates no array.

    Returns:
        The compiled function (the function itself under ``NUMBA_DISABLE_JIT=1``).
    """
    return _compile(function, forceinline=True, _nrt=False)


def nogil(function: Function) -> Function:
    """Compile a function as `kernel` does, to run beside others in threads: it lets go of Python's lock.

    Args:
        function: Function in Numba's nopython subset that creates no array.

    Returns:
        The compiled function (the function itself under ``NUMBA_DISABLE_JIT=1``).
    """
    return _compile(function, _nrt=False, nogil=True)


def noinline(function: Function) -> Function:
    """Compile a function as `kernel` does, but leave it a call of its own: for what happens seldom in many places.

    Args:
        function: Function in Numba's nopython subset that creates no array.

    Returns:
        The compiled function (the function itself under ``NUMBA_DISABLE_JIT=1``).
    """
    return _compile(function, _nrt=False)


@functools.cache
def kernel_hash() -> str:
    """Hash of the code in ppgym/core, comments and docstrings left out: what a record's figures were computed by.

    Returns:
        16 hex digits, the same on every machine and version of Python.
    """
    digest = hashlib.sha256()
    for path in sorted(CORE.glob("*.py")):
        digest.update(f"{path.name}\n{code_of(path)}".encode())
    return digest.hexdigest()[:16]


def code_of(path: Path) -> str:
    """The code of a module without comments, docstrings, blank lines and spaces.

    Args:
        path: A Python file.

    Returns:
        A logical line a line, which begins with a mark for each indent and dedent.
    """
    skipped = (tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER)
    marks = {tokenize.INDENT: ">", tokenize.DEDENT: "<", tokenize.NEWLINE: "\n"}
    code, line = "", ""
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type in skipped:
                continue
            line += marks.get(token.type, token.string)
            if token.type == tokenize.NEWLINE:
                bare = line.strip("<>\n")
                is_docstring = bare.startswith(('"""', 'r"""'))
                code += line.replace(f"{bare}\n", "") if is_docstring else line
                line = ""
    return code + line
