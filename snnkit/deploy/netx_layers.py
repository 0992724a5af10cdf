"""A layer of NetX: what it holds, what NetX makes of its weights, and what cannot be one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from snnkit.deploy.emulator.reference import pairs
from snnkit.deploy.integer import Connection, Population
from snnkit.deploy.synapses import Conv, Dense
from snnkit.errors import InputError
from snnkit.files import codec
from snnkit.files.schema import UnfitError
from snnkit.files.tree import Array

EARLY = "quantise with approximate=('early_bias',), or train without biases"
_BIAS_POWER = 6
"""NetX multiplies every bias by 2 to this power."""


def write(population: Population, connection: Connection, own: Connection | None) -> dict[str, Any]:
    """Return a population and its connections as a layer; raises InputError where NetX cannot express one."""
    for part in (connection, own):
        if part is not None and part.graded:
            raise InputError(
                f"connection {part.name!r} is graded, and NetX's layers hear spikes; use snnkit.deploy.save"
            )
    if population.v_start.any():
        raise InputError(
            f"population {population.name!r} starts at a membrane other than 0, which NetX does not keep; {EARLY}"
        )
    layer: dict[str, Any] = {"shape": np.asarray(population.shape), "neuron": _neuron(population, connection)}
    if population.bias.any():
        layer["bias"] = _order(np.broadcast_to(_bias(population), population.size), population, connection)
    if isinstance(connection.synapses, Conv):
        return {"type": "conv", **layer, **_convolution(connection, own)}
    weight, delay = _matrix(connection)
    parts = [weight] if own is None else [weight, _matrix(own)[0]]
    delayed = delay.any() or (own is not None and own.max_delay > 0)
    if own is not None and delayed:
        raise InputError(
            f"{population.name!r} hears itself, and a connection that ends there has delays; NetX has only one of both"
        )
    reason = changed(parts)
    if reason:
        raise InputError(f"NetX would change the weights of connection {connection.name!r}: {reason}")
    layer |= {"weight": weight, **({"delay": delay} if delayed else {})}
    return {"type": "dense", **layer} if own is None else {"type": "dense_rec", **layer, "weight_rec": parts[1]}


def changed(parts: list[np.ndarray]) -> str:
    """Return how NetX, and Lava's Dense after it, would change the weights of a layer, or an empty string.

    NetX shifts them to the left as far as 8 bits go, counts the bits that are then used, and shifts the sums back.
    """
    joint = np.hstack(parts)
    low, high = int(joint.min()), int(joint.max())
    if low == high == 0:
        return "all are 0, which it cannot scale; leave the connection out, or train it"
    signed = low < 0 <= high
    positive = (127 if signed else 255) / high if high > 0 else math.inf
    negative = (-128 if signed else -256) / low if low < 0 else math.inf
    scale = min(positive, negative)
    shift = math.floor(math.log2(scale)) + signed
    divisible = max(n for n in range(9) if not (joint % (1 << n)).any())
    bits = 8 - shift - (divisible - signed)
    for part in parts:
        mixed, flip = part.min() < 0 < part.max(), -1 if part.max() <= 0 and part.min() < 0 else 1
        given = flip * (part << shift)
        dropped = 8 - bits + mixed
        if dropped < 0:
            return "it would take 9 bits for weights of one sign; use weights of fewer bits"
        kept = np.clip(given, -256 if mixed else 0, 255) >> dropped << dropped
        if (kept != given).any():
            worst = part.flat[int(np.abs(kept - given).argmax())]
            return f"{worst} would not stay as it is; use a scale at which the largest weight is no power of 2"
    return ""


def read(
    reader: Reader, name: str, shape: tuple[int, ...], ends: tuple[str, str, str | None]
) -> tuple[Population, list[Connection]]:
    """Return a layer's population and connections.

    Args:
        reader: the layer.
        name: of the population.
        shape: of what comes before.
        ends: names of what comes before, of the connection from there, and of that onto itself.
    """
    source, forward, own = ends
    kind = reader.text("type")
    if kind not in ("dense", "dense_rec", "conv") or (kind == "dense_rec") != (own is not None):
        raise UnfitError(f"{reader.where} is of type {kind!r:.20}; needed is dense, dense_rec, conv or flatten")
    size = reader.shape()
    weight = reader.whole("weight", 4 if kind == "conv" else 2)
    if kind == "conv":
        synapses = Conv(
            weight,
            (shape[0], shape[1], shape[2]) if len(shape) == 3 else (0, 0, 0),
            stride=reader.pair("stride"),
            padding=reader.pair("padding"),
            dilation=reader.pair("dilation"),
            groups=int(reader.whole("groups", 0)),
        )
        connections = [Connection(forward, source, name, synapses)]
    else:
        delay = reader.whole("delay", 2) if "delay" in reader.items else None
        connections = [_fitted(forward, source, name, weight, delay)]
        if own is not None:
            connections.append(_fitted(own, name, name, reader.whole("weight_rec", 2), None))
    population = _population(reader, name, size, kind == "conv")
    reader.finish()
    return population, connections


class Reader:
    """The items of a layer, each taken once; `finish` refuses what nobody took."""

    def __init__(self, items: Any, where: str) -> None:
        if not isinstance(items, dict):
            raise UnfitError(f"{where} is no group")
        self.items, self.where, self._taken = items, where, set()

    def take(self, name: str) -> Any:
        """Return an item; raises UnfitError where it is missing."""
        if name not in self.items:
            raise UnfitError(f"{self.where} lacks {name!r}")
        self._taken.add(name)
        return self.items[name]

    def text(self, name: str) -> str:
        """Return a text."""
        value = self.take(name)
        if not isinstance(value, str):
            raise UnfitError(f"{name} of {self.where} is no text")
        return value

    def whole(self, name: str, *ranks: int) -> np.ndarray:
        """Return whole numbers with one of some numbers of axes."""
        value = self.take(name)
        values = codec.to_numpy(value) if isinstance(value, Array) else None
        if values is None or values.dtype.kind not in "iu" or values.ndim not in ranks:
            raise UnfitError(f"{name} of {self.where} is no array of whole numbers with {ranks} axes")
        return values

    def pair(self, name: str) -> tuple[int, int]:
        """Return two whole numbers."""
        values = self.whole(name, 1)
        if len(values) != 2:
            raise UnfitError(f"{name} of {self.where} holds {len(values)} numbers; 2 are needed")
        return int(values[0]), int(values[1])

    def shape(self) -> tuple[int, ...]:
        """Return the layer's shape."""
        values = self.whole("shape", 1)
        if not 1 <= len(values) <= 8:
            raise UnfitError(f"shape of {self.where} has {len(values)} axes")
        return tuple(int(n) for n in values)

    def finish(self) -> None:
        """Raise UnfitError for what was not taken."""
        rest = sorted(set(self.items) - self._taken)
        if rest:
            raise UnfitError(f"{self.where} has {rest[0]!r:.40}, which is not known")


def _matrix(connection: Connection) -> tuple[np.ndarray, np.ndarray]:
    """Return weights, multiplied by the power of 2, and delays as full matrices."""
    weight, delay = pairs(connection)
    whole = weight.astype(np.int64)
    if connection.exponent < 0:
        if (whole % (1 << -connection.exponent)).any():
            raise InputError(
                f"the sums of connection {connection.name!r} are rounded down by its exponent {connection.exponent}, "
                "which NetX does not do; use weights that are multiples of "
                f"{1 << -connection.exponent}, or exponent 0"
            )
        whole >>= -connection.exponent
    else:
        whole <<= connection.exponent
    mixed = bool((whole < 0).any() and (whole > 0).any())
    low, high = (-256, 254) if mixed else (-255, 255)
    if whole.min() < low or whole.max() > high:
        raise InputError(
            f"the weights of connection {connection.name!r}, with its exponent {connection.exponent}, reach from "
            f"{whole.min()} to {whole.max()}, and NetX has -256..254 of both signs and 255 of one; lower the exponent"
        )
    return whole, np.where(whole != 0, delay, 0)


def _convolution(connection: Connection, own: Connection | None) -> dict[str, Any]:
    part = connection.synapses
    assert isinstance(part, Conv)
    if own is not None:
        raise InputError(
            f"{connection.target!r} hears itself and a convolution, and NetX has that for dense layers only"
        )
    pairs_of = {name: np.asarray(getattr(part, name)) for name in ("stride", "padding", "dilation")}
    return {"weight": part.weight, **pairs_of, "groups": part.groups}


def _neuron(population: Population, connection: Connection) -> dict[str, Any]:
    given = {"iDecay": population.du + 1, "vDecay": population.dv, "vThMant": population.vth}
    return {"type": "CUBA", **{name: _order(value, population, connection) for name, value in given.items()}}


def _bias(population: Population) -> np.ndarray:
    """Return the mantissas of the bias for NetX's power of 2."""
    whole = population.bias.astype(np.int64) << population.bias_exponent
    mantissa = whole >> _BIAS_POWER
    if (mantissa << _BIAS_POWER != whole).any() or mantissa.min() < -4096 or mantissa.max() > 4095:
        raise InputError(
            f"the bias of population {population.name!r} is no multiple of 64 with a factor in -4096..4095, which NetX "
            f"multiplies by; {EARLY}"
        )
    return mantissa


def _order(values: np.ndarray, population: Population, connection: Connection) -> np.ndarray:
    """Return numbers of neurons in NetX's order: width, height, channels behind a convolution."""
    if values.ndim == 0 or not isinstance(connection.synapses, Conv):
        return values
    return np.ascontiguousarray(values.reshape(population.shape).transpose(2, 1, 0))


def _population(reader: Reader, name: str, shape: tuple[int, ...], image: bool) -> Population:
    neuron = Reader(reader.take("neuron"), f"the neuron of {reader.where}")
    if neuron.text("type") != "CUBA":
        raise UnfitError(f"{neuron.where} is {neuron.text('type')!r:.20}; needed is CUBA")

    def values(source: Reader, key: str) -> np.ndarray:
        found = source.whole(key, 0, 3 if image else 1).astype(np.int64)
        return found.transpose(2, 1, 0).reshape(-1) if found.ndim == 3 else found

    decays = {"du": values(neuron, "iDecay") - 1, "dv": values(neuron, "vDecay"), "vth": values(neuron, "vThMant")}
    bias = {"bias": values(reader, "bias"), "bias_exponent": _BIAS_POWER} if "bias" in reader.items else {}
    neuron.finish()
    return Population(name, shape, **decays, **bias)


def _fitted(name: str, source: str, target: str, weight: np.ndarray, delay: np.ndarray | None) -> Connection:
    """Return a connection whose weights, as the chip uses them, are these."""
    low, high = int(weight.min(initial=0)), int(weight.max(initial=0))
    sign = "mixed" if low < 0 < high else "inhibitory" if low < 0 else "excitatory"
    for exponent in (0, -1):
        # Odd weights of both signs are kept doubled, with sums that are halved again.
        given: Mapping[str, Any] = {"synapses": Dense(weight.astype(np.int64) << -exponent, delay), "sign": sign}
        for bits in range(1, 9):
            found = Connection(name, source, target, exponent=exponent, bits=bits, **given)
            if np.array_equal(found.effective, weight.astype(np.int64) << -exponent):
                return found
    raise UnfitError(f"the weights of {name!r} reach from {low} to {high}, which a chip's 8 bits do not hold")
