"""A network: layers in a row over a sequence, with the state passed in and out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from snnkit.errors import InputError, nearest
from snnkit.spiking import check_lengths, check_sequence
from snnkit.synapse.fold import fold, stateful
from snnkit.synapse.hooks import hooked

State = dict[str, Any]
"""Child name to the state of that child, for the children that have one."""


def row(net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield name and module of every layer in a row; torch's `named_children` leaves out one that occurs again."""
    for name, module in net._modules.items():
        if module is not None:
            yield name, module


class Network(nn.Sequential):
    """Layers in a row; torch's own are applied to every step, spiking ones carry state.

    Args:
        layers: modules; networks nest. Or, as slices of a network are made, one OrderedDict of names and modules.

    Example:
        >>> net = Network(nn.Linear(64, 128), snnkit.LIF(tau=2.0), nn.Linear(128, 10), snnkit.Readout(tau=2.0))
        >>> y = net(torch.rand(16, 8, 64))
    """

    def __init__(self, *layers: nn.Module | OrderedDict[str, nn.Module]) -> None:
        alone = layers[0] if len(layers) == 1 else None
        for k, module in enumerate(alone.values() if isinstance(alone, OrderedDict) else layers):
            if not isinstance(module, nn.Module):
                raise InputError(f"layer {k} of a Network is a torch module, not {module!r:.80}")
        super().__init__(*layers)  # pyright: ignore[reportCallIssue, reportArgumentType]

    def forward(self, x: Tensor) -> Tensor:
        """Return the output sequence [T, B, features…] of the input [T, B, features…], from fresh state."""
        return self.run(x)[0]

    def run(self, x: Tensor, state: State | None = None, *, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        """Run over time.

        Args:
            x: input [T, B, features…], floating point.
            state: what an earlier run returned; fresh if None.
            lengths: valid steps of each sample [B]; later outputs are 0, and no state or statistic sees them.
        Returns:
            Output [T, B, features…], longer by the `tail` of layers that have one; and the state after the last valid
            step.
        Raises:
            InputError: wrong rank, type, lengths or state; no steps, no samples; NaN or infinity on a CPU.
        """
        check_sequence(x, "Network")
        if lengths is not None:
            check_lengths(lengths, x)
        known = self._known(state)
        after: State = {}
        for name, module in self._modules.items():
            if stateful(module):
                x, after[name] = hooked(module, x, _running(module, known.get(name), lengths))
            else:
                x = _folded(name, module, x, lengths)
            if lengths is not None:
                lengths = lengths + getattr(module, "tail", 0)
        if lengths is not None:
            steps = torch.arange(len(x), device=x.device).view(-1, *[1] * (x.ndim - 1))
            x = x * (steps < lengths.to(x.device).view(1, -1, *[1] * (x.ndim - 2))).to(x.dtype)
        return x, after

    def step(self, x_t: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Run one step: x_t [B, features…] and a state to an output [B, features…] and a state."""
        y, after = self.run(x_t.unsqueeze(0), state)
        return y[0], after

    def __getitem__(self, index: int | slice) -> Any:
        """Return one layer, or a network of those in a slice, which has the very layers and not copies."""
        return Network(*list(self)[index]) if isinstance(index, slice) else super().__getitem__(index)

    def __add__(self, other: nn.Sequential) -> Network:
        """Return a network of these very layers and then the other's."""
        return Network(*super().__add__(other))

    def __mul__(self, other: int) -> Network:
        """Return a network of copies of these layers, that many times one after the other."""
        return Network(*super().__mul__(other))

    def __rmul__(self, other: int) -> Network:
        """Return the same as the network times the number."""
        return self * other

    def record(
        self, x: Tensor, names: str | Sequence[str] | None = None, state: State | None = None
    ) -> dict[str, Tensor]:
        """Run without gradient and return what happened inside.

        Args:
            x: input [T, B, features…].
            names: what to record: a child for its output (`"1"`), with a dot for its state (`"1.v"`); all if None.
            state: what an earlier run returned; fresh if None.
        Returns:
            Name to sequence [T, B, features…]; states are those after each step.
        Raises:
            InputError: a name that the network does not have.
        """
        found = self._record(x, state)[1]
        names = (names,) if isinstance(names, str) else names
        for wanted in names or ():
            if wanted not in found:
                raise InputError(f"nothing to record as {wanted!r}{nearest(wanted, found)}; known: {', '.join(found)}")
        return found if names is None else {name: found[name] for name in names}

    def _record(self, x: Tensor, state: State | None) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the output, and everything that can be recorded."""
        check_sequence(x, "Network")
        known = self._known(state)
        found: dict[str, Tensor] = {}
        with torch.no_grad():
            for name, module in self._modules.items():
                if stateful(module):
                    x, traces = hooked(module, x, _tracing(module, known.get(name)))
                    found.update({f"{name}.{k}": v for k, v in traces.items()})
                else:
                    x = _folded(name, module, x)
                found[name] = x
        return x, found

    def _known(self, state: State | None) -> State:
        if state is None:
            return {}
        expected = {name for name, module in self._modules.items() if stateful(module)}
        if not isinstance(state, dict) or set(state) != expected:
            came = sorted(state) if isinstance(state, dict) else type(state).__name__
            raise InputError(f"the state of this network is a dict of {sorted(expected)}, not {came}")
        return state


def detached(state: State) -> State:
    """Return a state cut off from the graph that made it, so that a long sequence can be learnt piece by piece.

    Args:
        state: what `run` or `step` of a network or layer returned.
    Returns:
        The same values, of which no gradient goes further back.

    Example:
        >>> net = Network(nn.Linear(4, 3), snnkit.LIF())
        >>> y, state = net.run(torch.rand(10, 2, 4))
        >>> y.sum().backward()
        >>> y, state = net.run(torch.rand(10, 2, 4), detached(state))
        >>> y.sum().backward()
    """
    return {name: part.detach() if isinstance(part, Tensor) else detached(part) for name, part in _parts(state)}


def _running(module: Any, state: Any, lengths: Tensor | None) -> Callable[[Tensor], tuple[Tensor, Any]]:
    return lambda x: module.run(x, state, lengths=lengths)


def _tracing(module: Any, state: Any) -> Callable[[Tensor], tuple[Tensor, dict[str, Tensor]]]:
    """Return the function from a layer's input to its output and its states after every step."""
    if isinstance(module, Network):
        return lambda x: module._record(x, state)
    if hasattr(module, "trace"):
        return lambda x: module.trace(x, state)[::2]
    return lambda x: _stepped(module, x, state)


def _stepped(module: Any, x: Tensor, state: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """Return what a layer that has `run` alone makes of a sequence, step by step, and its states after every step."""
    outputs, states = [], []
    for x_t in x.split(1):
        y, state = module.run(x_t, state)
        outputs.append(y)
        states.append(dict(_leaves(state)))
    return torch.cat(outputs), {name: torch.stack([s[name] for s in states]) for name in states[0]}


def _leaves(state: Any, within: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a state with their paths, such as `0.v`."""
    for name, part in _parts(state):
        if isinstance(part, Tensor):
            yield within + name, part
        else:
            yield from _leaves(part, f"{within}{name}.")


def _parts(state: Any) -> Iterable[tuple[str, Any]]:
    if not isinstance(state, dict):
        raise InputError(f"a state is a dict of tensors, or of such dicts, not {state!r:.80}")
    return state.items()


def _folded(name: str, module: nn.Module, x: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return what one of torch's layers makes of a sequence; an error that it raises says which layer it was."""
    try:
        return fold(module, x, lengths)
    except RuntimeError as error:
        error.add_note(f"in layer {name!r} ({type(module).__name__}), whose input [T, B, features…] is {list(x.shape)}")
        raise
