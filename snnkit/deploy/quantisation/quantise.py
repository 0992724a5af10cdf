"""Quantise a trained network: from real numbers to a chip's integers, with a report."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from snnkit.deploy.emulator.inputs import check_plain
from snnkit.deploy.integer import IntegerNetwork
from snnkit.deploy.quantisation.grid import Rounded, rounded
from snnkit.deploy.quantisation.lowering import Stage, approximated, check_approximations, lower
from snnkit.deploy.quantisation.report import Layer, QuantisationReport, described
from snnkit.deploy.quantisation.search import Seen, choose
from snnkit.errors import InputError, nearest
from snnkit.network import Network
from snnkit.train.losses import check_target, predictions

TARGETS = ("loihi1", "loihi2")
"""Chips with this arithmetic."""

BITS = (4, 5, 6, 7, 8)
"""How many bits a weight may have."""

_GRADED = 2**15


def quantise(
    net: Network,
    target: str = "loihi2",
    *,
    calibration: Tensor,
    bits: int = 8,
    approximate: Collection[str] = (),
) -> IntegerNetwork:
    """Return a trained network in the integers of a chip.

    The network is evaluated as `net.eval()` would, and not changed. Batch normalisation and average pooling go into
    weights, delays are rounded; each layer's scale is chosen on calibration data, so that what it answers on the chip
    is closest to what it answers in the network. What the chip cannot do is refused, by name.

    Args:
        net: of spiking layers with hard reset, connections between them, and a `Readout` or spiking layer at the end.
        target: `loihi1` or `loihi2`; both compute alike.
        calibration: input [T, B, features…] as in use: 0 and 1, or whole numbers.
        bits: of a weight, 4..8.
        approximate: names of what may differ, of `APPROXIMATIONS` in `snnkit.deploy.quantisation.neurons`: `hard_reset`
            where the network subtracts the threshold, `clamp_delays`, and `early_bias`, which files of NetX need.
    Returns:
        An integer network: `chip.run(x)` computes as the chip does, `chip(x)` answers as the network, in the shape of
            its last neurons.
    Raises:
        InputError: a layer that the chip cannot have, calibration data that are no spikes, an unknown name.

    Example:
        >>> net = snnkit.Network(nn.Linear(8, 4), snnkit.LIF(reset="hard"))
        >>> x = (torch.rand(10, 16, 8) < 0.3).float()
        >>> chip = quantise(net, target="loihi2", calibration=x)
        >>> bool(((chip(x) - net(x)).abs().mean() < 0.05))
        True

    Source: Davies et al., Loihi, IEEE Micro 2018; the fixed-point models of lava-nc 0.10.
    """
    return _Quantised(net, target, calibration, bits=bits, approximate=approximate).chip


def quantise_report(
    net: Network,
    target: str = "loihi2",
    *,
    calibration: Tensor,
    bits: int = 8,
    approximate: Collection[str] = (),
    labels: Tensor | None = None,
) -> QuantisationReport:
    """Quantise as `quantise` does; return the chip with what became of each layer on the calibration data.

    Args:
        net, target, calibration, bits, approximate: as for `quantise`.
        labels: the class of each sample [B], for the accuracy of outputs averaged over time.

    Example:
        >>> net = snnkit.Network(nn.Linear(8, 4), snnkit.IF(reset="hard"))
        >>> report = quantise_report(net, calibration=(torch.rand(10, 16, 8) < 0.3).float())
        >>> report.layers[0].clipped
        0.0
    """
    done = _Quantised(net, target, calibration, bits=bits, approximate=approximate)
    wanted = done.original.record(done.x)
    answers = _answers(done.chip, done.stages, done.x)
    layers = tuple(
        _layer(stage, made, peak, wanted[stage.name], answers[stage.name])
        for stage, made, peak in zip(done.stages, done.made, done.peaks, strict=True)
    )
    last = done.stages[-1].name
    accuracy = _accuracy(wanted[last], answers[last], labels)
    return QuantisationReport(done.chip, bits, done.approximate, layers, done.x.shape[1], *accuracy)


class Emulated(nn.Module):
    """An integer network where a torch module is expected, such as in `snnkit.train.evaluate`.

    Args:
        chip: what `quantise` returns.

    Example:
        >>> net = snnkit.Network(nn.Linear(8, 4), snnkit.IF(reset="hard"))
        >>> x = (torch.rand(10, 16, 8) < 0.3).float()
        >>> Emulated(quantise(net, calibration=x))(x).shape
        torch.Size([10, 16, 4])
    """

    def __init__(self, chip: IntegerNetwork) -> None:
        super().__init__()
        self.chip = chip

    def forward(self, x: Tensor) -> Tensor:
        """Return what the chip answers to x [T, B, features…], in step with the network that it was made from."""
        return self.chip(x).flatten(2)

    def watch(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the same, and the spikes of each population [T, B, features…] in step with it."""
        y, spikes = self.chip.watch(x)
        return y.flatten(2), spikes


class _Quantised:
    """A chip and how it was made: one population after the other, each given what those before answer on the chip."""

    def __init__(
        self, net: Network, target: str, calibration: Tensor, *, bits: int, approximate: Collection[str]
    ) -> None:
        self.approximate = check_request(net, target, bits, approximate)
        _check_calibration(calibration)
        self.x = x = calibration.detach().cpu().float()
        self.original = approximated(net, ()).cpu().float().eval()
        used = approximated(self.original, self.approximate)
        self.stages = lower(used, x.shape[2:], early="early_bias" in self.approximate)
        self.made: list[Rounded] = []
        self.peaks: list[float] = []
        graded = bool(((x != 0) & (x != 1)).any())
        traces = used.record(x)
        source = arrived = x
        for late, stage in enumerate(self.stages, start=1):
            zero = torch.from_numpy(stage.zero).float()
            membrane = traces[f"{stage.name}.v"] - (zero if zero.ndim == 0 else zero.view(stage.shape))
            seen = Seen(source, arrived, traces[stage.name], membrane, graded and late == 1)
            found = choose(stage, seen, bits=bits)
            self.made.append(rounded(stage, found.scale, bits=bits, late=late, limit=found.limit, graded=graded))
            self.peaks.append(found.peak)
            source, arrived = found.answer, traces[stage.name]
        self.chip = IntegerNetwork(
            inputs=tuple(x.shape[2:]),
            populations=tuple(part for one in self.made for part in (*one.extra, one.population)),
            connections=tuple(part for one in self.made for part in one.connections),
            read="v" if self.stages[-1].theta is None else "spikes",
            target=target,
            scale=self.made[-1].scale,
        )


def check_request(net: Any, target: Any, bits: Any, approximate: Collection[str]) -> tuple[str, ...]:
    """Return the names of approximations; raise InputError for what is no network, no target, no number of bits."""
    if not isinstance(net, Network):
        raise InputError(f"a snnkit.Network is quantised, not {type(net).__name__}; type snnkit.Network(*layers)")
    if not isinstance(target, str) or target not in TARGETS:
        came = repr(target) if isinstance(target, str) else f"of type {type(target).__name__}"
        raise InputError(f"no target {came}{nearest(str(target), TARGETS)}; known: {', '.join(TARGETS)}")
    if not isinstance(bits, int) or bits not in BITS:
        raise InputError(f"bits is {bits!r:.80}; weights have {BITS[0]} to {BITS[-1]}")
    if not isinstance(approximate, Collection):
        raise InputError(f"approximate is {approximate!r:.80}; names are needed, such as approximate=('hard_reset',)")
    names = (approximate,) if isinstance(approximate, str) else tuple(approximate)
    check_approximations(names)
    return names


def _check_calibration(x: Any) -> None:
    if not isinstance(x, Tensor) or x.ndim < 3 or x.numel() == 0:
        came = list(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise InputError(f"calibration is {came}; a tensor [T, B, features…] of spikes is needed")
    check_plain(x, "calibration")
    whole = x.detach().double()
    if not bool(((whole == whole.round()) & (whole.abs() <= _GRADED)).all()):
        raise InputError(
            f"calibration holds numbers from {float(whole.min()):g} to {float(whole.max()):g}; chips take spikes, 0 "
            f"and 1, or whole numbers up to {_GRADED}: encode it, such as by snnkit.encode.rate or latency"
        )


def _answers(chip: IntegerNetwork, stages: tuple[Stage, ...], x: Tensor) -> dict[str, Tensor]:
    """Return what each population answers [T, B, features…], in step with the network; membranes of a readout."""
    late = chip.latency
    silent = x.new_zeros((late[chip.output.name], *x.shape[1:]))
    names = {stage.name: f"{stage.name}.v" if stage.theta is None else stage.name for stage in stages}
    traces = chip.record(torch.cat([x, silent]), list(names.values()))
    found = {name: traces[trace][late[name] : late[name] + len(x)] for name, trace in names.items()}
    return {name: y.double() / chip.scale if names[name] != name else y for name, y in found.items()}


def _layer(stage: Stage, made: Rounded, peak: float, wanted: Tensor, got: Tensor) -> Layer:
    count = len(stage.links)
    got, wanted = got.double(), wanted.double()
    if stage.theta is None:
        rates = math.nan, math.nan
        difference = _relative((got - wanted).square().mean().sqrt(), wanted.square().mean().sqrt())
    else:
        rates = float(wanted.mean()), float(got.mean())
        difference = _relative((got != wanted).sum(), wanted.sum())
    return Layer(
        stage.name,
        stage.kind,
        made.population.size,
        tuple(described(connection) for connection in made.connections[:count]),
        max(made.used),
        _share(made, count),
        peak,
        *rates,
        difference,
    )


def _relative(error: Tensor, size: Tensor) -> float:
    if not error:
        return 0.0
    return float(error / size) if size else math.inf


def _share(made: Rounded, count: int) -> float:
    sizes = [int((c.synapses.weight != 0).sum()) for c in made.connections[:count]]
    return sum(s * c for s, c in zip(sizes, made.clipped, strict=False)) / max(1, sum(sizes))


def _accuracy(y: Tensor, answer: Tensor, labels: Tensor | None) -> tuple[float | None, float | None, float]:
    """Return the accuracy of the network and of the chip, and how often they agree."""
    y, answer = y.flatten(2), answer.flatten(2)
    before, after = predictions(y), predictions(answer)
    agreement = float((before == after).double().mean())
    if labels is None:
        return None, None, agreement
    check_target(labels, y.shape[1], y.shape[2])
    right = [float((named == labels.cpu()).double().mean()) for named in (before, after)]
    return right[0], right[1], agreement
