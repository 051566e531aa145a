"""The assumptions that figures of a world rest on, by name: what is neither measured nor published nor derived."""

from ppgym.world.scenario import World
from ppgym.world.viewers import ViewerFile, viewer_path

ASSUMED = "assumption"


def find_assumptions(world: World) -> list[str]:
    """All assumed numbers that play a part in a world.

    Args:
        world: The world.

    Returns:
        A line each: what it is, its value, and why it is assumed.
    """
    scenario, profile = world.scenario, world.profile
    codecs = {one.codec for one in world.representations}
    found = [
        f"quality of {one.name}: {one.quality:g} {world.ladder.quality_unit} ({_reason(one.source)})"
        for one in world.representations
        if one.source.startswith(ASSUMED)
    ]
    for row in profile.rows:
        if row.codec in codecs:
            if row.provenance == ASSUMED:
                found.append(f"{row.codec} on {row.unit}: {row.seconds:g} s a second of content ({row.source})")
            if row.power is not None and row.power.provenance == ASSUMED:
                found.append(f"{row.codec} on {row.unit}: {row.power.w:g} W ({row.power.source})")
    if profile.idle is not None and profile.idle.provenance == ASSUMED:
        found.append(f"device, whatever it does: {profile.idle.w:g} W ({profile.idle.source})")
    if profile.radio is not None and profile.radio.provenance == ASSUMED:
        found.append(
            f"radio: {profile.radio.base_w:g} W and {profile.radio.w_per_mbps:g} W per Mbit/s ({profile.radio.source})"
        )
    found += [f"no watts are known of {what}: it counts 0 J" for what in profile.without_power if _plays(what, codecs)]
    if profile.jitter_provenance == ASSUMED and scenario.jitter_sigma is None:
        found.append(f"spread of decode times: {profile.jitter_sigma:g} ({profile.jitter_source})")
    if profile.contention_provenance == ASSUMED and scenario.contention is None:
        found.append(f"contention between units ({profile.contention_source})")
    if scenario.patience == "published":
        found.append("patience: measured for start-up on the web, assumed for every stall of a short video")
    found.append(f"patience_same: {scenario.patience_same:g} of the videos have the session's patience")
    found.append(f"audio_bps: {scenario.audio_bps:g} bit/s of sound")
    found.append(f"throttle: {scenario.throttle:g} times the seconds on a unit that was busy for a minute")
    viewer = ViewerFile.read(viewer_path(scenario.viewer))
    for name, source in vars(viewer.provenance).items():
        if source.startswith(ASSUMED):
            found.append(f"viewer's {name}: {getattr(viewer, name):g} ({_reason(source)})")
    return found


def _reason(source: str) -> str:
    return source.removeprefix(f"{ASSUMED}: ")


def _plays(what: str, codecs: set[str]) -> bool:
    return what.partition("@")[0] in codecs | {"idle", "radio"}
