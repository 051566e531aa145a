"""Help to write a scenario file: a commented template with every field of `Scenario`, and a JSON Schema for editors."""

import dataclasses
import inspect
import json
import re
import textwrap
from pathlib import Path
from typing import Any

from ppgym.files import write_text
from ppgym.world.devices import DEVICES
from ppgym.world.ladders import LADDERS
from ppgym.world.networks import NETWORKS
from ppgym.world.qoe_weights import QOE_PRESETS
from ppgym.world.scenario import Scenario
from ppgym.world.schemas import SCHEMA_DIALECT, class_schema
from ppgym.world.viewers import VIEWERS

WIDTH = 100
HEAD = """\
# A scenario: a world of your own. Play it with
#     python evaluate.py run --scenarios {name} --agents greedy on_demand
# A line that is commented out has the default that it shows. Files are found from the folder of this one.
"""
LADDER_HINT = """\
# A ladder of your own may stand here in place of a name:
# ladder:
#   name: mine
#   chunk_s: 2.0
#   representations:
#     - {name: 720p, codec: h264, kind: pixel, bitrate_bps: 2500000, quality: 2.5, width: 1280, height: 720, fps: 24}
#     - {name: prompt, codec: prompt, kind: generative, bitrate_bps: 280000, quality: 0.9}
"""
KNOWN = {"NETWORKS": NETWORKS, "DEVICES": DEVICES, "VIEWERS": VIEWERS, "LADDERS": LADDERS}
CHOSEN = ("network", "device", "viewer")  # written out


def field_meanings() -> dict[str, str]:
    """What each field of `Scenario` means, from its docstring."""
    text = inspect.getdoc(Scenario) or ""
    attributes = text.split("Attributes:\n")[1].split("\n\n")[0]
    entries = re.split(r"^    (\w+): ", attributes, flags=re.MULTILINE)[1:]
    return {name: " ".join(meaning.split()) for name, meaning in zip(entries[::2], entries[1::2], strict=True)}


def scenario_template(name: str) -> str:
    """The text of a new scenario file.

    Args:
        name: Of the file.

    Returns:
        YAML that stands for the default scenario.
    """
    meanings, parts = field_meanings(), [HEAD.format(name=name)]
    for field in dataclasses.fields(Scenario):
        if field.name == "label":
            continue
        meaning = re.sub(r"`ppgym\.[\w.]+\.([A-Z]+)`", lambda name: ", ".join(KNOWN[name[1]]), meanings[field.name])
        comment = textwrap.fill(meaning, WIDTH, initial_indent="# ", subsequent_indent="# ")
        line = f"{field.name}: {_yaml(field)}"
        parts.append(f"{comment}\n{line if field.name in CHOSEN else f'# {line}'}\n")
        if field.name == "ladder":
            parts.append(LADDER_HINT)
    return "\n".join(parts)


def _yaml(field: "dataclasses.Field[Any]") -> str:
    value = {} if field.default_factory is not dataclasses.MISSING else field.default
    return json.dumps(value).strip('"')


def write_template(path: Path) -> None:
    """Write a new scenario file.

    Args:
        path: YAML file that does not exist.

    Raises:
        FileExistsError: It exists.
        ValueError: Another suffix than .yml or .yaml.
    """
    if path.suffix not in (".yml", ".yaml"):
        raise ValueError(f"{path}: expected a name that ends in .yml")
    if path.exists():
        raise FileExistsError(f"{path}: there is such a file already; choose another name")
    write_text(path, scenario_template(path.name))


def scenario_schema() -> dict[str, Any]:
    """The JSON Schema of scenario files, YAML or JSON. It has no rules between fields."""
    schema = class_schema(Scenario)
    fields, meanings = schema["properties"], field_meanings()
    del fields["label"]  # a file's is its stem
    fields["qoe"] = {"anyOf": [{"enum": [*QOE_PRESETS]}, fields["qoe"]], "default": "default"}
    for name, field in fields.items():
        field["description"] = meanings[name]
    schema["properties"] = {"$schema": {"type": "string"}} | fields
    return {"$schema": SCHEMA_DIALECT, **schema}
