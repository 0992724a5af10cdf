"""A progress bar that shows itself once the work has taken two seconds, and only on a terminal."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_PATIENCE = 2.0


class Bar:
    """A bar over a known number of steps, for use in a `with` block.

    Args:
        total: steps of the whole work.
        done: steps already done.
        shown: False keeps it hidden whatever the terminal.

    Example:
        >>> with Bar(3, shown=False) as bar:
        ...     bar.advance("first step")
    """

    def __init__(self, total: int, *, done: int = 0, shown: bool = True) -> None:
        self._total = total
        self._done = done
        self._console = Console(stderr=True)
        self._shown = shown and self._console.is_terminal
        self._since = time.monotonic()
        self._progress: Progress | None = None

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def advance(self, text: str, steps: int = 1) -> None:
        """Move on by some steps and show a text beside the bar."""
        self._done += steps
        if not self._shown:
            return
        if self._progress is None and time.monotonic() - self._since >= _PATIENCE:
            self._start()
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], completed=self._done, description=text)

    def _start(self) -> None:
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        self._progress = Progress(*columns, console=self._console, transient=True)
        self._progress.add_task("", total=self._total, completed=self._done)
        self._progress.start()
