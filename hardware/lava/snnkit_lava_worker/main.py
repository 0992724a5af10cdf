"""A worker's life: its shared memory has a name of its own, it ends with its parent, and it leaves nothing behind."""

from __future__ import annotations

import multiprocessing
import os
import secrets
import signal
import sys
import threading
import traceback
from multiprocessing import connection, resource_tracker, shared_memory
from pathlib import Path

from snnkit_lava_worker.job import Job

POLL = 0.02


def check() -> int:
    """Import all that jobs need, and return 0."""
    from snnkit_lava_worker import network, simulate  # noqa: F401
    from snnkit_lava_worker.netx import import_netx

    import_netx()
    return 0


def run(folder: Path) -> int:
    """Run a folder's job; return 0, or 1 after writing why it failed."""
    job = Job.read(folder.resolve())
    name_shared_memory(job.token)
    signal.signal(signal.SIGTERM, lambda *_: leave(job, 1))
    threading.Thread(target=end_with_parent, args=(job,), daemon=True).start()
    try:
        from snnkit_lava_worker import simulate

        simulate.run(job)
    except BaseException:
        job.fail(traceback.format_exc())
        leave(job, 1)
    (job.folder / "done").touch()
    return 0


def name_shared_memory(token: str) -> None:
    """Give all shared memory that this program and its children make a name that tells whose it is."""
    shared_memory._make_filename = lambda: f"/snnkit_{token}_{secrets.token_hex(4)}"


def end_with_parent(job: Job) -> None:
    """Wait until the standard input closes, which it does when the parent is gone, and leave."""
    if sys.stdin is not None and not sys.stdin.isatty():
        while os.read(sys.stdin.fileno(), 4096):
            pass
        leave(job, 1)


def watch(job: Job, stopping: threading.Event) -> None:
    """Leave as soon as a model has failed, or one of the processes has died, until told that all is done."""
    children = multiprocessing.active_children()
    sentinels = {child.sentinel: child for child in children}
    while not stopping.is_set():
        ended = connection.wait(list(sentinels), timeout=POLL)
        if stopping.is_set():
            return
        if (job.folder / "failure.txt").exists():
            leave(job, 1)
        if ended:
            child = sentinels[ended[0]]
            child.join(1)
            job.fail(f"a process of Lava, {child.name}, ended with code {child.exitcode} in the middle of the run")
            leave(job, 1)


def leave(job: Job, code: int) -> None:
    """End this program and all that it started at once, with its shared memory."""
    for child in multiprocessing.active_children():
        child.kill()
        child.join(1)
    tracker = getattr(resource_tracker._resource_tracker, "_pid", None)
    if tracker is not None:
        os.kill(tracker, signal.SIGKILL)
        os.waitpid(tracker, 0)
    for segment in Path("/dev/shm").glob(f"snnkit_{job.token}_*"):
        segment.unlink()
    os._exit(code)
