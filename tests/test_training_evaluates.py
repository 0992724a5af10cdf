"""Evaluation counts rightly, over time and with padding, and changes nothing."""

import pytest
import torch
from torch import nn

import snnkit
from snnkit.errors import InputError
from snnkit.train import evaluate
from snnkit.train.evaluation import Evaluation
from snnkit.train.history import Epoch, History


class Told(nn.Module):
    """Returns its input as output."""

    def forward(self, x):
        return x


def test_counts_equal_those_by_hand():
    named = torch.tensor([[0, 0, 0], [1, 0, 0], [1, 2, 2], [2, 2, 2]])
    inputs = torch.eye(3)[named]
    found = evaluate(Told(), (inputs, torch.tensor([0, 1, 2, 0])), mode="rate", batch_size=3)
    assert found.accuracy_over_time == pytest.approx((0.5, 0.25, 0.5))
    assert found.accuracy == 0.5
    assert found.confusion.tolist() == [[1, 0, 1], [1, 0, 0], [0, 0, 1]]
    assert found.samples == 4
    assert found.spikes == {}
    last = evaluate(Told(), (inputs, torch.tensor([0, 1, 2, 2])), mode="last", batch_size=2)
    assert last.accuracy_over_time == pytest.approx((0.75, 0.75, 0.75))


def test_the_largest_share_counts_where_targets_are_shares():
    inputs, labels = torch.eye(3)[torch.randint(3, (6, 4))], torch.tensor([0, 1, 2, 0, 1, 1])
    shares = 0.6 * nn.functional.one_hot(labels, 3) + 0.4 * nn.functional.one_hot(labels.flip(0), 3)
    hard, soft = evaluate(Told(), (inputs, labels)), evaluate(Told(), (inputs, shares))
    assert torch.equal(soft.confusion, hard.confusion) and soft.accuracy == hard.accuracy


def test_accuracy_over_time_reads_only_the_past():
    inputs = torch.eye(2)[torch.tensor([[0, 1, 1, 1], [1, 1, 0, 0]])]
    found = evaluate(Told(), (inputs, torch.tensor([1, 1])), mode="rate")
    assert found.accuracy_over_time == pytest.approx((0.5, 0.5, 1.0, 0.5))


def test_shorter_batches_keep_their_last_answer():
    class Ragged(torch.utils.data.Dataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return torch.eye(2)[[index] * (1 + 2 * index)], index, 1 + 2 * index

    found = evaluate(Told(), Ragged(), batch_size=1)
    assert found.accuracy_over_time == (1.0, 1.0, 1.0)


def test_spikes_are_counted_per_sample_and_not_in_padding():
    torch.manual_seed(0)
    net = snnkit.Network(nn.Linear(4, 6), snnkit.Network(snnkit.IF()), nn.Linear(6, 3), snnkit.LIF(tau=2.0))
    inputs, target, lengths = torch.rand(7, 9, 4) * 4, torch.arange(7) % 3, 1 + torch.arange(7)
    found = evaluate(net, (inputs, target, lengths), batch_size=3)
    first = net[1](net[0](inputs.transpose(0, 1)))
    valid = torch.arange(9)[:, None] < lengths
    assert found.spikes["1.0"] == pytest.approx((first * valid[..., None]).sum().item() / 7)
    assert list(found.spikes) == ["1.0", "3"]
    assert found.spikes_per_sample == pytest.approx(sum(found.spikes.values()))
    assert found.spikes["1.0"] > 0


def exact():
    """Return a network whose weights and decays 8 bits hold, spikes for it, their classes and lengths."""
    torch.manual_seed(1)
    net = snnkit.Network(
        nn.Linear(6, 9, bias=False), snnkit.IF(reset="hard"), nn.Linear(9, 3, bias=False), snnkit.IF(reset="hard")
    )
    with torch.no_grad():
        for layer in (net[0], net[2]):
            layer.weight.copy_(torch.randint(-8, 20, layer.weight.shape) / 16 + 1 / 32)
    inputs = (torch.rand(20, 12, 6) < 0.4).float()
    return net, inputs, torch.arange(20) % 3, torch.arange(20) % 12 + 1


@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
def test_a_chip_is_measured_as_its_network_is(padded):
    net, inputs, target, lengths = exact()
    chip = snnkit.deploy.quantise(net, calibration=inputs.transpose(0, 1))
    assert torch.equal(chip(inputs.transpose(0, 1)), net(inputs.transpose(0, 1))), "8 bits hold this network"
    split = (inputs, target, lengths) if padded else (inputs, target)
    real, integers = (evaluate(one, split, batch_size=7) for one in (net, snnkit.deploy.Emulated(chip)))
    assert list(integers.spikes) == list(real.spikes)
    assert integers.spikes == pytest.approx(real.spikes)
    assert integers.spikes_per_sample == pytest.approx(real.spikes_per_sample) and real.spikes_per_sample > 1
    assert integers.accuracy_over_time == real.accuracy_over_time
    assert torch.equal(integers.confusion, real.confusion) and integers.samples == real.samples


def test_a_chip_that_answers_with_a_membrane_has_no_spikes_there():
    net = snnkit.Network(nn.Linear(6, 9), snnkit.LIF(reset="hard"), nn.Linear(9, 3), snnkit.Readout(tau=4.0))
    x = (torch.rand(12, 20, 6) < 0.4).float()
    chip = snnkit.deploy.quantise(net, calibration=x)
    y, spikes = chip.watch(x)
    assert torch.equal(y, chip(x))
    late = chip.latency
    raw = chip.record(torch.cat([x, x.new_zeros(5, 20, 6)]))
    assert chip.output.name not in spikes and set(spikes) == {part.name for part in chip.populations[:-1]}
    for name, fired in spikes.items():
        assert torch.equal(fired, raw[name][late[name] : late[name] + 12])
    found = evaluate(snnkit.deploy.Emulated(chip), (x.transpose(0, 1), torch.arange(20) % 3))
    assert found.spikes == pytest.approx({name: fired.sum().item() / 20 for name, fired in spikes.items()})


def test_a_compiled_network_is_measured_as_it_is_without():
    net, inputs, target, lengths = exact()
    compiled = torch.compile(net, backend="eager")
    plain, found = (evaluate(one, (inputs, target, lengths)) for one in (net, compiled))
    assert found.spikes == plain.spikes and found.spikes_per_sample > 1
    assert found.accuracy_over_time == plain.accuracy_over_time


def test_the_network_and_the_callers_randomness_stay():
    net = snnkit.Network(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), snnkit.Readout(tau=2.0))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    data = torch.rand(8, 5, 4), torch.arange(8) % 3
    state = torch.get_rng_state()
    first, second = evaluate(net, data), evaluate(net, data)
    assert torch.equal(first.confusion, second.confusion), "nothing is dropped"
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert net.training
    assert torch.equal(torch.get_rng_state(), state)


def test_random_encoding_depends_on_the_seed():
    def encode(inputs, generator):
        return torch.rand(5, len(inputs), 3, generator=generator)

    data = torch.zeros(20, 1), torch.arange(20) % 3
    first, same, other = (evaluate(Told(), data, encode=encode, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.confusion, same.confusion)
    assert not torch.equal(first.confusion, other.confusion)


def test_bad_data_are_named():
    with pytest.raises(InputError, match=r"labels run from 0 to 3; 3 outputs need labels in 0..2"):
        evaluate(Told(), (torch.rand(4, 2, 3), torch.arange(4)))
    with pytest.raises(InputError, match=r"split has tensors of \[4, 3\] samples"):
        evaluate(Told(), (torch.rand(4, 2, 3), torch.arange(3)))
    with pytest.raises(InputError, match=r"mode is 'rat'; needed is one of rate"):
        evaluate(Told(), (torch.rand(4, 2, 3), torch.arange(4) % 3), mode="rat")


def test_results_print_in_a_line() -> None:
    evaluation = Evaluation(0.689, (0.5, 0.689), torch.eye(2), {"1": 2.25, "3": 0.5}, 1000, 1.234)
    assert str(evaluation) == "accuracy 68.9 % (689 of 1000 samples), 1.2 s; 2.8 spikes a sample (1: 2.2, 3: 0.5)"
    assert str(Evaluation(1.0, (1.0,), torch.eye(1), {}, 1, 0.5)) == "accuracy 100.0 % (1 of 1 samples), 0.5 s"
    epochs = tuple(Epoch(k, 10 * k, 0.1, 0.5, 0.8, 0.4, 0.9 - 0.1 * k, 2.0) for k in (1, 2))
    assert str(History(epochs, 1, "patience")) == "2 epochs in 4 s; best 1: validation accuracy 80.0 %; stopped early"
    assert str(History((Epoch(1, 10, 0.1, 0.5, 0.75, None, None, 2.0),), 1, "epochs")).endswith("accuracy 75.0 %")
    assert str(History()) == "no epochs yet"


def test_accuracy_is_the_share_itself() -> None:
    net = snnkit.Network(nn.Linear(1, 2))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[0.0], [1.0]]))
        net[0].bias.copy_(torch.tensor([0.5, 0.0]))
    inputs = torch.ones(1000, 1, 1)
    found = evaluate(net, (inputs, (torch.arange(1000) < 689).long()))
    assert found.accuracy == 0.689


def test_the_images_of_a_data_set_are_named_where_a_split_comes() -> None:
    split = snnkit.data.load("digits").validation
    with pytest.raises(InputError, match=r"split is a Split; .*; type \(split\.images, split\.labels\), and encode="):
        evaluate(snnkit.Network(nn.Linear(64, 10)), split)
