"""The command line. Nothing here imports torch before a command needs it."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the `snnkit` command; errors of snnkit are one line on stderr, tracebacks come with `--debug`.

    Args:
        arguments: words after `snnkit`; those of the process if None.
    """
    from snnkit.cli.app import run

    run(list(sys.argv[1:] if arguments is None else arguments))
