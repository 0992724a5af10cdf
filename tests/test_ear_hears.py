"""The inner ear filters, transduces and fires as its formulas say, and hears loudness and pitch."""

import doctest
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import signal

from snnkit.data import ear as ear_module
from snnkit.data import ear_kernels
from snnkit.data.ear import Ear, bandwidths, filters, hear
from snnkit.errors import DataError

RATE = 16000
HAIR = (5.0, 300.0, 2000.0, 5.05, 2500.0, 6580.0, 66.31, 50000.0)
FLAT = Ear(channels=7, tilt=0.0)


def tone(frequency: float, seconds: float = 0.3, rate: int = RATE) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def filtered(sound: np.ndarray, ear: Ear, rate: float = RATE) -> np.ndarray:
    out = np.empty((len(sound), ear.channels))
    ear_kernels.gammatone(sound, *filters(ear, rate), out)
    return out


def test_docstrings_run():
    result = doctest.testmod(ear_module)
    assert (result.attempted, result.failed) == (4, 0)


def test_bandwidths_are_those_of_glasberg_and_moore():
    assert bandwidths(np.array([0.0, 1000.0, 4000.0])).tolist() == pytest.approx([24.7, 132.639, 456.456])


def test_centres_step_by_equal_shares_of_a_bandwidth():
    centres = Ear(channels=700).centres
    assert centres[[0, -1]].tolist() == pytest.approx([80, 3600])
    steps = np.diff(centres) / bandwidths((centres[1:] + centres[:-1]) / 2)
    assert np.ptp(steps) < 1e-4 * steps.mean()


def test_response_to_a_pulse_is_a_gammatone():
    pulse = np.zeros(1500)
    pulse[0] = 1
    found = filtered(pulse, FLAT)
    _, gains = filters(FLAT, RATE)
    n = np.arange(1500)[:, None]
    width = 2 * np.pi * 1.019 * bandwidths(FLAT.centres)
    wanted = gains * n**3 * np.exp(-width * n / RATE) * np.cos(2 * np.pi * FLAT.centres * n / RATE)
    np.testing.assert_allclose(found, wanted, atol=1e-9 * np.abs(wanted).max())


@pytest.mark.parametrize("channel", range(1, FLAT.channels))
def test_response_to_a_pulse_agrees_with_scipy(channel):
    pulse = np.zeros(1200)
    pulse[0] = 1
    found = filtered(pulse, FLAT)[:, channel]
    peer, _ = signal.gammatone(FLAT.centres[channel], "fir", numtaps=1200, fs=RATE)
    # The peer scales by the gain of a continuous filter, ours by that of the sampled one.
    assert np.corrcoef(found, peer)[0, 1] > 1 - 1e-9
    assert found @ found / (peer @ peer) == pytest.approx(1, rel=0.02)


def test_a_tone_at_the_centre_passes_with_its_amplitude():
    for channel, centre in enumerate(FLAT.centres):
        settled = filtered(tone(centre, 1.0), FLAT)[RATE // 2 :, channel]
        assert math.sqrt(2 * np.mean(settled**2)) == pytest.approx(1, rel=2e-3)


def test_tilt_raises_an_octave_by_its_decibels():
    ear = Ear(channels=2, low=500.0, high=1000.0, tilt=6.0)
    raised = filters(ear, RATE)[1] / filters(Ear(channels=2, low=500.0, high=1000.0, tilt=0.0), RATE)[1]
    assert (20 * np.log10(raised)).tolist() == pytest.approx([-6, 0])


def test_hair_cells_rest_in_silence():
    rate = np.zeros((400, 3))
    ear_kernels.hair_cells(rate, 1 / RATE, HAIR)
    np.testing.assert_allclose(rate, Ear().rest, rtol=1e-12)


def test_hair_cells_settle_where_their_equations_rest():
    push = np.array([0.0, 10.0, 100.0, 1000.0])
    rate = np.tile(push, (8 * RATE, 1))
    ear_kernels.hair_cells(rate, 1 / RATE, HAIR)
    A, B, g, y, loss, r, _, h = HAIR
    k = g * (push + A) / (push + A + B)
    np.testing.assert_allclose(rate[-1], h * y * k / (loss * k + y * (loss + r)), rtol=1e-6)


def test_hair_cells_follow_a_fine_solution_of_their_equations():
    dt, fine = 1 / RATE, 200
    push = 80 * tone(300, 0.02)
    rate = push[:, None].copy()
    ear_kernels.hair_cells(rate, dt, HAIR)
    A, B, g, y, loss, r, x, h = HAIR
    k0 = g * A / (A + B)
    cleft = y * k0 / (loss * k0 + y * (loss + r))
    pool, store = cleft * (loss + r) / k0, cleft * r / x
    wanted = np.empty(len(push))
    for n, p in enumerate(push):
        k = g * max(p + A, 0) / (p + A + B) if p > -A else 0.0
        for _ in range(fine):
            step = dt / fine
            moved = (y * (1 - pool) + x * store - k * pool, k * pool - (loss + r) * cleft, r * cleft - x * store)
            pool, cleft, store = pool + step * moved[0], cleft + step * moved[1], store + step * moved[2]
        wanted[n] = h * cleft
    assert np.abs(rate[:, 0] - wanted).max() < 0.1 * wanted.max()
    assert np.corrcoef(rate[:, 0], wanted)[0, 1] > 0.999


@given(st.floats(1.05, 8.0), st.floats(0.0, 4e-3), st.sampled_from([4000, 16000, 44100]))
def test_a_bushy_cell_fires_at_the_closed_form_rate(drive, refractory, rate):
    threshold, tau = 154.0, 1e-3
    times, counts = np.empty((1, 100_000)), np.empty(1, np.int64)
    constants = (threshold, 5e-4, tau, refractory)
    ear_kernels.bushy_cells(np.full((rate // 4, 1), drive * threshold), 1 / rate, constants, times, counts)
    gaps = np.diff(times[0, : counts[0]])
    np.testing.assert_allclose(gaps, refractory + tau * math.log(drive / (drive - 1)), rtol=1e-6)
    assert len(gaps) > 10


def test_a_bushy_cell_below_threshold_is_silent():
    times, counts = np.empty((1, 10)), np.empty(1, np.int64)
    ear_kernels.bushy_cells(np.full((RATE, 1), 153.9), 1 / RATE, (154.0, 5e-4, 1e-3, 1e-3), times, counts)
    assert counts[0] == 0


@pytest.mark.parametrize("frequency", [200, 700, 1500, 3000])
def test_a_tone_excites_the_channels_of_its_frequency(frequency):
    ear = Ear(channels=100, tilt=0.0, level=65.0)
    _, channels = hear(tone(frequency), RATE, ear)
    counts = np.bincount(channels, minlength=100)
    nearest = np.abs(ear.centres - frequency).argmin()
    assert abs(np.flatnonzero(counts == counts.max()).mean() - nearest) <= 1
    assert counts[: max(0, nearest - 10)].sum() == counts[nearest + 10 :].sum() == 0


def test_louder_sounds_make_more_spikes():
    sound = tone(440) + 0.3 * tone(1300)
    counts = [len(hear(sound, RATE, Ear(channels=64, level=level))[0]) for level in (45.0, 55.0, 65.0, 75.0)]
    assert counts == sorted(counts) and counts[0] < counts[-1] / 4


@pytest.mark.parametrize("sound", [np.zeros(4000), np.zeros(1), np.zeros(4000, np.int16)], ids=["long", "one", "int"])
def test_silence_makes_no_spikes(sound):
    times, channels = hear(sound, 8000)
    assert len(times) == len(channels) == 0
    assert (times.dtype, channels.dtype) == (np.int64, np.int32)


def test_the_ear_adapts_so_onsets_count_more():
    times, _ = hear(tone(1000, 0.4), RATE, Ear(channels=32, level=65.0))
    assert np.sum(times < 50_000) > 1.5 * np.sum((times > 200_000) & (times < 250_000))


def test_spikes_are_sorted_in_range_and_repeat():
    sound = np.random.default_rng(0).standard_normal(4000)
    times, channels = hear(sound, 8000, Ear(channels=130))
    assert len(times) > 100
    assert (np.diff(times) >= 0).all() and times[0] >= 0 and times[-1] < 500_000
    assert channels.min() >= 0 and channels.max() < 130
    for again in (hear(sound, 8000, Ear(channels=130)), hear(7.5 * sound, 8000, Ear(channels=130))):
        np.testing.assert_array_equal(again, (times, channels))


def test_a_channel_keeps_its_dead_time():
    times, channels = hear(
        np.random.default_rng(0).standard_normal(4000), 8000, Ear(channels=20, low=900.0, level=80.0)
    )
    assert min(np.diff(times[channels == channel]).min() for channel in range(20)) >= 999


def test_channels_do_not_depend_on_how_many_are_filtered_together():
    sound, ear = tone(500, 0.1), Ear(channels=230)
    times, channels = hear(sound, RATE, ear)
    one = Ear(channels=1, low=float(ear.centres[50]), high=float(ear.centres[50]))
    np.testing.assert_array_equal(hear(sound, RATE, one)[0], times[channels == 50])


def test_a_slow_sound_is_heard_as_the_same_sound_sampled_finer():
    slow, fine = (sum(tone(f, 0.2, rate) for f in (310, 900, 2100)) for rate in (8000, 32000))
    ear = Ear(channels=50, level=65.0)
    found, wanted = (np.bincount(hear(x, rate, ear)[1], minlength=50) for x, rate in ((slow, 8000), (fine, 32000)))
    assert np.abs(found - wanted).sum() < 0.1 * wanted.sum()


def test_long_silence_is_as_quick_as_sound():
    import time

    def seconds(sound: np.ndarray) -> float:
        start = time.process_time()
        hear(sound, 8000, Ear(channels=100))
        return time.process_time() - start

    noise = np.random.default_rng(0).standard_normal(40_000)
    pulse = np.where(np.arange(40_000) < 400, noise, 0.0)
    seconds(noise)
    assert min(seconds(pulse) for _ in range(3)) < 3 * min(seconds(noise) for _ in range(3))


@pytest.mark.parametrize(
    ("sound", "rate", "message"),
    [
        (np.zeros((800, 2)), 8000, r"sound has shape \[800, 2\]; \[samples\] of one microphone"),
        (np.zeros(0), 8000, "sound is empty; at least one sample"),
        (np.array([0.0, np.nan]), 8000, "sound holds NaN or infinite samples"),
        (np.array([0.0, np.inf]), 8000, "sound holds NaN or infinite samples"),
        (np.array([1j]), 8000, "sound is of type complex128; real numbers"),
        (np.ones(100), 7200, r"7200 samples/s, so it holds nothing above 3600 Hz; .* such as Ear\(high=3240\)"),
        (np.ones(100), 0, "0 samples/s"),
        (np.ones(100), -8000, "-8000 samples/s"),
        (np.ones(100), math.nan, "nan samples/s"),
    ],
)
def test_sounds_that_cannot_be_heard_are_refused(sound, rate, message):
    with pytest.raises(DataError, match=message):
        hear(sound, rate)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"channels": 0}, "channels = 0; a whole number of at least 1"),
        ({"channels": 7.0}, "channels = 7.0; a whole number"),
        ({"channels": True}, "channels = True; a whole number"),
        ({"low": 0.0}, "low = 0.0; a finite number above 0"),
        ({"fade": -0.1}, "fade = -0.1; a finite number"),
        ({"level": math.nan}, "level = nan; a finite number"),
        ({"membrane": "1 ms"}, "membrane = '1 ms'; a finite number"),
        ({"low": 4000.0}, "low = 4000 and high = 3600 Hz; low must be below high"),
        ({"threshold": 60.0}, "threshold = 60; its hair cells fire at 64.8 spikes/s in silence"),
    ],
)
def test_ears_that_cannot_be_are_refused(values, message):
    with pytest.raises(DataError, match=message):
        Ear(**values)


def test_an_ear_comes_from_a_table():
    assert Ear.from_table({"channels": 20, "high": 3000}, "card: ear") == Ear(channels=20, high=3000)
    with pytest.raises(DataError, match="card: ear has the unknown key 'chanels'; did you mean 'channels'"):
        Ear.from_table({"chanels": 20}, "card: ear")
    with pytest.raises(DataError, match="card: ear: the ear has channels = 0"):
        Ear.from_table({"channels": 0}, "card: ear")
