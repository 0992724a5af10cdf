"""Compare the emulator with Lava on random networks: `python hardware/lava/verify.py --networks 200`.

Runs in snnkit's own environment; networks are those of `snnkit.deploy.draw`, one for each seed. Printed are the
outputs that were compared, those that differ, and how often currents wrapped, sums left 32 bits and membranes were
clipped on the way. The exit code is 1 where anything differs.
"""

import argparse
import contextlib
import os
import platform
import re
import sys
import tempfile
import time
from collections import Counter
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

import snnkit
from snnkit.deploy import IntegerNetwork, draw, lava
from snnkit.deploy.emulator import reference
from snnkit.deploy.integer import INPUT, V_LIMIT


def main() -> int:
    """Compare, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", type=int, default=20, help="how many networks")
    parser.add_argument("--first", type=int, default=0, help="seed of the first")
    parser.add_argument(
        "--steps", type=int, default=40, help="steps of each run; longer than the longest delay every fifth"
    )
    parser.add_argument("--batch", type=int, default=2, help="samples of each run")
    given = parser.parse_args()
    versions = f"snnkit {snnkit.__version__}, torch {metadata.version('torch')}, Python {platform.python_version()}"
    print(f"{versions}, {platform.machine()}")
    total: Counter[str] = Counter()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="snnkit-verify-") as folder:
        tempfile.tempdir = os.environ["SNNKIT_VERIFY"] = folder
        for seed in range(given.first, given.first + given.networks):
            chip = draw.network(seed)
            x = draw.spikes(chip, seed, steps=given.steps + (64 if seed % 5 == 0 else 0), batch=given.batch)
            report = lava.check(chip, x)
            total.update(networks=1, compared=report.compared, fired=report.fired, differing=report.mismatches)
            total.update(events(chip, x))
            total.update(kinds(chip))
            if report.mismatches:
                print(f"seed {seed}: {report}", flush=True)
        left = leftovers(folder)
    print(f"seeds {given.first}..{given.first + given.networks - 1}, {time.perf_counter() - start:.0f} s")
    for name, count in total.items():
        print(f"{count:>12,} {name}")
    print("left behind: " + ", ".join(f"{count} {name}" for name, count in left.items()))
    return 1 if total["differing"] or any(left.values()) else 0


def leftovers(folder: str) -> dict[str, int]:
    """Return how many processes of ours, segments of shared memory without a process, and folders are left."""
    environments = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            environments.append(path.read_bytes())
    living = set(re.findall(rb"SNNKIT_LAVA_JOB=(\w+)", b"\0".join(environments)))
    segments = [name for name in os.listdir("/dev/shm") if name.startswith("snnkit_")]
    return {
        "processes": sum(f"SNNKIT_VERIFY={folder}".encode() in environment for environment in environments),
        "segments of shared memory": sum(name.split("_")[1].encode() not in living for name in segments),
        "folders": len(os.listdir(folder)),
    }


def kinds(chip: IntegerNetwork) -> Counter[str]:
    """Return how many connections of each kind a network has."""
    found: Counter[str] = Counter()
    for part in chip.connections:
        name = type(part.synapses).__name__.lower()
        found[f"{name} connections"] += 1
        found["delayed connections"] += part.max_delay > 0
        found["connections within a population"] += part.source == part.target
        found["graded connections"] += part.graded
    return found


def events(chip: IntegerNetwork, x: torch.Tensor) -> Counter[str]:
    """Return how often something did not fit: counted along the reference."""
    B = x.shape[1]
    state = {
        p.name: {"u": np.zeros((B, p.size), np.int32), "v": np.zeros((B, p.size), np.int32)} for p in chip.populations
    }
    pending = {c.name: np.zeros((B, c.synapses.n_outputs, c.max_delay + 1), np.int32) for c in chip.connections}
    found: Counter[str] = Counter()
    for p in chip.populations:
        state[p.name]["v"] += p.v_start
    for frame in x.flatten(2).numpy().astype(np.int64):
        spikes = {INPUT: frame}
        for p in chip.populations:
            arrived = sum((pending[c.name][:, :, 0] for c in chip.into(p.name)), np.zeros((B, p.size), np.int32))
            found.update(_neurons(p, state[p.name], arrived))
            spikes[p.name] = reference.neurons(p, state[p.name], arrived).astype(np.int64)
        for c in chip.connections:
            reference.synapses(c, pending[c.name], spikes[c.source])
    return found


def _neurons(population: snnkit.deploy.Population, state: dict[str, np.ndarray], arrived: np.ndarray) -> dict[str, int]:
    wide = reference.decay(state["u"], population.du + 1) + (arrived.astype(np.int64) << 6)
    narrow = wide.astype(np.int32)
    u = reference.wrap(narrow)
    v = reference.decay(state["v"], population.dv) + u + (population.bias << population.bias_exponent)
    return {
        "currents wrapped into 24 bits": int((u != narrow).sum()),
        "sums beyond 32 bits": int((narrow != wide).sum()),
        "membranes clipped": int((np.abs(v) > V_LIMIT).sum()),
    }


if __name__ == "__main__":
    sys.exit(main())
