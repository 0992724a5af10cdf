"""The experiment on learnt delays: arms of equal size, runs that are done once, a table of what came of them."""

import dataclasses
import importlib

import pytest
import torch

from snnkit.errors import DataError
from snnkit.files import load_results

ARMS = ("none", "fixed", "learned", "axonal", "recurrent", "convolution", "lstm", "gru", "bag")


@pytest.fixture
def part(monkeypatch, checkout):
    """Return what imports a module of the experiment."""
    monkeypatch.syspath_prepend(checkout / "examples" / "papers")
    return lambda name="": importlib.import_module(f"hammouamri_2023{name}")


@pytest.fixture
def tiny(part, monkeypatch):
    """Make the motifs few and the training short, and return the script."""
    tasks = part("_tasks")

    def few(settings, fold, root):
        generator = torch.Generator().manual_seed(fold)
        task = tasks.motifs.draw(3, 4, generator=generator, steps=8, background=1)
        splits = [(x.transpose(0, 1), labels) for x, labels in (task.sample(12, generator=generator) for _ in range(3))]
        return tasks.Splits(*splits, inputs=4, classes=3)

    monkeypatch.setitem(tasks.TASKS, "motifs", few)
    settings = dataclasses.replace(tasks.SETTINGS["motifs"], hidden=6, epochs=1, batch=6, max_delay=4)
    monkeypatch.setitem(tasks.SETTINGS, "motifs", settings)
    return part()


@pytest.mark.parametrize("arm", ARMS)
def test_arms_have_as_many_numbers(part, arm):
    networks = part("_networks")
    shape = networks.Shape(inputs=140, hidden=64, classes=10)
    wanted = networks.stored(networks.learned(shape))
    assert wanted == 2 * (140 * 64 + 64 * 64 + 64 * 10) + 2 * 2 * 64
    net = networks.build(arm, shape, seed=0)
    assert networks.stored(net) == pytest.approx(wanted, rel=0.02)
    assert networks.Through(net, shares=True)(torch.rand(5, 3, 140)).shape == (5, 3, 10)


def test_the_paper_counts_as_many_numbers(part):
    networks = part("_networks")
    assert networks.stored(networks.learned(networks.Shape(inputs=140, hidden=256, classes=20))) == 214_016


def test_arms_follow_the_seed(part):
    networks = part("_networks")
    shape = networks.Shape(inputs=5, hidden=4, classes=3)
    nets = [networks.build("learned", shape, seed=seed).state_dict() for seed in (0, 0, 1)]
    assert all(torch.equal(value, nets[1][name]) for name, value in nets[0].items())
    assert not torch.equal(nets[0]["0.delay"], nets[2]["0.delay"])


def test_without_delays_nothing_is_remembered(part):
    networks = part("_networks")
    shape = networks.Shape(inputs=5, hidden=4, classes=3, tau=1.0)
    net = networks.build("none", shape, seed=0).eval()
    x = (torch.rand(6, 2, 5) < 0.5).float()
    changed = x.clone()
    changed[:5] = 1 - changed[:5]
    assert torch.equal(net(x)[5], net(changed)[5])


def test_the_loss_stops_where_a_sample_ends(part):
    loss = part("_networks").softmax_sum
    y, target = torch.rand(6, 2, 3).softmax(-1), torch.tensor([0, 2])
    later = y.clone()
    later[4:, 0] = 9.0
    lengths = torch.tensor([4, 6])
    assert torch.equal(loss(y, target, lengths=lengths), loss(later, target, lengths=lengths))
    assert loss(y, target) == torch.nn.functional.cross_entropy(y.sum(0), target)


def test_dropout_silences_for_the_whole_sample(part):
    layer = part("_networks").SharedDropout(0.5)
    y, _ = layer.run(torch.ones(7, 30, 40))
    assert set(y.unique().tolist()) == {0.0, 2.0} and torch.equal(y[0], y[6])
    assert torch.equal(layer.eval().run(torch.ones(2, 3, 4))[0], torch.ones(2, 3, 4))


def test_recordings_are_followed_by_silence(part):
    tasks = part("_tasks")
    frames = tasks.Frames(torch.ones(3, 9, 2, dtype=torch.uint8), torch.tensor([0, 1, 2]), torch.tensor([2, 4, 9]), 3)
    x, labels, lengths = frames.batch(torch.tensor([0, 1]))
    assert x.shape == (2, 7, 2) and x[:, 4:].sum() == 0
    assert lengths.tolist() == [5, 7] and labels.tolist() == [0, 1]


def test_runs_are_done_once(tiny, tmp_path, capsys):
    command = ["--task", "motifs", "--arms", "none", "learned", "recurrent", "--seeds", "0", "--out", str(tmp_path)]
    (tmp_path / "runs").mkdir()
    assert tiny.main([*command[:3], "none", *command[-4:]]) == 0
    first = tmp_path / "runs" / "motifs-none-0-0.h5"
    before = first.read_bytes()
    assert capsys.readouterr().out.count("\n") == 1
    assert tiny.main(command) == 0
    assert capsys.readouterr().out.count("\n") == 2 and first.read_bytes() == before
    assert tiny.main(command) == 0 and not capsys.readouterr().out
    record = load_results(tmp_path / "runs" / "motifs-learned-0-0.h5")
    assert record["samples"] == 12 and len(record["after"]["layer 0"]) == 24 and 0 <= record["accuracy"] <= 1


def test_the_table_has_every_arm_and_the_published_figures(tiny, tmp_path, capsys):
    tiny.main(["--task", "motifs", "--arms", "none", "learned", "--out", str(tmp_path)])
    tiny.main(["--task", "teacher", "--seeds", "0", "--epochs", "1", "--out", str(tmp_path)])
    capsys.readouterr()
    tiny.main(["--task", "motifs", "--out", str(tmp_path), "--table"])
    text = capsys.readouterr().out
    for words in ("no delays", "learnt delays, one per synapse", "95.07", "planted delays found", "Machine:"):
        assert words in text
    names = {"table.txt", "runs.csv", "results.h5", "motifs_accuracy.png", "motifs_delays.png", "sigma.png", "runs"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert len(load_results(tmp_path / "results.h5")["runs"]["accuracy"]) == 6


def test_missing_data_are_named(part, tmp_path):
    with pytest.raises(DataError, match="shd lacks"):
        part().main(["--task", "shd", "--root", str(tmp_path), "--out", str(tmp_path)])
