"""A spiking CNN on MNIST, before and after it is put into a chip's integers, and after fine-tuning.

    python examples/papers/deploy_mnist.py --root DIR --out DIR
    python examples/papers/deploy_mnist.py --root DIR --out DIR --lava 100

Networks that are in `--out` are not trained again. Epochs are chosen by the validation images; the test images are
asked once for each line of the table. `--lava` compares the 8-bit chip with Lava, spike by spike, on so many of them.

Source: the chip's arithmetic is that of Davies et al., Loihi, IEEE Micro 2018; the digits are LeCun's, 1998.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable
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


def network() -> snnkit.Network:
    """Return the network, untrained: two convolutions with normalisation, pooling, and a readout."""

    def neurons() -> snnkit.Spiking:
        return snnkit.LIF(tau=4.0, reset="hard", input_decay=False)

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


def stored(path: Path, make: Callable[[], snnkit.Network]) -> snnkit.Network:
    """Return the network of a file, made and stored first where there is none."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        snnkit.save(make(), path, metadata=NOTES)
    return snnkit.load(path)


def trained(data: Dataset) -> snnkit.Network:
    """Return the network, trained in real numbers."""
    torch.manual_seed(0)
    net = network()
    fit(net, _pairs(data.train), validation=_pairs(data.validation), settings=TRAINING, encode=spikes, on_epoch=print)
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


def table(net: snnkit.Network, data: Dataset, folder: Path) -> None:
    """Print the test accuracy of the network and of every chip that is made of it."""
    print(
        f"snnkit {snnkit.__version__}, torch {torch.__version__}, {platform.machine()}; seed 0; {len(data.test)} images"
    )
    share, loss = measured(net, data)
    print(f"{'':<22}{'accuracy':>9}{'loss':>9}   spikes that differ by layer, and the readout's membranes")
    print(f"{'float':<22}{share:9.2%}{loss:9.4f}")
    rows = [(f"{bits} bits", bits, net) for bits in (8, 6, 5, 4)]
    for bits in TUNED:
        better = stored(folder / f"tuned_{bits}.h5", lambda bits=bits: tuned(net, data, bits))
        rows.append((f"{bits} bits, fine-tuned", bits, better))
    for name, bits, source in rows:
        report = quantised(source, data, bits)
        differ = ", ".join(f"{layer.difference:.1%}" for layer in report.layers)
        share, loss = measured(Emulated(report.chip), data)
        print(f"{name:<22}{share:9.2%}{loss:9.4f}   {differ}", flush=True)


def main() -> None:
    """Train, quantise, fine-tune, print; or compare with Lava."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="folder of the data; SNNKIT_DATA unless given")
    parser.add_argument("--out", type=Path, required=True, help="folder of the networks")
    parser.add_argument("--lava", type=int, default=0, metavar="N", help="compare N test images with Lava")
    chosen = parser.parse_args()
    try:
        data = snnkit.data.load("mnist", chosen.root)
        net = stored(chosen.out / "net.h5", lambda: trained(data))
        if chosen.lava:
            print(lava.check(quantised(net, data, 8).chip, spikes(data.test.images[: chosen.lava])))
        else:
            table(net, data, chosen.out)
    except SnnkitError as error:
        sys.exit(str(error))


def _pairs(split: object) -> tuple[Tensor, Tensor]:
    return split.images, split.labels


if __name__ == "__main__":
    main()
