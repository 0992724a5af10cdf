"""One sample, one step at a time: an evaluated network at a cost per spike.

A spike is added to the sums of the steps at which it arrives, in a ring of as many steps as the longest delay; nothing
is done for inputs that are silent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from snnkit.codegen import cpu
from snnkit.errors import InputError
from snnkit.network import Network, row
from snnkit.spiking import Spiking
from snnkit.synapse import DelayLinear
from snnkit.synapse.delayed.scatter import arrive

Vector = NDArray[np.float32]
State = list[Any]
"""What each stage carries: a ring of sums and its position, the states of neurons, or nothing."""


class Stream:
    """An evaluated network, ready to run one sample step by step on a CPU.

    Weights and rounded delays are those of the network when the stream is made. Spikes are those of
    `net.eval().step` up to the order in which float32 sums are made.

    Args:
        net: layers in a row out of `nn.Linear`, `DelayLinear`, spiking ones, `nn.BatchNorm1d` and dropout.
    Raises:
        InputError: another kind of layer.

    Example:
        >>> net = snnkit.Network(snnkit.DelayLinear(700, 128), snnkit.LIF(), nn.Linear(128, 10), snnkit.Readout())
        >>> stream = snnkit.Stream(net)
        >>> y, state = stream.step(np.zeros(700, np.float32))
    """

    def __init__(self, net: Network) -> None:
        self.n_inputs = 0
        self._stages: list[_Synapses | _Neurons | _Affine] = []
        for name, module in _layers(net, ""):
            stage = self._stage(name, module)
            if isinstance(stage, _Synapses) and not self.n_inputs:
                self.n_inputs = len(stage.weight)
            if stage is not None:
                self._stages.append(stage)

    def start(self) -> State:
        """Return the state before the first step."""
        return [stage.start() for stage in self._stages]

    def step(self, x: Vector, state: State | None = None) -> tuple[Vector, State]:
        """Run one step.

        Args:
            x: input [n_inputs], float32; silence costs nothing.
            state: what the step before returned, which is used up; a fresh one if None.
        Returns:
            Output [features], and the state.
        Raises:
            InputError: an input of another shape or type.
        """
        if not isinstance(x, np.ndarray):
            raise InputError(f"a stream takes a numpy array [{self.n_inputs}], not {type(x).__name__}; use x.numpy()")
        if x.dtype != np.float32 or (self.n_inputs and x.shape != (self.n_inputs,)):
            raise InputError(
                f"a stream takes float32 [{self.n_inputs}], not {x.dtype} {list(x.shape)}; one step at a time"
            )
        state = self.start() if state is None else state
        for stage, held in zip(self._stages, state, strict=True):
            x = stage.step(x, held)
        return x, state

    @staticmethod
    def _stage(name: str, module: nn.Module) -> _Synapses | _Neurons | _Affine | None:
        if isinstance(module, DelayLinear) and module.tail == 0:
            return _Synapses(module, *_dense(module))
        if isinstance(module, nn.Linear):
            return _Synapses(module, module.weight.t(), torch.zeros(module.in_features, module.out_features))
        if isinstance(module, Spiking):
            return _Neurons(module)
        if isinstance(module, nn.BatchNorm1d) and module.track_running_stats:
            return _Affine(module)
        if isinstance(module, (nn.Dropout, nn.Identity)):
            return None
        raise InputError(
            f"layer {name!r} ({type(module).__name__}) cannot be streamed; Linear, DelayLinear without tail, spiking "
            "layers, BatchNorm1d and Dropout can: type net.step(x_t, state) for other networks"
        )


class _Synapses:
    """Weights and lags of every synapse [inputs, outputs * taps], and a ring of what is still to arrive."""

    def __init__(self, layer: nn.Linear | DelayLinear, weight: Tensor, lag: Tensor) -> None:
        self.weight = weight.detach().float().contiguous().numpy()
        self.lag = lag.detach().to(torch.int32).contiguous().numpy()
        bias = torch.zeros(len(layer.weight)) if layer.bias is None else layer.bias
        self.bias: Vector = bias.detach().float().numpy()
        self.slots = 1 << int(self.lag.max(initial=0)).bit_length()

    def start(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        ring: Vector = np.zeros((self.slots, len(self.bias)), np.float32)
        return ring, np.zeros(1, np.int64)

    def step(self, x: Vector, held: tuple[NDArray[np.float32], NDArray[np.int64]]) -> Vector:
        ring, position = held
        arrived: Any = arrive(x, self.weight, self.lag, self.bias, ring, position)
        return arrived


class _Neurons:
    """A layer of neurons through its compiled kernel; parameters of more than one value follow the features."""

    def __init__(self, layer: Spiking) -> None:
        self.states = np.array([*layer.neuron.states.values()], np.float32)
        self.run = cpu.stepper(layer.kernel, [value.detach().reshape(-1) for value in layer.values().values()])

    def start(self) -> list[Vector]:
        return []

    def step(self, x: Vector, held: list[Vector]) -> Vector:
        if not held:
            held.append(np.repeat(self.states[:, None], len(x), 1))
        y, held[0] = self.run(x, held[0])
        return y


class _Affine:
    """Batch normalisation with its running statistics."""

    def __init__(self, norm: nn.BatchNorm1d) -> None:
        mean, variance = norm.running_mean, norm.running_var
        assert mean is not None and variance is not None
        scale = (variance + norm.eps).rsqrt() * (norm.weight if norm.affine else 1.0)
        self.scale = scale.detach().float().numpy()
        self.shift = ((norm.bias if norm.affine else 0.0) - mean * scale).detach().float().numpy()

    def start(self) -> None:
        return None

    def step(self, x: Vector, held: None) -> Vector:
        return x * self.scale + self.shift


def _dense(layer: DelayLinear) -> tuple[Tensor, Tensor]:
    """Return weights and rounded lags of every synapse [inputs, outputs * taps], taps in turn."""
    lag = layer.rounded()
    if layer.kind == "axonal":
        lag = lag.unsqueeze(0)
    elif layer.kind == "dendritic":
        lag = lag.unsqueeze(1)
    lag = lag.expand(layer.weight.shape)
    return layer.weight.permute(1, 2, 0).flatten(1), lag.permute(1, 2, 0).flatten(1)


def _layers(net: nn.Module, within: str) -> Sequence[tuple[str, nn.Module]]:
    if not isinstance(net, nn.Sequential):
        return [(within, net)]
    found: list[tuple[str, nn.Module]] = []
    for name, module in row(net):
        found += _layers(module, f"{within}.{name}".lstrip("."))
    return found
