"""Training learns, and a run that stops anywhere and resumes ends with the same bits as one that did not."""

import csv
import math
import random

import numpy
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset

import snnkit
from snnkit.errors import BackendError, FileError, InputError, MissingPackageError
from snnkit.train.checkpoint import latest_checkpoint
from snnkit.train.recipe import TrainSettings
from snnkit.train.trainer import fit


class InterruptedRunError(Exception):
    """Stands for the end of a process."""


def data(samples=48, steps=6, features=5, classes=3, seed=0):
    """Return sequences [samples, steps, features] whose class shows in which features are active."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.arange(samples) % classes
    inputs = torch.rand(samples, steps, features, generator=generator)
    return inputs + 2 * nn.functional.one_hot(target, features)[:, None], target


def network(seed=0, dropout=0.0):
    """Return a small spiking network with first weights from the seed."""
    torch.manual_seed(seed)
    return snnkit.Network(
        nn.Linear(5, 16),
        nn.BatchNorm1d(16),
        snnkit.LIF(tau=2.0, learn=("tau",)),
        nn.Dropout(dropout),
        nn.Linear(16, 3),
        snnkit.Readout(tau=2.0),
    )


def settings(**changed):
    """Return settings for a quick run on the CPU."""
    return TrainSettings(**{"epochs": 3, "batch_size": 10, "lr": 0.02, "accelerator": "cpu"} | changed)


def weights(net):
    """Return all weights and buffers as one flat tensor."""
    return torch.cat([tensor.flatten().double() for tensor in net.state_dict().values()])


def noisy(inputs, generator):
    """Encode with random spikes."""
    return (torch.rand(inputs.shape, generator=generator) < inputs / 3).float().transpose(0, 1)


def test_training_learns():
    net = network()
    history = fit(net, data(), validation=data(seed=1), settings=settings(epochs=8))
    assert history["epoch"] == list(range(1, 9))
    assert history["step"] == [5 * epoch for epoch in range(1, 9)]
    assert history["train_loss"][-1] < history["train_loss"][0] / 2
    assert history["validation_accuracy"][history.best - 1] == 1.0
    assert history.stopped == "epochs"


@pytest.mark.parametrize("loss", ["rate", "last", "max"])
@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_every_loss_and_optimiser_lowers_the_loss(loss, optimiser):
    lr = 0.02 if optimiser == "adamw" else 0.1
    history = fit(network(), data(), settings=settings(epochs=5, loss=loss, optimiser=optimiser, lr=lr))
    assert history["train_loss"][-1] < history["train_loss"][0]


def test_first_spike_times_are_learnt():
    torch.manual_seed(0)
    net = snnkit.Network(nn.Linear(5, 16), snnkit.LIF(tau=2.0), nn.Linear(16, 3), snnkit.LIF(tau=2.0))
    history = fit(net, data(), settings=settings(epochs=10, loss="first_spike"))
    assert history["train_loss"][-1] < history["train_loss"][0]


def test_the_same_seed_gives_the_same_bits_and_another_does_not():
    ends = []
    for seed in (3, 3, 4):
        net = network(dropout=0.3)
        fit(net, data(), encode=noisy, settings=settings(seed=seed))
        ends.append(weights(net))
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


def test_the_callers_randomness_is_untouched():
    before = torch.get_rng_state(), random.getstate(), numpy.random.get_state()[1].tolist()
    net = network().eval()
    torch.set_rng_state(before[0])
    fit(net, data(), settings=settings(epochs=1), encode=noisy)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert numpy.random.get_state()[1].tolist() == before[2]
    assert not net.training, "the caller's mode comes back"


@pytest.mark.parametrize("stop", [1, 2, 4, 5, 6, 9, 12, 14, 15])
def test_a_run_interrupted_after_any_step_resumes_to_the_same_bits(stop, tmp_path):
    options = {
        "validation": data(seed=1),
        "settings": settings(schedule="cosine", gradient_clip=0.5, checkpoint_steps=2, weight_decay=0.01, seed=7),
    }
    whole = network(dropout=0.3)
    expected = fit(whole, data(), encode=noisy, **options)
    calls = 0

    def dying(inputs, generator):
        nonlocal calls
        if torch.is_grad_enabled():
            calls += 1
            if calls > stop:
                raise InterruptedRunError
        return noisy(inputs, generator)

    net = network(dropout=0.3)
    if stop < 15:
        with pytest.raises(InterruptedRunError):
            fit(net, data(), encode=dying, folder=tmp_path, **options)
    else:
        fit(net, data(), encode=dying, folder=tmp_path, **options)
    resumed = network(seed=99)
    resumed[3].p = 0.3
    history = fit(resumed, data(), encode=noisy, folder=tmp_path, resume=True, **options)
    assert torch.equal(weights(resumed), weights(whole))
    for column in ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "lr", "step"):
        assert history[column] == expected[column]
    assert history.best == expected.best


def test_the_log_has_every_epoch_once_after_resuming(tmp_path):
    def dying(epoch):
        if epoch.epoch == 2:
            raise InterruptedRunError

    with pytest.raises(InterruptedRunError):
        fit(network(), data(), settings=settings(), folder=tmp_path, on_epoch=dying)
    seen = []
    fit(network(), data(), settings=settings(), folder=tmp_path, resume=True, on_epoch=seen.append)
    rows = list(csv.DictReader((tmp_path / "history.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert float(rows[2]["train_loss"]) == seen[0].train_loss
    assert [epoch.epoch for epoch in seen] == [3]


def test_resuming_a_finished_run_trains_no_further(tmp_path):
    net = network()
    history = fit(net, data(), validation=data(seed=1), settings=settings(), folder=tmp_path)
    again = network(seed=5)
    seen = []
    resumed = fit(
        again, data(), validation=data(seed=1), settings=settings(), folder=tmp_path, resume=True, on_epoch=seen.append
    )
    assert resumed == history
    assert seen == []
    assert torch.equal(weights(again), weights(net))


def test_more_epochs_continue_a_finished_run(tmp_path):
    fit(network(), data(), settings=settings(), folder=tmp_path)
    longer, whole = network(seed=5), network()
    fit(longer, data(), settings=settings(epochs=5), folder=tmp_path, resume=True)
    fit(whole, data(), settings=settings(epochs=5))
    assert torch.equal(weights(longer), weights(whole))


def test_the_previous_checkpoint_is_used_where_the_last_is_damaged(tmp_path):
    fit(network(), data(), settings=settings(), folder=tmp_path)
    newest = max((tmp_path / "checkpoints").iterdir())
    newest.write_bytes(newest.read_bytes()[:1000])
    net, whole = network(seed=5), network()
    with pytest.warns(UserWarning, match="is damaged"):
        history = fit(net, data(), settings=settings(), folder=tmp_path, resume=True)
    fit(whole, data(), settings=settings())
    assert torch.equal(weights(net), weights(whole))
    assert history["epoch"] == [1, 2, 3]


def test_the_best_weights_are_kept_and_patience_ends_training(tmp_path):
    inputs, target = data(seed=1)
    kept = {}
    net = network()

    def keep(epoch):
        kept[epoch.epoch] = weights(net).clone()

    history = fit(
        net,
        data(),
        validation=(inputs, target.roll(1)),
        settings=settings(epochs=30, patience=3, lr=0.05),
        on_epoch=keep,
        folder=tmp_path,
    )
    assert history.stopped == "patience"
    assert len(history) == history.best + 3 < 30
    merits = [epoch.merit for epoch in history.epochs]
    assert max(merits) == merits[history.best - 1]
    assert torch.equal(weights(net), kept[history.best])
    last = latest_checkpoint(tmp_path / "checkpoints")[1]["model"]
    assert torch.equal(torch.cat([v.flatten().double() for v in last.values()]), kept[len(history)])


def test_padding_changes_nothing():
    inputs, target = data()
    lengths = 1 + torch.arange(48) % 6
    garbage = inputs.clone()
    for sample, length in enumerate(lengths):
        garbage[sample, length:] = 1000.0
    ends = []
    for padded in (inputs, garbage):
        net = network()
        fit(net, (padded, target, lengths), validation=(padded, target, lengths), settings=settings())
        ends.append(weights(net))
    assert torch.equal(*ends)


def test_the_rate_regulariser_moves_rates_into_bounds():
    def rate(net):
        return net.record(data()[0].transpose(0, 1), ["2"])["2"].mean().item()

    plain, pushed = network(), network()
    fit(plain, data(), settings=settings(epochs=6))
    fit(pushed, data(), settings=settings(epochs=6, rate_regulariser={"low": 0.0, "high": 0.02, "weight": 50.0}))
    assert rate(pushed) < rate(plain) / 1.5


def test_neuron_parameters_are_learnt_and_not_decayed():
    net = network()
    fit(net, data(), settings=settings(epochs=1, lr=1e-9, optimiser="sgd", momentum=0.0, weight_decay=1e7))
    fresh = network()
    assert torch.allclose(net[2].values()["tau"], fresh[2].values()["tau"])
    assert torch.allclose(net[0].bias, fresh[0].bias)
    assert not torch.allclose(net[0].weight, fresh[0].weight)
    fit(net, data(), settings=settings(epochs=1))
    assert not torch.equal(net[2].values()["tau"], fresh[2].values()["tau"])


def test_the_gradient_is_clipped_and_the_learning_rate_follows_its_schedule():
    net, start = network(), network()
    history = fit(
        net,
        data(),
        settings=settings(
            optimiser="sgd", momentum=0.0, lr=1.0, gradient_clip=1e-3, schedule="cosine", weight_decay=0.0
        ),
    )
    assert history["lr"] == pytest.approx([0.5 + 0.5 * math.cos(math.pi * step / 15) for step in (4, 9, 14)])
    moved = [(now - then).square().sum() for now, then in zip(net.parameters(), start.parameters(), strict=True)]
    steps = sum(0.5 + 0.5 * math.cos(math.pi * step / 15) for step in range(15))
    assert 0 < torch.stack(moved).sum().sqrt().item() <= steps * 1e-3 * 1.001


class Augmented(Dataset):
    """Sequences with noise from the global generators, and lengths of their own."""

    def __init__(self, ragged=False):
        self.inputs, self.target = data()
        self.ragged = ragged
        self.reads = 0

    def __len__(self):
        return len(self.target)

    def __getitem__(self, index):
        self.reads += 1
        noise = torch.rand(5) + random.random() + numpy.random.rand()
        if not self.ragged:
            return self.inputs[index] + noise.float(), self.target[index]
        length = 1 + index % 6
        return self.inputs[index, :length], self.target[index], length


def test_data_sets_with_random_augmentation_resume_to_the_same_bits(tmp_path):
    whole = network()
    fit(whole, Augmented(), settings=settings())

    class Dying(Augmented):
        def __getitem__(self, index):
            if self.reads == 80:
                raise InterruptedRunError
            return super().__getitem__(index)

    with pytest.raises(InterruptedRunError):
        fit(network(), Dying(), settings=settings(checkpoint_steps=1), folder=tmp_path)
    resumed = network(seed=5)
    fit(resumed, Augmented(), settings=settings(checkpoint_steps=1), folder=tmp_path, resume=True)
    assert torch.equal(weights(resumed), weights(whole))


def test_ragged_data_sets_are_padded():
    inputs, target = data()
    lengths = 1 + torch.arange(48) % 6
    from_items, from_tensors = network(), network()
    fit(from_items, Augmented(ragged=True), settings=settings(epochs=1))
    fit(from_tensors, (inputs, target, lengths), settings=settings(epochs=1))
    torch.testing.assert_close(weights(from_items), weights(from_tensors))


def test_a_tensor_data_set_is_its_tensors():
    one, other = network(), network()
    fit(one, data(), settings=settings(epochs=1))
    fit(other, TensorDataset(*data()), settings=settings(epochs=1))
    assert torch.equal(weights(one), weights(other))


def test_plain_torch_modules_and_ones_own_loss_train():
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(5, 3)

        def forward(self, x):
            return self.linear(x).cumsum(0)

    def loss(y, target):
        return nn.functional.cross_entropy(y[-1], target)

    torch.manual_seed(0)
    history = fit(Plain(), data(), settings=settings(loss=loss, read="last", epochs=5))
    assert history["train_loss"][-1] < history["train_loss"][0]


def test_ones_own_loss_is_told_of_lengths():
    told = []

    def loss(y, target, lengths):
        told.append(lengths)
        return nn.functional.cross_entropy(y[-1], target)

    x, labels = data(samples=4)
    fit(network(), (x, labels, torch.tensor([1, 2, 3, 4])), settings=settings(loss=loss, read="last", epochs=1))
    assert sorted(torch.cat(told).tolist()) == [1, 2, 3, 4]


def test_shares_of_classes_train_as_their_labels_do():
    x, labels = data()
    hard, soft = network(), network()
    with_labels = fit(hard, (x, labels), settings=settings(), validation=(x, labels))
    shares = nn.functional.one_hot(labels, 3).float()
    with_shares = fit(soft, (x, shares), settings=settings(), validation=(x, shares))
    assert with_shares["train_accuracy"] == with_labels["train_accuracy"]
    assert with_shares["validation_accuracy"] == with_labels["validation_accuracy"]
    torch.testing.assert_close(weights(soft), weights(hard))


def test_bfloat16_trains():
    history = fit(network(), data(), validation=data(seed=1), settings=settings(precision="bf16-mixed", epochs=6))
    assert history["validation_accuracy"][history.best - 1] > 0.9


def test_tensorboard_logs_every_epoch_once(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def dying(epoch):
        if epoch.epoch == 2:
            raise InterruptedRunError

    with pytest.raises(InterruptedRunError):
        fit(network(), data(), settings=settings(tensorboard=True), folder=tmp_path, on_epoch=dying)
    history = fit(network(), data(), settings=settings(tensorboard=True), folder=tmp_path, resume=True)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    scalars = events.Scalars("train_loss")
    assert [scalar.step for scalar in scalars] == [1, 2, 3]
    assert [scalar.value for scalar in scalars] == pytest.approx(history["train_loss"])


def test_missing_tensorboard_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingPackageError, match=r"need the package tensorboard; type pip install tensorboard"):
        fit(network(), data(), settings=settings(tensorboard=True), folder=tmp_path)


def test_a_used_folder_is_not_overwritten(tmp_path):
    fit(network(), data(), settings=settings(epochs=1), folder=tmp_path)
    with pytest.raises(
        FileError, match=r"holds checkpoints of an earlier run; type resume=True to continue it .*--resume"
    ):
        fit(network(), data(), settings=settings(epochs=1), folder=tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"settings": settings(lr=0.5)}, r"was written with lr = 0.02 and this run has 0.5; type the same"),
        ({"train": data(samples=47)}, r"was written with training samples = 48 and this run has 47"),
        ({"validation": data()}, r"was written with validation samples = 0 and this run has 48"),
        ({"net": nn.Linear(5, 3)}, r"was written with weight weight = None and this run has \[3, 5\]"),
    ],
)
def test_another_run_is_not_resumed(tmp_path, change, message):
    options = {"net": network(), "train": data(), "settings": settings(), "folder": tmp_path}
    fit(options.pop("net"), options.pop("train"), **options)
    options = {"net": network(), "train": data()} | options | change
    with pytest.raises(FileError, match=message):
        fit(options.pop("net"), options.pop("train"), resume=True, **options)


def test_what_may_change_on_resumption_may(tmp_path):
    fit(network(), data(), settings=settings(), folder=tmp_path)
    changed = settings(checkpoint_steps=3, checkpoint_seconds=None, accelerator="auto")
    if not torch.cuda.is_available():
        assert len(fit(network(), data(), settings=changed, folder=tmp_path, resume=True)) == 3


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (3, r"train is a int; needed is \(inputs, targets\)"),
        ([torch.zeros(3, 2, 1)], r"train is a list of \['Tensor'\]; needed is"),
        ((torch.zeros(3, 2, 5), [0, 1, 2]), r"train is a tuple of \['Tensor', 'list'\]"),
        ((torch.zeros(3, 2, 5), torch.zeros(2).long()), r"train has tensors of \[3, 2\] samples"),
        ((torch.zeros(0, 2, 5), torch.zeros(0).long()), r"train has tensors of \[0, 0\] samples.*at least 1"),
        (torch.utils.data.Subset(Augmented(), []), r"train is an empty or endless Subset; needed are counted samples"),
    ],
)
def test_bad_data_are_named(train, message):
    with pytest.raises(InputError, match=message):
        fit(network(), train, settings=settings())


def test_bad_calls_are_named(tmp_path):
    with pytest.raises(InputError, match=r"patience needs validation data to watch; type validation="):
        fit(network(), data(), settings=settings(patience=2))
    with pytest.raises(InputError, match=r"settings is a dict; type settings=TrainSettings\(epochs="):
        fit(network(), data(), settings={"epochs": 2})
    with pytest.raises(InputError, match=r"resume=True needs the folder of the run; type folder="):
        fit(network(), data(), settings=settings(), resume=True)
    with pytest.raises(InputError, match=r"this Linear has nothing to learn; it needs a layer with weights"):
        fit(nn.Linear(5, 3).requires_grad_(False), data(), settings=settings())
    with pytest.raises(InputError, match=r"rate_regulariser needs spiking layers and this Network has none"):
        fit(snnkit.Network(nn.Linear(5, 3)), data(), settings=settings(rate_regulariser={}))
    with pytest.raises(
        BackendError, match=r"CUDA devices are asked for and \d are there; type (devices = [1-9] or )?acc"
    ):
        fit(network(), data(), settings=settings(accelerator="cuda", devices=10))


def test_divergence_is_named_and_not_saved(tmp_path):
    class Exploding(nn.Linear):
        def forward(self, x):
            return super().forward(x).exp().exp()

    with pytest.raises(InputError, match=r"training diverged in epoch 1 at step \d: .* not finite; type a smaller lr"):
        fit(Exploding(5, 3), data(), settings=settings(lr=1e6, optimiser="sgd"), folder=tmp_path)
    saved = latest_checkpoint(tmp_path / "checkpoints")[1]
    assert all(tensor.isfinite().all() for tensor in saved["model"].values())
