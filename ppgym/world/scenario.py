"""A scenario: everything public about a world, by name, with overrides; and how its hidden episodes are drawn.

`Scenario` is the set-up as a person writes it down; `World` is the same on one split, as arrays for the kernel.
"""

import functools
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from annotated_types import Ge, Le, Len

from ppgym.core.episodes import EpisodeDistribution, Episodes, Links, Sims, draw_episode, new_episodes, view_sim
from ppgym.core.observation import Features, make_features
from ppgym.core.state import F8, MAX_TRANSFERS, MAX_VIDEOS, UNIT_NAMES, UNITS, CatalogArrays, Episode, Params
from ppgym.files import suggest
from ppgym.world.devices import AUTO, DEVICES, Contention, DeviceProfile
from ppgym.world.generators import DURATION_BOUNDS_S, PUBLIC
from ppgym.world.ladders import Representation
from ppgym.world.networks import NETWORKS, SPLITS, NetworkTrace, load_traces
from ppgym.world.schemas import NotNegative, Positive, Share, checked
from ppgym.world.videos import Catalog, Video, load_catalog, on_ladder
from ppgym.world.viewers import VIEWERS, RetentionCurve, ViewerProfile

DEFAULT_SCENARIO = "low/snapdragon-8-elite/typical"

PIXEL_UNITS = ("cpu", "vdec")  # where pixels can be decoded, whatever the device
PROMPT_UNITS = ("cpu", "gpu", "npu")


@checked
class QoEWeights:
    """Weights of the reward.

    By default a second of top quality, a second of stall and a wasted top-rung chunk weigh the same.

    Attributes:
        quality: Per Mbit/s-equivalent second played.
        rebuffer: Per second of stall, start-up included.
        switch: Per Mbit/s of quality difference between chunks played one after the other.
        waste: Per wasted Mbit.
        download: Per downloaded Mbit.
        abandon: Per video left out of impatience; ten seconds of stall.
        compute: Per busy second, by compute unit.
    """

    quality: NotNegative = 1.0
    rebuffer: NotNegative = 1.85
    switch: NotNegative = 1.0
    waste: NotNegative = 1.0
    download: NotNegative = 0.0
    abandon: NotNegative = 18.5
    compute: Annotated[tuple[NotNegative, ...], Len(UNITS, UNITS)] = (0.0,) * UNITS

    @classmethod
    def of(cls, weights: "QoEWeights | str | Mapping[str, Any]") -> "QoEWeights":
        """Weights from a preset's name or from a mapping of what differs from the default.

        Args:
            weights: Weights, a key of `QOE_PRESETS`, or a mapping; `compute` there is a number for all units or a
                mapping from unit names.

        Returns:
            The weights.

        Raises:
            ValueError: Unknown preset, weight or unit, or a weight that is no number >= 0.
        """
        if isinstance(weights, QoEWeights):
            return weights
        if isinstance(weights, str):
            if weights not in QOE_PRESETS:
                raise ValueError(f"unknown QoE preset {weights!r}; {suggest(weights, QOE_PRESETS)}")
            return cls(**QOE_PRESETS[weights])
        fields = dict(weights)
        if "compute" in fields:
            compute = fields["compute"]
            if isinstance(compute, Mapping):
                for unit in compute:
                    if unit not in UNIT_NAMES:
                        raise ValueError(f"QoE weight 'compute': unknown unit {unit!r}; {suggest(unit, UNIT_NAMES)}")
                compute = tuple(compute.get(unit, 0.0) for unit in UNIT_NAMES)
            fields["compute"] = tuple(compute) if isinstance(compute, list | tuple) else (compute,) * UNITS
        return cls(**fields)


QOE_PRESETS: dict[str, dict[str, Any]] = {  # what differs from the default
    "default": {},
    # The score of the ACM MM 2022 Grand Challenge: every byte fetched costs, wasted or not
    "mmgc2022": {"waste": 0.0, "download": 0.5},
}


class Option(NamedTuple):
    """One way to fetch a chunk: a representation, and the unit that decodes it."""

    name: str  # "h264-750k@vdec"
    representation: int
    codec: str
    unit: str
    decode_s: float  # expected seconds for one chunk; inf where the device cannot
    usable: bool  # legal on this device


@checked
class Scenario:
    """What is public about a world. `Scenario.parse` makes one from a name and overrides.

    Attributes:
        network: One of `ppgym.world.networks.NETWORKS`, or a folder of traces.
        device: One of `ppgym.world.devices.DEVICES`, the path of a profile, or "auto": this machine, as
            `python -m ppgym.codec profile` measured it last.
        viewer: One of `ppgym.world.viewers.VIEWERS`, or the path of a viewer profile; its `leave_p`, and its retention
            unless `viewers` is given.
        videos: Folder of real videos in the MMGC 2022 layout; the shipped, generated ones where None.
        viewers: Folder of real retention curves, one for each of `videos`; those of `viewer` where None.
        ladder: Path of a measured ladder, which `python -m ppgym.codec ladder` wrote; the published ladder where None.
        n_videos: Videos of a feed, 1 to 20; fewer where the catalog has fewer.
        bandwidth_scale: Factor on the rates of the network's traces.
        rtt_s: From a request to its first byte.
        link_efficiency: Share of the trace's rate that carries payload.
        parallel_downloads: Transfers that may be open at once, 1 to 8.
        cancel_on_swipe: Whether leaving a video ends its open transfers.
        decoded_buffer_bytes: Memory for requested and decoded chunks.
        wait_s: Longest `WAIT`.
        max_decode_s: An option that takes longer for a chunk is illegal.
        charge_thinking_s: Simulated seconds that a decision takes.
        prompt_quality_scale: Factor on the assumed quality of prompts, in (0, 1].
        prompt_speed_scale: Factor on the speed at which the device decodes prompts, on each of its units.
        qoe: Weights of the reward.
        leave_p: P(the session ends after a video); the viewer's where None.
        patience_s: Longest stall borne: None for any, a number, or two for a uniform draw between them.
        jitter_sigma: Standard deviation of the logarithm of a chunk's factor on decode seconds; the device's where
            None.
        contention: `[U][U + 1]`, factor on decode seconds by unit and number of busy units; the device's where None.
        max_wall_s: A session is truncated then; 60 s and 5 times the feed's seconds where None.

    Raises:
        ValueError: A value is out of range; names it and what was expected.
    """

    network: str = "low"
    device: str = "snapdragon-8-elite"
    viewer: str = "typical"
    videos: str | None = None
    viewers: str | None = None
    ladder: str | None = None
    n_videos: Annotated[int, Ge(1), Le(MAX_VIDEOS)] = MAX_VIDEOS
    bandwidth_scale: Annotated[float, Ge(1e-3), Le(1e3)] = 1.0
    rtt_s: Annotated[float, Ge(0), Le(60)] = 0.08
    link_efficiency: Annotated[float, Ge(0.01), Le(1)] = 0.95
    parallel_downloads: Annotated[int, Ge(1), Le(MAX_TRANSFERS)] = 1
    cancel_on_swipe: bool = False
    decoded_buffer_bytes: Annotated[float, Ge(0), Le(2**50)] = 512.0 * 2**20
    wait_s: Annotated[float, Ge(1e-3), Le(3600)] = 0.5
    max_decode_s: Annotated[float, Ge(1e-6), Le(3600)] = 10.0
    charge_thinking_s: Annotated[float, Ge(0), Le(60)] = 0.0
    prompt_quality_scale: Annotated[float, Ge(1e-3), Le(1)] = 1.0
    prompt_speed_scale: Annotated[float, Ge(1e-3), Le(1e3)] = 1.0
    qoe: QoEWeights = field(default_factory=QoEWeights)
    leave_p: Share | None = None
    patience_s: Positive | tuple[Positive, Positive] | None = None
    jitter_sigma: Annotated[float, Ge(0), Le(3)] | None = None
    contention: Contention | None = None
    max_wall_s: Annotated[float, Ge(1e-3), Le(1e6)] | None = None

    def __post_init__(self) -> None:
        """Check the order of the patience."""
        low_s, high_s = self.patience_range_s
        if low_s > high_s:
            raise ValueError(f"patience_s: expected two numbers in order, got {self.patience_s!r}")

    @property
    def patience_range_s(self) -> tuple[float, float]:
        """Shortest and longest patience."""
        if self.patience_s is None:
            return math.inf, math.inf
        return self.patience_s if isinstance(self.patience_s, tuple) else (self.patience_s, self.patience_s)

    @property
    def name(self) -> str:
        """``network/device/viewer``."""
        return f"{self.network}/{self.device}/{self.viewer}"

    @classmethod
    def parse(cls, name: str = DEFAULT_SCENARIO, **overrides: Any) -> "Scenario":
        """The scenario of a name, with what is overridden.

        Args:
            name: ``network/device/viewer``, such as "low/snapdragon-8-elite/typical".
            **overrides: Any field of `Scenario`, as JSON would hold it (`qoe` a preset's name or a mapping).

        Returns:
            The scenario.

        Raises:
            ValueError: An unknown name or field, with the nearest known ones, or a value out of range.
        """
        parts = name.split("/") if isinstance(name, str) else []
        shipped = {"network": NETWORKS, "device": (*DEVICES, AUTO), "viewer": VIEWERS}
        if len(parts) != len(shipped):
            raise ValueError(f"scenario {name!r}: expected network/device/viewer, such as {DEFAULT_SCENARIO!r}")
        for part, (kind, known) in zip(parts, shipped.items(), strict=True):
            if part not in known:
                raise ValueError(f"scenario {name!r}: unknown {kind} {part!r}; {suggest(part, known)}")
        fields = dict(zip(shipped, parts, strict=True)) | overrides
        if "qoe" in fields:
            fields["qoe"] = QoEWeights.of(fields["qoe"])
        return cls(**{key: _hashable(value) for key, value in fields.items()})


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
        representations: [R] of the ladder.
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
    representations: tuple[Representation, ...]
    options: tuple[Option, ...]
    n_videos: int
    params: Params
    catalog: CatalogArrays
    links: Links
    distribution: EpisodeDistribution
    features: Features

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

    def changed(self) -> list[str]:
        """Names of the constants that somebody has written to since `made`, such as "links.bits"."""
        now = self._digests()
        return [name for name, expected in self.made.items() if now[name] != expected]

    def _digests(self) -> dict[str, Any]:
        parts: dict[str, Any] = {"params": self.params, "catalog": self.catalog, "links": self.links}
        constants = {
            f"{part}.{name}": value for part, fields in parts.items() for name, value in fields._asdict().items()
        }
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
        draw_episode(rng, self.distribution, self.sims(episodes), i)


def make_options(
    representations: tuple[Representation, ...], profile: DeviceProfile, max_decode_s: float
) -> tuple[Option, ...]:
    """The option table: the same pairs on every device, representation by representation.

    Args:
        representations: The ladder.
        profile: The device.
        max_decode_s: An option that takes longer for a chunk is illegal.

    Returns:
        Pixels on `PIXEL_UNITS` and prompts on `PROMPT_UNITS`.

    Raises:
        ValueError: The device has no legal pair.
    """
    options = []
    for index, representation in enumerate(representations):
        for unit in PROMPT_UNITS if representation.is_prompt else PIXEL_UNITS:
            seconds = profile.seconds(representation, unit)
            name = f"{representation.name}@{unit}"
            options.append(Option(name, index, representation.codec, unit, seconds, seconds <= max_decode_s))
    if not any(option.usable for option in options):
        raise ValueError(
            f"device {profile.name!r}: expected at least one pair of codec and unit within max_decode_s = "
            f"{max_decode_s:g} s a chunk; its pairs are {[(row.codec, row.unit) for row in profile.rows]}"
        )
    return tuple(options)


def make_params(scenario: Scenario, options: Sequence[Option], contention: F8) -> Params:
    """The kernel's constants.

    Args:
        scenario: The scenario.
        options: [O] of the action space.
        contention: float64 [U, U + 1], as `DeviceProfile.contention_array` gives it.

    Returns:
        The constants.
    """
    values = {name: value for name, value in vars(scenario).items() if name in Params._fields}
    values |= {f"weight_{name}": value for name, value in vars(scenario.qoe).items()}
    values |= {"weight_compute": np.array(scenario.qoe.compute), "contention": contention}
    return Params(
        **values,
        option_representation=np.array([option.representation for option in options], dtype=np.int32),
        option_unit=np.array([UNIT_NAMES.index(option.unit) for option in options], dtype=np.int32),
        option_usable=np.array([option.usable for option in options], dtype=np.uint8),
        option_decode_s=np.array([option.decode_s for option in options]),
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


def _read_catalog(
    scenario: Scenario, split: str, secret: int, viewer: ViewerProfile
) -> tuple[Catalog, list[RetentionCurve]]:
    if scenario.videos is None:
        if scenario.viewers is not None:
            raise ValueError("viewers: a folder of retention curves goes with a folder of videos; give `videos` too")
        catalog = load_catalog(split, scenario.prompt_quality_scale, scenario.ladder, secret)
        return catalog, [viewer.curve(chunks) for chunks in catalog.n_chunks]
    folders = scenario.videos, scenario.viewers
    catalog, curves = Catalog.read_mmgc(*folders, scenario.prompt_quality_scale, scenario.ladder)
    return catalog, list(curves) or [viewer.curve(chunks) for chunks in catalog.n_chunks]


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
        raise ValueError(f"unknown split {split!r}; {suggest(split, SPLITS)}")
    catalog, curves = _read_catalog(scenario, split, secret, ViewerProfile.load(scenario.viewer))
    return _build_world(scenario, split, catalog, catalog.arrays(curves), _pool(scenario.network, split, secret))


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
    catalog = on_ladder(videos, scenario.prompt_quality_scale, scenario.ladder)
    viewer = ViewerProfile.load(scenario.viewer)
    arrays = catalog.arrays([viewer.curve(chunks) for chunks in catalog.n_chunks])
    room = ((0, 0), (0, DURATION_BOUNDS_S[1] - max(catalog.n_chunks)), (0, 0))
    arrays = arrays._replace(
        chunk_bytes=np.pad(arrays.chunk_bytes, room),
        quality=np.pad(arrays.quality, room),
        retention=np.pad(arrays.retention, room[:2]),
    )
    return _build_world(scenario, "test", catalog, arrays, _lay_out([trace]))


def _build_world(scenario: Scenario, split: str, catalog: Catalog, arrays: CatalogArrays, links: Links) -> World:
    profile = DeviceProfile.load(scenario.device).with_prompts_faster(scenario.prompt_speed_scale)
    viewer = ViewerProfile.load(scenario.viewer)
    options = make_options(catalog.representations, profile, scenario.max_decode_s)

    contention = np.array(scenario.contention) if scenario.contention else profile.contention_array()
    params = make_params(scenario, options, contention)
    low_s, high_s = scenario.patience_range_s
    scale = scenario.bandwidth_scale
    world = World(
        scenario=scenario,
        split=split,
        profile=profile,
        representations=catalog.representations,
        options=options,
        n_videos=min(scenario.n_videos, len(catalog.videos)),
        params=params,
        catalog=arrays,
        links=links._replace(bits=links.bits * scale) if scale != 1 else links,
        distribution=EpisodeDistribution(
            leave_p=viewer.leave_p if scenario.leave_p is None else scenario.leave_p,
            patience_low_s=low_s,
            patience_high_s=high_s,
            jitter_sigma=profile.jitter_sigma if scenario.jitter_sigma is None else scenario.jitter_sigma,
            wall_base_s=60.0 if scenario.max_wall_s is None else scenario.max_wall_s,
            wall_per_feed_s=5.0 if scenario.max_wall_s is None else 0.0,
        ),
        features=make_features(params, arrays, [unit in profile.units for unit in UNIT_NAMES]),
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
