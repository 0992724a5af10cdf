"""What one neuron layer costs, forward and backward, against the same neuron in other packages."""

from __future__ import annotations

import gc
import json
import os
import platform
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch
from torch import Tensor

import snnkit
from snnkit.errors import SnnkitError, nearest
from snnkit.neuron import Neuron, lif

T, B = 500, 16
"""Steps and batch of the comparison."""

Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Contender:
    """Something that takes x [T, B, N] to an output of the same shape.

    Args:
        make: builds the callable.
        same: layer of ours with the same equations, whose spikes have to be equal; None where there is none.
        package: distribution that it needs.
    """

    make: Callable[[], Run]
    same: Callable[[], torch.nn.Module] | None = None
    package: str | None = None


def _spikingjelly() -> Run:
    from spikingjelly.activation_based import functional, neuron

    node = neuron.LIFNode(tau=2.0, decay_input=True, v_threshold=1.0, v_reset=0.0, detach_reset=True, step_mode="m")

    def run(x: Tensor) -> Tensor:
        functional.reset_net(node)
        return node(x)

    return run


def _norse() -> Run:
    import norse.torch as norse

    parameters = norse.LIFBoxParameters(tau_mem_inv=torch.tensor(500.0))
    cell = norse.LIFBoxCell(p=parameters, dt=0.001)

    def run(x: Tensor) -> Tensor:
        state, outputs = None, []
        for x_t in x.unbind(0):
            spikes, state = cell(x_t, state)
            outputs.append(spikes)
        return torch.stack(outputs)

    return run


def _snntorch() -> Run:
    import snntorch

    cell = snntorch.Leaky(beta=0.5, reset_mechanism="zero", reset_delay=False)

    def run(x: Tensor) -> Tensor:
        membrane, outputs = torch.zeros_like(x[0]), []
        for x_t in x.unbind(0):
            spikes, membrane = cell(x_t, membrane)
            outputs.append(spikes)
        return torch.stack(outputs)

    return run


def _user_neuron() -> Neuron:
    """Return the built-in LIF's equations as a user would type them."""
    plain = lif(reset="hard").to_dict()
    return Neuron.from_dict({**plain, "name": "typed_again", "update": ["v = v + (x - (v - v_rest)) / (tau)"]})


def _hard(decay: bool = True) -> torch.nn.Module:
    return snnkit.LIF(tau=2.0, reset="hard", input_decay=decay)


PEERS: Mapping[str, Contender] = {
    "SpikingJelly LIFNode": Contender(_spikingjelly, _hard, "spikingjelly"),
    "Norse LIFBoxCell, unbind": Contender(_norse, _hard, "norse"),
    "snnTorch Leaky, unbind": Contender(_snntorch, lambda: _hard(False), "snntorch"),
}
"""The peers at their best: whole-sequence mode where they have one, else a loop over `unbind`."""

OURS: Mapping[str, Contender] = {
    "snnkit LIF": Contender(_hard),
    "snnkit LIF typed by a user": Contender(lambda: snnkit.Spiking(_user_neuron(), tau=2.0)),
    "snnkit CubaLIF": Contender(lambda: snnkit.CubaLIF()),
    "snnkit Izhikevich": Contender(lambda: snnkit.Izhikevich()),
}

BASELINE = "torch.relu"


def available() -> dict[str, Contender]:
    """Return every contender that is installed."""
    everything = {**OURS, **PEERS, BASELINE: Contender(lambda: torch.relu)}
    return {name: c for name, c in everything.items() if c.package is None or _version(c.package)}


def gate(names: Sequence[str], device: str = "cpu") -> dict[str, int]:
    """Compare the spikes of every peer with those of our layer with the same equations.

    Returns:
        Peer to the number of spikes compared.
    Raises:
        SnnkitError: where a single spike differs.
    """
    checked = {}
    x = torch.rand(200, 8, 256, generator=torch.Generator().manual_seed(0)).to(device) * 2
    for name, contender in available().items():
        if contender.same is None or name not in names:
            continue
        with torch.no_grad():
            theirs, ours = contender.make()(x), contender.same().to(device)(x)
        if not torch.equal(theirs, ours):
            raise SnnkitError(f"{name} and snnkit differ in {int((theirs != ours).sum())} of {ours.numel()} outputs")
        checked[name] = int(ours.sum())
    return checked


def measure(
    names: Sequence[str], shape: tuple[int, int, int], *, threads: int, device: str = "cpu", repeat: int = 5
) -> dict[str, float]:
    """Return the seconds of one forward and backward pass of each contender, the best of several.

    Args:
        names: contenders, run in turn in every round.
        shape: of the input [T, B, N].
        threads: of torch and of our kernels.
        device: `cpu` or `cuda`; on `cuda` every measurement waits for the device.
        repeat: passes of each that count; two follow each other in a round, after one that does not count.
    """
    torch.set_num_threads(threads)
    x = (torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2).to(device).requires_grad_()
    upstream = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(device)
    known = available()
    runs = {name: known[name].make() for name in names}
    best = dict.fromkeys(names, float("inf"))
    gc.collect()
    # A collection between two passes would leave the processor's caches cold.
    gc.disable()
    try:
        for round_ in range((repeat + 1) // 2):
            for name, run in runs.items():
                # What ran before may have left threads that spin for work, and the caches full of its own.
                _once(run, x, upstream)
                for _ in range(min(2, repeat - 2 * round_)):
                    best[name] = min(best[name], _once(run, x, upstream))
    finally:
        gc.enable()
    return best


def _once(run: Run, x: Tensor, upstream: Tensor) -> float:
    x.grad = None
    _wait(x)
    started = time.perf_counter()
    run(x).backward(upstream)
    _wait(x)
    return time.perf_counter() - started


def _wait(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)


def peak_memory(name: str, shape: tuple[int, int, int]) -> int:
    """Return the bytes that a forward and backward pass adds at its peak, in a process of its own (Linux only)."""
    command = [sys.executable, "-W", "ignore", "-m", "snnkit.cli.bench_neuron", name, json.dumps(shape)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SnnkitError(f"the memory of {name} could not be measured: {done.stderr.strip()[-300:]}")
    return int(done.stdout)


def _peak_here(name: str, shape: Sequence[int]) -> int:
    torch.set_num_threads(1)
    run = available()[name].make()
    warm = torch.rand(4, 2, 8, requires_grad=True)
    run(warm).sum().backward()
    x, upstream = torch.rand(*shape, requires_grad=True), torch.rand(*shape)
    return peak_bytes(lambda: run(x).backward(upstream))


def peak_bytes(run: Callable[[], None]) -> int:
    """Return the bytes by which a call raises this process's memory at its peak (Linux only)."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    run()
    return _status("VmHWM") - before


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def copy_bandwidth(device: str) -> float:
    """Return the bytes per second of a copy on a device, counting those read and those written."""
    source = torch.rand(1 << 26, device=device)
    target = torch.empty_like(source)
    best = float("inf")
    for _ in range(5):
        _wait(source)
        started = time.perf_counter()
        target.copy_(source)
        _wait(source)
        best = min(best, time.perf_counter() - started)
    return 2 * source.numel() * source.element_size() / best


def machine(device: str) -> str:
    """Return one line that names the machine, the versions and the seed."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        processor = models[0] if models else processor
    where = torch.cuda.get_device_name() if device == "cuda" else f"{processor}, {os.cpu_count()} cores"
    packages = ("snnkit", "torch", "numba", "spikingjelly", "norse", "snntorch")
    versions = (f"{name} {_version(name)}" for name in packages if _version(name))
    return f"{where}; Python {platform.python_version()}, {', '.join(versions)}; seed 0"


def _version(package: str) -> str:
    if package == "snnkit":
        return snnkit.__version__
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def check_names(names: Sequence[str]) -> None:
    """Raise SnnkitError for a contender that does not exist or is not installed."""
    for name in names:
        if name not in available():
            raise SnnkitError(f"no contender {name!r}{nearest(name, available())}; known: {', '.join(available())}")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(_peak_here(sys.argv[1], json.loads(sys.argv[2])))
