"""Round one population, and what arrives at it, to the chip's integers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from snnkit.deploy.integer import INPUT, V_LIMIT, Connection, Population
from snnkit.deploy.quantisation.affine import Weights
from snnkit.deploy.quantisation.lowering import Link, Stage
from snnkit.deploy.synapses import Conv, Dense, Sparse
from snnkit.errors import InputError

UNIT = 64
"""Membrane units that a weight of 1 adds: the chip shifts what arrives by 6 bits."""

HIGHEST = 131_071
"""The largest threshold; the membrane is compared with 64 times it."""

DENSE_FROM = 0.3
"""Share of weights that are not 0 from which all are listed: sparse ones also list where they come from."""

_MANTISSA, _EXPONENT = 4095, 7
_TOLERANCE = 1e-6
_WHOLE, _FEW = 1e-4, 64


@dataclass(frozen=True)
class Format:
    """How weights of a link are written.

    Args:
        bits: of a weight, the sign among them where it is mixed.
        sign: `mixed`, `excitatory` or `inhibitory`.
    """

    bits: int
    sign: str

    @property
    def step(self) -> int:
        """What neighbouring weights differ by, on the scale of 8 bits."""
        return 1 << (8 - self.bits + (self.sign == "mixed"))

    @property
    def top(self) -> int:
        """The largest magnitude that is used, of either sign."""
        return 256 - self.step

    @property
    def levels(self) -> int:
        """Steps from 0 to the largest magnitude."""
        return self.top // self.step


def format_of(weights: Weights, bits: int) -> Format:
    """Return the finest format: one sign where all weights have it. Convolutions are always mixed."""
    if weights.geometry is None and weights.weight.any():
        if weights.weight.min() >= 0:
            return Format(bits, "excitatory")
        if weights.weight.max() <= 0:
            return Format(bits, "inhibitory")
    return Format(bits, "mixed")


@dataclass(frozen=True, eq=False)
class Rounded:
    """A population in integers.

    Args:
        population: the neurons.
        connections: what arrives, by the stage's links; after them what brings the bias, if a neuron does.
        extra: a neuron that brings the bias, where the membrane cannot.
        scale: membrane units for 1.
        clipped: share of each link's weights that were too large.
        used: share of the format's range that each link's largest weight takes.
    """

    population: Population
    connections: tuple[Connection, ...]
    extra: tuple[Population, ...]
    scale: float
    clipped: tuple[float, ...]
    used: tuple[float, ...]


def rounded(stage: Stage, scale: float, *, bits: int, late: int, limit: float = 1.0, graded: bool = False) -> Rounded:
    """Return a stage in integers.

    Args:
        stage: real numbers.
        scale: membrane units for 1.
        bits: of a weight.
        late: steps that pass on the chip before the first input arrives.
        limit: share of the largest weight from which on weights are clipped.
        graded: whether the network's input counts with its value.
    """
    leak = np.rint(4096 * (1 - stage.keep_v)).astype(np.int64)
    vth = _threshold(stage, scale)
    bias = _bias(stage, scale, leak, vth, late)
    population = Population(
        stage.name,
        stage.shape,
        du=np.rint(4096 * (1 - stage.keep_u)).astype(np.int64) - 1,
        dv=leak,
        vth=vth,
        bias=_narrow(bias.mantissa),
        bias_exponent=bias.exponent,
        v_start=_narrow(bias.start),
    )
    extra = (_clock(stage.name, late),) if bias.drive.any() else ()
    found = [_connection(link, stage.name, scale, bits=bits, limit=limit, graded=graded) for link in stage.links]
    connections, clipped, used = zip(*found, strict=True)
    driven = _driven(stage.name, bias.drive, scale) if extra else ()
    return Rounded(population, (*connections, *driven), extra, scale, clipped, used)


def _driven(name: str, drive: np.ndarray, scale: float) -> tuple[Connection, ...]:
    """Return connections that bring a bias: what 8 bits hold, and what they leave."""
    left, found = drive, []
    for part in ("drive", "drive.rest"):
        fmt = format_of(Weights(left[:, None]), 8)
        exponent = exponent_for(float(np.abs(left).max()), fmt, scale)
        values = np.clip(_nearest(left, fmt, scale, exponent), -fmt.top, fmt.top)
        options = {"exponent": exponent, "sign": fmt.sign}
        found.append(Connection(f"{name}.{part}", f"{name}.bias", name, Dense(values[:, None]), **options))
        left = left - values * 2.0**exponent * UNIT / scale
        if exponent <= 0 or not left.any():
            break
    return tuple(found)


def _clock(name: str, late: int) -> Population:
    """Return a neuron that fires in every step from the one on whose spike arrives with the first input."""
    du, dv, vth, bias, start = (np.array(value) for value in (4095, 0, 0, 1, 1 - late))
    return Population(f"{name}.bias", (1,), du, dv, vth, bias, v_start=start)


def _threshold(stage: Stage, scale: float) -> np.ndarray:
    """Return the threshold that the membrane must exceed where the network's must reach it.

    What nothing decays is a multiple of the unit, so the last unit below is exact; otherwise the nearest is.
    """
    if stage.theta is None:
        return np.asarray(HIGHEST)
    wanted = stage.theta * scale / UNIT
    lattice = (stage.keep_v == 1) & (stage.keep_u == 0)
    found = np.where(lattice, np.ceil(wanted - _TOLERANCE) - 1, np.rint(wanted))
    return np.clip(found, 0, HIGHEST).astype(np.int64)


@dataclass(frozen=True, eq=False)
class _Bias:
    """What is added in every step: mantissas and exponent in the membrane, the rest as `drive` through a neuron."""

    mantissa: np.ndarray
    exponent: int
    drive: np.ndarray
    start: np.ndarray


def _bias(stage: Stage, scale: float, leak: np.ndarray, vth: np.ndarray, late: int) -> _Bias:
    """Return the bias, and the membrane to start from so that it is where it should be when input arrives.

    The chip adds biases from its first step on, before any input. Where no start makes up for that, or where a bias
    must decay with the current, a neuron that fires in every step from the right one on brings it.
    """
    if stage.early:
        return _early(stage, scale)
    instant = stage.keep_u == 0
    drift, drive = stage.drift + np.where(instant, stage.drive, 0.0), np.where(instant, 0.0, stage.drive)
    target = np.broadcast_to(np.rint(stage.start * scale).astype(np.int64), drift.shape)
    exponent = _bias_exponent(drift * scale)
    mantissa = np.rint(drift * scale / 2**exponent).astype(np.int64)
    start, exact = _start(target, leak, mantissa << exponent, vth, late)
    if exact and np.abs(mantissa).max() <= _MANTISSA:
        return _Bias(mantissa, exponent, drive, start)
    start, exact = _start(target, leak, np.zeros_like(mantissa), vth, late)
    if not exact or (drift * ~instant).any():
        raise InputError(
            f"layer {stage.name!r} cannot be at {float(np.abs(stage.start).max()):g} from its reset when its input "
            f"arrives, {late} steps after the chip starts; use v_reset=0 and v_rest=0, or accept that it starts there "
            "with approximate=('early_bias',)"
        )
    return _Bias(np.zeros_like(mantissa), 0, drive + drift, start)


def _early(stage: Stage, scale: float) -> _Bias:
    """Return the bias in weights of 1, from a membrane of 0; that of a current is what it comes to in the end."""
    mantissa = np.rint((stage.drift + stage.drive / (1 - stage.keep_u)) * scale / UNIT).astype(np.int64)
    if np.abs(mantissa).max() > _MANTISSA:
        raise InputError(
            f"the bias of layer {stage.name!r} is {np.abs(mantissa).max():,} times the smallest weight, and chips take "
            f"{_MANTISSA:,}: quantise without early_bias, or train with smaller biases"
        )
    silent = np.zeros_like(mantissa)
    return _Bias(mantissa, UNIT.bit_length() - 1 if mantissa.any() else 0, silent.astype(float), silent)


def _narrow(value: np.ndarray) -> np.ndarray:
    """Return one number where all are equal."""
    return value.flat[0] if value.size and (value == value.flat[0]).all() else value


def _bias_exponent(wanted: np.ndarray) -> int:
    """Return the smallest exponent with which biases fit."""
    most = float(np.abs(wanted).max(initial=0.0))
    return min(_EXPONENT, math.ceil(math.log2(most / _MANTISSA))) if most > _MANTISSA else 0


def _after(v: np.ndarray, leak: np.ndarray, bias: np.ndarray) -> np.ndarray:
    product = v * (4096 - leak)
    return np.sign(product) * (np.abs(product) >> 12) + bias


def _start(
    target: np.ndarray, leak: np.ndarray, bias: np.ndarray, vth: np.ndarray, late: int
) -> tuple[np.ndarray, bool]:
    """Return the membrane from which `late` steps of bias alone end at the target, and whether all do without firing.

    A step never decreases where it starts from a larger membrane, so halving finds the start.
    """
    low, high = (np.full(target.shape, sign * V_LIMIT, dtype=np.int64) for sign in (-1, 1))
    while (low < high).any():
        middle = (low + high) // 2
        v = middle
        for _ in range(late):
            v = _after(v, leak, bias)
        enough = v >= target
        low, high = np.where(enough, low, middle + 1), np.where(enough, middle, high)
    forgets = np.broadcast_to(leak == 4096, target.shape)
    # Truncation lets several membranes end alike; of those, 0 is what every tool starts from.
    zero = np.zeros_like(target)
    for _ in range(late):
        zero = _after(zero, leak, bias)
    low = np.where(forgets | ((zero == target) & (bias == 0)), 0, low)
    exact, v = True, low
    for _ in range(late):
        v = _after(v, leak, bias)
        exact &= bool((np.abs(v) <= V_LIMIT).all() and (v <= vth * UNIT).all())
    return low, exact and bool(((v == target) | forgets).all())


def exponent_for(largest: float, fmt: Format, scale: float) -> int:
    """Return the smallest exponent with which a weight fits and with which sums lose no bits.

    Args:
        largest: magnitude of the largest weight that is kept.
        fmt: of the weights.
        scale: membrane units for 1.
    """
    needed = math.log2(largest * scale / UNIT / fmt.top) - _TOLERANCE if largest > 0 else 0
    return max(-int(math.log2(fmt.step)), min(math.ceil(needed), _EXPONENT))


def _nearest(weight: np.ndarray, fmt: Format, scale: float, exponent: int) -> np.ndarray:
    """Return weights as the nearest multiples of the format's step, however large."""
    return (fmt.step * np.rint(weight * scale / UNIT / 2.0**exponent / fmt.step)).astype(np.int64)


def _connection(
    link: Link, target: str, scale: float, *, bits: int, limit: float, graded: bool
) -> tuple[Connection, float, float]:
    """Return a connection, the share of its weights that were clipped, and the share of the range that it uses."""
    weights = link.weights
    fmt = format_of(weights, bits)
    largest = limit * float(np.abs(weights.weight).max(initial=0.0))
    exponent = 0
    if weights.geometry is None:
        exponent = exponent_for(largest, fmt, scale)
    wanted = _nearest(weights.weight, fmt, scale, exponent)
    values = np.clip(wanted, -fmt.top, fmt.top)
    options = {} if weights.geometry is not None else {"exponent": exponent, "bits": bits, "sign": fmt.sign}
    connection = Connection(
        link.name, link.source, target, synapses(weights, values), graded=graded and link.source == INPUT, **options
    )
    held = weights.weight != 0
    clipped = float((np.abs(wanted) > fmt.top)[held].mean()) if held.any() else 0.0
    return connection, clipped, float(np.abs(values).max(initial=0)) / fmt.top


def synapses(weights: Weights, values: np.ndarray) -> Dense | Sparse | Conv:
    """Return integer weights in the form that takes least memory."""
    if weights.geometry is not None:
        part = weights.geometry
        return Conv(values, part.size, part.stride, part.padding, part.dilation, part.groups)
    held = values != 0
    if held.mean() >= DENSE_FROM:
        delay = None if weights.delay is None else np.where(held, weights.delay, 0)
        return Dense(values, delay if delay is None or delay.any() else None)
    rows, columns = np.nonzero(held)
    start = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(values)))])
    delay = None if weights.delay is None else weights.delay[rows, columns]
    return Sparse(values.shape[1], start, columns, values[rows, columns], delay)


def spacing(weight: np.ndarray, levels: int) -> int | None:
    """Return m if all weights are whole multiples of 1/m of the largest, for the smallest m up to `levels`."""
    flat = np.abs(weight.ravel())
    most = flat.max(initial=0.0)
    if most == 0:
        return None
    flat = np.unique(flat / most)
    for m in range(1, levels + 1):
        if all(np.abs(part - np.rint(part)).max(initial=0.0) < _WHOLE for part in (flat[:_FEW] * m, flat * m)):
            return m
    return None
