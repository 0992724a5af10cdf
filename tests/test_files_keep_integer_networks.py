"""Integer networks in files: what is saved comes back, and what is damaged is refused."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from corruption import corrupt, edited, sign
from torch import nn

import snnkit
from snnkit import deploy
from snnkit.deploy import draw
from snnkit.errors import FileError, InputError, SnnkitError
from snnkit.files import container

HEADER = container.HEADER


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("chip") / "chip.h5"
    deploy.save(draw.network(4), path, metadata={"accuracy": 0.97})
    return path.read_bytes()


def _load(content: bytes, folder: Path) -> deploy.IntegerNetwork:
    (folder / "chip.h5").write_bytes(content)
    return deploy.load(folder / "chip.h5")


@pytest.mark.parametrize("seed", range(12))
def test_what_is_saved_comes_back(seed: int, tmp_path: Path) -> None:
    chip = draw.network(seed)
    deploy.save(chip, tmp_path / "chip.h5", metadata={"seed": seed})
    found = deploy.load(tmp_path / "chip.h5")
    x = draw.spikes(chip, seed, steps=20)
    for name, trace in chip.record(x).items():
        assert torch.equal(found.record(x, [name])[name], trace)
    assert (found.read, found.target, found.scale, found.inputs) == (chip.read, chip.target, chip.scale, chip.inputs)
    for ours, theirs in zip(chip.connections, found.connections, strict=True):
        assert (ours.name, ours.bits, ours.sign, ours.graded) == (theirs.name, theirs.bits, theirs.sign, theirs.graded)
        assert np.array_equal(ours.effective, theirs.effective)
    assert snnkit.files.about(tmp_path / "chip.h5").metadata == {"seed": seed}


def test_h5py_alone_reads_it(good: bytes, tmp_path: Path) -> None:
    (tmp_path / "chip.h5").write_bytes(good)
    chip = draw.network(4)
    with h5py.File(tmp_path / "chip.h5") as file:
        for part in chip.connections:
            weight = file[f"connections/{part.name}/synapses/weight"]
            assert isinstance(weight, h5py.Dataset)
            assert np.array_equal(weight[()], part.synapses.weight)


@pytest.mark.parametrize("start", range(0, 600, 200))
def test_corruption_is_refused(good: bytes, start: int, tmp_path: Path) -> None:
    for seed in range(start, start + 200):
        content = corrupt(good, random.Random(seed))
        if content == good:
            continue
        with pytest.raises(FileError):
            _load(content, tmp_path)


@pytest.mark.parametrize("start", range(0, 300, 100))
def test_corruption_that_is_signed_does_no_harm(good: bytes, start: int, tmp_path: Path) -> None:
    """Who can write a file can sign it: what loads is a network that runs, and all else is refused."""
    refused = 0
    for seed in range(start, start + 100):
        content = sign(corrupt(good[HEADER:], random.Random(seed)))
        try:
            chip = _load(content, tmp_path)
        except SnnkitError:
            refused += 1
            continue
        chip.run(draw.spikes(chip, 0, steps=3, batch=1))
    assert refused > 50


def test_other_kinds_of_file_are_told_apart(good: bytes, tmp_path: Path) -> None:
    (tmp_path / "chip.h5").write_bytes(good)
    with pytest.raises(
        FileError, match=r"holds an integer network where a network is needed; open it with snnkit\.deploy"
    ):
        snnkit.load(tmp_path / "chip.h5")
    snnkit.save(snnkit.Network(nn.Linear(2, 2), snnkit.LIF()), tmp_path / "net.h5")
    with pytest.raises(
        FileError, match=r"holds a network where an integer network is needed; open it with snnkit\.load"
    ):
        deploy.load(tmp_path / "net.h5")
    with pytest.raises(
        InputError, match=r"deploy\.save keeps integer networks, not Network; snnkit\.save keeps networks"
    ):
        deploy.save(snnkit.Network(snnkit.LIF()), tmp_path / "x.h5")  # pyright: ignore[reportArgumentType]


def _set(path: str, value: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        dataset = file[path]
        assert isinstance(dataset, h5py.Dataset)
        dataset[...] = value

    return change


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (_set("read", "u"), r"read is 'u'.*; known: spikes, v"),
        (_set("connections/c/bits", 9), r"bits of connection 'c' is 9; a whole number in 1\.\.8 is needed"),
        (_set("connections/c/sign", "odd"), r"sign of connection 'c' is 'odd'"),
        (_set("connections/c/target", "m"), r"connection 'c' names 'm', no population"),
        (_set("populations/n/vth", 1 << 20), r"vth of population 'n' holds 1048576\.\.1048576; 0\.\.131071 is needed"),
        (_set("connections/c/synapses/delay", 63), r"the delay of Dense holds 63\.\.63; 0\.\.62 is needed"),
        (_set("connections/c/synapses/kind", "Loop"), r"connection 'c' has no synapses of a known kind"),
        (lambda file: file.pop("populations/n/du"), r"Population lacks du"),
        (lambda file: file.copy("populations/n/du", "populations/n/more"), r"Population has no 'more'"),
        (lambda file: file.pop("populations"), r"populations is no group of groups"),
    ],
)
def test_what_is_no_network_is_refused(edit: Callable[[h5py.File], object], reason: str, tmp_path: Path) -> None:
    synapses = deploy.Dense(np.array([[1, 2]]), np.array([[0, 3]]))
    neurons = deploy.Population("n", (1,), du=np.array(4095), dv=np.array(0), vth=np.array(3))
    chip = deploy.IntegerNetwork((2,), (neurons,), (deploy.Connection("c", "input", "n", synapses),))
    deploy.save(chip, tmp_path / "chip.h5")
    content = edited((tmp_path / "chip.h5").read_bytes(), tmp_path / "edit.h5", edit)
    with pytest.raises(FileError, match=rf"chip\.h5 is refused: .*{reason}"):
        _load(content, tmp_path)
