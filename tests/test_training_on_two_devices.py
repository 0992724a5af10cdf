"""Two processes with half of each batch learn what one process with the whole batch learns."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import snnkit

SCRIPT = """
import json, sys, torch, snnkit
from torch import nn
from snnkit.train.recipe import TrainSettings
from snnkit.train.trainer import fit

class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 3))
    def forward(self, x):
        return self.layers(x)

def spiking():
    return snnkit.Network(nn.Linear(5, 16), snnkit.LIF(tau=2.0, learn=("tau",)), nn.Linear(16, 3), snnkit.Readout())

devices, folder = int(sys.argv[1]), sys.argv[2]
runs = {}
for name, make, samples, stop in (("plain", Plain, 41, 3), ("spiking", spiking, 45, 3), ("resumed", spiking, 45, 2)):
    torch.manual_seed(0)
    net = make()
    target = torch.arange(samples) % 3
    inputs = torch.rand(samples, 6, 5) + 2 * nn.functional.one_hot(target, 5)[:, None]
    data = {"train": (inputs, target), "validation": (inputs[:37], target[:37]), "folder": f"{folder}/{name}"}
    settings = {"batch_size": 8, "lr": 0.02, "gradient_clip": 1.0, "accelerator": "cpu", "devices": devices}
    history = fit(net, settings=TrainSettings(epochs=stop, **settings), **data)
    if stop < 3:
        history = fit(net, settings=TrainSettings(epochs=3, **settings), resume=True, **data)
    curves = {column: history[column] for column in ("train_loss", "train_accuracy", "validation_loss",
                                                     "validation_accuracy")}
    weights = torch.cat([p.detach().flatten() for p in net.parameters()]).tolist()
    runs[name] = {"curves": curves, "weights": weights, "steps": history["step"]}
if torch.distributed.is_initialized():
    assert torch.distributed.get_world_size() == devices
    if torch.distributed.get_rank() > 0:
        sys.exit()
print("RUNS", json.dumps(runs))
"""


def learnt(folder, devices):
    """Return what so many processes learn, by kind of run."""
    script = folder / "train.py"
    script.write_text(SCRIPT)
    ended = subprocess.run(
        [sys.executable, "-W", "error", str(script), str(devices), str(folder / str(devices))],
        env=os.environ | {"PYTHONPATH": str(Path(snnkit.__file__).parent.parent), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    lines = [line for line in ended.stdout.splitlines() if line.startswith("RUNS ")]
    assert len(lines) == 1, ended.stdout + ended.stderr
    return json.loads(lines[0].removeprefix("RUNS "))


@pytest.mark.timeout(400)
def test_two_processes_learn_what_one_learns(tmp_path):
    alone, together = learnt(tmp_path, 1), learnt(tmp_path, 2)
    for name, one in alone.items():
        two = together[name]
        assert one["steps"] == two["steps"] == [6, 12, 18]
        for column, values in one["curves"].items():
            assert two["curves"][column] == pytest.approx(values, rel=1e-4, abs=1e-6), f"{name} {column}"
        assert two["weights"] == pytest.approx(one["weights"], rel=1e-3, abs=1e-5), name
        assert one["curves"]["train_loss"][-1] < one["curves"]["train_loss"][0]
    assert together["resumed"]["weights"] == together["spiking"]["weights"], "resumption changes no bit"


RECIPE = """
[data]
name = "digits"
steps = 3

[network]
layers = [{type = "Flatten"}, {type = "Linear", in = 64, out = 10}, {type = "Readout"}]

[train]
epochs = 1
devices = 2
accelerator = "cpu"
"""


@pytest.mark.timeout(200)
def test_one_of_two_processes_writes_and_tells(run_python, tmp_path):
    (tmp_path / "recipe.toml").write_text(RECIPE)
    ended = run_python("-m", "snnkit", "train", "recipe.toml", "--folder", "run", timeout=150)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("wrote run/net.h5") == 1
    assert snnkit.load(tmp_path / "run" / "net.h5")[1].in_features == 64


def test_code_that_is_not_in_a_file_cannot_start_two_processes(run_python):
    ended = run_python(
        "-c",
        "import torch, snnkit\n"
        "from snnkit.train.trainer import fit, TrainSettings\n"
        "fit(torch.nn.Linear(2, 2), (torch.zeros(2, 1, 2), torch.tensor([0, 1])),\n"
        "    settings=TrainSettings(devices=2, accelerator='cpu'))",
    )
    assert "BackendError: 2 devices need a script that can be started once per device, and '-c'" in ended.stderr
