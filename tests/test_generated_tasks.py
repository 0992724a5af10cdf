"""Motifs tell their class by order alone; a teacher's delays are planted where it says."""

import doctest

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from snnkit import data
from snnkit.data import motifs, teacher
from snnkit.errors import DataError, InputError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def usual():
    """Return the usual task with samples to learn from and to test on."""
    task = motifs.draw(generator=seeded())
    return task, task.sample(1500, generator=seeded(1)), task.sample(1500, generator=seeded(2))


@pytest.mark.parametrize("module", [motifs, teacher], ids=lambda module: module.__name__)
def test_docstrings_run(module):
    result = doctest.testmod(module)
    assert result.attempted > 0 and result.failed == 0


CARD = """
name = "few"
title = "Few"
format = "motifs"
source = "made"
licence = "none"
citation = "none"
shape = [6]
classes = ["a", "b", "c"]
[options]
steps = 20
spacing = 1
background = 2
jitter = 0
seed = 5
[parts.all]
order = "file"
splits = { train = 9, validation = 4, test = 5 }
files = []
"""


def few(folder, old="", new=""):
    """Return the card of a few motifs, a part of its text replaced."""
    assert old in CARD
    (folder / "card.toml").write_text(CARD.replace(old, new))
    return folder / "card.toml"


def test_motifs_are_a_data_set_by_name(tmp_path):
    found = data.load(few(tmp_path))
    generator = seeded(5)
    task = motifs.draw(3, 6, generator=generator, steps=20, background=2)
    for name, count in {"train": 9, "validation": 4, "test": 5}.items():
        x, labels = task.sample(count, generator=generator)
        framed, lengths = data.frames(getattr(found, name), step=1000, steps=20)
        assert torch.equal(framed, x)
        assert getattr(found, name).labels.tolist() == labels.tolist()
        assert torch.equal(lengths, torch.tensor([int(sample.any(1).nonzero().max()) + 1 for sample in x.unbind(1)]))
    card = data.card.read("motifs")
    assert card.part("train").count == sum(card.part("train").splits.values()) and data.load("motifs").paths == {}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "shape = [6]",
            "shape = [2, 3]",
            r"few has the shape \[2, 3\] and the order 'file'; motifs need one number of",
        ),
        ("steps = 20", "steps = 5", r"few: options: samples of 5 steps are too short; 6 steps or more are needed"),
        ("shape = [6]", "shape = [1]", r"few: options: 1 channels have fewer than 3 orders"),
        ("jitter = 0", "jiter = 0", r"few: options.*jiter"),
        ("seed = 5", "seed = 'a'", r"few: options.*seed"),
    ],
)
def test_cards_of_motifs_are_checked(tmp_path, old, new, message):
    with pytest.raises(DataError, match=message):
        data.load(few(tmp_path, old, new)).train  # noqa: B018


def accuracy(features, usual) -> float:
    _, (x, labels), (tested, truth) = usual
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    model.fit(features(x).double().numpy(), labels.numpy())
    return float(model.score(features(tested).double().numpy(), truth.numpy()))


def test_every_channel_spikes_equally_often_in_every_sample(usual):
    task, (x, labels), _ = usual
    assert x.shape == (60, 1500, 20) and x.dtype == torch.float32 and labels.dtype == torch.int64
    assert x.unique().tolist() == [0, 1]
    assert x.sum(0).unique().tolist() == [1 + task.background]
    assert labels.bincount().min() > 100


def test_counts_say_nothing(usual):
    assert accuracy(lambda x: x.sum(0), usual) < 0.14


def test_what_is_seen_in_single_steps_says_nothing(usual):
    draw = torch.randn(20, 100, generator=seeded(3))

    def features(x: torch.Tensor) -> torch.Tensor:
        """Return sums over time of 100 random neurons without memory, and of their thresholds."""
        return torch.cat([(x @ draw).relu().sum(0), (x @ draw > 1).float().sum(0)], dim=1)

    assert accuracy(features, usual) < 0.14


def test_when_spikes_fall_says_nothing(usual):
    assert accuracy(lambda x: x.sum(2).T, usual) < 0.14


def test_single_steps_look_alike_in_every_class():
    task = motifs.draw(4, 3, generator=seeded(), steps=8, background=1)
    x, labels = task.sample(40_000, generator=seeded(1))
    patterns = (x * torch.tensor([1.0, 2.0, 4.0])).sum(2).long()
    counts = torch.stack([patterns[:, labels == label].flatten().bincount(minlength=8) for label in range(4)]).double()
    shares = counts / counts.sum(1, keepdim=True)
    assert (shares.max(0).values - shares.min(0).values).max() < 0.004


def delayed(task: motifs.Motifs, x: torch.Tensor) -> torch.Tensor:
    """Return `[T, B, classes]`, how many channels arrive together when each class's delays undo its motif."""
    delays = task.templates.max() - task.templates
    total = torch.zeros(*x.shape[:2], len(delays))
    for label, row in enumerate(delays.tolist()):
        for channel, delay in enumerate(row):
            total[delay:, :, label] += x[: len(x) - delay, :, channel]
    return total


def test_the_right_delays_solve_the_task(usual):
    task, _, (x, labels) = usual
    arrived = delayed(task, x).max(0).values
    assert (arrived.gather(1, labels[:, None]) == 20).all()
    assert (arrived.argmax(1) == labels).float().mean() > 0.995


def test_jitter_moves_spikes_and_joins_none():
    task = motifs.draw(5, 6, generator=seeded(), steps=30, spacing=3, jitter=1, background=0)
    x, labels = task.sample(3000, generator=seeded(1))
    assert x.sum(2).max() == 1 and x.sum(0).eq(1).all()
    first = x.argmax(0)
    apart = first - first[:, :1] - (task.templates[labels] - task.templates[labels][:, :1])
    assert apart.unique().tolist() == [-2, -1, 0, 1, 2]
    assert task.span == 18 and first.min() == 0 and first.max() == 29


def test_background_of_full_length_fills_every_step():
    task = motifs.draw(2, 3, generator=seeded(), steps=6, background=5)
    assert task.sample(10, generator=seeded())[0].eq(1).all()


@pytest.mark.parametrize("make", [motifs.draw, teacher.draw], ids=["motifs", "teacher"])
def test_the_same_generator_gives_the_same_task(make):
    def parts(seed: int) -> list[torch.Tensor]:
        task = make(6, 5, generator=seeded(seed))
        sizes = (4,) if isinstance(task, motifs.Motifs) else (4, 40)
        rest = [task.templates] if isinstance(task, motifs.Motifs) else [task.weight, task.delay]
        return [*rest, *task.sample(*sizes, generator=seeded(seed))]

    assert all(torch.equal(*pair) for pair in zip(parts(3), parts(3), strict=True))
    assert not any(torch.equal(*pair) for pair in zip(parts(3), parts(4), strict=True))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"classes": 0}, "classes is 0; a whole number of at least 1"),
        ({"channels": 2.0}, "channels is 2.0; a whole number"),
        ({"spacing": 0}, "spacing is 0; a whole number of at least 1"),
        ({"background": -1}, "background is -1; a whole number of at least 0"),
        ({"classes": 7, "channels": 3}, "3 channels have fewer than 7 orders; give more channels or fewer classes"),
        ({"jitter": 1}, "1 steps apart and move by up to 1; so that none meet, draw the motifs with spacing=3 or more"),
        ({"steps": 19}, "samples of 19 steps are too short; 20 steps or more"),
        ({"steps": 20, "background": 20}, "samples of 20 steps are too short; 21 steps or more"),
    ],
)
def test_motifs_that_cannot_be_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        motifs.draw(**{"generator": seeded()} | values)


def test_templates_of_the_wrong_kind_are_refused():
    for templates in (torch.zeros(3, dtype=torch.int64), torch.zeros(2, 2), torch.zeros(0, 2, dtype=torch.int64)):
        with pytest.raises(InputError, match=r"templates have shape .*; \[classes, channels\] of int64 is needed"):
            motifs.Motifs(templates, 10)
    with pytest.raises(InputError, match="samples of 10 steps are too short"):
        motifs.Motifs(torch.tensor([[-1, 2]]), 10)
    with pytest.raises(InputError, match="count is 0; a whole number of at least 1"):
        motifs.draw(generator=seeded()).sample(0, generator=seeded())


def test_a_teacher_delays_as_its_definition_says():
    task = teacher.draw(5, 3, generator=seeded(), max_delay=6, density=0.6)
    x, y = task.sample(2, 15, generator=seeded(1))
    wanted = torch.zeros_like(y)
    for t in range(15):
        for o in range(3):
            for i in range(5):
                late = t - int(task.delay[o, i])
                if late >= 0:
                    wanted[t, :, o] += task.weight[o, i] * x[late, :, i]
    torch.testing.assert_close(y, wanted)
    assert 0 < x.mean() < 0.3 and x.unique().tolist() == [0, 1]


def test_a_teacher_is_as_sparse_as_asked_and_no_weight_is_small():
    task = teacher.draw(40, 30, generator=seeded(), density=0.25)
    assert (task.weight != 0).sum(1).unique().tolist() == [10]
    there = task.weight[task.weight != 0].abs() * 10**0.5
    assert there.min() >= 0.5 and there.max() <= 1
    assert task.delay.unique().tolist() == list(range(25))
    assert 0.4 < (task.weight > 0).sum() / (task.weight != 0).sum() < 0.6


def test_targets_identify_the_planted_delays():
    task = teacher.draw(8, 6, generator=seeded(), max_delay=10)
    x, y = task.sample(64, 200, generator=seeded(1))
    centred = x - task.rate
    lags = torch.stack([torch.einsum("tbi,tbo->oi", centred[: 200 - lag], y[lag:]) for lag in range(11)])
    assert task.recovered(lags.abs().argmax(0), within=0) == 1.0


def test_recovery_counts_the_synapses_that_matter():
    weight = torch.tensor([[1.0, 0.05, -0.5, 0.0]])
    task = teacher.Teacher(weight, torch.tensor([[3, 9, 5, 0]]))
    assert task.recovered(torch.tensor([[3.9, 0.0, 5.0, 7.0]])) == 1.0
    assert task.recovered(torch.tensor([[[3.0], [9.0], [6.5], [0.0]]])) == 0.5
    assert task.recovered(torch.tensor([[3.9, 0.0, 5.0, 7.0]]), within=0.5, least=0.01) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"inputs": 0}, "inputs is 0; a whole number of at least 1"),
        ({"max_delay": -1}, "max_delay is -1; a whole number of at least 0"),
        ({"density": 0.0}, "density is 0.0; a share above 0 and up to 1"),
        ({"rate": 1.5}, "rate is 1.5; a chance above 0 and up to 1"),
    ],
)
def test_teachers_that_cannot_be_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        teacher.draw(**{"inputs": 3, "outputs": 2, "generator": seeded()} | values)


def test_parts_that_do_not_fit_are_refused():
    weight, delay = torch.ones(2, 3), torch.zeros(2, 3, dtype=torch.int64)
    with pytest.raises(InputError, match=r"delay \[3, 2\] of torch.int64; both \[outputs, inputs\]"):
        teacher.Teacher(weight, delay.T)
    with pytest.raises(InputError, match="the shortest delay is -1; 0 steps or more"):
        teacher.Teacher(weight, delay - 1)
    task = teacher.Teacher(weight, delay + 4)
    with pytest.raises(InputError, match=r"x has shape \[5, 1, 2\]; \[T, B, 3\] is needed"):
        task(torch.zeros(5, 1, 2))
    with pytest.raises(InputError, match=r"1 samples of 4 steps .* more steps than the longest delay, 4"):
        task.sample(1, 4, generator=seeded())
    assert task(torch.ones(3, 1, 3)).eq(0).all()
