"""Placement: neurons of a population, in order, on as few cores as the limits of a core allow.

Each population fills parts of cores, one after another. A part whose axons to other parts are too many is divided. Then
parts of several populations share a core where the limits hold for their sum.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from snnkit.deploy.chip import Limit
from snnkit.deploy.integer import IntegerNetwork, Population
from snnkit.deploy.reach import Reach

_LEAST_SLOTS = 8
_OPEN = 64

Cores = list[tuple[int, int]]
"""First neuron and the one after the last, of each part that lies on one core."""


@dataclass
class Placement:
    """Where neurons lie, and what each core takes.

    Attributes:
        cores: for each population, its parts.
        used: for each population, what its parts take under each limit of a core, a number each.
        broken: for each population, limits that no division keeps, and what one neuron takes.
        numbers: for each population, the core of each part.
        full: for each core, what it takes under each limit.
    """

    cores: dict[str, Cores]
    used: dict[str, dict[str, list[int]]]
    broken: dict[str, dict[str, int]] = field(default_factory=dict)
    numbers: dict[str, list[int]] = field(default_factory=dict)
    full: list[dict[str, int]] = field(default_factory=list)


def place(chip: IntegerNetwork, limits: Mapping[str, Limit]) -> Placement:
    """Place a network under the limits of a card that end in `_per_core`."""
    high = {name: limit.high for name, limit in limits.items() if name.endswith("_per_core")}
    reaches = {c.name: Reach(c) for c in chip.connections}
    found = Placement({}, {}, {p.name: {} for p in chip.populations})
    for population in chip.populations:
        into = [reaches[c.name] for c in chip.into(population.name)]
        found.cores[population.name] = _fill(population, into, high, found.broken[population.name])
    while _divide(chip, reaches, high.get("output_axons_per_core", math.inf), found):
        pass
    leaving = {p.name: _leaving(chip, p, reaches, found.cores) for p in chip.populations}
    for population in chip.populations:
        into = [reaches[c.name] for c in chip.into(population.name)]
        name = population.name
        each = [
            takes(population, into, first, end) | {"output_axons_per_core": int(leaving[name][first:end].sum())}
            for first, end in found.cores[name]
        ]
        found.used[name] = {limit: [core[limit] for core in each] for limit in each[0]}
        found.numbers[name] = [_share(part, found.full, high) for part in each]
    return found


def _share(part: dict[str, int], full: list[dict[str, int]], high: Mapping[str, int]) -> int:
    """Return the first of the last cores that has room for a part, or a new one, and note there what it takes."""
    for number in range(max(0, len(full) - _OPEN), len(full)):
        both = {name: full[number][name] + part[name] for name in part}
        if all(taken <= high.get(name, math.inf) for name, taken in both.items()):
            full[number] = both
            return number
    full.append(dict(part))
    return len(full) - 1


def slots(into: list[Reach]) -> int:
    """Return the delay slots that a neuron needs: a power of two, for its longest delay and the two steps around it."""
    longest = max((reach.connection.max_delay for reach in into), default=0)
    return max(_LEAST_SLOTS, 1 << (longest + 1).bit_length())


def takes(population: Population, into: list[Reach], first: int, end: int) -> dict[str, int]:
    """Return what neurons first..end of a population take on a core, by limit; without axons that leave it."""
    return {
        "neurons_per_core": end - first,
        "accumulators_per_core": (end - first) * slots(into),
        "decay_profiles_per_core": _distinct(population, ("du", "dv"), first, end),
        "threshold_profiles_per_core": _distinct(population, ("vth",), first, end),
        "synapse_formats_per_core": len({(r.synapse_bits, r.connection.exponent, r.connection.sign) for r in into}),
        "input_axons_per_core": sum(reach.axons(first, end) for reach in into),
        "synapse_bits_per_core": sum(reach.bits(first, end) for reach in into),
    }


def _fill(population: Population, into: list[Reach], high: Mapping[str, int], broken: dict[str, int]) -> Cores:
    """Return the cores of a population, and note in `broken` what a single neuron breaks."""
    cores, first = [], 0
    while first < population.size:
        alone = takes(population, into, first, first + 1)
        broken.update({name: alone[name] for name in alone if alone[name] > high.get(name, math.inf)})
        # The largest end that keeps the limits: what a core takes never falls as it grows.
        least, most = first + 1, min(population.size, first + high.get("neurons_per_core", population.size))
        while least < most:
            middle = (least + most + 1) // 2
            taken = takes(population, into, first, middle)
            kept = all(number <= high.get(name, math.inf) for name, number in taken.items() if name not in broken)
            least, most = (middle, most) if kept else (least, middle - 1)
        cores.append((first, least))
        first = least
    return cores


def _divide(chip: IntegerNetwork, reaches: Mapping[str, Reach], high: float, found: Placement) -> bool:
    """Divide cores with too many axons out; return whether one was."""
    divided = False
    for population in chip.populations:
        name = population.name
        leaving = _leaving(chip, population, reaches, found.cores)
        if leaving.max(initial=0) > high:
            found.broken[name]["output_axons_per_core"] = int(leaving.max())
            continue
        cores: Cores = []
        for first, end in found.cores[name]:
            while first < end:
                cut = first + int(np.searchsorted(np.cumsum(leaving[first:end]), high, side="right"))
                cores.append((first, cut))
                first = cut
        divided |= len(cores) > len(found.cores[name])
        found.cores[name] = cores
    return divided


def _leaving(
    chip: IntegerNetwork, population: Population, reaches: Mapping[str, Reach], cores: Mapping[str, Cores]
) -> np.ndarray:
    """Return the axons out of each neuron: one for each connection and core that it reaches."""
    found = np.zeros(population.size, np.int64)
    for connection in chip.connections:
        if connection.source == population.name:
            for first, end in cores[connection.target]:
                found += reaches[connection.name].sources(first, end)
    return found


def _distinct(population: Population, names: tuple[str, ...], first: int, end: int) -> int:
    arrays = [getattr(population, name) for name in names]
    if all(array.ndim == 0 for array in arrays):
        return 1
    return len(
        set(zip(*(np.broadcast_to(array, population.size)[first:end].tolist() for array in arrays), strict=True))
    )
