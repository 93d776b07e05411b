"""Options of a config: a range for each as metadata of its field, and the one check that every config goes through.

A config is a dataclass whose fields are made by `option`; what several fields must be together, its method `conflicts`
says. Hydra's configs, a model directory's JSON and configs made in Python are all checked by `check`.
"""

import dataclasses
import difflib
import json
import math
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from asr.errors import ConfigError

Schema = TypeVar("Schema")
SUGGESTIONS = 3  # names, at most, that a message suggests
ALLOWED, LATER = "allowed", "later"  # keys of a field's metadata


class Conflict(NamedTuple):
    """An option that does not go with others of the same config: its name, `size` or `frontend.stride`, and why."""

    option: str
    message: str  # "expected …, got …"


@dataclass(frozen=True, slots=True)
class Allowed:
    """The values that an option takes; of a list, each of its items. None and empty: no such limit."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    not_empty: bool = False

    def takes(self, value: float | str) -> bool:
        """Whether it is in range."""
        if isinstance(value, str):
            return value in self.choices if self.choices else bool(value) or not self.not_empty
        return (
            math.isfinite(value)
            and (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def range(self) -> str:
        """The range of numbers in words, such as "above 0 and up to 1"; empty where there is none."""
        if self.at_least is not None and self.at_most is not None:
            return f"from {self.at_least:.10g} to {self.at_most:.10g}"
        low = f"{self.at_least:.10g} or more" if self.at_least is not None else ""
        low = f"above {self.above:.10g}" if self.above is not None else low
        high = f"{self.at_most:.10g} or less" if self.at_most is not None and not low else ""
        high = f"up to {self.at_most:.10g}" if self.at_most is not None and low else high
        high = f"below {self.below:.10g}" if self.below is not None else high
        return " and ".join(filter(None, [low, high]))


def option(
    default: Any,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    choices: Iterable[str] = (),
    not_empty: bool = False,
    later: bool = False,
) -> Any:
    """Make a field of a config with its default and its range.

    Args:
        default: the value where nothing else is said; a list or a mapping is copied for each config
        at_least, above, at_most, below: limits of a number, or of each number of a list
        choices: the only texts that it takes
        not_empty: an empty text, or an empty list, is refused; so is an empty text in a list
        later: model directories from before the option lack it, and meant its default

    Example:
        >>> @dataclass
        ... class Model:
        ...     cell: str = option("lstm", choices=["lstm", "gru"])
        ...     dropout: float = option(0.1, at_least=0, below=1)
        >>> check(Model(dropout=1.0))
        Traceback (most recent call last):
        asr.errors.ConfigError: dropout: expected a number, 0 or more and below 1, got 1
    """
    allowed = Allowed(at_least, above, at_most, below, tuple(choices), not_empty)
    metadata = {ALLOWED: allowed, LATER: later}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def default_of(schema: type[Any], name: str, default: Any) -> Any:
    """Make a field for a config that inherits from `schema` and has another default for the option, of equal range."""
    (inherited,) = (each for each in dataclasses.fields(schema) if each.name == name)
    return field(default=default, metadata=inherited.metadata)


# ---- the check ------------------------------------------------------------------------------------------------------


def check(config: Any, where: str = "") -> None:
    """Raise `ConfigError` for an option out of its range, or one that does not go with the others.

    where: what stands before the option's name, such as "model.".
    """
    hints = typing.get_type_hints(type(config))
    for each in dataclasses.fields(config):
        value = getattr(config, each.name)
        if dataclasses.is_dataclass(value):
            check(value, f"{where}{each.name}.")
        else:
            checked_value(hints[each.name], each.metadata.get(ALLOWED, Allowed()), value, f"{where}{each.name}")
    _check_conflicts(config, where)


def check_option(schema: type[Any], name: str, value: Any, where: str) -> Any:
    """Check a value as the option `name` of a config class, which it is given back as; `where` names it in errors."""
    (checked,) = (each for each in dataclasses.fields(schema) if each.name == name)
    return checked_value(typing.get_type_hints(schema)[name], checked.metadata.get(ALLOWED, Allowed()), value, where)


def _check_conflicts(config: Any, where: str) -> None:
    conflicts: Iterator[Conflict] = config.conflicts() if hasattr(config, "conflicts") else iter(())
    for option_name, message in conflicts:
        raise ConfigError(f"{where}{option_name}: {message}")


def checked_value(hint: Any, allowed: Allowed, value: Any, where: str) -> Any:
    """A value of JSON's types as the type that a field is declared with; raises `ConfigError` where it is none."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is list and isinstance(value, list) and (value or not allowed.not_empty):
        return [_checked_item(arguments[0], allowed, item, value, where) for item in value]
    if origin is dict and isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: checked_value(arguments[1], allowed, item, f"{where}.{key}") for key, item in value.items()}
    if hint is Any:
        return value
    converted = _converted(hint, allowed, value)
    if converted is None:
        raise ConfigError(f"{where}: expected {expected(hint, allowed)}, got {shown(value)}{meant(value, allowed)}")
    return converted


def _checked_item(hint: Any, allowed: Allowed, item: Any, whole: Any, where: str) -> Any:
    converted = _converted(hint, allowed, item)
    if converted is None:
        among = f" in {shown(whole)}" if len(whole) > 1 else ""
        raise ConfigError(
            f"{where}: expected {expected(list[hint], allowed)}, got {shown(item)}{among}{meant(item, allowed)}"
        )
    return converted


def _converted(hint: Any, allowed: Allowed, value: Any) -> Any:
    """The value as the type, or None when it is not of it or out of range."""
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < 1e300 else math.inf
    if hint not in (str, bool, int, float) or type(value) is not hint:
        return None
    return value if hint is bool or allowed.takes(value) else None


def expected(hint: Any, allowed: Allowed) -> str:
    """What an option takes, in words that follow "expected".

    >>> expected(int, Allowed(at_least=1)), expected(list[float], Allowed(above=0))
    ('a whole number, 1 or more', 'a list of numbers, each above 0')
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is dict:
        return "options of its own, NAME=VALUE"
    if origin is list:
        kinds = {int: "whole numbers", float: "numbers", str: "texts"}
        some = " that is not empty" if allowed.not_empty else ""
        each = f", each {limits}" if (limits := allowed.range()) else ""
        each = f", each {either(allowed.choices)}" if allowed.choices else each
        return f"a list of {kinds[arguments[0]]}{some}{each}"
    if hint is str:
        return either(allowed.choices) if allowed.choices else "a text" + " that is not empty" * allowed.not_empty
    if hint is bool:
        return "true or false"
    noun = "a whole number" if hint is int else "a number"
    return f"{noun}, {limits}" if (limits := allowed.range()) else noun


def either(names: Iterable[str]) -> str:
    """Join names as a sentence does.

    >>> either(["cosine", "plateau", "constant"])
    'cosine, plateau or constant'
    """
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def shown(value: Any) -> str:
    """A value as a message quotes it."""
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return json.dumps(value, default=str, ensure_ascii=False) if not isinstance(value, str) else repr(value)


def meant(value: Any, allowed: Allowed) -> str:
    """`; did you mean lstm?` for a text that is nearly one of the choices, else nothing."""
    return did_you_mean(value, allowed.choices) if isinstance(value, str) else ""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message that names the nearest of the known names; empty where none is near."""
    lowered = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), lowered, n=1)
    near = near or [each for each in lowered if len(name) > 1 and name.lower() in each][:SUGGESTIONS]
    return f"; did you mean {either(lowered[each] for each in near)}?" if near else ""


# ---- JSON -----------------------------------------------------------------------------------------------------------


def to_json(config: Any) -> dict[str, Any]:
    """A config dataclass as JSON types."""
    return dataclasses.asdict(config)


def from_json(schema: type[Schema], values: Any, where: str = "config") -> Schema:
    """Build a config dataclass from JSON, strictly: options unknown, missing, mistyped or out of range raise.

    Only what is marked `later` may be missing, and has its default then.
    Model directories come from strangers: this reads values and can do nothing else, no interpolation, no imports.

    Raises:
        ConfigError: names `where` and the option.
    """
    config = _built(schema, values, where)
    check(config, f"{where}.")
    return config


def _built(schema: type[Schema], values: Any, where: str) -> Schema:
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}: expected an object, got {type(values).__name__}")
    hints, fields = typing.get_type_hints(schema), dataclasses.fields(schema)  # type: ignore[arg-type]
    if unknown := sorted(set(values) - set(hints)):
        near = did_you_mean(unknown[0], hints) or f"; known are {', '.join(hints)}"
        raise ConfigError(f"{where}: unknown option {unknown[0]!r}{near}")
    if missing := sorted({each.name for each in fields if not each.metadata.get(LATER)} - set(values)):
        raise ConfigError(f"{where}: option {missing[0]!r} is missing")
    built = {}
    for each in fields:
        if each.name in values:
            hint, value, place = hints[each.name], values[each.name], f"{where}.{each.name}"
            is_section = dataclasses.is_dataclass(hint)
            allowed = each.metadata.get(ALLOWED, Allowed())
            built[each.name] = _built(hint, value, place) if is_section else checked_value(hint, allowed, value, place)
    return schema(**built)


def difference(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """What differs between two nested configs, a line each: `optim.lr: 0.001 -> 0.002`."""
    lines = []
    for key in sorted(set(old) | set(new)):
        before, after = old.get(key, "(absent)"), new.get(key, "(absent)")
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            lines += difference(before, after, f"{prefix}{key}.")
        elif before != after:
            lines.append(f"{prefix}{key}: {before} -> {after}")
    return lines
