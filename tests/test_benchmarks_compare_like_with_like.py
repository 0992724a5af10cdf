"""A benchmark compares results before it compares times, and its contenders are what their names say."""

from __future__ import annotations

import subprocess

import pytest
import torch

from snnkit.cli import bench_neuron as bench
from snnkit.errors import SnnkitError


@pytest.mark.parametrize("name", list(bench.PEERS))
def test_peers_give_the_same_spikes(name: str) -> None:
    assert bench.gate([name])[name] > 50_000


def test_a_peer_that_differs_stops_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = bench.Contender(lambda: torch.relu, bench.PEERS["SpikingJelly LIFNode"].same)
    monkeypatch.setattr(bench, "PEERS", {"wrong": wrong})
    with pytest.raises(SnnkitError, match=r"wrong and snnkit differ in .* outputs"):
        bench.gate(["wrong"])


def test_the_user_neuron_is_compiled_by_itself() -> None:
    typed = bench.OURS["snnkit LIF typed by a user"].make()
    built_in = bench.OURS["snnkit LIF"].make()
    x = torch.rand(20, 2, 30) * 2
    assert typed.kernel.key != built_in.kernel.key
    assert torch.equal(typed(x), built_in(x))


def test_every_contender_runs_forward_and_backward() -> None:
    names = list(bench.available())
    seconds = bench.measure(names, (5, 2, 16), threads=1, repeat=1)
    assert set(seconds) == set(names) and all(0 < value < 60 for value in seconds.values())


def test_peak_memory_counts_what_a_pass_adds() -> None:
    shape = (200, 16, 4096)
    tensor = 4 * 200 * 16 * 4096
    assert 1.9 * tensor < bench.peak_memory("torch.relu", shape) < 4 * tensor
    assert bench.peak_memory("snnkit LIF", shape) < bench.peak_memory("SpikingJelly LIFNode", shape)
    with pytest.raises(SnnkitError, match=r"the memory of nobody could not be measured"):
        bench.peak_memory("nobody", shape)


def test_unknown_contenders_are_named() -> None:
    with pytest.raises(SnnkitError, match=r"no contender 'snnkit LF'; did you mean 'snnkit LIF'"):
        bench.check_names(["snnkit LF"])


def test_the_command_prints_machine_gate_and_ratios(run_python, tmp_path) -> None:
    options = ["--sizes", "16", "--threads", "1", "--repeat", "1", "--no-scaling", "--no-memory", "--out", "table.txt"]
    done: subprocess.CompletedProcess[str] = run_python("-m", "snnkit", "bench", "neuron", *options, timeout=110)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "table.txt").read_text()
    assert "equal to snnkit in all" in text and "SpikingJelly LIFNode" in text and "torch 2" in text
