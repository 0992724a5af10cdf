"""A neuron as a torch module: parameters fixed or learnt, state in, state out."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from snnkit.codegen import backends
from snnkit.codegen.kernel import Kernel
from snnkit.codegen.operators import bounded
from snnkit.errors import InputError, NeuronError, nearest
from snnkit.neuron import FAMILIES, Neuron, Param, Surrogate
from snnkit.neuron.surrogate import atan

State = dict[str, Tensor]
"""State name to tensor [B, features…]."""

_ELSEWHERE = {
    "v_threshold": "theta=…",
    "threshold": "theta=…",
    "v_th": "theta=…",
    "thresh": "theta=…",
    "beta": "tau=1 / (1 - beta), input_decay=False",
    "decay": "tau=1 / (1 - decay), input_decay=False",
    "tau_mem": "tau=…",
    "v_leak": "v_rest=…",
}
"""What other packages call a parameter, and what to type here."""

_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


class Spiking(nn.Module):
    """A layer of one neuron.

    Args:
        neuron: its description.
        learn: names of the parameters to learn; by default those that the neuron marks.
        surrogate: derivative of the spike; `snnkit.surrogate.atan(2.0)` unless given.
        detach_reset: whether the reset counts as constant in the backward pass.
        backend: `auto`, `reference`, `cpu` or `cuda`.
        params: values of the neuron's parameters, numbers or tensors that broadcast to the features.
    Raises:
        NeuronError: unknown parameter, or a value out of its bounds.
        BackendError: unknown backend.

    Example:
        >>> layer = Spiking(snnkit.neuron.lif(), tau=3.0, learn=("tau",))
        >>> spikes = layer(torch.rand(10, 4, 128))
    """

    def __init__(
        self,
        neuron: Neuron,
        *,
        learn: Sequence[str] | None = None,
        surrogate: Surrogate | None = None,
        detach_reset: bool = True,
        backend: str = "auto",
        **params: float | Tensor,
    ) -> None:
        super().__init__()
        if not isinstance(neuron, Neuron):
            raise NeuronError(f"Spiking takes a Neuron such as snnkit.neuron.lif(), not {neuron!r}")
        self.neuron = neuron
        if surrogate is not None and not isinstance(surrogate, Surrogate):
            raise NeuronError(f"surrogate is made by a call such as snnkit.surrogate.atan(2.0), not {surrogate!r:.60}")
        if not isinstance(detach_reset, bool):
            raise NeuronError(f"detach_reset is True or False, not {detach_reset!r}")
        self.surrogate = surrogate or atan(2.0)
        self.detach_reset = detach_reset
        self.backend = backends.check(backend)
        self.learn = _learnt(neuron, learn)
        for name in params:
            if name not in neuron.params:
                here = _ELSEWHERE.get(name, "")
                hint = f"; type {here}" if here.split("=")[0] in neuron.params else nearest(name, neuron.params)
                raise NeuronError(f"{neuron.name} has no parameter {name!r}{hint}; it has {', '.join(neuron.params)}")
        self._exact: dict[str, Tensor] = {}
        for name, bounds in neuron.params.items():
            given = params.get(name, bounds.default)
            if isinstance(given, Tensor) and given.requires_grad and name not in self.learn:
                raise NeuronError(
                    f"{neuron.name}: {name} requires a gradient and is not learnt; type {name}=….detach(), "
                    f"and learn=({name!r},) where the layer is to learn it"
                )
            exact = _value(neuron, name, given)
            value = exact.to(torch.get_default_dtype())
            if exact.is_meta or not torch.equal(value.double(), exact):
                self._exact[name] = exact
            if not isinstance(given, Tensor):
                value = value.to(torch.get_default_device())
            if name in self.learn:
                self.register_parameter(f"param_{name}", nn.Parameter(value))
            else:
                self.register_buffer(f"param_{name}", value)
        self._kernel = Kernel(neuron, self.surrogate, self.detach_reset)
        self._kernel.register()

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; a parameter's name is none, since what the layer computes with would stay as it is."""
        built = self.__dict__.get("_kernel")
        if built is not None and name in self.neuron.params and name not in self.__dict__:
            raise NeuronError(
                f"{self.neuron.name}.{name} cannot be set: build the layer with {name}=…, or type "
                f"layer.param_{name}.data.fill_(…); layer.values() returns what it computes with"
            )
        super().__setattr__(name, value)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._kernel.register()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Spiking:
        """Move or convert, as torch's modules do; where the type changes, 3.3 becomes that type's own 3.3."""
        before = {name: getattr(self, f"param_{name}").dtype for name in self._exact}
        super()._apply(fn, recurse)
        with torch.no_grad():
            for name, exact in self._exact.items():
                value = getattr(self, f"param_{name}")
                if value.dtype != before[name] and value.shape == exact.shape:
                    given = exact.to(value)
                    kept = value == exact.to(value.device, before[name]).to(value.dtype)
                    value.copy_(torch.where(kept, given, value))
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        """Load as torch's modules do; of a parameter that is not learnt, a value out of its bounds is an error."""
        *_, errors = arguments
        for name, bounds in self.neuron.params.items():
            value = state_dict.get(f"{prefix}param_{name}")
            if name not in self.learn and isinstance(value, Tensor) and not _within(value, bounds):
                errors.append(f"{prefix}param_{name}: {_out_of_bounds(self.neuron, name, value)}")
        super()._load_from_state_dict(state_dict, prefix, *arguments)

    @property
    def kernel(self) -> Kernel:
        """The neuron, surrogate and reset that are compiled."""
        return self._kernel

    def values(self) -> dict[str, Tensor]:
        """Return the parameters within their bounds, by name."""
        result = {name: getattr(self, f"param_{name}") for name in self.neuron.params}
        for name in self.learn:
            low, high = self.neuron.params[name].low, self.neuron.params[name].high
            if not (math.isinf(low) and math.isinf(high)):
                result[name] = bounded(result[name], low, high)
        return result

    def vectors(self, shape: Sequence[int], dtype: torch.dtype) -> list[Tensor]:
        """Return the parameters for inputs [B, features…]: single numbers, or vectors of one per neuron of a sample."""
        flat = [value if value.numel() == 1 else _flat(value, name, shape) for name, value in self.values().items()]
        return [value if value.dtype == dtype else value.to(dtype) for value in flat]

    def start(self, shape: Sequence[int], like: Tensor) -> State:
        """Return the state before the first step, [B, features…], on the device of `like`."""
        return {
            name: torch.full(tuple(shape), value, dtype=_wide(like.dtype), device=like.device)
            for name, value in self.neuron.states.items()
        }

    def forward(self, x: Tensor) -> Tensor:
        """Return the output [T, B, features…] of the input [T, B, features…], from fresh state; as `run` does."""
        check_sequence(x, self.neuron.name)
        return self._run(x)[0]

    def run(self, x: Tensor, state: State | None = None, *, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        """Run over time.

        Args:
            x: input [T, B, features…], floating point.
            state: the state to start from; fresh if None.
            lengths: valid steps of each sample [B]; later outputs are 0, the state stays as it was at the end.
        Returns:
            Output [T, B, features…], and the state after the last step.
        Raises:
            InputError: wrong rank, type or state; no steps, no samples; NaN or infinity on a CPU.
        """
        check_sequence(x, self.neuron.name)
        state = None if state is None else self._check_state(x, state)
        if lengths is None:
            y, after, _ = self._run(x, state)
            return y, self._named(after, x)
        return self._run_lengths(x, state, lengths)

    def step(self, x_t: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Run one step: x_t [B, features…] and a state to an output [B, features…] and a state."""
        y, state = self.run(x_t.unsqueeze(0), state)
        return y[0], state

    def trace(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State, State]:
        """Return what `run` returns, and every state after every step [T, B, features…], without gradient."""
        check_sequence(x, self.neuron.name)
        state = None if state is None else self._check_state(x, state)
        with torch.no_grad():
            y, after, before_steps = self._run(x, state, every=1)
            steps = torch.cat([before_steps[1:], after.unsqueeze(0)]).unflatten(-1, x.shape[1:])
            return y, self._named(after, x), dict(zip(self.neuron.states, steps.unbind(1), strict=True))

    def extra_repr(self) -> str:
        """Return the neuron and what differs between layers, for `print(net)`."""
        values = (f"{name}={_brief(getattr(self, f'param_{name}'))}" for name in self.neuron.params)
        learn = [f"learn={self.learn}"] if self.learn else []
        return ", ".join([self.neuron.name, *values, *learn, repr(self.surrogate)])

    def _run(self, x: Tensor, state: State | None = None, every: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the output, and the states after the last step and at the checkpoints as `backends.run` does."""
        shape = x.shape[1:]
        T, M = x.shape[0], math.prod(shape)
        stacked = None if state is None else torch.stack([state[n].reshape(M) for n in self.neuron.states])
        if every is None:
            every = _checkpoint_distance(T) if torch.is_grad_enabled() else T
        backend, _ = backends.resolve(self.backend, x.device, x.dtype)
        params = self.vectors(shape, _wide(x.dtype))
        return backends.run(self._kernel, x, stacked, params, backend=backend, every=every)

    def _named(self, state: Tensor, x: Tensor) -> State:
        """Return states [S, M] by name, [B, features…]."""
        return {n: s.view(x.shape[1:]) for n, s in zip(self.neuron.states, state.unbind(0), strict=True)}

    def _run_lengths(self, x: Tensor, state: State | None, lengths: Tensor) -> tuple[Tensor, State]:
        check_lengths(lengths, x)
        state = self.start(x.shape[1:], x) if state is None else state
        outputs, first = [], 0
        for last in sorted({*lengths.tolist(), len(x)}):
            y, stacked, _ = self._run(x[first:last], state)
            after = self._named(stacked, x)
            going = (lengths >= last).view(-1, *[1] * (x.ndim - 2)).to(x.device)
            state = {name: torch.where(going, after[name], state[name]) for name in state}
            outputs.append(y * going.to(y.dtype))
            first = last
        return torch.cat(outputs), state

    def _check_state(self, x: Tensor, state: State) -> State:
        if not isinstance(state, Mapping) or set(state) != set(self.neuron.states):
            came = sorted(state) if isinstance(state, Mapping) else type(state).__name__
            raise InputError(f"the state of {self.neuron.name} is a dict of {sorted(self.neuron.states)}, not {came}")
        wide = _wide(x.dtype)
        for name, value in state.items():
            if not isinstance(value, Tensor):
                raise InputError(f"state {name!r} is a tensor {list(x.shape[1:])}, not {value!r:.60}")
            if value.shape != x.shape[1:]:
                raise InputError(
                    f"state {name!r} has shape {list(value.shape)} and the input needs {list(x.shape[1:])}; "
                    "pass state=None to start afresh"
                )
            if value.device != x.device or value.dtype != wide:
                raise InputError(
                    f"state {name!r} is {value.dtype} on {value.device}; it needs {wide} on {x.device}; "
                    "move it with .to(dtype, device)"
                )
        return dict(state)


def layer(name: str) -> Callable[..., Spiking]:
    """Return the constructor of a catalogue layer, such as `snnkit.LIF`."""
    family = FAMILIES[name]
    options = inspect.signature(family).parameters

    def make(**arguments: Any) -> Spiking:
        chosen = {key: arguments.pop(key) for key in options if key in arguments}
        for key, value in chosen.items():
            if key == "reset" and value not in ("soft", "hard"):
                raise NeuronError(f"reset is 'soft' or 'hard', not {value!r}")
        return Spiking(family(**chosen), **arguments)

    make.__name__ = make.__qualname__ = name
    make.__doc__ = (
        f"{family.__doc__}\n    The other arguments are those of `snnkit.Spiking`, parameters included.\n    "
    )
    return make


def check_sequence(x: Tensor, who: str) -> None:
    """Raise InputError unless x is a floating-point sequence [T, B, features…] with steps and samples."""
    if not isinstance(x, Tensor):
        raise InputError(f"{who} takes a tensor [T, B, features…], not {type(x).__name__}")
    if x.ndim < 3:
        raise InputError(
            f"{who} got shape {list(x.shape)} and needs [T, B, features…]; "
            "for static data use snnkit.encode.constant(x, steps=…)"
        )
    if x.dtype not in _DTYPES:
        raise InputError(f"{who} got {x.dtype} and needs a floating-point type; use x.float()")
    if x.shape[0] == 0:
        raise InputError(f"{who} got a sequence of 0 steps (shape {list(x.shape)}); it needs at least 1")
    if x.numel() == 0:
        raise InputError(f"{who} got an empty batch (shape {list(x.shape)}); it needs at least 1 sample and 1 neuron")


def check_lengths(lengths: Tensor, x: Tensor) -> None:
    """Raise InputError unless lengths is an integer tensor [B] with values in 1..T."""
    if not isinstance(lengths, Tensor) or lengths.shape != x.shape[1:2] or lengths.is_floating_point():
        came = list(lengths.shape) if isinstance(lengths, Tensor) else type(lengths).__name__
        raise InputError(f"lengths is an integer tensor of {x.shape[1]} values, one per sample, not {came}")
    if int(lengths.min()) < 1 or int(lengths.max()) > x.shape[0]:
        raise InputError(
            f"lengths are {int(lengths.min())}..{int(lengths.max())}; they must lie in 1..{x.shape[0]}, the steps of x"
        )


def _checkpoint_distance(T: int) -> int:
    """Return the steps between two checkpoints: their number's root, which a compiler's symbol does not have."""
    return 16 if torch.compiler.is_compiling() else max(1, math.isqrt(T))


def _learnt(neuron: Neuron, learn: Sequence[str] | None) -> tuple[str, ...]:
    if learn is None:
        return tuple(name for name, p in neuron.params.items() if p.learn)
    if not isinstance(learn, Iterable):
        raise NeuronError(f"learn is a list of parameters' names, such as {[*neuron.params][:1]}, not {learn!r}")
    names = (learn,) if isinstance(learn, str) else tuple(learn)
    for name in names:
        if name not in neuron.params:
            hint = nearest(name, neuron.params)
            raise NeuronError(f"{neuron.name} cannot learn {name!r}{hint}; it has {', '.join(neuron.params)}")
    return names


def _value(neuron: Neuron, name: str, value: float | Tensor) -> Tensor:
    """Return a parameter's value in float64, within its bounds as float32 has them; a number's on the CPU."""
    bounds = neuron.params[name]
    device = value.device if isinstance(value, Tensor) else torch.device("cpu")
    try:
        exact = torch.as_tensor(value, dtype=torch.float64, device=device).detach().clone()
    except (TypeError, ValueError, RuntimeError):
        raise NeuronError(f"{neuron.name}: {name} is a number or a tensor, not {value!r}") from None
    if not _within(exact, bounds):
        raise NeuronError(_out_of_bounds(neuron, name, exact.float()))
    return exact.clamp(bounds.low, bounds.high)


def _within(value: Tensor, bounds: Param) -> bool:
    """Return whether a value lies within bounds as float32 has them, as far as it has any value yet."""
    tensor = value.float()
    return tensor.is_meta or bool(((tensor >= bounds.low) & (tensor <= bounds.high)).all())


def _out_of_bounds(neuron: Neuron, name: str, value: Tensor) -> str:
    bounds = neuron.params[name]
    return f"{neuron.name}: {name}={_brief(value)} is out of its bounds [{bounds.low:g}, {bounds.high:g}]"


def _flat(value: Tensor, name: str, shape: Sequence[int]) -> Tensor:
    """Return a parameter as a vector of one element per neuron of a sample."""
    try:
        return value.expand(shape[1:]).reshape(-1)
    except RuntimeError:
        raise InputError(
            f"parameter {name!r} of shape {list(value.shape)} does not fit neurons of shape {list(shape[1:])}"
        ) from None


def _wide(dtype: torch.dtype) -> torch.dtype:
    """Return the type of the states for inputs of a type."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def _brief(tensor: Tensor) -> str:
    return f"{tensor.item():g}" if tensor.numel() == 1 else f"tensor{list(tensor.shape)}"
