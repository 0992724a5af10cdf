"""A checkpoint is whole or refused; the last two are kept; a damaged one gives way to the one before it."""

import io
import os
import pickle
import random

import pytest
import torch

from snnkit.errors import FileError
from snnkit.train import checkpoint
from snnkit.train.checkpoint import has_checkpoints, latest_checkpoint, load_checkpoint, save_checkpoint

STATE = {"weights": {"0.weight": torch.arange(6.0)}, "step": 3, "rows": [{"loss": 0.5, "name": "a", "none": None}]}


class Harmful:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_what_is_saved_comes_back(tmp_path):
    loaded = load_checkpoint(save_checkpoint(tmp_path / "new" / "folder", STATE, step=3))
    assert torch.equal(loaded["weights"]["0.weight"], STATE["weights"]["0.weight"])
    assert loaded["rows"] == STATE["rows"]


def test_the_last_two_are_kept(tmp_path):
    assert not has_checkpoints(tmp_path)
    for step in (0, 5, 12, 100):
        save_checkpoint(tmp_path, {"step": step}, step=step)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000000012.ckpt", "step-000000000100.ckpt"]
    path, content = latest_checkpoint(tmp_path)
    assert path.name == "step-000000000100.ckpt"
    assert content == {"step": 100}
    assert has_checkpoints(tmp_path)


def test_no_checkpoint_is_none(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    assert latest_checkpoint(tmp_path / "absent") is None


def test_every_truncation_and_any_flipped_byte_is_refused(tmp_path):
    path = save_checkpoint(tmp_path, STATE, step=3)
    whole = path.read_bytes()
    draw = random.Random(0)
    for _ in range(300):
        broken = bytearray(whole)
        if draw.random() < 0.5:
            del broken[draw.randrange(len(whole)) :]
        else:
            broken[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        path.write_bytes(broken)
        with pytest.raises(FileError, match=r"is not a checkpoint of snnkit|is damaged: its content and its digest"):
            load_checkpoint(path)


def test_nothing_is_executed(tmp_path):
    harmful = Harmful(tmp_path / "made")
    for content, message in (
        (_torch_bytes(harmful), r"holds more than tensors and plain data and is refused"),
        (pickle.dumps(harmful), r"is damaged"),
    ):
        path = tmp_path / "harmful.ckpt"
        path.write_bytes(checkpoint._MAGIC + checkpoint.hashlib.sha256(content).digest() + content)
        with pytest.raises(FileError, match=message):
            load_checkpoint(path)
    assert not (tmp_path / "made").exists()


def _torch_bytes(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def test_foreign_and_missing_files_are_named(tmp_path):
    with pytest.raises(FileError, match=r"cannot read checkpoint .*none.ckpt: No such file"):
        load_checkpoint(tmp_path / "none.ckpt")
    (tmp_path / "foreign").write_bytes(_torch_bytes(STATE))
    with pytest.raises(FileError, match=r"foreign is not a checkpoint of snnkit; needed is a file that training wrote"):
        load_checkpoint(tmp_path / "foreign")


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path):
    save_checkpoint(tmp_path, {"step": 1}, step=1)
    newest = save_checkpoint(tmp_path, {"step": 2}, step=2)
    newest.write_bytes(newest.read_bytes()[:-1])
    with pytest.warns(UserWarning, match=r"step-000000000002.ckpt is damaged.*set aside, and step-000000000001.ckpt"):
        path, content = latest_checkpoint(tmp_path)
    assert content == {"step": 1}
    assert newest.with_suffix(".damaged").exists()
    assert latest_checkpoint(tmp_path) == (path, content), "the second time there is nothing to warn of"


def test_all_damaged_is_an_error_that_changes_nothing(tmp_path):
    for step in (1, 2):
        save_checkpoint(tmp_path, {"step": step}, step=step).write_bytes(b"")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(FileError, match=r"no checkpoint in .* can be read, 2 are there: .*give another folder"):
        latest_checkpoint(tmp_path)
    assert sorted(tmp_path.iterdir()) == before


def test_a_write_that_dies_leaves_the_old_file(tmp_path, monkeypatch):
    path = save_checkpoint(tmp_path, {"step": 1}, step=1)

    def die(*arguments):
        raise KeyboardInterrupt

    for moment in ("fsync", "replace"):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(checkpoint.os, moment, die)
            save_checkpoint(tmp_path, {"step": 2}, step=1)
        assert load_checkpoint(path) == {"step": 1}
        assert latest_checkpoint(tmp_path) == (path, {"step": 1})
    save_checkpoint(tmp_path, {"step": 3}, step=3)
    assert not list(tmp_path.glob("*.part")), "the next write clears what was left"
