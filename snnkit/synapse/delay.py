"""Layers whose connections have learnable delays: dense ones, and convolutions over space.

A delay is a real number of steps in 0..max_delay. While training, a kernel of `snnkit.synapse.taps` spreads it over
whole steps; while evaluating it is rounded, which is also what is deployed.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from snnkit.errors import InputError, nearest
from snnkit.spiking import check_lengths, check_sequence
from snnkit.synapse.delayed import Problem, delayed, methods
from snnkit.synapse.taps import KERNELS, Taps, integer, sigma_at

KINDS = ("synaptic", "axonal", "dendritic")
"""What has a delay of its own: every synapse, every input, or every output."""

State = dict[str, Tensor]
_Module = TypeVar("_Module", bound=nn.Module)


class Delayed(nn.Module):
    """What all layers with delays share: weights, delays, and the last inputs as state. Use a subclass."""

    axes: ClassVar[int]
    delay: Tensor
    sigma: Tensor
    settled: bool
    """Whether the delays are whole steps that stay, while training too: the kernel's width is 0."""
    width: str
    """The kernel's width when `look` last saw it, as text: a compiler would make a symbol of a number that changes."""

    def __init__(self, shape: Sequence[int], *, max_delay: int, options: dict[str, Any]) -> None:
        super().__init__()
        taps, kind, kernel = options["taps"], options["kind"], options["kernel"]
        self.max_delay = _whole(max_delay, "max_delay", 0, 1 << 20)
        self.taps = _whole(taps, "taps", 1, 64)
        self.kind = _known(kind, "kind", KINDS)
        self.kernel = _known(kernel, "kernel", KERNELS)
        self.backend = methods.check(options["backend"])
        self.tail = _whole(options["tail"], "tail", 0, 1 << 20)
        outputs, inputs = _whole(shape[0], "n_outputs", 1), _whole(shape[1], "n_inputs", 1)
        self.weight = nn.Parameter(torch.empty(*shape, self.taps))
        sizes = {"synaptic": tuple(shape), "axonal": (inputs,), "dendritic": (outputs,)}
        delay = torch.empty(*sizes[kind], self.taps)
        if options["learn"]:
            self.delay = nn.Parameter(delay)
        else:
            self.register_buffer("delay", delay)
        self.bias = nn.Parameter(torch.zeros(outputs)) if options["bias"] else None
        self.register_buffer("sigma", torch.tensor(self.widest))
        self.width, self.settled = repr(self.widest), False
        self.register_load_state_dict_post_hook(type(self).look)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights as Kaiming-uniform over the inputs, and delays evenly from 0..max_delay; whole ones if fixed."""
        bound = math.sqrt(6 / self.weight[0, ..., 0].numel())
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.delay, 0, self.max_delay)
        if not self.learn:
            self.delay.round_()
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    @property
    def learn(self) -> bool:
        """Whether the delays are learnt."""
        return isinstance(self.delay, nn.Parameter)

    @property
    def widest(self) -> float:
        """The width that the kernel starts from, in steps: half of the window."""
        return float((self.max_delay + 1) // 2)

    @torch.no_grad()
    def anneal(self, progress: float, *, until: float = 0.25) -> None:
        """Set the kernel's width to that of a share of training, 0..1; training does it before every epoch.

        Args:
            progress: share that is done.
            until: share after which the width stays.
        """
        self.sigma.fill_(sigma_at(progress, start=self.widest, until=until))
        self.look()

    @torch.no_grad()
    def settle(self) -> None:
        """Round the delays and set the kernel's width to 0: from here on training too has them as whole steps."""
        self.delay.copy_(self.rounded())
        self.sigma.zero_()
        self.look()

    def look(self, *_: Any) -> None:
        """See whether the delays are settled after `sigma` was set; compiled networks cannot see it as they run."""
        self.width = repr(float(self.sigma))
        self.settled = self.widest > 0 and float(self.sigma) == 0.0

    @torch.no_grad()
    def constrain(self) -> None:
        """Put the delays back into 0..max_delay; training does it after every step."""
        self.delay.clamp_(0, self.max_delay)

    def rounded(self) -> Tensor:
        """Return the delays that evaluation uses, whole steps, int64, in the shape of `delay`."""
        return self.delay.detach().round().clamp(0, self.max_delay).long()

    def start(self, like: Tensor) -> State:
        """Return the state before the first step: silence, of the shape and type of an input [B, features…]."""
        return {"history": like.new_zeros((like.shape[0], self.max_delay, *like.shape[1:]))}

    def forward(self, x: Tensor) -> Tensor:
        """Return the output [T + tail, B, features…] of the input [T, B, features…], from fresh state."""
        return self.run(x)[0]

    def run(self, x: Tensor, state: State | None = None, *, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        """Run over time.

        Args:
            x: input [T, B, features…], floating point.
            state: what an earlier run returned, the last inputs: `history` [B, max_delay, features…]; silence if None.
            lengths: valid steps of each sample [B]; later outputs are 0, and the state holds the last valid inputs.
        Returns:
            Output [T + tail, B, features…], and the state.
        Raises:
            InputError: wrong rank, type, sizes, lengths or state; a state together with `tail`.
            BackendError: a backend that was asked for and cannot run here.
        """
        check_sequence(x, type(self).__name__)
        self._check_features(x)
        if lengths is not None:
            check_lengths(lengths, x)
            x = x * _valid(lengths, x, 0)
        if state is not None:
            x = torch.cat([self._check_state(x, state).transpose(0, 1), x])
        past = 0 if state is None else self.max_delay
        followed = functional.pad(x, (0, 0) * (x.ndim - 1) + (0, self.tail)) if self.tail else x
        y = self._connect(followed, past)
        if self.bias is not None:
            y = y + self.bias.to(y.dtype).view(-1, *[1] * self.axes)
        if lengths is not None:
            y = y * _valid(lengths, y, self.tail)
        return y, {"history": self._history(x, past, lengths)}

    def step(self, x_t: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Run one step: x_t [B, features…] and a state to an output [B, features…] and a state."""
        y, state = self.run(x_t.unsqueeze(0), state)
        return y[0], state

    def trace(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State, State]:
        """Return what `run` returns, without gradient, and no traces: the state is past input."""
        with torch.no_grad():
            return *self.run(x, state), {}

    @property
    def n_inputs(self) -> int:
        """Features, or channels, in."""
        return self.weight.shape[1]

    @property
    def n_outputs(self) -> int:
        """Features, or channels, out."""
        return self.weight.shape[0]

    def fits(self, delay: Tensor) -> bool:
        """Return whether all delays lie in 0..max_delay."""
        return bool(((delay >= 0) & (delay <= self.max_delay)).all())

    @torch.no_grad()
    def set_delay(self, delay: Tensor | float) -> None:
        """Set the delays, in steps, from a number or a tensor that broadcasts to `delay`.

        Raises:
            InputError: a shape that does not fit, or a delay that is not in 0..max_delay.
        """
        value = torch.as_tensor(delay, dtype=self.delay.dtype, device=self.delay.device)
        if not self.fits(value):
            raise InputError(
                f"delays are {float(value.min()):g}..{float(value.max()):g} steps; they must lie in "
                f"0..{self.max_delay}: clamp them, or build the layer with a longer max_delay"
            )
        try:
            self.delay.copy_(value)
        except RuntimeError:
            raise InputError(
                f"delays have shape {list(value.shape)}; {list(self.delay.shape)} is needed, or what broadcasts to it"
            ) from None

    def extra_repr(self) -> str:
        """Return what the layer was made with, for `print(net)`."""
        learn = "" if self.learn else ", learn=False"
        kind = f"kind={self.kind!r}, kernel={self.kernel!r}{learn}"
        return f"{self.n_inputs}, {self.n_outputs}, max_delay={self.max_delay}, {kind}"

    def problem(self, x: Tensor, past: int = 0) -> Problem:
        """Return the delayed sum for an input, such as `snnkit.synapse.delayed.costs` takes.

        Args:
            x: input [past + T, B, features…].
            past: how many of its first steps are history.
        """
        return self._problem(x, past)[0]

    def _connect(self, x: Tensor, past: int) -> Tensor:
        """Return the output of x [past + T, B, features…] without bias."""
        problem, back = self._problem(x, past)
        y = back(delayed(self.backend, problem))
        _, after = self._matrices()
        return y if after is None else self._product(y, after)

    def _problem(self, x: Tensor, past: int) -> tuple[Problem, Any]:
        """Return the delayed sum for x, and the function from its output to the shape of features."""
        outputs, inputs = self.weight.shape[:2]
        if self.kind == "synaptic":
            rows, back = self._rows(x)
            weight = self.weight.reshape(1, outputs, -1, self.taps)
            delay = self.delay.reshape(weight.shape)
        else:
            before, _ = self._matrices()
            x = x if before is None else self._product(x, before)
            rows, back = _channels(x, self.axes)
            delay = self.delay.view((inputs, self.taps, 1, 1) if self.kind == "axonal" else (outputs, 1, self.taps, 1))
            weight = torch.ones_like(delay)
        weight = weight.to(torch.promote_types(rows.dtype, torch.float32))
        taps, sigma = self._taps(delay.to(weight.dtype))
        return Problem(rows, weight, taps, reach=self.max_delay, past=past, sigma=sigma), back

    def _matrices(self) -> tuple[Tensor | None, Tensor | None]:
        """Return the weights that are applied ahead of the delays, and behind them; the sum has those of synapses."""
        before = self.weight.movedim(-1, 1).flatten(0, 1) if self.kind == "dendritic" else None
        return before, self.weight.movedim(-1, 2).flatten(1, 2) if self.kind == "axonal" else None

    def _taps(self, delay: Tensor) -> tuple[Taps, float | None]:
        inside = delay + (delay.detach().clamp(0, self.max_delay) - delay.detach())
        if not (self.training and self.learn):
            return integer(inside.detach(), self.max_delay), None
        if self.settled:
            whole = integer(inside.detach(), self.max_delay)
            return replace(whole, values=whole.values + 0 * inside.unsqueeze(-1)), None
        sigma = 0.0
        if self.kernel in ("gauss", "triangle"):
            seen = torch.compiler.is_compiling() or self.sigma.is_meta
            sigma = float(self.width if seen else self.sigma)
        return KERNELS[self.kernel](inside, self.max_delay, sigma), sigma if self.kernel == "gauss" else None

    def _history(self, x: Tensor, past: int, lengths: Tensor | None) -> Tensor:
        missing = max(0, self.max_delay + (int(lengths.max()) if lengths is not None else 0) - len(x))
        x = functional.pad(x, (0, 0) * (x.ndim - 1) + (missing, 0)) if missing else x
        if lengths is None:
            return x[len(x) - self.max_delay :].transpose(0, 1).clone()
        first = past + missing + lengths.to(x.device) - self.max_delay
        steps = first + torch.arange(self.max_delay, device=x.device).view(-1, 1)
        return x[steps, torch.arange(x.shape[1], device=x.device)].transpose(0, 1)

    def _check_state(self, x: Tensor, state: State) -> Tensor:
        if self.tail:
            raise InputError(
                f"{type(self).__name__} with tail={self.tail} ends its sequences; use tail=0 to carry state"
            )
        if not isinstance(state, dict) or set(state) != {"history"}:
            raise InputError(f"the state of {type(self).__name__} is a dict of 'history', not {state!r:.80}")
        needed = (x.shape[1], self.max_delay, *x.shape[2:])
        if tuple(state["history"].shape) != needed or state["history"].dtype != x.dtype:
            raise InputError(
                f"the history is {state['history'].dtype} of shape {list(state['history'].shape)} and the input needs "
                f"{x.dtype} of {list(needed)}; pass state=None to start afresh"
            )
        return state["history"]

    def _check_features(self, x: Tensor) -> None:
        inputs = self.weight.shape[1]
        if x.ndim != 3 + self.axes or x.shape[2] != inputs:
            space = ("", ", length", ", height, width")[self.axes]
            raise InputError(f"{type(self).__name__} got shape {list(x.shape)} and needs [T, B, {inputs}{space}]")

    def _rows(self, x: Tensor) -> tuple[Tensor, Any]:
        """Return x as [T, rows, inputs of a row], and the function from [T, rows, outputs] to the output's shape."""
        raise NotImplementedError

    def _product(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return the weights applied to every step of x, without delay."""
        raise NotImplementedError


class DelayLinear(Delayed):
    """A dense connection whose synapses have learnable delays (DCLS-Delays).

    y[t, b, o] = sum over i and taps k of weight[o, i, k] * x[t - delay, b, i]

    Args:
        n_inputs, n_outputs: features in and out.
        max_delay: the longest delay, in steps; delays lie in 0..max_delay.
        kind: `synaptic`, `axonal` (a delay for each input) or `dendritic` (a delay for each output).
        taps: synapses for each pair, each with a weight and, if synaptic, a delay of its own.
        kernel: how a real delay acts while training: `gauss`, `linear` or `integer`.
        learn: whether delays are learnt; if not, they are drawn as whole steps and stay.
        bias: whether there is a bias for each output.
        backend: a method of `snnkit.synapse.delayed`, or `auto` for the one that costs least.
        tail: steps by which the output is longer than the input; needs silence between sequences.
    Raises:
        InputError: a size, kind or kernel that is not known; `BackendError` for the backend.

    Shapes:
        `weight` [n_outputs, n_inputs, taps]; `delay` the same, or [n_inputs, taps], or [n_outputs, taps], in steps.

    Example:
        >>> layer = DelayLinear(700, 128, max_delay=24)
        >>> y = layer(torch.rand(100, 8, 700))

    Source: Hammouamri, Khalfaoui-Hassani & Masquelier, Learning delays in spiking neural networks using dilated
    convolutions with learnable spacings, ICLR 2024.
    """

    axes = 0

    def __init__(
        self,
        n_inputs: int,
        n_outputs: int,
        *,
        max_delay: int = 24,
        kind: str = "synaptic",
        taps: int = 1,
        kernel: str = "gauss",
        learn: bool = True,
        bias: bool = False,
        backend: str = "auto",
        tail: int = 0,
    ) -> None:
        options = {"kind": kind, "taps": taps, "kernel": kernel, "learn": learn, "bias": bias, "backend": backend}
        super().__init__((n_outputs, n_inputs), max_delay=max_delay, options=options | {"tail": tail})

    def fan_out(self, shape: Sequence[int]) -> Tensor:
        """Return the synapses that a spike of each input reaches, in the shape of one input [n_inputs]."""
        return torch.full(tuple(shape), float(self.weight.shape[0] * self.taps))

    def _rows(self, x: Tensor) -> tuple[Tensor, Any]:
        return x, lambda y: y

    def _product(self, x: Tensor, weight: Tensor) -> Tensor:
        return functional.linear(x, weight.to(x.dtype))


def rounded(net: _Module) -> _Module:
    """Return a copy of a network whose delays are whole steps and no longer learnt: what is deployed.

    It gives the spikes of the network in evaluation, in training mode too as far as delays go.

    Example:
        >>> deployed = rounded(net).eval()
    """
    copied = copy.deepcopy(net)
    for module in copied.modules():
        if isinstance(module, Delayed):
            delay = module.rounded().to(module.delay.dtype)
            del module.delay
            module.register_buffer("delay", delay)
    return copied


def _channels(x: Tensor, axes: int) -> tuple[Tensor, Any]:
    """Return x [T, B, channels, space…] as [T, B * space, channels], and the way back for other channels."""
    if axes == 0:
        return x, lambda y: y
    space, batch = x.shape[3:], x.shape[1]
    rows = x.flatten(3).transpose(2, 3).flatten(1, 2)
    return rows, lambda y: y.unflatten(1, (batch, -1)).transpose(2, 3).unflatten(3, space)


def _valid(lengths: Tensor, x: Tensor, tail: int) -> Tensor:
    steps = torch.arange(len(x), device=x.device).view(-1, *[1] * (x.ndim - 1))
    ends = lengths.to(x.device).view(1, -1, *[1] * (x.ndim - 2)) + tail
    return (steps < ends).to(x.dtype)


def _whole(value: Any, name: str, low: int, high: int = 1 << 31) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or not low <= int(value) <= high:
        raise InputError(f"{name} is {value!r}; a whole number of at least {low} and at most {high} is needed")
    return int(value)


def _known(value: Any, name: str, known: Any) -> str:
    if value not in tuple(known):
        raise InputError(f"{name} is {value!r}{nearest(str(value), known)}; known: {', '.join(known)}")
    return value
