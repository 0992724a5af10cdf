"""What a connection takes on a core that holds some of its target's neurons: axons, synapses and their memory.

Source: a synapse's bits as in nengo-loihi's SynapseConfig.bits_per_axon.
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np

from snnkit.deploy.integer import Connection
from snnkit.deploy.synapses import Conv, Sparse

_BLOCK = 64
_HEAD = 10
_WORD = 64
_STORED = (1, 2, 3, 4, 5, 6, 8)
_INDEX = (6, 12)
_DELAY = 6


def axon_bits(synapses: np.ndarray | int, each: int) -> np.ndarray:
    """Return the memory of axons with so many synapses of so many bits: blocks of 64 with a head, in 64-bit words."""
    count = np.asarray(synapses, np.int64)
    full, rest = count // _BLOCK, count % _BLOCK
    return full * _words(_BLOCK * each + _HEAD) + np.where(rest > 0, _words(rest * each + _HEAD), 0)


class Reach:
    """A connection as a placement sees it; `first` and `end` are neurons of its target that lie on one core."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        part = connection.synapses
        self.conv = part if isinstance(part, Conv) else None
        stored = next(bits for bits in _STORED if bits >= connection.bits)
        self.synapse_bits = stored + (_DELAY if connection.max_delay else 0)

    @cached_property
    def _rows(self) -> tuple[np.ndarray, np.ndarray]:
        """Where each output's synapses start, and their sources, those of weight 0 left out."""
        part, weight = self.connection.synapses, self.connection.effective
        if isinstance(part, Sparse):
            kept = weight != 0
            rows = np.repeat(np.arange(part.n_outputs), np.diff(part.start))[kept]
            source = part.source[kept]
        else:
            rows, source = np.nonzero(weight)
        return np.searchsorted(rows, np.arange(part.n_outputs + 1)), source

    def sources(self, first: int, end: int) -> np.ndarray:
        """Return which neurons of the source have a synapse there [inputs], bool."""
        if self.conv is None:
            return self._counts(first, end) > 0
        return np.concatenate([np.repeat(m[None], n, 0) for m, n in self._pixels(self.conv, first, end)]).reshape(-1)

    def axons(self, first: int, end: int) -> int:
        """Return the input axons: a neuron of the source each, or a pixel with all its channels for a convolution."""
        if self.conv is None:
            return int((self._counts(first, end) > 0).sum())
        reached = [mask for mask, _ in self._pixels(self.conv, first, end)]
        return int(np.any(reached, axis=0).sum())

    def bits(self, first: int, end: int) -> int:
        """Return the memory of the synapses: full rows, or rows with indices where zeros make those smaller.

        A convolution keeps its kernel once for every phase of its stride.
        """
        index = min(max(_INDEX[0], math.ceil(math.log2(max(2, end - first)))), _INDEX[1])
        if self.conv is not None:
            area = math.prod(self.conv.shape[1:])
            channels = np.arange(first // area, (end - 1) // area + 1)
            kernels = np.bincount(channels * self.conv.groups // len(self.conv.weight)) * self.conv.weight[0].size
            return math.prod(self.conv.stride) * int(axon_bits(kernels, self.synapse_bits + index).sum())
        counts = self._counts(first, end)
        full = int((counts > 0).sum()) * int(axon_bits(end - first, self.synapse_bits))
        return min(full, int(axon_bits(counts, self.synapse_bits + index).sum()))

    @cached_property
    def synapses(self) -> int:
        """Pairs of neurons that it connects with a weight other than 0."""
        if self.conv is None:
            return len(self._rows[1])
        weight = self.conv.weight
        return sum(
            len(rows) * len(columns) * int((weight[:, :, y, x] != 0).sum())
            for y, (rows, _) in enumerate(_taps(self.conv, 0))
            for x, (columns, _) in enumerate(_taps(self.conv, 1))
        )

    def _counts(self, first: int, end: int) -> np.ndarray:
        start, source = self._rows
        return np.bincount(source[start[first] : start[end]], minlength=self.connection.synapses.n_inputs)

    def _pixels(self, conv: Conv, first: int, end: int) -> list[tuple[np.ndarray, int]]:
        """Return for each group which pixels of the input [height, width] it needs, and its channels in."""
        wanted = np.zeros(conv.n_outputs, bool)
        wanted[first:end] = True
        needed = np.any(wanted.reshape(conv.groups, -1, *conv.shape[1:]), axis=1)
        found = np.zeros((conv.groups, *conv.size[1:]), bool)
        for top, y in _taps(conv, 0):
            for left, x in _taps(conv, 1):
                found[:, y[:, None], x] |= needed[:, top[:, None], left]
        return [(mask, conv.size[0] // conv.groups) for mask in found]


def _taps(conv: Conv, axis: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return for each place of the kernel along an axis the outputs that have an input there, and those inputs."""
    outputs = np.arange(conv.shape[1 + axis])
    found = []
    for k in range(conv.weight.shape[2 + axis]):
        inputs = outputs * conv.stride[axis] - conv.padding[axis] + k * conv.dilation[axis]
        inside = (inputs >= 0) & (inputs < conv.size[1 + axis])
        found.append((outputs[inside], inputs[inside]))
    return found


def _words(bits: np.ndarray | int) -> np.ndarray | int:
    return -(-bits // _WORD) * _WORD
