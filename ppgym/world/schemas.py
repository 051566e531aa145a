"""Data classes whose fields are checked, in Python and in JSON files, and that make a JSON Schema for editors.

What the fields are is said where they belong: in `devices.py`, `ladders.py`, `videos.py`, `viewers.py` and
`scenario.py`. pydantic checks them. It is imported at the first check: it would make `import ppgym` a sixth slower.
"""

import functools
import json
import re
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, TypeVar, dataclass_transform, get_args, get_type_hints

from annotated_types import Ge, Gt, Le

from ppgym.files import data_root, read_json, suggest, write_text

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError
    from pydantic_core import ErrorDetails

T = TypeVar("T")

MAX_SHOWN = 20  # problems of one file
PART = r"[^/\x00-\x1f\x7f-\x9f\u2028\u2029]{1,255}"  # of a path
NAME_WORDS = "a name: 1 to 255 characters, no control characters"
NAME_PATTERN = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]{0,254}[^\x00-\x1f\x7f-\x9f\u2028\u2029 ]$"
SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True)
class Rule:
    """A rule for a value, in the terms of `pydantic_core.core_schema`, which `build` is given."""

    build: Callable[[Any], Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Called by pydantic."""
        from pydantic_core import core_schema

        return self.build(core_schema)


@dataclass(frozen=True)
class Expected:
    """What is said of a value that fits none of a union's types, in place of a line for each of them."""

    what: str

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Called by pydantic."""
        from pydantic_core import core_schema

        message = f"Input should be {self.what}"
        return core_schema.custom_error_schema(handler(source), custom_error_type="union", custom_error_message=message)


def one_of(names: tuple[str, ...]) -> Rule:
    """The rule for one of several names."""
    return Rule(lambda core: core.literal_schema(list(names)))


def _matching(pattern: str, what: str) -> Rule:
    """The rule for a text that matches a pattern, said in words."""
    says = {"custom_error_type": "text", "custom_error_message": f"Input should be {what}"}
    return Rule(lambda core: core.custom_error_schema(core.str_schema(pattern=pattern), **says))


# Products of a few of these and their quotients are finite
LEAST, MOST = 1e-15, 1e15

Text = Annotated[str, _matching(r"\S", "a text that is not blank")]
Name = Annotated[str, _matching(NAME_PATTERN, NAME_WORDS)]
FileName = Annotated[
    str, _matching(rf"^/?{PART}(/+{PART})*/*$", "a name or a path: parts of 1 to 255 characters, no control characters")
]
Positive = Annotated[float, Ge(LEAST), Le(MOST)]
NotNegative = Annotated[float, Ge(0), Le(MOST)]
Share = Annotated[float, Ge(0), Le(1)]
Count = Annotated[int, Gt(0), Le(10**6)]


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def checked(cls: type[T]) -> type[T]:
    """Class decorator: a frozen dataclass, built from keywords, that refuses values which do not fit its types.

    Numbers must be finite. Nothing is converted but whole numbers to floats: neither true nor "1" is a number. Rules
    between fields belong into `__post_init__`, which raises ValueError.

    Args:
        cls: Class with annotated fields.

    Returns:
        The dataclass. Its constructor raises ValueError; the message names every wrong field.
    """
    cls = dataclass(frozen=True, kw_only=True)(cls)
    config = {"extra": "forbid", "strict": True, "allow_inf_nan": False}
    cls.__pydantic_config__ = config  # type: ignore[attr-defined]

    @functools.wraps(cls.__init__)
    def __init__(self: Any, **values: Any) -> None:  # noqa: N807
        from pydantic_core import ArgsKwargs

        _check(cls, cls.__name__, lambda core: core.validate_python(ArgsKwargs((), values), self_instance=self))

    cls.__init__ = __init__  # type: ignore[method-assign]
    return cls


@functools.cache
def _adapter(cls: type) -> "TypeAdapter[Any]":
    from pydantic import TypeAdapter

    return TypeAdapter(cls)


def _check(cls: type, where: object, check: Callable[[Any], Any]) -> Any:
    """What a class's validator returns; a ValueError about what it refuses."""
    from pydantic import ValidationError

    try:
        return check(_adapter(cls).validator)
    except ValidationError as error:
        raise ValueError(f"{where}: {_problems(cls, error)}") from None


class JsonFile:
    """Base of checked classes that are kept in JSON files: an object with the key `schema` and a key for each field.

    A key may be left out where the field has a default. `$schema`, by which editors find a JSON Schema, is allowed.

    Attributes:
        SCHEMA: Name and version of the format, such as "ppgym-device/1".
    """

    SCHEMA: ClassVar[str]

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a file.

        Args:
            path: JSON file.

        Raises:
            FileNotFoundError: No such file.
            ValueError: Not such a file. Names file, and for every wrong value its place and what was expected.
        """
        content = read_json(Path(path))
        schema = content.get("schema")
        if schema != cls.SCHEMA:
            raise ValueError(f"{path}: schema: expected {cls.SCHEMA!r}, got {schema!r}")
        return cls.from_json(content, path)

    @classmethod
    def from_json(cls, content: Mapping[str, Any], where: object) -> Self:
        """Make one from the content of a file, whose key `schema` may be missing.

        Args:
            content: JSON object.
            where: Names it in messages.

        Raises:
            ValueError: Not such an object; see `read`.
        """
        fields = {key: value for key, value in content.items() if key not in ("$schema", "schema")}
        text = json.dumps(fields)  # JSON's lists may be tuples, Python's may not
        found: Self = _check(cls, where, lambda core: core.validate_json(text))
        return found

    def to_json(self) -> dict[str, Any]:
        """The object that `write` writes."""
        cls: type = type(self)
        return {"schema": self.SCHEMA, **_adapter(cls).dump_python(self, mode="json")}

    def write(self, path: str | Path) -> None:
        """Write a file that `read` reads. It appears whole or not at all.

        Args:
            path: JSON file; missing folders are made.
        """
        write_text(Path(path), json.dumps(self.to_json(), indent=2) + "\n")

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """The JSON Schema of the files. It has no rules between fields."""
        schema = class_schema(cls)
        schema["properties"] = {"$schema": {"type": "string"}, "schema": {"const": cls.SCHEMA}} | schema["properties"]
        schema["required"].insert(0, "schema")
        return {"$schema": SCHEMA_DIALECT, **schema}


def class_schema(kind: type) -> dict[str, Any]:
    """The JSON Schema of a `checked` class, without its dialect."""
    schema: dict[str, Any] = _adapter(kind).json_schema()
    return schema


def shipped_or_path(folder: str, name_or_path: str | Path, shipped: tuple[str, ...]) -> Path:
    """A shipped file by its name, or a user's file.

    Args:
        folder: Of the shipped files in `data_root()`.
        name_or_path: One of `shipped`, or a path.
        shipped: Names of the shipped files, without suffix.

    Raises:
        FileNotFoundError: No such name and no such file.
    """
    path = data_root() / folder / f"{name_or_path}.json" if name_or_path in shipped else Path(name_or_path)
    if not path.is_file():
        known = suggest(str(name_or_path), shipped)
        raise FileNotFoundError(f"no {folder.removesuffix('s')} and no file {str(name_or_path)!r}; {known}")
    return path


def _problems(cls: type, error: "ValidationError") -> str:
    """What is wrong: one problem in a line, or each on its own."""
    found = error.errors()
    # where an item of a list is wrong, the list is said to be too short; the item alone is the problem
    places = {item["loc"][:end] for item in found for end in range(len(item["loc"]))}
    lines = [_problem(cls, item) for item in found if item["type"] != "too_short" or item["loc"] not in places]
    if len(lines) == 1:
        return lines[0]
    more = [f"and {len(lines) - MAX_SHOWN} more"] if len(lines) > MAX_SHOWN else []
    return "\n  ".join([f"{len(lines)} problems", *lines[:MAX_SHOWN], *more])


def _problem(cls: type, error: "ErrorDetails") -> str:
    kind, place, value = error["type"], error["loc"], error["input"]
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")
    if kind == "value_error":  # of a `__post_init__`, which names the field
        return ": ".join(filter(None, [where, str(error["ctx"]["error"])]))
    if kind == "missing":
        return f"{where}: is missing"
    if kind == "unexpected_keyword_argument":
        return f"{where}: unknown key; {suggest(str(place[-1]), _keys_at(cls, place[:-1]))}"
    if kind == "literal_error":
        known = re.findall("'(.*?)'", error["ctx"]["expected"])
        return f"{where}: unknown {reprlib.repr(value)}; {suggest(str(value), known)}"
    if kind == "greater_than_equal" and error["ctx"]["ge"] == LEAST:
        return f"{where}: expected greater than 0 (at least {LEAST:g}), got {reprlib.repr(value)}"
    return f"{where}: {re.sub('^[A-Z][a-z]+ should (be|have)', 'expected', error['msg'])}, got {reprlib.repr(value)}"


def _keys_at(cls: Any, place: tuple[int | str, ...]) -> list[str]:
    """The fields of the dataclass at a place of another one."""
    for part in place:
        cls = _dataclass_in(get_type_hints(cls)[part]) if isinstance(part, str) else cls
    return [one.name for one in fields(cls)]


def _dataclass_in(hint: Any) -> Any:
    """The dataclass in a type such as `tuple[DecodeRow, ...]`."""
    return hint if is_dataclass(hint) else next(filter(None, map(_dataclass_in, get_args(hint))), None)
