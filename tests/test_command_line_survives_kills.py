"""`snnkit train` killed at random moments and resumed ends with the bits of a run that was left alone."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

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
epochs = 60
batch_size = 32
lr = 0.005
checkpoint_steps = 7
"""


def start(folder: Path, recipe: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "snnkit", "train", str(recipe), "--folder", str(folder), "--resume"]
    environment = os.environ | {"PYTHONPATH": str(Path(snnkit.__file__).parent.parent), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


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
    alone = start(tmp_path / "alone", recipe)
    _, errors = alone.communicate(timeout=200)
    assert alone.returncode == 0, errors.decode()
    chance = random.Random(1)
    hits = 0
    for _ in range(10):
        process = start(tmp_path / "killed", recipe)
        _wait_for_progress(process, tmp_path / "killed")
        time.sleep(chance.uniform(0, 0.15))
        hits += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
        whole(tmp_path / "killed" / "net.h5")
    assert hits >= 8, f"only {hits} kills met a running process"
    last = start(tmp_path / "killed", recipe)
    _, errors = last.communicate(timeout=200)
    assert last.returncode == 0, errors.decode()
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


def _wait_for_progress(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Return once the process has written a checkpoint, so that it is killed while it trains."""
    newest, deadline = _newest(folder), time.monotonic() + 60
    while _newest(folder) == newest and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)


def _newest(folder: Path) -> str:
    """Return the name of the newest checkpoint, or nothing."""
    return max((path.name for path in folder.glob("checkpoints/step-*.ckpt")), default="")
