"""What is compiled: a neuron with its surrogate, and the texts and forms derived from it on demand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import snnkit
from snnkit.codegen.ir import Step
from snnkit.codegen.lower import lower
from snnkit.errors import BackendError
from snnkit.neuron import Neuron, Surrogate

if TYPE_CHECKING:
    from torch import Tensor

    from snnkit.codegen.ir import Adjoint

_KNOWN: dict[str, Kernel] = {}


@dataclass(frozen=True)
class Kernel:
    """A neuron, the surrogate of its spike, and whether the reset's spike counts as a constant."""

    neuron: Neuron
    surrogate: Surrogate
    detach_reset: bool

    def __hash__(self) -> int:
        return hash(self.key)

    @cached_property
    def key(self) -> str:
        """A hash that names this kernel in operators; its neuron may start elsewhere than one of the same digest."""
        start = list(self.neuron.states.values())
        slope = list(self.surrogate.params.values())
        facts = [self.neuron.digest, start, self.surrogate.digest, slope, self.detach_reset]
        return f"{self.neuron.name}_{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]}"

    @cached_property
    def step(self) -> Step:
        """The lowered forward step."""
        return lower(self.neuron)

    def adjoint(self, wanted: Sequence[bool]) -> Adjoint:
        """Return the reverse step with gradients for the parameters marked in `wanted`."""
        from snnkit.codegen.adjoint import derive

        names = [name for name, want in zip(self.step.params, wanted, strict=True) if want]
        return derive(self.step, self.surrogate, detach_reset=self.detach_reset, wanted=names)

    def fresh(self, x: Tensor) -> Tensor:
        """Return the states [S, M] before the first step of an input [T, …], on its device."""
        import torch

        shape = len(self.neuron.states), x[0].numel()
        state = torch.zeros(shape, dtype=torch.float64 if x.dtype == torch.float64 else torch.float32, device=x.device)
        for row, value in enumerate(self.neuron.states.values()):
            if value != 0:
                state[row] = value
        return state

    def register(self) -> str:
        """Make the kernel known to the operators by its key, and return the key."""
        _KNOWN.setdefault(self.key, self)
        return self.key


def known(key: str) -> Kernel:
    """Return a registered kernel; raises BackendError in a process that never built the layer."""
    if key not in _KNOWN:
        raise BackendError(f"no kernel {key!r} in this process; build its layer (snnkit.Spiking) before it runs")
    return _KNOWN[key]


@lru_cache
def fingerprint() -> str:
    """A hash of what makes the text of the CPU kernels, and of the version, for cache keys."""
    digest = hashlib.sha256(snnkit.__version__.encode())
    for name in ("adjoint", "cpu_source", "ir", "lower", "render", "schedule"):
        digest.update((Path(__file__).parent / f"{name}.py").read_bytes())
    return digest.hexdigest()[:16]
