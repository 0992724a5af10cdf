"""The ways to compute a delayed sum, what each costs, and which one runs.

conv    a dense convolution over the window: the definition, and what the others are tested equal to
fft     the same by fast Fourier transforms over time
fir     a few filters shared by all inputs, then one matrix product: for wide Gaussians, in which the kernels of
        all delays are mixtures of a handful of shapes
taps    shifted rows added up, for the lags that have weight and no others
events  one addition per spike and synapse, for inference on few spikes of 0 and 1
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from snnkit.errors import BackendError, nearest
from snnkit.synapse.delayed import dense, taps
from snnkit.synapse.delayed.problem import Problem


@dataclass(frozen=True)
class Method:
    """A way to compute a delayed sum.

    Args:
        what: in words.
        run: takes a `Problem`, and returns the output.
        cost: seconds on one thread or one GPU, estimated; None where the method does not apply.
        lack: says in words why it does not.
    """

    what: str
    run: Callable[[Problem], Tensor]
    cost: Callable[[Problem], float | None]
    lack: str = ""


METHODS: dict[str, Method] = {
    "conv": Method("dense convolution", dense.conv, dense.conv_cost),
    "fft": Method("fast Fourier transform", dense.fft, dense.fft_cost),
    "fir": Method(
        "shared filters", dense.fir, dense.fir_cost, "it needs kernel='gauss' while training, one for the whole layer"
    ),
    "taps": Method(
        "shifted rows", taps.run, taps.cost, "it needs float32 or float64 on a CPU, or float32 on a GPU with CuPy"
    ),
    "events": Method(
        "event scatter",
        taps.run_events,
        taps.events_cost,
        "it needs spikes of 0 and 1 on a CPU, rounded delays and no gradient",
    ),
}
"""Every method by name."""


def check(name: str) -> str:
    """Return the name of a method or `auto`; raises BackendError where there is none of that name."""
    known = ("auto", *METHODS)
    if name not in known:
        raise BackendError(f"no delay backend {name!r}{nearest(name, known)}; known: {', '.join(known)}")
    return name


def costs(problem: Problem) -> dict[str, float]:
    """Return the estimated seconds of every method that applies, the cheapest first.

    A compiler cannot take shared filters into account: how many there are is known when they are computed.
    """
    names = [name for name in METHODS if name != "fir" or not torch.compiler.is_compiling()]
    found = {name: METHODS[name].cost(problem) for name in names}
    return dict(sorted(((name, cost) for name, cost in found.items() if cost is not None), key=lambda pair: pair[1]))


def choose(name: str, problem: Problem) -> str:
    """Return the method that runs: the cheapest for `auto`, else the one that is asked for.

    Raises:
        BackendError: where that one cannot run.
    """
    if name == "auto":
        return next(iter(costs(problem)))
    if METHODS[name].cost(problem) is None:
        raise BackendError(f"delay backend {name!r} cannot run here: {METHODS[name].lack}; type backend='auto'")
    return name


def delayed(name: str, problem: Problem) -> Tensor:
    """Return a delayed sum [T, B, G * O] by the method of a name, or by the cheapest for `auto`."""
    return METHODS[choose(name, problem)].run(problem)
