"""A worker's life: its shared memory has a name of its own, it ends with its parent, and it leaves nothing behind."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import secrets
import shutil
import signal
import stat
import sys
import threading
import traceback
from multiprocessing import resource_tracker, shared_memory
from pathlib import Path

from snnkit_lava_worker.job import Job

POLL = 0.02
LEAVING = threading.RLock()
"""Held from the first wish to leave until the end, so that no other thread leaves earlier with half of it done."""
ORPHANED = threading.Event()
"""Set when the parent is gone: then nobody takes the job's folder away but this program, whichever thread ends it."""


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
    except BaseException as error:
        leave(job, 1, why=getattr(error, "trace", None) or traceback.format_exc())
    (job.folder / "done").touch()
    return 0


def name_shared_memory(token: str) -> None:
    """Give all shared memory that this program and its children make a name that tells whose it is."""
    shared_memory._make_filename = lambda: f"/snnkit_{token}_{secrets.token_hex(4)}"


def end_with_parent(job: Job) -> None:
    """Leave, and take the folder away, when the standard input, where it is a pipe, closes: the parent is gone."""
    if sys.stdin is not None and stat.S_ISFIFO(os.fstat(sys.stdin.fileno()).st_mode):
        while os.read(sys.stdin.fileno(), 4096):
            pass
        ORPHANED.set()
        leave(job, 1)


def watch(job: Job, stopping: threading.Event) -> None:
    """Leave as soon as a model has failed, or a process of Lava has died, until told that all is done."""
    known: set[multiprocessing.Process] = set()
    while not stopping.wait(POLL):
        known.update(multiprocessing.active_children())
        if (job.folder / "failure.txt").exists():
            leave(job, 1)
        for child in known:
            if child.exitcode is not None and not stopping.is_set():
                ended = f"a process of Lava, {child.name}, ended with code {child.exitcode} before the run had"
                leave(job, 1, why=ended)


def leave(job: Job, code: int, *, why: str | None = None) -> None:
    """End this program and all that it started at once, with its shared memory, and its folder if it is an orphan.

    Args:
        job: what it worked on.
        code: the exit code.
        why: what to write as the reason of a failure.
    """
    if os.getpid() != job.process:
        os._exit(code)
    LEAVING.acquire()
    if why is not None:
        job.fail(why)
    while started := multiprocessing.active_children():
        for child in started:
            child.kill()
            child.join()
    tracker = getattr(resource_tracker._resource_tracker, "_pid", None)
    if tracker is not None:
        with contextlib.suppress(OSError):
            os.kill(tracker, signal.SIGKILL)
            os.waitpid(tracker, 0)
    for segment in Path("/dev/shm").glob(f"snnkit_{job.token}_*"):
        segment.unlink(missing_ok=True)
    if ORPHANED.is_set():
        shutil.rmtree(job.folder, ignore_errors=True)
    os._exit(code)
