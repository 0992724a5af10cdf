"""A trainer killed with SIGKILL at random moments ends, once resumed, with the bits of one left alone."""

import hashlib
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
from snnkit.train.checkpoint import latest_checkpoint

# Imports once and forks each trainer, which then is a process of its own that can be killed.
SERVER = """
import os, sys, torch, snnkit, lightning_fabric
from torch import nn
from snnkit.train.recipe import TrainSettings
from snnkit.train.trainer import fit

def encode(images, generator):
    os.write(1, b"batch\\n")
    return snnkit.encode.rate(images, steps=10, generator=generator)

def train(folder, weights):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = snnkit.Network(nn.Linear(8, 24), snnkit.LIF(tau=2.0, learn=("tau",)), nn.Dropout(0.2), nn.Linear(24, 4),
                         snnkit.Readout(tau=2.0))
    target = torch.arange(64) % 4
    inputs = torch.rand(64, 8) / 2 + nn.functional.one_hot(target, 8) / 2
    settings = TrainSettings(epochs=12, batch_size=8, lr=0.01, schedule="cosine", gradient_clip=1.0, seed=3,
                             accelerator="cpu", checkpoint_steps=2)
    fit(net, (inputs, target), validation=(inputs, target), settings=settings, encode=encode, folder=folder,
        resume=True)
    torch.save(net.state_dict(), weights)

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        train(*line.split())
        os._exit(0)
    os.write(1, b"trainer %d\\n" % child)
    os.write(1, b"ended %d\\n" % os.waitpid(child, 0)[1])
"""


class Trainers:
    """Starts trainers and kills them."""

    def __init__(self):
        environment = {"PYTHONPATH": str(Path(snnkit.__file__).parent.parent), "OMP_NUM_THREADS": "1"}
        self.server = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            env=os.environ | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, folder, *, batches=None, delay=0.0):
        """Train in a folder, kill after so many batches and a delay if asked to, and return the exit status."""
        self.server.stdin.write(f"{folder} {folder}.pt\n")
        self.server.stdin.flush()
        trainer, seen = None, 0
        while True:
            word, *number = self.server.stdout.readline().split()
            if word == "ended":
                return int(number[0])
            seen += word == "batch"
            trainer = int(number[0]) if word == "trainer" else trainer
            if batches is not None and seen >= batches and trainer:
                time.sleep(delay)
                os.kill(trainer, signal.SIGKILL)
                batches = None


@pytest.fixture
def trainers():
    started = Trainers()
    with started.server:
        yield started
        started.server.stdin.close()


def content(folder):
    """Return what a run ended with: the last checkpoint, but for the clock."""
    _, state = latest_checkpoint(folder / "checkpoints")
    for epoch in state["history"]:
        epoch.pop("seconds")
    return {name: value for name, value in state.items() if name != "seconds"}


def digest(value):
    """Return a hash of nested plain data and tensors, bit for bit."""
    if isinstance(value, torch.Tensor):
        value = value.dtype, value.shape, value.contiguous().numpy().tobytes()
    elif isinstance(value, dict):
        value = [(key, digest(item)) for key, item in value.items()]
    elif isinstance(value, list):
        value = [digest(item) for item in value]
    return hashlib.sha256(repr(value).encode()).hexdigest()


@pytest.mark.timeout(300)
def test_ten_kills_change_no_bit(tmp_path, trainers):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert trainers.run(whole) == 0

    draw = random.Random(0)
    steps = []
    for _ in range(10):
        ended = trainers.run(killed, batches=draw.randrange(1, 20), delay=draw.uniform(0, 0.02))
        assert ended == signal.SIGKILL, f"the run ended before it was killed; checkpoints were at {steps}"
        steps.append(latest_checkpoint(killed / "checkpoints")[1]["step"])
    assert steps == sorted(steps)
    assert len(set(steps)) > 5, f"the kills hit too few places: {steps}"
    assert trainers.run(killed) == 0

    expected, found = (torch.load(f"{folder}.pt") for folder in (whole, killed))
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert digest(content(whole)) == digest(content(killed))
    rows = [(folder / "history.csv").read_text().splitlines() for folder in (whole, killed)]
    assert [row.rsplit(",", 1)[0] for row in rows[0]] == [row.rsplit(",", 1)[0] for row in rows[1]]
    assert len(rows[0]) == 13
