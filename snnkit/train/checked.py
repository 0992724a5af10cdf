"""Sections of settings: frozen dataclasses, strict about names, types and ranges, from a file or from Python."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, TypeVar, get_args, get_origin, get_type_hints

from snnkit.errors import RecipeError, nearest

_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", tuple: "a list"}


@dataclass(frozen=True)
class Limits:
    """What a value may be: `low` and `high` themselves are allowed, `above` and `below` are not."""

    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    filled: bool = False
    example: Any = None


@dataclass(frozen=True)
class Checked:
    """A section whose values are checked whether they come from a file or from Python.

    Raises:
        RecipeError: a value of the wrong type or out of range.
    """

    section: ClassVar[str]

    def __post_init__(self) -> None:
        for name, field in fields(type(self)).items():
            value = _converted(getattr(self, name), field)
            object.__setattr__(self, name, value)
            needed = _needed(value, field)
            if needed:
                example = next(iter(get_close_matches(str(value), field.limits.choices, 1, 0.5)), field.example)
                raise RecipeError(
                    f"[{self.section}] {name} is {shown(value)}; needed is {needed}: "
                    f"type e.g. {name} = {shown(example)}"
                )


Section = TypeVar("Section", bound=Checked)


@dataclass(frozen=True)
class Field:
    """One key of a section: the types it takes, its limits, a good value, and whether it must be given."""

    kinds: tuple[Any, ...]
    limits: Limits
    example: Any
    required: bool

    @property
    def inner(self) -> type[Checked] | None:
        """The section that the key holds, or None."""
        return next((kind for kind in self.kinds if isinstance(kind, type) and issubclass(kind, Checked)), None)


def fields(section: type[Checked]) -> dict[str, Field]:
    """Return the keys of a section."""
    hints = get_type_hints(section, include_extras=True)
    found = {}
    for field in dataclasses.fields(section):
        hint = hints[field.name]
        limits = Limits()
        if get_origin(hint) is Annotated:
            hint, limits = get_args(hint)
        kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        example = field.default if limits.example is None else limits.example
        found[field.name] = Field(kinds, limits, example, required)
    return found


def make(kind: type[Section], table: Any, *, elsewhere: Iterable[type[Checked]] = ()) -> Section:
    """Make a section from a table, as `tomllib` reads it.

    Args:
        kind: the section.
        table: its keys and values.
        elsewhere: sections in which an unknown key may belong.
    Raises:
        RecipeError: no table, an unknown or missing key, a value of the wrong type or out of range.
    """
    if not isinstance(table, Mapping):
        raise RecipeError(f"[{kind.section}] is {shown(table)}; needed is a table: type [{kind.section}]")
    known, values = fields(kind), dict(table)
    for key in table:
        if key not in known:
            raise RecipeError(f"[{kind.section}] has no key {key!r}{_where(key, kind, elsewhere)}")
    for name, field in known.items():
        if field.required and name not in table:
            raise RecipeError(
                f"[{kind.section}] needs {name}, which is missing: type e.g. {name} = {shown(field.example)}"
            )
        if field.inner is not None and isinstance(table.get(name), Mapping):
            values[name] = make(field.inner, table[name], elsewhere=elsewhere)
    return kind(**values)


def within(section: type[Checked]) -> Iterator[type[Checked]]:
    """Yield a section and those that its keys hold.

    Example:
        >>> from snnkit.train.recipe import TrainSettings
        >>> [found.section for found in within(TrainSettings)]
        ['train', 'train.rate_regulariser']
    """
    yield section
    for field in fields(section).values():
        if field.inner is not None:
            yield from within(field.inner)


def _where(key: str, kind: type[Checked], elsewhere: Iterable[type[Checked]]) -> str:
    """Say where an unknown key belongs, else the nearest key here, else all keys here."""
    places = [f"[{other.section}]" for other in elsewhere if other is not kind and key in fields(other)]
    if places:
        return f"; it belongs in {' or '.join(places)}"
    known = fields(kind)
    return nearest(key, known) or f"; known: {', '.join(known)}"


def _converted(value: Any, field: Field) -> Any:
    """Turn what TOML has into what the field holds: lists into tuples, whole numbers into numbers, tables."""
    if tuple in field.kinds and isinstance(value, list):
        return tuple(value)
    if float in field.kinds and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if field.inner is not None and isinstance(value, Mapping):
        return make(field.inner, value)
    return value


def _needed(value: Any, field: Field) -> str:
    """Return what is needed where the value does not do, else an empty text."""
    if (value is None and NoneType in field.kinds) or (Any in field.kinds and callable(value)):
        return ""
    if field.limits.choices:
        known = field.limits.choices
        return "" if value in known else f"one of {', '.join(known)}"
    kinds = tuple(kind for kind in field.kinds if kind is not NoneType)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        return _WORDS.get(kinds[0], "a table")
    if isinstance(value, float) and not math.isfinite(value):
        return "a finite number"
    if field.limits.filled and not value:
        return "a text that is not empty"
    return _range(field.limits) if isinstance(value, int | float) and _outside(value, field.limits) else ""


def _outside(value: float, limits: Limits) -> bool:
    return (
        (limits.low is not None and value < limits.low)
        or (limits.high is not None and value > limits.high)
        or (limits.above is not None and value <= limits.above)
        or (limits.below is not None and value >= limits.below)
    )


def _range(limits: Limits) -> str:
    words = {"at least": limits.low, "at most": limits.high, "above": limits.above, "below": limits.below}
    return " and ".join(f"{word} {bound}" for word, bound in words.items() if bound is not None)


def shown(value: Any) -> str:
    """Write a value as TOML does.

    Example:
        >>> shown({"low": 0.1, "names": ["a", True]})
        '{low = 0.1, names = ["a", true]}'
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {shown(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(shown, value)) + "]"
    return "nothing" if value is None else str(value)
