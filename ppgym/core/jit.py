"""The decorators that compile the kernel, and the one switch for Numba's disk cache.

Numba keys its cache by the source file of a function and does not notice edits in the files it calls. Users get the
cache; whoever edits the kernel sets ``PPGYM_NUMBA_CACHE=0`` or a fresh ``NUMBA_CACHE_DIR``.
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])

_njit: Any = numba.njit  # its stubs leave out `_nrt`

CACHE = os.environ.get("PPGYM_NUMBA_CACHE", "1") != "0"


def njit(function: Function) -> Function:
    """Compile a function that may allocate arrays.

    Args:
        function: Function in Numba's nopython subset.

    Returns:
        The compiled function (the function itself under ``NUMBA_DISABLE_JIT=1``).
    """
    compiled: Function = _njit(cache=CACHE, error_model="numpy")(function)
    return compiled


def kernel(function: Function) -> Function:
    """Compile a function that allocates nothing, inlined into its caller and without reference counting.

    The kernel passes tuples of some twenty arrays from function to function. Counting references to each of them at
    every call, and copying the tuples, costs twenty times what the physics does.

    A function that returns arrays, such as `take_episode`, must itself be called by a `kernel` only: a caller that
    counts references would release arrays that nobody holds for it, and Python would receive the wrong ones.

    Args:
        function: Function in Numba's nopython subset that creates no array.

    Returns:
        The compiled function (the function itself under ``NUMBA_DISABLE_JIT=1``).
    """
    compiled: Function = _njit(cache=CACHE, error_model="numpy", forceinline=True, _nrt=False)(function)
    return compiled


def nogil(function: Function) -> Function:
    """Compile a function as `kernel` does, to run beside others in threads: it lets go of Python's lock.

    Args:
        function: Function in Numba's nopython subset that creates no array.

    Returns:
        The compiled function (the function itself under ``NUMBA_DISABLE_JIT=1``).
    """
    compiled: Function = _njit(cache=CACHE, error_model="numpy", _nrt=False, nogil=True)(function)
    return compiled


def noinline(function: Function) -> Function:
    """Compile a function as `kernel` does, but leave it a call of its own: for what happens seldom in many places.

    Args:
        function: Function in Numba's nopython subset that creates no array.

    Returns:
        The compiled function (the function itself under ``NUMBA_DISABLE_JIT=1``).
    """
    compiled: Function = _njit(cache=CACHE, error_model="numpy", _nrt=False)(function)
    return compiled
