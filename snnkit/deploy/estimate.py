"""Energy estimates: operations of a network times the cost of an operation on a chip's card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import Tensor, nn

from snnkit.deploy import chip as chips
from snnkit.deploy.integer import IntegerNetwork
from snnkit.deploy.integer_operations import count_dense, count_integers
from snnkit.deploy.operations import LayerOperations, count, count_ann
from snnkit.errors import InputError

_PRICED = ("accumulate", "multiply_accumulate", "neuron_update", "state_update", "spike")
NOT_COUNTED = "memory access, data movement, input and output, leakage, and the ANN's biases and activations"


@dataclass(frozen=True)
class EnergyReport:
    """Operations and estimated energy of a network for one sample, as the mean over samples.

    Attributes:
        chip: name of the card.
        precision: which of its costs were used.
        constants: cost of each priced operation, with source and how it is known.
        layers: operations by layer.
        steps: time steps of the input; 1 for an ANN.
        samples: how many samples the mean is over.
        ann: for an integer network, one pass of an ANN with the same connections, to compare with.
        here: where that is on another card, the network on the ANN's card.
    """

    chip: str
    precision: str
    constants: Mapping[str, chips.Figure]
    layers: tuple[LayerOperations, ...]
    steps: int
    samples: int
    ann: EnergyReport | None = None
    here: EnergyReport | None = None

    @property
    def spikes(self) -> float:
        """Spikes per sample that the network emits; those of its input are not among them."""
        return sum(layer.spikes for layer in self.layers)

    @property
    def accumulate(self) -> float:
        """Accumulate operations per sample."""
        return sum(layer.accumulate for layer in self.layers)

    @property
    def multiply_accumulate(self) -> float:
        """Multiply-accumulate operations per sample."""
        return sum(layer.multiply_accumulate for layer in self.layers)

    @property
    def updates(self) -> float:
        """Neuron updates per sample."""
        return sum(layer.updates for layer in self.layers)

    @property
    def synaptic_joules(self) -> float:
        """Estimated energy per sample of accumulates, multiply-accumulates and spikes."""
        return sum(self._synaptic(layer, layer.multiply_accumulate) for layer in self.layers)

    @property
    def neuron_joules(self) -> float:
        """Estimated energy per sample of the neuron updates."""
        return sum(self._neurons(layer) for layer in self.layers)

    @property
    def joules(self) -> float:
        """Estimated energy per sample."""
        return self.synaptic_joules + self.neuron_joules

    @property
    def joules_skipping_zeros(self) -> float:
        """Estimated energy per sample where hardware skips products with a zero input, at no cost."""
        synaptic = sum(self._synaptic(layer, layer.multiply_accumulate_nonzero) for layer in self.layers)
        return synaptic + self.neuron_joules

    @property
    def label(self) -> str:
        """What the figures are: an estimate, with the constants behind it named."""
        costs = ", ".join(f"{name} {figure.value:g} {figure.unit}" for name, figure in self.constants.items())
        how = "/".join(sorted({figure.how for figure in self.constants.values()}))
        return f"estimate, {self.chip} {self.precision} ({how}: {costs}); not counted: {NOT_COUNTED}"

    def layer_joules(self, layer: LayerOperations) -> float:
        """Return the estimated energy per sample of one of the layers."""
        return self._synaptic(layer, layer.multiply_accumulate) + self._neurons(layer)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data."""
        names = ("spikes", "accumulate", "multiply_accumulate", "updates", "synaptic_joules", "neuron_joules")
        names += ("joules", "joules_skipping_zeros", "label")
        layers = [asdict(layer) | {"joules": self.layer_joules(layer)} for layer in self.layers]
        constants = {name: asdict(figure) for name, figure in self.constants.items()}
        plain = {name: getattr(self, name) for name in ("chip", "precision", "steps", "samples", *names)}
        others = {"ann": self.ann, "here": self.here}
        beside = {name: report.to_dict() if report else None for name, report in others.items()}
        return plain | {"constants": constants, "layers": layers} | beside

    def __str__(self) -> str:
        heads = ("layer", "kind", "input", "spikes", "accumulate", "multiply-acc.", "updates", "nJ")
        rows = [
            (layer.name, layer.kind, layer.traffic, layer.spikes, layer.accumulate, layer.multiply_accumulate,
             layer.updates, 1e9 * self.layer_joules(layer))
            for layer in self.layers
        ]  # fmt: skip
        rows.append(("total", "", "", self.spikes, self.accumulate, self.multiply_accumulate, self.updates,
                     1e9 * self.joules))  # fmt: skip
        lines = [f"per sample, {self.steps} step(s), mean of {self.samples} sample(s); {self.label}"]
        for row in (heads, *rows):
            cells = [cell if isinstance(cell, str) else f"{cell:,.6g}" for cell in row]
            lines.append(" ".join(f"{cell:<12}" for cell in cells[:3]) + "".join(f"{cell:>15}" for cell in cells[3:]))
        if self.ann:
            pair = {"this network": self.here or self, "one pass of an ANN with the same connections": self.ann}
            both = " and ".join(f"{1e9 * report.joules:,.6g} nJ for {name}" for name, report in pair.items())
            lines.append(f"beside, {self.ann.chip} {self.ann.precision}: {both}; {self.ann.label}")
        return "\n".join(lines)

    def _cost(self, operation: str) -> float:
        figure = self.constants.get(operation)
        return figure.si if figure else 0.0

    def _synaptic(self, layer: LayerOperations, products: float) -> float:
        spikes = layer.spikes * self._cost("spike")
        return layer.accumulate * self._cost("accumulate") + products * self._cost("multiply_accumulate") + spikes

    def _neurons(self, layer: LayerOperations) -> float:
        each = self._cost("neuron_update") + layer.states * self._cost("state_update")
        return layer.updates * each


def energy(
    net: nn.Module | IntegerNetwork, x: Tensor, *, chip: str = "cmos45", precision: str | None = None
) -> EnergyReport:
    """Estimate the energy of a spiking network for an input.

    What is counted, and how, is said at `snnkit.deploy.operations.count`. The result depends on the input: give
    it real samples, and compare networks on one card, at one precision, and at equal accuracy. At `fp32` an
    accumulate costs a fifth of a multiply-accumulate, at `int32` a thirty-second: report both. An integer network's
    report has the energy of an ANN with the same connections beside it: on the same card, or where that has no
    multiply-accumulate, that of both on `cmos45` at `int8`. Hops of spikes between tiles of cores are not in it.

    Args:
        net: `snnkit.Network`, or what `snnkit.deploy.quantise` returns.
        x: input `[T, B, features…]`.
        chip: name of a card in `hardware/`, or the path of a `spec.toml`.
        precision: one of the card's; its first if not given (`fp32` for `cmos45`).
    Returns:
        Counts and joules per sample; `print(report)` shows a table by layer.
    Raises:
        InputError: for an unknown chip or precision, input that is not a sequence, a layer whose operations are
            unknown, or analogue input to a chip that cannot multiply.

    Example:
        >>> net = snnkit.Network(nn.Linear(3, 2), snnkit.IF())
        >>> energy(net, torch.ones(4, 1, 3)).accumulate
        24.0

    Source: costs are named on the card; spike-driven operations as in Merolla et al., Science, 2014.
    """
    if isinstance(net, IntegerNetwork):
        found = _report(count_integers(net, x), chip, precision, steps=x.shape[0], samples=x.shape[1])
        same = "multiply_accumulate" in found.constants
        where = (chip, precision) if same else ("cmos45", "int8")
        ann = _report(count_dense(net), *where, steps=1, samples=x.shape[1])
        here = None if same else _report(found.layers, *where, steps=found.steps, samples=found.samples)
        return replace(found, ann=ann, here=here)
    return _report(count(net, x), chip, precision, steps=x.shape[0], samples=x.shape[1])


def energy_ann(model: nn.Module, x: Tensor, *, chip: str = "cmos45", precision: str | None = None) -> EnergyReport:
    """Estimate the energy of one dense pass of an ANN, the counterpart of `energy`.

    Its `joules` charge every product; `joules_skipping_zeros` only those with a non-zero input.

    Args:
        model: `nn.Sequential`, such as `snnkit.baseline.counterpart` returns.
        x: input `[B, features…]`.
        chip, precision: as for `energy`.
    Returns:
        Counts and joules per sample.
    Raises:
        InputError: as for `energy`.

    Example:
        >>> energy_ann(nn.Sequential(nn.Linear(3, 2), nn.ReLU()), torch.rand(1, 3)).multiply_accumulate
        6.0
    """
    if isinstance(model, IntegerNetwork):
        raise InputError("energy_ann takes an ANN; that of an integer network is in energy(chip, x).ann")
    return _report(count_ann(model, x), chip, precision, steps=1, samples=x.shape[0])


def _report(
    layers: tuple[LayerOperations, ...], chip: str, precision: str | None, *, steps: int, samples: int
) -> EnergyReport:
    card = chips.read(chip)
    chosen, costs = card.at(precision)
    for layer in layers:
        if layer.multiply_accumulate and "multiply_accumulate" not in costs:
            raise InputError(
                f"layer {layer.name!r} has analogue input, and {card.name} has no cost of a multiply-accumulate; "
                "encode the input as spikes (snnkit.encode.rate or latency), or use chip='cmos45'"
            )
    used = {name: costs[name] for name in _PRICED if name in costs}
    return EnergyReport(card.name, chosen, used, layers, steps, samples)
