"""The benchmark of delays compares results before it compares times, and prints every table."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from snnkit.cli import bench_delay as bench
from snnkit.cli import bench_delay_recurrent as recurrent
from snnkit.cli.app import app
from snnkit.errors import SnnkitError
from snnkit.synapse.delayed import METHODS, methods


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"T": 30, "B": 8, "FEATURES": 24, "STEP": (12, 10, (14, 16, 16, 5))}.items():
        monkeypatch.setattr(bench, name, value)
    for name, value in {"T": 8, "B": 4, "N": 24, "WINDOWS": (3,)}.items():
        monkeypatch.setattr(recurrent, name, value)
    # Collecting what other tests left takes longer than what is timed here.
    monkeypatch.setattr(bench.gc, "collect", lambda: 0)


def test_the_gate_compares_every_method() -> None:
    checked = bench.gate("cpu")
    assert {name.rpartition(" ")[2] for name in checked} == set(METHODS)
    assert len(checked) >= 25 and max(checked.values()) < 1e-5


def test_a_method_that_differs_stops_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    right = METHODS["fft"]
    wrong = methods.Method("wrong", lambda problem: 1.01 * right.run(problem), right.cost)
    monkeypatch.setitem(METHODS, "fft", wrong)
    with pytest.raises(SnnkitError, match=r"linear by fft differs from the convolution by .* of the largest value"):
        bench.gate("cpu")


def test_it_prints_every_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bench, "peak_memory", lambda kernel, longest: 1_000_000)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    done = CliRunner().invoke(app, ["bench", "delay", "--threads", "1", "--repeat", "1", "--out", str(tmp_path / "b")])
    assert done.exit_code == 0, done.output
    text = (tmp_path / "b").read_text()
    for expected in ("dense conv1d", "gauss, s = 0.5", "100 over 8", "SpikingJelly LIF", "snnkit, integer", "20%"):
        assert expected in text
    for name in recurrent.gate():
        assert re.search(rf"equal to the fused layer in all [\d,]+ spikes: {name}", text)
    for name in recurrent.contenders():
        assert name in text.partition("layers that hear themselves")[2]


def test_the_network_of_the_step_is_that_of_the_peer_but_for_neurons_and_method() -> None:
    ours = bench.network("auto", lambda: torch.nn.Identity(), 24, kernel="gauss")
    theirs = bench.network("conv", lambda: torch.nn.Identity(), 24, kernel="gauss")
    assert [type(layer) for layer in ours] == [type(layer) for layer in theirs]
    x = bench.spikes(0.3, (12, 10, 14))
    torch.testing.assert_close(ours[0](x), theirs[0](x), rtol=1e-4, atol=1e-5)


def test_memory_is_measured_in_a_process_of_its_own() -> None:
    with pytest.raises(SnnkitError, match=r"the memory of 'nobody' could not be measured"):
        bench.peak_memory("nobody", 8)


PEER = "SpikingJelly LinearRecurrentContainer"


def test_layers_that_hear_themselves_are_compared_before_they_are_timed() -> None:
    checked = recurrent.gate()
    assert [*checked] == ["nn.Linear, step by step", "DelayLinear 0..3, step by step", PEER]
    assert min(checked.values()) > 50


def test_every_contender_is_timed_in_every_round() -> None:
    calls: list[str] = []
    chosen = recurrent.contenders()
    for name, contender in chosen.items():

        def run(x: torch.Tensor, name: str = name, plain: Callable = contender.run) -> torch.Tensor:
            calls.append(name)
            return plain(x)

        chosen[name] = replace(contender, run=run)
    seconds = recurrent.measure(chosen, 2)
    assert calls == 3 * [name for name in chosen for _ in ("forward", "with backward")]
    assert all(0 < once < float("inf") and 0 < twice < float("inf") for once, twice in seconds.values())


def _changed(change: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, recurrent.Contender]:
    """Return all contenders, the peer with its spikes changed."""
    chosen = recurrent.contenders()
    plain = chosen[PEER].run
    return chosen | {PEER: replace(chosen[PEER], run=lambda x: change(plain(x)))}


def test_a_spike_that_differs_stops_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = _changed(lambda y: y.roll(1, 2))
    monkeypatch.setattr(recurrent, "contenders", lambda: chosen)
    with pytest.raises(SnnkitError, match=rf"'{PEER}' and '{recurrent.AHEAD}' differ in \d+ of \d+ outputs"):
        recurrent.gate()


def test_a_gradient_that_differs_stops_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = _changed(lambda y: 1.01 * y - 0.01 * y.detach())
    monkeypatch.setattr(recurrent, "contenders", lambda: chosen)
    with pytest.raises(SnnkitError, match=rf"a gradient of '{PEER}' differs from that of '{recurrent.AHEAD}' by .* of"):
        recurrent.gate()
