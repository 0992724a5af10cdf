"""What quantising did to a network, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from snnkit.deploy.integer import Connection, IntegerNetwork
from snnkit.deploy.synapses import Conv, Sparse


@dataclass(frozen=True)
class Layer:
    """One population beside the layer that it was made from, on calibration data.

    Args:
        name: of the layer.
        kind: its neuron.
        neurons: how many.
        synapses: form and size of what arrives, such as "dense 128 x 64".
        used: share of the weights' range that the largest one takes, 0..1.
        clipped: share of the weights that were too large, 0..1.
        peak: the largest current or membrane, as a share of 24 bits, 0..1.
        rate: spikes per neuron and step in the network; nan for a readout.
        chip_rate: the same on the chip.
        difference: spikes that one has and the other has not, as a share of the network's; for a readout, the
            membranes' root mean square difference as a share of their root mean square.
    """

    name: str
    kind: str
    neurons: int
    synapses: tuple[str, ...]
    used: float
    clipped: float
    peak: float
    rate: float
    chip_rate: float
    difference: float


@dataclass(frozen=True, eq=False)
class QuantisationReport:
    """A network in the chip's integers, and what became of it on calibration data.

    Args:
        chip: what `snnkit.deploy.quantise` returns.
        bits: of a weight.
        approximate: the approximations that were allowed.
        layers: in order.
        samples: of the calibration data.
        accuracy: share of the samples that the network names right, 0..1; None without labels.
        chip_accuracy: that the chip names right.
        agreement: share of the samples that both name alike, labels or not.
    """

    chip: IntegerNetwork
    bits: int
    approximate: tuple[str, ...]
    layers: tuple[Layer, ...]
    samples: int
    accuracy: float | None
    chip_accuracy: float | None
    agreement: float

    def __str__(self) -> str:
        """Return a table of the layers, and the accuracy before and after."""
        heading = ("layer", "neuron", "neurons", "synapses", "range", "clipped", "peak", "rate", "on chip", "differs")
        rows = [heading, *(row for layer in self.layers for row in _rows(layer))]
        widths = [max(len(row[k]) for row in rows) for k in range(len(heading))]
        table = ["  ".join(_aligned(row, widths)).rstrip() for row in rows]
        asked = f", {', '.join(self.approximate)}" if self.approximate else ""
        first = f"{self.chip.target}, {self.bits}-bit weights{asked}; {self.samples} calibration samples"
        last = f"same answer as the network for {self.agreement:.2%}"
        if self.accuracy is not None and self.chip_accuracy is not None:
            last = f"accuracy {self.accuracy:.2%}, on the chip {self.chip_accuracy:.2%}; {last}"
        return "\n".join([first, *table, last])


def described(connection: Connection) -> str:
    """Return form and size of a connection's synapses, such as `dense 128 x 64, delays to 5`."""
    part = connection.synapses
    if isinstance(part, Conv):
        size = " x ".join(map(str, part.weight.shape))
        text = f"conv {size}"
    else:
        kind = f"sparse {len(part.weight)} of" if isinstance(part, Sparse) else "dense"
        text = f"{kind} {part.n_outputs} x {part.n_inputs}"
    text += f", x 2^{connection.exponent}" if connection.exponent else ""
    return text + (f", delays to {connection.max_delay}" if connection.max_delay else "")


def _rows(layer: Layer) -> list[tuple[str, ...]]:
    first = (
        layer.name,
        layer.kind,
        f"{layer.neurons:,}",
        layer.synapses[0],
        f"{layer.used:.0%}",
        f"{layer.clipped:.2%}",
        f"{layer.peak:.0%}",
        _number(layer.rate),
        _number(layer.chip_rate),
        f"{layer.difference:.2%}",
    )
    return [first, *(("", "", "", more, *[""] * 6) for more in layer.synapses[1:])]


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"


def _aligned(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    cells = enumerate(zip(row, widths, strict=True))
    return [cell.ljust(width) if k in (0, 1, 3) else cell.rjust(width) for k, (cell, width) in cells]
