"""Small worlds and the planning views of their states, as the environment would make them, for the planner's tests."""

import json
import tempfile
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from ppgym.core.actions import action_count, fill_mask, find_candidates
from ppgym.core.episodes import EpisodeDistribution, Episodes, Links, Sims
from ppgym.core.state import LOOKAHEAD, SLOTS, UNIT_NAMES, CatalogArrays, Episode, Params, Sim, StateRecord
from ppgym.planning.belief import Futures, reschedule_all
from ppgym.planning_view import PlanningView, ViewMaker
from ppgym.world.devices import DeviceProfile
from ppgym.world.ladders import Ladder
from ppgym.world.options import Option

PATIENT = EpisodeDistribution(0.0, np.zeros(0), np.zeros(0), 0.0, 0.0, 1e9, 0.0)
CPU, GPU, NPU, VDEC = range(4)


def view_of(world: Sim, state: StateRecord, distribution: EpisodeDistribution = PATIENT) -> PlanningView:
    """The planning view of a state of any world; the last representation is a prompt."""
    params, last = world.params, world.catalog.chunk_bytes.shape[2] - 1
    candidates = np.zeros((SLOTS, LOOKAHEAD), np.int32)
    find_candidates(world, state, candidates)
    mask = np.zeros(action_count(len(world.params.option_unit)), np.int8)
    fill_mask(world, state, candidates, mask)
    units = [UNIT_NAMES[unit] for unit in params.option_unit]
    columns = (params.option_representation, units, params.option_decode_s, params.option_usable)
    facts: Any = SimpleNamespace(
        params=params,
        catalog=world.catalog,
        distribution=distribution,
        profile=load_device(),
        options=tuple(
            Option(
                f"r{r}@{unit}",
                int(r),
                "prompt" if r == last else "h264",
                bool(r == last),
                unit,
                float(decode_s),
                bool(usable),
            )
            for r, unit, decode_s, usable in zip(*columns, strict=True)
        ),
        representations=[SimpleNamespace(name=f"r{r}") for r in range(last + 1)],
    )
    return ViewMaker().make(facts, world.episode.playlist, state, candidates, mask)


@cache
def second_edition() -> dict[str, Any]:
    """A scenario with all that chunks of 2 s, a decoder to load, throttling, energy and patience bring about."""
    said = {"provenance": "assumption", "source": "made up"}
    device = DeviceProfile.load("snapdragon-8-elite").to_json()
    for place, row in enumerate(device["rows"]):
        row |= {"load_s": 0.1 * (place % 4), "power": {"w": 0.5 + 0.3 * place, **said}}
    path = Path(tempfile.mkdtemp()) / "device.json"
    path.write_text(json.dumps(device))
    return {
        "device": str(path),
        "ladder": Ladder.load("promptmobile").to_json() | {"name": "long", "chunk_s": 2.0},
        "qoe": {"energy": 0.2},
        "patience": [[1, 1], [3, 0.6], [8, 0.3]],
        "throttle": 1.8,
    }


@cache
def load_device() -> DeviceProfile:
    """A device for a view; the planner reads the options instead."""
    return DeviceProfile.load("pixels-only")


def world_of(
    options: list[tuple[int, int, float]],
    size_mbit: list[float],
    quality: list[float],
    chunks: tuple[int, ...] = (3, 2),
    watch_s: tuple[float, ...] = (3.0, 2.0),
    mbps: tuple[float, ...] = (1.0,),
    **changed: Any,
) -> Sim:
    """A world of chunks alike; options are (representation, unit, decode seconds), `mbps` holds for 0.7 s each."""
    representation, unit, decode_s = zip(*options, strict=True)
    count, videos, most = len(size_mbit), len(chunks), max(chunks)
    exists = np.arange(most)[None, :, None] < np.array(chunks)[:, None, None]
    params = Params(
        chunk_s=1.0,
        rtt_s=0.1,
        link_efficiency=1.0,
        wait_s=2.0,
        decoded_buffer_bytes=1e9,
        charge_thinking_s=0.0,
        parallel_downloads=1,
        cancel_on_swipe=False,
        weight_quality=1.0,
        weight_rebuffer=1.85,
        weight_switch=1.0,
        weight_waste=1.0,
        weight_download=0.0,
        weight_abandon=18.5,
        weight_energy=0.0,
        top_quality=1.85,
        reference_bps=1.85e6,
        option_representation=np.array(representation, np.int32),
        option_unit=np.array(unit, np.int32),
        option_usable=np.ones(len(options), np.uint8),
        option_decode_s=np.array(decode_s, np.float64),
        option_codec=np.array([r == count - 1 for r in representation], np.int32),
        option_generative=np.array([r == count - 1 for r in representation], np.uint8),
        option_load_s=np.zeros(len(options)),
        option_w=np.zeros(len(options)),
        contention=np.ones((4, 5)),
        throttle=1.0,
        idle_w=0.0,
        radio_base_w=0.0,
        radio_j_per_mbit=0.0,
        radio_tail_w=0.0,
        radio_tail_s=0.0,
    )._replace(**changed)
    return Sim(
        params,
        CatalogArrays(
            n_chunks=np.array(chunks, np.int32),
            duration_s=np.array(chunks) * params.chunk_s,
            chunk_bytes=np.where(exists, np.array(size_mbit) * 1e6 / 8, 0.0),
            quality=np.where(exists, np.array(quality), 0.0),
            memory_bytes_per_s=np.ones(count),
            retention=np.where(np.arange(most + 1) <= np.array(chunks)[:, None], 1.0, 0.0),
        ),
        Episode(
            playlist=np.arange(videos, dtype=np.int32),
            watch_s=np.array(watch_s),
            leaves=np.zeros(videos, np.uint8),
            patience_s=np.full(videos, np.inf),
            jitter=np.ones((videos, most)),
            link_time_s=0.7 * np.arange(len(mbps) + 1),
            link_bits=0.7e6 * np.concatenate([[0.0], np.cumsum(mbps)]),
            link_offset_s=0.0,
            max_wall_s=1e3,
        ),
    )


def futures_of(view: PlanningView, world: Sim, episodes: list[Episode]) -> Futures:
    """Futures with given draws; they share the world's link."""
    count, stacked = len(episodes), [np.array(column) for column in zip(*episodes, strict=True)]
    playlist, watch_s, leaves, patience_s, jitter, link_time_s, link_bits, link_offset_s, max_wall_s = stacked
    links = Links(link_time_s[0], link_bits[0], np.array([0, link_time_s.shape[1]], np.int32))
    link = np.zeros(count, np.int32)
    draws = Episodes(playlist, watch_s, leaves, patience_s, jitter, link, link_offset_s, max_wall_s)
    sims = Sims(world.params, world.catalog, links, draws)
    states = np.repeat(np.array([view.state]), count)
    reschedule_all(sims, states)
    return Futures(sims, states)
