"""Speech, recorded or made on the spot, becomes spikes whose every voice is in one split alone."""

import doctest
import hashlib
import io
import os
import shutil
import tarfile
import wave
from dataclasses import asdict, replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from snnkit import data
from snnkit.data import card, ear, event_formats, speakers, speech, synthetic_speech
from snnkit.data.ear import Ear
from snnkit.data.events import Events
from snnkit.errors import DataError, MissingPackageError

SMALL = Ear(channels=20)
WHO = ("ann", "ben", "cy")
needs_espeak = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="the program espeak-ng is not installed; apt-get install espeak-ng"
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SNNKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "data"


def recording(seed: int, *, rate: int = 8000, channels: int = 1, count: int = 1200) -> bytes:
    """Return a WAV file of a chirp in noise."""
    draw = np.random.default_rng(seed)
    t = np.arange(count) / 8000
    values = np.sin(2 * np.pi * (300 + 100 * seed) * t * (1 + t)) + 0.1 * draw.standard_normal(count)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((5000 * values).astype("<i2").tobytes())
    return buffer.getvalue()


def recordings() -> dict[str, bytes]:
    names = [f"{word}_{who}_{index}.wav" for word in ("no", "yes") for who in WHO for index in (0, 1, 10)]
    return {name: recording(seed) for seed, name in enumerate(names)}


def digest(files: dict[str, bytes]) -> str:
    lines = "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


CARD = """
name = "tiny"
title = "Tiny"
format = "ear-wav"
source = "example.org/tiny"
licence = "CC0"
citation = "Nobody, 2024"
shape = [{shape}]
classes = ["no", "yes"]
[options]
rate = 8000
speakers = ["ann", "ben", "cy"]
digest = "{digest}"
ear = {{ channels = 20 }}
[parts.all]
order = "groups"
count = 18
groups = {{ train = [], validation = ["ben"], test = ["cy"] }}
[[parts.all.files]]
name = "recordings"
also = ["recordings.tar.xz"]
holds = "both"
"""


def write_card(folder: Path, files: dict[str, bytes], shape: int = 20) -> Path:
    path = folder / "card.toml"
    path.write_text(CARD.format(shape=shape, digest=digest(files)))
    return path


def write_folder(root: Path, files: dict[str, bytes]) -> None:
    folder = root / "tiny" / "recordings"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def write_archive(root: Path, files: dict[str, bytes]) -> None:
    (root / "tiny").mkdir(exist_ok=True)
    with tarfile.open(root / "tiny" / "recordings.tar.xz", "w:xz") as archive:
        for name, content in reversed(files.items()):
            info = tarfile.TarInfo(f"recordings/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def same(first: Events, second: Events) -> bool:
    names = ("times", "addresses", "offsets", "labels", "groups")
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in names)


@pytest.mark.parametrize("module", [speech, speakers, synthetic_speech], ids=lambda module: module.__name__)
def test_docstrings_run(module):
    assert doctest.testmod(module).failed == 0


def test_recordings_become_what_the_ear_hears(tmp_path):
    files = recordings()
    write_folder(tmp_path, files)
    tiny = data.load(write_card(tmp_path, files), tmp_path)
    assert (len(tiny.train), len(tiny.validation), len(tiny.test)) == (6, 6, 6)
    for split, who in ((tiny.train, "ann"), (tiny.validation, "ben"), (tiny.test, "cy")):
        assert split.group_names == (who,) and split.shape == (20,)
        names = sorted(name for name in files if who in name)
        assert split.labels.tolist() == [int(name.startswith("yes")) for name in names]
        for index, name in enumerate(names):
            with wave.open(io.BytesIO(files[name])) as file:
                samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
            times, channels = split.recording(index)
            wanted = ear.hear(samples.astype(np.float32) / 32768, 8000, SMALL)
            np.testing.assert_array_equal(times, wanted[0])
            np.testing.assert_array_equal(channels, wanted[1])
            assert len(times) > 10


def test_a_folder_and_an_archive_give_the_same(tmp_path):
    files = recordings()
    sets = []
    for name, write in (("one", write_folder), ("two", write_archive)):
        (tmp_path / name).mkdir()
        write(tmp_path / name, files)
        sets.append(data.load(write_card(tmp_path, files), tmp_path / name).train)
    assert same(*sets)


def test_speakers_who_are_not_on_the_card_are_passed_over(tmp_path):
    files = recordings()
    write_folder(tmp_path, files | {"no_lucas_0.wav": recording(99)})
    assert len(data.load(write_card(tmp_path, files), tmp_path).train) == 6


def test_the_cache_says_which_ear_heard_and_is_used_again(tmp_path, own_cache):
    files = recordings()
    write_folder(tmp_path, files)
    path = write_card(tmp_path, files)
    first = data.load(path, tmp_path).train
    (kept,) = own_cache.glob("*.h5")
    with h5py.File(kept) as store:
        assert '"channels": 20' in store.attrs["options"] and store.attrs["licence"] == "CC0"
    before = kept.stat().st_mtime_ns
    assert same(first, data.load(path, tmp_path).train)
    assert kept.stat().st_mtime_ns == before


def test_another_ear_is_another_set(tmp_path, own_cache):
    files = recordings()
    write_folder(tmp_path, files)
    path = write_card(tmp_path, files)
    data.load(path, tmp_path).train  # noqa: B018
    other = data.load(speech.with_ear(card.read(path), Ear(channels=12)), tmp_path).train
    assert other.shape == (12,) and other.addresses.max() < 12
    assert len(list(own_cache.glob("*.h5"))) == 2
    with pytest.raises(DataError, match="digits has no ear among its options; a card of speech, such as fsdd"):
        speech.with_ear(card.read("digits"), SMALL)


def test_the_ear_on_a_card_is_whole_and_as_wide_as_its_shape():
    for name in ("fsdd", "espeak"):
        found = card.read(name)
        assert set(found.options["ear"]) == set(asdict(Ear()))
        assert found.shape == (found.options["ear"]["channels"],) == (700,)
    assert Ear.from_table(card.read("fsdd").options["ear"], "fsdd") == Ear()


def damage(kind: str, files: dict[str, bytes]) -> dict[str, bytes]:
    name = "no_ann_0.wav"
    return {
        "missing": {key: files[key] for key in files if key != name},
        "changed": files | {name: recording(50)},
        "truncated": files | {name: files[name][:-100]},
        "nothing": files | {name: b""},
        "stereo": files | {name: recording(0, channels=2)},
        "faster": files | {name: recording(0, rate=16000)},
        "empty": files | {name: recording(0, count=0)},
        "word": {key.replace("no_ann_0", "maybe_ann_0"): files[key] for key in files},
        "name": files | {"readme.wav": b""},
    }[kind]


@pytest.mark.parametrize(
    ("kind", "known", "message"),
    [
        ("missing", False, "holds 17 recordings of ann, ben, cy; its card says 18; fetch it again"),
        ("changed", False, "holds other recordings than its card says: their digest is [0-9a-f]{12}…, not"),
        ("truncated", True, "no_ann_0.wav promises 1,200 samples and holds 1,150"),
        ("nothing", True, "no_ann_0.wav is truncated or no WAV file"),
        ("stereo", True, "no_ann_0.wav has 2 channels of 16 bits; one channel of 16 bits is needed"),
        ("faster", True, "no_ann_0.wav has 16,000 samples per second; its card says 8,000"),
        ("empty", True, "no_ann_0.wav promises 0 samples"),
        ("word", True, "holds maybe_ann_0.wav; <class of the card>_<speaker>_<number>.wav is needed"),
        ("name", False, "holds readme.wav; <class of the card>_<speaker>_<number>.wav is needed"),
    ],
)
def test_damaged_recordings_are_refused(tmp_path, own_cache, kind, known, message):
    files = recordings()
    damaged = damage(kind, files)
    write_folder(tmp_path, damaged)
    with pytest.raises(DataError, match=message):
        data.load(write_card(tmp_path, damaged if known else files), tmp_path).train  # noqa: B018
    assert not list(own_cache.glob("*.h5*"))


def test_a_truncated_archive_is_refused(tmp_path):
    files = recordings()
    write_archive(tmp_path, files)
    path = tmp_path / "tiny" / "recordings.tar.xz"
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DataError, match=r"recordings\.tar\.xz is not a whole archive"):
        data.load(write_card(tmp_path, files), tmp_path).train  # noqa: B018


def test_a_missing_root_is_explained(tmp_path, monkeypatch):
    monkeypatch.delenv("SNNKIT_DATA", raising=False)
    needed = r"recordings \(or as recordings\.tar\.xz or recordings\.tar\.gz or recordings\.tar or recordings\.zip\)"
    with pytest.raises(
        DataError, match=f"fsdd needs a data root: .* {needed}; published at {card.read('fsdd').source}"
    ):
        data.load("fsdd")
    with pytest.raises(DataError, match=f"fsdd lacks recordings; fsdd needs {needed}"):
        data.load("fsdd", tmp_path)


def test_a_card_whose_ear_does_not_fit_is_refused(tmp_path):
    files = recordings()
    write_folder(tmp_path, files)
    with pytest.raises(DataError, match=r"tiny has the shape \[21\] and an ear of 20 channels; they must be the same"):
        data.load(write_card(tmp_path, files, shape=21), tmp_path).train  # noqa: B018
    deaf = speech.with_ear(card.read(write_card(tmp_path, files)), replace(SMALL, high=5000.0))
    with pytest.raises(
        DataError, match="8000 samples/s, so it holds nothing above 4000 Hz; the ear listens up to 5000"
    ):
        data.load(deaf, tmp_path).train  # noqa: B018


def test_a_card_of_files_must_name_some(tmp_path):
    path = write_card(tmp_path, recordings())
    text = path.read_text()
    path.write_text(text[: text.index("[[parts")] + "files = []\n")
    with pytest.raises(DataError, match="tiny names no files; those of the format 'ear-wav' do"):
        data.load(path, tmp_path)


def spoken(groups: list[int]) -> Events:
    blank = ([5], [0])
    labels = np.arange(len(groups)) % 2
    return Events.build(
        [blank] * len(groups), labels, shape=(2,), classes=("no", "yes"), groups=groups, group_names=WHO
    )


def test_folds_hold_every_speaker_out_once():
    events = spoken([2, 0, 1, 1, 0, 2, 2])
    folds = speakers.folds(events)
    assert [fold.names for fold in folds] == [("ann", "ben"), ("ben", "cy"), ("cy", "ann")]
    for fold in folds:
        parts = (fold.train, fold.validation, fold.test)
        assert sorted(np.concatenate(parts).tolist()) == list(range(7))
        assert [len(np.unique(events.groups[part])) for part in parts] == [1, 1, 1]
        assert {events.group_names[events.groups[part[0]]] for part in parts} == set(WHO)
    np.testing.assert_array_equal(np.sort(np.concatenate([fold.test for fold in folds])), np.arange(7))


def test_folds_need_three_known_speakers():
    with pytest.raises(DataError, match="recording 2 has no group; every recording needs one"):
        speakers.folds(spoken([0, 1, -1, 2]))
    with pytest.raises(DataError, match="there are 2 groups; one to train, one to validate and one to test are needed"):
        speakers.folds(spoken([0, 1, 1]))


def test_joined_sets_keep_their_recordings_and_names():
    first, second = spoken([2, 0]), spoken([1, -1])
    whole = speakers.joined(first, replace(second, group_names=("cy", "dee", "ann")))
    assert whole.group_names == ("ann", "ben", "cy", "dee")
    assert whole.groups.tolist() == [2, 0, 3, -1]
    assert whole.labels.tolist() == [0, 1, 0, 1]
    assert whole.recording(3)[0].tolist() == [5]


def test_sets_that_differ_cannot_be_joined():
    with pytest.raises(DataError, match=r"shape \[2\] with 2 classes and of shape \[3\] with 2 cannot be joined"):
        speakers.joined(spoken([0]), replace(spoken([0]), shape=(3,)))
    with pytest.raises(DataError, match="there are no sets to join"):
        speakers.joined()


def test_digits_on_disk_are_those_of_the_card(data_root):
    found = card.read("fsdd")
    (file,) = found.parts[0].files
    places = [data_root / "fsdd" / name for name in (file.name, *file.also)]
    path = next(place for place in places if place.exists())
    source = speech.ear_wav(speech.with_ear(found, SMALL), found.parts[0], {file.name: path})
    try:
        samples = [sample for sample, _ in zip(source.samples, range(60), strict=False)]
    finally:
        source.close()
    assert [sample.label for sample in samples] == [0] * 60
    assert {sample.group for sample in samples} == {"george", "jackson"}
    counts = [len(sample.columns[0]) for sample in samples]
    assert min(counts) > 0 and 50 < np.mean(counts) < 500


ESPEAK = """
name = "said"
title = "Said"
format = "espeak"
source = "example.org"
licence = "none"
citation = "Nobody, 2024"
shape = [20]
classes = ["one", "two", "eins"]
[options]
voices = ["m1", "f2", "klatt"]
repeats = 2
speeds = [120, 220]
pitches = [20, 80]
seed = 3
words = { en = ["one", "two"], de = ["eins"] }
accents = { en = ["en-us", "en-gb"], de = ["de"] }
ear = { channels = 20 }
[parts.all]
order = "groups"
count = 18
groups = { train = [], validation = ["f2"], test = ["m1"] }
files = []
"""


def said(folder: Path, **changes: str) -> Path:
    text = ESPEAK
    for old, new in changes.items():
        line = next(line for line in text.splitlines() if line.startswith(f"{old} ="))
        text = text.replace(line, f"{old} = {new}")
    path = folder / "said.toml"
    path.write_text(text)
    return path


@needs_espeak
def test_synthetic_speech_is_the_same_twice(tmp_path, monkeypatch):
    first = data.load(said(tmp_path))
    assert (len(first.train), len(first.validation), len(first.test)) == (6, 6, 6)
    assert [split.group_names for split in (first.train, first.validation, first.test)] == [
        ("klatt",),
        ("f2",),
        ("m1",),
    ]
    assert first.train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert min(np.diff(first.train.offsets)) > 20
    monkeypatch.setenv("SNNKIT_CACHE", str(tmp_path / "elsewhere"))
    again = data.load(said(tmp_path))
    assert same(first.train, again.train) and same(first.test, again.test)
    other = data.load(said(tmp_path, seed="4"))
    assert not np.array_equal(other.train.times, first.train.times)


@needs_espeak
def test_more_words_leave_the_other_recordings_as_they_are(tmp_path):
    few = data.load(said(tmp_path)).train
    words = {"classes": '["one", "two", "eins", "zwei"]', "words": '{ en = ["one", "two"], de = ["eins", "zwei"] }'}
    more = data.load(said(tmp_path, count="24", **words)).train
    for label in range(3):
        assert same(few.select(few.labels == label), more.select(more.labels == label))


@needs_espeak
def test_speech_has_a_rate_a_pitch_and_no_silence_around_it():
    slow, fast = (synthetic_speech.speak("seven", speed=speed) for speed in (100, 300))
    assert 1.5 < len(slow) / len(fast) < 4
    assert 0.2 < len(fast) / synthetic_speech.RATE < 0.6
    assert min(abs(slow[0]), abs(slow[-1])) > 1e-3
    low, high = (synthetic_speech.speak("seven", pitch=pitch) for pitch in (0, 99))
    assert not np.array_equal(low, high)
    assert {"m1", "f2", "klatt"} <= set(synthetic_speech.voices())
    assert synthetic_speech.version()[0].isdigit()


@needs_espeak
def test_speech_that_cannot_be_made_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"espeak-ng .* fails: .*voice does not exist"):
        synthetic_speech.speak("seven", language="xx")
    with pytest.raises(DataError, match="makes no sound of '' in the language 'de'"):
        synthetic_speech.speak("", language="de")
    with pytest.raises(DataError, match=r"espeak-ng 1.* has no voice 'klat'; did you mean 'klatt'"):
        data.load(said(tmp_path, voices='["m1", "f2", "klat"]')).train  # noqa: B018


@pytest.mark.parametrize("how", [{"speed": 79}, {"speed": 451}, {"pitch": -1}, {"pitch": 100}])
def test_speeds_and_pitches_beyond_the_program_are_refused(how):
    with pytest.raises(DataError, match="80 to 450 words a minute and 0 to 99 are needed"):
        synthetic_speech.speak("seven", **how)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"words": '{ en = ["one"], de = ["eins"] }'}, r"options.words say \['eins', 'one'\]; each class of the card"),
        ({"accents": '{ en = ["en-us"] }'}, "options.accents lacks de"),
        ({"speeds": "[220, 120]"}, r"speeds = \[220, 120\]; the lowest and the highest"),
        ({"pitches": "[20]"}, r"pitches = \[20\]; the lowest and the highest"),
        ({"repeats": "3"}, "make 27 recordings: 3 voices say 3 words 3 times; the card's part 'all' counts 18"),
        ({"seed": '"now"'}, "options has seed = 'now'; a value of type int"),
    ],
)
def test_plans_that_do_not_hold_together_are_refused(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        data.load(said(tmp_path, **changes)).train  # noqa: B018


def test_without_the_program_the_message_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingPackageError, match=r"needs the program espeak-ng, .* type: apt-get install espeak-ng"):
        synthetic_speech.speak("seven")
    with pytest.raises(MissingPackageError, match="not on the PATH"):
        data.load("espeak").train  # noqa: B018


def test_data_that_are_made_need_no_root(monkeypatch):
    monkeypatch.delenv("SNNKIT_DATA", raising=False)
    assert "espeak" in event_formats.MADE and "SNNKIT_DATA" not in os.environ
    assert data.load("espeak").paths == {}
