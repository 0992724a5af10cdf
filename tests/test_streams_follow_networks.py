"""A stream, fed step by step, gives what the evaluated network gives for the whole sequence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import snnkit
from snnkit.errors import InputError


def _streamed(net: snnkit.Network, x: torch.Tensor) -> torch.Tensor:
    stream = snnkit.Stream(net)
    state, steps = None, []
    for x_t in x[:, 0].numpy():
        y, state = stream.step(x_t, state)
        steps.append(torch.from_numpy(y.copy()))
    return torch.stack(steps).unsqueeze(1)


@pytest.mark.parametrize("kind", ["synaptic", "axonal", "dendritic"])
def test_streams_equal_sequences(kind: str) -> None:
    torch.manual_seed(0)
    net = snnkit.Network(
        snnkit.DelayLinear(9, 12, max_delay=7, kind=kind, taps=2, bias=True),
        nn.BatchNorm1d(12),
        snnkit.LIF(tau=2.0),
        nn.Dropout(0.3),
        snnkit.Network(nn.Linear(12, 6), snnkit.CubaLIF()),
        snnkit.DelayLinear(6, 3, max_delay=0, kind=kind),
        snnkit.Readout(tau=2.0),
    )
    with torch.no_grad():
        net(torch.rand(20, 8, 9))
        net.eval()
        x = (torch.rand(40, 1, 9) < 0.5).float()
        expected = net(x)
    assert expected.any()
    torch.testing.assert_close(_streamed(net, x), expected, rtol=1e-4, atol=1e-5)


def test_silence_adds_nothing_and_states_are_apart() -> None:
    stream = snnkit.Stream(snnkit.Network(snnkit.DelayLinear(4, 3, max_delay=5)))
    spike, silence = np.ones(4, np.float32), np.zeros(4, np.float32)
    _, one = stream.step(spike)
    quiet, _ = stream.step(silence)
    assert not quiet.any()
    later = [stream.step(silence, one)[0] for _ in range(5)]
    assert np.any(later)
    assert not stream.step(silence, one)[0].any()


def test_what_cannot_be_streamed_is_refused() -> None:
    with pytest.raises(InputError, match=r"layer '1\.0' \(Conv1d\) cannot be streamed; Linear, DelayLinear"):
        snnkit.Stream(snnkit.Network(nn.Linear(3, 3), nn.Sequential(nn.Conv1d(1, 1, 1))))
    stream = snnkit.Stream(snnkit.Network(nn.Linear(3, 2)))
    with pytest.raises(InputError, match=r"a stream takes a numpy array \[3\], not Tensor; use x.numpy\(\)"):
        stream.step(torch.zeros(3))
    with pytest.raises(InputError, match=r"a stream takes float32 \[3\], not float64 \[3\]"):
        stream.step(np.zeros(3))  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match=r"a stream takes float32 \[3\], not float32 \[4\]"):
        stream.step(np.zeros(4, np.float32))
