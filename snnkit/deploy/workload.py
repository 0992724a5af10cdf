"""NeuroBench's metrics of a network and an input: footprint, sparsity of connections and activations, operations."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from snnkit.deploy.capacity import connection_ranges
from snnkit.deploy.integer import INPUT, IntegerNetwork
from snnkit.deploy.integer_operations import integer_fan_out
from snnkit.deploy.operations import check_net, layers_of
from snnkit.deploy.synapses import Conv
from snnkit.errors import InputError
from snnkit.spiking import Spiking, check_sequence
from snnkit.synapse import Delayed, Recurrent, fold
from snnkit.synapse.fold import stateful

_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, Delayed)
_ACTIVATIONS = (nn.ReLU, nn.Sigmoid)
_NEURON_BITS = {"du": 12, "dv": 12, "vth": 17, "bias": 13, "v_start": 24}
_DELAY_BITS = 6


@dataclass(frozen=True)
class NeuroBenchReport:
    """What NeuroBench's harness measures.

    Attributes:
        footprint: bytes of all parameters and buffers.
        connection_sparsity: share of weights that are 0; the harness rounds it to 4 decimals.
        activation_sparsity: share of the outputs of neurons that are 0, over steps and samples.
        effective_macs: products of weights and inputs that are not 0, per sample, in layers whose input holds other
            numbers than -1, 0 and 1.
        effective_acs: additions of weights that are not 0 for such inputs, per sample, in all other layers.
        dense: what both would be if nothing were 0.
        steps, samples: of the input.
    """

    footprint: int
    connection_sparsity: float
    activation_sparsity: float
    effective_macs: float
    effective_acs: float
    dense: float
    steps: int
    samples: int

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"NeuroBench, {self.samples} sample(s) of {self.steps} step(s): footprint {self.footprint:,} bytes, "
            f"connection sparsity {self.connection_sparsity:.4f}, activation sparsity {self.activation_sparsity:.4f}, "
            f"synaptic operations per sample: {self.effective_macs:,.6g} MACs, {self.effective_acs:,.6g} ACs, "
            f"{self.dense:,.6g} dense"
        )


@dataclass
class _Counts:
    zeros: int = 0
    outputs: int = 0
    products: float = 0.0
    additions: float = 0.0
    dense: float = 0.0

    def activation(self, y: Tensor) -> None:
        self.zeros += int((y == 0).sum())
        self.outputs += y.numel()

    def connection(self, x: Tensor, fan_out: Tensor, full: Tensor) -> None:
        """Count a connection with input x [T, B, features…] and fan-outs [features…], without and with weights of 0."""
        operations = float(((x != 0).sum((0, 1), dtype=torch.float64) * fan_out).sum())
        if bool(((x == 0) | (x.abs() == 1)).all()):
            self.additions += operations
        else:
            self.products += operations
        self.dense += float(full.sum()) * x.shape[0] * x.shape[1]


def neurobench(net: nn.Module | IntegerNetwork, x: Tensor) -> NeuroBenchReport:
    """Return NeuroBench's metrics.

    What NeuroBench's harness reads it counts alike: Linear and Conv layers, spiking layers, ReLU and Sigmoid. Beyond
    it, layers with delays count like those without, and an integer network's weights count at their bits, delays at
    6, and numbers of neurons at those of the chip's registers. Readouts have no spikes and are no activations.

    Args:
        net: `snnkit.Network` or `nn.Sequential`, evaluated as `net.eval()` would and not changed; or what
            `snnkit.deploy.quantise` returns.
        x: input [T, B, features…]; an ANN sees every step alone.
    Raises:
        InputError: an input that does not fit, or a network without weights.

    Example:
        >>> net = snnkit.Network(nn.Linear(3, 2, bias=False), snnkit.IF())
        >>> neurobench(net, torch.ones(4, 1, 3)).effective_acs
        24.0

    Source: Yik et al., NeuroBench, Nature Communications 2025; harness 2.3.
    """
    if isinstance(net, IntegerNetwork):
        counts = _run_integers(net, x)
        footprint, zeros, weights = _integers(net)
    else:
        check_net(net, "neurobench")
        check_sequence(x, "neurobench")
        counts = _run(net, x)
        stored = [*net.parameters(), *net.buffers()]
        footprint = sum(tensor.numel() * tensor.element_size() for tensor in stored)
        layers = [module.weight for module in net.modules() if isinstance(module, _WEIGHTED)]
        zeros, weights = sum(int((w == 0).sum()) for w in layers), sum(w.numel() for w in layers)
    if not weights:
        raise InputError("the network has no weights to count; NeuroBench reads Linear, Conv and delay layers")
    steps, samples = x.shape[:2]
    return NeuroBenchReport(
        footprint=footprint,
        connection_sparsity=zeros / weights,
        activation_sparsity=counts.zeros / counts.outputs if counts.outputs else 0.0,
        effective_macs=counts.products / samples,
        effective_acs=counts.additions / samples,
        dense=counts.dense / samples,
        steps=steps,
        samples=samples,
    )


@torch.no_grad()
def _run(net: nn.Module, x: Tensor) -> _Counts:
    counts = _Counts()
    for _, module in layers_of(copy.deepcopy(net).eval()):
        x = _pass(module, x, counts)
    return counts


def _pass(module: nn.Module, x: Tensor, counts: _Counts) -> Tensor:
    """Return what a layer makes of x [T, B, features…], and count it."""
    if isinstance(module, _WEIGHTED):
        counts.connection(x, _fan_out(module, x, full=False), _fan_out(module, x, full=True))
    if stateful(module) and not isinstance(module, (Spiking, Recurrent, *_WEIGHTED)):
        raise InputError(
            f"NeuroBench's counts do not see into a {type(module).__name__}; put its layers into a Network in a row"
        )
    y = module.run(x)[0] if stateful(module) else fold(module, x)  # pyright: ignore[reportCallIssue]
    if isinstance(module, Recurrent):
        back = torch.cat([torch.zeros_like(y[:1]), y[:-1]])
        for _, inner in layers_of(module.connection):
            back = _pass(inner, back, counts)
    neurons = module.layer if isinstance(module, Recurrent) else module
    if isinstance(module, _ACTIVATIONS) or (isinstance(neurons, Spiking) and neurons.neuron.spiking):
        counts.activation(y)
    return y


def _fan_out(module: nn.Module, x: Tensor, *, full: bool) -> Tensor:
    """Return how many weights leave each input [features…], float64; all of them, or those that are not 0."""
    weight, bias = (getattr(module, name, None) for name in ("weight", "bias"))
    assert isinstance(weight, Tensor)
    used = torch.ones_like(weight, dtype=torch.float64) if full else (weight != 0).double()
    with torch.enable_grad():
        probe = torch.zeros(1, *x.shape[2:], dtype=torch.float64, device=x.device, requires_grad=True)
        if isinstance(module, Delayed):
            y = module._product(probe.unsqueeze(0), used.sum(-1))
        else:
            silent = {} if bias is None else {"bias": torch.zeros_like(bias, dtype=torch.float64)}
            y = functional_call(module, {"weight": used, **silent}, (probe,))
        (found,) = torch.autograd.grad(y.sum(), probe)
    return found[0]


def _run_integers(chip: IntegerNetwork, x: Tensor) -> _Counts:
    counts = _Counts()
    names = [population.name for population in chip.populations]
    passed = chip.record(x, names) | {INPUT: x}
    for name in names:
        if chip.read == "spikes" or name != chip.output.name:
            counts.activation(passed[name])
    for connection in chip.connections:
        values = passed[connection.source].flatten(2)
        if not connection.graded:
            values = values != 0
        counts.connection(values.double(), *integer_fan_out(connection))
    return counts


def _integers(chip: IntegerNetwork) -> tuple[int, int, int]:
    """Return the bytes of an integer network, its weights of 0, and its weights."""
    bits, zeros, weights = 0, 0, 0
    for connection in chip.connections:
        part, weight = connection.synapses, connection.effective
        each = connection_ranges(connection)["weight_bits"][1] + (_DELAY_BITS if connection.max_delay else 0)
        bits += weight.size * each
        every = weight.size if isinstance(part, Conv) else part.n_inputs * part.n_outputs
        zeros += every - int((weight != 0).sum())
        weights += every
    for population in chip.populations:
        bits += sum(getattr(population, name).size * each for name, each in _NEURON_BITS.items())
    return -(-bits // 8), zeros, weights
