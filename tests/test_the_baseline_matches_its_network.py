"""The ANN counterpart has the network's layers and parameters, and trains on the same data without time."""

import doctest

import pytest
import torch
from torch import nn

import snnkit
from snnkit import baseline
from snnkit.errors import InputError


@pytest.fixture
def learning() -> snnkit.Network:
    first = next(iter(snnkit.PLIF().neuron.params))
    return snnkit.Network(nn.Linear(6, 5), snnkit.PLIF(learn=(first,)), nn.Linear(5, 2), snnkit.Readout())


def plain() -> snnkit.Network:
    return snnkit.Network(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        snnkit.LIF(tau=2.0),
        snnkit.Network(nn.Flatten(), nn.Linear(4 * 36, 8), snnkit.ILIF()),
        nn.Linear(8, 3),
        snnkit.Readout(tau=2.0),
    )


def test_docstrings_run():
    extra = {"torch": torch, "nn": nn, "snnkit": snnkit}
    result = doctest.testmod(baseline.ann, extraglobs=extra)
    assert (result.attempted, result.failed) == (2, 0)


def test_layers_keep_their_names_and_neurons_become_relu():
    ann = baseline.counterpart(plain())
    kinds = {name: type(module) for name, module in ann.named_modules() if not isinstance(module, nn.Sequential)}
    assert kinds == {
        "0": nn.Conv2d,
        "1": nn.BatchNorm2d,
        "2": nn.ReLU,
        "3.0": nn.Flatten,
        "3.1": nn.Linear,
        "3.2": nn.ReLU,
        "4": nn.Linear,
        "5": nn.Identity,
    }


def test_parameters_match_but_for_those_that_neurons_learn(learning):
    assert baseline.count_parameters(plain()) == baseline.count_parameters(baseline.counterpart(plain()))
    assert baseline.count_parameters(plain()) == (9 * 4 + 4) + 8 + (144 * 8 + 8) + (8 * 3 + 3)
    assert baseline.count_parameters(learning) == (30 + 5) + 1 + (10 + 2)
    assert baseline.count_parameters(baseline.counterpart(learning)) == (30 + 5) + (10 + 2)


def test_shared_and_frozen_parameters_count_once_and_not_at_all():
    shared = nn.Linear(3, 3)
    module = nn.Sequential(shared, shared, nn.Linear(3, 3).requires_grad_(False))
    assert baseline.count_parameters(module) == 12


def test_weights_are_new_and_follow_the_seed():
    network = plain()
    before = network[0].weight.clone()
    torch.manual_seed(1)
    first = baseline.counterpart(network)
    torch.manual_seed(1)
    again = baseline.counterpart(network)
    assert torch.equal(first[0].weight, again[0].weight)
    assert not torch.equal(first[0].weight, before)
    assert torch.equal(network[0].weight, before)
    assert first[0].weight is not network[0].weight


def test_statistics_of_normalisation_start_afresh():
    network = plain()
    network[1].running_mean.fill_(3.0)
    assert baseline.counterpart(network)[1].running_mean.abs().sum() == 0


def test_it_learns_from_still_images():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(64, 1, 6, 6, generator=generator)
    labels = (x.mean((1, 2, 3)) > x.mean()).long()
    ann = baseline.counterpart(plain())
    losses = []
    for _ in range(40):
        ann.zero_grad()
        loss = nn.functional.cross_entropy(ann(x), labels)
        loss.backward()
        losses.append(loss.item())
        with torch.no_grad():
            for parameter in ann.parameters():
                parameter -= 0.1 * parameter.grad
    assert losses[-1] < 0.5 * losses[0]


def test_the_time_mean_leaves_padding_out():
    x = torch.rand(5, 3, 2)
    lengths = torch.tensor([5, 1, 3])
    expected = torch.stack([x[:length, sample].mean(0) for sample, length in enumerate(lengths)])
    assert torch.allclose(baseline.time_mean(x, lengths), expected)
    assert torch.allclose(baseline.time_mean(x), x.mean(0))
    padded = x.clone()
    padded[1:, 1] = torch.nan
    assert torch.allclose(baseline.time_mean(padded, lengths), expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: baseline.counterpart(nn.Linear(2, 2)), "counterpart takes a snnkit.Network, not Linear"),
        (
            lambda: baseline.counterpart(snnkit.Network(snnkit.Recurrent(snnkit.LIF(), nn.Linear(2, 2)))),
            r"layer '0' \(Recurrent\) has no counterpart without time",
        ),
        (lambda: baseline.time_mean(torch.rand(3, 2)), "time_mean got shape"),
        (lambda: baseline.time_mean(torch.rand(3, 2, 1), torch.tensor([1])), "lengths is an integer tensor of 2"),
    ],
)
def test_what_has_no_counterpart_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
