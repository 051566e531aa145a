"""Mutation testing: plausible faults are put into the code one by one, and those that no test notices are listed.

    python -m tests.mutants --count 200 --seed 0

A fault is another comparison, operator or constant, a condition that always or never holds, or a statement left out.
Each is put into a copy of the tree, and the tests that touch the file run there without Numba, so that nothing is
compiled. A fault is noticed if they fail, or take `SLOWER` times as long.
"""

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
COPIED = ("agents", "docs", "examples", "ppgym", "tests", "traces", "evaluate.py", "pyproject.toml", "train.py")
TESTS = {  # of the files below a path
    "ppgym/core": ["tests/core"],
    "ppgym/benchmark/estimates.py": ["tests/benchmark/test_estimates.py", "tests/benchmark/test_summary.py"],
    "ppgym/benchmark/summary.py": ["tests/benchmark/test_summary.py"],
    "ppgym/planning": ["tests/planning"],
}
# On the first three no figure depends; the last holds numbers that were found by evolution
LEFT_OUT = ("jit.py", "__init__.py", "explain.py", "rollout_parameters.py")
SLOWER = 5.0
EQUIVALENT = {  # a fault by its file, its line of code and its change, and why nothing can tell it from the code
    ("ppgym/core/dynamics.py", "state.chunk_option[:] = 0", "0 -> (1)"): "nobody reads the option of an absent chunk",
    ("ppgym/core/link.py", "high = low + 1", "1 -> (2)"): (
        "the search for an edge begins with another stride and ends at the same edge"
    ),
    (
        "ppgym/core/step.py",
        "if changed or refit or not whole:",
        "changed or refit or not whole -> (True)",
    ): "it writes again what is there",
    (
        "ppgym/benchmark/summary.py",
        "first, minutes, qoe = played.records[0], played.minutes, played.per_minute(played.returns)",
        "0 -> (1)",
    ): "all sessions of a row have the same scenario and agent",
}

OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.FloorDiv,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
CALLS = {"min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum", "any": "all", "all": "any"}


class Fault(NamedTuple):
    """One change of one file."""

    path: str
    line: int
    code: str  # of that line
    before: str
    after: str
    span: tuple[int, int]  # of the file's bytes

    def __str__(self) -> str:
        """As it is listed."""
        return f"{self.path}:{self.line}: {self.change}"

    @property
    def change(self) -> str:
        """What stands where what stood."""
        return f"{self.before} -> {self.after}"

    @property
    def excuse(self) -> str:
        """Why nothing can tell it from the code; empty where something should."""
        return EQUIVALENT.get((self.path, self.code, self.change), "")


def faults_of(path: Path) -> Iterator[Fault]:
    """Every fault that can be put into a file."""
    data = path.read_bytes()
    starts, lines = [0], data.splitlines(keepends=True)
    for line in lines:
        starts.append(starts[-1] + len(line))
    for node in _nodes(ast.parse(data)):
        for old, new in _changes(node):
            before, after = ast.unparse(old), ast.unparse(new)
            begin = starts[old.lineno - 1] + old.col_offset
            end = starts[(old.end_lineno or 0) - 1] + (old.end_col_offset or 0)
            if after != before:
                after = after if isinstance(old, ast.stmt) else f"({after})"
                code = lines[old.lineno - 1].decode().strip()
                yield Fault(str(path.relative_to(ROOT)), old.lineno, code, before, after, (begin, end))


def _nodes(tree: ast.AST) -> Iterator[ast.expr | ast.stmt]:
    """Those that act: no annotations, no messages of errors, no definitions of types, no defaults of arguments."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.Raise | ast.Assert | ast.Import | ast.ImportFrom | ast.arguments | ast.JoinedStr):
            continue
        if isinstance(child, ast.ClassDef) or (isinstance(child, ast.AnnAssign) and child.value is None):
            continue
        if isinstance(tree, ast.AnnAssign) and child is tree.annotation:
            continue
        if isinstance(tree, ast.FunctionDef) and (child is tree.returns or child in tree.decorator_list):
            continue
        if isinstance(child, ast.expr | ast.stmt):
            yield child
        yield from _nodes(child)


def _changes(node: ast.expr | ast.stmt) -> Iterator[tuple[ast.expr | ast.stmt, ast.AST]]:
    """What of a node may be replaced, and by what."""
    match node:
        case ast.Compare(ops=[op]) if type(op) in OPERATORS:
            yield node, ast.Compare(node.left, [OPERATORS[type(op)]()], node.comparators)  # type: ignore[list-item]
        case ast.BinOp(op=op) if type(op) in OPERATORS:
            yield node, ast.BinOp(node.left, OPERATORS[type(op)](), node.right)  # type: ignore[arg-type]
        case ast.BoolOp(op=op):
            yield node, ast.BoolOp(OPERATORS[type(op)](), node.values)  # type: ignore[arg-type]
        case ast.UnaryOp(op=ast.Not()):
            yield node, node.operand
        case ast.Constant(value=bool(value)):
            yield node, ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield node, ast.Constant(value + 1)
        case ast.Call(func=ast.Name(id=name)) if name in CALLS:
            yield node, ast.Call(ast.Name(CALLS[name]), node.args, node.keywords)
        case ast.Call(func=ast.Attribute(attr=name)) if name in CALLS:
            yield node, ast.Call(ast.Attribute(node.func.value, CALLS[name]), node.args, node.keywords)
        case ast.If(test=test) | ast.IfExp(test=test):
            yield test, ast.Constant(True)
            yield test, ast.Constant(False)
        case ast.While(test=test):
            yield test, ast.Constant(False)
        case ast.AugAssign():
            yield node, ast.Pass()
        case ast.Assign(targets=[ast.Subscript() | ast.Attribute()]):
            yield node, ast.Pass()
        case ast.Expr(value=ast.Call()):
            yield node, ast.Pass()
        case ast.Continue() | ast.Break():
            yield node, ast.Pass()


def tests_of(path: str) -> list[str]:
    """The tests that touch a file."""
    return next(tests for below, tests in TESTS.items() if path.startswith(below))


def ordered(path: str, tests: list[str]) -> list[str]:
    """The tests, with those first that notice most faults of a file soonest: its own, and those worked by hand."""
    own = [ROOT / folder / f"test_{Path(path).stem}.py" for folder in tests]
    by_hand = sorted(test for folder in tests for test in (ROOT / folder).glob("test_hand_worked*.py"))
    return [str(test.relative_to(ROOT)) for test in (*own, *by_hand) if test.is_file()] + tests


def all_faults() -> list[Fault]:
    """Of all files, in their order."""
    paths = [path for below in TESTS for path in sorted((ROOT / below).rglob("*.py") or [ROOT / below])]
    paths += [ROOT / below for below in TESTS if below.endswith(".py")]
    return [fault for path in dict.fromkeys(paths) if path.name not in LEFT_OUT for fault in faults_of(path)]


def run_tests(tree: Path, tests: list[str], limit_s: float | None) -> bool:
    """Whether the tests pass in a tree."""
    environment = os.environ | {"PYTHONPATH": str(tree), "NUMBA_DISABLE_JIT": "1", "OMP_NUM_THREADS": "1", "CI": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", "not slow", *tests]
    try:
        return not subprocess.run(command, cwd=tree, env=environment, timeout=limit_s, capture_output=True).returncode
    except subprocess.TimeoutExpired:
        return False


def main() -> None:
    """Put faults in, run tests, and list the survivors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--begin", type=int, default=1, help="number of the first fault, where a run goes on")
    parser.add_argument("--only", default="", help="the beginning of the files' paths")
    parser.add_argument("--workers", type=int, default=1, help="faults that are tried at once, in a tree each")
    given = parser.parse_args()
    faults = [fault for fault in all_faults() if fault.path.startswith(given.only)]
    sample = random.Random(given.seed).sample(faults, min(given.count, len(faults)))
    chosen = sample[given.begin - 1 :]
    print(f"{len(chosen)} of {len(faults)} faults, seed {given.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(given.workers) as pool:
        trees: SimpleQueue[Path] = SimpleQueue()
        for number in range(given.workers):
            trees.put(copy_tree(Path(folder, str(number))))
        suites = sorted({tuple(tests_of(fault.path)) for fault in chosen})
        limits_s = dict(zip(suites, pool.map(partial(time_tests, trees), suites), strict=True))
        passes = pool.map(lambda fault: survives(trees, fault, limits_s[tuple(tests_of(fault.path))]), chosen)
        survivors = []
        for number, (fault, survived) in enumerate(zip(chosen, passes, strict=True), given.begin):
            if survived:
                survivors.append(fault)
                print(f"{number:4} {'equivalent' if fault.excuse else 'survives'}: {fault} {fault.excuse}", flush=True)
            elif number % 20 == 0:
                print(f"{number:4} tried", flush=True)
    counted = [fault for fault in survivors if not fault.excuse]
    share = len(counted) / max(len(chosen) - (len(survivors) - len(counted)), 1)
    print(f"{len(counted)} of {len(chosen)} survive ({share:.1%}), {len(survivors) - len(counted)} are equivalent")


def copy_tree(tree: Path) -> Path:
    """A copy of what the tests need."""
    tree.mkdir()
    for name in COPIED:
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tree / name)
    return tree


def time_tests(trees: "SimpleQueue[Path]", tests: tuple[str, ...]) -> float:
    """Seconds after which tests that hang have noticed a fault; they must pass without one."""
    tree, began_s = trees.get(), time.perf_counter()
    assert run_tests(tree, list(tests), None), f"{tests}: expected tests that pass without a fault"
    took_s = time.perf_counter() - began_s
    trees.put(tree)
    print(f"{' '.join(tests)}: {took_s:.0f} s", flush=True)
    return SLOWER * took_s


def survives(trees: "SimpleQueue[Path]", fault: Fault, limit_s: float) -> bool:
    """Whether no test notices a fault."""
    tree = trees.get()
    path, data = tree / fault.path, (ROOT / fault.path).read_bytes()
    path.write_bytes(data[: fault.span[0]] + fault.after.encode() + data[fault.span[1] :])
    passed = run_tests(tree, ordered(fault.path, tests_of(fault.path)), limit_s)
    path.write_bytes(data)
    trees.put(tree)
    return passed


if __name__ == "__main__":
    main()
