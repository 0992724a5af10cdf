"""Deploy: a trained network in a chip's integers, what that changes, fine-tuning, and what it takes on the chip."""

import torch
from torch import nn

import snnkit
from snnkit.deploy import Emulated, fine_tune, lava, quantise_report
from snnkit.train import TrainSettings, evaluate, fit

torch.set_num_threads(1)
torch.manual_seed(0)
data = snnkit.data.load("digits")
train, validation, test = (
    (split.images.flatten(1), split.labels) for split in (data.train, data.validation, data.test)
)


def encode(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return snnkit.encode.latency(images, steps=10)


calibration = encode(train[0][:256], torch.Generator())
neurons = snnkit.LIF(tau=20.0, reset="hard", input_decay=False)
readout = snnkit.Readout(tau=20.0, input_decay=False)
net = snnkit.Network(snnkit.DelayLinear(64, 48, max_delay=2), neurons, nn.Linear(48, 10), readout)
snnkit.initialise(net, calibration, rate=0.1)
settings = TrainSettings(epochs=6, lr=2e-2, batch_size=64, schedule="cosine")
fit(net, train, validation=validation, settings=settings, encode=encode)
print(f"in real numbers: {evaluate(net, test, encode=encode).accuracy:.1%} of the test digits right")
few = TrainSettings(epochs=2, lr=2e-3, batch_size=64)
tuned = fine_tune(net, train, bits=4, validation=validation, settings=few, encode=encode)
for name, source, bits in (("8 bits", net, 8), ("4 bits", net, 4), ("4 bits, fine-tuned", tuned, 4)):
    report = quantise_report(source, target="loihi2", calibration=calibration, bits=bits)
    accuracy = evaluate(Emulated(report.chip), test, encode=encode).accuracy
    print(f"\n{report}\n{name}: {accuracy:.1%} of the test digits right on the chip")
chip = snnkit.deploy.quantise(tuned, target="loihi2", calibration=calibration, bits=4)
print(f"\n{snnkit.deploy.fit(chip)}\n")
python, reason = lava.available()
print(reason or lava.check(chip, encode(test[0][:10], torch.Generator())))
