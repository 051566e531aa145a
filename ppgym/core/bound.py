"""Calls of compiled functions, made again and again with the same arrays or at least with the same types.

Numba looks up the types of all arguments at every call. For the seventy arrays of a world that takes ten times as long
as a step.
"""

import functools
import pkgutil
from collections.abc import Callable
from typing import Any

import numba
from numba.extending import is_jitted


class Bound:
    """A compiled function whose first arguments are given, and which looks up the types of its arguments once.

    Arrays that are given are written in place. The other arguments must have the types that they have at the first
    call: Numba notices some that have not, not all.
    """

    def __init__(self, function: Callable[..., Any], *given: Any) -> None:
        """Leave everything to the first call.

        Args:
            function: From a decorator of `jit.py`, with the name under which its module has it.
            *given: Its first arguments.
        """
        self._function: Any = function
        self._given = given
        self._call: Callable[..., Any] | None = None

    def __call__(self, *others: Any) -> Any:
        """Call the function with the arguments given, and others after them."""
        if self._call is None:
            self._call = functools.partial(self._code((*self._given, *others)), *self._given)
        return self._call(*others)

    def __reduce__(self) -> tuple[Any, ...]:
        """By the function's name, since one that is pickled itself comes back without its cache."""
        return _bound, (f"{self._function.__module__}:{self._function.__qualname__}", *self._given)

    def _code(self, arguments: tuple[Any, ...]) -> Callable[..., Any]:
        code: Callable[..., Any] = self._function
        if is_jitted(self._function):
            types = tuple(map(numba.typeof, arguments))
            self._function.compile(types)
            code = self._function.get_overload(types)
        return code


def _bound(name: str, *given: Any) -> Bound:
    return Bound(pkgutil.resolve_name(name), *given)
