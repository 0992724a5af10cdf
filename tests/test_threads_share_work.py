"""Work on several threads covers every item once, and does not wait for a thread that starts late."""

from __future__ import annotations

import os
import threading

import pytest

from snnkit import threads


@pytest.mark.parametrize("items", [0, 1, 63, 64, 65, 1000])
@pytest.mark.parametrize("piece", [None, 64, 128])
def test_every_item_is_worked_on_once(items: int, piece: int | None) -> None:
    parts: list[tuple[int, int]] = []
    threads.split(lambda low, high: parts.append((low, high)), items, most=3, grain=64, piece=piece)
    covered = [item for low, high in sorted(parts) for item in range(low, high)]
    assert covered == list(range(items))
    assert all(low % 64 == 0 for low, _ in parts)
    assert piece is None or items <= 64 or all(high - low <= piece for low, high in parts)


def test_a_thread_that_starts_late_is_not_waited_for() -> None:
    busy = threading.Event()
    blocker = [threads._pool(2, os.getpid()).submit(busy.wait) for _ in range(2)]
    parts: list[tuple[int, int]] = []
    threads.split(lambda low, high: parts.append((low, high)), 8, most=2)
    assert parts == [(0, 4), (4, 8)]
    busy.set()
    assert all(future.result(timeout=10) for future in blocker)


def test_an_error_in_any_thread_is_raised() -> None:
    together = threading.Barrier(2, timeout=10)

    def run(low: int, high: int) -> None:
        together.wait()
        if low:
            raise ValueError("in the second stretch")

    with pytest.raises(ValueError, match="in the second stretch"):
        threads.split(run, 8, most=2)
