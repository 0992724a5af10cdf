"""An image shown at every step is connected once, and means what its copies mean."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import snnkit


def dense() -> snnkit.Network:
    return snnkit.Network(nn.Linear(6, 8), nn.ReLU(inplace=True), snnkit.LIF(), nn.Linear(8, 3), snnkit.Readout())


def convolved() -> snnkit.Network:
    first = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, momentum=1.0), snnkit.LIF(theta=0.3)
    return snnkit.Network(*first, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16, 3), snnkit.Readout())


CASES = [(dense, (4, 6)), (convolved, (4, 2, 6, 6))]


@pytest.mark.parametrize(("make", "shape"), CASES)
def test_it_is_connected_once(make: Callable[[], snnkit.Network], shape: tuple[int, ...]) -> None:
    net, seen = make(), []
    net[0].register_forward_hook(lambda module, args, y: seen.append(args[0].shape))
    still = snnkit.encode.constant(torch.rand(shape), steps=10)
    net(still)
    net(still.clone())
    assert seen == [torch.Size(shape), torch.Size((40, *shape[1:]))]


@pytest.mark.parametrize("lengths", [None, torch.tensor([10, 1, 4, 7])])
@pytest.mark.parametrize(("make", "shape"), CASES)
def test_it_means_what_its_copies_mean(
    make: Callable[[], snnkit.Network], shape: tuple[int, ...], lengths: Tensor | None
) -> None:
    first, found = make().double(), []
    for copies in (False, True):
        net, image = copy.deepcopy(first), torch.linspace(0, 4, math.prod(shape), dtype=torch.float64).view(shape)
        image.requires_grad_()
        x = snnkit.encode.constant(image, steps=10)
        y, _ = net.run(x.clone() if copies else x, lengths=lengths)
        y.square().sum().backward()
        found.append([y, image.grad, *(p.grad for p in net.parameters()), *(b.clone() for b in net.buffers())])
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiler_leaves_the_number_of_steps_open() -> None:
    net, x = snnkit.Network(nn.Linear(6, 3)), torch.rand(5, 2, 6)
    dynamic = {"x": {0: torch.export.Dim("T"), 1: torch.export.Dim("B")}}
    longer = torch.rand(9, 4, 6)
    torch.testing.assert_close(torch.export.export(net, (x,), dynamic_shapes=dynamic).module()(longer), net(longer))
