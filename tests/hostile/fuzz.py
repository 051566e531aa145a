"""Grammar-based fuzzing of every reader, with a limit of time and of memory for each case.

    python -m tests.hostile.fuzz --cases 20000

A case is a file made from a good one: its bytes are changed, or its JSON values, words and lines. A reader may take it,
or refuse it by a ValueError or an OSError that names the file. Anything else is a fault: another exception, more than
`LIMIT_S` or `LIMIT_BYTES`, or a number that is taken and is not finite. Cases run in a child process, which is made
anew after a case that has killed it.
"""

import argparse
import contextlib
import gzip
import itertools
import json
import math
import multiprocessing
import os
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from tests.hostile.readers import READERS, Reader

LIMIT_S = 10.0
LIMIT_BYTES = 500 * 2**20  # more than the process had before its cases

TAKEN, REFUSED = "taken", "refused"


class Case(NamedTuple):
    """A file: the same reader and seed make the same one."""

    reader: str  # its label
    seed: int


# What stands in place of a value, a cell or a piece of text
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 1.5, -0.0, 1e308, -1e308, 5e-324, 1e17, 2**31, 2**63, 2**64, 10**30, 10**400),
    *(math.nan, math.inf, -math.inf, "", " ", "x", "\0", "\x1b[31m", "/etc/passwd", "../..", "\u202e", "x" * 3000),
    *([], [[]], {}, {"": 0}, [0] * 300, [None], [[1, 2], [3]], "1", "1e999", "=1+1", "<script>", "\ud800"),
)
PIECES = (
    *(b"nan", b"inf", b"-1", b"1e999", b"1e-400", b"9" * 30, b"9" * 400, b"0", b"", b" ", b"\t", b"\n", b"\n\n", b"\r"),
    *(
        b",",
        b";",
        b":",
        b"#",
        b"-",
        b'"',
        b"'",
        b"[",
        b"]" * 3,
        b"[" * 2000,
        b"{",
        b"}",
        b"<",
        b">",
        b"</",
        b"&",
        b"*a",
    ),
    *(b"&a", b"\0", b"\xff", b"\xc3", b"\xef\xbb\xbf", b"\x1f\x8b", b"\xe2\x80\xae", b"true", b"null", b"1_0", b"0x10"),
    *(b"..", b"/etc/passwd", b"!!python/object:os.system", b"<!DOCTYPE a>", b"\xd9\xa1", b"PT9999999999999999S"),
)


def mutated(reader: Reader, seed: int) -> bytes:
    """A file made from one of a reader's good ones."""
    rng = random.Random(f"{reader.label} {seed}")
    data = rng.choice(reader.seeds)
    if reader.name.endswith(".gz"):
        data = gzip.decompress(data)
    if rng.random() < 0.5 and (changed := _json_changed(data, rng)) is not None:
        data = changed
    else:
        for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
            data = _bytes_changed(data, rng)
    if reader.name.endswith(".gz"):
        data = gzip.compress(data, 1, mtime=0)
    if reader.name.endswith(".gz") and rng.random() < 0.5:
        data = _bytes_changed(data, rng)
    return data


def _bytes_changed(data: bytes, rng: random.Random) -> bytes:
    a, b = sorted((rng.randint(0, len(data)), rng.randint(0, len(data))))
    match rng.randrange(9):
        case 0 if data:
            place = rng.randrange(len(data))
            return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]
        case 1:
            return data[:a]
        case 2:
            return data[:a] + data[b:]
        case 3:
            return data[:a] + data[a:b] * rng.choice((2, 3, 50)) + data[b:]
        case 4 | 5:
            return data[:a] + rng.choice(PIECES) + data[a:]
        case 6:  # a whole word
            words = data.split(b" ")
            words[rng.randrange(len(words))] = rng.choice(PIECES)
            return b" ".join(words)
        case 7:  # a whole line
            lines = data.splitlines(keepends=True) or [b""]
            lines.insert(rng.randrange(len(lines)), rng.choice((*lines, rng.choice(PIECES) + b"\n")))
            return b"".join(lines)
        case _:
            return data[:a] + rng.randbytes(rng.randint(1, 8)) + data[b:]


def _json_changed(data: bytes, rng: random.Random) -> bytes | None:
    """One value of a JSON text in place of another, or a key; None where it is no JSON."""
    lines = data.splitlines()
    try:
        contents = (
            [json.loads(line) for line in lines] if len(lines) > 1 and lines[0][:1] == b"{" else [json.loads(data)]
        )
    except ValueError:
        try:
            contents = [json.loads(data)]
        except ValueError:
            return None
    for _ in range(rng.choice((1, 1, 2))):
        which = rng.randrange(len(contents))
        places = list(_places(contents[which]))
        if not places:
            contents[which] = rng.choice(VALUES)
            continue
        inside, key = rng.choice(places)
        match rng.randrange(6):
            case 0:
                del inside[key]
            case 1 if isinstance(inside, dict):
                inside[str(rng.choice(VALUES))] = inside.pop(key)
            case 2 if isinstance(inside, list):
                inside.insert(key, rng.choice(VALUES))
            case _:
                inside[key] = rng.choice(VALUES)
    return "\n".join(map(json.dumps, contents)).encode("utf-8", "surrogatepass")


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(content, dict | list):
        for key in list(content) if isinstance(content, dict) else range(len(content)):
            yield content, key
            yield from _places(content[key])


def judge(read: Callable[[Path], Any], path: Path) -> str:
    """`TAKEN`, `REFUSED`, or what is wrong with how a reader has met a file."""
    started_s = time.perf_counter()
    try:
        read(path)
        found = TAKEN
    except (ValueError, OSError) as error:
        named = isinstance(error, FileNotFoundError) or str(path.parent) in str(error)
        found = REFUSED if named else f"the message names no file: {error}"
    except MemoryError:
        found = f"more than {LIMIT_BYTES // 2**20} MiB"
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        found = f"{type(error).__name__}: {error} ({Path(place.filename).name}, line {place.lineno})"
    took_s = time.perf_counter() - started_s
    return found if took_s < LIMIT_S else f"{took_s:.0f} s"


def _child(pipe: Connection, cases: list[Case]) -> None:
    """Run cases, and send when each begins and what became of it."""
    sys.stdout = sys.stderr = open(os.devnull, "w")
    known = {one.label: one for one in READERS}
    with tempfile.TemporaryDirectory() as folder:
        for label, of_reader in itertools.groupby(cases, key=lambda case: case.reader):
            reader = known[label]
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            with contextlib.suppress(Exception):
                _read(reader, Path(folder, label), reader.seeds[0])  # what is imported or compiled once is no case's
            size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (size + LIMIT_BYTES, resource.RLIM_INFINITY))
            for case in of_reader:
                content = mutated(reader, case.seed)
                pipe.send(None)
                pipe.send(_read(reader, Path(folder, str(case.seed)), content)[:300])


def _read(reader: Reader, folder: Path, content: bytes) -> str:
    """Read a file in a folder of its own: what is read once may be kept."""
    folder.mkdir()
    path = folder / reader.name
    reader.prepare(path)
    path.write_bytes(content)
    found = judge(reader.read, path)
    shutil.rmtree(folder)
    return found


def fuzz(cases: list[Case]) -> Iterator[tuple[Case, str]]:
    """Run cases.

    Args:
        cases: Those of a reader one after the other.

    Yields:
        Each case, and `TAKEN`, `REFUSED` or what is wrong.
    """
    left = cases
    while left:
        ours, theirs = multiprocessing.get_context("spawn").Pipe()
        child = multiprocessing.get_context("spawn").Process(target=_child, args=(theirs, left), daemon=True)
        child.start()
        theirs.close()
        for case in list(left):
            try:
                assert ours.poll(120.0), f"{case}: the child stands still before it"
                assert ours.recv() is None
                found = ours.recv() if ours.poll(2 * LIMIT_S) else "hangs"
            except EOFError:
                child.join()
                found = f"the process ended with status {child.exitcode}"
            left = left[1:]
            yield case, found
            if found == "hangs" or not child.is_alive():
                break
        child.kill()
        child.join()


def main() -> None:
    """Fuzz every reader, and print figures and faults."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000, help="of all readers together")
    parser.add_argument("--first", type=int, default=0, help="seed of the first case")
    parser.add_argument("--readers", nargs="*", default=[one.label for one in READERS])
    given = parser.parse_args()
    chosen = [one for one in READERS if one.label in given.readers]
    each = math.ceil(given.cases / len(chosen))
    total: Counter[str] = Counter()
    print(f"{'reader':24} {TAKEN:>8} {REFUSED:>8} {'faults':>8} {'seconds':>8}")
    for reader in chosen:
        started_s = time.perf_counter()
        counts: Counter[str] = Counter()
        faults: dict[str, list[int]] = defaultdict(list)
        for case, found in fuzz([Case(reader.label, given.first + i) for i in range(each)]):
            counts[found if found in (TAKEN, REFUSED) else "faults"] += 1
            if found not in (TAKEN, REFUSED):
                faults[found].append(case.seed)
        total += counts
        took_s = time.perf_counter() - started_s
        print(f"{reader.label:24} {counts[TAKEN]:8} {counts[REFUSED]:8} {counts['faults']:8} {took_s:8.1f}", flush=True)
        for found, seeds in faults.items():
            print(f"    {len(seeds)} times, such as seed {seeds[0]}: {found}", flush=True)
    print(f"{'all':24} {total[TAKEN]:8} {total[REFUSED]:8} {total['faults']:8}")
    sys.exit(total["faults"] > 0)


if __name__ == "__main__":
    main()
