"""A file that is not what snnkit wrote is refused with its reason; none runs code, hangs, or ends the process."""

import os
import random
import re
import time
from pathlib import Path

import corruption
import h5py
import numpy as np
import pytest
import torch
from corruption import corrupt, edited, sign
from torch import nn

import snnkit
from snnkit import files
from snnkit.errors import FileError, InputError, SnnkitError
from snnkit.files import container, tree

HEADER = container.HEADER


@pytest.fixture(scope="module")
def good() -> bytes:
    torch.manual_seed(0)
    net = snnkit.Network(nn.Linear(3, 2), snnkit.LIF(tau=torch.tensor([2.0, 3.0]), learn=("tau",)))
    return files.to_bytes(net, metadata={"accuracy": 0.97})


def refused(content: bytes, reason: str) -> None:
    with pytest.raises(FileError, match=reason):
        files.from_bytes(content, where="net.h5")


def test_a_missing_file_is_named_with_the_one_that_may_be_meant(tmp_path: Path, good: bytes) -> None:
    (tmp_path / "net.h5").write_bytes(good)
    with pytest.raises(FileError, match=r"no file .*nett\.h5; did you mean 'net\.h5'\?"):
        snnkit.load(tmp_path / "nett.h5")
    with pytest.raises(FileError, match=r"no file .*; give the path of a file that exists"):
        snnkit.load(tmp_path / "x")
    with pytest.raises(FileError, match=r"no file .*: there is no folder .*nowhere"):
        snnkit.load(tmp_path / "nowhere" / "net.h5")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be read: Is a directory; give the path of a file"):
        snnkit.load(tmp_path)
    with pytest.raises(FileError, match="cannot be read: embedded null byte"):
        snnkit.load("net\0.h5")
    os.mkfifo(tmp_path / "pipe.h5")
    with pytest.raises(FileError, match="is not a regular file"):
        snnkit.load(tmp_path / "pipe.h5")
    with pytest.raises(FileError, match="is not a regular file"):
        snnkit.load("/dev/zero")


def test_a_file_over_the_limit_is_refused(tmp_path: Path, good: bytes) -> None:
    (tmp_path / "net.h5").write_bytes(good)
    with pytest.raises(FileError, match="has more than 100 bytes; if it is meant to, give limit="):
        snnkit.load(tmp_path / "net.h5", limit=100)


def test_an_empty_file_is_refused() -> None:
    refused(b"", r"net\.h5 is empty \(0 bytes\); use another copy, or save it again")


@pytest.mark.parametrize("length", [20, HEADER - 1])
def test_a_file_cut_within_its_header_is_refused(good: bytes, length: int) -> None:
    refused(good[:length], f"is truncated: it has {length} bytes and its header alone takes 512")


@pytest.mark.parametrize("missing", [1, 100, 2000])
def test_a_truncated_file_is_refused(good: bytes, missing: int) -> None:
    came, told = f"{len(good) - missing:,}", f"{len(good):,}"
    refused(good[:-missing], f"is truncated: it has {came} bytes and its header tells of {told}; use another copy")


def test_a_damaged_file_is_refused(good: bytes) -> None:
    for place in (16, 60, 400, HEADER, len(good) - 1):
        copy = bytearray(good)
        copy[place] ^= 4
        refused(bytes(copy), "is damaged: its content and its digest differ; use another copy")
    refused(good + b"\0", "is damaged")


def test_hdf5_of_others_is_refused(tmp_path: Path) -> None:
    for block in (0, 512, 2048):
        with h5py.File(tmp_path / "other.h5", "w", userblock_size=block) as file:
            file["weight"] = np.zeros(3)
        with pytest.raises(FileError, match=r"other\.h5 is HDF5 without the header of snnkit; h5py opens it; needed"):
            snnkit.load(tmp_path / "other.h5")


def test_what_is_not_hdf5_is_refused(tmp_path: Path) -> None:
    refused(b"hello, world", r"net\.h5 is not HDF5: it starts with b'hello, w'; needed is a file that snnkit wrote")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "net.pt")
    with pytest.raises(FileError, match=r"net\.pt looks like a pickle of torch\.save, which snnkit does not open"):
        snnkit.load(tmp_path / "net.pt")


def test_a_newer_format_names_the_snnkit_that_reads_it(good: bytes) -> None:
    newer = sign(good[HEADER:], version=2, needs="0.9.1")
    refused(newer, r"has format 2 and snnkit .* reads up to 1; it needs snnkit 0\.9\.1 or newer: pip install --upgrade")
    strange = sign(good[HEADER:], version=2, needs="\x1b[2J")
    refused(strange, r"it needs snnkit \(unknown\) or newer")


def test_a_body_that_snnkit_does_not_write_is_refused(tmp_path: Path, good: bytes) -> None:
    reason = "is refused: its header does not belong to a body that snnkit writes"
    refused(sign(good[HEADER:], version=0), reason)
    refused(sign(b"hello"), reason)
    refused(sign(b""), reason)
    # The oldest layout of HDF5 has no checksums.
    with h5py.File(tmp_path / "old.h5", "w", libver="earliest") as file:
        file["weight"] = np.zeros(3)
    refused(sign((tmp_path / "old.h5").read_bytes()), reason)
    refused(sign(good[HEADER : HEADER + 60]), r"its HDF5 body cannot be read \(.*truncated file")


def test_other_kinds_of_file_name_what_opens_them(tmp_path: Path, good: bytes) -> None:
    path = tmp_path / "file.h5"
    files.save_recording(path, {"1": torch.zeros(2, 1)})
    with pytest.raises(
        FileError, match=r"holds a recording where a network is needed; open it with snnkit\.files\.load_recording"
    ):
        snnkit.load(path)
    with pytest.raises(
        FileError, match=r"holds a recording where results are needed; open it with snnkit\.files\.load_recording"
    ):
        files.load_results(path)
    path.write_bytes(good)
    with pytest.raises(FileError, match=r"holds a network where a recording is needed; open it with snnkit\.load"):
        files.load_recording(path)


def test_a_path_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    net = snnkit.Network(snnkit.LIF())
    with pytest.raises(FileError, match=r"no folder .*nowhere to write net\.h5 in; make it first"):
        snnkit.save(net, tmp_path / "nowhere" / "net.h5")
    (tmp_path / "taken").mkdir()
    with pytest.raises(FileError, match="cannot be written: Is a directory; give a path that can"):
        snnkit.save(net, tmp_path / "taken")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileError, match=r"pipe is not a regular file, which a rename would replace"):
        snnkit.save(net, tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()


def test_ten_thousand_corruptions_are_refused(good: bytes) -> None:
    draw = random.Random(1)
    reasons: dict[str, int] = {}
    start = time.monotonic()
    for _ in range(10_000):
        content = corrupt(good, draw)
        try:
            net = files.from_bytes(content, where="net.h5")
            assert content == good and len(net) == 2
        except SnnkitError as error:
            reason = re.split("[:;(]| without", str(error))[0].removeprefix("net.h5 ")
            reasons[reason] = reasons.get(reason, 0) + 1
    assert set(reasons) <= {"is damaged", "is empty ", "is truncated", "is not HDF5", "is HDF5"}
    assert reasons["is damaged"] > 5000 and reasons["is truncated"] > 1000
    assert time.monotonic() - start < 30


def test_corruptions_that_are_signed_load_or_are_refused(good: bytes, tmp_path: Path, run_python) -> None:
    (tmp_path / "net.h5").write_bytes(good)
    # In a process of its own: if the HDF5 library crashed or hung on one, this would see it.
    done = run_python("-W", "error", corruption.__file__, "net.h5", "2", "1500", timeout=90)
    assert done.returncode == 0, done.stderr
    loaded, refusals = map(int, done.stdout.split())
    assert loaded + refusals == 1500 and refusals > 1000 and loaded > 5


def test_nothing_in_a_file_can_import_or_run(good: bytes, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    for text in (
        f"v = open('{marker}', 'w')",
        "v = __import__('os').system('true')",
        "v = (lambda: x)()",
        "v = v.real",
    ):

        def plant(file: h5py.File, text: str = text) -> None:
            graph = file["graph"][()].decode().replace("v = v + (x - (v - v_rest)) / tau", text)
            del file["graph"]
            file.create_dataset("graph", data=np.bytes_(graph.encode()))

        refused(
            edited(good, tmp_path / "net.h5", plant),
            "is refused: layer 1: .*(which an equation cannot|which is not known)",
        )
    assert not marker.exists()


def external_link(file: h5py.File) -> None:
    file["parameters/0/bias2"] = h5py.ExternalLink("/etc/hostname", "/")


def external_values(file: h5py.File) -> None:
    del file["graph"]
    file.create_dataset("graph", (4,), "u1", external=[("/etc/hostname", 0, 4)])


def virtual_values(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((2,), "f4")
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", (2,))
    del file["parameters/0/bias"]
    file.create_virtual_dataset("parameters/0/bias", layout)


def variable_text(file: h5py.File) -> None:
    del file["graph"]
    file["graph"] = "{}"


def committed_type(file: h5py.File) -> None:
    file["type"] = np.dtype("f4")


def compound(file: h5py.File) -> None:
    file["parameters/0/extra"] = np.zeros(2, [("a", "f4"), ("b", "f4")])


def no_space(file: h5py.File) -> None:
    file["parameters/0/extra"] = h5py.Empty("f4")


def unwritten(file: h5py.File) -> None:
    file.create_dataset("parameters/0/extra", (16,), "f4")


def resizable(file: h5py.File) -> None:
    file.create_dataset("parameters/0/extra", data=np.zeros(16), maxshape=(None,), chunks=(4,))


def filtered(file: h5py.File) -> None:
    file.create_dataset("parameters/0/extra", data=np.zeros(16), chunks=(16,), compression="gzip")


def enormous(file: h5py.File) -> None:
    file.create_dataset("parameters/0/extra", (1 << 60,), "f4", chunks=(1 << 20,))


def group_attribute(file: h5py.File) -> None:
    file["parameters"].attrs["x"] = 1


def many_attributes(file: h5py.File) -> None:
    for name in "abc":
        file["parameters/0/bias"].attrs[name] = 1


def array_attribute(file: h5py.File) -> None:
    file["parameters/0/bias"].attrs["units"] = np.zeros(3)


def unknown_attribute(file: h5py.File) -> None:
    del file["parameters/0/bias"].attrs["units"]
    file["parameters/0/bias"].attrs["unit"] = np.bytes_("1")


def wrong_attribute(file: h5py.File) -> None:
    file["parameters/0/bias"].attrs["trainable"] = 7


def text_attributes(file: h5py.File) -> None:
    file["graph"].attrs["x"] = 1


def not_unicode(file: h5py.File) -> None:
    del file["graph"]
    file["graph"] = np.bytes_(b"\xff\xfe")


def cycle(file: h5py.File) -> None:
    file["parameters/0/up"] = file["parameters"]


HARMFUL = {
    external_link: "/parameters/0/bias2 is a link to elsewhere",
    external_values: "/graph keeps its values elsewhere",
    virtual_values: "/parameters/0/bias keeps its values elsewhere",
    variable_text: "/graph holds object of shape .*; needed are numbers or fixed-length text",
    committed_type: "/type is neither a group nor a dataset",
    compound: "/parameters/0/extra holds .* needed are numbers or fixed-length text",
    no_space: "/parameters/0/extra holds float32 of shape None",
    unwritten: "/parameters/0/extra is not stored as snnkit stores it: its 64 bytes are not all there",
    resizable: r"/parameters/0/extra holds float64 of shape \(16,\)",
    filtered: "/parameters/0/extra is not stored as snnkit stores it",
    enormous: r"/parameters/0/extra takes more memory than allowed; if it is meant to, give a larger limit=",
    group_attribute: "group /parameters has attributes; groups have none",
    many_attributes: "/parameters/0/bias has 6 attributes; at most 3 are known",
    array_attribute: "attribute 'units' of /parameters/0/bias is neither a short text nor a whole number",
    unknown_attribute: "unknown key 'unit'; did you mean 'units'",
    wrong_attribute: "/parameters/0/bias has units '1', dtype 'float32', trainable 7",
    text_attributes: "/graph is not a text, or a list of texts, of at most",
    not_unicode: "/graph is not text in UTF-8",
    cycle: "nested too deep|takes more memory than allowed",
}


@pytest.mark.parametrize("edit", HARMFUL, ids=lambda edit: edit.__name__)
def test_hdf5_made_to_harm_is_refused(good: bytes, tmp_path: Path, edit) -> None:
    refused(edited(good, tmp_path / "net.h5", edit), f"is refused: .*({HARMFUL[edit]})")


def test_more_objects_than_any_network_has_are_refused(good: bytes, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tree, "_MOST_OBJECTS", 5)
    monkeypatch.setattr(tree._Budget.__init__, "__defaults__", (5,))
    refused(good, "it holds more than 5 groups and datasets")


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("format", np.bytes_("other network"), "its format is 'other network', version 1"),
        ("format", np.bytes_("snnkit brain"), "its format is 'snnkit brain'"),
        ("version", 7, "its format is 'snnkit network', version 7"),
        ("snnkit", 3, "attribute 'snnkit' is 3; needed is a text"),
        ("created", np.bytes_("yesterday"), "created is 'yesterday'; needed is a date and time"),
        ("creator", 1, "/ has 6 attributes; at most 5 are known"),
        ("torch", None, "'torch' is missing; needed are format, version"),
    ],
)
def test_what_every_file_says_is_checked(good: bytes, tmp_path: Path, name: str, value, reason: str) -> None:
    def edit(file: h5py.File) -> None:
        if name in file.attrs:
            del file.attrs[name]
        if value is not None:
            file.attrs[name] = value

    refused(edited(good, tmp_path / "net.h5", edit), f"is refused: .*{reason}")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "/metadata is missing; needed is a text in JSON"),
        (np.zeros(2), "units.* is missing|/metadata is not a mapping in JSON"),
        (np.bytes_("[1]"), "/metadata is not a mapping in JSON"),
        (np.bytes_('{"a": NaN}'), "metadata is no JSON that snnkit writes: NaN is not a finite number"),
        (np.bytes_('{"a": 1e999}'), "metadata is no JSON that snnkit writes: 1e999 is not a finite number"),
        (np.bytes_('{"a": 1, "a": 2}'), "metadata is no JSON that snnkit writes: a key occurs twice"),
        (np.bytes_('{"a": ' + "[" * 100_000), "metadata is no JSON that snnkit writes: .*recursion"),
        (np.bytes_('{"a": ' + "9" * 10_000 + "}"), "metadata is no JSON that snnkit writes: .*digits"),
    ],
    ids=["none", "numbers", "list", "nan", "infinite", "twice", "deep", "long"],
)
def test_metadata_is_checked(good: bytes, tmp_path: Path, value, reason: str) -> None:
    def edit(file: h5py.File) -> None:
        del file["metadata"]
        if value is not None:
            file["metadata"] = value

    content = edited(good, tmp_path / "net.h5", edit)
    refused(content, f"is refused: .*({reason})")
    (tmp_path / "net.h5").write_bytes(content)
    with pytest.raises(FileError, match=reason):
        files.about(tmp_path / "net.h5")


@pytest.mark.parametrize(
    ("notes", "reason"),
    [
        ({"a": float("nan")}, "metadata is text, finite numbers, lists and dicts of them: Out of range float"),
        ({"a": torch.zeros(2)}, "metadata is text, finite numbers, lists and dicts of them: Object of type Tensor"),
        ({"a": "\ud800"}, "metadata is text, finite numbers, lists and dicts of them: .*surrogates"),
        ({"a": (1, 2)}, "metadata does not come back the same: use lists for tuples, and text for keys"),
        ({1: 2}, "metadata does not come back the same"),
    ],
)
def test_notes_that_would_change_are_refused(tmp_path: Path, notes, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        snnkit.save(snnkit.Network(), tmp_path / "net.h5", metadata=notes)
    assert not list(tmp_path.iterdir())


def test_a_bomb_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.h5"
    files.save_recording(path, {"1": torch.zeros(4000, 4000)})
    content = path.read_bytes()
    assert len(content) < 40_000
    assert files.load_recording(path)["1"].shape == (4000, 4000)
    with pytest.raises(FileError, match="/traces/1 takes more memory than allowed; if it is meant to, give a larger"):
        files.load_recording(path, limit=10**6)

    def swell(file: h5py.File) -> None:
        del file["traces/1"]
        file.create_dataset("traces/1", (1 << 15, 1 << 14), "u1", chunks=(1 << 15, 1 << 14), compression="gzip")

    path.write_bytes(edited(content, path, swell))
    with pytest.raises(FileError, match="/traces/1 takes more memory than allowed"):
        files.load_recording(path)
