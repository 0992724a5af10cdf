"""Frames are the counts of their definition, with the lengths of their recordings, and variation is repeatable."""

import ast
import doctest
import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import snnkit
from snnkit.data import Events, FramedEvents, FramedSignals, Signals, augment, binning, events, framed, frames, signals
from snnkit.errors import DataError, InputError
from snnkit.train.batches import Batches

CLASSES = ("no", "yes", "maybe")


def recordings(shape=(13,), count=7, most=60, span=50_000, seed=0) -> Events:
    """Return random recordings, one of them empty, some with a silent gap."""
    draw = np.random.default_rng(seed)
    found = []
    for index in range(count):
        size = 0 if index == 2 else int(draw.integers(1, most))
        times = np.sort(draw.integers(0, span, size))
        times[size // 2 :] += 40_000 * (index % 2)
        found.append((times, draw.integers(0, math.prod(shape), size)))
    labels = draw.integers(0, 3, count)
    return Events.build(found, labels, shape=shape, classes=CLASSES)


def generator(seed=0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def by_hand(times, addresses, shape, *, step, steps, pool, squeezed=False):
    """Count event by event, as the definitions say; returns frames [T, …] and bins up to the last event."""
    pooled = tuple(-(-size // pool) if axis >= len(shape) - 2 else size for axis, size in enumerate(shape))
    bins, start, bin_ = [], None, -1
    for time in times.tolist():
        if squeezed and (start is None or time - start > step):
            start, bin_ = time, bin_ + 1
        bins.append(bin_ if squeezed else time // step)
    length = bins[-1] + 1 if bins else 1
    x = np.zeros((steps or length, *pooled), np.float32)
    for place, address in zip(bins, addresses.tolist(), strict=True):
        index = np.unravel_index(address, shape)
        index = tuple(i // pool if axis >= len(shape) - 2 else i for axis, i in enumerate(index))
        if place < len(x):
            x[(place, *index)] += 1
    return x, length


@pytest.mark.parametrize("module", [augment, binning, events, framed, signals], ids=lambda module: module.__name__)
def test_docstrings_run(module):
    result = doctest.testmod(module)
    assert result.attempted > 0 and result.failed == 0


@pytest.mark.parametrize("kind", ["uniform", "squeezed"])
@pytest.mark.parametrize("steps", [None, 3, 200])
@pytest.mark.parametrize(("shape", "pool"), [((13,), 1), ((13,), 5), ((2, 6, 5), 1), ((2, 6, 5), 4), ((6, 5), 2)])
def test_frames_are_the_counts_of_their_definition(shape, pool, steps, kind):
    found = recordings(shape)
    x, lengths = frames(found, step=1000, steps=steps, pool=pool, binning=kind)
    assert (x.dtype, lengths.dtype) == (torch.float32, torch.int64)
    for index in range(len(found)):
        wanted, length = by_hand(
            *found.recording(index), shape, step=1000, steps=steps, pool=pool, squeezed=kind == "squeezed"
        )
        assert lengths[index] == min(length, x.shape[0])
        assert np.array_equal(x[: len(wanted), index].numpy(), wanted[: x.shape[0]])
        assert not x[len(wanted) :, index].any()
    assert x.shape[0] == (steps or int(lengths.max()))


def test_a_bin_holds_its_start_and_not_its_end():
    one = Events.build([([0, 999, 1000, 2000], [0, 0, 0, 0])], [0], shape=(1,), classes=CLASSES)
    assert frames(one, step=1000)[0].flatten().tolist() == [2, 1, 1]


def test_time_runs_from_the_start_of_the_recording_and_not_from_its_first_event():
    late = Events.build([([5000], [0])], [0], shape=(1,), classes=CLASSES)
    x, lengths = frames(late, step=1000)
    assert x.flatten().tolist() == [0, 0, 0, 0, 0, 1] and lengths.tolist() == [6]


def test_squeezed_bins_start_at_an_event_and_hold_their_end():
    times = [0, 5, 10, 11, 500, 505, 511]
    one = Events.build([(times, [0] * 7)], [0], shape=(1,), classes=CLASSES)
    assert frames(one, step=10, binning="squeezed")[0].flatten().tolist() == [3, 1, 2, 1]
    assert frames(one, step=10)[0].sum() == 7 and len(frames(one, step=10)[0]) == 52


def peer_binning():
    """Return SpikingJelly's own function, taken from its file: importing the file would import torchvision."""
    spec = importlib.util.find_spec("spikingjelly")
    if spec is None or spec.origin is None:
        pytest.skip("SpikingJelly is not installed")
    tree = ast.parse((Path(spec.origin).parent / "datasets" / "shd.py").read_text())
    names = {"_integrate_events_segment_to_frame", "_integrate_events_by_fixed_duration"}
    tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in names]
    space = {"np": np, "math": math}
    exec(compile(tree, "spikingjelly", "exec"), space)
    return space["_integrate_events_by_fixed_duration"]


def test_uniform_frames_are_spikingjellys_where_the_first_event_is_at_0():
    theirs, found = peer_binning(), recordings((11,), count=12)
    for index in range(len(found)):
        times, channels = found.recording(index)
        if not len(times):
            continue
        times = times - times[0]
        if not times[-1] % 10_000:
            continue
        one = Events.build([(times, channels)], [0], shape=(11,), classes=CLASSES)
        wanted = theirs({"t": times / 1000 / 1000, "x": channels}, 10, 11)
        assert np.array_equal(frames(one, step=10_000)[0][:, 0].numpy(), wanted)


def test_binary_frames_say_whether_and_not_how_many():
    found = recordings()
    counts, _ = frames(found, step=5000)
    ones, _ = frames(found, step=5000, binary=True)
    assert counts.max() > 1 and torch.equal(ones, (counts > 0).float())


def test_indices_choose_and_order_the_recordings():
    found = recordings()
    whole, lengths = frames(found, step=1000)
    for indices in ([5, 0, 5], torch.tensor([5, 0, 5]), np.array([5, 0, 5])):
        x, some = frames(found, indices, step=1000)
        assert torch.equal(x, whole[: len(x), [5, 0, 5]]) and torch.equal(some, lengths[[5, 0, 5]])
    chosen = found.select(found.labels == 1)
    assert set(chosen.labels.tolist()) == {1} and len(chosen) == int((found.labels == 1).sum())
    assert torch.equal(frames(found, slice(2, 4), step=1000)[1], lengths[2:4])


def test_an_empty_recording_is_one_silent_step():
    empty = Events.build([([], [])], [0], shape=(3,), classes=CLASSES)
    x, lengths = frames(empty, step=1000, pool=3)
    assert x.shape == (1, 1, 1) and not x.any() and lengths.tolist() == [1]
    assert frames(empty, step=1000, steps=4, binning="squeezed")[1].tolist() == [1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"step": 0}, r"step is 0; a whole number of at least 1 is needed, e.g. step=10_000 for 10 ms"),
        ({"step": 0.5}, r"step is 0.5; a whole number"),
        ({"step": 10, "steps": 0}, r"steps is 0; a whole number"),
        ({"step": 10, "pool": -1}, r"pool is -1; a whole number"),
        ({"step": 10, "binning": "uniformly"}, r"no binning 'uniformly'; did you mean 'uniform'\?; known: uniform, sq"),
        ({"step": 10, "indices": []}, r"there are no recordings to bin"),
        ({"step": 10, "indices": [7]}, r"the indices do not choose among 7 recordings \(index 7 is out of bounds"),
        ({"step": 10, "indices": [0.5]}, r"the indices do not choose among 7 recordings"),
        ({"step": 1, "steps": 1 << 40}, r"frames of \[1099511627776, 7, 13\] take .* GiB; bin fewer recordings"),
    ],
)
def test_frames_refuse_what_cannot_be_meant(settings, message):
    with pytest.raises(InputError, match=message):
        frames(recordings(), **settings)


def test_a_wrong_unit_of_time_is_an_error_and_no_full_memory():
    one = Events.build([([10**15], [0])], [0], shape=(1,), classes=CLASSES)
    with pytest.raises(InputError, match=r"times and step are in microseconds"):
        frames(one, step=1)


@pytest.mark.parametrize(
    ("times", "addresses", "message"),
    [
        ([3, 1], [0, 0], r"recording 0 has unsorted times: 1 follows 3 at event 1; sort them first, or type sort = tr"),
        ([-1, 1], [0, 0], r"recording 0 has the negative time -1; times count microseconds from its start"),
        ([0.5], [0], r"recording 0 has times of type float64; whole numbers are needed: times in microseconds"),
        ([5], [0.5], r"recording 0 has addresses of type float64"),
        ([5], [4], r"recording 0 has addresses from 4 to 4; the shape has room for 0 to 3"),
        ([5, 6], [-1, 0], r"recording 0 has addresses from -1 to 0"),
        ([5, 6], [0], r"times of shape \[2\] and addresses of shape \[1\]; one time and one address"),
        ([[5]], [[0]], r"times of shape \[1, 1\]"),
    ],
)
def test_recordings_are_checked(times, addresses, message):
    with pytest.raises(DataError, match=message):
        Events.build([(times, addresses)], [0], shape=(4,), classes=CLASSES)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"labels": [3]}, r"labels run from 3 to 3; their names allow 0 to 2"),
        ({"labels": [0, 1]}, r"labels have shape \[2\].*one whole number for each of 1 recordings"),
        ({"labels": [0.0]}, r"labels have shape \[1\] and type float64"),
        ({"labels": [0], "groups": [0]}, r"groups run from 0 to 0; their names allow -1 to -1"),
    ],
)
def test_labels_and_groups_are_checked(fields, message):
    labels = fields.pop("labels")
    with pytest.raises(DataError, match=message):
        Events.build([([0], [0])], labels, shape=(4,), classes=CLASSES, **fields)


def test_arrays_that_do_not_fit_each_other_are_refused():
    good = recordings()
    with pytest.raises(DataError, match=r"have lengths .*; the offsets of 7 recordings ask for"):
        Events(good.times[:-1], good.addresses, good.offsets, good.labels, good.groups, good.shape, CLASSES)
    with pytest.raises(IndexError):
        good.recording(7)
    with pytest.raises(DataError, match=r"values have shape \[3, 2\]"):
        Signals(np.zeros((3, 2), np.float32), np.array([0, 2]), np.zeros(1), np.zeros(1), CLASSES)
    with pytest.raises(InputError, match="there are no recordings to put together"):
        Signals(np.zeros((2, 2), np.float32), np.array([0, 2]), np.zeros(1), np.zeros(1), CLASSES).batch([])


VARIATIONS = {
    "jitter_times": lambda found, x, g: augment.jitter_times(found, std=3000.0, generator=g).times,
    "jitter_channels": lambda found, x, g: augment.jitter_channels(found, std=2.0, generator=g).addresses,
    "mask_time": lambda found, x, g: augment.mask_time(*x, longest=9, chance=0.5, generator=g),
    "mask_channels": lambda found, x, g: augment.mask_channels(x[0], most=4, chance=0.5, generator=g),
    "blend": lambda found, x, g: augment.blend(*x, torch.from_numpy(found.labels), classes=3, chance=0.5, generator=g)[
        0
    ],
}


@pytest.mark.parametrize("name", VARIATIONS)
def test_variation_follows_its_generator_and_leaves_its_input(name):
    found = recordings(count=9)
    x = frames(found, step=1000)
    kept = x[0].clone(), found.times.copy(), found.addresses.copy()
    first, again, other = (VARIATIONS[name](found, x, generator(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert first.shape != other.shape or not np.array_equal(first, other)
    assert torch.equal(x[0], kept[0])
    assert np.array_equal(found.times, kept[1]) and np.array_equal(found.addresses, kept[2])


def test_jitter_keeps_events_sorted_inside_and_near_their_place():
    found = recordings((50,), most=400)
    moved = augment.jitter_times(found, std=500.0, generator=generator())
    for index in range(len(found)):
        before, after = found.recording(index), moved.recording(index)
        assert (np.diff(after[0]) >= 0).all() and (after[0] >= 0).all()
        assert sorted(before[1]) == sorted(after[1])
    shift = moved.times.astype(float).mean() - found.times.mean()
    assert 0 < abs(shift) < 100
    nearby = augment.jitter_channels(found, std=2.0, generator=generator())
    assert len(nearby.times) < len(found.times)
    assert (nearby.addresses >= 0).all() and (nearby.addresses < 50).all()
    assert len(nearby.offsets) == len(found.offsets) and nearby.offsets[-1] == len(nearby.times)
    middle = Events.build([(np.arange(3000), np.full(3000, 25))], [0], shape=(50,), classes=CLASSES)
    spread = augment.jitter_channels(middle, std=2.0, generator=generator()).addresses
    assert abs(spread.mean() - 25) < 0.2 and abs(spread.std() - 2.0) < 0.2


def test_jitter_moves_pixels_along_both_axes_and_leaves_polarity():
    place = np.ravel_multi_index((1, 10, 20), (2, 34, 34))
    camera = Events.build([(np.arange(500), np.full(500, place))], [0], shape=(2, 34, 34), classes=CLASSES)
    moved = np.unravel_index(augment.jitter_channels(camera, std=1.0, generator=generator()).addresses, (2, 34, 34))
    assert set(moved[0]) == {1} and len(set(moved[1])) > 2 and len(set(moved[2])) > 2
    assert abs(moved[1].mean() - 10) < 0.3 and abs(moved[2].mean() - 20) < 0.3


def test_masks_silence_one_stretch_within_a_recording_and_no_more():
    x, lengths = torch.ones(40, 64, 20), torch.arange(1, 65).clamp(max=40)
    masked = augment.mask_time(x, lengths, longest=7, chance=0.65, generator=generator())
    silent = (masked == 0).all(-1)
    assert torch.equal(silent, (masked == 0).any(-1))
    for column, length in zip(silent.T, lengths, strict=True):
        places = column.nonzero().flatten()
        assert len(places) <= 7
        assert not len(places) or ((places.diff() == 1).all() and places[-1] < length)
    assert 0.45 < silent.any(0).float().mean() < 0.85
    assert {int(column.sum()) for column in silent.T} >= set(range(8))
    bands = (augment.mask_channels(x, most=4, chance=1.0, generator=generator()) == 0).all(0)
    assert set(bands.sum(1).tolist()) == {1, 2, 3, 4}
    assert all((band.nonzero().flatten().diff() == 1).all() for band in bands)


def test_blended_labels_are_the_shares_of_the_steps():
    x = torch.arange(6.0).reshape(1, 6, 1).expand(50, 6, 1)
    lengths, labels = torch.tensor([50, 50, 50, 20, 50, 50]), torch.arange(6)
    mixed, targets = augment.blend(x, lengths, labels, classes=6, chance=1.0, generator=generator(3))
    assert torch.allclose(targets.sum(1), torch.ones(6))
    for sample in range(6):
        steps = mixed[: lengths[sample], sample, 0].long()
        shares = torch.bincount(steps, minlength=6) / lengths[sample]
        assert torch.allclose(shares, targets[sample], atol=1e-6)
    same, own = augment.blend(x, lengths, labels, classes=6, chance=0.0, generator=generator())
    assert torch.equal(same, x) and torch.equal(own, torch.eye(6))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: augment.jitter_times(recordings(), std=-1.0, generator=generator()), "std is -1.0; a number of at l"),
        (
            lambda: augment.mask_time(
                torch.ones(2, 1, 1), torch.ones(1).long(), longest=0, chance=1.0, generator=generator()
            ),
            "longest mask is 0",
        ),
        (lambda: augment.mask_channels(torch.ones(2, 1, 1), most=1, chance=2.0, generator=generator()), "chance 2.0"),
        (lambda: FramedEvents(recordings(), step=10, binning="squeeze"), "did you mean 'squeezed'"),
    ],
)
def test_variation_refuses_what_cannot_be_meant(call, message):
    with pytest.raises(InputError, match=message):
        call()


def network() -> snnkit.Network:
    torch.manual_seed(0)
    return snnkit.Network(nn.Linear(13, 8), snnkit.LIF(tau=2.0), nn.Linear(8, 3), snnkit.Readout(tau=4.0))


def test_training_takes_events_with_their_lengths():
    found = recordings(count=12)
    batched = FramedEvents(found, step=5000)
    batch = next(iter(Batches(batched, 12).in_order()))
    x, lengths = frames(found, step=5000)
    assert torch.equal(batch.inputs.transpose(0, 1), x) and torch.equal(batch.lengths, lengths)
    settings = snnkit.train.TrainSettings(epochs=2, batch_size=5, lr=0.01)
    history = snnkit.train.fit(network(), batched, validation=batched, settings=settings)
    padded = x.transpose(0, 1), torch.from_numpy(found.labels), lengths
    by_tensors = snnkit.train.fit(network(), padded, validation=padded, settings=settings)
    for name in ("train_loss", "validation_loss", "train_accuracy"):
        assert history[name] == pytest.approx(by_tensors[name], rel=1e-5)


@pytest.mark.parametrize("workers", [0, 1])
def test_torchs_loader_stacks_recordings_of_any_length(workers: int):
    framed = FramedEvents(recordings(count=7), step=5000)
    assert len({len(framed[index][0]) for index in range(7)}) > 1
    batches = list(torch.utils.data.DataLoader(framed, batch_size=4, num_workers=workers))
    for indices, batch in zip(torch.arange(7).split(4), batches, strict=True):
        for mine, expected in zip(batch, framed.batch(indices), strict=True):
            assert torch.equal(mine, expected)


def test_padding_changes_nothing_that_is_measured():
    found, net = recordings(count=12), network()
    measured = [snnkit.train.evaluate(net, FramedEvents(found, step=2000), batch_size=size) for size in (1, 5, 12)]
    assert len({one.accuracy for one in measured}) == 1
    assert all(torch.equal(one.confusion, measured[0].confusion) for one in measured)


def test_variation_in_training_is_repeatable():
    found = recordings(count=6)
    varied = FramedEvents(
        found,
        step=1000,
        vary=lambda events, g: augment.jitter_times(events, std=4000.0, generator=g),
        vary_frames=lambda x, lengths, g: augment.mask_channels(x, most=3, chance=1.0, generator=g),
    )
    batches = Batches(varied, 3)
    first, again, later = ([batch.inputs for batch in batches.shuffled(epoch)] for epoch in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(first, later, strict=True))
    x, label, length = FramedEvents(found, step=1000)[1]
    assert x.shape == (int(length), 13) and label == found.labels[1]


def test_a_blend_takes_no_steps_that_the_other_sample_does_not_have():
    lengths, labels = torch.tensor([9, 2, 3, 9]), torch.arange(4)
    x = torch.zeros(9, 4, 4)
    for sample, length in enumerate(lengths.tolist()):
        x[:length, sample, sample] = 1.0
    for seed in range(20):
        mixed, targets = augment.blend(x, lengths, labels, classes=4, chance=1.0, generator=generator(seed))
        assert torch.equal(mixed.sum((0, 2)), lengths.float())
        torch.testing.assert_close(targets, mixed.sum(0) / lengths[:, None])


def test_training_takes_blended_samples_with_their_shares():
    found = recordings(count=12)

    def blend(x, lengths, labels, g):
        return augment.blend(x, lengths, labels, classes=3, chance=0.7, generator=g)

    mixed = FramedEvents(found, step=5000, mix=blend)
    batch = next(iter(Batches(mixed, 12).in_order()))
    assert batch.target.shape == (12, 3) and ((batch.target > 0).sum(1) > 1).any()
    assert not torch.equal(batch.inputs, FramedEvents(found, step=5000).batch(torch.arange(12))[0])
    settings = snnkit.train.TrainSettings(epochs=2, batch_size=5, lr=0.01)
    first, again = (
        snnkit.train.fit(network(), mixed, validation=FramedEvents(found, step=5000), settings=settings)["train_loss"]
        for _ in range(2)
    )
    assert first == again


def test_silence_follows_every_recording_whatever_was_done_to_it():
    found = recordings(count=6)
    hooks = {"vary_frames": lambda x, lengths, g: x + 1.0, "mix": lambda x, lengths, labels, g: (x, labels)}
    for more in ({}, {"steps": 50}):
        plain, longer = (FramedEvents(found, step=1000, silence=s, **hooks, **more) for s in (0, 7))
        (x, labels, lengths), (followed, same, ends) = (one.batch(torch.arange(6)) for one in (plain, longer))
        assert torch.equal(followed[:, : x.shape[1]], x) and followed.shape[1] == x.shape[1] + 7
        assert not followed[:, x.shape[1] :].any()
        assert torch.equal(ends, lengths + 7) and torch.equal(labels, same)
    for silence in (-1, 1.5, True):
        with pytest.raises(InputError, match=r"silence is .*; a whole number of steps of at least 0 is needed"):
            FramedEvents(found, step=1000, silence=silence)


def test_signals_are_padded_and_trained_on():
    draw = np.random.default_rng(0)
    offsets = np.array([0, 4, 5, 12, 20])
    values = draw.normal(size=(20, 13)).astype(np.float32)
    found = Signals(values, offsets, np.array([0, 1, 2, 0]), np.full(4, -1, np.int32), CLASSES)
    x, lengths = found.batch([2, 1])
    assert lengths.tolist() == [7, 1] and np.array_equal(x[:, 0].numpy(), values[5:12]) and not x[1:, 1].any()
    history = snnkit.train.fit(
        network(), FramedSignals(found), settings=snnkit.train.TrainSettings(epochs=1, batch_size=3)
    )
    assert len(history) == 1
    assert FramedSignals(found)[2][0].shape == (7, 13)
