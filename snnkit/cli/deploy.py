"""`snnkit deploy`: a stored network in a chip's integers, measured against itself, fitted, and compared with Lava."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import snnkit
from snnkit.cli.console import standard
from snnkit.cli.stored import Stored, stored
from snnkit.deploy import Emulated, EnergyReport, IntegerNetwork, energy, fine_tune, lava, quantise_report
from snnkit.errors import FileError, InputError, MissingPackageError, nearest
from snnkit.train import TrainSettings, evaluate

CALIBRATION = 256
"""Training samples that scales are chosen on."""

CHECKS = ("lava",)


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Args:
        target, bits, approximate: as for `snnkit.deploy.quantise`.
        check: `lava`, or None.
        samples: that are compared, and that energy is counted on.
        tune: epochs of fine-tuning on the training data before.
        lr: learning rate of it at its start.
        oversize: whether to go on with a network that breaks a hard limit of the chip.
    """

    target: str
    bits: int
    approximate: tuple[str, ...]
    check: str | None
    samples: int
    tune: int = 0
    lr: float = 1e-3
    oversize: bool = False


def deploy(model: Path, request: Request, *, data: str | None, split: str, root: Path | None, out: Path | None) -> None:
    """Quantise a stored network; print what that changes and what it takes; write the chip's network."""
    _check_at_once(request)
    if out is not None and not out.absolute().parent.is_dir():
        raise FileError(f"no folder {out.absolute().parent} to write {out.name} in; make it first")
    found = stored(model, data=data, split=split, root=root)
    inputs = found.inputs
    calibration = inputs.first(found.data.train, CALIBRATION, _drawing())
    nets: dict[str, nn.Module] = {"network": found.net}
    net, approximate = found.net, request.approximate
    if request.tune:
        net, approximate = _tuned(found, request), ()
        nets["fine-tuned network"] = net
    options = {"calibration": calibration, "bits": request.bits, "approximate": approximate}
    report = quantise_report(net, request.target, **options)
    nets["chip"] = Emulated(report.chip)
    _say(str(report))
    fitted = snnkit.deploy.fit(report.chip, strict=False)
    _say(f"\n{fitted}")
    if fitted.refusal and not request.oversize:
        raise InputError(f"{fitted.refusal}; type --oversize to go on nevertheless")
    part = inputs.of(getattr(found.data, split))
    done = {name: evaluate(net, part, encode=inputs.encode, mode=found.mode) for name, net in nets.items()}
    _say(f"\n{found.name}, {split}: {done['network'].samples} samples")
    for name, evaluation in done.items():
        _say(f"accuracy of the {name:<18}{evaluation.accuracy:8.2%}")
    _say(f"\n{_energy(report.chip, inputs.first(getattr(found.data, split), request.samples, _drawing()))}")
    if request.check is not None:
        _say(f"\n{_compared(report.chip, found, split, request.samples)}")
    if out is not None:
        kept = {key: value for key, value in found.notes.items() if value is not None}
        snnkit.deploy.save(report.chip, out, metadata=kept | {"from": model.name, "bits": request.bits})
        _say(f"\nwrote {out}")


def _tuned(found: Stored, request: Request) -> snnkit.Network:
    """Return the network, fine-tuned on its training data; the epoch is chosen by the validation data."""
    train, validation = (found.inputs.of(getattr(found.data, name)) for name in ("train", "validation"))
    settings = TrainSettings(epochs=request.tune, lr=request.lr, schedule="cosine", loss=found.mode)
    return fine_tune(
        found.net,
        train,
        bits=request.bits,
        approximate=request.approximate,
        validation=validation,
        encode=found.inputs.encode,
        settings=settings,
    )


def _check_at_once(request: Request) -> None:
    """Raise where a comparison cannot be made, before anything is computed."""
    if request.check is None:
        return
    if request.check not in CHECKS:
        raise InputError(f"no check {request.check!r}{nearest(request.check, CHECKS)}; known: {', '.join(CHECKS)}")
    python, reason = lava.available()
    if python is None:
        raise MissingPackageError(reason)


def _energy(chip: IntegerNetwork, x: Tensor) -> EnergyReport:
    """Return the energy on the card of Loihi 1, the only one with costs; on another where the input is multiplied."""
    graded = any(connection.graded for connection in chip.connections)
    return energy(chip, x, chip="cmos45", precision="int8") if graded else energy(chip, x, chip="loihi1")


def _drawing() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _compared(chip: IntegerNetwork, found: Stored, split: str, samples: int) -> str:
    """Compare with Lava; raise InputError where anything differs."""
    x = found.inputs.first(getattr(found.data, split), samples, _drawing())
    report = lava.check(chip, x)
    if report.mismatches:
        raise InputError(f"the emulator and Lava differ: {report}")
    return f"{x.shape[1]} samples, {report}"


def _say(text: str) -> None:
    standard().print(text, highlight=False, markup=False, soft_wrap=True)
