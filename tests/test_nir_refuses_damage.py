"""A NIR file that is damaged or made to harm is refused with its reason."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from corruption import corrupt
from torch import nn

import snnkit
from snnkit.deploy.nir import file as nir_file
from snnkit.errors import FileError, SnnkitError

nir = pytest.importorskip("nir", reason="nir is not installed")

IN, OUT = nir.Input({"input": np.array([2])}), nir.Output({"output": np.array([2])})
WEIGHT = np.array([[1.0, 0.5], [0.25, -1.0]])


def network() -> snnkit.Network:
    torch.manual_seed(0)
    return snnkit.Network(
        snnkit.DelayLinear(4, 6, max_delay=3),
        snnkit.LIF(tau=3.0, theta=0.3, reset="hard"),
        nn.Linear(6, 3),
        snnkit.CubaLIF(theta=0.2, reset="hard"),
    )


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("nir") / "net.nir"
    snnkit.deploy.nir.save(network(), path)
    return path.read_bytes()


def load(content: bytes, tmp_path: Path, **options: Any) -> snnkit.Network:
    (tmp_path / "net.nir").write_bytes(content)
    return snnkit.deploy.nir.load(tmp_path / "net.nir", **options)


@pytest.mark.parametrize("part", range(4))
def test_random_damage_is_refused_or_changes_nothing(good: bytes, tmp_path: Path, part: int) -> None:
    draw = random.Random(part)
    x = (torch.rand(12, 2, 4) < 0.4).float() * 2
    expected = load(good, tmp_path)(x)
    refused = 0
    for _ in range(150):
        damaged = corrupt(good, draw)
        for options in ({}, {"dt": 1e-3}):
            try:
                net = load(damaged, tmp_path, **options)
            except SnnkitError:
                refused += 1
                continue
            assert damaged == good or torch.equal(net(x), expected)
    assert refused >= 250


def test_damage_of_the_files_of_others_raises_nothing_but_our_errors(tmp_path: Path) -> None:
    graph = snnkit.deploy.nir.to_graph(network())
    graph.metadata = {}
    nir.write(tmp_path / "theirs.nir", graph)
    content, draw = (tmp_path / "theirs.nir").read_bytes(), random.Random(0)
    assert load(content, tmp_path, dt=1e-3)
    for _ in range(150):
        try:
            load(corrupt(content, draw), tmp_path, dt=1e-3)
        except SnnkitError:
            continue


def refused(content: bytes, tmp_path: Path, reason: str, **options: Any) -> None:
    with pytest.raises(FileError, match=reason):
        load(content, tmp_path, **options)


def test_what_is_no_nir_file(good: bytes, tmp_path: Path) -> None:
    refused(b"", tmp_path, "is no NIR file: it starts with b'' and HDF5 with")
    refused(b"PK\x03\x04", tmp_path, r"is no NIR file: it starts with b'PK\\x03\\x04'")
    refused(good[:300], tmp_path, "is truncated: it has 300 bytes and its header alone takes 512")
    refused(good[:-1], tmp_path, "is truncated")
    refused(good + b"\0", tmp_path, "is damaged")
    # without its header the file is plain HDF5, and the notes in it tell that there was one
    with h5py.File(io.BytesIO(good)) as file:
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as other:
            file.copy("node", other)
    refused(buffer.getvalue(), tmp_path, "snnkit wrote it, and the digest that came with it is gone; use another copy")
    refused(good, tmp_path, "has more than 100 bytes; if it is meant to, give limit=", limit=100)
    zeros = snnkit.Network(nn.Linear(200, 200, bias=False))
    nn.init.zeros_(zeros[0].weight)
    snnkit.deploy.nir.save(zeros, tmp_path / "zeros.nir")
    with pytest.raises(FileError, match="weight takes more than allowed; if it is meant to, give a larger limit="):
        snnkit.deploy.nir.load(tmp_path / "zeros.nir", limit=50_000)
    with pytest.raises(FileError, match=r"no file .*gone\.nir"):
        snnkit.deploy.nir.load(tmp_path / "gone.nir")


def made(edit: Any) -> bytes:
    """Return a plain HDF5 file with the group /node of one Linear, after an edit of it."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        graph = nir.NIRGraph.from_list(IN, nir.Linear(WEIGHT), OUT)
        nir_file._write(file.create_group("node"), graph.to_dict())
        edit(file)
    return buffer.getvalue()


def replaced(path: str, value: Any, **options: Any) -> Any:
    def edit(file: h5py.File) -> None:
        del file[path]
        file.create_dataset(path, data=value, **options)

    return edit


def linked(file: h5py.File) -> None:
    file["node/nodes/linear"].pop("weight")
    file["node/nodes/linear/weight"] = h5py.ExternalLink("elsewhere.h5", "/secret")


def elsewhere(file: h5py.File) -> None:
    file["node/nodes/linear"].pop("weight")
    file.create_dataset("node/nodes/linear/weight", (2, 2), "f4", external=[("secret", 0, 16)])


def typed(file: h5py.File) -> None:
    file["node/nodes/linear/kind"] = np.dtype("f4")


def deep(file: h5py.File) -> None:
    file["node"].create_group("/".join("a" * 50))


def circular(file: h5py.File) -> None:
    file["node/again"] = file["node"]


def vast(file: h5py.File) -> None:
    file["node/nodes/linear"].pop("weight")
    file.create_dataset("node/nodes/linear/weight", (1 << 16, 1 << 16), "f8", chunks=(64, 64))


WEIGHT_AT = "node/nodes/linear/weight"
TEXT = h5py.string_dtype()
HARM = {
    "link": (linked, "/node/nodes/linear/weight is a link to elsewhere; a NIR file holds all"),
    "external": (elsewhere, "/node/nodes/linear/weight keeps its values elsewhere, or packed"),
    "type": (typed, "/node/nodes/linear/kind is neither a group nor a dataset"),
    "deep": (deep, "is nested too deep"),
    "circular": (circular, "/node/again is a group that has another name too; a NIR file is a tree"),
    "vast": (vast, "/node/nodes/linear/weight takes more than allowed; if it is meant to, give a larger limit="),
    "empty": (replaced(WEIGHT_AT, h5py.Empty("f4")), "/node/nodes/linear/weight holds nothing"),
    "complex": (replaced(WEIGHT_AT, np.ones((2, 2), complex)), "holds complex128; needed are numbers or text"),
    "texts": (replaced(WEIGHT_AT, ["a", "b"], dtype=TEXT), r"holds texts of shape \[2\]; needed is one, or pairs"),
    "long": (replaced("node/nodes/linear/type", "L" * 70000), "is no text of at most 65,536 bytes"),
    "latin": (replaced("node/nodes/linear/type", np.bytes_(b"\xe4")), "is not text in UTF-8"),
    "no node": (lambda file: file.pop("node"), "is HDF5 without the group /node, so it is no NIR file"),
}


@pytest.mark.parametrize("kind", HARM)
def test_what_was_made_to_harm_is_refused(kind: str, tmp_path: Path) -> None:
    edit, reason = HARM[kind]
    refused(made(edit), tmp_path, reason, dt=1e-3)


def test_what_the_library_cannot_read_is_refused(tmp_path: Path) -> None:
    refused(b"\x89HDF\r\n\x1a\n" + bytes(600), tmp_path, "is refused: it cannot be read as HDF5", dt=1e-3)
