"""A scenario: everything public about a world, by name, with overrides; and how its hidden episodes are drawn.

`Scenario` is the set-up as a person writes it down; `World` is the same on one split, as arrays for the kernel.
"""

import functools
import hashlib
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le

from ppgym.core.bound import Bound
from ppgym.core.episodes import EpisodeDistribution, Episodes, Links, Sims, draw_episode, new_episodes, view_sim
from ppgym.core.observation import Features, make_features
from ppgym.core.state import MAX_TRANSFERS, MAX_VIDEOS, UNIT_NAMES, CatalogArrays, Episode, Params
from ppgym.files import suggest
from ppgym.world.devices import AUTO, DEVICES, Contention, DeviceProfile
from ppgym.world.generators import DURATION_BOUNDS_S, PUBLIC
from ppgym.world.ladders import DEFAULT_LADDER, LADDERS, Ladder, Representation
from ppgym.world.networks import NETWORKS, SPLITS, NetworkTrace, load_traces
from ppgym.world.options import Option, make_options
from ppgym.world.patience import Patience, patience_rows
from ppgym.world.qoe_weights import QoEWeights
from ppgym.world.scenario_file import named_fields
from ppgym.world.schemas import Expected, FileName, Name, Positive, Share, checked
from ppgym.world.videos import Catalog, Video, count_chunks, load_videos, read_mmgc, read_videos
from ppgym.world.viewers import VIEWERS, MeasuredViewers, RetentionCurve, ViewerProfile, read_viewers

DEFAULT_SCENARIO = "low/snapdragon-8-elite/typical"

SHIPPED: dict[str, tuple[str, ...]] = {  # names that a field may have in place of a path
    "network": NETWORKS,
    "device": (*DEVICES, AUTO),
    "viewer": VIEWERS,
    "ladder": LADDERS,
    "videos": (),
    "viewers": (),
}


@checked
class Scenario:
    """What is public about a world. `Scenario.parse` makes one from a name and overrides.

    Attributes:
        network: One of `ppgym.world.networks.NETWORKS`, or a file or folder of traces.
        device: One of `ppgym.world.devices.DEVICES`, the path of a profile, or "auto": this machine, as
            `python -m ppgym.codec profile` measured it last.
        viewer: One of `ppgym.world.viewers.VIEWERS`, or the path of a viewer profile; its `leave_p`, and its retention
            unless `viewers` is given.
        videos: File or folder of real videos, see `ppgym.world.videos.read_videos`; the shipped ones where None.
        viewers: A log of views, a retention table or a swipe density, see `ppgym.world.viewers.read_viewers`; or a
            folder of retention tables, one for each of `videos`, in the layout of the MMGC 2022 challenge. Those of
            `viewer` where None.
        ladder: One of `ppgym.world.ladders.LADDERS`, the path of a ladder's file, or the content of one.
        audio_bps: Bits per second of sound, in every representation; an assumption.
        n_videos: Videos of a feed, 1 to 20; fewer where the catalog has fewer.
        bandwidth_scale: Factor on the rates of the network's traces.
        rtt_s: From a request to its first byte.
        link_efficiency: Share of the trace's rate that carries payload.
        parallel_downloads: Transfers that may be open at once, 1 to 8.
        cancel_on_swipe: Whether leaving a video ends its open transfers.
        decoded_buffer_bytes: Memory for requested and decoded chunks.
        wait_s: Longest `WAIT`.
        max_decode_s: An option that takes longer for a second of content is illegal.
        charge_thinking_s: Simulated seconds that a decision takes.
        generative_quality_scale: Factor on the quality of generative codecs.
        generative_speed_scale: Factor on the speed at which the device decodes them, on each of its units.
        throttle: Factor on the decode seconds of a unit that was busy for the last 60 s; an assumption.
        qoe: Weights of the reward.
        leave_p: P(the session ends after a video); the viewer's where None.
        patience: Longest stall borne: "published" (see `ppgym.world.patience`), "none" (any), seconds, two of them for
            a uniform draw between, or rows of (seconds, share of viewers who bear more) as in `ppgym.core.patience`.
        patience_same: P(a video has the session's draw of patience, and none of its own); an assumption.
        jitter_sigma: Standard deviation of the logarithm of a chunk's factor on decode seconds; the device's where
            None.
        contention: `[U][U + 1]`, factor on decode seconds by unit and number of busy units; the device's where None.
        max_wall_s: A session is truncated then; 60 s and 5 times the feed's seconds where None.
        label: Name of the scenario in tables and records; its sessions' seeds follow from it. A file's is its stem.

    Raises:
        ValueError: A value is out of range; names it and what was expected.
    """

    network: FileName = "low"
    device: FileName = "snapdragon-8-elite"
    viewer: FileName = "typical"
    videos: FileName | None = None
    viewers: FileName | None = None
    ladder: Annotated[FileName | Ladder, Expected("the name, path or content of a ladder's file")] = DEFAULT_LADDER
    audio_bps: Annotated[float, Ge(0), Le(1e7)] = 64e3
    n_videos: Annotated[int, Ge(1), Le(MAX_VIDEOS)] = MAX_VIDEOS
    bandwidth_scale: Annotated[float, Ge(1e-3), Le(1e3)] = 1.0
    rtt_s: Annotated[float, Ge(0), Le(60)] = 0.08
    link_efficiency: Annotated[float, Ge(0.01), Le(1)] = 0.95
    parallel_downloads: Annotated[int, Ge(1), Le(MAX_TRANSFERS)] = 1
    cancel_on_swipe: bool = False
    decoded_buffer_bytes: Annotated[float, Ge(1), Le(2**50)] = 512.0 * 2**20
    wait_s: Annotated[float, Ge(1e-3), Le(3600)] = 0.5
    max_decode_s: Annotated[float, Ge(1e-6), Le(3600)] = 10.0
    charge_thinking_s: Annotated[float, Ge(0), Le(60)] = 0.0
    generative_quality_scale: Annotated[float, Ge(1e-3), Le(1e3)] = 1.0
    generative_speed_scale: Annotated[float, Ge(1e-3), Le(1e3)] = 1.0
    throttle: Annotated[float, Ge(1), Le(100)] = 1.0
    qoe: QoEWeights = field(default_factory=QoEWeights)
    leave_p: Share | None = None
    patience: Annotated[
        str | Positive | tuple[Positive, Positive] | Patience,
        Expected("'published', 'none', seconds above 0, two of them in order, or rows of seconds and share"),
    ] = "published"
    patience_same: Share = 0.5
    jitter_sigma: Annotated[float, Ge(0), Le(3)] | None = None
    contention: Contention | None = None
    max_wall_s: Annotated[float, Ge(1e-3), Le(1e6)] | None = None
    label: Name | None = None

    def __post_init__(self) -> None:
        """Check the patience."""
        _ = self.patience_table

    @property
    def patience_table(self) -> Patience:
        """The table of patience: rows of (seconds, share of viewers who bear longer stalls), as the kernel has it."""
        return patience_rows(self.patience)

    @property
    def name(self) -> str:
        """`label`, else ``network/device/viewer``, and ``/ladder`` where it is not the default one."""
        if self.label is not None:
            return self.label
        ladder = self.ladder.name if isinstance(self.ladder, Ladder) else self.ladder
        parts = [self.network, self.device, self.viewer, *([ladder] if ladder != DEFAULT_LADDER else [])]
        return "/".join(parts)

    @classmethod
    def parse(cls, name: str = DEFAULT_SCENARIO, **overrides: Any) -> "Scenario":
        """The scenario of a name, with what is overridden.

        Args:
            name: ``network/device/viewer`` or ``network/device/viewer/ladder``, such as
                "low/snapdragon-8-elite/typical"; the path of a YAML or JSON file of fields; or `label`, where that is
                among the overrides.
            **overrides: Any field of `Scenario`, as JSON would hold it (`qoe` a preset's name or a mapping).

        Returns:
            The scenario.

        Raises:
            FileNotFoundError: No such file.
            ValueError: An unknown name or field, with the nearest known ones, or a value out of range.
        """
        label, fields = named_fields(name, overrides)
        if label is None:
            return cls.of(_named_parts(name) | fields)
        try:
            return cls.of(fields)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "Scenario":
        """The scenario of its fields.

        Args:
            fields: Any, as JSON would hold them (`qoe` a preset's name or a mapping); the others have their defaults.

        Returns:
            The scenario.

        Raises:
            ValueError: An unknown field, with the nearest known ones, or a value out of range.
        """
        if not all(isinstance(key, str) for key in fields):
            raise ValueError(f"scenario: expected fields by their names, got {reprlib.repr(fields)}")
        values = {key: _hashable(value) for key, value in fields.items()}
        if "qoe" in values:
            values["qoe"] = QoEWeights.of(values["qoe"])
        if isinstance(values.get("ladder"), Mapping):
            values["ladder"] = Ladder.load(values["ladder"])
        return cls(**values)


def _named_parts(name: str) -> dict[str, Any]:
    """The fields that ``network/device/viewer[/ladder]`` names."""
    parts = name.split("/") if isinstance(name, str) else []
    if len(parts) not in (3, 4):
        raise ValueError(f"scenario {name!r}: expected network/device/viewer[/ladder], such as {DEFAULT_SCENARIO!r}")
    for part, (kind, known) in zip(parts, SHIPPED.items(), strict=False):
        if part not in known:
            raise ValueError(f"scenario {name!r}: unknown {kind} {part!r}; {suggest(part, known)}")
    return dict(zip(SHIPPED, parts, strict=False))


def _hashable(value: Any) -> Any:
    """A list as a tuple, a path as its text."""
    if isinstance(value, Path):
        return str(value)
    return tuple(map(_hashable, value)) if isinstance(value, list | tuple) else value


@dataclass(frozen=True, eq=False)
class World:
    """A scenario on one split, as arrays for the kernel. `make_world` makes one.

    Attributes:
        scenario: The scenario.
        split: "train", "validation" or "test".
        profile: The device.
        ladder: The ladder, its generative codecs scaled.
        options: [O] of the action space.
        n_videos: V of its feeds.
        params: The kernel's constants.
        catalog: The videos of the split.
        links: The traces of the split.
        distribution: How the rest of an episode is drawn.
        features: What of the observation is constant.
    """

    scenario: Scenario
    split: str
    profile: DeviceProfile
    ladder: Ladder
    options: tuple[Option, ...]
    n_videos: int
    params: Params
    catalog: CatalogArrays
    links: Links
    distribution: EpisodeDistribution
    features: Features
    _draw: Bound = field(default_factory=lambda: Bound(draw_episode), init=False, repr=False)

    @property
    def representations(self) -> tuple[Representation, ...]:
        """[R] of the ladder."""
        return self.ladder.representations

    def new_episodes(self, count: int) -> Episodes:
        """Room for draws.

        Args:
            count: How many.
        """
        return new_episodes(count, self.n_videos, self.catalog.chunk_bytes.shape[1])

    def sims(self, episodes: Episodes) -> Sims:
        """This world with hidden draws, as the kernel takes them.

        Args:
            episodes: The draws.
        """
        return Sims(self.params, self.catalog, self.links, episodes)

    @functools.cached_property
    def made(self) -> dict[str, Any]:
        """The constants as they were when this was asked first, which `make_world` does; of arrays their hashes."""
        return self._digests()

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of all constants as they were made: worlds with the same one give the same sessions."""
        return hashlib.sha256(repr(sorted(self.made.items())).encode()).hexdigest()

    def changed(self) -> list[str]:
        """Names of the constants that somebody has written to since `made`, such as "links.bits"."""
        now = self._digests()
        return [name for name, expected in self.made.items() if now[name] != expected]

    def _digests(self) -> dict[str, Any]:
        names = "params", "catalog", "links", "distribution", "features"
        parts: dict[str, Any] = {name: getattr(self, name) for name in names}
        constants = {
            f"{part}.{name}": value for part, fields in parts.items() for name, value in fields._asdict().items()
        }
        constants |= {name: getattr(self, name) for name in ("scenario", "profile", "ladder", "options", "n_videos")}
        return {
            name: hashlib.sha256(np.ascontiguousarray(value).data).digest() if isinstance(value, np.ndarray) else value
            for name, value in constants.items()
        }

    def draw(self, rng: np.random.Generator, episodes: Episodes, i: int) -> None:
        """Draw an episode.

        Args:
            rng: Source of randomness.
            episodes: Output.
            i: Which of them to fill.
        """
        self._draw(rng, self.distribution, self.sims(episodes), i)


def make_params(scenario: Scenario, ladder: Ladder, profile: DeviceProfile, options: Sequence[Option]) -> Params:
    """The kernel's constants.

    Args:
        scenario: The scenario.
        ladder: Its ladder, as its file has it: q and B are not scaled.
        profile: The device.
        options: [O] of the action space.

    Returns:
        The constants.

    Raises:
        ValueError: The weights are for another unit of quality.
    """
    values = {name: value for name, value in vars(scenario).items() if name in Params._fields}
    values |= {f"weight_{name}": value for name, value in scenario.qoe.on(ladder).items()}
    rows = [profile.row(option.codec, option.unit) for option in options]
    codecs = sorted({option.codec for option in options})
    radio = profile.radio
    values |= {
        "chunk_s": ladder.chunk_s,
        "top_quality": ladder.top_quality,
        "reference_bps": 1e6 * ladder.b_mbps,
        "contention": np.array(scenario.contention) if scenario.contention else profile.contention_array(),
        "idle_w": profile.idle.w if profile.idle else 0.0,
        "radio_base_w": radio.base_w if radio else 0.0,
        "radio_j_per_mbit": radio.w_per_mbps if radio else 0.0,
        "radio_tail_w": radio.tail_w if radio else 0.0,
        "radio_tail_s": radio.tail_s if radio else 0.0,
    }
    return Params(
        **values,
        option_representation=np.array([option.representation for option in options], dtype=np.int32),
        option_unit=np.array([UNIT_NAMES.index(option.unit) for option in options], dtype=np.int32),
        option_usable=np.array([option.usable for option in options], dtype=np.uint8),
        option_decode_s=np.array([option.decode_s for option in options]),
        option_codec=np.array([codecs.index(option.codec) for option in options], dtype=np.int32),
        option_generative=np.array([option.is_generative for option in options], dtype=np.uint8),
        option_load_s=np.array([row.load_s if row else 0.0 for row in rows]),
        option_w=np.array([row.power.w if row and row.power else 0.0 for row in rows]),
    )


@functools.lru_cache(maxsize=16)
def _pool(network: str, split: str, secret: int) -> Links:
    """The traces of a split, one copy for all worlds that share them."""
    return _lay_out(load_traces(network, split, secret))


def _lay_out(traces: Sequence[NetworkTrace]) -> Links:
    return Links(
        time_s=np.concatenate([trace.edges_s for trace in traces]),
        bits=np.concatenate([trace.cumulative_bits for trace in traces]),
        first=np.cumsum([0, *(len(trace.edges_s) for trace in traces)], dtype=np.int32),
    )


def _read_videos(
    scenario: Scenario, split: str, secret: int, viewer: ViewerProfile
) -> tuple[tuple[Video, ...], list[RetentionCurve]]:
    of_file: ViewerProfile | MeasuredViewers = viewer
    if scenario.viewers is not None:
        if not Path(scenario.viewers).exists():
            raise FileNotFoundError(f"viewers: {scenario.viewers}: no such file or folder")
        if Path(scenario.viewers).is_file():
            of_file = read_viewers(scenario.viewers)
        elif scenario.videos is None:
            raise ValueError("viewers: a folder of retention curves goes with a folder of videos; give `videos` too")
        else:
            videos, curves = read_mmgc(scenario.videos, scenario.viewers)
            return videos, list(curves)
    videos = load_videos(split, secret) if scenario.videos is None else read_videos(scenario.videos)
    return videos, [of_file.curve(video.duration_s) for video in videos]


@functools.lru_cache(maxsize=32)
def make_world(scenario: Scenario, split: str = "train", secret: int = PUBLIC) -> World:
    """Read and check everything that a scenario names; results are cached.

    Args:
        scenario: The scenario.
        split: One of `ppgym.world.networks.SPLITS`. Splits share no trace and no generated video. A folder of real
            videos, which are few, serves all three.
        secret: What generated traces and videos are drawn from; what is read from files does not depend on it.

    Returns:
        The world.

    Raises:
        FileNotFoundError: A file or folder is missing.
        ValueError: Unknown split, or a file that is not what it should be.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {reprlib.repr(split)}; {suggest(str(split), SPLITS)}")
    videos, curves = _read_videos(scenario, split, secret, ViewerProfile.load(scenario.viewer))
    catalog = Catalog(videos, scaled_ladder(scenario))
    arrays = catalog.arrays(curves, scenario.audio_bps)
    return _build_world(scenario, split, catalog, arrays, _pool(scenario.network, split, secret))


def scaled_ladder(scenario: Scenario) -> Ladder:
    """The ladder of a scenario, its generative codecs scaled."""
    return Ladder.load(scenario.ladder).with_generative_quality(scenario.generative_quality_scale)


def make_session_world(scenario: Scenario, trace: NetworkTrace, videos: tuple[Video, ...]) -> World:
    """The world of a single session: a scenario whose trace and videos are given.

    Args:
        scenario: The scenario; it names neither files of videos nor of viewers.
        trace: The link.
        videos: The videos of the feed, in any order.

    Returns:
        The world, on the split "test". Its arrays have room for the longest video that could be generated, so that
        their shape tells nothing of videos to come.
    """
    catalog = Catalog(videos, scaled_ladder(scenario))
    viewer = ViewerProfile.load(scenario.viewer)
    arrays = catalog.arrays([viewer.curve(video.duration_s) for video in videos], scenario.audio_bps)
    longest_s = DURATION_BOUNDS_S[1]
    chunks = count_chunks(longest_s, catalog.ladder.chunk_s) - arrays.chunk_bytes.shape[1]
    arrays = arrays._replace(
        chunk_bytes=np.pad(arrays.chunk_bytes, ((0, 0), (0, chunks), (0, 0))),
        quality=np.pad(arrays.quality, ((0, 0), (0, chunks), (0, 0))),
        retention=np.pad(arrays.retention, ((0, 0), (0, longest_s + 1 - arrays.retention.shape[1]))),
    )
    return _build_world(scenario, "test", catalog, arrays, _lay_out([trace]))


def _build_world(scenario: Scenario, split: str, catalog: Catalog, arrays: CatalogArrays, links: Links) -> World:
    ladder = catalog.ladder
    generative = {one.codec for one in ladder.representations if one.is_generative}
    profile = DeviceProfile.load(scenario.device).with_codecs_faster(generative, scenario.generative_speed_scale)
    viewer = ViewerProfile.load(scenario.viewer)
    options = make_options(ladder.representations, profile, scenario.max_decode_s)
    params = make_params(scenario, Ladder.load(scenario.ladder), profile, options)
    patience = np.array(scenario.patience_table, dtype=np.float64).reshape(-1, 2)
    scale = scenario.bandwidth_scale
    distribution = EpisodeDistribution(
        leave_p=viewer.leave_p if scenario.leave_p is None else scenario.leave_p,
        patience_at_s=patience[:, 0].copy(),
        patience_share=patience[:, 1].copy(),
        patience_same=scenario.patience_same,
        jitter_sigma=profile.jitter_sigma if scenario.jitter_sigma is None else scenario.jitter_sigma,
        wall_base_s=60.0 if scenario.max_wall_s is None else scenario.max_wall_s,
        wall_per_feed_s=5.0 if scenario.max_wall_s is None else 0.0,
    )
    world = World(
        scenario=scenario,
        split=split,
        profile=profile,
        ladder=ladder,
        options=options,
        n_videos=min(scenario.n_videos, len(catalog.videos)),
        params=params,
        catalog=arrays,
        links=links._replace(bits=links.bits * scale) if scale != 1 else links,
        distribution=distribution,
        features=make_features(
            params,
            arrays,
            distribution,
            unit_present=[unit in profile.units for unit in UNIT_NAMES],
        ),
    )
    _ = world.made  # hashed before anybody can reach it
    return world


def make_rng(seed: int, split: str) -> np.random.Generator:
    """The source of randomness of a seed; splits share no stream.

    Args:
        seed: Any whole number >= 0.
        split: One of `ppgym.world.networks.SPLITS`.

    Returns:
        Generator.
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(SPLITS.index(split),))))


def sample_episode(world: World, rng: np.random.Generator) -> Episode:
    """Draw one episode.

    Args:
        world: The world.
        rng: Source of randomness; the same state of it gives the same episode.

    Returns:
        The hidden draw.
    """
    episodes = world.new_episodes(1)
    world.draw(rng, episodes, 0)
    return view_sim(world.sims(episodes), 0).episode
