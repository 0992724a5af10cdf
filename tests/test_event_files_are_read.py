"""Event files are read as their peers read them, once and whole, or refused with the reason."""

import doctest
import gzip
import hashlib
import io
import random
import re
import shutil

import h5py
import numpy as np
import pytest
from event_files import (
    CLASSES,
    TABLE,
    aedat,
    aedat_set,
    atis,
    atis_events,
    atis_set,
    packet,
    polarity_events,
    spike_set,
    spikes,
    write_spikes,
    zipped,
)

from snnkit import data
from snnkit.data import aedat as aedat_files
from snnkit.data import atis as atis_files
from snnkit.data import card, event_cache, event_formats, frames, store
from snnkit.errors import DataError, FileError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SNNKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "data"


def same(first, second) -> bool:
    names = ("times", "addresses", "offsets", "labels", "groups")
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in names)


def only_whole_files(folder) -> bool:
    return all(path.suffix == ".h5" for path in folder.iterdir()) if folder.exists() else True


@pytest.mark.parametrize("module", [atis_files, event_formats], ids=lambda module: module.__name__)
def test_docstrings_run(module):
    result = doctest.testmod(module)
    assert result.attempted > 0 and result.failed == 0


def test_heidelberg_files_give_their_spikes_and_hold_out_speakers(tmp_path):
    tiny = data.load(spike_set(tmp_path), tmp_path)
    assert tiny.kind == "events"
    assert (len(tiny.train), len(tiny.validation), len(tiny.test)) == (8, 4, 4)
    assert tiny.train.group_names == ("0", "1") and tiny.validation.group_names == ("2",)
    assert tiny.train.groups.tolist() == [0] * 4 + [1] * 4 and tiny.validation.groups.tolist() == [0] * 4
    assert tiny.train.classes == CLASSES and tiny.train.shape == (30,)
    for split, first, recordings in ((tiny.train, 0, spikes(12)), (tiny.validation, 8, spikes(12)),
                                     (tiny.test, 0, spikes(4, seed=1))):  # fmt: skip
        for index in range(len(split)):
            seconds, channels = recordings[first + index]
            times, addresses = split.recording(index)
            assert np.array_equal(times, np.rint(seconds.astype(np.float64) * 1e6))
            assert np.array_equal(addresses, channels)
            assert split.labels[index] == (first + index) % 2
    assert (tiny.train.times.dtype, tiny.train.addresses.dtype) == (np.int64, np.int32)
    x, lengths = frames(tiny.train, step=10_000, pool=5)
    assert x.shape[1:] == (8, 6) and lengths[1] == 1 and x.sum() == len(tiny.train.times)


def test_heidelberg_times_are_tonics_to_a_microsecond(tmp_path):
    hsd = pytest.importorskip("tonic.datasets.hsd")
    tiny = data.load(spike_set(tmp_path), tmp_path).test
    theirs = object.__new__(hsd.SHD)
    theirs.location_on_system, theirs.data_filename = str(tmp_path / "tiny"), "test.h5"
    theirs.transform = theirs.target_transform = None
    for index in range(len(tiny)):
        found, label = theirs[index]
        times, addresses = tiny.recording(index)
        assert np.array_equal(found["x"], addresses) and label == tiny.labels[index]
        assert np.abs(found["t"] - times).max(initial=0) <= 1


def test_packed_files_give_the_same(tmp_path):
    path = spike_set(tmp_path)
    plain = data.load(path, tmp_path).train
    file = tmp_path / "tiny" / "train.h5"
    content = file.read_bytes()
    (tmp_path / "tiny" / "train.h5.gz").write_bytes(gzip.compress(content))
    file.unlink()
    assert same(data.load(path, tmp_path).train, plain)
    (tmp_path / "tiny" / "train.h5.zip").write_bytes(zipped({"train.h5": content}))
    assert same(data.load(path, tmp_path).train, plain)
    assert only_whole_files(tmp_path / "cache" / "data")


def test_class_names_come_from_the_file(tmp_path):
    path = spike_set(tmp_path, **{"extra/keys": np.array([b"Hund", b"Katze"])})
    assert data.load(path, tmp_path).train.classes == ("Hund", "Katze")
    shutil.rmtree(tmp_path / "tiny")
    path = spike_set(tmp_path, **{"extra/keys": None})
    assert data.load(path, tmp_path).train.classes == CLASSES


def bad(times, channels=None):
    whole = spikes(12)
    whole[3] = (np.array(times), np.array(channels if channels is not None else [0] * len(times)))
    return {"recordings": whole, "exact": True}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (bad([0.2, 0.1]), r"train.h5: recording 3 has unsorted times: 100000 follows 200000 at event 1; sort them"),
        (bad([-0.1, 0.1]), r"recording 3 has the negative time -100000"),
        (bad([0.1, np.nan]), r"recording 3 has a time that is no finite number"),
        (bad([0.1, 0.2], [0, 30]), r"recording 3 has addresses from 0 to 30; the shape has room for 0 to 29"),
        (bad([0.1, 0.2], [0]), r"recording 3 has times of shape \[2\] and addresses of shape \[1\]"),
        ({"labels": np.full(12, 2)}, r"'train' has the label 2 at sample 0; its card names 2 classes, 0 to 1"),
        ({"labels": np.zeros(11, int)}, r"train.h5 has 12 times, 12 units and 11 labels"),
        ({"labels": None}, r"train.h5 lacks labels; spikes/times, spikes/units and labels are needed"),
        ({"extra/keys": np.array([b"cat"])}, r"train.h5 names 1 classes; its card names 2"),
        ({"extra/speaker": np.zeros(12, int)}, r"has no samples of '2', whom its card holds out; found: 0"),
        ({"extra/speaker": np.full(12, 2)}, r"leaves no samples for train; its card holds out everybody"),
        ({"recordings": spikes(11)}, r"has 11 samples; its card says 12; fetch its files again from .*mirror"),
    ],
)
def test_heidelberg_files_that_do_not_fit_are_refused_and_nothing_is_kept(tmp_path, own_cache, fields, message):
    tiny = data.load(spike_set(tmp_path, **fields), tmp_path)
    with pytest.raises(DataError, match=message):
        _ = tiny.train
    assert not list(own_cache.iterdir())


def test_unsorted_recordings_are_sorted_where_the_card_says_so(tmp_path):
    path = spike_set(tmp_path, **bad([0.25, 0.125, 0.125], [1, 2, 3]))
    path.write_text(path.read_text().replace("[parts.train]", "[options]\nsort = true\n[parts.train]"))
    times, addresses = data.load(path, tmp_path).train.recording(3)
    assert times.tolist() == [125_000, 125_000, 250_000] and addresses.tolist() == [2, 3, 1]
    path.write_text(path.read_text().replace("sort = true", "sorted = true"))
    with pytest.raises(DataError, match=r"tiny: options has the unknown key 'sorted'; did you mean 'sort'\?"):
        _ = data.load(path, tmp_path).train


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.95])
def test_a_truncated_heidelberg_file_is_refused(tmp_path, own_cache, share):
    path = spike_set(tmp_path)
    file = tmp_path / "tiny" / "train.h5"
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=r"train.h5 is truncated or no HDF5 file"):
        _ = data.load(path, tmp_path).train
    file.unlink()
    for name, packed in (("train.h5.zip", zipped({"a": content})), ("train.h5.gz", gzip.compress(content))):
        (tmp_path / "tiny" / name).write_bytes(packed[: int(share * len(packed))])
        with pytest.raises(DataError, match=rf"{name} is truncated or damaged|is truncated or no HDF5 file"):
            _ = data.load(path, tmp_path).train
        (tmp_path / "tiny" / name).unlink()
    (tmp_path / "tiny" / "train.h5.zip").write_bytes(zipped({"a": content, "b": b""}))
    with pytest.raises(DataError, match=r"train.h5.zip holds 2 files; one is needed"):
        _ = data.load(path, tmp_path).train
    assert not list(own_cache.iterdir())


def test_files_are_compared_with_what_the_card_knows(tmp_path, own_cache):
    path = spike_set(tmp_path)
    content = (tmp_path / "tiny" / "test.h5").read_bytes()
    text = path.read_text()

    def declare(**facts: object):
        listed = ", ".join(f"{key} = {value!r}".replace("'", '"') for key, value in facts.items())
        path.write_text(text.replace('name = "test.h5"', f'name = "test.h5", {listed}'))
        return data.load(path, tmp_path)

    right = {"md5": hashlib.md5(content).hexdigest(), "sha256": hashlib.sha256(content).hexdigest()}
    assert len(declare(size=len(content), **right).test) == 4
    with pytest.raises(
        DataError, match=rf"test.h5 has {len(content):,} bytes; its card says 5; fetch it again from ex"
    ):
        _ = declare(size=5).test
    for kind, wrong in (("md5", "0" * 32), ("sha256", "0" * 64)):
        message = (
            rf"test.h5 has the {kind} {right[kind][:12]}…; its card says 000000000000…; fetch .*example.org/mirror"
        )
        with pytest.raises(DataError, match=message):
            _ = declare(**{kind: wrong}).test
    assert len(list(own_cache.iterdir())) == 1


def test_a_second_load_reads_the_cache_and_a_changed_file_is_read_again(tmp_path, own_cache, monkeypatch):
    path = spike_set(tmp_path)
    first = data.load(path, tmp_path).train
    with monkeypatch.context() as patched:
        patched.setattr(event_cache, "_make", lambda *_: pytest.fail("the files were read again"))
        assert same(data.load(path, tmp_path).train, first)
    (kept,) = own_cache.iterdir()
    with h5py.File(kept) as file:
        assert file.attrs["source"] == "example.org/tiny" and "train.h5.zip" in file.attrs["files"]
        assert np.array_equal(file["train/times"], first.times)
    write_spikes(tmp_path / "tiny" / "train.h5", spikes(12, seed=9))
    assert not same(data.load(path, tmp_path).train, first)


def test_a_damaged_cache_is_made_again(tmp_path, own_cache):
    path = spike_set(tmp_path)
    wanted = data.load(path, tmp_path)
    wanted = wanted.train.select(slice(None)), wanted.validation.select(slice(None))
    (kept,) = own_cache.iterdir()
    whole = kept.read_bytes()
    draw = random.Random(0)
    for trial in range(80):
        damaged = bytearray(whole)
        damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        kept.unlink()
        kept.write_bytes(damaged if trial % 3 else whole[: draw.randrange(len(whole))])
        found = data.load(path, tmp_path)
        assert same(found.train, wanted[0]) and same(found.validation, wanted[1])
        assert found.train.classes == CLASSES and found.train.group_names == ("0", "1")
    assert [path.name for path in own_cache.iterdir()] == [kept.name]


def test_cache_names_change_with_all_that_decides_the_content(tmp_path):
    path = spike_set(tmp_path)
    text = path.read_text()
    changes = [("30", "31"), ('["2"]', '["1"]'), ("count = 12", "count = 11"), ('"cat"', '"cow"'), ("h5.zip", "h5.gz")]
    changes += [("[parts.train]", "[options]\nsort = true\n[parts.train]")]
    places = set()
    for old, new in [("", ""), *changes]:
        path.write_text(text.replace(old, new, 1))
        found = card.read(path)
        part = found.part("train")
        places.add(store.location(found, part, part.order, dict(part.groups), dict(found.options)))
    assert len(places) == len(changes) + 1


def test_a_cache_that_cannot_be_written_says_so(tmp_path, monkeypatch):
    (tmp_path / "occupied").touch()
    monkeypatch.setenv("SNNKIT_CACHE", str(tmp_path / "occupied"))
    with pytest.raises(FileError, match=r"cannot be written .* set SNNKIT_CACHE to a folder that can"):
        _ = data.load(spike_set(tmp_path), tmp_path).train


@pytest.mark.parametrize("name", ["shd", "ssc", "gsc35", "nmnist", "dvsgesture"])
def test_missing_files_come_with_instructions(name, tmp_path, monkeypatch):
    monkeypatch.delenv("SNNKIT_DATA", raising=False)
    found = card.read(name)
    first = found.parts[0].files[0]
    facts = rf"{re.escape(first.name)} \(.*{first.md5 or format(first.size, ',')}"
    places = rf"published at {re.escape(found.source)}; mirrors: {re.escape(', '.join(found.mirrors))}"
    with pytest.raises(DataError, match=rf"{name} needs a data root: set SNNKIT_DATA.*{facts}.*{places}"):
        data.load(name)
    with pytest.raises(
        DataError, match=rf"{name} lacks {re.escape(first.name)}.*{facts}.*{places}.*--root or SNNKIT_DA"
    ):
        data.load(name, tmp_path)
    (tmp_path / name).mkdir()
    for part in found.parts:
        for file in part.files:
            (tmp_path / name / file.name).write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"; its card says .*; fetch it again from"):
        _ = data.load(name, tmp_path).train


def test_atis_files_give_their_events_in_the_order_of_their_names(tmp_path):
    tiny = data.load(atis_set(tmp_path), tmp_path)
    assert tiny.train.labels.tolist() == [0, 1, 0, 1] and tiny.validation.labels.tolist() == [0, 1]
    for split, seeds in ((tiny.train, (0, 10, 1, 11)), (tiny.validation, (2, 12)), (tiny.test, (0, 10))):
        for index, seed in enumerate(seeds):
            wanted, polarity, rows, columns = atis_events(seed)
            times, addresses = split.recording(index)
            assert np.array_equal(times, wanted)
            assert np.array_equal(np.stack(np.unravel_index(addresses, (2, 34, 34))), [polarity, rows, columns])
    x, _ = frames(tiny.test, [0], step=300_000)
    _, polarity, rows, columns = atis_events(0)
    assert x[0, 0, polarity[0], rows[0], columns[0]] >= 1 and x.sum() == 50


def test_atis_events_are_tonics(tmp_path):
    tonic_io = pytest.importorskip("tonic.io")
    times, polarity, rows, columns = atis_events(3, 200)
    times, rows = np.sort(times % 8000), np.where(np.arange(200) % 40 == 39, 240, rows)
    content = atis(times, polarity, rows, columns)
    kinds = np.dtype([("x", int), ("y", int), ("t", int), ("p", int)])
    theirs = tonic_io.read_mnist_file(io.BytesIO(content), kinds, is_stream=True)
    found, addresses = atis_files.events(content, (2, 34, 34), "here")
    assert len(found) == 195 and found[-1] > 4 * 8192
    assert np.array_equal(found, theirs["t"])
    places = np.stack(np.unravel_index(addresses, (2, 34, 34)))
    assert np.array_equal(places, np.stack([theirs["p"], theirs["y"], theirs["x"]]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda files: files.update({"Train/cat/00000.bin": b"123"}),
            r"cat/00000.bin has 3 bytes, which is no multiple",
        ),
        (
            lambda files: files.update({"Train/cat/00000.bin": bytes([0, 0, 0, 0, 9, 0, 0, 0, 0, 5])}),
            r"cat/00000.bin has unsorted times: 5 follows 9",
        ),
        (
            lambda files: files.update({"Train/cat/00000.bin": bytes([34, 0, 0, 0, 9])}),
            r"has an event at row 0, column 34; the sensor has 34 rows and 34 columns",
        ),
        (lambda files: files.update({"Train/cow/00000.bin": b""}), r"lies in the folder 'cow'; a class of the card"),
        (lambda files: files.popitem() and files.popitem(), r"has 5 samples; its card says 6"),
    ],
)
def test_atis_files_that_do_not_fit_are_refused(tmp_path, own_cache, change, message):
    with pytest.raises(DataError, match=message):
        _ = data.load(atis_set(tmp_path, change), tmp_path).train
    assert not list(own_cache.iterdir())


def test_an_empty_atis_file_is_an_empty_recording(tmp_path):
    path = atis_set(tmp_path, lambda files: files.update({"Train/cat/00000.bin": b""}))
    times, _ = data.load(path, tmp_path).train.recording(0)
    assert len(times) == 0


@pytest.mark.parametrize(("make", "name"), [(atis_set, "Train.zip"), (aedat_set, "tiny.tar.gz")])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_a_truncated_archive_is_refused(tmp_path, own_cache, make, name, share):
    path, file = make(tmp_path), tmp_path / "tiny" / name
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=rf"{name} is not a whole archive"):
        _ = data.load(path, tmp_path).train
    assert not list(own_cache.iterdir())


def test_aedat_recordings_are_cut_by_their_tables_and_hold_out_persons(tmp_path):
    tiny = data.load(aedat_set(tmp_path), tmp_path)
    assert (len(tiny.train), len(tiny.validation), len(tiny.test)) == (4, 2, 2)
    assert tiny.train.group_names == ("user01",) and tiny.validation.group_names == ("user02",)
    assert tiny.train.labels.tolist() == [0, 1, 0, 1] and tiny.test.groups.tolist() == [0, 0]
    times, addresses = tiny.train.recording(0)
    assert np.array_equal(times, np.arange(0, 2000, 100))
    word = np.concatenate([polarity_events(np.arange(20), 0), polarity_events(np.arange(40), 9)])[10:30, 0]
    places = np.stack(np.unravel_index(addresses, (2, 128, 128)))
    assert np.array_equal(places, [word >> 1 & 1, word >> 2 & 0x7FFF, word >> 17])


def test_aedat_events_are_tonics(tmp_path):
    tonic_io = pytest.importorskip("tonic.io")
    times = np.arange(0, 5000, 50)
    content = aedat(packet(polarity_events(times[:30])), packet(polarity_events(times[30:], 1)))
    (tmp_path / "one.aedat").write_bytes(content)
    version, start, _ = tonic_io.read_aedat_header_from_file(str(tmp_path / "one.aedat"))
    theirs = tonic_io.get_aer_events_from_file(str(tmp_path / "one.aedat"), version, start)
    found, addresses = aedat_files.events(content, (2, 128, 128), "here")
    assert np.array_equal(found, theirs["timeStamp"])
    word = theirs["address"]
    wanted = [word >> 1 & 1, word >> 2 & 0x1FFF, word >> 17 & 0x1FFF]
    assert np.array_equal(np.stack(np.unravel_index(addresses, (2, 128, 128))), wanted)


def test_aedat_packets_of_other_kinds_and_invalid_events_are_left_out_and_the_clock_wraps():
    times = np.arange(5)
    content = aedat(
        packet(polarity_events(times), kind=2),
        packet(polarity_events(times)),
        packet(polarity_events(times, valid=0)),
        packet(polarity_events(times), overflow=1),
    )
    found, _ = aedat_files.events(content, (2, 128, 128), "here")
    assert found.tolist() == [*range(5), *(2**31 + time for time in range(5))]
    assert len(aedat_files.events(aedat(), (2, 128, 128), "here")[0]) == 0
    bare = content.replace(b"#!END-HEADER\r\n", b"")
    assert aedat_files.events(bare, (2, 128, 128), "here")[0].tolist() == found.tolist()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (aedat(packet(polarity_events(np.arange(5))))[:-3], r"here is truncated: a packet ends at byte \d+ of \d+"),
        (aedat(b"123"), r"here is truncated"),
        (aedat(first=b"#!AER-DAT2.0\r\n"), r"here starts with b'#!AER-DAT2.0'; an AEDAT 3.1 file starts with"),
        (b"", r"here starts with b''"),
        (aedat(packet(polarity_events(np.array([5, 4])))), r"here has unsorted times: 4 follows 5"),
        (aedat(packet(np.array([[200 << 17 | 1, 0]]))), r"here has an event at row 0, column 200; the sensor has 128"),
        (
            aedat(packet(np.zeros((2, 2), int)).replace(b"\x08\0\0\0\x04", b"\x04\0\0\0\x04")),
            r"has a packet of 2 events of 4 bytes; 8 are needed",
        ),
    ],
)
def test_aedat_files_that_do_not_fit_are_refused(content, message):
    with pytest.raises(DataError, match=message):
        aedat_files.events(content, (2, 128, 128), "here")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda files: files.pop("Tiny/user01_led.aedat"), r"lacks user01_led.aedat, which trials_to_train.txt lists"),
        (lambda files: files.pop("Tiny/user01_led_labels.csv"), r"user01_led.aedat has no table of labels beside it"),
        (lambda files: files.pop("Tiny/trials_to_train.txt"), r"holds no trials_to_train.txt, which lists its record"),
        (
            lambda files: files.update({"Tiny/user01_led_labels.csv": TABLE + b"1,x\r\n"}),
            r"line 4 of its labels is '1,x'; class, start and end needed",
        ),
        (
            lambda files: files.update({"Tiny/user01_led_labels.csv": TABLE.replace(b"2,", b"3,")}),
            r"has the label 2 at sample 1",
        ),
    ],
)
def test_aedat_archives_that_do_not_fit_are_refused(tmp_path, own_cache, change, message):
    with pytest.raises(DataError, match=message):
        _ = data.load(aedat_set(tmp_path, change), tmp_path).train
    assert not list(own_cache.iterdir())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('order = "groups"', 'order = "group"', r"order is 'group'; did you mean 'groups'\?|lacks splits"),
        ("count = 12\n", "", r"parts.train lacks count"),
        ("count = 12", "count = 0", r"has count = 0; a whole number of at least 1 is needed"),
        ("train = []", 'train = ["0"]', r"one list empty for all others"),
        ('["2"]', '["2", "2"]', r"no name twice"),
        ('["2"]', '"2"', r"for each split a list of names is needed"),
        ("count = 12", "count = 12\nsplits = { train = 12 }", r"has splits and the order 'groups', which has no use"),
        ("splits = { test = 4 }", "splits = { test = 4 }\ncount = 4", r"has count and the order 'file', which has no"),
        ('holds = "both" }]\n[parts.test]', 'holds = "both", md5 = "0" }]\n[parts.test]', r"md5 = '0'; 32 hexadecimal"),
        ('"train.h5.gz"]', '"../train.h5.gz"]', r"a file name without a folder is needed"),
        ('["example.org/mirror"]', "[1]", r"mirrors = \[1\]; a list of addresses is needed"),
        ("validation =", "valid =", r"has the splits \['test', 'train', 'valid'\]"),
    ],
)
def test_cards_of_events_are_checked(tmp_path, old, new, message):
    path = spike_set(tmp_path)
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DataError, match=message):
        card.read(path)
