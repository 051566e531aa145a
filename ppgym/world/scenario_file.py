"""Scenario files: a scenario's fields in YAML or JSON, and settings as a command line gives them.

What the fields mean is said in `scenario.py`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ppgym.files import MAX_DIGITS, read_text

SUFFIXES = (".yml", ".yaml", ".json")
MAX_DEPTH = 20  # of nesting
MAX_BYTES = 2**20
_LONG_NUMBER = re.compile(rf"[-+]?[\d_:.]{{{MAX_DIGITS + 1},}}([eE].*)?")
PATHS = ("network", "device", "viewer", "videos", "viewers", "ladder")  # fields that may name a file


def is_file_name(name: str) -> bool:
    """Whether a scenario's name is that of a file."""
    return Path(name).suffix in SUFFIXES


def read_yaml(path: Path) -> Any:
    """The content of a YAML or JSON file.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not YAML, too large, nested deeper than `MAX_DEPTH`, with a key twice, a number of too many digits,
            or with aliases: a few bytes of these may cost minutes.
    """
    text, depth = read_text(path, MAX_BYTES), 0
    try:
        for event in yaml.parse(text, yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH or isinstance(event, yaml.AliasEvent):
                line = event.start_mark.line + 1
                raise ValueError(f"{path}, line {line}: expected at most {MAX_DEPTH} levels and no aliases")
            if isinstance(event, yaml.ScalarEvent) and _LONG_NUMBER.fullmatch(event.value):
                line = event.start_mark.line + 1
                raise ValueError(f"{path}, line {line}: expected numbers of at most {MAX_DIGITS} digits")
        return yaml.load(text, _DistinctLoader)
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: expected YAML: {' '.join(str(error).split())[:300]}") from None


class _DistinctLoader(yaml.SafeLoader):  # type: ignore[misc]
    """Refuses a key that stands twice, and dates, times and bytes that cannot be made."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Called by yaml."""
        found: dict[Any, Any] = super().construct_mapping(node, deep=True)
        if len(found) < len(node.value):
            raise yaml.constructor.ConstructorError(None, None, "a key stands twice in one mapping", node.start_mark)
        return found

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Called by yaml."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError, RecursionError) as error:
            raise yaml.constructor.ConstructorError(None, None, str(error), node.start_mark) from None


def read_fields(path: str | Path) -> dict[str, Any]:
    """The fields of a scenario's file.

    Args:
        path: YAML or JSON: an object. Files that it names lie relative to its folder.

    Returns:
        The fields, as overrides for `Scenario.parse`; paths are absolute.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not an object.
    """
    path = Path(path)
    content = read_yaml(path)
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ValueError(
            f"{path}: expected the fields of a scenario, such as 'network: low', got {type(content).__name__}"
        )
    fields = {key: value for key, value in content.items() if key != "$schema"}
    for key in PATHS:
        value = fields.get(key)
        if isinstance(value, str) and (path.parent / value).exists() and ("/" in value or "." in value):
            fields[key] = str((path.parent / value).resolve())
    return fields


def named_fields(name: str, overrides: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """What a name and overrides of a command, a record or a call of `gymnasium.make` stand for.

    Args:
        name: ``network/device/viewer[/ladder]``, a file's path, or a label, that of the overrides.
        overrides: Fields.

    Returns:
        The label, None where the name has its parts in itself, and the fields: those of a file with the overrides in
        their place. A label and its fields can be given again.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not such a file.
    """
    if isinstance(name, str) and name == overrides.get("label"):
        return name, dict(overrides)
    if isinstance(name, str) and is_file_name(name):
        label = Path(name).stem
        return label, merged({"label": label} | read_fields(name), overrides)
    return None, dict(overrides)


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """Settings such as ``qoe.waste=2`` as nested overrides.

    Args:
        settings: KEY=VALUE each. A value is JSON, else text; dots in a key reach inside.

    Returns:
        The overrides.

    Raises:
        ValueError: No "=", an empty key, or a key inside of something that is set as a whole.
    """
    found: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        parts = key.split(".")
        if not equals or not all(parts):
            raise ValueError(f"--set {setting}: expected KEY=VALUE, such as bandwidth_scale=2 or qoe.waste=2")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        inside = found
        for part in parts[:-1]:
            inside = inside.setdefault(part, {})
            if not isinstance(inside, dict):
                raise ValueError(f"--set {setting}: {part} is set as a whole already")
        inside[parts[-1]] = value
    return found


def merged(fields: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Fields with settings in their place; a mapping in both is merged key by key.

    Args:
        fields: Of a scenario.
        settings: What differs.

    Returns:
        The fields.
    """
    found = dict(fields)
    for key, value in settings.items():
        before = found.get(key)
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        found[key] = merged(before, value) if both else value  # type: ignore[arg-type]
    return found
