"""The experiment on quantised digits: networks are made once, and every line of its table is there."""

import importlib
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import snnkit
from snnkit.train import TrainSettings


@pytest.fixture
def script(monkeypatch, checkout):
    """Return the experiment with a small network and few made-up images."""
    monkeypatch.syspath_prepend(checkout / "examples" / "papers")
    found = importlib.import_module("deploy_mnist")
    lif, readout = snnkit.LIF(tau=4.0, reset="hard", input_decay=False), snnkit.Readout(tau=8.0)
    small = snnkit.Network(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(49, 12), lif, nn.Linear(12, 10), readout)
    few = TrainSettings(epochs=1, batch_size=16, accelerator="cpu")
    for name, value in {
        "NETWORKS": {"small": lambda: small},
        "TRAINING": few,
        "TUNING": few,
        "CALIBRATION": 32,
    }.items():
        monkeypatch.setattr(found, name, value)
    generator = torch.Generator().manual_seed(0)
    parts = [
        SimpleNamespace(images=torch.rand(40, 1, 28, 28, generator=generator), labels=torch.arange(40) % 10)
        for _ in range(3)
    ]
    return found, SimpleNamespace(**dict(zip(("train", "validation", "test"), parts, strict=True)))


def test_the_network_is_the_one_that_was_measured(checkout, monkeypatch):
    monkeypatch.syspath_prepend(checkout / "examples" / "papers")
    script = importlib.import_module("deploy_mnist")
    for net, count in ((script.cnn(), 25_678), (script.dense(), 25_418)):
        assert net(torch.zeros(8, 1, 1, 28, 28)).shape == (8, 1, 10)
        assert sum(parameter.numel() for parameter in net.parameters()) == count


def test_every_line_of_the_table_is_there(script, tmp_path, capsys):
    found, data = script
    data.test = _Counted(data.test)
    paths = [tmp_path / f"net_{seed}.h5" for seed in range(2)]
    nets = [found.stored(path, lambda seed=seed: found.trained("small", data, seed)) for seed, path in enumerate(paths)]
    found.table(nets, data, paths)
    lines = [line for line in capsys.readouterr().out.splitlines() if line[:5] != "Epoch"][2:]
    named = [line[:22].strip() for line in lines]
    assert named == ["float", "8 bits", "6 bits", "5 bits", "4 bits", "6 bits, fine-tuned", "4 bits, fine-tuned"]
    assert all(" ± " in line for line in lines)
    made = {f"net_{seed}{tuned}.h5" for seed in range(2) for tuned in ("", "_tuned_6", "_tuned_4")}
    assert {path.name for path in tmp_path.iterdir()} == made
    with pytest.raises(AssertionError, match="made again"):
        found.stored(tmp_path / "absent.h5", _fail)
    assert found.stored(paths[0], _fail) is not None


class _Counted:
    """A split with a length."""

    def __init__(self, split):
        self.images, self.labels = split.images, split.labels

    def __len__(self):
        return len(self.labels)


def _fail():
    raise AssertionError("made again")
