"""The benchmark of the emulator compares it with Lava before it compares times."""

from __future__ import annotations

import pytest
import torch
from typer.testing import CliRunner

from snnkit.cli import bench_deploy
from snnkit.cli.app import app
from snnkit.deploy import lava
from snnkit.deploy.lava import Report
from snnkit.errors import SnnkitError


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_deploy, "TEST_SET", 20)
    monkeypatch.delenv("SNNKIT_DATA", raising=False)


def test_a_spike_that_differs_stops_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    report = Report(100, 10, 1, 0, 0, 0, 0.1, 0.2)
    monkeypatch.setattr(lava, "check", lambda chip, x: report)
    with pytest.raises(SnnkitError, match=r"emulator and Lava differ: .*1 differ on Lava"):
        bench_deploy.against_lava(bench_deploy.network())


def test_it_says_so_where_lava_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lava, "available", lambda: (None, "no environment; type make lava"))
    done = CliRunner().invoke(app, ["bench", "deploy", "--threads", "1"])
    assert done.exit_code == 0, done.output
    assert "not compared with Lava: no environment; type make lava" in done.output
    assert "20 samples drawn at random, 32 steps, 10% spikes, 1 thread: " in done.output


def test_lavas_start_is_told_from_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lava, "check", lambda chip, x: Report(100, 10, 0, 0, 0, 0, 0.1, 0.2))
    seconds = iter([0.5 + 100 * 0.001, 0.5 + 1100 * 0.001, 1100 * 0.00001])
    monkeypatch.setattr(bench_deploy, "_seconds", lambda run, rounds: next(seconds))
    found = bench_deploy.against_lava(bench_deploy.network())
    assert (found.lava, found.start, found.emulator) == pytest.approx((0.001, 0.5, 0.00001))


def test_the_network_is_the_one_that_is_named() -> None:
    chip = bench_deploy.network()
    assert [chip.connections[0].synapses.n_inputs, *(p.size for p in chip.populations)] == list(bench_deploy.SIZES)
    x = bench_deploy.spikes(50, 20)
    assert torch.equal(x.unique(), torch.tensor([0, 1], dtype=torch.uint8))
    assert x.float().mean() == pytest.approx(0.1, abs=0.002)
    assert 0.001 < chip.record(x, ["h"])["h"].float().mean() < 0.2
