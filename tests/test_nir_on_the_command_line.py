"""`snnkit export MODEL.h5 --nir F` writes what `snnkit.deploy.nir.load` reads, or says why it does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch
from torch import nn

import snnkit

pytest.importorskip("nir", reason="nir is not installed")

Run = Callable[..., CompletedProcess[str]]


def test_a_network_is_exported(run_python: Run, tmp_path: Path) -> None:
    net = snnkit.Network(nn.Conv2d(2, 3, 3), snnkit.LIF(theta=0.2), nn.Flatten(), nn.Linear(48, 4), snnkit.Readout())
    snnkit.save(net, tmp_path / "net.h5")
    done = run_python("-m", "snnkit", "export", "net.h5", "--nir", "net.nir")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "the first layer does not tell the shape of the input" in done.stderr
    words = ["--nir", "net.nir", "--dt", "1e-4", "--shape", "2,6,6", "--soft-reset", "metadata"]
    done = run_python("-m", "snnkit", "export", "net.h5", *words)
    assert done.returncode == 0, done.stderr
    assert "net.nir: NIR with steps of 0.0001 s; read back, and the spikes are the same" in done.stdout
    x = torch.rand(9, 2, 2, 6, 6)
    assert torch.equal(snnkit.deploy.nir.load(tmp_path / "net.nir", dt=1e-4)(x), net.eval()(x))


def test_wrong_calls_are_refused(tmp_path: Path) -> None:
    from snnkit.cli.export import Options, export
    from snnkit.deploy import draw
    from snnkit.errors import InputError

    snnkit.save(snnkit.Network(nn.Linear(2, 2), snnkit.LIF()), tmp_path / "net.h5")
    with pytest.raises(InputError, match=r"layer '1' \(lif\) resets softly"):
        export(tmp_path / "net.h5", {"nir": tmp_path / "net.nir"})
    with pytest.raises(InputError, match=r"--shape is '2,x'; sizes are needed, such as --shape 2,34,34"):
        export(tmp_path / "net.h5", {"nir": tmp_path / "net.nir"}, Options(shape="2,x"))
    with pytest.raises(InputError, match="export needs to know where to; give one of --c, --nir, --netx"):
        export(tmp_path / "net.h5", {"nir": None})
    with pytest.raises(InputError, match="holds a network of real numbers and --netx writes integers"):
        export(tmp_path / "net.h5", {"netx": tmp_path / "net.net"})
    snnkit.deploy.save(draw.network(4), tmp_path / "chip.h5")
    with pytest.raises(InputError, match="holds integers and --nir writes real numbers; give the network that they"):
        export(tmp_path / "chip.h5", {"nir": tmp_path / "net.nir"})
