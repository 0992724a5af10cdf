"""Spiking networks on MNIST, before and after they are put into a chip's integers, and after fine-tuning.

    python examples/papers/deploy_mnist.py --root DIR --out DIR
    python examples/papers/deploy_mnist.py --root DIR --out DIR --lava 100
    python examples/papers/deploy_mnist.py --root DIR --out DIR --network dense --seeds 3

Networks that are in `--out` are not trained again. Epochs are chosen by the validation images; the test images are
asked once for each line of the table and each seed. `--lava` compares the 8-bit chip with Lava, spike by spike, on so
many of them. The small dense network has no neurons to spare, so that 4 bits cost it more than the CNN.

Source: the chip's arithmetic is that of Davies et al., Loihi, IEEE Micro 2018; the digits are LeCun's, 1998.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import platform
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

import snnkit
from snnkit.data import Dataset, encode
from snnkit.deploy import Emulated, QuantisationReport, fine_tune, lava, quantise_report
from snnkit.errors import SnnkitError
from snnkit.train import TrainSettings, fit
from snnkit.train.losses import predictions, rate_cross_entropy

STEPS = 8
CALIBRATION = 256
BATCH = 250
TUNED = (6, 4)
TRAINING = TrainSettings(epochs=4, batch_size=128, lr=4e-3, weight_decay=1e-3, schedule="cosine", accelerator="cpu")
TUNING = TrainSettings(epochs=1, batch_size=128, lr=5e-4, schedule="cosine", accelerator="cpu")
NOTES = {"data": "mnist", "encoder": "latency", "steps": STEPS, "read": "rate"}


def spikes(images: Tensor, _: torch.Generator | None = None) -> Tensor:
    """Return images [B, 1, 28, 28] as sequences [T, B, 1, 28, 28]: a pixel fires once, the brighter the earlier."""
    return encode.latency(images, steps=STEPS)


def neurons() -> snnkit.Spiking:
    """Return neurons that a chip has."""
    return snnkit.LIF(tau=4.0, reset="hard", input_decay=False)


def dense() -> snnkit.Network:
    """Return the small network, untrained: one hidden layer of 32 neurons, and a readout."""
    hidden = nn.Linear(784, 32, bias=False)
    return snnkit.Network(
        nn.Flatten(), hidden, neurons(), nn.Linear(32, 10), snnkit.Readout(tau=8.0, input_decay=False)
    )


def cnn() -> snnkit.Network:
    """Return the network, untrained: two convolutions with normalisation, pooling, and a readout."""
    return snnkit.Network(
        nn.Conv2d(1, 12, 5, stride=2, padding=2, bias=False),
        nn.BatchNorm2d(12),
        neurons(),
        nn.Conv2d(12, 32, 5, padding=2, bias=False),
        nn.BatchNorm2d(32),
        neurons(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 10),
        snnkit.Readout(tau=8.0, input_decay=False),
    )


NETWORKS = {"cnn": cnn, "dense": dense}


def stored(path: Path, make: Callable[[], snnkit.Network]) -> snnkit.Network:
    """Return the network of a file, made and stored first where there is none."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        snnkit.save(make(), path, metadata=NOTES)
    return snnkit.load(path)


def trained(name: str, data: Dataset, seed: int) -> snnkit.Network:
    """Return a network, trained in real numbers."""
    torch.manual_seed(seed)
    net = NETWORKS[name]()
    settings = dataclasses.replace(TRAINING, seed=seed)
    fit(net, _pairs(data.train), validation=_pairs(data.validation), settings=settings, encode=spikes, on_epoch=print)
    return net


def tuned(net: snnkit.Network, data: Dataset, bits: int) -> snnkit.Network:
    """Return a network, fine-tuned for weights of so many bits."""
    options = {"validation": _pairs(data.validation), "encode": spikes, "settings": TUNING, "on_epoch": print}
    return fine_tune(net, _pairs(data.train), bits=bits, **options)


def quantised(net: snnkit.Network, data: Dataset, bits: int) -> QuantisationReport:
    """Return the chip and its report on the first training images."""
    return quantise_report(net, calibration=spikes(data.train.images[:CALIBRATION]), bits=bits)


@torch.no_grad()
def measured(net: nn.Module, data: Dataset) -> tuple[float, float]:
    """Return the share of the test images that are named right, and the cross-entropy that training lowers."""
    right, loss = 0, 0.0
    net.eval()
    for images, labels in zip(data.test.images.split(BATCH), data.test.labels.split(BATCH), strict=True):
        y = net(spikes(images))
        right += int((predictions(y) == labels).sum())
        loss += float(rate_cross_entropy(y, labels)) * len(labels)
    return right / len(data.test), loss / len(data.test)


def table(nets: Sequence[snnkit.Network], data: Dataset, paths: Sequence[Path]) -> None:
    """Print the test accuracy of the networks and of every chip that is made of them, with its spread over seeds."""
    seeds = "seed 0" if len(nets) == 1 else f"{len(nets)} seeds"
    versions = f"snnkit {snnkit.__version__}, torch {torch.__version__}, {platform.machine()}"
    print(f"{versions}; {seeds}; {len(data.test)} images")
    print(f"{'':<22}{'accuracy':>16}{'loss':>9}   spikes that differ by layer, and the readout's membranes")
    print(_line("float", [measured(net, data) for net in nets], ""))
    rows = [(f"{bits} bits", bits, nets) for bits in (8, 6, 5, 4)]
    for bits in TUNED:
        made = [functools.partial(tuned, net, data, bits) for net in nets]
        names = [path.with_stem(f"{path.stem}_tuned_{bits}") for path in paths]
        better = [stored(path, make) for path, make in zip(names, made, strict=True)]
        rows.append((f"{bits} bits, fine-tuned", bits, better))
    for name, bits, sources in rows:
        reports = [quantised(source, data, bits) for source in sources]
        differ = ", ".join(f"{layer.difference:.1%}" for layer in reports[0].layers)
        print(_line(name, [measured(Emulated(report.chip), data) for report in reports], differ), flush=True)


def _line(name: str, found: Sequence[tuple[float, float]], differ: str) -> str:
    shares, losses = zip(*found, strict=True)
    text = f"{statistics.fmean(shares):.2%}"
    if len(shares) > 1:
        text = f"{text[:-1]} ± {100 * statistics.stdev(shares):.2f}%"
    return f"{name:<22}{text:>16}{statistics.fmean(losses):9.4f}   {differ}".rstrip()


def main() -> None:
    """Train, quantise, fine-tune, print; or compare with Lava."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="folder of the data; SNNKIT_DATA unless given")
    parser.add_argument("--out", type=Path, required=True, help="folder of the networks")
    parser.add_argument("--network", choices=list(NETWORKS), default="cnn")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--lava", type=int, default=0, metavar="N", help="compare N test images with Lava")
    chosen = parser.parse_args()
    try:
        data = snnkit.data.load("mnist", chosen.root)
        paths = [chosen.out / f"{chosen.network}_{seed}.h5" for seed in range(chosen.seeds)]
        made = [functools.partial(trained, chosen.network, data, seed) for seed in range(chosen.seeds)]
        nets = [stored(path, make) for path, make in zip(paths, made, strict=True)]
        if chosen.lava:
            print(lava.check(quantised(nets[0], data, 8).chip, spikes(data.test.images[: chosen.lava])))
        else:
            table(nets, data, paths)
    except SnnkitError as error:
        sys.exit(str(error))


def _pairs(split: object) -> tuple[Tensor, Tensor]:
    return split.images, split.labels


if __name__ == "__main__":
    main()
