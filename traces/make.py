"""Makes every generated file of this folder again, byte for byte: `python traces/make.py [--output DIR]`.

The published figures behind the device profiles and the fit behind the viewers are here; what the files mean
and where the figures come from is in the README.md of each subfolder. What traces and
videos are drawn from lives in `ppgym/world/generators.py`.
"""

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np

from ppgym.files import write_text
from ppgym.world.devices import NO_CONTENTION, DecodeRow, DeviceProfile, Power, Radio
from ppgym.world.ladders import GENERATIVE, PIXEL, PIXEL_BPS, Ladder, Representation, published_ladder
from ppgym.world.networks import NETWORKS, SPLITS, generate_traces, traces_digest
from ppgym.world.template import scenario_schema
from ppgym.world.videos import CatalogFile, generate_videos
from ppgym.world.viewers import ViewerFile, ViewerProvenance

PROMPTMOBILE = "https://arxiv.org/abs/2503.16112"
DASHLET = "https://arxiv.org/abs/2204.12954"
# Dashlet's MTurk set of 1,291 videos: share of views that end in each tenth of the video; the last tenth holds the
# complete views, 0.399 of all
LEFT_PER_TENTH = (0.116, 0.107, 0.095, 0.070, 0.052, 0.051, 0.042, 0.028, 0.030, 0.409)
COMPLETE = 0.399
# Its user study: 1,388 videos, 0.264 of all views complete
STUDY_COMPLETE, STUDY_VIDEOS, MTURK_VIDEOS = 0.264, 1388, 1291

AI_HUB = "https://github.com/quic/ai-hub-models, stable_diffusion_v2_1/perf.yaml, 512x512, w8a16"
FAST_DIFFUSION = "https://github.com/happyyzy/Fast-Diffusion, README"
PROMPTUS = "https://arxiv.org/abs/2405.20032: 170 FPS on an RTX 4090D (TensorRT fp16, batch 10), whole pipeline"
# FLOPs of the SD 2.1 UNet plus the TAESD decoder over those of the UNet, 512x512: (0.804 T + 0.141 T) / 0.804 T
FRAME_PER_UNET = 1.176
# Of a frame of P pixels, by 1, P and P**2: `flops_law` of ppgym/codec/flops.py for sd-turbo-random
SD_FLOPS = (3991797760, 3124699.25, 1.78253174)
FPS = 30


def make_networks(output: Path) -> None:
    """Write the digests of every network's splits."""
    digests = {n: {split: traces_digest(generate_traces(n, split)) for split in SPLITS} for n in NETWORKS}
    write_text(output / "digests.json", json.dumps(digests, indent=2) + "\n")


def make_videos(output: Path) -> None:
    """Write the catalogs, a video a line."""
    for split in SPLITS:
        head = {
            "schema": CatalogFile.SCHEMA,
            "provenance": f"generated: ppgym.world.videos.generate_videos({split!r})",
            "chunk_s": 1.0,
            "bitrates_bps": PIXEL_BPS,
        }
        rungs = {v.name: v.chunk_bytes.T.astype(int).tolist() for v in generate_videos(split)}
        lines = [f'    "{name}": {json.dumps(sizes, separators=(",", ":"))}' for name, sizes in rungs.items()]
        text = json.dumps(head, indent=2).removesuffix("\n}") + ',\n  "videos": {\n' + ",\n".join(lines) + "\n  }\n}\n"
        write_text(output / f"{split}.json", text)


def fit_leaving() -> tuple[float, float]:
    """Shape and scale, to 0.01, of the truncated Weibull distribution nearest to the incomplete MTurk views."""
    left = np.cumsum(LEFT_PER_TENTH)
    left[-1] = 1 - COMPLETE
    target = left / left[-1]
    fraction = np.arange(1, 11) / 10
    shape = np.arange(80, 141)[:, None, None] / 100
    scale = np.arange(20, 101)[:, None] / 100
    share = -np.expm1(-((fraction / scale) ** shape))
    errors = ((share / share[..., -1:] - target) ** 2).sum(axis=-1)
    best = np.unravel_index(np.argmin(errors), errors.shape)
    return float(shape[best[0], 0, 0]), float(scale[best[1], 0])


def make_viewers(output: Path) -> None:
    """Write the viewer profiles."""
    shape, scale = fit_leaving()
    pooled = (MTURK_VIDEOS * COMPLETE + STUDY_VIDEOS * STUDY_COMPLETE) / (MTURK_VIDEOS + STUDY_VIDEOS)
    fitted = f"derived: least squares on the incomplete views of the MTurk set of {DASHLET}, by tenths; traces/make.py"
    assumed = "assumption: chosen for a mean watched fraction of about"
    leaving = "assumption: no session lengths per kind of viewer are published"
    profiles = (
        (
            ("skimmer", "Swipes early, rarely sees an end, closes the app soon; watches about 0.30 of a video."),
            (0.15, leaving),
            (0.1, f"{assumed} 0.30"),
            (0.9, f"{assumed} 0.30, with a hazard that falls from the start on"),
            (0.25, f"{assumed} 0.30"),
        ),
        (
            ("typical", "Leaves as the viewers in Dashlet's studies did; watches about 0.55 of a video."),
            (0.1, f"{leaving}; 0.1 lets 0.47 of sessions see at most 6 videos, Alfie reports 0.52"),
            (round(pooled, 3), f"derived: complete views of the MTurk set (0.399) and user study (0.264) of {DASHLET}"),
            (shape, fitted),
            (scale, fitted),
        ),
        (
            ("sticky", "Leaves as the typical viewer does where it leaves, but mostly stays; watches about 0.75."),
            (0.05, leaving),
            (0.62, f"{assumed} 0.75"),
            (shape, f"assumption: that of the typical viewer, {fitted}"),
            (scale, f"assumption: that of the typical viewer, {fitted}"),
        ),
    )
    for (name, description), *numbers in profiles:
        keyed = dict(zip(("leave_p", "completion", "shape", "scale"), numbers, strict=True))
        ViewerFile(
            name=name,
            description=description,
            provenance=ViewerProvenance(**{key: source for key, (_, source) in keyed.items()}),
            **{key: value for key, (value, _) in keyed.items()},
        ).write(output / f"{name}.json")


def _prompt_row(unit: str, unet_ms: float, source: str, per_pass: str = "") -> DecodeRow:
    return DecodeRow(
        codec="prompt",
        unit=unit,
        seconds=round(unet_ms / 1000 * FRAME_PER_UNET * FPS, 4),
        provenance="derived",
        source=source,
        formula=f"{unet_ms:g} ms a UNet pass{per_pass} x {FRAME_PER_UNET} (+ TAESD, by FLOPs) x {FPS} frames / 1000",
        flops=SD_FLOPS,
    )


def _pixel_rows(cpu_s: dict[str, float], vdec_s: float, cpu_source: str) -> tuple[DecodeRow, ...]:
    cpu = [(codec, "cpu", seconds, cpu_source) for codec, seconds in cpu_s.items()]
    vdec = [
        (codec, "vdec", vdec_s, "No figure at hand for a fixed-function decoder; far faster than real time at 512x512.")
        for codec in cpu_s
    ]
    return tuple(
        DecodeRow(codec=codec, unit=unit, seconds=seconds, provenance="assumption", source=source, formula="assumed")
        for codec, unit, seconds, source in (*cpu, *vdec)
    )


ANE_J_PER_FRAME = 0.43  # 0.945 TFLOP at 2.06 to 2.29 TFLOP/s per watt: Apple's Neural Engine, fp16
W8A16_SHARE = 0.4  # of fp16's energy; assumption: "perhaps a third to a half"
ANE = "https://ane-guide.readthedocs.io: 2.06 to 2.29 TFLOP/s per watt"
PHONE_IDLE = Power(w=1.0, provenance="assumption", source="Screen and system of a phone; no figure at hand.")
LTE = Radio(
    base_w=1.288,
    w_per_mbps=0.052,
    tail_w=1.06,
    tail_s=11.6,
    provenance="assumption",
    source="LTE of a phone of 2011 (Huang et al., MobiSys'12), quoted and not yet checked against the paper.",
)
UNIT_W = {  # of units for which no figure is at hand
    "gpu": (6.0, "No figure at hand for diffusion on a phone's GPU; about what a phone can cool."),
    "cpu": (1.0, "No figure at hand for software decode on a phone."),
    "vdec": (0.15, "No figure at hand for a phone's fixed-function decoder."),
}


def _with_power(row: DecodeRow) -> DecodeRow:
    """A row of a phone with what its unit draws."""
    if row.unit == "npu":
        frames = FPS if row.codec == "prompt" else FPS / MOBILE_SPEEDUP  # the same passes, fewer of them
        w = round(ANE_J_PER_FRAME * W8A16_SHARE * frames / row.seconds, 2)
        source = f"{ANE}; {ANE_J_PER_FRAME} J a frame x {W8A16_SHARE} (w8a16) x {FPS} frames / seconds: another NPU"
        return dataclasses.replace(row, power=Power(w=w, provenance="assumption", source=source))
    w, source = UNIT_W[row.unit]
    return dataclasses.replace(row, power=Power(w=w, provenance="assumption", source=source))


MOBILE_SPEEDUP = 13.6


def _mobile_row(row: DecodeRow) -> DecodeRow:
    """PromptMobile's row beside one of Promptus."""
    return dataclasses.replace(
        row,
        codec="promptmobile",
        seconds=round(row.seconds / MOBILE_SPEEDUP, 4),
        source=f"{row.source}; {PROMPTMOBILE}: {MOBILE_SPEEDUP} times faster than Promptus on a phone",
        formula=f"{row.formula} / {MOBILE_SPEEDUP}",
    )


def make_devices(output: Path) -> None:
    """Write the device profiles."""
    phone = _pixel_rows(
        {"h264": 0.25, "hevc": 0.35, "av1": 0.5},
        0.05,
        "No figure at hand for software decode on a phone; 0.05 to 0.15 s was seen on one x86-64 core (PyAV 18).",
    )
    desktop = _pixel_rows(
        {"h264": 0.05, "hevc": 0.1, "av1": 0.15},
        0.02,
        "No figure at hand for a desktop; 0.05 to 0.15 s was seen on one x86-64 core (PyAV 18).",
    )
    promptus = DecodeRow(
        codec="prompt",
        unit="gpu",
        seconds=round(FPS / 170, 4),
        provenance="derived",
        source=PROMPTUS,
        formula=f"{FPS} frames / 170 FPS",
        flops=SD_FLOPS,
    )
    gen_2_gpu = _prompt_row("gpu", 290, "https://arxiv.org/abs/2304.11267: S23 Ultra, SD 1.4, about 290 ms a pass")
    profiles = (
        (
            "snapdragon-8-gen-2",
            "Phone of 2023 (Galaxy S23 class): prompts on NPU and, too slowly, on GPU.",
            (
                gen_2_gpu,
                _prompt_row("npu", 96.4, f"{AI_HUB}: QCS8550 (8 Gen 2 class)"),
                *phone,
            ),
        ),
        (
            "snapdragon-8-gen-3",
            "Phone of 2024 (Galaxy S24 class): prompts on NPU and, far too slowly, on CPU.",
            (
                _prompt_row("cpu", 4000, FAST_DIFFUSION + ": SD 1.5", " (8000 ms with guidance, two passes, / 2)"),
                _prompt_row("npu", 68.3, f"{AI_HUB}: Snapdragon 8 Gen 3 (Galaxy S24)"),
                dataclasses.replace(
                    _mobile_row(gen_2_gpu),
                    provenance="assumption",
                    source="No figure at hand for this GPU: taken to be as slow as that of the 8 Gen 2.",
                ),
                *phone,
            ),
        ),
        (
            "snapdragon-8-elite",
            "Phone of 2025 (Galaxy S25 class): prompts on NPU at half of real time, on GPU at an eighth.",
            (
                _prompt_row("gpu", 230, FAST_DIFFUSION + ": 8 Elite, CLML, SD 1.5, about 230 ms a pass"),
                _prompt_row("npu", 54.9, f"{AI_HUB}: Snapdragon 8 Elite (Galaxy S25)"),
                *phone,
            ),
        ),
        ("rtx-4090", "Desktop with an RTX 4090: prompts five times faster than real time.", (promptus, *desktop)),
        ("pixels-only", "Phone without generative decode: the world as it is.", phone),
    )
    for name, description, rows in profiles:
        sigma = 0.05 if name == "rtx-4090" else 0.1
        is_phone = name != "rtx-4090"
        if is_phone:
            rows = tuple(map(_with_power, (*rows, *map(_mobile_row, (r for r in rows if r.codec == "prompt")))))
        DeviceProfile(
            name=name,
            description=description,
            provenance="Derived from published figures; rows without a source are assumptions. See README.md.",
            rows=rows,
            jitter_sigma=sigma,
            jitter_provenance="assumption",
            jitter_source="No spread of decode times is published.",
            **NO_CONTENTION,
            idle=PHONE_IDLE if is_phone else None,
            radio=LTE if is_phone else None,
        ).write(output / f"{name}.json")


HEVC_GAIN = 1.5  # H.264 needs so many times HEVC's rate at equal quality; assumption, the one that prompts are rated by
AV1_GAIN = 2.0  # and so many times AV1's; assumption


def _pixels(codec: str, gain: float, source: str) -> list[Representation]:
    """A codec at the qualities of the published H.264 rungs."""
    return [
        Representation(
            name=f"{codec}-{round(bps / gain / 1e3)}k",
            codec=codec,
            kind=PIXEL,
            bitrate_bps=round(bps / gain / 1e3) * 1e3,
            quality=round(bps / gain / 1e3) * gain / 1e3,
            source=source,
        )
        for bps in PIXEL_BPS
    ]


def make_ladders(output: Path) -> None:
    """Write the shipped ladders."""
    published = published_ladder()
    h264 = [row for row in published.representations if row.kind == PIXEL]
    pixels = Ladder(
        name="pixels",
        description="HEVC and AV1 rungs beside those of H.264, at about the same qualities; no generative codec.",
        provenance="Bitrates of the MMGC 2022 challenge; how much less HEVC and AV1 need is assumed.",
        representations=(
            *h264,
            *_pixels("hevc", HEVC_GAIN, f"assumption: worth {HEVC_GAIN:g} times its bitrate in H.264"),
            *_pixels("av1", AV1_GAIN, f"assumption: worth {AV1_GAIN:g} times its bitrate in H.264"),
        ),
    )
    mobile = Ladder(
        name="promptmobile",
        description="H.264 of the MMGC 2022 challenge, and PromptMobile, which decodes in time on a phone.",
        provenance="Bitrates of the MMGC 2022 challenge and of arXiv 2503.16112; the quality of prompts is derived.",
        representations=(
            *h264,
            Representation(
                name="promptmobile-280k",
                codec="promptmobile",
                kind=GENERATIVE,
                bitrate_bps=280e3,
                quality=0.42,
                source=f"derived: {PROMPTMOBILE}, at 280 kbit/s about as good as H.265 (LPIPS better by 0.016); x 1.5",
            ),
        ),
    )
    placeholders = [
        Ladder(
            name=f"{codec}-placeholder",
            description=f"PLACEHOLDER: H.264, and a {codec} codec to be filled from a table.",
            provenance=f"assumption: nothing of the {codec} codec is measured; fill in its numbers and a device.",
            representations=(
                *h264,
                Representation(
                    name=f"{codec}-{bps / 1e3:g}k",
                    codec=codec,
                    kind=GENERATIVE,
                    bitrate_bps=bps,
                    quality=quality,
                    source=source,
                ),
            ),
        )
        for codec, bps, quality, source in (
            ("token", 200e3, 0.8, "assumption: arXiv 2602.03529 states -62.5 % against H.265; 0.2 / 0.375 x 1.5"),
            ("diffusion", 80e3, 0.6, "assumption: arXiv 2601.20564 states -80 % against VTM; 0.08 / 0.2 x 1.5"),
        )
    ]
    for ladder in (published, pixels, mobile, *placeholders):
        ladder.write(output / f"{ladder.name}.json")


def make_schemas(output: Path) -> None:
    """Write the JSON Schemas of the JSON files, for editors."""
    formats = {"devices": DeviceProfile, "ladders": Ladder, "videos": CatalogFile, "viewers": ViewerFile}
    for name, cls in formats.items():
        write_text(output / f"{name}.schema.json", json.dumps(cls.json_schema(), indent=2) + "\n")
    write_text(output / "scenario.schema.json", json.dumps(scenario_schema(), indent=2) + "\n")


def main() -> None:
    """Write all files below `--output`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="folder (default: this one)")
    output = parser.parse_args().output
    make_networks(output / "networks")
    make_videos(output / "videos")
    make_viewers(output / "viewers")
    make_devices(output / "devices")
    make_ladders(output / "ladders")
    make_schemas(output / "schemas")


if __name__ == "__main__":
    main()
