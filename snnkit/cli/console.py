"""Where commands print: a terminal as it is, a file or pipe with lines long enough for tables."""

from __future__ import annotations

import os

from rich.console import Console

_WIDTH = 120


def standard() -> Console:
    """Return the console of standard output; where that is no terminal, `COLUMNS` or 120 wide."""
    found = Console(highlight=False)
    if not found.is_terminal and "COLUMNS" not in os.environ:
        found = Console(highlight=False, width=_WIDTH)
    return found
