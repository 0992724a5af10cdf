"""Every encoder equals its closed form, agrees with peers where the equations match, refuses bad input."""

import doctest
import math

import numpy
import pytest
import torch

from snnkit.data import encode
from snnkit.data.binning import frames
from snnkit.data.events import Events
from snnkit.errors import InputError
from snnkit.synapse import DelayLinear

IMAGES = torch.rand(5, 3, 4, generator=torch.Generator().manual_seed(3))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_docstrings_run():
    result = doctest.testmod(encode, extraglobs={"torch": torch})
    assert result.attempted >= 6
    assert result.failed == 0


def test_constant_repeats_the_image():
    currents = encode.constant(IMAGES - 0.5, steps=7)
    assert currents.shape == (7, 5, 3, 4)
    assert torch.equal(currents, torch.stack([IMAGES - 0.5] * 7))
    assert currents.untyped_storage().nbytes() == IMAGES.untyped_storage().nbytes()


def test_rate_spikes_with_the_pixels_probability():
    levels = torch.linspace(0, 1, 11).view(1, 11)
    steps = 20_000
    counts = encode.rate(levels, steps=steps, generator=seeded()).sum(0)
    deviation = (steps * levels * (1 - levels)).sqrt()
    assert ((counts - steps * levels).abs() <= 4 * deviation).all()
    assert counts[0, 0] == 0
    assert counts[0, -1] == steps


def test_rate_draws_are_independent_over_time_and_space():
    spikes = encode.rate(torch.full((1, 50), 0.5), steps=2_000, generator=seeded())[:, 0]
    correlation = torch.corrcoef(torch.cat([spikes[:-1], spikes[1:]], 1).T)
    assert (correlation - torch.eye(100)).abs().max() < 5 / math.sqrt(2_000)


@pytest.mark.parametrize("pieces", [[1, 1, 1, 1, 1], [2, 3], [4, 1]])
def test_rate_does_not_depend_on_how_the_batch_is_cut(pieces):
    whole = encode.rate(IMAGES, steps=6, generator=seeded())
    generator = seeded()
    cut = [encode.rate(part, steps=6, generator=generator) for part in IMAGES.split(pieces)]
    assert torch.equal(torch.cat(cut, 1), whole)


def test_rate_repeats_with_its_seed_and_differs_without():
    first, again, other = (encode.rate(IMAGES, steps=6, generator=seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("steps", [1, 2, 16, 33])
def test_latency_is_linear(steps):
    spikes = encode.latency(IMAGES, steps=steps, threshold=0.2)
    for index in torch.cartesian_prod(*map(torch.arange, IMAGES.shape)).tolist():
        train = spikes[(slice(None), *index)]
        value = IMAGES[tuple(index)]
        expected = [0.0] * steps
        if value >= 0.2:
            expected[round(float((steps - 1) * (1 - value)))] = 1.0
        assert train.tolist() == expected


def test_latency_puts_the_brightest_first_and_leaves_the_dark_silent():
    spikes = encode.latency(torch.tensor([[1.0, 0.01, 0.0099, 0.0]]), steps=9)[:, 0]
    assert spikes.argmax(0).tolist()[:2] == [0, 8]
    assert spikes.sum(0).tolist() == [1, 1, 0, 0]


def test_rc_latency_is_when_a_leaky_membrane_crosses_the_threshold():
    tau, threshold, steps = 5.0, 0.3, 60
    values = torch.linspace(0.31, 1.0, 40, dtype=torch.float64).view(1, 40)
    spikes = encode.latency(values, steps=steps, threshold=threshold, tau=tau)
    fine = 1000
    time = torch.arange(steps * fine, dtype=torch.float64) / fine
    membrane = values[0] * (1 - torch.exp(-time / tau)).unsqueeze(1)
    crossing = (membrane >= threshold).double().argmax(0) / fine
    assert (spikes[:, 0].argmax(0) - crossing).abs().max() <= 0.5 + 1 / fine
    assert torch.equal(spikes.sum(0), torch.ones(1, 40, dtype=torch.float64))


def test_rc_latency_fires_late_pixels_at_the_last_step():
    spikes = encode.latency(torch.tensor([[0.3, 0.3001, 1.0]]), steps=8, threshold=0.3, tau=20.0)
    assert spikes.argmax(0).tolist() == [[7, 7, 7]]
    assert spikes.sum() == 3


def test_latency_normalises_each_image_by_itself():
    dim = 0.25 * IMAGES
    together = encode.latency(dim, steps=16, normalise=True)
    assert (together[0].flatten(1).sum(1) >= 1).all()
    alone = [encode.latency(image[None] / image.max(), steps=16) for image in dim]
    assert torch.equal(together, torch.cat(alone, 1))
    assert encode.latency(torch.zeros(2, 3), steps=4, normalise=True).sum() == 0


def test_latency_equals_snntorch():
    spikegen = pytest.importorskip("snntorch.spikegen")
    grid = torch.arange(256).view(4, 64) / 255
    # snnTorch's linear code with normalize=True takes tau = num_steps - 1; clip=True silences dark pixels.
    theirs = spikegen.latency(grid, num_steps=20, threshold=0.05, normalize=True, linear=True, clip=True)
    assert torch.equal(encode.latency(grid, steps=20, threshold=0.05), theirs)
    # Its logarithmic code drops what is later than the window (bypass=True); ours moves it to the last step.
    theirs = spikegen.latency(grid, num_steps=20, threshold=0.05, tau=9, clip=True, bypass=True)
    ours = encode.latency(grid, steps=20, threshold=0.05, tau=9.0)
    assert torch.equal(ours[:-1], theirs[:-1])
    assert theirs[:-1].sum() > 200


def test_latency_equals_spikingjelly():
    encoding = pytest.importorskip("spikingjelly.activation_based.encoding")
    encoder = encoding.LatencyEncoder(T=20, enc_function="linear")
    theirs = torch.stack([encoder(IMAGES) for _ in range(20)])
    assert torch.equal(encode.latency(IMAGES, steps=20, threshold=0.0), theirs)


def test_rate_has_snntorchs_statistics():
    spikegen = pytest.importorskip("snntorch.spikegen")
    steps = 4_000
    theirs = spikegen.rate(IMAGES, num_steps=steps).mean(0)
    ours = encode.rate(IMAGES, steps=steps, generator=seeded()).mean(0)
    assert (ours - theirs).abs().max() < 4.5 * math.sqrt(2 * 0.25 / steps)


def walk(largest: float, steps: int = 400) -> torch.Tensor:
    moves = (2 * torch.rand(steps, 3, 2, generator=seeded(), dtype=torch.float64) - 1) * largest
    return moves.cumsum(0)


def test_delta_follows_a_slow_signal_within_the_threshold():
    signal = walk(largest=0.1)
    spikes = encode.delta(signal, threshold=0.1)
    followed = signal[0] + 0.1 * spikes.cumsum(0)
    assert (signal - followed).abs().max() < 0.1 + 1e-9
    assert set(spikes.unique().tolist()) == {-1, 0, 1}


def test_delta_sends_less_than_a_spike_per_step():
    assert encode.delta(walk(largest=0.05), threshold=0.2).abs().mean() < 0.2


def test_delta_catches_up_after_a_jump():
    signal = torch.tensor([0.0, 3.5, 3.5, 3.5, 3.5]).view(5, 1, 1)
    assert encode.delta(signal, threshold=1.0).flatten().tolist() == [0, 1, 1, 1, 0]


def test_delta_without_off_spikes_keeps_the_same_on_spikes():
    signal = walk(largest=0.1)
    both = encode.delta(signal, threshold=0.1)
    assert torch.equal(encode.delta(signal, threshold=0.1, off_spikes=False), both.clamp(min=0))


def test_delta_equals_snntorch_on_whole_steps():
    spikegen = pytest.importorskip("snntorch.spikegen")
    # snnTorch compares neighbouring samples and keeps no reference, which is the same where every move is
    # a whole threshold; padding=True repeats the first sample, as starting from it does.
    signal = torch.randint(-1, 2, (200, 4, 3), generator=seeded()).cumsum(0).float()
    theirs = spikegen.delta(signal, threshold=1.0, padding=True, off_spike=True)
    assert torch.equal(encode.delta(signal, threshold=1.0), theirs)


def test_population_responses_are_gaussians():
    values = torch.tensor([[-2.0, 0.3], [4.0, 1.0]])
    currents = encode.population(values, neurons=7, steps=3, low=-2.0, high=4.0, width=0.5)
    assert currents.shape == (3, 2, 2, 7)
    for sample, row in enumerate(values.tolist()):
        for feature, value in enumerate(row):
            wanted = [math.exp(-0.5 * ((value - centre) / 0.5) ** 2) for centre in range(-2, 5)]
            assert currents[1, sample, feature].tolist() == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_spikes_have_the_images_dtype(dtype):
    images = IMAGES.to(dtype)
    results = [
        encode.constant(images, steps=2),
        encode.rate(images, steps=2, generator=seeded()),
        encode.latency(images, steps=2),
        encode.delta(images, threshold=0.1),
        encode.population(images, neurons=3, steps=2),
    ]
    assert [result.dtype for result in results] == [dtype] * 5


STATIC = {
    "constant": lambda images, steps=4: encode.constant(images, steps=steps),
    "rate": lambda images, steps=4: encode.rate(images, steps=steps, generator=seeded()),
    "latency": lambda images, steps=4: encode.latency(images, steps=steps),
    "population": lambda images, steps=4: encode.population(images, neurons=3, steps=steps),
}
CALLS = STATIC | {"delta": lambda signal: encode.delta(signal, threshold=0.1)}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([[0.5]], r"is list; a torch.Tensor \["),
        (torch.ones(2, 3, dtype=torch.int64), r"is torch.int64; a floating dtype .* type \w+\.float\(\)"),
        (torch.ones(2, 3, dtype=torch.complex64), "is torch.complex64; a floating dtype"),
        (torch.ones(2, 3, dtype=torch.bool), "is torch.bool; a floating dtype"),
        (torch.ones(3), r"has shape \[3\]; \[.*\] needs at least \d axes"),
        (torch.ones(0, 3, 2), r"is empty, of shape \[0, 3, 2\]"),
        (torch.full((2, 3, 2), math.nan), "holds NaN or infinite values"),
        (torch.full((2, 3, 2), math.inf), "holds NaN or infinite values"),
    ],
)
def test_bad_tensors_are_refused(call, wrong, message):
    with pytest.raises(InputError, match=message):
        call(wrong)


@pytest.mark.parametrize("name", ["rate", "latency", "population"])
@pytest.mark.parametrize("wrong", [-0.25, 1.5])
def test_values_out_of_range_are_refused(name, wrong):
    images = IMAGES.clone()
    images[0, 0, 0] = wrong
    with pytest.raises(InputError, match=r"spans .*\.\..*; values within 0\.\.1 are needed"):
        STATIC[name](images)


@pytest.mark.parametrize("call", STATIC.values(), ids=STATIC)
@pytest.mark.parametrize("steps", [0, -1, 2.5, True])
def test_steps_below_one_are_refused(call, steps):
    with pytest.raises(InputError, match=f"steps is {steps}; a whole number of at least 1"):
        call(IMAGES, steps)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: encode.rate(IMAGES, steps=2, generator=7), "generator is int; a torch.Generator is needed"),
        (lambda: encode.latency(IMAGES, steps=2, threshold=1.0), "threshold is 1.0; 0 <= threshold < 1"),
        (lambda: encode.latency(IMAGES, steps=2, threshold=0.0, tau=1.0), "threshold is 0.0; 0 < thresh"),
        (lambda: encode.latency(IMAGES, steps=2, tau=0.0), "tau is 0.0; a positive number of steps"),
        (lambda: encode.delta(IMAGES, threshold=0.0), "threshold is 0.0; a positive number"),
        (lambda: encode.population(IMAGES, neurons=1, steps=2), "neurons is 1; a whole number of at least 2"),
        (lambda: encode.population(IMAGES, neurons=3, steps=2, low=1.0), "low is 1.0 and high is 1.0"),
        (lambda: encode.population(IMAGES, neurons=3, steps=2, width=0.0), "width is 0.0; a positive number"),
    ],
)
def test_bad_options_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_numpys_whole_numbers_are_whole_numbers() -> None:
    steps, images = numpy.int64(3), torch.rand(2, 4)
    assert torch.equal(encode.latency(images, steps=steps), encode.latency(images, steps=3))
    assert encode.population(images, neurons=numpy.int32(5), steps=steps).shape == (3, 2, 4, 5)
    events = Events.build([([0, 2500], [1, 0])], [0], shape=(2,), classes=("a",))
    x, _ = frames(events, step=numpy.int64(1000), steps=numpy.int64(4))
    assert torch.equal(x, frames(events, step=1000, steps=4)[0])
    layer = DelayLinear(4, 3, max_delay=numpy.int64(5))
    assert type(layer.max_delay) is int
    with pytest.raises(InputError, match="step is True; a whole number of at least 1 is needed"):
        frames(events, step=True)
