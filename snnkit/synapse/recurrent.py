"""A layer connected to itself: its output of one step comes back with the next, or later where delays say so."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from snnkit.codegen import recurrence
from snnkit.codegen.backends import resolve
from snnkit.errors import InputError
from snnkit.spiking import Spiking, check_lengths, check_sequence
from snnkit.synapse.delay import Delayed, DelayLinear
from snnkit.synapse.fold import holds_state, keeps_time, stateful


class Recurrent(nn.Module):
    """A spiking layer with a connection from its output to its input, one step later.

    Args:
        layer: the spiking layer.
        connection: a module from the layer's output to its input, such as `nn.Linear(128, 128, bias=False)`. With
            delays, such as `snnkit.DelayLinear(128, 128, kind="axonal", kernel="triangle")` for one per neuron as in
            DelRec, an output of step t comes back at t + 1 + delay; its last outputs are the connection's state.
    Raises:
        InputError: a layer that does not spike, or a connection with another state.

    Example:
        >>> layer = Recurrent(snnkit.ALIF(tau=10.0), nn.Linear(128, 128, bias=False))
        >>> spikes = layer(torch.rand(10, 4, 128))
    """

    def __init__(self, layer: Spiking, connection: nn.Module) -> None:
        super().__init__()
        if not isinstance(layer, Spiking):
            raise InputError(f"Recurrent takes a spiking layer such as snnkit.LIF(), not {type(layer).__name__}")
        if keeps_time(connection) or (holds_state(connection) and not isinstance(connection, Delayed)):
            raise InputError(
                f"{type(connection).__name__} has a state of its own and cannot connect a layer to itself; use a layer "
                "without one, such as nn.Linear, several in nn.Sequential, or one with delays, such as DelayLinear"
            )
        self.layer = layer
        self.connection = connection

    def forward(self, x: Tensor) -> Tensor:
        """Return the output [T, B, features…] of the input [T, B, features…], from fresh state."""
        return self.run(x)[0]

    def run(
        self, x: Tensor, state: dict[str, Any] | None = None, *, lengths: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """Run over time; arguments and errors as `Spiking.run`, the state holds the layer's and its last output."""
        check_sequence(x, "Recurrent")
        if lengths is not None:
            check_lengths(lengths, x)
        current = self._start(x) if state is None else self._check(x, state)
        if self._fused(x, current):
            return self._run_fused(x, current, lengths)
        outputs = []
        for t, x_t in enumerate(x.unbind(0)):
            y, after = self.step(x_t, current)
            if lengths is not None:
                going = (lengths > t).to(x.device)
                y = y * going.view(-1, *[1] * (x.ndim - 2)).to(y.dtype)
                after = _held(going, after, current)
            outputs.append(y)
            current = after
        return torch.stack(outputs), current

    def step(self, x_t: Tensor, state: dict[str, Any] | None = None) -> tuple[Tensor, dict[str, Any]]:
        """Run one step: x_t [B, features…] and a state to an output [B, features…] and a state."""
        if state is None:
            state = self._start(x_t.unsqueeze(0))
        after: dict[str, Any] = {}
        if stateful(self.connection):
            back, after["connection"] = self.connection.step(state["output"], state.get("connection"))  # pyright: ignore[reportCallIssue]
        else:
            back = self.connection(state["output"])
        y, inner = self.layer.step(x_t + back.to(x_t.dtype), state["layer"])
        return y, {"layer": inner, "output": y, **after}

    def trace(self, x: Tensor, state: dict[str, Any] | None = None) -> tuple[Tensor, dict[str, Any], dict[str, Tensor]]:
        """Return what `run` returns, and every state after every step [T, B, features…], without gradient."""
        check_sequence(x, "Recurrent")
        state = self._start(x) if state is None else self._check(x, state)
        outputs, steps = [], []
        with torch.no_grad():
            for x_t in x.unbind(0):
                y, state = self.step(x_t, state)
                outputs.append(y)
                steps.append(state["layer"])
        return torch.stack(outputs), state, {n: torch.stack([s[n] for s in steps]) for n in self.layer.neuron.states}

    def _fused(self, x: Tensor, state: dict[str, Any]) -> bool:
        """Return whether all steps run in one operation: a dense connection, the CPU's kernels, no transform."""
        connection = self.connection
        if type(connection) not in _FEEDBACKS or connection._forward_hooks or connection._forward_pre_hooks:
            return False
        if isinstance(connection, DelayLinear) and (connection.tail or connection.backend not in ("auto", "taps")):
            return False
        weight: Tensor = connection.weight  # pyright: ignore[reportAssignmentType]
        square = x.ndim == 3 and tuple(weight.shape[:2]) == (x.shape[2], x.shape[2])
        if not square or len(x) == 1 or not self.layer.neuron.spiking:
            return False
        same = {x.dtype, weight.dtype, state["output"].dtype} in ({torch.float32}, {torch.float64})
        transformed = torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
        return resolve(self.layer.backend, x.device, x.dtype)[0] == "cpu" and same and not transformed

    def _run_fused(self, x: Tensor, state: dict[str, Any], lengths: Tensor | None) -> tuple[Tensor, dict[str, Any]]:
        """Run all steps of all samples; see `snnkit.codegen.recurrence`."""
        connection, shape, T = self.connection, x.shape[1:], len(x)
        inner, names = self.layer._check_state(x, state["layer"]), self.layer.neuron.states
        stacked = torch.stack([inner[name].reshape(-1) for name in names])
        y, last = recurrence.run(
            self.layer.kernel,
            x,
            feedback=_FEEDBACKS[type(connection)](connection, x, state),
            start=(state["output"], stacked),
            params=self.layer.vectors(shape, stacked.dtype),
            ends=None if lengths is None else lengths.view(-1, 1).expand(shape),
        )
        after: dict[str, Any] = {"layer": dict(zip(names, (a.view(shape) for a in last.unbind(0)), strict=True))}
        if isinstance(connection, DelayLinear):
            past = state["connection"]["history"].transpose(0, 1)
            heard = torch.cat([past, state["output"].unsqueeze(0), y[:-1]])
            after["connection"] = {"history": connection._history(heard, len(past), lengths)}
        if lengths is None:
            return y, {"output": y[-1], **after}
        y = y * (torch.arange(T).view(-1, 1) < lengths).unsqueeze(2).to(y.dtype)
        return y, {"output": y[lengths - 1, torch.arange(len(lengths))], **after}

    def _start(self, x: Tensor) -> dict[str, Any]:
        start: dict[str, Any] = {"layer": self.layer.start(x.shape[1:], x), "output": torch.zeros_like(x[0])}
        if stateful(self.connection):
            start["connection"] = self.connection.start(x[0])  # pyright: ignore[reportCallIssue]
        return start

    def _check(self, x: Tensor, state: dict[str, Any]) -> dict[str, Any]:
        known = {"layer", "output", *({"connection"} if stateful(self.connection) else ())}
        if not isinstance(state, dict) or set(state) != known:
            raise InputError(f"the state of Recurrent is a dict of {sorted(known)}, not {state!r:.80}")
        if state["output"].shape != x.shape[1:]:
            raise InputError(
                f"the state's output has shape {list(state['output'].shape)} and the input needs {list(x.shape[1:])}; "
                "pass state=None to start afresh"
            )
        return state


def _held(going: Tensor, after: Any, before: Any) -> Any:
    """Return the state after a step for the samples [B] that go on, and before it for the others."""
    if isinstance(after, dict):
        return {name: _held(going, after[name], before[name]) for name in after}
    return torch.where(going.view(-1, *[1] * (after.ndim - 1)), after, before)


def _dense(connection: nn.Linear, x: Tensor, state: dict[str, Any]) -> recurrence.Feedback:
    """Return a connection without delays, for inputs like x."""
    weight = connection.weight.detach().clone()
    return recurrence.Feedback(
        forward=lambda _: lambda _, output: functional.linear(output, weight, connection.bias),
        backward=lambda _: lambda _, grad: grad @ weight,
        whole=lambda outputs: functional.linear(outputs, connection.weight, connection.bias),
    )


def _delayed(connection: DelayLinear, x: Tensor, state: dict[str, Any]) -> recurrence.Feedback:
    """Return a connection with delays and the past that it has in a state, for inputs like x."""
    from snnkit.synapse.delayed.line import Line

    with torch.no_grad():
        coefs, lags = connection.problem(x[:1]).coefs()
        # Copies, so that what runs backward later is what ran forward.
        matrices = [None if matrix is None else matrix.clone() for matrix in connection._matrices()]
    line, batch = Line(coefs, lags, connection.max_delay, *matrices), x.shape[1]
    history = connection._check_state(x, state["connection"])
    shift = 0 if connection.bias is None else connection.bias

    def forward(steps: int) -> recurrence.Step:
        hear = line.run(steps, batch, history)
        return lambda step, output: hear(step, output) + shift

    return recurrence.Feedback(
        forward=forward,
        backward=lambda steps: line.adjoint().run(steps, batch),
        whole=lambda outputs: connection.run(outputs, state["connection"])[0],
    )


_FEEDBACKS: dict[type, Any] = {nn.Linear: _dense, DelayLinear: _delayed}
"""The connections whose steps run in one operation."""
