"""Recordings and results come back as they were, are small, and h5py alone reads them."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from corruption import corrupt, edited, sign
from torch import Tensor, nn

import snnkit
from snnkit import files
from snnkit.errors import FileError, InputError, SnnkitError
from snnkit.files import container, tree


def same(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors agree to the bit, NaN and the sign of zero included."""
    bits = (tensor.reshape(-1).clone().view(torch.uint8) for tensor in (one, other))
    return one.dtype == other.dtype and one.shape == other.shape and torch.equal(*bits)


def test_a_recording_comes_back(tmp_path: Path) -> None:
    net = snnkit.Network(
        nn.Linear(6, 40), snnkit.ALIF(backend="reference"), snnkit.ILIF(theta=0.25, backend="reference")
    )
    traces = net.record(torch.rand(30, 4, 6) * 9)
    files.save_recording(tmp_path / "run.h5", traces, metadata={"seed": 3})
    found = files.load_recording(tmp_path / "run.h5")
    assert list(found) == list(traces) == ["0", "1.v", "1.a", "1", "2.v", "2"]
    assert all(same(found[name], traces[name]) for name in traces)
    assert found["1"].max() == 1 and found["2"].max() > 1
    assert files.about(tmp_path / "run.h5").metadata == {"seed": 3}
    with h5py.File(tmp_path / "run.h5") as file:
        assert (file["traces/1"].dtype, file["traces/2"].dtype, file["traces/1.v"].dtype) == ("u1", "u1", "f4")
        np.testing.assert_array_equal(file["traces/1"][()], traces["1"].numpy())
        assert file["traces/1"].attrs["dtype"] == b"float32"


DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool, torch.uint8, torch.int8, torch.int64]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(3, 2), (40, 5, 30), (5, 0, 2)], ids=str)
def test_every_type_comes_back(tmp_path: Path, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    values = torch.randn(shape).mul(50).to(dtype)
    files.save_recording(tmp_path / "run.h5", {"x": values, "spikes": (torch.rand(shape) < 0.1).to(dtype)})
    found = files.load_recording(tmp_path / "run.h5")
    assert same(found["x"], values)
    assert found["spikes"].dtype == dtype


@pytest.mark.parametrize("value", [-0.0, float("nan"), float("inf"), 0.5, -1.0, 256.0])
def test_only_what_a_byte_holds_becomes_a_byte(tmp_path: Path, value: float) -> None:
    trace = torch.tensor([[[0.0, 1.0, value]]])
    files.save_recording(tmp_path / "run.h5", {"x": trace, "spikes": torch.tensor([[[0.0, 255.0]]])})
    found = files.load_recording(tmp_path / "run.h5")
    assert same(found["x"], trace) and found["spikes"].tolist() == [[[0.0, 255.0]]]
    with h5py.File(tmp_path / "run.h5") as file:
        assert (file["traces/x"].dtype, file["traces/spikes"].dtype) == ("f4", "u1")


def test_spikes_take_less_than_a_bit_each(tmp_path: Path) -> None:
    spikes = (torch.rand(200, 8, 256) < 0.05).float()
    files.save_recording(tmp_path / "run.h5", {"1": spikes})
    assert (tmp_path / "run.h5").stat().st_size * 8 < spikes.numel()


def test_what_is_too_large_to_compress_at_once_is_kept_plain(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tree, "_LARGEST_CHUNK", 10_000)
    trace = torch.rand(100, 10, 100)
    files.save_recording(tmp_path / "run.h5", {"1": trace})
    with h5py.File(tmp_path / "run.h5") as file:
        assert file["traces/1"].chunks is None
    assert same(files.load_recording(tmp_path / "run.h5")["1"], trace)


def test_tensors_with_gradients_or_strides_are_kept(tmp_path: Path) -> None:
    trace = torch.rand(4, 3, 2, requires_grad=True).transpose(0, 1)
    files.save_recording(tmp_path / "run.h5", {"x": trace, "y": torch.zeros(1).expand(5, 2)})
    found = files.load_recording(tmp_path / "run.h5")
    assert torch.equal(found["x"], trace.detach()) and found["y"].shape == (5, 2)


@pytest.mark.parametrize(
    ("traces", "reason"),
    [
        ({"x": [1, 2]}, r"trace 'x' is \[1, 2\]; needed is a tensor \[T, B, features…\]"),
        ({"x": torch.zeros(3)}, r"trace 'x' is of shape \[3\]; needed is a tensor"),
        ({"a/b": torch.zeros(3, 1)}, "'a/b' cannot name a dataset; use 1 to 200 characters without '/'"),
        ({"": torch.zeros(3, 1)}, "'' cannot name a dataset"),
        ({"..": torch.zeros(3, 1)}, r"'\.\.' cannot name a dataset"),
        ({"\ud800": torch.zeros(3, 1)}, "cannot name a dataset"),
        ({1: torch.zeros(3, 1)}, "1 cannot name a dataset"),
        ({"x": torch.zeros(3, 1, dtype=torch.complex64)}, "'x' holds values of type complex64; files keep float16"),
        ({"x": torch.zeros(3, 1).to_sparse()}, r"'x' holds a tensor that is sparse or has no values; use \.to_dense"),
    ],
)
def test_traces_that_files_do_not_keep_are_refused(tmp_path: Path, traces: Any, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        files.save_recording(tmp_path / "run.h5", traces)
    assert not list(tmp_path.iterdir())


def test_results_come_back(tmp_path: Path) -> None:
    results = {
        "accuracy": 0.975,
        "epochs": 12,
        "done": True,
        "machine": "two cores — Ω",
        "empty": "",
        "nothing": {},
        "not a number": float("nan"),
        "classes": ["zéro", "one", ""],
        "curve": {"loss": [0.9, 0.5, 0.25], "step": [1, 2, 3], "deeper": {"flag": [True, False]}},
        "confusion": np.arange(9, dtype=np.int16).reshape(3, 3),
        "weights": torch.rand(70, 30),
        "scalar": np.float32(0.5),
        "half": torch.tensor([0.1, 0.2]).bfloat16(),
        "none": [],
        "big": np.arange(4.0, dtype=">f8"),
    }
    files.save_results(tmp_path / "results.h5", results, metadata={"seeds": [1, 2, 3]})
    found = files.load_results(tmp_path / "results.h5")
    assert list(found) == list(results)
    for name in ("accuracy", "epochs", "done", "machine", "empty", "nothing", "classes"):
        assert found[name] == results[name] and type(found[name]) is type(results[name])
    assert np.isnan(found["not a number"])
    assert found["curve"]["loss"].tolist() == [0.9, 0.5, 0.25] and found["curve"]["loss"].dtype == np.float64
    assert found["curve"]["step"].tolist() == [1, 2, 3] and found["curve"]["step"].dtype == np.int64
    assert found["curve"]["deeper"]["flag"].tolist() == [True, False]
    assert found["confusion"].dtype == np.int16 and found["confusion"].tolist() == results["confusion"].tolist()
    np.testing.assert_array_equal(found["weights"], results["weights"].numpy())
    assert found["scalar"] == 0.5 and found["half"].dtype == np.float32 and found["none"].size == 0
    assert found["big"].tolist() == [0, 1, 2, 3] and found["big"].dtype == np.float64
    with h5py.File(tmp_path / "results.h5") as file:
        assert file["results/accuracy"][()] == 0.975
        assert file["results/machine"].asstr()[()] == "two cores — Ω"
        assert list(file["results/classes"].asstr()) == ["zéro", "one", ""]


def deep(levels: int) -> dict[str, Any]:
    return {"x": deep(levels - 1)} if levels else {}


@pytest.mark.parametrize(
    ("results", "reason"),
    [
        ({"a": None}, "results/a is None; needed is a number, text, array, list of numbers or of texts, or a mapping"),
        ({"a": {"b": object}}, "results/a/b is <class 'object'>; needed is a number"),
        ({"a": 2**70}, "results/a is 1180591620717411303424, which is no array of numbers"),
        ({"a": [[1], [1, 2]]}, r"results/a is \[\[1\], \[1, 2\]\], which is no array of numbers"),
        ({"a": [1, "b"]}, "'results/a' holds values of type str.*; files keep float16"),
        ({"a": [None]}, "'results/a' holds values of type object; files keep"),
        ({"a": "\0"}, r"results/a is '\\x00'; a text in a file has no zero character and is UTF-8"),
        ({"a": ["\ud800"]}, "a text in a file has no zero character and is UTF-8"),
        ({"a/b": 1}, "'a/b' cannot name a dataset"),
        (deep(9), "results/x/x/.* is nested deeper than 8; make it flatter"),
    ],
)
def test_results_that_files_do_not_keep_are_refused(tmp_path: Path, results: Any, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        files.save_results(tmp_path / "results.h5", results)
    assert not list(tmp_path.iterdir())


def flat(file: h5py.File) -> None:
    del file["traces/1"]
    dataset = file.create_dataset("traces/1", data=np.zeros(3, "f4"))
    dataset.attrs["units"], dataset.attrs["dtype"] = np.bytes_("1"), np.bytes_("float32")


def mapping(file: h5py.File) -> None:
    del file["traces/1"]
    file.create_group("traces/1")


def no_group(file: h5py.File) -> None:
    del file["traces"]
    file["traces"] = np.bytes_("none")


def truth(file: h5py.File) -> None:
    file["traces/1"][...] = 7
    del file["traces/1"].attrs["dtype"]
    file["traces/1"].attrs["dtype"] = np.bytes_("bool")


def plugin(file: h5py.File) -> None:
    del file["traces/1"]
    file.create_dataset("traces/1", data=np.zeros((30, 30)), chunks=(30, 30), compression="lzf")


def several_chunks(file: h5py.File) -> None:
    del file["traces/1"]
    file.create_dataset("traces/1", data=np.zeros((30, 30)), chunks=(10, 10), compression="gzip")


def no_chunk(file: h5py.File) -> None:
    del file["traces/1"]
    file.create_dataset("traces/1", (30, 30), "f4", chunks=(30, 30), compression="gzip")


def other(file: h5py.File) -> None:
    file["more"] = np.bytes_("text")


HARMFUL = {
    flat: r"trace '1' is not an array \[T, B, features…\]",
    mapping: r"trace '1' is not an array \[T, B, features…\]",
    no_group: "/traces is not a group",
    truth: "values of type uint8 that stand for 'bool'; files keep",
    plugin: "/traces/1 is not stored as snnkit stores it",
    several_chunks: "/traces/1 is not stored as snnkit stores it",
    no_chunk: "/traces/1 is not stored as snnkit stores it",
    other: "unknown key 'more'.*; known: traces",
}


@pytest.mark.parametrize("edit", HARMFUL, ids=lambda edit: edit.__name__)
def test_recordings_made_to_harm_are_refused(tmp_path: Path, edit) -> None:
    path = tmp_path / "run.h5"
    files.save_recording(path, {"1": torch.zeros(30, 30, dtype=torch.uint8)})
    path.write_bytes(edited(path.read_bytes(), path, edit))
    with pytest.raises(FileError, match=f"is refused: .*({HARMFUL[edit]})"):
        files.load_recording(path)


def test_corrupted_recordings_and_results_load_or_are_refused(tmp_path: Path) -> None:
    import random

    draw = random.Random(3)
    path = tmp_path / "file.h5"
    files.save_recording(path, {"1": (torch.rand(40, 4, 30) < 0.1).float(), "1.v": torch.rand(4, 4, 3)})
    recording = path.read_bytes()
    files.save_results(path, {"a": 1.0, "b": {"c": ["x", "y"], "d": np.zeros(2000)}})
    results = path.read_bytes()
    outcomes = set()
    for content, load in ((recording, files.load_recording), (results, files.load_results)):
        for k in range(400):
            damaged = corrupt(content, draw)
            path.write_bytes(damaged if k % 2 else sign(corrupt(content[container.HEADER :], draw)))
            try:
                load(path)
                outcomes.add("loaded")
            except SnnkitError as error:
                outcomes.add(type(error))
    assert outcomes == {"loaded", FileError}
