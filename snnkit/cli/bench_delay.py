"""What layers with delays cost, against the dense convolution that computes the same."""

from __future__ import annotations

import copy
import functools
import gc
import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn

import snnkit
from snnkit.cli import bench_delay_recurrent as recurrent
from snnkit.cli.bench_neuron import peak_bytes
from snnkit.errors import SnnkitError
from snnkit.synapse import taps
from snnkit.synapse.delayed import METHODS, Problem, costs
from snnkit.train.progress import Bar

T, B, FEATURES, RATE = 112, 64, 256, 0.08
"""Steps, batch, inputs and outputs, and spikes per step and input of the comparison."""

CASES: dict[str, dict[str, Any]] = {
    "linear": {"kernel": "linear"},
    "integer": {"kernel": "integer"},
    "gauss, s = 12.3": {"kernel": "gauss", "sigma": 12.0},
    "gauss, s = 3.3": {"kernel": "gauss", "sigma": 3.0},
    "gauss, s = 0.5": {"kernel": "gauss", "sigma": 0.23},
    "linear, axonal": {"kernel": "linear", "kind": "axonal"},
    "linear, dendritic": {"kernel": "linear", "kind": "dendritic"},
    "evaluated": {"kernel": "linear", "evaluated": True},
}
"""Layers of the comparison by name."""

STEP = (100, 256, (140, 256, 256, 20))
"""Steps, batch and widths of the training step, which are those of SHD."""


def layer(max_delay: int = 24, *, sigma: float = 0.0, evaluated: bool = False, **options: Any) -> snnkit.DelayLinear:
    """Return a layer of the comparison."""
    torch.manual_seed(0)
    made = snnkit.DelayLinear(FEATURES, FEATURES, max_delay=max_delay, **options)
    made.sigma.fill_(sigma)
    return made.eval() if evaluated else made


def spikes(rate: float = RATE, shape: Sequence[int] | None = None) -> Tensor:
    """Return random spikes, the same every time."""
    shape = (T, B, FEATURES) if shape is None else tuple(shape)
    return (torch.rand(shape, generator=torch.Generator().manual_seed(0)) < rate).float()


def gate(device: str) -> dict[str, float]:
    """Compare every method that applies with the convolution, outputs and gradients.

    Returns:
        Case and method to the largest difference, relative to the largest value.
    Raises:
        SnnkitError: where a difference is larger than float32 explains.
    """
    found = {}
    x, grad = spikes(shape=(40, 16, FEATURES)).to(device), torch.randn(40, 16, FEATURES).to(device)
    for name, options in CASES.items():
        made = layer(**options).to(device)
        made.backend = "conv"
        expected = _outcome(made, x, grad)
        for method in METHODS:
            made.backend = method
            try:
                outcome = _outcome(made, x, grad)
            except SnnkitError:
                continue
            pairs = zip(outcome, expected, strict=False)
            worst = max(float((a - b).abs().max() / b.abs().max().clamp(min=1e-3)) for a, b in pairs)
            if worst > (2e-2 if device == "cuda" else 2e-4):
                raise SnnkitError(
                    f"{name} by {method} differs from the convolution by {worst:.1e} of the largest value"
                )
            found[f"{name} by {method}"] = worst
    return found


def _outcome(made: snnkit.DelayLinear, x: Tensor, grad: Tensor) -> list[Tensor]:
    if made.backend == "events":
        with torch.no_grad():
            return [made(x)]
    inputs = x.clone().requires_grad_()
    made.zero_grad()
    y = made(inputs)
    y.backward(grad)
    return [part for part in (y.detach(), inputs.grad, made.weight.grad, made.delay.grad) if part is not None]


def best(run: Callable[[], Any], device: str, repeat: int) -> float:
    """Return the seconds of a call, the best of several after one that is not counted."""
    gc.collect()
    fastest = float("inf")
    for round_ in range(repeat + 1):
        wait(device)
        started = time.perf_counter()
        run()
        wait(device)
        if round_:
            fastest = min(fastest, time.perf_counter() - started)
    return fastest


def wait(device: str) -> None:
    """Wait for a GPU to finish."""
    if device == "cuda":
        torch.cuda.synchronize()


def dense(device: str, repeat: int, max_delay: int = 24) -> tuple[float, float]:
    """Return the seconds of the dense convolution with ready-made kernels: forward, and forward with backward."""
    x = spikes().to(device).permute(1, 2, 0).contiguous().requires_grad_()
    kernel = torch.randn(FEATURES, FEATURES, max_delay + 1, device=device, requires_grad=True)
    padded = nn.functional.pad(x.detach(), (max_delay, 0)).requires_grad_()
    grad = torch.randn(B, FEATURES, T, device=device)

    def forward() -> None:
        with torch.no_grad():
            nn.functional.conv1d(padded, kernel)

    return best(forward, device, repeat), best(
        lambda: torch.autograd.grad(nn.functional.conv1d(padded, kernel), (padded, kernel), grad), device, repeat
    )


def ours(made: snnkit.DelayLinear, device: str, repeat: int, rate: float = RATE) -> tuple[float, float | None]:
    """Return the seconds of a layer: forward, and forward with backward; None where it is being evaluated."""
    made = made.to(device)
    x, grad = spikes(rate).to(device).requires_grad_(), torch.randn(T, B, FEATURES, device=device)

    def forward() -> None:
        with torch.no_grad():
            made(x.detach())

    once = best(forward, device, repeat)
    if not made.training:
        return once, None
    wanted = [x, *made.parameters()]
    return once, best(lambda: torch.autograd.grad(made(x), wanted, grad), device, repeat)


def estimates(made: snnkit.DelayLinear, device: str) -> dict[str, float]:
    """Return what the cost model expects of every method, in seconds of a forward pass, the cheapest first."""
    weight = made.weight.unsqueeze(0).to(device)
    kernel = made.kernel if made.training else "integer"
    delay = made.delay.unsqueeze(0).to(device)
    spread = taps.KERNELS[kernel](delay if made.training else delay.detach(), made.max_delay, float(made.sigma))
    sigma = float(made.sigma) if kernel == "gauss" else None
    with torch.set_grad_enabled(made.training):
        return costs(Problem(spikes().to(device), weight, spread, made.max_delay, sigma=sigma))


def network(backend: str, neuron: Callable[[], nn.Module], max_delay: int, **options: Any) -> list[nn.Module]:
    """Return the layers of the training step: delays, normalisation, neurons and dropout, twice, and a read-out."""
    torch.manual_seed(0)
    _, _, widths = STEP
    layers: list[nn.Module] = []
    for k, (n_inputs, n_outputs) in enumerate(itertools.pairwise(widths)):
        layers.append(snnkit.DelayLinear(n_inputs, n_outputs, max_delay=max_delay, backend=backend, **options))
        if k < len(widths) - 2:
            layers += [nn.BatchNorm1d(n_outputs), neuron(), nn.Dropout(0.4)]
    return layers


def training_steps(device: str, repeat: int, max_delay: int = 24) -> dict[str, float]:
    """Return the seconds of a training step at the size of SHD, with the dense path and SpikingJelly's LIF first."""
    found = {}
    try:
        from spikingjelly.activation_based import functional, neuron, surrogate
    except ImportError:
        pass
    else:
        make = functools.partial(
            neuron.LIFNode, tau=1.005, decay_input=False, v_reset=0.0, detach_reset=True, step_mode="m"
        )
        peer = network("conv", lambda: make(surrogate_function=surrogate.ATan(5.0)), max_delay, kernel="gauss")
        found["dense convolution, SpikingJelly LIF"] = _training_step(peer, device, repeat, functional.reset_net)
    for name, kernel, sigma in (
        ("linear", "linear", 0.0),
        ("integer", "integer", 0.0),
        ("gauss, s = 12.3", "gauss", 12.0),
        ("gauss, s = 0.5", "gauss", 0.23),
    ):
        layers = network("auto", lambda: _lif(1.005), max_delay, kernel=kernel)
        for part in layers:
            if isinstance(part, snnkit.DelayLinear):
                part.sigma.fill_(sigma)
        found[f"snnkit, {name}"] = _training_step(layers, device, repeat)
    return found


def _lif(tau: float) -> nn.Module:
    return snnkit.LIF(tau=tau, reset="hard", input_decay=False, surrogate=snnkit.surrogate.atan(5.0))


def _training_step(
    layers: Sequence[nn.Module], device: str, repeat: int, reset: Callable[[nn.Module], None] | None = None
) -> float:
    steps, batch, widths = STEP
    net = nn.ModuleList(copy.deepcopy(list(layers))).to(device)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    x = spikes(0.05, (steps, batch, widths[0])).to(device)
    labels = torch.arange(batch, device=device) % widths[-1]

    def step() -> None:
        if reset is not None:
            reset(net)
        y = x
        for part in net:
            y = part(y.flatten(0, 1)).unflatten(0, (steps, batch)) if isinstance(part, nn.BatchNorm1d) else part(y)
        loss = nn.functional.cross_entropy(y.softmax(-1).sum(0), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return best(step, device, repeat)


def streaming(rate: float, steps: int = 200) -> dict[str, float]:
    """Return the seconds per step of one sample: through the network, and through one layer of 256 to 256 alone."""
    widths = STEP[2]
    layers: list[nn.Module] = []
    for n_inputs, n_outputs in itertools.pairwise(widths):
        layers += [snnkit.DelayLinear(n_inputs, n_outputs, max_delay=24), _lif(1.005)]
    whole = snnkit.Network(*layers[:-1], snnkit.Readout(tau=1.005))
    one = snnkit.Network(layers[2])

    def walk(net: snnkit.Network, inputs: Tensor) -> float:
        stream, rows = snnkit.Stream(net), inputs[:, 0].numpy()

        def run() -> None:
            state = stream.start()
            for x in rows:
                _, state = stream.step(x, state)

        return best(run, "cpu", 5) / steps

    return {
        "network": walk(whole, spikes(rate, (steps, 1, widths[0]))),
        "layer": walk(one, spikes(rate, (steps, 1, widths[1]))),
    }


def tables(where: str, device: str, repeat: int, windows: Sequence[int]) -> Iterator[Table]:
    """Yield the tables of one number of threads, or of a GPU, as they are measured."""
    yield _layers(where, device, repeat)
    yield _reaches(where, device, repeat)
    for longest in windows:
        yield _steps(where, device, max(1, repeat // 2), longest)
    if device == "cpu":
        yield recurrent.table(where, max(1, repeat // 2))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for k, column in enumerate(columns):
        table.add_column(column, justify="right" if k else "left")
    return table


def _layers(where: str, device: str, repeat: int) -> Table:
    size = f"{FEATURES} to {FEATURES}, B={B}, T={T}, {RATE:.0%} spikes, delays 0..24"
    columns = ("forward ms", "faster", "with backward ms", "faster", "method", "the model expects, ms")
    table = _table(f"one layer, {where}: {size}", "layer", *columns)
    forward, both = dense(device, repeat)
    table.add_row("dense conv1d, float32", f"{1e3 * forward:.1f}", "", f"{1e3 * both:.1f}", "", "", "")
    with Bar(len(CASES)) as bar:
        for name, options in CASES.items():
            made = layer(**options)
            once, twice = ours(made, device, repeat)
            expected = estimates(made, device) if made.kind == "synaptic" else {}
            told = ", ".join(f"{method} {1e3 * cost:.3g}" for method, cost in expected.items())
            backward = ("", "") if twice is None else (f"{1e3 * twice:.1f}", f"{both / twice:.1f}x")
            chosen = next(iter(expected), "")
            table.add_row(name, f"{1e3 * once:.1f}", f"{forward / once:.1f}x", *backward, chosen, told)
            bar.advance(name)
    return table


def _reaches(where: str, device: str, repeat: int) -> Table:
    columns = ("forward ms", "with backward ms", "peak MB")
    table = _table(f"the longest delay, {where}: one layer as above", "kernel, longest delay", *columns)
    for kernel in ("linear", "integer"):
        seconds = {longest: ours(layer(longest, kernel=kernel), device, repeat) for longest in (8, 100)}
        for longest, (once, twice) in seconds.items():
            peak = f"{peak_memory(kernel, longest) / 1e6:.0f}" if device == "cpu" else ""
            table.add_row(f"{kernel}, {longest}", f"{1e3 * once:.1f}", f"{1e3 * (twice or 0.0):.1f}", peak)
        (once, twice), (far, far_twice) = seconds[8], seconds[100]
        table.add_row(f"{kernel}, 100 over 8", f"{far / once:.2f}", f"{(far_twice or 0.0) / (twice or 1.0):.2f}", "")
    return table


def _steps(where: str, device: str, repeat: int, longest: int) -> Table:
    steps, batch, widths = STEP
    size = f"B={batch}, T={steps}, {'-'.join(map(str, widths))}, delays 0..{longest}"
    table = _table(f"a training step, {where}: {size}", "network", "ms", "faster")
    seconds = training_steps(device, repeat, longest)
    first = next(iter(seconds.values()))
    for name, taken in seconds.items():
        table.add_row(name, f"{1e3 * taken:.0f}", f"{first / taken:.1f}x")
    return table


def streams() -> Table:
    """Return the table of one sample step by step."""
    widths = "-".join(map(str, STEP[2]))
    table = _table(f"one sample, step by step, one thread: {widths}, delays 0..24", "spikes", "network us", "layer us")
    for rate in (0.0, 0.01, 0.05, 0.2):
        seconds = streaming(rate)
        table.add_row(f"{rate:.0%}", f"{1e6 * seconds['network']:.1f}", f"{1e6 * seconds['layer']:.1f}")
    return table


def peak_memory(kernel: str, longest: int) -> int:
    """Return the bytes that a forward and backward pass adds at its peak, in a process of its own (Linux only)."""
    command = [sys.executable, "-W", "ignore", "-m", "snnkit.cli.bench_delay", kernel, str(longest)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SnnkitError(f"the memory of {kernel!r} could not be measured: {done.stderr.strip()[-300:]}")
    return int(done.stdout)


def _peak_here(kernel: str, longest: int) -> int:
    torch.set_num_threads(1)
    warm = layer(longest, kernel=kernel)
    warm(torch.rand(4, 8, FEATURES)).sum().backward()
    made, x, grad = layer(longest, kernel=kernel), spikes().requires_grad_(), torch.randn(T, B, FEATURES)
    return peak_bytes(lambda: made(x).backward(grad))


if __name__ == "__main__":
    print(_peak_here(sys.argv[1], int(sys.argv[2])))
