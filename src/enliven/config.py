"""Values from outside, a TOML file, flags or JSON, become frozen dataclasses here and nowhere else.

The check is strict: an unknown name, a wrong type or a wrong choice is refused with its path, never repaired.
"""

import difflib
import json
import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from enliven.errors import ConfigError

T = TypeVar("T")

UNKNOWN_NAME = {"unexpected_keyword_argument", "extra_forbidden"}


def parse(kind: type[T], values: Mapping[str, Any]) -> T:
    """``values`` as a ``kind``, a frozen dataclass.

    Raises:
        ConfigError: with every fault found, each named by its path.

    """
    for path in _not_finite(values):
        raise ConfigError(f"{path} is not a finite number", hint="give a number")
    try:
        return TypeAdapter(kind).validate_json(json.dumps(values, default=str), strict=True, extra="forbid")
    except ValidationError as error:
        faults = "; ".join(_fault(kind, fault) for fault in error.errors(include_url=False))
        raise ConfigError(faults, hint=f"the settings are {', '.join(_names(kind))}") from None


def read(path: Path) -> dict[str, Any]:
    """The values of a TOML file.

    Raises:
        ConfigError: when the file cannot be read or is not TOML; names the line.

    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(f"cannot read {path}: {reason}", hint="give the path of a TOML run file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}", hint='a line reads: name = "text", or name = 4.0') from None


def override(values: Mapping[str, Any], settings: Iterable[str]) -> dict[str, Any]:
    """``values`` with each ``a.b=value`` of ``settings`` put in its place; a later one wins.

    Raises:
        ConfigError: when a setting has no name or no ``=``, or leads through a plain value.

    """
    merged = json.loads(json.dumps(values, default=str))
    for setting in settings:
        name, equals, text = setting.partition("=")
        *way, last = name.strip().split(".")
        if not equals or not all((*way, last)):
            raise ConfigError(f"--set {setting!r} is not name=value", hint="for example: --set guidance.audio=5.0")
        inner = merged
        for part in way:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"--set {name}: {part!r} is a plain value", hint=f"set {part} itself")
        inner[last] = _value(text.strip())
    return merged


def closest(name: str, known: Iterable[str]) -> str:
    """A "did you mean" sentence for a name that is not among ``known``; empty when none is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]!r}?" if near else ""


def _not_finite(values: Any, path: str = "") -> Iterator[str]:
    """Where infinities and not-a-numbers are; TOML knows both and no setting wants them."""
    if isinstance(values, float) and not math.isfinite(values):
        yield path
    elif isinstance(values, Mapping):
        for name, value in values.items():
            yield from _not_finite(value, f"{path}.{name}".lstrip("."))


def _value(text: str) -> Any:
    """``text`` as a TOML value where it is one, and otherwise as the plain text it is."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _fault(kind: type, fault: Any) -> str:
    path = [str(part) for part in fault["loc"]]
    if fault["type"] in UNKNOWN_NAME:
        guess = closest(path[-1], _names(kind, path[:-1]))
        return f"{'.'.join(path)}: no such setting" + (f", {guess}" if guess else "")
    given = "" if fault["type"].startswith("missing") else f", got {fault['input']!r}"
    return f"{'.'.join(path) or kind.__name__}: {fault['msg']}{given}"


def _names(kind: Any, path: Sequence[str] = ()) -> list[str]:
    """The field names of the dataclass that ``path`` leads to inside ``kind``."""
    for part in path:
        hint = get_type_hints(kind).get(part) if is_dataclass(kind) else None
        kind = next((each for each in (hint, *get_args(hint)) if is_dataclass(each)), object)
    return [field.name for field in fields(kind)] if is_dataclass(kind) else []
