"""Fit: whether a network keeps the limits of a chip's card, how many cores it takes, and what to change if not."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snnkit.deploy import chip as chips
from snnkit.deploy.integer import Connection, IntegerNetwork, Population
from snnkit.deploy.place import Placement, place, slots
from snnkit.deploy.reach import Reach
from snnkit.deploy.synapses import Conv
from snnkit.errors import InputError
from snnkit.network import Network

ADVICE = {
    "cores_per_chip": "take fewer neurons or synapses in the layer with most cores, or prune its weights",
    "neurons_per_chip": "take fewer neurons",
    "synapses_per_chip": "take fewer synapses, by pruning or with convolutions",
    "neurons_per_core": "take fewer neurons",
    "synapse_bits_per_core": "take fewer synapses for each neuron, or fewer bits for a weight",
    "input_axons_per_core": "take fewer inputs for each neuron, by pruning, pooling or a smaller layer before it",
    "output_axons_per_core": "take smaller layers after it, so that a spike goes to fewer cores",
    "accumulators_per_core": "take shorter delays",
    "decay_profiles_per_core": "let neurons share their decays",
    "threshold_profiles_per_core": "let neurons share their thresholds",
    "synapse_formats_per_core": "give the connections of a layer the same bits, exponent and sign",
    "delay": "train with a shorter max_delay",
    "weight_bits": "quantise to fewer bits",
    "weight_exponent": "scale weights and thresholds alike, so that the exponent is smaller",
    "decay_u": "take another time constant of the current",
    "decay_v": "take another time constant of the membrane",
    "threshold": "scale weights and thresholds down alike",
    "bias": "scale weights, biases and thresholds down alike, or move a power of 2 into the bias exponent",
    "bias_exponent": "scale weights, biases and thresholds down alike",
}
"""What to change where a limit is exceeded."""


@dataclass(frozen=True)
class Problem:
    """A limit that is exceeded.

    Attributes:
        limit: of `snnkit.deploy.chip.LIMITS`.
        kind: `hard` or `soft`.
        layer: the population or connection that exceeds it; of a whole chip's limits, the one that takes most.
        least, most: the numbers that came.
        low, high: the numbers that are allowed.
    """

    limit: str
    kind: str
    layer: str
    least: int
    most: int
    low: int
    high: int

    def __str__(self) -> str:
        came = f"{self.most:,}" if self.least == self.most else f"{self.least:,}..{self.most:,}"
        allowed = f"{self.high:,}" if self.low == 0 else f"{self.low:,}..{self.high:,}"
        unit = chips.LIMITS[self.limit]
        return f"{self.limit} is {came} in {self.layer!r}, and {allowed} {unit} are allowed: {ADVICE[self.limit]}"


@dataclass(frozen=True)
class LayerFit:
    """What a population and the connections into it take.

    Attributes:
        name: of the population.
        neurons, cores, synapses: counts; a core may be shared with other layers; weights of 0 are no synapses.
        synapse_bits: memory of all its synapses, on all its cores.
        input_axons, output_axons: of all its cores.
        slots: delay slots of a neuron.
        weight_bits: most bits of a weight.
        ranges: lowest and highest number of what has a limit, such as `delay`, `threshold`, `decay_v`, `bias`.
        fullest: for each limit of a core, the most that this layer takes on one.
    """

    name: str
    neurons: int
    cores: int
    synapses: int
    synapse_bits: int
    input_axons: int
    output_axons: int
    slots: int
    weight_bits: int
    ranges: Mapping[str, tuple[int, int]]
    fullest: Mapping[str, int]


@dataclass(frozen=True)
class FitReport:
    """What a network takes on a chip.

    Attributes:
        chip: the card.
        layers: in the order of the populations.
        cores: for each population, number, first neuron and the one after the last for each core that it lies on.
        fullest: for each limit of a core, the most that all layers take on one.
        problems: hard limits that are exceeded.
        warnings: soft limits that are exceeded.
    """

    chip: chips.Chip
    layers: tuple[LayerFit, ...]
    cores: Mapping[str, tuple[tuple[int, int, int], ...]]
    fullest: Mapping[str, int]
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]

    @property
    def fits(self) -> bool:
        """Whether all hard limits are kept."""
        return not self.problems

    @property
    def refusal(self) -> str:
        """The first hard limit that is exceeded and how many others are, for people; empty where all are kept."""
        if self.fits:
            return ""
        others = f"; hard limits exceeded in all: {len(self.problems)}" if self.problems[1:] else ""
        return f"the network does not fit {self.chip.name}: {self.problems[0]}{others}"

    def total(self, what: str) -> int:
        """Return a count over all layers: neurons, cores, synapses, synapse_bits, input_axons, output_axons."""
        if what == "cores":
            return len({number for parts in self.cores.values() for number, _, _ in parts})
        return sum(getattr(layer, what) for layer in self.layers)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the card as plain data."""
        found = asdict(self) | {"chip": self.chip.name, "fits": self.fits}
        found["layers"] = [asdict(layer) for layer in self.layers]
        return found

    def __str__(self) -> str:
        heads = ("layer", "cores", "neurons", "synapses", "memory", "axons in", "axons out", "slots", "bits")
        rows: list[tuple[str | int, ...]] = [
            (layer.name, layer.cores, layer.neurons, layer.synapses, _bytes(layer.synapse_bits), layer.input_axons,
             layer.output_axons, layer.slots, layer.weight_bits)
            for layer in self.layers
        ]  # fmt: skip
        totals = [self.total(name) for name in ("cores", "neurons", "synapses")]
        axons = [self.total(name) for name in ("input_axons", "output_axons")]
        rows.append(("total", *totals, _bytes(self.total("synapse_bits")), *axons, "", ""))
        verdict = "fits" if self.fits else "does not fit"
        if self.fits and self.warnings:
            verdict = "fits as far as is known, and exceeds soft limits"
        lines = [f"{self.chip.title}: {verdict}; layers share cores where there is room"]
        for row in (heads, *rows):
            cells = [cell if isinstance(cell, str) else f"{cell:,}" for cell in row]
            lines.append(f"{cells[0]:<12}" + "".join(f"{cell:>12}" for cell in cells[1:]))
        lines += [f"hard limit: {problem}" for problem in self.problems]
        lines += [f"soft limit: {problem}" for problem in self.warnings]
        lines += [f"  {name}: {self._share(name)}" for name in self.chip.limits if self._share(name)]
        return "\n".join(lines)

    def _share(self, name: str) -> str:
        limit = self.chip.limits[name]
        most = self.fullest.get(name, 0)
        return f"{most:,} of {limit.high:,} ({limit.kind})" if most else ""


def fit(
    net: IntegerNetwork | Network,
    chip: str | Path | None = None,
    *,
    inputs: Sequence[int] | None = None,
    strict: bool = True,
) -> FitReport:
    """Place a network on a chip and compare what it takes with the chip's limits.

    Args:
        net: what `snnkit.deploy.quantise` returns; or a network of real numbers, whose weights count at 8 bits.
        chip: name of a card in `hardware/`, or the path of a `spec.toml`; the network's target if not given.
        inputs: shape of the input's features, for a network of real numbers that starts with a convolution.
        strict: whether to refuse a network that breaks a hard limit; if not, `report.problems` has them all.
    Returns:
        What each layer takes; `print(report)` shows a table, and what to change.
    Raises:
        InputError: a hard limit is broken, an unknown chip, or one whose card has no limits; a layer that no chip has.

    Example:
        >>> one = snnkit.deploy.Population("out", (2,), du=4095, dv=512, vth=100)
        >>> into = snnkit.deploy.Connection("in", "input", "out", snnkit.deploy.Dense([[64, -32, 0], [0, 2, 8]]))
        >>> fit(snnkit.deploy.IntegerNetwork((3,), (one,), (into,)), "loihi1").total("cores")
        1

    Source: limits are named on the card; memory of synapses as in nengo-loihi.
    """
    if isinstance(net, Network):
        from snnkit.deploy.sketch import sketch

        net = sketch(net, inputs, "loihi2" if chip is None else str(chip))
    if not isinstance(net, IntegerNetwork):
        raise InputError(
            f"fit takes a snnkit.Network, or one in the chip's integers, not {type(net).__name__}; type chip = "
            "snnkit.deploy.quantise(net, target='loihi2', calibration=x)"
        )
    card = chips.read(net.target if chip is None else chip)
    if not card.limits:
        known = ", ".join(name for name in chips.names() if chips.read(name).limits)
        raise InputError(f"the card of {card.name} has no limits; chips with limits: {known}")
    placement = place(net, card.limits)
    layers = tuple(_layer(net, population, placement) for population in net.populations)
    found = [
        *_ranges_broken(net, card),
        *_cores_broken(card, layers, placement),
        *_totals_broken(card, layers, len(placement.full)),
    ]
    problems, warnings = (tuple(problem for problem in found if problem.kind == kind) for kind in chips.KINDS)
    cores = {
        name: tuple((number, *part) for number, part in zip(placement.numbers[name], parts, strict=True))
        for name, parts in placement.cores.items()
    }
    fullest = {name: max(core[name] for core in placement.full) for name in placement.full[0]}
    report = FitReport(card, layers, cores, fullest, problems, warnings)
    if strict and not report.fits:
        raise InputError(f"{report.refusal}; pass strict=False for the whole report")
    return report


def _layer(net: IntegerNetwork, population: Population, placement: Placement) -> LayerFit:
    into = net.into(population.name)
    reaches = [Reach(connection) for connection in into]
    used = placement.used[population.name]
    ranges = [neuron_ranges(population), *(connection_ranges(connection) for connection in into)]
    names = {name: None for part in ranges for name in part}
    both = {name: [part[name] for part in ranges if name in part] for name in names}
    return LayerFit(
        name=population.name,
        neurons=population.size,
        cores=len(placement.cores[population.name]),
        synapses=sum(reach.synapses for reach in reaches),
        synapse_bits=sum(used["synapse_bits_per_core"]),
        input_axons=sum(used["input_axons_per_core"]),
        output_axons=sum(used["output_axons_per_core"]),
        slots=slots(reaches),
        weight_bits=max((connection_ranges(c)["weight_bits"][1] for c in into), default=0),
        ranges={name: (min(low for low, _ in pairs), max(high for _, high in pairs)) for name, pairs in both.items()},
        fullest={name: max(numbers) for name, numbers in used.items()},
    )


def neuron_ranges(population: Population) -> dict[str, tuple[int, int]]:
    """Return the lowest and highest number of what a card limits in neurons."""
    arrays = {"decay_u": population.du, "decay_v": population.dv, "threshold": population.vth, "bias": population.bias}
    found = {name: (int(array.min()), int(array.max())) for name, array in arrays.items()}
    return found | {"bias_exponent": (population.bias_exponent, population.bias_exponent)}


def connection_ranges(connection: Connection) -> dict[str, tuple[int, int]]:
    """Return the lowest and highest number of what a card limits in a connection.

    The weights of a convolution have no bits and no exponent of their own: their common power of 2 is their exponent.
    """
    weight = connection.effective
    bits, exponent = connection.bits, connection.exponent
    if isinstance(connection.synapses, Conv):
        exponent = common_power(weight)
        low, high = int(weight.min(initial=0)) >> exponent, int(weight.max(initial=0)) >> exponent
        magnitude = max(high, -low - 1 if high > 0 else -low)
        bits = max(1, magnitude.bit_length() + (low < 0 < high))
        # A chip's 8 bits with a sign hold even numbers up to 254, so the exponent counts from there.
        exponent = max(0, exponent - 1) if low < 0 < high else exponent
    return {"delay": (0, connection.max_delay), "weight_bits": (bits, bits), "weight_exponent": (exponent, exponent)}


def common_power(weight: np.ndarray) -> int:
    """Return the largest k for which all weights are multiples of 2**k; 0 where there are no weights."""
    bits = int(np.bitwise_or.reduce(np.abs(weight.astype(np.int64)), axis=None)) if weight.size else 0
    return (bits & -bits).bit_length() - 1 if bits else 0


def _ranges_broken(net: IntegerNetwork, card: chips.Chip) -> list[Problem]:
    parts: list[tuple[str, dict[str, tuple[int, int]]]] = [(p.name, neuron_ranges(p)) for p in net.populations]
    parts += [(c.name, connection_ranges(c)) for c in net.connections]
    return [
        Problem(name, limit.kind, layer, *ranges[name], limit.low, limit.high)
        for layer, ranges in parts
        for name, limit in card.limits.items()
        if name in ranges and not limit.holds(*ranges[name])
    ]


def _cores_broken(card: chips.Chip, layers: tuple[LayerFit, ...], placement: Placement) -> list[Problem]:
    broken = [
        (name, layer, placement.broken[layer.name][name])
        for layer in layers
        for name in placement.broken[layer.name]
        if name in card.limits
    ]
    return [_over(card, name, layer.name, most) for name, layer, most in broken]


def _totals_broken(card: chips.Chip, layers: tuple[LayerFit, ...], cores: int) -> list[Problem]:
    counts: dict[str, Callable[[LayerFit], int]] = {
        "cores_per_chip": lambda layer: layer.cores,
        "neurons_per_chip": lambda layer: layer.neurons,
        "synapses_per_chip": lambda layer: layer.synapses,
    }
    found = []
    for name, count in counts.items():
        total = cores if name == "cores_per_chip" else sum(count(layer) for layer in layers)
        if name in card.limits and total > card.limits[name].high:
            found.append(_over(card, name, max(layers, key=count).name, total))
    return found


def _over(card: chips.Chip, name: str, layer: str, most: int) -> Problem:
    limit = card.limits[name]
    return Problem(name, limit.kind, layer, most, most, limit.low, limit.high)


def _bytes(bits: int) -> str:
    return f"{math.ceil(bits / 8):,} B"
