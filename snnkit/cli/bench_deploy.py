"""What the chip's emulator costs, against Lava's simulation of the same network."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from snnkit import data, deploy
from snnkit.data import encode
from snnkit.deploy import lava
from snnkit.errors import DataError, SnnkitError

SIZES = (784, 256, 10)
"""Inputs, hidden neurons and outputs."""

SHORT, LONG = 100, 1100
"""Steps of two simulations: what the longer takes more is the cost of its steps, without Lava's start."""

TEST_SET = 10_000
"""Samples where MNIST's test set is not there."""


@dataclass(frozen=True)
class Against:
    """Emulator and Lava on one sample.

    Args:
        compared: outputs of neurons that were found equal, with the state at the end.
        emulator, lava: seconds for a step.
        start: seconds until Lava's first step, its compilation and processes.
    """

    compared: int
    emulator: float
    lava: float
    start: float


def network() -> deploy.IntegerNetwork:
    """Return a network of two dense layers with weights drawn at random, whose neurons fire now and then."""
    draw = np.random.default_rng(0)
    parts, connections = [], []
    for name, before, n_in, n_out in zip("ho", ("input", "h"), SIZES, SIZES[1:], strict=False):
        parts.append(deploy.Population(name, (n_out,), du=np.array(4095), dv=np.array(200), vth=np.array(3000)))
        weight = draw.integers(-256, 256, (n_out, n_in))
        connections.append(deploy.Connection(f"to_{name}", before, name, deploy.Dense(weight)))
    return deploy.IntegerNetwork((SIZES[0],), tuple(parts), tuple(connections))


def spikes(steps: int, samples: int) -> Tensor:
    """Return spikes in a tenth of all places [steps, samples, 784], bytes."""
    return (torch.rand(steps, samples, SIZES[0], generator=torch.Generator().manual_seed(0)) < 0.1).to(torch.uint8)


def against_lava(chip: deploy.IntegerNetwork) -> Against:
    """Compare both, then time both; raises SnnkitError where a single spike differs."""
    report = lava.check(chip, spikes(SHORT, 1))
    if report.mismatches:
        raise SnnkitError(f"emulator and Lava differ: {report}")
    few, many = spikes(SHORT, 1), spikes(LONG, 1)
    short, long = (_seconds(functools.partial(lava.run, chip, x), rounds=2) for x in (few, many))
    step = (long - short) / (LONG - SHORT)
    ours = _seconds(lambda: chip.run(many), rounds=5) / LONG
    return Against(report.compared, ours, step, short - SHORT * step)


def whole_set(*, steps: int = 32) -> tuple[str, Tensor]:
    """Return a test set's name and its spikes [steps, samples, 784]: MNIST's, rate-coded, where it is there."""
    try:
        images = data.load("mnist").test.images.flatten(1)
    except DataError:
        return "samples drawn at random", spikes(steps, TEST_SET)
    coded = encode.rate(images, steps=steps, generator=torch.Generator().manual_seed(0))
    return "test images of MNIST, rate-coded", coded.to(torch.uint8)


def evaluated(chip: deploy.IntegerNetwork, x: Tensor, *, device: str = "cpu") -> float:
    """Return the seconds that a network takes for x [T, B, 784]."""
    x = x.to(device)
    chip.run(x[:, :2])

    def run() -> None:
        chip.run(x)
        if device == "cuda":
            torch.cuda.synchronize()

    return _seconds(run, rounds=3)


def _seconds(run: Callable[[], object], *, rounds: int) -> float:
    """Return the least seconds of some rounds."""
    best = float("inf")
    for _ in range(rounds):
        since = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - since)
    return best
