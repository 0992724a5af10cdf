"""Every card is complete, and what a loader returns is what its card declares or a clear error."""

import doctest
import gzip
import hashlib
import importlib.util
import io
import random
import re
import shutil
import tarfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

import snnkit
from snnkit import cards, data
from snnkit.data import cache, card, dataset, event_formats, formats
from snnkit.errors import DataError, FileError

CLASSES = ("cat", "dog")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SNNKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "data"


def pack_idx(values: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
    return header + values.tobytes()


def declare(name: str, content: bytes, holds: str) -> str:
    digest = hashlib.sha256(content).hexdigest()
    return f'{{ name = "{name}", holds = "{holds}", size = {len(content)}, sha256 = "{digest}" }}'


HEAD = """
name = "tiny"
title = "Tiny"
format = "{format}"
source = "example.org/tiny"
licence = "CC0"
citation = "Nobody, 2024"
shape = {shape}
scale = 255
classes = ["cat", "dog"]
[parts.train]
order = "{order}"
splits = {{ train = 6, validation = 2 }}
files = [{train}]
[parts.test]
order = "file"
splits = {{ test = 4 }}
files = [{test}]
"""


def make_card(folder: Path, **fields: str) -> Path:
    path = folder / "card.toml"
    path.write_text(HEAD.format(**({"order": "file"} | fields)))
    return path


@pytest.fixture
def tiny_idx(tmp_path) -> tuple[Path, dict[str, np.ndarray]]:
    """Return the card of a tiny idx data set whose root is its folder, and the arrays in it."""
    generator = np.random.default_rng(0)
    arrays, parts = {}, {}
    (tmp_path / "tiny").mkdir()
    for part, count in (("train", 8), ("test", 4)):
        arrays[f"{part}-images"] = generator.integers(0, 256, (count, 5, 4), np.uint8)
        arrays[f"{part}-labels"] = np.arange(count, dtype=np.uint8) % 2
        files = []
        for holds in ("images", "labels"):
            content = pack_idx(arrays[f"{part}-{holds}"])
            (tmp_path / "tiny" / f"{part}-{holds}.gz").write_bytes(gzip.compress(content))
            files.append(declare(f"{part}-{holds}.gz", content, holds))
        parts[part] = ", ".join(files)
    return make_card(tmp_path, format="idx", shape="[1, 5, 4]", **parts), arrays


def pack_tar(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def tar_members(part: str, per_class: int) -> dict[str, bytes]:
    generator = np.random.default_rng(1)
    names = [f"{part}/{word}/{index:02}.png" for index in range(per_class) for word in reversed(CLASSES)]
    return {name: png(generator.integers(0, 256, (5, 4, 3), np.uint8)) for name in names}


def make_tar_card(folder: Path, members: dict[str, bytes], order: str = "stratified") -> Path:
    (folder / "tiny").mkdir(exist_ok=True)
    packed = {"train": pack_tar(members), "test": pack_tar(tar_members("test", 2))}
    for part, content in packed.items():
        (folder / "tiny" / f"{part}.tar.xz").write_bytes(content)
    files = {part: declare(f"{part}.tar.xz", content, "both") for part, content in packed.items()}
    return make_card(folder, format="image-tar", shape="[3, 5, 4]", order=order, **files)


@pytest.mark.parametrize("module", [card, dataset], ids=["card", "dataset"])
def test_docstrings_run(module):
    result = doctest.testmod(module)
    assert (result.attempted, result.failed) == (1, 0)


@pytest.mark.parametrize("name", data.names())
def test_card_is_complete(name):
    found = card.read(name)
    assert found.format in {*formats.READERS, *event_formats.READERS}
    assert all([found.title, found.source, found.licence, found.citation])
    for split in ("train", "validation", "test"):
        assert found.part(split).count >= found.part(split).splits.get(split, 1) > 0


def test_first_cards_are_there():
    assert {"digits", "mnist", "cifar10"} <= set(data.names())


def test_digits_are_those_on_the_card():
    (file,) = card.read("digits").part("train").files
    spec = importlib.util.find_spec("sklearn")
    path = Path(spec.origin).parent / "datasets" / "data" / file.name
    assert len(formats.content(file, path, "")) == file.size


def test_data_sets_print_as_a_line():
    digits = data.load("digits")
    expected = "Dataset('digits': Optical recognition of handwritten digits, 8 x 8 pixels; images; "
    assert repr(digits).startswith(expected) and "\n" not in repr(digits)
    assert repr(digits.test) == "Split(images=[359, 1, 8, 8], labels=[359])"


def test_digits_are_split_by_class_without_overlap():
    digits = data.load("digits")
    splits = [digits.train, digits.validation, digits.test]
    assert [len(split) for split in splits] == [1079, 359, 359]
    whole = torch.cat([split.labels for split in splits]).bincount()
    for split in splits:
        assert split.images.shape == (len(split), 1, 8, 8)
        assert (split.images.dtype, split.labels.dtype) == (torch.float32, torch.int64)
        assert (split.images.min(), split.images.max()) == (0, 1)
        share = split.labels.bincount() - whole * len(split) / 1797
        assert share.abs().max() < 1.5
    part = digits.card.part("train")
    labels = np.concatenate([split.labels.numpy() for split in splits])
    indices = np.concatenate(list(dataset.cuts(digits.card, part, labels).values()))
    assert sorted(indices) == list(range(1797))


def test_digits_hold_scikit_learns_pixels_and_their_own_labels():
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    known = {row.astype(np.uint8).tobytes(): label for row, label in zip(pixels, labels, strict=True)}
    digits = data.load("digits")
    seen = set()
    for split in (digits.train, digits.validation, digits.test):
        for image, label in zip(split.images, split.labels.tolist(), strict=True):
            key = (image * 16).round().to(torch.uint8).numpy().tobytes()
            assert known[key] == label
            seen.add(key)
    assert len(seen) == len(known)


def test_the_split_of_the_digits_never_changes():
    test = data.load("digits").test
    digest = hashlib.sha256((test.images * 16).to(torch.uint8).numpy().tobytes()).hexdigest()
    assert test.labels[:10].tolist() == [3, 0, 7, 8, 9, 4, 6, 1, 5, 2]
    assert digest[:16] == "e276910b59a70554"


def test_idx_files_give_their_pixels_and_splits(tiny_idx):
    path, arrays = tiny_idx
    tiny = data.load(path, path.parent)
    images = torch.from_numpy(arrays["train-images"]).unsqueeze(1) / 255
    assert torch.equal(tiny.train.images, images[:6])
    assert torch.equal(tiny.validation.images, images[6:])
    assert tiny.train.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert torch.equal(tiny.test.images, torch.from_numpy(arrays["test-images"]).unsqueeze(1) / 255)
    assert len(tiny.test) == 4


def test_tar_images_sort_by_class_and_name_and_split_by_class(tmp_path):
    members = tar_members("train", 4)
    tiny = data.load(make_tar_card(tmp_path, members), tmp_path)
    assert tiny.train.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert tiny.validation.labels.tolist() == [0, 1]
    for index, name in enumerate(["train/cat/00.png", "train/dog/00.png", "train/cat/01.png"]):
        pixels = np.asarray(Image.open(io.BytesIO(members[name])))
        assert torch.equal(tiny.train.images[index], torch.from_numpy(pixels / np.float32(255)).permute(2, 0, 1))


@pytest.mark.parametrize("order", ["stratified", "stratified-shuffled"])
def test_stratified_cuts_are_proportional_for_uneven_classes(order):
    labels = np.random.default_rng(0).choice(4, 1000, p=[0.55, 0.25, 0.15, 0.05])
    part = card.Part("all", order, {"train": 700, "validation": 100, "test": 200}, ())
    cuts = dataset.cuts(card.read("digits"), part, labels)
    assert sorted(np.concatenate(list(cuts.values()))) == list(range(1000))
    for name, count in part.splits.items():
        share = np.bincount(labels[cuts[name]]) - np.bincount(labels) * count / 1000
        assert np.abs(share).max() < 2
    inside = cuts["train"][labels[cuts["train"]] == 0]
    assert (list(inside) == sorted(inside)) == (order == "stratified")


def test_a_second_load_reads_the_cache_and_not_the_files(tiny_idx, own_cache, monkeypatch):
    path, _ = tiny_idx
    first = data.load(path, path.parent).train
    monkeypatch.setattr(formats, "read", lambda *_: pytest.fail("the files were read again"))
    again = data.load(path, path.parent).train
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.labels, again.labels)
    (kept,) = own_cache.iterdir()
    with h5py.File(kept) as store:
        assert store.attrs["source"] == "example.org/tiny"
        assert "sha256" in store.attrs["files"]


def test_a_changed_file_is_verified_again(tiny_idx):
    path, _ = tiny_idx
    assert len(data.load(path, path.parent).test) == 4
    file = path.parent / "tiny" / "test-labels.gz"
    file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes())[:-1] + b"\0"))
    with pytest.raises(DataError, match=r"test-labels.gz has the sha256 \w+…; its card says \w+…; fetch it again"):
        _ = data.load(path, path.parent).test


def test_a_damaged_cache_is_made_again(tiny_idx, own_cache):
    path, _ = tiny_idx
    wanted = data.load(path, path.parent).train
    (kept,) = own_cache.iterdir()
    whole = kept.read_bytes()
    random.seed(0)
    for trial in range(150):
        damaged = bytearray(whole)
        damaged[random.randrange(len(whole))] ^= 1 << random.randrange(8)
        kept.write_bytes(damaged if trial % 3 else whole[: random.randrange(len(whole))])
        found = data.load(path, path.parent).train
        assert torch.equal(found.images, wanted.images)
        assert torch.equal(found.labels, wanted.labels)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda whole: whole[: len(whole) // 2],
            r"is truncated or damaged \(.*\); fetch it again from example",
        ),
        (lambda whole: whole[:-9] + bytes(9), r"is truncated or damaged"),
        (lambda whole: b"not gzip", "is truncated or damaged"),
        (lambda whole: b"", r"has 0 bytes; its card says 176; fetch it again"),
        (lambda whole: gzip.compress(gzip.decompress(whole)[:-1]), "has 175 bytes; its card says 176"),
        (lambda whole: gzip.compress(gzip.decompress(whole) + b"!"), "has more bytes; its card says 176"),
        (lambda whole: gzip.compress(bytes(176)), r"has the sha256 \w{12}…; its card says \w{12}…; fetch it"),
    ],
)
def test_a_damaged_file_is_refused_and_nothing_is_cached(tiny_idx, own_cache, damage, message):
    path, _ = tiny_idx
    file = path.parent / "tiny" / "train-images.gz"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DataError, match=message):
        _ = data.load(path, path.parent).train
    assert not own_cache.exists() or not list(own_cache.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda files: files.popitem(),
            r"images \(7, 3, 5, 4\) and labels \(7,\); its card says \(8, 3, 5, 4\)",
        ),
        (
            lambda files: files.update({"train/cat/9.png": files["train/cat/00.png"]}),
            "more than the 8 images",
        ),
        (
            lambda files: files.update({"train/cow/0.png": b""}),
            "holds train/cow/0.png; train/<class of the card>",
        ),
        (
            lambda files: files.update({"cat.png": b""}),
            "holds cat.png; train/<class of the card>/<name> is needed",
        ),
        (
            lambda files: files.update({"train/cat/00.png": b"GIF"}),
            "cat/00.png is not an image that can be read",
        ),
        (
            lambda files: files.update({"train/cat/00.png": files["train/cat/00.png"][:60]}),
            "cat/00.png is not an image that can be read",
        ),
        (
            lambda files: files.update({"train/cat/00.png": png(np.zeros((4, 4, 3), np.uint8))}),
            "cat/00.png is 4 x 4 pixels; its card says 5 x 4",
        ),
    ],
)
def test_a_tar_that_does_not_fit_its_card_is_refused(tmp_path, own_cache, change, message):
    members = tar_members("train", 4)
    change(members)
    tiny = data.load(make_tar_card(tmp_path, members), tmp_path)
    with pytest.raises(DataError, match=message):
        _ = tiny.train
    assert not own_cache.exists() or not list(own_cache.iterdir())


def test_a_file_that_is_no_tar_is_refused(tmp_path):
    path = make_tar_card(tmp_path, tar_members("train", 4))
    content = pack_tar(tar_members("train", 4))[:-100]
    (tmp_path / "tiny" / "train.tar.xz").write_bytes(content)
    text = path.read_text()
    old = re.search(r'name = "train.tar.xz", .*? }', text).group()
    path.write_text(text.replace(old, declare("train.tar.xz", content, "both")[2:]))
    with pytest.raises(DataError, match="is not a whole tar archive"):
        _ = data.load(path, tmp_path).train


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\0\0\x0d\1\0\0\0\1\0\0\0\0", "starts with 00 00 0d 01; an idx file of bytes starts with 00 00 08"),
        (b"\0\0\x08\2\0\0\0\1", "starts with 00 00 08 02; an idx file"),
        (b"\0\0", "starts with 00 00; an idx file"),
        (b"\0\0\x08\1\0\0\0\5abc", r"promises \(5,\) values and holds 3 bytes"),
    ],
)
def test_idx_headers_are_checked(content, message):
    with pytest.raises(DataError, match=message):
        formats.parse_idx(content, Path("file"))


def test_pixels_and_labels_beyond_the_card_are_refused(tiny_idx):
    path, _ = tiny_idx
    path.write_text(path.read_text().replace("scale = 255", "scale = 10"))
    with pytest.raises(DataError, match=r"has pixels up to 2\d\d and labels up to 1; its card says 10 and 1"):
        _ = data.load(path, path.parent).train


def test_a_missing_root_says_what_to_set_and_what_is_needed(monkeypatch):
    monkeypatch.delenv("SNNKIT_DATA", raising=False)
    message = (
        r"set SNNKIT_DATA, or give --root .* train-images-idx3-ubyte.gz \(47,040,016 bytes unpacked\).*"
        r"t10k-labels.*published at .*yann.lecun"
    )
    with pytest.raises(DataError, match=message):
        data.load("mnist")


def test_missing_files_are_named(tmp_path, monkeypatch):
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "cifar10" / "test.tar.xz").touch()
    monkeypatch.setenv("SNNKIT_DATA", str(tmp_path))
    message = r"cifar10 lacks train.tar.xz; .*test.tar.xz \(1,544,704 bytes\); published at .*cs.toronto"
    with pytest.raises(DataError, match=message):
        data.load("cifar10")


def test_a_cache_that_cannot_be_written_says_so(tiny_idx, tmp_path, monkeypatch):
    (tmp_path / "occupied").touch()
    monkeypatch.setenv("SNNKIT_CACHE", str(tmp_path / "occupied"))
    path, _ = tiny_idx
    with pytest.raises(FileError, match=r"cannot be written .* set SNNKIT_CACHE to a folder that can"):
        _ = data.load(path, path.parent).train


def test_unknown_names_get_the_nearest():
    with pytest.raises(DataError, match=r"no data set 'minst'; did you mean 'mnist'\?; known: "):
        data.load("minst")
    with pytest.raises(DataError, match=r"digits has no split 'tests'; did you mean 'test'\?"):
        card.read("digits").part("tests")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("licence =", "license =", r"unknown key 'license'; did you mean 'licence'\?"),
        ('licence = "CC0"', "", "lacks licence"),
        ("scale = 255", 'scale = "255"', "has scale = '255'; a value of type int is needed"),
        ("scale = 255", "scale = true", "has scale = True; a value of type int"),
        ("scale = 255", "scale = 0", "shape or scale that is not made of whole numbers"),
        ('"cat", "dog"', '"cat", "cat"', "2 to 256 different strings are needed"),
        ('name = "tiny"', 'name = "../tiny"', "lower-case letters, digits, - and _ are needed"),
        (
            'format = "idx"',
            'format = "idz"',
            r"has the format 'idz'; did you mean 'idx'\?; known: idx, image-tar",
        ),
        ('order = "file"', 'order = "filed"', r"order is 'filed'; did you mean 'file'\?"),
        (
            "validation = 2",
            "valid = 2",
            r"has the splits \['test', 'train', 'valid'\]; train, validation, test are",
        ),
        ("train = 6", "train = 0", r"whole numbers of at least 1 are needed"),
        (
            'holds = "labels"',
            'holds = "images"',
            "one file that holds both, or one of images and one of labels",
        ),
        ('holds = "labels"', 'holds = "label"', r"holds is 'label'; did you mean 'labels'\?"),
        ('sha256 = "', 'sha256 = "x', "a sha256 of 64 hexadecimal digits"),
        ('"train-labels.gz"', '"../train-labels.gz"', "a file name without a folder is needed"),
        ("files = [", "files = [1, ", "file 1 is 1; a table is needed"),
        ("shape =", "shape = =", "is not TOML"),
    ],
)
def test_wrong_cards_are_refused(tiny_idx, old, new, message):
    path, _ = tiny_idx
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=message):
        data.load(path, path.parent)


def test_missing_and_misplaced_cards_are_refused(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"none.toml cannot be read: No such file"):
        card.read(tmp_path / "none.toml")
    with pytest.raises(DataError, match=r"the nonsense cards are neither in .* nor in "):
        cards.folder("nonsense")
    (tmp_path / "other").mkdir()
    source = cards.folder("datasets") / "digits" / "card.toml"
    (tmp_path / "other" / "card.toml").write_text(source.read_text())
    monkeypatch.setattr(cards, "folder", lambda kind: tmp_path)
    with pytest.raises(DataError, match="has name = 'digits'; it lies in the folder 'other'"):
        card.read("other")


def test_cards_are_found_in_an_installed_package_beside_a_foreign_datasets(tmp_path, run_python):
    site = tmp_path / "site-packages"
    shutil.copytree(Path(snnkit.__file__).parent, site / "snnkit", ignore=shutil.ignore_patterns("__pycache__"))
    (site / "datasets").mkdir()
    script = "from snnkit import cards\nfrom snnkit.data.card import names\nprint(cards.folder('datasets'), names())"
    lost = run_python("-c", script, env={"PYTHONPATH": str(site)})
    assert "the datasets cards are neither in" in lost.stderr
    shutil.copytree(cards.folder("datasets"), site / "snnkit" / "_cards" / "datasets")
    found = run_python("-c", script, env={"PYTHONPATH": str(site)})
    assert found.stdout.strip() == f"{site / 'snnkit' / '_cards' / 'datasets'} {data.names()}"


def test_reading_a_card_does_not_import_torch(run_python):
    done = run_python("-c", "import sys; from snnkit.data.card import names; sys.exit('torch' in sys.modules)")
    assert done.returncode == 0, done.stderr


def test_mnist_test_part_is_the_published_one(data_root):
    test = data.load("mnist", data_root).test
    assert test.images.shape == (10_000, 1, 28, 28)
    # Class counts and first labels as published by the authors.
    assert test.labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]


def test_cifar10_test_part_has_500_images_of_each_class(data_root):
    test = data.load("cifar10", data_root).test
    assert test.images.shape == (5_000, 3, 32, 32)
    assert test.labels.bincount().tolist() == [500] * 10
    # The authors' pixel mean over the training images is 0.491, 0.482, 0.447.
    assert test.images.mean((0, 2, 3)).tolist() == pytest.approx([0.491, 0.482, 0.447], abs=0.01)


def test_cache_names_change_with_the_files(tiny_idx):
    path, _ = tiny_idx
    tiny = card.read(path)
    before = cache.location(tiny, tiny.parts[0])
    path.write_text(re.sub(r'sha256 = "\w', 'sha256 = "0', path.read_text(), count=1))
    changed = card.read(path)
    assert cache.location(changed, changed.parts[0]) != before
