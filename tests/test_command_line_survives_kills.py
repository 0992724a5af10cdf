"""`snnkit train` killed at random moments and resumed ends with the bits of a run that was left alone."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import pytest
import torch

import snnkit
from snnkit.errors import SnnkitError

RECIPE = """
[data]
name = "digits"
encoder = "rate"
steps = 6

[network]
layers = [
    {type = "Flatten"},
    {type = "Linear", in = 64, out = 48},
    {type = "LIF", tau = 4.0, learn = ["tau"]},
    {type = "Dropout", p = 0.2},
    {type = "Linear", in = 48, out = 10},
    {type = "Readout", tau = 8.0},
]

[train]
epochs = 30
batch_size = 32
lr = 0.005
checkpoint_steps = 7
"""


NURSERY = """
import json, os, sys
import lightning_fabric, sklearn.datasets, snnkit.cli.train, snnkit.codegen.cpu, snnkit.train
from snnkit.cli import main

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        os.dup2(2, 1)
        main(json.loads(line))
        sys.exit()
    print(child, flush=True)
    print(os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT).si_status, flush=True)
"""
"""Runs commands in processes that have imported all they need; says the number of each, and how it ended."""


def command(folder: Path, recipe: Path) -> list[str]:
    return ["train", str(recipe), "--folder", str(folder), "--resume"]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(snnkit.__file__).parent.parent), "OMP_NUM_THREADS": "1"}


def run(folder: Path, recipe: Path) -> None:
    """Train to the end, in a process of its own."""
    line = [sys.executable, "-m", "snnkit", *command(folder, recipe)]
    done = subprocess.run(line, env=environment(), capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr


def whole(path: Path) -> bool:
    """Return whether a network file is there; a half-written one would raise."""
    if not path.exists():
        return False
    snnkit.load(path)
    return True


@pytest.mark.timeout(400)
def test_ten_kills_change_nothing(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    run(tmp_path / "alone", recipe)
    chance = random.Random(1)
    hits = 0
    with (
        (tmp_path / "said").open("wb") as said,
        subprocess.Popen(
            [sys.executable, "-c", NURSERY], bufsize=0, env=environment(), stdin=-1, stdout=-1, stderr=said
        ) as nursery,
    ):
        assert nursery.stdin is not None and nursery.stdout is not None
        for _ in range(10):
            nursery.stdin.write(json.dumps(command(tmp_path / "killed", recipe)).encode() + b"\n")
            process = _number(nursery.stdout)
            _wait_for_progress(nursery.stdout, tmp_path / "killed")
            time.sleep(chance.uniform(0, 0.15))
            os.kill(process, signal.SIGKILL)
            status = _number(nursery.stdout)
            assert status in (0, signal.SIGKILL), (tmp_path / "said").read_text()
            hits += status == signal.SIGKILL
            whole(tmp_path / "killed" / "net.h5")
        nursery.stdin.close()
    assert hits >= 8, f"only {hits} kills met a running process"
    run(tmp_path / "killed", recipe)
    expected = snnkit.load(tmp_path / "alone" / "net.h5").state_dict()
    found = snnkit.load(tmp_path / "killed" / "net.h5").state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_half_a_file_is_never_a_whole_one(tmp_path: Path) -> None:
    net = snnkit.Network(torch.nn.Linear(4, 3), snnkit.Readout())
    snnkit.save(net, tmp_path / "net.h5")
    content = (tmp_path / "net.h5").read_bytes()
    for share in (0.0, 0.1, 0.5, 0.9, 0.999):
        (tmp_path / "half.h5").write_bytes(content[: int(share * len(content))])
        with pytest.raises(SnnkitError):
            whole(tmp_path / "half.h5")


def _number(pipe: IO[bytes]) -> int:
    """Return the number on the next line."""
    return int(pipe.readline())


def _wait_for_progress(pipe: IO[bytes], folder: Path) -> None:
    """Return once the process has written a checkpoint, so that it is killed while it trains, or has ended."""
    newest, deadline = _newest(folder), time.monotonic() + 60
    while _newest(folder) == newest and not select.select([pipe], [], [], 0)[0] and time.monotonic() < deadline:
        time.sleep(0.01)


def _newest(folder: Path) -> str:
    """Return the name of the newest checkpoint, or nothing."""
    return max((path.name for path in folder.glob("checkpoints/step-*.ckpt")), default="")
