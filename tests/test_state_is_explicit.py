"""State goes in and comes out: whole, in pieces, step by step, padded or not, a sequence gives the same."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import snnkit
from snnkit.errors import InputError
from snnkit.network import detached


def network() -> snnkit.Network:
    torch.manual_seed(0)
    return snnkit.Network(
        nn.Conv2d(1, 4, 3),
        snnkit.CubaLIF(theta=torch.rand(4, 1, 1) + 0.3),
        nn.AvgPool2d(2),
        nn.Flatten(),
        snnkit.Network(nn.Linear(16, 12), snnkit.Recurrent(snnkit.ALIF(), nn.Linear(12, 12))),
        nn.Linear(12, 3),
        snnkit.Readout(tau=4.0),
    )


def images() -> torch.Tensor:
    return torch.rand(9, 5, 1, 6, 6, generator=torch.Generator().manual_seed(1)) * 3


def test_pieces_and_steps_equal_the_whole() -> None:
    net, x = network(), images()
    whole, end = net.run(x)
    first, state = net.run(x[:4])
    second, state = net.run(x[4:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(state, end)
    state, steps = None, []
    for x_t in x:
        y_t, state = net.step(x_t, state)
        steps.append(y_t)
    torch.testing.assert_close(torch.stack(steps), whole)
    torch.testing.assert_close(state, end)


def test_a_run_changes_nothing_on_the_network() -> None:
    net, x = network().eval(), images()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    first = net(x)
    assert torch.equal(net(x), first)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_long_sequence_is_learnt_piece_by_piece() -> None:
    net, x = network().double(), images().double()
    whole, end = net.run(x)
    first, state = net.run(x[:4])
    second, after = net.run(x[4:], detached(state))
    assert torch.equal(torch.cat([first, second]), whole)
    torch.testing.assert_close(after, end)
    cut = x[:4].clone().requires_grad_(), x[4:].clone().requires_grad_()
    y, state = net.run(cut[0])
    y.sum().backward()
    past = cut[0].grad.clone()
    net.run(cut[1], detached(state))[0].sum().backward()
    assert torch.equal(cut[0].grad, past) and cut[1].grad.any()


def test_a_slice_is_a_network_of_the_same_layers() -> None:
    net, x = network(), images()
    head, tail = net[:4], net[4:]
    assert type(head) is type(tail) is snnkit.Network and net[0] is head[0] and net[-1] is tail[-1]
    torch.testing.assert_close(tail(head(x)), net(x))
    assert next(iter(tail.state_dict())).startswith("0.")


def test_samples_do_not_see_each_other() -> None:
    net, x = network(), images()
    torch.testing.assert_close(net(x[:, 2:3]), net(x)[:, 2:3])


def test_one_name_records_one_thing() -> None:
    net, x = network(), images()
    (name, found), *more = net.record(x, "1.v").items()
    assert name == "1.v" and not more
    assert torch.equal(found, net.record(x, ["1.v"])["1.v"])


def test_recording_shows_what_a_run_did() -> None:
    net, x = network(), images()
    traces = net.record(x)
    y, end = net.run(x)
    torch.testing.assert_close(traces["6"], y)
    torch.testing.assert_close(traces["1.v"][-1], end["1"]["v"])
    torch.testing.assert_close(traces["4.1.a"][-1], end["4"]["1"]["layer"]["a"])
    assert traces["1"].shape == (9, 5, 4, 4, 4) and set(traces["1"].unique().tolist()) == {0.0, 1.0}
    assert list(net.record(x, ["1.i", "4.1"])) == ["1.i", "4.1"]
    with pytest.raises(InputError, match=r"nothing to record as '1.w'; did you mean '1.v'"):
        net.record(x, ["1.w"])


def test_recorded_membranes_follow_the_equation() -> None:
    x = torch.rand(20, 2, 3) * 2
    traces = snnkit.Network(snnkit.LIF(tau=2.0)).record(x)
    v = torch.zeros(2, 3)
    for t in range(20):
        v = v + (x[t] - v) / 2
        v = v - (v >= 1).float()
        assert torch.equal(traces["0.v"][t], v)


@pytest.mark.parametrize("garbage", [0.0, 7.0])
def test_padding_is_never_seen(garbage: float) -> None:
    net, x = network().eval(), images()
    lengths = torch.tensor([9, 1, 4, 4, 6])
    padded = x.clone()
    for b, length in enumerate(lengths.tolist()):
        padded[length:, b] = garbage
    y, end = net.run(padded, lengths=lengths)
    for b, length in enumerate(lengths.tolist()):
        alone, alone_end = net.run(x[:length, b : b + 1])
        torch.testing.assert_close(y[:length, b : b + 1], alone)
        assert not y[length:, b].any()
        torch.testing.assert_close(end["1"]["v"][b : b + 1], alone_end["1"]["v"])
        torch.testing.assert_close(end["4"]["1"]["layer"]["a"][b : b + 1], alone_end["4"]["1"]["layer"]["a"])
        torch.testing.assert_close(end["6"]["v"][b : b + 1], alone_end["6"]["v"])


def test_normalisation_leaves_padding_out_of_its_statistics() -> None:
    x = torch.rand(6, 4, 3)
    lengths = torch.tensor([6, 2, 3, 5])
    valid = torch.arange(6)[:, None] < lengths
    net = snnkit.Network(nn.BatchNorm1d(3, momentum=1.0), snnkit.IF())
    net.run(torch.where(valid[..., None], x, 1e6), lengths=lengths)
    torch.testing.assert_close(net[0].running_mean, x[valid].mean(0))


def test_gradients_flow_through_a_carried_state() -> None:
    net, x = network(), images().requires_grad_()
    y, _ = net.run(x)
    (whole,) = torch.autograd.grad(y[-1].sum(), x)
    _, state = net.run(x[:5])
    y, _ = net.run(x[5:], state)
    (pieces,) = torch.autograd.grad(y[-1].sum(), x)
    torch.testing.assert_close(pieces, whole)


def test_recurrence_is_a_connection_one_step_later() -> None:
    torch.manual_seed(0)
    layer = snnkit.Recurrent(snnkit.LIF(tau=2.0), nn.Linear(6, 6))
    x = torch.rand(10, 2, 6) * 2
    v, s, outputs = torch.zeros(2, 6), torch.zeros(2, 6), []
    for x_t in x:
        v = v + (x_t + layer.connection(s) - v) / 2
        s = (v >= 1).float()
        v = v - s
        outputs.append(s)
    assert torch.equal(layer(x), torch.stack(outputs))


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    layer, x = snnkit.ALIF(learn=("tau", "beta")), torch.rand(40, 8, 700) * 2
    found = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            layer.zero_grad()
            leaf = x.clone().requires_grad_()
            y = layer(leaf)
            y.backward(x)
            found.append([y.detach(), leaf.grad, layer.param_tau.grad.clone(), layer.param_beta.grad.clone()])
    finally:
        torch.set_num_threads(before)
    for others in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], others, strict=True))


def test_an_expanded_input_and_gradient_are_read_in_place() -> None:
    layer = snnkit.LIF(tau=3.0)
    image = (torch.rand(4, 30) * 2).requires_grad_()
    still = image.expand(25, 4, 30)
    moving = still.detach().clone().requires_grad_()
    layer(still).mean(0).sum().backward()
    layer(moving).mean(0).sum().backward()
    torch.testing.assert_close(image.grad, moving.grad.sum(0))


def test_a_layer_used_twice_runs_twice_with_a_state_each() -> None:
    shared = snnkit.LIF(tau=2.0)
    x = torch.rand(10, 2, 3) * 4
    y, state = snnkit.Network(shared, shared).run(x)
    assert torch.equal(y, shared(shared(x)))
    assert set(state) == {"0", "1"} and not torch.equal(state["0"]["v"], state["1"]["v"])
