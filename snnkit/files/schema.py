"""Checks of what a file holds; each says what is needed."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from snnkit.errors import nearest

Check = Callable[[Any], Any]
"""Takes a value and returns it as the program needs it, or raises NeedError."""


class NeedError(ValueError):
    """What is needed in the place of a value, such as `true or false`."""


class UnfitError(ValueError):
    """Content that the schema does not allow, with its place; callers turn it into FileError or InputError."""


def whole(low: int = 1, high: int = 2**31 - 1) -> Check:
    """Return the check for a whole number."""

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise NeedError(f"a whole number from {low} to {high}")
        return value

    return check


def real(low: float = -math.inf, high: float = math.inf) -> Check:
    """Return the check for a finite number."""

    def check(value: Any) -> float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not abs(value) <= 1e308 or not low <= value <= high:
            raise NeedError(f"a finite number from {low:g} to {high:g}")
        return value

    return check


def flag(value: Any) -> bool:
    """Check for true or false."""
    if not isinstance(value, bool):
        raise NeedError("true or false")
    return value


def text(longest: int) -> Check:
    """Return the check for text of at most so many characters."""

    def check(value: Any) -> str:
        if not isinstance(value, str) or len(value) > longest:
            raise NeedError(f"text of at most {longest} characters")
        return value

    return check


def choice(*known: Any) -> Check:
    """Return the check for one of some values."""

    def check(value: Any) -> Any:
        if not any(type(value) is type(one) and value == one for one in known):
            raise NeedError(f"one of {', '.join(map(repr, known))}")
        return value

    return check


def either(*checks: Check) -> Check:
    """Return the check that passes what one of several checks passes."""

    def check(value: Any) -> Any:
        needs = []
        for one in checks:
            try:
                return one(value)
            except NeedError as error:
                needs.append(str(error))
        raise NeedError(", or ".join(needs))

    return check


def rows(check_row: Check, *, most: int, least: int = 0) -> Check:
    """Return the check for a list whose elements pass a check; it returns a tuple."""

    def check(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple) or not least <= len(value) <= most:
            raise NeedError(f"a list of {least} to {most}")
        try:
            return tuple(check_row(element) for element in value)
        except NeedError as error:
            raise NeedError(f"a list, each {error}") from None

    return check


def table(check_value: Check, *, most: int) -> Check:
    """Return the check for a mapping from text to values that pass a check; it returns a dict."""

    def check(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict) or len(value) > most:
            raise NeedError(f"a mapping of at most {most}")
        return {key: named(key, element, check_value) for key, element in value.items()}

    return check


def record(**checks: Check) -> Check:
    """Return the check for a mapping with exactly these keys."""

    def check(value: Any) -> dict[str, Any]:
        exactly(value, checks)
        return {key: named(key, value[key], one) for key, one in checks.items()}

    return check


def exactly(value: Any, keys: Collection[str]) -> None:
    """Raise UnfitError or NeedError unless the value is a mapping with these keys and no other."""
    if not isinstance(value, Mapping):
        raise NeedError(f"a mapping of {', '.join(keys)}")
    for key in value:
        if key not in keys:
            raise UnfitError(f"unknown key {key!r:.80}{nearest(str(key)[:80], keys)}; known: {', '.join(keys)}")
    for key in keys:
        if key not in value:
            raise UnfitError(f"{key!r} is missing; needed are {', '.join(keys)}")


def named(name: str, value: Any, check: Check) -> Any:
    """Return what a check returns; raises UnfitError with the name, and the value where it is at fault."""
    try:
        return check(value)
    except NeedError as need:
        raise UnfitError(f"{name} is {value!r:.80}; needed is {need}") from None
    except UnfitError as error:
        raise UnfitError(f"{name}: {error}") from None


def read_json(content: str, what: str) -> Any:
    """Return JSON as plain data; repeated keys, NaN, infinity and bottomless nesting raise UnfitError."""
    try:
        return json.loads(content, object_pairs_hook=_unique, parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise UnfitError(f"{what} is no JSON that snnkit writes: {str(error)[:120]}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _finite(literal: str) -> float:
    number = float(literal)
    if not math.isfinite(number):
        raise ValueError(f"{literal[:20]} is not a finite number")
    return number
