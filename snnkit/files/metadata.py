"""Where a file came from, and what its writer noted in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from snnkit.errors import InputError
from snnkit.files.schema import UnfitError, read_json


@dataclass(frozen=True)
class About:
    """Where a file came from.

    Args:
        kind: `network`, `recording` or `results`.
        format: version of the file's layout.
        snnkit, torch: versions that wrote it.
        created: when it was written, UTC.
        metadata: what its writer noted.
    """

    kind: str
    format: int
    snnkit: str
    torch: str
    created: datetime
    metadata: dict[str, Any]

    @classmethod
    def read(cls, kind: str, attributes: Mapping[str, Any], metadata: Any) -> About:
        """Make it from a file's attributes and text; raises UnfitError where they do not fit."""
        for name in ("snnkit", "torch", "created"):
            if not isinstance(attributes[name], str):
                raise UnfitError(f"attribute {name!r} is {attributes[name]!r:.40}; needed is a text")
        try:
            created = datetime.fromisoformat(attributes["created"])
        except ValueError:
            raise UnfitError(f"created is {attributes['created']!r:.40}; needed is a date and time") from None
        noted = read_json(metadata, "metadata") if isinstance(metadata, str) else None
        if not isinstance(noted, dict):
            raise UnfitError("/metadata is not a mapping in JSON")
        return cls(kind, attributes["version"], attributes["snnkit"], attributes["torch"], created, noted)


def to_json(metadata: Mapping[str, Any] | None) -> str:
    """Return metadata as JSON from which the same data is read.

    Raises:
        InputError: it holds anything but text, finite numbers, true, false, None, lists, and dicts with text keys.
    """
    noted = dict(metadata or {})
    try:
        content = json.dumps(noted, ensure_ascii=False, allow_nan=False, indent=1)
        content.encode()
        same = json.loads(content) == noted
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"metadata is text, finite numbers, lists and dicts of them: {error}") from None
    if not same:
        raise InputError("metadata does not come back the same: use lists for tuples, and text for keys")
    return content
