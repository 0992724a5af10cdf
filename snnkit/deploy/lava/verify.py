"""Compare the emulator with Lava: every spike, and the state at the end."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from snnkit.deploy.integer import IntegerNetwork
from snnkit.deploy.lava.environment import interpreter
from snnkit.deploy.lava.simulation import TIMEOUT, integers, simulate


@dataclass(frozen=True)
class Report:
    """How emulator and Lava compare.

    Args:
        compared: number of spikes, or silences, that were compared: steps, samples and all neurons.
        fired: how many of them fired on the emulator.
        spikes, u, v, pending: how many differ: of those spikes, and of the values of the last state.
        emulator_seconds, lava_seconds: what the runs took, Lava's with its start.
    """

    compared: int
    fired: int
    spikes: int
    u: int
    v: int
    pending: int
    emulator_seconds: float
    lava_seconds: float

    @property
    def mismatches(self) -> int:
        """All that differs."""
        return self.spikes + self.u + self.v + self.pending

    def __str__(self) -> str:
        """Return one line to print."""
        if not self.mismatches:
            found = "the same on Lava, and so is the last state"
        else:
            found = (
                f"{self.spikes:,} differ on Lava; of the last state {self.u + self.v + self.pending:,} values differ"
            )
        return f"{self.compared:,} outputs of neurons ({self.fired:,} spikes): {found} ({self.lava_seconds:.1f} s)"


def check(chip: IntegerNetwork | str | Path, x: Tensor, *, timeout: float = TIMEOUT) -> Report:
    """Run an input on the emulator and on Lava, and compare.

    Args:
        chip: what `snnkit.deploy.quantise` returns, or a file of `snnkit.deploy.save`.
        x: input [T, B, features…], as for `IntegerNetwork.run`.
        timeout: as for `run`.
    Returns:
        What was compared, and how much of it differs; `mismatches` is expected to be 0.
    Raises:
        MissingPackageError: there is no Lava environment.
        BackendError: Lava failed or did not finish in time.

    Example:
        >>> print(snnkit.deploy.lava.check(chip, x))
    """
    network = integers(chip)
    names = [population.name for population in network.populations]
    interpreter()
    start = time.perf_counter()
    ours = network.record(x, names)
    state = network.run(x)[1]
    middle = time.perf_counter()
    theirs, lava_state = simulate(network, x, names, timeout=timeout)
    end = time.perf_counter()
    differing = {
        part: sum(int((parts[part] != lava_state[name][part]).sum()) for name, parts in state.items() if part in parts)
        for part in ("u", "v", "pending")
    }
    return Report(
        compared=sum(trace.numel() for trace in ours.values()),
        fired=sum(int(trace.sum()) for trace in ours.values()),
        spikes=sum(int((ours[name].cpu() != theirs[name]).sum()) for name in names),
        emulator_seconds=middle - start,
        lava_seconds=end - middle,
        **differing,
    )
