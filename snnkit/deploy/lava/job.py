"""One job for the worker: a process group of its own, a hard limit of time, and nothing left behind."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from snnkit.deploy.lava.environment import interpreter, worker_folder
from snnkit.errors import BackendError, InputError

_POLL = 0.01
_GRACE = 3.0


@contextlib.contextmanager
def answers(
    job: Mapping[str, Any], write: Callable[[Path], object], x: np.ndarray, *, timeout: float
) -> Iterator[Path]:
    """Run a job, and give the folder of its answers while the block lasts.

    Args:
        job: fields of the worker's Job; folder, input and token are added.
        write: writes the network to the path that it is given.
        x: input [samples, steps, features].
        timeout: seconds until the worker is ended.
    Raises:
        BackendError: the worker failed, died, or took too long.
        MissingPackageError: there is no Lava environment.
        InputError: a timeout that is no number of seconds.
    """
    if not isinstance(timeout, int | float) or not timeout > 0:
        raise InputError(f"timeout is {timeout!r:.80}; seconds are needed, such as timeout=600")
    python, token = interpreter(), secrets.token_hex(4)
    with tempfile.TemporaryDirectory(prefix="snnkit-lava-") as name:
        folder = Path(name)
        write(folder / job["network"])
        np.save(folder / "x.npy", x)
        (folder / "job.json").write_text(json.dumps({**job, "input": "x.npy", "token": token}))
        _work(python, folder, token, timeout)
        yield folder


def _work(python: Path, folder: Path, token: str, timeout: float) -> None:
    """Start the worker, wait for it, and end whatever is left of it in any case."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "SNNKIT_LAVA_JOB": token}
    start = time.monotonic()
    with open(folder / "log.txt", "wb") as log:
        worker = subprocess.Popen(
            [str(python), "-s", str(worker_folder() / "worker.py"), str(folder)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
    try:
        while worker.poll() is None and time.monotonic() - start < timeout:
            time.sleep(_POLL)
        late = worker.returncode is None and not (folder / "failure.txt").exists()
    finally:
        with _uninterrupted():
            code = _end(worker, token)
    if late:
        raise BackendError(
            f"Lava did not finish within {timeout:g} s and was ended; give a larger timeout=, or a shorter input"
        )
    _judge(code, folder)


def _judge(code: int, folder: Path) -> None:
    """Raise BackendError unless the worker finished its job."""
    failure = folder / "failure.txt"
    if failure.exists():
        raise BackendError(f"the Lava worker failed:\n{failure.read_text().rstrip()}")
    if not (folder / "done").exists():
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
        log = (folder / "log.txt").read_text(errors="replace").strip()[-2000:]
        raise BackendError(f"the Lava worker was ended {how} before it had finished" + (f":\n{log}" if log else ""))


def _end(worker: subprocess.Popen[bytes], token: str) -> int:
    """End the worker's process group, gently if it can be done, and what shared memory it made; return its code."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if worker.poll() is None or _alive(worker.pid):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(worker.pid, number)
        limit = time.monotonic() + _GRACE
        while time.monotonic() < limit and (worker.poll() is None or _alive(worker.pid)):
            time.sleep(_POLL)
    code = worker.wait()
    if worker.stdin is not None:
        worker.stdin.close()
    for segment in Path("/dev/shm").glob(f"snnkit_{token}_*"):
        segment.unlink(missing_ok=True)
    return code


def _alive(group: int) -> bool:
    """Return whether a process of a group still runs; one that has ended and waits to be collected does not."""
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            state, _, own = path.read_text().rpartition(")")[2].split()[:3]
            if int(own) == group and state not in "ZX":
                return True
    return not Path("/proc/self/stat").exists()


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let a Ctrl-C wait until the block has ended."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came = []
    before = signal.signal(signal.SIGINT, lambda *_: came.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            raise KeyboardInterrupt
