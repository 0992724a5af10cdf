"""A network as a graph of NIR."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import snnkit
from snnkit.convert.fold import folded
from snnkit.convert.package import package
from snnkit.convert.shapes import Shape, after, first_shape
from snnkit.deploy.nir.forms import Form, form_of, to_time
from snnkit.errors import InputError
from snnkit.network import Network
from snnkit.spiking import Spiking
from snnkit.synapse import Delayed, DelayLinear, Recurrent

SOFT_RESETS = ("refuse", "metadata")
"""What becomes of a soft reset, which NIR's neurons do not have."""

SCHEME = "euler"
RECURRENCE = "one step"
FIRING = "above v_threshold"
FORMAT = "snnkit"


def to_graph(net: Network, *, dt: float = 1e-3, shape: Sequence[int] | None = None, soft_reset: str = "refuse") -> Any:
    """Return a network as a `nir.NIRGraph`.

    The graph has an Input, an Output, and a node for every layer, under the layer's name. Of delays every distinct one
    is a branch `Delay -> Linear`; a recurrent connection is a cycle, in which an output comes back one step later, and
    later by its Delay nodes if it has any. Batch normalisation is folded into the weights before it, PLIF becomes LIF,
    `theta` the largest float32 below it (NIR fires above its threshold, we at it), and the metadata say `dt`, `scheme`,
    `recurrence`, `reset` and `firing`.

    Args:
        net: layers in a row, float32: IF, LIF, PLIF, CubaLIF, Readout; Linear, Conv1d, Conv2d, AvgPool2d, Flatten,
            BatchNorm, DelayLinear, Recurrent.
        dt: seconds for one step.
        shape: features of one step of the input, where the first layer does not tell them.
        soft_reset: `metadata` writes a soft reset, which NIR does not have, as a hard one and notes it where our reader
            finds it; every other tool will reset to 0. `refuse` raises.
    Raises:
        InputError: a layer that NIR has no node for, with what to do.
        MissingPackageError: nir is not installed.

    Example:
        >>> net = snnkit.Network(nn.Linear(4, 3), snnkit.LIF(tau=2.0, reset="hard"))
        >>> list(snnkit.deploy.nir.to_graph(net, dt=1e-3).nodes)
        ['input', '0', '1', 'output']

    Source: Pedersen et al., Neuromorphic intermediate representation, Nature Communications 2024.
    """
    nir = package("nir")
    if not isinstance(net, Network):
        raise InputError(f"NIR takes a snnkit.Network, not {type(net).__name__}; type snnkit.Network(*layers)")
    if not isinstance(dt, int | float) or not 1e-9 <= dt <= 1e3:
        raise InputError(f"dt is {dt!r}; seconds for one step are needed, such as dt=1e-3")
    if soft_reset not in SOFT_RESETS:
        raise InputError(f"soft_reset is {soft_reset!r}; known: {', '.join(SOFT_RESETS)}")
    builder = _Builder(nir, float(dt), soft=soft_reset == "metadata")
    at = first_shape(net, shape)
    builder.add("input", nir.Input({"input": np.array(at)}))
    for name, module in folded(net):
        at = builder.layer(name, module, at)
    builder.add("output", nir.Output({"output": np.array(at)}))
    notes = {"snnkit": snnkit.__version__, "format": FORMAT, "dt": float(dt), "scheme": SCHEME}
    notes |= {"recurrence": RECURRENCE, "firing": FIRING, "reset": "soft in part" if builder.softly else "hard"}
    return nir.NIRGraph(builder.nodes, builder.edges, metadata=notes, type_check=builder.typed)


class _Builder:
    """Nodes and edges so far, and the nodes whose outputs, summed, are the signal."""

    def __init__(self, nir: Any, dt: float, *, soft: bool) -> None:
        self.nir, self.dt, self.soft = nir, dt, soft
        self.nodes: dict[str, Any] = {}
        self.edges: list[tuple[str, str]] = []
        self.ends: list[str] = []
        self.softly = False
        self.typed = True

    def add(self, name: str, node: Any) -> None:
        """Put a node behind the signal."""
        self.nodes[name] = node
        self.edges += [(end, name) for end in self.ends]
        self.ends = [name]

    def layer(self, name: str, module: nn.Module, shape: Shape) -> Shape:
        """Put a layer behind the signal, and return the shape after it."""
        if "/" in name or name in self.nodes:
            raise InputError(f"a layer named {name!r} cannot be a node; name it otherwise")
        result = _checked(name, module, shape)
        if isinstance(module, Spiking):
            self.add(name, self._neuron(name, module, shape))
        elif isinstance(module, Recurrent):
            self._recurrent(name, module, shape)
        elif isinstance(module, DelayLinear):
            if len(self.ends) > 1:
                raise InputError(
                    f"layer {name!r}: NIR's graph cannot tell delays that directly follow delays; put a neuron between"
                )
            self.ends = self._branches(name, module, self.ends[0])
        else:
            self.add(name, self._plain(name, module, shape))
        return result

    def _recurrent(self, name: str, module: Recurrent, shape: Shape) -> None:
        neuron = f"{name}.layer"
        connection = module.connection
        if len(shape) != 1 or not isinstance(connection, nn.Linear | DelayLinear):
            raise InputError(
                f"layer {name!r}: NIR takes a recurrent Linear or DelayLinear over features, not "
                f"{type(connection).__name__} over {list(shape)}"
            )
        _checked(f"{name}.connection", connection, shape)
        self.add(neuron, self._neuron(name, module.layer, shape))
        if isinstance(connection, nn.Linear):
            back = [f"{name}.connection"]
            self.nodes[back[0]] = self._plain(back[0], connection, shape)
            self.edges.append((neuron, back[0]))
        else:
            back = self._branches(f"{name}.connection", connection, neuron)
        self.edges += [(end, neuron) for end in back]

    def _neuron(self, name: str, module: Spiking, shape: Shape) -> Any:
        form = _form(name, module)
        notes = {}
        if form.soft:
            if not self.soft:
                raise InputError(
                    f"layer {name!r} ({module.neuron.name}) resets softly, and NIR's neurons reset to a value: build "
                    "it with reset='hard', or give soft_reset='metadata' for a file that others read as a hard reset"
                )
            self.softly = True
            notes = {"reset": "soft"}
        ours = {key: _array(value, name).astype(np.float64) for key, value in module.values().items()}
        fields = to_time(form.node, form.write(ours), self.dt)
        full = {key: np.broadcast_to(value, shape).copy() for key, value in fields.items()}
        return getattr(self.nir, form.node)(**full, metadata=notes)

    def _plain(self, name: str, module: nn.Module, shape: Shape) -> Any:
        nir = self.nir
        if isinstance(module, nn.Linear):
            return self._linear(_array(module.weight, name), _bias(module, name), {})
        if isinstance(module, nn.Conv1d | nn.Conv2d):
            if module.padding_mode != "zeros":
                raise InputError(f"layer {name!r} pads with {module.padding_mode!r}; NIR pads with zeros")
            # nir takes the first side of a kernel for both, and channels of a group for all: its own check would fail.
            self.typed &= module.groups == 1 and len(set(module.kernel_size)) == 1
            return _conv(nir, module, shape, name)
        if isinstance(module, nn.Flatten):
            start, end = (at - 1 if at > 0 else at for at in (module.start_dim, module.end_dim))
            if module.start_dim == 0:
                raise InputError(f"layer {name!r} flattens the batch; give start_dim=1")
            return nir.Flatten({"input": np.array(shape)}, start, end)
        assert isinstance(module, nn.AvgPool2d)
        pads = any(_pair(module.padding))
        kind = {None: nir.AvgPool2d, 1: nir.SumPool2d}.get(module.divisor_override)
        if kind is None or module.ceil_mode or (pads and not module.count_include_pad):
            raise InputError(
                f"layer {name!r}: NIR's pooling has no ceil_mode, counts padding, and divides by the window or by 1"
            )
        sizes = (np.array(_pair(size)) for size in (module.kernel_size, module.stride, module.padding))
        return kind(*sizes)

    def _linear(self, weight: np.ndarray, bias: np.ndarray | None, notes: dict[str, Any]) -> Any:
        if bias is None:
            return self.nir.Linear(weight, metadata=notes)
        return self.nir.Affine(weight, bias, metadata=notes)

    def _branches(self, name: str, module: DelayLinear, source: str) -> list[str]:
        """Add the branches of a layer with delays behind a node, and return their ends."""
        if module.tail:
            raise InputError(f"layer {name!r} has tail={module.tail}, steps that NIR does not have; build it with 0")
        notes = {"layer": "DelayLinear", "kind": module.kind, "max_delay": module.max_delay, "taps": module.taps}
        bias = _bias(module, name)
        ends = []
        for k, (before, weight, behind) in enumerate(_split(module, name)):
            last = source
            if before is not None:
                last = self._behind(last, f"{name}.delay_{k}", self.nir.Delay(before * self.dt))
            if behind is not None and bias is not None:
                # a bias behind the delay starts at once, so it gets a branch of its own
                node = self._linear(np.zeros_like(weight), bias, notes)
                ends.append(self._behind(source, f"{name}.bias", node))
                bias = None
            last = self._behind(last, f"{name}.weight_{k}", self._linear(weight, bias, notes))
            if behind is not None:
                last = self._behind(last, f"{name}.delay_{k}", self.nir.Delay(behind * self.dt))
            bias = None
            ends.append(last)
        return ends

    def _behind(self, last: str, name: str, node: Any) -> str:
        self.nodes[name] = node
        self.edges.append((last, name))
        return name


def _split(module: DelayLinear, name: str) -> Iterator[tuple[np.ndarray | None, np.ndarray, np.ndarray | None]]:
    """Yield the branches of a layer: steps before for each input, weights, steps behind for each output."""
    weight, delay = _array(module.weight, name), module.rounded().numpy()
    for tap in range(module.taps):
        if module.kind == "synaptic":
            for steps in np.unique(delay[..., tap]):
                masked = np.where(delay[..., tap] == steps, weight[..., tap], weight.dtype.type(0))
                yield np.full(module.n_inputs, float(steps)) if steps else None, masked, None
        else:
            steps = delay[..., tap].astype(np.float64)
            axonal = module.kind == "axonal"
            yield steps if axonal else None, weight[..., tap], None if axonal else steps


def _conv(nir: Any, module: nn.Conv1d | nn.Conv2d, shape: Shape, name: str) -> Any:
    one = isinstance(module, nn.Conv1d)
    weight = _array(module.weight, name)
    bias = _bias(module, name)
    sizes = {key: getattr(module, key) for key in ("stride", "padding", "dilation")}
    return (nir.Conv1d if one else nir.Conv2d)(
        input_shape=shape[1] if one else tuple(shape[1:]),
        weight=weight,
        bias=np.zeros(len(weight), weight.dtype) if bias is None else bias,
        groups=module.groups,
        **{key: size[0] if one and not isinstance(size, str) else size for key, size in sizes.items()},
    )


def _form(name: str, module: Spiking) -> Form:
    form = form_of(module.neuron)
    starts = {state: start for state, start in module.neuron.states.items() if start}
    if form is not None and starts:
        raise InputError(f"layer {name!r} starts at {starts}, and NIR's neurons start at 0")
    if form is not None:
        return form
    raise InputError(
        f"layer {name!r}: NIR has no node for the equations of {module.neuron.name!r}; IF, LIF, CubaLIF and Readout "
        "have one"
    )


_EXPORTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Flatten, nn.AvgPool2d, Spiking, Recurrent, DelayLinear)
_INSTEAD: Mapping[type[nn.Module], str] = {
    Delayed: "DelayLinear is the layer with delays that is exported",
    nn.AvgPool1d: "use AvgPool2d, or a strided Conv1d",
    nn.ReLU: "use a spiking layer",
    nn.modules.pooling._MaxPoolNd: "use AvgPool2d",
    nn.modules.pooling._AdaptiveAvgPoolNd: "use AvgPool2d with the window that it works out to",
}


def _checked(name: str, module: nn.Module, shape: Shape) -> Shape:
    """Return the shape after a layer that is exported; raises InputError for others."""
    if not isinstance(module, _EXPORTED):
        hint = next((f"; {text}" for kind, text in _INSTEAD.items() if isinstance(module, kind)), "")
        raise InputError(f"layer {name!r}: NIR has no node for {type(module).__name__}{hint}")
    if isinstance(module, nn.Linear) and len(shape) != 1:
        raise InputError(f"layer {name!r}: Linear takes features, not {list(shape)}; put nn.Flatten() before it")
    return after(module, shape, name)


def _array(value: Tensor, name: str) -> np.ndarray:
    if value.dtype != torch.float32:
        raise InputError(f"layer {name!r} holds {value.dtype}; NIR is written from float32: type net.float()")
    return value.detach().cpu().numpy()


def _bias(module: nn.Module, name: str) -> np.ndarray | None:
    return _array(module.bias, name) if isinstance(module.bias, Tensor) else None


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])
