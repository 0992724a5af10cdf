"""Spectrograms follow their definition, and sounds are split by their lists or refused with the reason."""

import doctest

import numpy as np
import pytest
from event_files import MEL, mel_set, sound

from snnkit import data
from snnkit.data import mel, wav
from snnkit.errors import DataError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SNNKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "data"


def test_docstrings_run():
    result = doctest.testmod(mel)
    assert result.attempted > 0 and result.failed == 0


def test_speech_commands_are_split_by_their_lists(tmp_path):
    tiny = data.load(mel_set(tmp_path), tmp_path)
    assert tiny.kind == "signals"
    assert tiny.train.labels.tolist() == [0, 1, 0] and tiny.train.group_names == ("a", "d")
    assert tiny.validation.labels.tolist() == [0, 1] and tiny.test.labels.tolist() == [1]
    x, lengths = tiny.train.batch()
    assert x.shape == (11, 3, 12) and lengths.tolist() == [11] * 3 and x.isfinite().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"./cat/a_nohash_0.wav": sound(np.zeros(9), rate=8000)},
            r"cat/a_nohash_0.wav has 8,000 samples per second; its",
        ),
        (
            {"./cat/a_nohash_0.wav": sound(np.zeros(8), channels=2)},
            r"has 2 channels of 16 bits; one channel of 16 bits",
        ),
        ({"./cat/a_nohash_0.wav": sound(np.zeros(0))}, r"promises 0 samples and holds 0"),
        ({"./cat/a_nohash_0.wav": sound(np.zeros(90))[:-9]}, r"promises 90 samples and holds 85"),
        ({"./cat/a_nohash_0.wav": b"RIFF"}, r"cat/a_nohash_0.wav is truncated or no WAV file"),
        ({"./testing_list.txt": b""}, r"the lists of part 'all' put 4 samples into train; its card says 3"),
        ({"./testing_list.txt": None}, r"lacks validation_list.txt or testing_list.txt, which say how it is split"),
    ],
)
def test_sounds_that_do_not_fit_are_refused(tmp_path, own_cache, change, message):
    def apply(files):
        files.update({name: content for name, content in change.items() if content is not None})
        for name, content in change.items():
            if content is None:
                files.pop(name)

    with pytest.raises(DataError, match=message):
        _ = data.load(mel_set(tmp_path, apply), tmp_path).train
    assert not list(own_cache.iterdir())


def test_settings_of_a_spectrogram_are_checked(tmp_path):
    with pytest.raises(DataError, match=r"tiny: options has the unknown key 'hops'; did you mean 'hop'\?"):
        _ = data.load(mel_set(tmp_path, more=MEL.replace("hop =", "hops =")), tmp_path).train
    with pytest.raises(DataError, match=r"tiny has the shape \[12\] and 13 bands; they must be the same"):
        _ = data.load(mel_set(tmp_path, more=MEL.replace("bands = 12", "bands = 13")), tmp_path).train


def test_spectrograms_follow_their_definition():
    settings = mel.Mel(resample=16000, bands=10, window=64, hop=32, low=100.0, high=6000.0, seconds=0.05)
    values = np.random.default_rng(0).normal(0, 0.1, 700)
    found = mel.spectrogram(values, settings)
    whole = np.concatenate([values, np.zeros(100)])
    mirrored = np.concatenate([whole[32:0:-1], whole, whole[-2:-34:-1]])
    edges = np.linspace(*(2595 * np.log10(1 + edge / 700) for edge in (100.0, 6000.0)), 12)
    for step in (0, 7, 25):
        piece = mirrored[32 * step : 32 * step + 64] * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(64) / 64))
        for band in range(10):
            power = 0.0
            low, middle, high = (700 * (10 ** (edge / 2595) - 1) for edge in edges[band : band + 3])
            for place in range(33):
                hertz = place * 16000 / 64
                weight = max(0.0, min((hertz - low) / (middle - low), (high - hertz) / (high - middle)))
                turn = np.exp(-2j * np.pi * place * np.arange(64) / 64)
                power += weight * abs((piece * turn).sum()) ** 2
            assert found[step, band] == pytest.approx(10 * np.log10(max(power, 1e-10)), abs=1e-3)


def test_bands_above_half_the_rate_are_silent_and_a_tone_is_in_its_band():
    tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000).astype(np.float32)
    found = mel.spectrogram(tone, mel.Mel())
    assert found.shape == (101, 140) and (found[:, 87:] == -100).all()
    edges = np.linspace(*(2595 * np.log10(1 + edge / 700) for edge in (50.0, 14000.0)), 142)
    heard = 700 * (10 ** (edges[1 + found[50].argmax()] / 2595) - 1)
    assert abs(heard - 1000) < 40


def test_a_sound_is_read_as_it_was_written():
    values = np.array([0, 1, -1, 32767, -32768])
    assert wav.samples(sound(values), 16000, "here").tolist() == (values / 32768).tolist()
