"""Whatever happens to a run on Lava, it ends in time with a clear error, and nothing of it is left."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

import snnkit
from snnkit.deploy import Connection, Dense, IntegerNetwork, Population, draw, lava, store
from snnkit.deploy.lava import job
from snnkit.deploy.lava.environment import worker_folder
from snnkit.errors import BackendError

pytestmark = pytest.mark.lava

CHIP = IntegerNetwork(
    (5,),
    (Population("hidden", (6,), 1000, 200, 60), Population("out", (3,), np.int32(4095), 500, 30)),
    (
        Connection("first", "input", "hidden", Dense(np.full((6, 5), 40))),
        Connection("second", "hidden", "out", Dense(np.full((3, 6), 40), np.full((3, 6), 3))),
    ),
)
ENDLESS = torch.ones(100_000, 1, 5)


def processes(token: str) -> list[int]:
    """Return the processes of a job: the worker, then the rest, those of Lava last."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"SNNKIT_LAVA_JOB={token}".encode() in (path / "environ").read_bytes():
                process, forked = int(path.name), b"worker.py" in (path / "cmdline").read_bytes()
                found.append((os.getsid(process) != process, forked, process))
    return [process for *_, process in sorted(found)]


def segments(token: str) -> list[str]:
    return [name for name in os.listdir("/dev/shm") if token in name]


@pytest.fixture
def tokens(monkeypatch):
    """Collect the jobs of a test; when it ends, nothing of them may be left, and this process still runs jobs."""
    found = []
    draw_token = job.secrets.token_hex

    def token_hex(count: int) -> str:
        found.append(draw_token(count))
        return found[-1]

    monkeypatch.setattr(job.secrets, "token_hex", token_hex)
    yield found
    assert found
    for token in found:
        assert processes(token) == []
        assert segments(token) == []


def when_running(tokens: list[str], act) -> threading.Thread:
    """Do something to the processes of a job as soon as all of them are there."""

    def wait() -> None:
        limit = time.monotonic() + 60
        while not tokens or len(processes(tokens[-1])) < 8 or not segments(tokens[-1]):
            time.sleep(0.02)
            assert time.monotonic() < limit, "the job did not start"
        time.sleep(0.3)
        act(processes(tokens[-1]))

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_a_run_that_ends_well(tokens) -> None:
    x = torch.ones(12, 3, 5)
    spikes, state = lava.run(CHIP, x)
    expected, after = CHIP.run(x)
    assert torch.equal(spikes, expected)
    assert spikes.dtype == torch.uint8
    assert torch.equal(state["out"]["v"], after["out"]["v"])


def test_an_exception_in_a_process_model_comes_with_its_traceback(tokens, tmp_path) -> None:
    store.save(CHIP, tmp_path / "chip.h5")
    with h5py.File(tmp_path / "chip.h5", "r+") as file:
        file["connections/second/synapses/delay"][...] = 70
    task = {"kind": "network", "network": "chip.h5", "record": ["out"]}
    start = time.monotonic()
    with (
        pytest.raises(BackendError, match=r"(?s)exception in step 1 of PyDelayDense.*ValueError: .*between 0 and 63"),
        job.answers(task, partial(shutil.copyfile, tmp_path / "chip.h5"), np.ones((1, 9, 5), np.int32), timeout=60),
    ):
        pass
    assert time.monotonic() - start < 20


def test_an_exception_before_the_first_step_comes_with_its_traceback(tokens, tmp_path) -> None:
    (tmp_path / "chip.h5").write_text("no file of ours")
    task = {"kind": "network", "network": "chip.h5", "record": ["out"]}
    with (
        pytest.raises(BackendError, match=r"(?s)the Lava worker failed:.*Traceback.*file signature not found"),
        job.answers(task, partial(shutil.copyfile, tmp_path / "chip.h5"), np.ones((1, 9, 5), np.int32), timeout=60),
    ):
        pass


def test_a_worker_that_is_killed(tokens) -> None:
    thread = when_running(tokens, lambda found: os.kill(found[0], signal.SIGKILL))
    with pytest.raises(BackendError, match="the Lava worker was ended by signal SIGKILL before it had finished"):
        lava.run(CHIP, ENDLESS, timeout=60)
    thread.join()


def test_a_process_of_lava_that_is_killed(tokens) -> None:
    thread = when_running(tokens, lambda found: os.kill(found[-1], signal.SIGKILL))
    with pytest.raises(BackendError, match=r"a process of Lava, .*, ended with code -9 before the run had"):
        lava.run(CHIP, ENDLESS, timeout=60)
    thread.join()


def test_a_run_that_takes_too_long(tokens) -> None:
    start = time.monotonic()
    with pytest.raises(BackendError, match=r"Lava did not finish within 2\.5 s and was ended; give a larger timeout="):
        lava.run(CHIP, ENDLESS, timeout=2.5)
    assert time.monotonic() - start < 20


def test_two_runs_at_once(tokens) -> None:
    chips = [draw.network(seed) for seed in (4, 5)]
    inputs = [draw.spikes(chip, 0, steps=15) for chip in chips]
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lava.run, chips, inputs))
    for chip, x, (spikes, _) in zip(chips, inputs, answers, strict=True):
        assert torch.equal(spikes, chip.run(x)[0])
    assert len(set(tokens)) == 2


SCRIPT = """
import signal, sys, torch
# What starts the tests may have them ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, {tests!r})
from test_lava_leaves_nothing_behind import CHIP, ENDLESS, job, lava

tokens, token_hex = [], job.secrets.token_hex
job.secrets.token_hex = lambda n: tokens.append(token_hex(n)) or print(tokens[-1], flush=True) or tokens[-1]
torch.ones(500, 500) @ torch.ones(500, 500)
try:
    lava.run(CHIP, ENDLESS, timeout=60)
except KeyboardInterrupt:
    print("interrupted", lava.check(CHIP, torch.ones(9, 1, 5)).mismatches, flush=True)
"""


@pytest.fixture
def started(tmp_path):
    """Start a program that runs on Lava for long; give it, and the word for its job."""
    script = SCRIPT.format(tests=str(Path(__file__).parent))
    environment = os.environ | {"PYTHONPATH": str(Path(snnkit.__file__).parent.parent), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", script], stdout=subprocess.PIPE, text=True, env=environment
    ) as program:
        assert program.stdout is not None
        token = program.stdout.readline().strip()
        when_running([token], lambda _: None).join()
        assert list(tmp_path.glob("snnkit-lava-*"))
        yield program, token
        assert not list(tmp_path.glob("snnkit-lava-*"))
        if program.poll() is None:
            program.kill()


def test_ctrl_c_in_the_parent(started) -> None:
    program, token = started
    program.send_signal(signal.SIGINT)
    answer, _ = program.communicate(timeout=60)
    second, _, said = answer.partition("\n")
    assert said == "interrupted 0\n" and program.returncode == 0
    for job_token in (token, second):
        assert processes(job_token) == [] and segments(job_token) == []


LEAVING = """
import sys, threading, time
from pathlib import Path
sys.path.insert(0, {worker!r})
from snnkit_lava_worker import main
from snnkit_lava_worker.job import Job

job = Job(Path({folder!r}), "network", "chip.h5", "x.npy", "of this test")
begun = threading.Event()
object.__setattr__(job, "fail", lambda reason: (begun.set(), time.sleep(0.3)))
threading.Thread(target=main.leave, args=(job, 1), kwargs={{"why": "a model failed"}}).start()
begun.wait()
main.end_with_parent(job)
"""


def test_a_parent_that_dies_while_the_worker_leaves(tmp_path) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    script = LEAVING.format(worker=str(worker_folder()), folder=str(folder))
    done = subprocess.run([sys.executable, "-c", script], input=b"", timeout=60, check=False)
    assert done.returncode == 1
    assert not folder.exists()


def test_a_parent_that_is_killed(started) -> None:
    program, token = started
    program.kill()
    program.wait()
    limit = time.monotonic() + 20
    while (processes(token) or segments(token)) and time.monotonic() < limit:
        time.sleep(0.05)
    assert processes(token) == [] and segments(token) == []
