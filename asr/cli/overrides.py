"""`KEY=VALUE` as a user types it: read by Hydra's grammar, and checked against the options and groups that there are.

What is wrong is said here, in words of ours. What Hydra is then given it can compose.
"""

import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from asr.errors import ConfigError
from asr.options import ALLOWED, SUGGESTIONS, Allowed, checked_value, did_you_mean, either, expected

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

HYDRA_OPTIONS = ("hydra.launcher.", "hydra.sweep.dir=", "hydra/launcher=")  # those of its own that serve a purpose here
_KEY = re.compile(r"(?P<prefix>\+\+|\+|~|)(?P<key>[^=]*)(?P<value>=.*|)", re.DOTALL)
_NEEDS_CARE = frozenset("'\"[]{}()=$\\\n")  # in these a value is only quoted by the user, who knows what is meant


class Choice(NamedTuple):
    """One value that an override gives: as Hydra reads it, and as it is."""

    text: str
    value: Any

    @property
    def label(self) -> str:
        """The value as a folder of a sweep names it."""
        return _label(self.value)


@dataclass(frozen=True)
class Given:
    """An override that was read. Several choices are a sweep."""

    prefix: str  # "", "+", "++" or "~"
    key: str
    choices: tuple[Choice, ...]

    def texts(self) -> list[str]:
        """For Hydra, one for each choice."""
        equals = "" if self.prefix == "~" else "="
        return [f"{self.prefix}{self.key}{equals}{choice.text}" for choice in self.choices]


class Option(NamedTuple):
    """What there is to know of an option, or of a section of options: then its dataclass is the type."""

    hint: Any
    allowed: Allowed
    in_mapping: bool  # its last name is one of the user's own


@dataclass(frozen=True)
class Space:
    """What overrides may name: the options of a config, and the groups of named configs."""

    schema: type
    groups: Mapping[str, Sequence[str]]
    appended: tuple[str, ...] = ()  # groups of which no config is taken by default
    takes_several: bool = False  # whether one option may be given several values, for a sweep
    may_sweep: bool = True  # whether there is a sweep to be asked for

    def option(self, key: str) -> Option | None:
        """An option or a section by its dotted name; None when there is none."""
        hint: Any = self.schema
        allowed, in_mapping = Allowed(), False
        for name in key.split("."):
            if is_dataclass(hint):
                found = [each for each in fields(hint) if each.name == name]
                if not found:
                    return None
                hint, allowed = typing.get_type_hints(hint)[name], found[0].metadata.get(ALLOWED, Allowed())
            elif typing.get_origin(hint) is dict and name:
                hint, in_mapping = typing.get_args(hint)[1], True
            elif hint is not Any or not name:
                return None
        return Option(hint, allowed, in_mapping)

    def names(self) -> list[str]:
        """Every option's dotted name, and every group's."""
        return [*dict.fromkeys([*_option_names(self.schema), *self.groups])]

    def nearest(self, key: str) -> str:
        """The end of a message about a name that is not known."""
        same_end = [name for name in self.names() if name.endswith(f".{key.rpartition('.')[2]}")]
        if 0 < len(same_end) <= SUGGESTIONS:
            return f"; did you mean {either(same_end)}?"
        sections = key.rpartition(".")[0]
        siblings = [name for name in self.names() if name.rpartition(".")[0] == sections]
        dotted = key.replace("/", ".")
        return did_you_mean(dotted, siblings) or did_you_mean(dotted, self.names())


def _option_names(schema: Any, prefix: str = "") -> Iterable[str]:
    for name, hint in typing.get_type_hints(schema).items():
        if is_dataclass(hint):
            yield from _option_names(hint, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


# ---- reading --------------------------------------------------------------------------------------------------------


def read_overrides(texts: Iterable[str], space: Space) -> list[Given]:
    """Read and check overrides. Of two that give the same option, or the same group, the later one counts.

    Raises:
        ConfigError: one is not KEY=VALUE, names nothing that there is, or gives a value that its option does not take,
            or several where one run is asked for.
    """
    given: dict[str, Given] = {}
    for text in texts:
        read = _read(text, space)
        given.pop(read.key, None)
        given[read.key] = read
    return list(given.values())


def _read(text: str, space: Space) -> Given:
    if text.startswith(("hydra.", "hydra/")):
        return _read_hydra(text, space)
    match = _KEY.fullmatch(text)
    assert match is not None
    prefix, key, value = match["prefix"], match["key"], match["value"]
    if key != key.strip():
        raise ConfigError(f"{key.strip()}: expected no space around =, got {text!r}")
    if prefix == "~":
        return _read_removal(text, key, space)
    if not value or not key:
        _refuse_bare(text, space)
    if key in space.groups:
        return _read_group(key, value[1:], space)
    found = space.option(key)
    if found is None:
        raise ConfigError(f"{key or text}: unknown option{space.nearest(key)}")
    return _read_option(key, value[1:], found, space)


def _read_hydra(text: str, space: Space) -> Given:
    if not text.startswith(HYDRA_OPTIONS):
        raise ConfigError(
            f"{text.partition('=')[0]}: expected hydra.sweep.dir, hydra/launcher or an option of hydra.launcher; the "
            "others of Hydra's own have no use here"
        )
    key, _, value = text.partition("=")
    parsed = _parse(key, value)
    return Given("", key, _choices(key, parsed, space))


def _read_removal(text: str, key: str, space: Space) -> Given:
    section = key.rpartition(".")[0]
    holder = space.option(section) if section else None
    if holder is None or typing.get_origin(holder.hint) is not dict or "=" in text:
        raise ConfigError(f"{text}: expected ~ before a name in data.test or data.options, such as ~data.test.NAME")
    return Given("~", key, (Choice("", ""),))


def _refuse_bare(text: str, space: Space) -> typing.NoReturn:
    known = space.option(text) is not None or text in space.groups
    if known:
        raise ConfigError(f"{text}: expected a value, {text}=VALUE without spaces around =, got none")
    path = f"[{text}]" if Path(text).suffix or Path(text).exists() else "[train.jsonl]"
    manifest = "data.train" if space.option("data.train") else "training.epochs"
    example = f"{manifest}={path}" if manifest == "data.train" else f"{manifest}=3"
    raise ConfigError(f"expected KEY=VALUE, such as {example}, got {text!r}")


def _read_group(key: str, value: str, space: Space) -> Given:
    names = sorted(space.groups[key])
    if value.startswith("{"):
        raise ConfigError(f"{key}: expected {either(names)}, got {value}; single options are {key}.NAME=VALUE")
    choices = _choices(key, _parse(key, value, names), space)
    for choice in choices:
        name = choice.value
        if name not in names:
            near = did_you_mean(str(name), names)
            if space.option(f"{key}.{name}"):
                near = f"; {key}.{name}=VALUE sets that option"
            raise ConfigError(f"{key}: expected {either(names)}, got {name!r}{near}")
    return Given("+" if key in space.appended else "", key, choices)


def _read_option(key: str, value: str, option: Option, space: Space) -> Given:
    hint, name = option.hint, key.rpartition(".")[2]
    if is_dataclass(hint):
        first = next(iter(typing.get_type_hints(hint)))
        raise ConfigError(f"{key}: expected one of its options, such as {key}.{first}=VALUE, got {value!r}")
    if typing.get_origin(hint) is dict and not value.startswith(("{", "${")):
        raise ConfigError(f"{key}: expected a name in it, {key}.NAME={value or 'VALUE'}, got {value!r}")
    if option.in_mapping and not re.fullmatch(r"[A-Za-z_][\w-]*|[0-9]+", name, re.ASCII):
        raise ConfigError(f"{key}: expected a name of letters a-z, digits, - and _, a letter first, got {name!r}")
    parsed = _parse(key, value)
    choices = _choices(key, parsed, space, is_list=typing.get_origin(hint) is list)
    is_mapping = option.in_mapping or typing.get_origin(hint) is dict
    checked = tuple(_checked(key, choice, hint, option.allowed) for choice in choices)
    return Given("++" if is_mapping else "", key, checked)


def _checked(key: str, choice: Choice, hint: Any, allowed: Allowed) -> Choice:
    """A choice as Hydra is given it: a text where a list is wanted is a list of one."""
    value = choice.value
    if _is_interpolated(value):
        return choice
    if typing.get_origin(hint) is list and not isinstance(value, (list, dict)) and value is not None:
        item_hint = typing.get_args(hint)[0]
        if item_hint is str and value == "":
            raise ConfigError(f"{key}: expected {expected(hint, allowed)}, got ''; an empty list is {key}=[]")
        return Choice(f"[{_checked(key, choice, item_hint, allowed).text}]", value)
    if hint is str and isinstance(value, (bool, int, float)):  # it only looks like one: 007, 1e3, true
        return Choice(quoted(choice.text), choice.text)
    if hint == list[str] and isinstance(value, list):
        value = [str(item) if isinstance(item, (bool, int, float)) else item for item in value]
    if hint is int and isinstance(value, float) and value.is_integer():  # 1e5
        choice = Choice(str(int(value)), int(value))
    checked_value(hint, allowed, value if choice.value is value else choice.value, key)
    return choice


def _is_interpolated(value: Any) -> bool:
    if isinstance(value, (list, dict)):
        return any(map(_is_interpolated, value.values() if isinstance(value, dict) else value))
    return isinstance(value, str) and "${" in value


# ---- Hydra's grammar ------------------------------------------------------------------------------------------------


def _parse(key: str, value: str, names: Sequence[str] = ()) -> "Override":
    """Parse a value. names: of a group, for globs."""
    from hydra.errors import HydraException

    for text in (value, _quoted_where_harmless(value)):
        if text is not None:
            try:
                return _checked_sweep(key, _parser().parse_override(f"key={text}"), names)
            except HydraException:
                continue
    raise ConfigError(f"{key}: {_advice(key, value)}")


@cache
def _parser() -> Any:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create()


def _quoted_where_harmless(value: str) -> str | None:
    """A path with letters or signs that the grammar lacks (ö, ~, #, &) in quotes; None where it could mean another."""
    is_list = value.startswith("[") and value.endswith("]")
    items = (value[1:-1] if is_list else value).split(",")
    if any(_NEEDS_CARE.intersection(item) or not item.strip() for item in items):
        return None
    text = ",".join(quoted(item.strip()) for item in items)
    return f"[{text}]" if is_list else text


def _advice(key: str, value: str) -> str:
    is_list = value.startswith("[") and value.endswith("]")
    if value.count("[") != value.count("]") or value.count("{") != value.count("}"):
        return f"expected brackets in pairs, got {value!r}; a text with brackets of its own is in quotes"
    if any(value.count(mark) % 2 for mark in "'\""):
        return f"expected quotation marks in pairs, got {value!r}"
    if value.startswith(",") or value.endswith(",") or ",," in value:
        return f"expected a value at each side of a comma, got {value!r}"
    items = [f'"{item.strip()}"' for item in value[1:-1].split(",")]
    in_quotes = f"[{','.join(items)}]" if is_list else f'"{value}"'
    return f"quote the value {value}, and that from the shell: '{key}={in_quotes}'"


def quoted(text: str) -> str:
    """A text as Hydra's grammar reads it back, whatever its characters.

    >>> quoted("it's lr=1"), quoted(r"C:\\new")
    ("'it\\\\'s lr=1'", "'C:\\\\new'")
    """
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", text)  # backslashes count before a quotation mark only
    escaped = re.sub(r"(\\+)$", r"\1\1", escaped)
    return f"'{escaped}'"


def _checked_sweep(key: str, parsed: "Override", names: Sequence[str]) -> "Override":
    from hydra.core.override_parser.types import Glob

    if parsed.is_interval_sweep():
        raise ConfigError(
            f"{key}: expected values to train with, such as {key}=1,2 or {key}=range(1,3), got an interval"
        )
    if isinstance(parsed._value, Glob):
        found = parsed._value.filter(list(names))
        if not found:
            among = f" among {either(names)}" if names else ": a glob is for groups such as model"
            raise ConfigError(f"{key}: expected a glob that matches{among}, got one that matches none")
        parsed = _parser().parse_override(f"key=choice({','.join(found)})")
    return parsed


def _choices(key: str, parsed: "Override", space: Space, is_list: bool = False) -> tuple[Choice, ...]:
    """The values that an override gives. is_list: the option takes several at once."""
    from hydra.core.override_parser.types import Transformer

    if not parsed.is_sweep_override():
        return (Choice(parsed.get_value_string(), parsed.value()),)
    values = list(parsed.sweep_iterator())
    if not values:
        raise ConfigError(f"{key}: expected at least one value, got a range without any")
    choices = tuple(Choice(Transformer.str(value), parsed._convert_value(value)) for value in values)
    if len(choices) > 1 and not space.takes_several:
        together = ",".join(choice.text for choice in choices)
        way_out = f"{key}=[{together}] takes all of them" if is_list else "a text with commas is in quotes"
        sweep = "-m (of asr train and asr run) trains once with each; " if space.may_sweep else ""
        raise ConfigError(f"{key}: expected one value, got {len(choices)}, {together}; {sweep}{way_out}")
    return choices


def _label(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(_label, value))
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, float) else str(value)
