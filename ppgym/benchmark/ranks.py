"""Whether agents compete, asked in processes of their own: no code of an entry runs in the process that judges it.

Records name the class of an agent, and its module may be anybody's. Importing it would let it change how figures are
made and compared.
"""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

TIMEOUT_S = 300.0
START = (
    "import sys; sys.path[:0] = sys.argv[1].splitlines(); from ppgym.benchmark.ranks import main; main(sys.argv[2:])"
)


def ask_ranked(names: Iterable[str], is_ranked: Callable[[str], bool], without: Path) -> dict[str, bool]:
    """Ask which agents compete. Each module has a process of its own, so that none answers for another; ours share one.

    Args:
        names: Of agents, or their import paths.
        is_ranked: Function of a module, which each process imports.
        without: A folder of entries or of a run, from which nothing is imported.

    Returns:
        By name. True where the module ends its process, as where it cannot be imported: nobody needs the code of other
        people's entries.

    Raises:
        RuntimeError: The process of our own agents gives no answer.
    """
    own = is_ranked.__module__.partition(".")[0]  # the package of our agents
    modules: dict[str, list[str]] = {}
    for name in names:
        module, colon, _ = name.partition(":")
        ours = not colon or module.partition(".")[0] == own
        modules.setdefault("" if ours else module, []).append(name)
    paths = "\n".join(os.path.abspath(path) for path in sys.path)
    question = f"{is_ranked.__module__}:{is_ranked.__qualname__}"
    ranked: dict[str, bool] = {}
    for module, asked in modules.items():
        command = [sys.executable, "-I", "-c", START, paths, question, os.path.abspath(without), *asked]
        try:
            answer = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=True).stdout
            told = json.loads(answer)
            ranked |= {name: bool(told[name]) for name in asked}
        except (subprocess.SubprocessError, ValueError, LookupError, TypeError) as error:
            if not module:
                raise RuntimeError(f"expected to be told whether {', '.join(asked)} compete") from error
            ranked |= dict.fromkeys(asked, True)
    return ranked


class _Elsewhere(PathFinder):
    """Finds modules, but none in a folder."""

    folder: Path

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's specification, None where it lies in the folder."""
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None:
            return None
        places = [*(spec.submodule_search_locations or ())]
        if spec.has_location and spec.origin is not None:
            places.append(spec.origin)
        inside = any(Path(place).resolve().is_relative_to(cls.folder) for place in places)
        return None if inside else spec


def main(arguments: Sequence[str]) -> None:
    """Answer on standard output, in JSON.

    Args:
        arguments: Import path of the function, the folder from which nothing is imported, and names.
    """
    question, without, *names = arguments
    pipe = os.dup(1)
    os.dup2(2, 1)  # what a module prints is no answer
    module, _, function = question.partition(":")
    is_ranked = getattr(importlib.import_module(module), function)
    _Elsewhere.folder = Path(without).resolve()
    finders: list[Any] = [_Elsewhere if finder is PathFinder else finder for finder in sys.meta_path]
    sys.meta_path[:] = finders
    told = {name: is_ranked(name) for name in names}
    os.write(pipe, json.dumps(told).encode())
