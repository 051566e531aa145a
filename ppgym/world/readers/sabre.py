"""Network traces of sabre: a JSON list of objects with `duration_ms`, `bandwidth_kbps` and `latency_ms`.

Source of the layout: github.com/UMass-LIDS/sabre, its `network.json`. The latency is a scenario's `rtt_s` in ppgym: a
note says which one the file has.
"""

from pathlib import Path
from typing import Any

from ppgym.world.readers.steps import MAX_DURATION_S, Steps, steps_from_durations
from ppgym.world.readers.text import read_json_value

DURATION, RATE, LATENCY = "duration_ms", "bandwidth_kbps", "latency_ms"


def is_sabre(content: Any) -> bool:
    """Whether a JSON value looks like such a trace."""
    return isinstance(content, list) and bool(content) and isinstance(content[0], dict) and DURATION in content[0]


def read_sabre(path: Path) -> Steps:
    """Read a trace.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not such a trace; names file, entry, key, value and what was expected.
    """
    content = read_json_value(path)
    if not is_sabre(content):
        raise ValueError(f"{path}: expected a JSON list of objects with the keys {DURATION!r} and {RATE!r}")
    durations_s: list[float] = []
    rates_bps: list[float] = []
    latencies_ms: list[float] = []
    for number, entry in enumerate(content):
        where = f"{path}, entry {number}"
        durations_s.append(_number(where, entry, DURATION) / 1e3)
        rates_bps.append(_number(where, entry, RATE) * 1e3)
        if durations_s[-1] == 0:
            raise ValueError(f"{where}: {DURATION}: expected a number above 0, got {entry[DURATION]!r}")
        if LATENCY in entry:
            latencies_ms.append(_number(where, entry, LATENCY))
    if sum(durations_s) > MAX_DURATION_S:
        raise ValueError(f"{path}: expected a trace of at most {MAX_DURATION_S:,.0f} s, got {sum(durations_s):g} s")
    notes: tuple[str, ...] = ()
    if any(latencies_ms):
        mean_ms = sum(latencies_ms) / len(latencies_ms)
        notes = (f"its {LATENCY} ({mean_ms:g} on average) is not part of a trace: set the scenario's rtt_s",)
    return steps_from_durations(durations_s, rates_bps, notes)


def _number(where: str, entry: Any, key: str) -> float:
    value = entry.get(key) if isinstance(entry, dict) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1e15:
        raise ValueError(f"{where}: {key}: expected a finite number of at least 0, got {str(value)[:50]!r}")
    return float(value)
