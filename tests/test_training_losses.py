"""Losses equal their closed forms, ignore padding, and refuse what they cannot take."""

import math

import pytest
import torch

from snnkit.errors import InputError
from snnkit.train import losses

MODES = list(losses.LOSSES)


def sequence(*steps):
    """Return [T, 1, C] from one row of outputs per step."""
    return torch.tensor(steps, dtype=torch.float32)[:, None]


def softmax_loss(logits, label):
    """Return -log softmax(logits)[label], by hand."""
    return math.log(sum(math.exp(value) for value in logits)) - logits[label]


@pytest.mark.parametrize(
    ("mode", "logits"),
    [("rate", (1.0, 2.0)), ("last", (0.0, 4.0)), ("max", (3.0, 4.0)), ("first_spike", (0.0, 0.0))],
)
def test_closed_forms(mode, logits):
    y = sequence((3.0, 1.0), (0.0, 1.0), (1.0, 2.0), (0.0, 4.0))
    loss = losses.LOSSES[mode](y, torch.tensor([1]))
    assert loss.item() == pytest.approx(softmax_loss(logits, 1), rel=1e-5)


def test_the_mean_is_over_the_batch():
    y = torch.randn(6, 4, 3)
    target = torch.tensor([0, 1, 2, 1])
    for loss in losses.LOSSES.values():
        single = [loss(y[:, [b]], target[[b]]) for b in range(4)]
        torch.testing.assert_close(loss(y, target), torch.stack(single).mean())


@pytest.mark.parametrize("mode", MODES)
def test_shares_of_classes_weigh_the_losses_of_labels(mode):
    loss, y = losses.LOSSES[mode], torch.randn(6, 4, 3, dtype=torch.float64)
    lengths, labels, others = torch.tensor([6, 2, 3, 1]), torch.tensor([0, 1, 2, 1]), torch.tensor([2, 1, 0, 0])
    hard = torch.nn.functional.one_hot(labels, 3)
    torch.testing.assert_close(loss(y, hard.double(), lengths=lengths), loss(y, labels, lengths=lengths))
    soft = 0.75 * hard + 0.25 * torch.nn.functional.one_hot(others, 3)
    expected = 0.75 * loss(y, labels, lengths=lengths) + 0.25 * loss(y, others, lengths=lengths)
    torch.testing.assert_close(loss(y, soft, lengths=lengths), expected)
    assert losses.labels_of(soft).tolist() == labels.tolist()


def test_first_spike_times_count_the_silent_steps():
    spikes = sequence((0, 1, 0, 0), (0, 1, 0, 2), (1, 0, 0, 1))
    assert losses.first_spike_times(spikes).tolist() == [[2.0, 0.0, 3.0, 1.0]]


def test_time_to_first_spike_scales_with_tau():
    spikes = sequence((1, 0), (0, 0), (0, 1), (0, 0))
    for tau in (0.5, 2.0):
        loss = losses.time_to_first_spike(spikes, torch.tensor([1]), tau=tau)
        assert loss.item() == pytest.approx(softmax_loss((0.0, -2.0 / tau), 1), rel=1e-6)


def test_time_to_first_spike_pulls_the_right_spike_earlier():
    spikes = sequence((0, 0), (0, 1), (1, 0), (0, 0)).requires_grad_()
    losses.time_to_first_spike(spikes, torch.tensor([0])).backward()
    gradient = spikes.grad[:, 0]
    assert (gradient[:2, 0] < 0).all(), "more drive before the first spike must lower the loss of its class"
    assert (gradient[0, 1] > 0).all(), "more drive of a rival must raise the loss"
    assert gradient[0, 0] / gradient[1, 0] == pytest.approx(2.0), "dt/ds_u is the number of steps left"


def test_regulariser_is_the_mean_squared_excess_per_neuron():
    spikes = torch.zeros(10, 2, 3)
    spikes[:5, :, 1] = 1.0
    spikes[:, :, 2] = 1.0
    penalty = losses.firing_rate_regulariser(spikes, low=0.1, high=0.6)
    assert penalty.item() == pytest.approx((0.1**2 + 0.0 + 0.4**2) / 3)


def test_regulariser_takes_channels():
    spikes = torch.rand(5, 2, 3, 4, 4)
    flat = losses.firing_rate_regulariser(spikes.flatten(2), low=0.5, high=0.5)
    torch.testing.assert_close(losses.firing_rate_regulariser(spikes, low=0.5, high=0.5), flat)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("garbage", [1e9, float("nan"), float("inf")])
def test_padding_changes_nothing(mode, garbage):
    lengths = torch.tensor([7, 3, 1])
    target = torch.tensor([0, 1, 3])
    clean = (torch.rand(7, 3, 4) > 0.7).float() + 0.1
    padded = clean.clone()
    for sample, length in enumerate(lengths):
        padded[length:, sample] = garbage
    padded.requires_grad_()
    loss = losses.LOSSES[mode](padded, target, lengths=lengths)
    alone = [losses.LOSSES[mode](clean[: lengths[b], [b]], target[[b]]) for b in range(3)]
    torch.testing.assert_close(loss.detach(), torch.stack(alone).mean())
    loss.backward()
    for sample, length in enumerate(lengths):
        assert (padded.grad[length:, sample] == 0).all()
    assert padded.grad.isfinite().all()


@pytest.mark.parametrize("garbage", [1e9, float("nan")])
def test_padding_changes_no_rate(garbage):
    lengths = torch.tensor([4, 2])
    spikes = torch.rand(4, 2, 3)
    spikes[2:, 1] = garbage
    valid = torch.cat([spikes[:, 0], spikes[:2, 1]]).mean(0)
    penalty = losses.firing_rate_regulariser(spikes, low=0.9, high=0.9, lengths=lengths)
    torch.testing.assert_close(penalty, ((valid - 0.9) ** 2).mean())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("garbage", [1e9, float("nan")])
def test_padding_changes_no_prediction(mode, garbage):
    lengths = torch.tensor([9, 4, 1, 6])
    clean = (torch.rand(9, 4, 5) > 0.8).float() + torch.rand(9, 4, 5) / 100
    padded = clean.clone()
    for sample, length in enumerate(lengths):
        padded[length:, sample] = garbage
    named = losses.predictions_over_time(padded, mode, lengths)
    for sample, length in enumerate(lengths):
        alone = losses.predictions_over_time(clean[:length, [sample]], mode)[:, 0]
        assert torch.equal(named[:length, sample], alone)
        assert (named[length:, sample] == alone[-1]).all(), "the last prediction stays past the end"
    assert torch.equal(losses.predictions(padded, mode, lengths), named[-1])


@pytest.mark.parametrize("mode", MODES)
def test_predictions_over_time_read_only_the_past(mode):
    y = (torch.rand(8, 6, 3) > 0.6).float() + torch.rand(8, 6, 3) / 10
    named = losses.predictions_over_time(y, mode)
    for step in range(8):
        assert torch.equal(named[step], losses.predictions(y[: step + 1], mode))


@pytest.mark.parametrize("mode", MODES)
def test_following_the_gradient_makes_the_prediction_right(mode):
    y = torch.rand(5, 8, 4).requires_grad_()
    target = torch.arange(8) % 4
    for _ in range(500):
        (gradient,) = torch.autograd.grad(losses.LOSSES[mode](y, target), y)
        with torch.no_grad():
            y.sub_(gradient * 8).clamp_(0, 1)
    assert torch.equal(losses.predictions(y.detach(), mode), target)


def test_sums_over_time_keep_full_precision_in_half_precision():
    y = torch.zeros(4096, 1, 2, dtype=torch.bfloat16)
    y[:300, :, 0] = 1
    y[:303, :, 1] = 1
    assert losses.predictions(y, "rate").item() == 1
    loss = losses.rate_cross_entropy(y, torch.tensor([1]))
    torch.testing.assert_close(loss, losses.rate_cross_entropy(y.float(), torch.tensor([1])))


def good(**changed):
    """Return arguments that a loss takes, with some replaced."""
    arguments = {"y": torch.zeros(5, 2, 3), "target": torch.tensor([0, 1]), "lengths": torch.tensor([5, 2])}
    return arguments | changed


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"y": torch.zeros(5, 2)}, r"shape \[5, 2\]; needed is \[T, B, C\].*type net\(x\)"),
        ({"y": torch.zeros(0, 2, 3)}, r"shape \[0, 2, 3\].*nothing empty"),
        ({"y": torch.zeros(5, 0, 3)}, r"shape \[5, 0, 3\].*nothing empty"),
        ({"target": torch.tensor([0, 1, 2])}, r"target has shape \[3\].*shape \[2\]"),
        ({"target": torch.tensor([0.0, 1.0])}, r"type torch.float32; needed is one whole number per sample"),
        ({"target": torch.eye(2)}, r"target has shape \[2, 2\]; shares of 3 classes have shape \[2, 3\]"),
        ({"target": torch.eye(2).long()}, r"type torch.int64; needed is one .*, or shares of the classes, floating"),
        (
            {"target": torch.tensor([[0.5, 0.4, 0.0], [1.0, 0.0, 0.0]])},
            r"rows sum to 0.9..1.*shares of classes are at least 0",
        ),
        (
            {"target": torch.tensor([[2.0, -1.0, 0.0], [1.0, 0.0, 0.0]])},
            r"its least value is -1; .*type target.softmax\(1\)",
        ),
        ({"target": torch.tensor([0, 3])}, r"labels run from 0 to 3; 3 outputs need labels in 0..2"),
        ({"target": torch.tensor([-1, 0])}, r"labels run from -1 to 0"),
        ({"lengths": torch.tensor([5])}, r"lengths has shape \[1\].*shape \[2\]"),
        ({"lengths": torch.tensor([5.0, 1.0])}, r"lengths has .*float32; needed is one whole number"),
        ({"lengths": torch.tensor([0, 5])}, r"lengths run from 0 to 5; needed is 1..5"),
        ({"lengths": torch.tensor([2, 6])}, r"lengths run from 2 to 6; needed is 1..5"),
    ],
)
def test_bad_arguments_are_named(changed, message):
    for loss in losses.LOSSES.values():
        arguments = good(**changed)
        with pytest.raises(InputError, match=message):
            loss(arguments["y"], arguments["target"], lengths=arguments["lengths"])


def test_bad_rates_modes_and_time_constants_are_named():
    with pytest.raises(InputError, match=r"low is 0.5 and high is 0.1; needed is 0 <= low <= high"):
        losses.firing_rate_regulariser(torch.zeros(3, 2, 1), low=0.5, high=0.1)
    with pytest.raises(InputError, match=r"spikes has shape \[3\]; needed is \[T, B, …\]"):
        losses.firing_rate_regulariser(torch.zeros(3))
    with pytest.raises(InputError, match=r"tau is 0; time_to_first_spike needs tau above 0"):
        losses.time_to_first_spike(torch.zeros(3, 1, 2), torch.tensor([0]), tau=0)
    with pytest.raises(InputError, match=r"mode is 'lst'; needed is one of rate, last.*mean 'last'"):
        losses.predictions(torch.zeros(3, 1, 2), "lst")
    with pytest.raises(InputError, match=r"loss is 'rates'; needed is one of rate.*did you mean 'rate'"):
        losses.loss_function("rates")
    with pytest.raises(InputError, match=r"outputs have shape \[3\]"):
        losses.predictions(torch.zeros(3))


def test_a_loss_function_of_ones_own_is_kept():
    assert losses.loss_function("max") is losses.max_membrane
    assert losses.loss_function(losses.last_membrane) is losses.last_membrane
